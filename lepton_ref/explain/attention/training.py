"""Film reviews, and the readers trained on them: the model, its seeds, and the adversaries.

All are trained on the NumPy engine and then moved, so that every engine explains the same
weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.explain.attention.distances import (
    kullback_leibler_on,
    softmax,
    total_variation_on,
)
from lepton_ref.explain.attention.maps import attended
from lepton_ref.framework.data import batches
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Layer
from lepton_ref.framework.optimizers import Adam
from lepton_ref.text.attention.classifier import AttentionClassifier
from lepton_ref.text.tokens import Vocabulary, clean, pad, tokenize

LENGTH = 28  # words of a sentence that are read; three in four are no longer
NEUTRAL = 0.2  # grades nearer to zero than this say neither yes nor no
L = TypeVar("L", bound=Layer)


class Reviews(NamedTuple):
    """Sentences of film reviews as rows of word numbers, for training and for the test."""

    train_ids: np.ndarray  #: int64 (M, T), 0 is padding
    train_labels: np.ndarray  #: int64 (M,), 0 negative, 1 positive
    test_ids: np.ndarray
    test_labels: np.ndarray
    vocabulary: Vocabulary

    def words(self, row: int) -> list[str]:
        """The words of a test sentence as the model reads them."""
        return self.vocabulary.decode([int(i) for i in self.test_ids[row] if i])


@functools.lru_cache(maxsize=2)
def film_reviews(seed: int = 0, num_test: int = 1000) -> Reviews:
    """``movie-sentences`` with grades that take a side, repeats removed, split at random.

    Parameters
    ----------
    seed : int
        Of the split.
    num_test : int
    """
    data = lepton_ref.load("movie-sentences")
    words = [tokenize(clean(text), "en") for text in data.texts]
    sided = np.abs(data.grades) >= NEUTRAL
    kept: dict[tuple[str, ...], int] = {}
    for i, sentence in enumerate(words):
        if sided[i] and len(sentence) >= 2:
            kept.setdefault(tuple(sentence), i)
    rows = np.random.default_rng(seed).permutation(np.array(list(kept.values())))
    if not 0 < num_test < len(rows):
        raise ArgumentError("film_reviews", "num_test", f"{num_test}", f"1..{len(rows) - 1}")
    test, train = rows[:num_test], rows[num_test:]
    vocabulary = Vocabulary.build([words[i] for i in train], min_count=3)
    labels = (data.grades > 0).astype(np.int64)

    def encode(part: np.ndarray) -> np.ndarray:
        return pad([vocabulary.encode(words[i][:LENGTH]) for i in part], LENGTH)[0]

    return Reviews(encode(train), labels[train], encode(test), labels[test], vocabulary)


def moved(model: L, engine: str | Engine | None) -> L:
    """The same weights on another engine."""
    copy: Any = type(model).from_config(model.config(), np.random.default_rng(0), engine)
    copy.load_state(model.state())
    return copy


def train(
    model: Layer,
    arrays: tuple[np.ndarray, ...],
    *,
    epochs: int,
    lr: float,
    rng: np.random.Generator,
    batch_size: int = 128,
    frozen: tuple[str, ...] = (),
    loss: Callable[..., Any] | None = None,
    spread: float = 0.3,
) -> None:
    """Adam on ``loss(E, model_with, *batch)``; parameters whose names begin so stay as they are.

    Parameters
    ----------
    model : Layer
        Trained in place; its word vectors are shrunk by ``spread`` first, so that a word that is
        seldom seen says little.
    arrays : tuple of arrays
        Rows of each batch; the first are word numbers, the second labels (for the default loss,
        cross-entropy, a third would be the guide of a :class:`.DiagnosticMLP`).
    epochs : int
    lr : float
    rng : numpy.random.Generator
        Shuffles and drops out.
    batch_size : int
    frozen : tuple of str
        First parts of names.
    loss : callable, optional
        ``loss(params, rng, *batch) -> scalar``, batch on the engine.
    spread : float
    """
    E = model.E
    embedding: Any = model.embedding  # type: ignore[attr-defined]
    E.assign(embedding.weight, embedding.weight * spread)
    params = {k: v for k, v in model.parameters().items() if not k.startswith(frozen or ("\0",))}
    if loss is None:

        def loss(params: Any, rng: Any, ids: Any, labels: Any, *guide: Any) -> Any:
            given = {"weights": guide[0]} if guide else {}
            return E.cross_entropy(model.apply(params, ids, rng, **given), labels)

    optimizer, step = Adam(lr, engine=E), E.value_and_grad(loss)
    for _ in range(epochs):
        for rows in batches(arrays, batch_size, rng):
            _, grads = step(params, rng, *(E.array(a) for a in rows))
            optimizer.step(params, grads)


def transformer_reader(
    seed: int = 0,
    engine: str | Engine | None = None,
    num_test: int = 3000,
    num_layers: int = 2,
) -> AttentionClassifier:
    """The page's Transformer: blocks of two heads, trained on film reviews (once a seed).

    Parameters
    ----------
    seed : int
        Of the split, the weights and the batches.
    engine : str or Engine, optional
        All engines get the same weights.
    num_test : int
        As in :func:`film_reviews`.
    num_layers : int
        Blocks; two on the page.
    """
    return moved(_trained_transformer(seed, num_test, num_layers), engine)


@functools.lru_cache(maxsize=2)
def _trained_transformer(seed: int, num_test: int, num_layers: int) -> AttentionClassifier:
    reviews = film_reviews(seed, num_test)
    model = AttentionClassifier(
        len(reviews.vocabulary), 2, 16, num_layers, 2, dropout=0.2,
        rng=np.random.default_rng(seed), engine="numpy",
    )  # fmt: skip
    train(
        model, (reviews.train_ids, reviews.train_labels), epochs=3, lr=0.01,
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return model


def flatten_attention(model: Any) -> None:
    """Make every weight of the pooling equal, whatever the input: a score of zero for all."""
    model.E.assign(model.pooling.score, model.pooling.score * 0.0)


class _Whole(Layer):
    """A reader whose output is all that it attended to, so that a loss can see it."""

    def __init__(self, reader: Any) -> None:
        super().__init__(reader.E)
        self.reader = reader
        self.embedding = reader.embedding

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        return self.reader.attend(x, rng)


def train_adversary(
    model: Any,
    base: Any,
    ids: np.ndarray,
    *,
    divergence: float,
    epochs: int,
    lr: float,
    rng: np.random.Generator,
    batch_size: int = 128,
) -> None:
    """Train a whole model to answer as ``base`` does and to look elsewhere.

    TVD(ŷ, ŷ_base) − λ KL(α ‖ α_base), averaged (eq. heed-model-adversary). One model must do
    it for all reviews at once, unlike :func:`.adversarial_attention`.

    Parameters
    ----------
    model, base : LSTMReader or AttentionClassifier
        ``model`` is trained in place; no label is used.
    ids : int array, shape (M, T)
    divergence : float
        λ, not negative.
    epochs, lr, rng, batch_size
        As in :func:`train`.

    Source: Wiegreffe and Pinter (2019), section 4.
    """
    if not divergence >= 0:
        raise ArgumentError("train_adversary", "divergence", f"{divergence!r}", "at least 0")
    E, whole = model.E, _Whole(model)
    there = attended("train_adversary", base, ids)

    def loss(params: Any, rng: Any, ids: Any, answers: Any, weights: Any) -> Any:
        found = whole.apply(params, ids, rng)
        apart = E.mean(total_variation_on(E, E.softmax(found.logits), answers))
        elsewhere = E.mean(kullback_leibler_on(E, found.pooling, weights))
        return apart - divergence * elsewhere

    train(
        whole, (ids, softmax(there.logits).astype(np.float32), there.pooling.astype(np.float32)),
        epochs=epochs, lr=lr, rng=rng, batch_size=batch_size, loss=loss,
    )  # fmt: skip


def accuracy(model: Any, ids: np.ndarray, labels: np.ndarray, weights: Any = None) -> float:
    """Share of right answers, in batches of 512; ``weights`` guide a :class:`.DiagnosticMLP`."""
    E, right = model.E, 0
    with E.no_grad():
        for start in range(0, len(ids), 512):
            part = slice(start, start + 512)
            given = {} if weights is None else {"weights": weights[part]}
            logits = E.asnumpy(model(E.array(ids[part]), **given))
            right += int((logits.argmax(axis=1) == labels[part]).sum())
    return right / len(ids)
