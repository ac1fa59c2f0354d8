"""The Transformer block, and the encoder made of it. Sequences are (N, T, D).

Source of the formulas: the page *text/attention* of the book.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import dtype_name
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers.attention import MultiHeadAttention, sequences, token_mask
from lepton_ref.framework.layers.base import Layer
from lepton_ref.framework.layers.feedforward import Dense, Dropout, positive
from lepton_ref.framework.layers.normalization import LayerNorm

NORMS = ("pre", "post")


def sinusoidal_positions(num_steps: int, embed_dim: int) -> np.ndarray:
    """One row for each place of a sequence (eq. attention-positions): (num_steps, embed_dim).

    Columns 2i and 2i + 1 hold the sine and the cosine of t ω_i with ω_i = 10000^(−2i/D).

    Raises
    ------
    ArgumentError
        When ``embed_dim`` is odd or a size is below one.

    Source: Vaswani et al. (2017), section 3.5.
    """
    positive("sinusoidal_positions", num_steps=num_steps, embed_dim=embed_dim)
    if embed_dim % 2:
        raise ArgumentError(
            "sinusoidal_positions", "embed_dim", f"the value {embed_dim}", "an even number"
        )
    frequencies = 10000.0 ** (-np.arange(0, embed_dim, 2) / embed_dim)  # (D / 2,)
    angles = np.arange(num_steps)[:, None] * frequencies
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(num_steps, embed_dim)


_positions = functools.lru_cache(maxsize=32)(sinusoidal_positions)


class TransformerBlock(Layer):
    """Multi-head self-attention and a two-layer network, each around a shortcut.

    ``norm="pre"`` normalises what enters each part (eq. attention-pre-norm) and leaves the
    shortcut free; ``norm="post"`` normalises each sum (eq. attention-post-norm), as the paper
    did first.

    Parameters
    ----------
    embed_dim, num_heads : int
    hidden_size : int, optional
        Units of the two-layer network; four times ``embed_dim`` without it.
    dropout : float
        Rate on the output of each part, before it is added.
    norm : {"pre", "post"}
    causal : bool
        Whether each step attends to itself and the steps before it only.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    attention : MultiHeadAttention
    norm_1, norm_2 : LayerNorm
    expand, contract : Dense

    Source: Vaswani et al. (2017), section 3.1; Xiong et al. (2020) for ``"pre"``.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        hidden_size: int | None = None,
        dropout: float = 0.0,
        norm: str = "pre",
        causal: bool = False,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        if norm not in NORMS:
            raise ArgumentError("TransformerBlock", "norm", f"the value {norm!r}", "'pre', 'post'")
        hidden_size = 4 * embed_dim if hidden_size is None else hidden_size
        positive("TransformerBlock", embed_dim=embed_dim, hidden_size=hidden_size)
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.norm, self.causal = norm, causal
        made: dict[str, Any] = {"rng": rng, "engine": self.E}
        self.norm_1 = LayerNorm(embed_dim, engine=self.E)
        self.attention = MultiHeadAttention(embed_dim, num_heads, **made)
        self.norm_2 = LayerNorm(embed_dim, engine=self.E)
        self.expand = Dense(embed_dim, hidden_size, initializer="kaiming_normal", **made)
        self.contract = Dense(hidden_size, embed_dim, **made)
        self.dropout = Dropout(dropout, engine=self.E)

    def forward(
        self, x: Any, rng: np.random.Generator | None = None, mask: Any = None
    ) -> tuple[Any, Any]:
        """One block: (N, T, D) to (N, T, D).

        Parameters
        ----------
        x : array, shape (N, T, D)
        mask : bool array, shape (N, T), optional
            True where a token counts. Nobody attends to the others; what comes out at their
            places means nothing.

        Returns
        -------
        y : array, shape (N, T, D)
        weights : array, shape (N, heads, T, T)
        """
        n, t = sequences("transformer_block", "x", x, self.embed_dim)
        kept = token_mask("transformer_block", self.E, mask, (n, t))
        return self.attend(x, rng, allowed(self.E, kept, t, self.causal))

    def attend(self, x: Any, rng: np.random.Generator | None, allow: Any) -> tuple[Any, Any]:
        """As ``forward``, with a mask that broadcasts to (N, heads, T, T), or None."""
        E = self.E
        if self.norm == "pre":
            a, weights = self.attention(self.norm_1(x), rng, mask=allow)
            x = E.add(x, self.dropout(a, rng))
            return E.add(x, self.dropout(self._network(self.norm_2(x)), rng)), weights
        a, weights = self.attention(x, rng, mask=allow)
        x = self.norm_1(E.add(x, self.dropout(a, rng)))
        return self.norm_2(E.add(x, self.dropout(self._network(x), rng))), weights

    def _network(self, x: Any) -> Any:
        """relu(x W₁ + b₁) W₂ + b₂, each step by itself (eq. attention-network)."""
        return self.contract(self.E.relu(self.expand(x)))


