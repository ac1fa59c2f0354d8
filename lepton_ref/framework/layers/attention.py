"""Layers that attend: additive and multi-head attention, and pooling by attention.

Every layer here returns its attention weights beside its output, so that whoever wants to look
at them needs no hook. Sequences are (N, T, D); a mask is bool, True where a token counts.

Source of the formulas: the page *text/attention* of the book.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import dtype_name
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers.base import Layer
from lepton_ref.framework.layers.feedforward import Dense, positive
from lepton_ref.framework.layers.initializers import generator, glorot_uniform


def masked_softmax(E: Any, scores: Any, mask: Any = None) -> Any:
    """Softmax over the last axis among the entries where ``mask`` is True (eq. attention-mask).

    Parameters
    ----------
    E : Engine
    scores : array, shape (..., S)
    mask : bool array that broadcasts to the shape of ``scores``, optional
        A row without any True gives zeros.
    """
    if mask is None:
        return E.softmax(scores)
    shape = tuple(int(n) for n in scores.shape)
    mask = E.array(np.broadcast_to(E.asnumpy(mask), shape))
    return E.multiply(E.softmax(E.where(mask, scores, -1e30)), mask)


def token_mask(where: str, E: Any, mask: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """``mask`` in NumPy, when it is bool and of this shape (N, T); None when all of it is True.

    Raises
    ------
    ArgumentError
        For another dtype or shape.
    """
    if mask is None:
        return None
    if not hasattr(mask, "dtype") or dtype_name(mask) != "bool":
        got = f"dtype {dtype_name(mask)}" if hasattr(mask, "dtype") else type(mask).__name__
        raise ArgumentError(where, "mask", got, "bool, True where a token counts")
    if tuple(mask.shape) != shape:
        raise ArgumentError(where, "mask", f"shape {tuple(mask.shape)}", f"{shape}, (N, T) of `x`")
    kept = np.asarray(E.asnumpy(mask))
    return None if kept.all() else kept


def sequences(where: str, argument: str, x: Any, size: int) -> tuple[int, int]:
    """N and T of ``x``, which is (N, T, size)."""
    shape = tuple(int(n) for n in x.shape)
    if len(shape) != 3 or shape[2] != size:
        raise ArgumentError(where, argument, f"shape {shape}", f"(N, T, {size})")
    return shape[0], shape[1]


class AdditiveAttention(Layer):
    """Scores by a small network: s = tanh(q W_q + k W_k + b) · u (eq. attention-additive).

    Parameters
    ----------
    query_dim, key_dim : int
        Sizes of a query and of a key; they may differ.
    hidden_size : int
        Units of the network that compares them.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    query, key : Dense
        (query_dim, hidden_size) with the bias, and (key_dim, hidden_size) without.
    score : array, shape (hidden_size, 1)
        The vector u.

    Source: Bahdanau, Cho and Bengio (2015), section A.1.2.
    """

    score: Any

    def __init__(
        self,
        query_dim: int,
        key_dim: int,
        hidden_size: int,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        positive("AdditiveAttention", query_dim=query_dim, key_dim=key_dim, hidden_size=hidden_size)
        self.query_dim, self.key_dim, self.hidden_size = query_dim, key_dim, hidden_size
        self.query = Dense(query_dim, hidden_size, rng=rng, engine=self.E)
        self.key = Dense(key_dim, hidden_size, bias=False, rng=rng, engine=self.E)
        random = generator("AdditiveAttention", rng)
        self.add_parameter("score", glorot_uniform(random, (hidden_size, 1), hidden_size, 1))

    def forward(
        self,
        x: Any,
        rng: np.random.Generator | None = None,
        memory: Any = None,
        values: Any = None,
        mask: Any = None,
    ) -> tuple[Any, Any]:
        """Each query of ``x`` takes the weighted mean of ``values``.

        Parameters
        ----------
        x : array, shape (N, T, query_dim)
            Queries.
        memory : array, shape (N, S, key_dim), optional
            Keys; without them, ``x``.
        values : array, shape (N, S, E), optional
            Without them, the keys.
        mask : bool array, shape (N, S), optional
            True where a key may be attended to.

        Returns
        -------
        y : array, shape (N, T, E)
        weights : array, shape (N, T, S)
        """
        E, A = self.E, self.hidden_size
        n, t = sequences("additive_attention", "x", x, self.query_dim)
        memory = x if memory is None else memory
        m, s = sequences("additive_attention", "memory", memory, self.key_dim)
        if m != n:
            raise ArgumentError(
                "additive_attention", "memory", f"{m} sequences", f"{n}, as many as `x` has"
            )
        values = memory if values is None else values
        kept = token_mask("additive_attention", E, mask, (n, s))
        asked = E.reshape(self.query(x), (n, t, 1, A))
        offered = E.reshape(self.key(memory), (n, 1, s, A))
        hidden = E.tanh(E.add(asked, offered))  # (N, T, S, A)
        scores = E.reshape(E.matmul(hidden, self.score), (n, t, s))
        weights = masked_softmax(E, scores, None if kept is None else kept[:, None, :])
        return E.matmul(weights, values), weights  # (N, T, E), (N, T, S)


class AttentionPooling(Layer):
    """One vector for a sequence: the mean of its steps, weighted by a learned question.

    Additive attention with one query that does not depend on the input:
    s_t = tanh(x_t W + b) · u.

    Parameters
    ----------
    embed_dim : int
        Size of a step.
    hidden_size : int
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    key : Dense
        (embed_dim, hidden_size).
    score : array, shape (hidden_size, 1)

    Source: Yang et al. (2016), section 2.2, for words.
    """

    score: Any

    def __init__(
        self,
        embed_dim: int,
        hidden_size: int,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        positive("AttentionPooling", embed_dim=embed_dim, hidden_size=hidden_size)
        self.embed_dim = embed_dim
        self.key = Dense(embed_dim, hidden_size, rng=rng, engine=self.E)
        random = generator("AttentionPooling", rng)
        self.add_parameter("score", glorot_uniform(random, (hidden_size, 1), hidden_size, 1))

    def forward(
        self, x: Any, rng: np.random.Generator | None = None, mask: Any = None
    ) -> tuple[Any, Any]:
        """Pool ``x`` (N, T, D) over time.

        ``mask`` is bool (N, T), True where a token counts; a row without any gives zeros.

        Returns
        -------
        y : array, shape (N, D)
        weights : array, shape (N, T)
        """
        E = self.E
        n, t = sequences("attention_pooling", "x", x, self.embed_dim)
        kept = token_mask("attention_pooling", E, mask, (n, t))
        scores = E.reshape(E.matmul(E.tanh(self.key(x)), self.score), (n, t))
        weights = masked_softmax(E, scores, kept)
        y = E.matmul(E.reshape(weights, (n, 1, t)), x)  # (N, 1, D)
        return E.reshape(y, (n, self.embed_dim)), weights


class MultiHeadAttention(Layer):
    """Attention in ``num_heads`` subspaces of size embed_dim / num_heads, joined by a matrix.

    The sum over the heads that it computes is eq. attention-multi-head.

    Parameters
    ----------
    embed_dim : int
    num_heads : int
        Divides ``embed_dim``.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    query, key, value, output : Dense
        Each of (embed_dim, embed_dim).

    Source: Vaswani et al. (2017), section 3.2.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        positive("MultiHeadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ArgumentError(
                "MultiHeadAttention", "num_heads", f"the value {num_heads}",
                f"a divisor of embed_dim = {embed_dim}",
            )  # fmt: skip
        self.num_heads = num_heads
        self.query = Dense(embed_dim, embed_dim, rng=rng, engine=self.E)
        self.key = Dense(embed_dim, embed_dim, rng=rng, engine=self.E)
        self.value = Dense(embed_dim, embed_dim, rng=rng, engine=self.E)
        self.output = Dense(embed_dim, embed_dim, rng=rng, engine=self.E)

    def _split(self, x: Any) -> Any:  # (N, T, D) -> (N, heads, T, D / heads)
        n, t, d = x.shape
        heads = self.E.reshape(x, (n, t, self.num_heads, d // self.num_heads))
        return self.E.transpose(heads, (0, 2, 1, 3))

    def forward(
        self,
        x: Any,
        rng: np.random.Generator | None = None,
        memory: Any = None,
        mask: Any = None,
    ) -> tuple[Any, Any]:
        """Attend from ``x`` to ``memory`` (without it, to ``x`` itself).

        Parameters
        ----------
        x : array, shape (N, T, D)
        memory : array, shape (N, S, D), optional
        mask : bool array that broadcasts to (N, heads, T, S), optional
            True where attending is allowed.

        Returns
        -------
        y : array, shape (N, T, D)
        weights : array, shape (N, heads, T, S)
        """
        if len(x.shape) != 3:
            raise ArgumentError(
                "multi_head_attention", "x", f"shape {tuple(x.shape)}", "3 axes (N, T, D)"
            )
        memory = x if memory is None else memory
        q = self._split(self.query(x))
        k = self._split(self.key(memory))
        v = self._split(self.value(memory))
        heads, weights = self.E.attention(q, k, v, mask)  # (N, heads, T, D / heads)
        joined = self.E.reshape(self.E.transpose(heads, (0, 2, 1, 3)), tuple(x.shape))
        return self.output(joined), weights
