"""Word vectors: skip-gram with negative sampling, and what stands near what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.framework.data import batches
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Layer
from lepton_ref.framework.optimizers import Optimizer


def keep_probability(counts: np.ndarray, threshold: float = 1e-3) -> np.ndarray:
    """How often to keep a word: min(1, √(t / f)), f its share of the text (eq. tokens-subsampling).

    Parameters
    ----------
    counts : array, shape (V,)
    threshold : float
        t: the share above which words are thinned out.

    Returns
    -------
    ndarray float64, shape (V,)
        1 for words that do not occur.
    """
    counts = np.asarray(counts, np.float64)
    if not threshold > 0:
        raise ArgumentError("keep_probability", "threshold", f"the value {threshold}", "> 0")
    share = counts / max(counts.sum(), 1)
    safe = np.where(share > 0, share, threshold)
    return np.minimum(1.0, np.sqrt(threshold / safe))


def skip_gram_pairs(
    documents: Sequence[Sequence[int]],
    window: int,
    rng: np.random.Generator,
    keep: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of a word and a word near it, as the text has them.

    At each place a width is drawn from 1 … ``window``, so that a word at distance d is used
    with probability (window − d + 1) / window.

    Parameters
    ----------
    documents : sequence of sequences of int
        Word numbers; 0 and 1 (``<pad>``, ``<unk>``) are left out first.
    window : int
    rng : numpy.random.Generator
    keep : array, shape (V,), optional
        Probability of keeping each word (:func:`keep_probability`); the text closes up.

    Returns
    -------
    centers, contexts : ndarray int64, shape (P,)
    """
    if not isinstance(window, (int, np.integer)) or window < 1:
        raise ArgumentError("skip_gram_pairs", "window", f"the value {window!r}", ">= 1")
    empty = np.empty(0, np.int64)
    words = np.concatenate([empty, *(np.asarray(d, np.int64).reshape(-1) for d in documents)])
    document = np.repeat(np.arange(len(documents)), [len(d) for d in documents])
    stays = words > 1
    if keep is not None:
        stays &= rng.random(len(words)) < np.asarray(keep)[words]
    words, document = words[stays], document[stays]
    width = rng.integers(1, window + 1, len(words))
    centers, contexts = [empty], [empty]
    for d in range(1, window + 1):
        left, right = words[:-d], words[d:]
        near = document[:-d] == document[d:]
        for center, context, wide in ((left, right, width[:-d]), (right, left, width[d:])):
            used = near & (wide >= d)
            centers.append(center[used])
            contexts.append(context[used])
    return np.concatenate(centers), np.concatenate(contexts)


class NoiseDistribution:
    """Words drawn with probability ∝ countᵃ (eq. tokens-noise).

    Parameters
    ----------
    counts : array, shape (V,)
    power : float
        a; 1 draws words as often as they occur, 0 all alike. ¾ is what the authors found best.

    Attributes
    ----------
    probability : ndarray float64, shape (V,)
    """

    def __init__(self, counts: np.ndarray, power: float = 0.75) -> None:
        counts = np.asarray(counts, np.float64)
        weight = np.where(counts > 0, np.maximum(counts, 1e-300) ** power, 0.0)
        if counts.ndim != 1 or (counts < 0).any() or not weight.sum() > 0:
            raise ArgumentError(
                "NoiseDistribution", "counts", f"shape {counts.shape}, sum {counts.sum()}",
                "(V,) counts >= 0, one of them positive",
            )  # fmt: skip
        self.probability = weight / weight.sum()
        self._up_to = np.cumsum(self.probability)

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """``size`` word numbers, int64."""
        found = np.searchsorted(self._up_to, rng.random(size), side="right")
        return np.minimum(found, len(self._up_to) - 1)