def allowed(E: Any, mask: np.ndarray | None, num_steps: int, causal: bool) -> Any:
    """The mask of the scores, (N or 1, 1, T or 1, T), from one of the tokens; None for no mask."""
    allow = None if mask is None else mask[:, None, None, :]
    if causal:
        past = np.tril(np.ones((num_steps, num_steps), bool))[None, None]
        allow = past if allow is None else allow & past
    return None if allow is None else E.array(allow)


class TransformerEncoder(Layer):
    """Positions added, then ``num_layers`` blocks; with pre-norm a last normalisation.

    Parameters
    ----------
    embed_dim, num_heads, num_layers : int
    hidden_size : int, optional
        Of each block's two-layer network; four times ``embed_dim`` without it.
    dropout : float
        On the sum of embeddings and positions, and in the blocks.
    norm : {"pre", "post"}
    causal : bool
        Whether each step sees itself and the steps before it only.
    positions : bool
        Whether to add :func:`sinusoidal_positions`. Without them the encoder cannot tell one
        order of its input from another (eq. attention-equivariance).
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    blocks : list of TransformerBlock
    last : LayerNorm, or None
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        num_layers: int = 1,
        hidden_size: int | None = None,
        dropout: float = 0.0,
        norm: str = "pre",
        causal: bool = False,
        positions: bool = True,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        positive("TransformerEncoder", embed_dim=embed_dim, num_layers=num_layers)
        if positions and embed_dim % 2:
            raise ArgumentError(
                "TransformerEncoder", "embed_dim", f"the value {embed_dim}",
                "an even number, or positions=False",
            )  # fmt: skip
        self.embed_dim, self.causal, self.positions = embed_dim, causal, positions
        self.dropout = Dropout(dropout, engine=self.E)
        self.blocks = [
            TransformerBlock(
                embed_dim, num_heads, hidden_size, dropout, norm, causal, rng=rng, engine=self.E
            )
            for _ in range(num_layers)
        ]
        self.last = LayerNorm(embed_dim, engine=self.E) if norm == "pre" else None

    def forward(
        self, x: Any, rng: np.random.Generator | None = None, mask: Any = None
    ) -> tuple[Any, list[Any]]:
        """Encode ``x`` (N, T, D).

        Parameters
        ----------
        x : array, shape (N, T, D)
            Embeddings.
        mask : bool array, shape (N, T), optional
            True where a token counts.

        Returns
        -------
        y : array, shape (N, T, D)
            Zero where the mask is False.
        weights : list of array, shape (N, heads, T, T)
            One for each block.
        """
        E = self.E
        n, t = sequences("transformer_encoder", "x", x, self.embed_dim)
        kept = token_mask("transformer_encoder", E, mask, (n, t))
        if self.positions and t:
            x = E.add(x, E.array(_positions(t, self.embed_dim), dtype_name(x)))
        x, allow, weights = self.dropout(x, rng), allowed(E, kept, t, self.causal), []
        for block in self.blocks:
            x, w = block.attend(x, rng, allow)
            weights.append(w)
        x = x if self.last is None else self.last(x)
        if kept is not None:
            x = E.multiply(x, E.array(kept[:, :, None]))
        return x, weights
