"""Two tasks whose alignment is known: the weights of a model that solves them can be checked.

Source: the recall task follows Ba, Hinton, Mnih, Leibo and Ionescu (2016), *Using Fast Weights
to Attend to the Recent Past*, section 4.1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import (
    AdditiveAttention,
    Dense,
    Embedding,
    Layer,
    TransformerEncoder,
)

KINDS = ("additive", "dot")


def reversal(
    rng: np.random.Generator, count: int, num_steps: int, num_symbols: int
) -> tuple[np.ndarray, np.ndarray]:
    """Random sequences and the same read backwards: two int64 arrays (count, num_steps).

    The right answer at step t stands at step num_steps − 1 − t: a matter of place alone.
    """
    x = rng.integers(0, num_symbols, (count, num_steps))
    return x, x[:, ::-1].copy()


class Recall(NamedTuple):
    """Rows of keys and values, one key asked for, its value, and where it stands."""

    x: np.ndarray  #: (count, 2S + 1) int64: S keys, S values, the key asked for
    answers: np.ndarray  #: (count,)
    places: np.ndarray  #: (count,), the place of the key among the S


def associative_recall(
    rng: np.random.Generator, count: int, num_pairs: int, num_symbols: int
) -> Recall:
    """Lists of pairs with different keys; the task is to name the value of one of them.

    The right answer stands where the key stands, a matter of content alone.

    Raises
    ------
    ArgumentError
        When there are more pairs than symbols to tell them apart.
    """
    if not 1 <= num_pairs <= num_symbols:
        raise ArgumentError(
            "associative_recall", "num_pairs", f"the value {num_pairs}",
            f"1..{num_symbols}, the number of symbols",
        )  # fmt: skip
    keys = rng.random((count, num_symbols)).argsort(axis=1)[:, :num_pairs]
    values = rng.integers(0, num_symbols, (count, num_pairs))
    places = rng.integers(0, num_pairs, count)
    rows = np.arange(count)
    asked = keys[rows, places]
    return Recall(np.hstack([keys, values, asked[:, None]]), values[rows, places], places)


class Reverser(Layer):
    """Embedding, one Transformer block with one head, and a dense layer at every step.

    Parameters
    ----------
    num_symbols, embed_dim : int
    rng : numpy.random.Generator
    engine : str or Engine, optional
    """

    def __init__(
        self,
        num_symbols: int,
        embed_dim: int = 32,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        made: dict[str, Any] = {"rng": rng, "engine": self.E}
        self.embedding = Embedding(num_symbols, embed_dim, **made)
        self.encoder = TransformerEncoder(embed_dim, 1, 1, embed_dim, **made)
        self.head = Dense(embed_dim, num_symbols, **made)

    def attend(self, ids: Any, rng: np.random.Generator | None = None) -> tuple[Any, Any]:
        """Logits (N, T, num_symbols) and weights (N, 1, T, T) of symbols (N, T)."""
        y, (weights,) = self.encoder(self.embedding(ids), rng)
        return self.head(y), weights

    def forward(self, ids: Any, rng: np.random.Generator | None = None) -> Any:
        """Logits (N, T, num_symbols) of symbols (N, T)."""
        return self.attend(ids, rng)[0]


class Recaller(Layer):
    """Looks a key up in a list of pairs, by additive or by scaled dot-product attention.

    Parameters
    ----------
    num_symbols, embed_dim : int
    kind : {"additive", "dot"}
    rng : numpy.random.Generator
    engine : str or Engine, optional
    """

    def __init__(
        self,
        num_symbols: int,
        embed_dim: int = 32,
        kind: str = "additive",
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        if kind not in KINDS:
            raise ArgumentError("Recaller", "kind", f"the value {kind!r}", "'additive', 'dot'")
        made: dict[str, Any] = {"rng": rng, "engine": self.E}
        self.queries = Embedding(num_symbols, embed_dim, **made)
        self.keys = Embedding(num_symbols, embed_dim, **made)
        self.values = Embedding(num_symbols, embed_dim, **made)
        self.additive = None
        if kind == "additive":
            self.additive = AdditiveAttention(embed_dim, embed_dim, embed_dim, **made)
        self.head = Dense(embed_dim, num_symbols, **made)

    def attend(self, x: Any, rng: np.random.Generator | None = None) -> tuple[Any, Any]:
        """Logits (N, num_symbols) and weights (N, S) of rows (N, 2S + 1) as in `Recall`."""
        E, n = self.E, int(x.shape[0])
        s = (int(x.shape[1]) - 1) // 2
        q = self.queries(x[:, 2 * s :])  # (N, 1, D)
        k, v = self.keys(x[:, :s]), self.values(x[:, s : 2 * s])  # (N, S, D)
        if self.additive is None:
            y, weights = E.attention(q, k, v)
        else:
            y, weights = self.additive(q, rng, memory=k, values=v)
        y = E.reshape(y, (n, int(y.shape[-1])))
        return self.head(y), E.reshape(weights, (n, s))

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Logits (N, num_symbols) of rows (N, 2S + 1)."""
        return self.attend(x, rng)[0]