class SkipGram(Layer):
    """Two vectors for each word: v as the centre of a window, u as a neighbour in it.

    Parameters
    ----------
    vocabulary_size : int
    embedding_dim : int
    rng : numpy.random.Generator
        v starts uniform in ±1 / (2 · embedding_dim), u at zero.
    engine : str or Engine, optional

    Attributes
    ----------
    center, context : array, shape (vocabulary_size, embedding_dim)
        The rows v_c and u_o.

    Source: Mikolov, Sutskever, Chen, Corrado and Dean (2013).
    """

    center: Any
    context: Any

    def __init__(
        self,
        vocabulary_size: int,
        embedding_dim: int,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        for name, value in (("vocabulary_size", vocabulary_size), ("embedding_dim", embedding_dim)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ArgumentError("SkipGram", name, f"the value {value!r}", "a whole number >= 1")
        if rng is None:
            raise ArgumentError("SkipGram", "rng", "no value", "a numpy.random.Generator")
        shape = (vocabulary_size, embedding_dim)
        self.add_parameter("center", (rng.random(shape) - 0.5) / embedding_dim)
        self.add_parameter("context", np.zeros(shape))

    def forward(
        self,
        x: Any,
        rng: np.random.Generator | None = None,
        contexts: Any = None,
        noise: Any = None,
        negatives: int = 5,
    ) -> Any:
        """The loss of a batch of pairs (eq. tokens-sgns-loss).

        L = 1/B Σ_b [ softplus(−u_o·v_c) + K/M Σ_m softplus(u_m·v_c) ]

        With s the scores, its gradients are dv_c = Σ u ds and du = Σ ds v_c, where ds is
        σ(s) − 1 at a pair of the text and σ(s) K/M at noise (eq. tokens-sgns-gradient).

        Parameters
        ----------
        x, contexts : int arrays, shape (B,)
            Centres c and their neighbours o.
        noise : int array, shape (M,) or (B, M)
            Drawn words: one set for the batch, or one for each pair.
        negatives : int
            K, how much the noise weighs.
        """
        E = self.E
        v, u = E.take(self.center, x), E.take(self.context, contexts)  # (B, D)
        drawn = E.take(self.context, noise)  # (M, D) or (B, M, D)
        if len(noise.shape) == 1:
            against = E.matmul(v, E.transpose(drawn))  # (B, M)
        else:
            column = E.reshape(v, (*v.shape, 1))
            against = E.reshape(E.matmul(drawn, column), tuple(noise.shape))  # (B, M)
        weight = negatives / int(noise.shape[-1])
        real = E.sum(E.softplus(-E.sum(u * v, axis=1)))
        false = E.sum(E.softplus(against)) * weight
        return (real + false) * (1.0 / int(x.shape[0]))

    @property
    def vectors(self) -> np.ndarray:
        """The centre vectors, (V, D), each of length 1 (zero vectors stay zero)."""
        v = self.E.asnumpy(self.center)
        length = np.linalg.norm(v, axis=1, keepdims=True)
        return np.divide(v, length, out=np.zeros_like(v), where=length > 0)


@dataclass
class SkipGramHistory:
    """What :func:`train_skip_gram` did: the loss of each step, pairs in each epoch."""

    losses: list[float] = field(default_factory=list)
    pairs: list[int] = field(default_factory=list)


def train_skip_gram(
    model: SkipGram,
    documents: Sequence[Sequence[int]],
    optimizer: Optimizer,
    epochs: int,
    *,
    rng: np.random.Generator,
    window: int = 4,
    negatives: int = 5,
    shared: int = 64,
    batch_size: int = 2048,
    threshold: float = 1e-3,
    power: float = 0.75,
) -> SkipGramHistory:
    """Minimise the skip-gram loss over some documents; ``model`` is trained in place.

    Each step draws ``shared`` words of noise for its whole batch, each weighing
    ``negatives / shared``, which leaves the expected loss as it is (eq. tokens-sgns-shared).

    Parameters
    ----------
    model : SkipGram
    documents : sequence of sequences of int
        Word numbers below the model's vocabulary size.
    optimizer : Optimizer
    epochs : int
        The text is thinned out anew, and its pairs shuffled, in each.
    rng : numpy.random.Generator
    window, threshold, power
        As for :func:`skip_gram_pairs`, :func:`keep_probability`, :class:`NoiseDistribution`.
    negatives, shared, batch_size : int

    Returns
    -------
    SkipGramHistory

    Raises
    ------
    ArgumentError
        When a word number is out of range, or the documents hold no pair.
    """
    where, size = "train_skip_gram", int(model.center.shape[0])
    sizes = {"epochs": epochs, "negatives": negatives, "shared": shared, "batch_size": batch_size}
    for name, value in sizes.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ArgumentError(where, name, f"the value {value!r}", "a whole number >= 1")
    counts = np.zeros(size)
    for document in documents:
        words = np.asarray(document, np.int64).reshape(-1)
        if words.size and not 0 <= words.min() <= words.max() < size:
            bad = words.max() if words.max() >= size else words.min()
            raise ArgumentError(where, "documents", f"the word {bad}", f"numbers in 0..{size - 1}")
        counts += np.bincount(words, minlength=size)
    counts[:2] = 0
    history, E = SkipGramHistory(), model.E
    if not counts.any():
        raise ArgumentError(where, "documents", "no known word", "words that can be learned")
    keep, noise = keep_probability(counts, threshold), NoiseDistribution(counts, power)
    params = model.parameters()

    def loss(params: dict[str, Any], centers: Any, contexts: Any, drawn: Any) -> Any:
        return model.apply(params, centers, contexts=contexts, noise=drawn, negatives=negatives)

    step = E.value_and_grad(loss)
    with lepton_ref.use(E.name, E.device):
        for _ in range(epochs):
            pairs = skip_gram_pairs(documents, window, rng, keep)
            history.pairs.append(len(pairs[0]))
            if not len(pairs[0]):
                raise ArgumentError(where, "documents", "no two words side by side", "a text")
            for rows in batches(pairs, batch_size, rng):
                drawn = noise.draw(rng, shared)
                value, grads = step(params, *(E.array(a) for a in (*rows, drawn)))
                optimizer.step(params, grads)
                history.losses.append(float(value))
    return history


def nearest(
    vectors: np.ndarray, query: np.ndarray, count: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose direction is closest to that of ``query`` (eq. tokens-cosine).

    Parameters
    ----------
    vectors : array, shape (V, D)
    query : array, shape (D,)
    count : int

    Returns
    -------
    rows : ndarray int64, shape (count,)
        Closest first.
    cosines : ndarray, shape (count,)
        A row of zeros has cosine 0 with everything.
    """
    vectors, query = np.asarray(vectors), np.asarray(query)
    if vectors.ndim != 2 or query.shape != vectors.shape[1:]:
        raise ArgumentError(
            "nearest",
            "query",
            f"shape {query.shape}",
            f"({vectors.shape[-1]},), a row of `vectors`",
        )
    length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    cosines = np.divide(vectors @ query, length, out=np.zeros(len(vectors)), where=length > 0)
    rows = np.argsort(-cosines, kind="stable")[:count]
    return rows, cosines[rows]
