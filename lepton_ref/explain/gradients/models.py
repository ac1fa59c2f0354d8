"""The models that the chapter explains: pictures of clothes, reviews, and patients.

Each is a white box: called with an engine's array it returns logits, and carries the data that
it is explained on.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import dtype_name
from lepton_ref.framework.data import Standardizer, train_validation_test_split
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Dense, Layer, ReLU, Sequential
from lepton_ref.framework.losses import cross_entropy
from lepton_ref.framework.models import load_model
from lepton_ref.framework.optimizers import Adam
from lepton_ref.framework.training import fit
from lepton_ref.text.sentiment import Classifier, SentimentNetwork, backwards, preprocess
from lepton_ref.text.sentiment.network import LOW, PAIR_DIM, RNN, pair_rows, shares
from lepton_ref.text.tokens import PAD

EPOCHS, BATCH = 30, 32  # of the patients' network: a second of training


@dataclass(frozen=True)
class FashionModel:
    """A network that names clothes, and the pictures that it was tested on.

    Attributes
    ----------
    model : CNN
        28×28 pictures, standardised, to ten logits.
    images : uint8 ndarray, shape (10000, 28, 28)
    x : float32 ndarray, shape (10000, 1, 28, 28)
        The same, standardised: what explainers take. Black is ``black``, not zero.
    y : int64 ndarray, shape (10000,)
    """

    model: Any
    images: np.ndarray
    x: np.ndarray
    y: np.ndarray

    @property
    def E(self) -> Any:
        return self.model.E

    @property
    def classes(self) -> tuple[str, ...]:
        return self.model.classes

    @property
    def black(self) -> float:
        """A black pixel, standardised: the baseline of an empty picture."""
        return -self.model.mean / self.model.std

    def __call__(self, x: Any) -> Any:
        """Logits: (N, 1, 28, 28) -> (N, 10)."""
        return self.model(x)


def fashion_model(engine: str | Engine | None = None) -> FashionModel:
    """The shipped ``fashion_classifier`` with its test pictures."""
    data = lepton_ref.load("fashion-mnist")
    model = load_model("fashion_classifier", engine=engine)
    images, y = data.test_images, data.test_labels.astype(np.int64)
    return FashionModel(model, images, model.prepare(images), y)


class PatientModel:
    """A small network that tells benign from malignant tumours by 30 measurements.

    Attributes
    ----------
    model : Sequential
        30 standardised measurements to two logits.
    feature_names, classes : tuple of str
    train_x, test_x : float32 ndarray, shapes (456, 30) and (113, 30)
        Standardised by the training rows; 0 is their mean patient.
    train_y, test_y : int64 ndarray
        0 malignant, 1 benign, as scikit-learn has them.
    scaler : Standardizer
        ``scaler.inverse_transform`` gives back the measurements in their units.

    Source of the data: Street, Wolberg and Mangasarian (1993), Wisconsin diagnostic breast
    cancer, as scikit-learn ships it.
    """

    def __init__(self, model: Sequential, data: dict[str, Any]) -> None:
        self.model, self.E = model, model.E
        self.feature_names: tuple[str, ...] = data["feature_names"]
        self.classes: tuple[str, ...] = data["classes"]
        self.train_x, self.train_y = data["train_x"], data["train_y"]
        self.test_x, self.test_y = data["test_x"], data["test_y"]
        self.scaler: Standardizer = data["scaler"]

    def __call__(self, x: Any) -> Any:
        """Logits: (N, 30) -> (N, 2)."""
        return self.model(x)


def patient_model(seed: int = 0, engine: str | Engine | None = None) -> PatientModel:
    """Train the patients' network on the NumPy engine (once a seed), and move it to ``engine``.

    All engines get the same weights.

    Parameters
    ----------
    seed : int
        Of the split, the weights and the batches.
    engine : str or Engine, optional
    """
    data, state = _trained_patients(seed)
    model = _patient_network(np.random.default_rng(seed), engine)
    model.load_state(state)
    return PatientModel(model, data)


def _patient_network(rng: np.random.Generator, engine: str | Engine | None) -> Sequential:
    made: dict[str, Any] = {"rng": rng, "engine": engine}
    return Sequential(
        Dense(30, 16, initializer="kaiming_normal", **made),
        ReLU(engine=engine),
        Dense(16, 8, initializer="kaiming_normal", **made),
        ReLU(engine=engine),
        Dense(8, 2, **made),
    )


@functools.lru_cache(maxsize=4)
def _trained_patients(seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    labels = table.target.astype(np.int64)
    rng = np.random.default_rng(seed)
    split = train_validation_test_split(len(labels), rng, validation=0.0, test=0.2, labels=labels)
    scaler = Standardizer().fit(table.data[split.train])
    x = scaler.transform(table.data).astype(np.float32)
    network = _patient_network(rng, "numpy")
    fit(
        network, cross_entropy, (x[split.train], labels[split.train]),
        Adam(0.003, engine=network.E), epochs=EPOCHS, rng=rng, batch_size=BATCH, l2=0.01,
        progress=False,
    )  # fmt: skip
    data = {
        "feature_names": tuple(str(name) for name in table.feature_names),
        "classes": tuple(str(name) for name in table.target_names),
        "train_x": x[split.train], "train_y": labels[split.train],
        "test_x": x[split.test], "test_y": labels[split.test], "scaler": scaler,
    }  # fmt: skip
    return data, network.state()


class ReviewModel:
    """The shipped sentiment models, differentiable with respect to what they read.

    Words are no numbers to differentiate by, so the network is cut behind its tables: what goes
    in is one row of D = E + 2P numbers for each word: its vector, and the vectors of the pair
    that begins and of the pair that ends at it. The network reads each pair as the mean of both
    copies, so that whatever a pair contributes is shared equally between its two words.

    Attributes
    ----------
    network : SentimentNetwork
    classes : tuple of str
    dim : int
        D.
    """

    def __init__(self, network: SentimentNetwork) -> None:
        encoder = network.encoder
        if "attention" in encoder.pooling:
            raise ArgumentError(
                "ReviewModel", "network", f"pooling {encoder.pooling}", "no pooling by attention"
            )
        self.network, self.encoder, self.E = network, encoder, network.E
        self.classes = network.classifier.classes
        self.words_dim = int(encoder.embedding.weight.shape[1])
        self.dim = self.words_dim + (2 * PAIR_DIM if encoder.pairs is not None else 0)

    @property
    def dtype(self) -> str:
        return dtype_name(self.encoder.embedding.weight)

    def words(self, text: str) -> list[str]:
        """The words that the model reads of a text.

        Raises
        ------
        ArgumentError
            For a text without any.
        """
        found = preprocess(text)[: self.encoder.max_length]
        if not found:
            raise ArgumentError("ReviewModel", "text", f"no words: {text!r}", "at least one word")
        return found

    def tokens(self, texts: str | Sequence[str]) -> np.ndarray:
        """Numbers of the words, int64 (N, T); 0 is padding.

        Errors as in :meth:`words`.
        """
        listed = [texts] if isinstance(texts, str) else list(texts)
        return self.encoder.encode([self.words(text) for text in listed])

    def embed(self, ids: np.ndarray) -> np.ndarray:
        """What the network reads: (N, T) -> (N, T, D); zero where there is nothing."""
        ids = np.asarray(ids)
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise ArgumentError(
                "ReviewModel.embed", "ids", f"{ids.dtype} {ids.shape}", "int (N, T)"
            )
        real = ids != PAD
        vectors = np.asarray(self.E.asnumpy(self.encoder.embedding.weight))[ids]
        parts = [vectors * real[:, :, None]]
        if self.encoder.pairs is not None:
            begins = np.zeros((*ids.shape, PAIR_DIM), vectors.dtype)
            ends = begins.copy()
            if ids.shape[1] > 1:
                rows, both = pair_rows(ids)
                table = np.asarray(self.E.asnumpy(self.encoder.pairs.weight))
                begins[:, :-1] = ends[:, 1:] = table[rows] * both[:, :, None]
            parts += [begins, ends]
        return np.concatenate(parts, axis=2)

    def given(self, ids: np.ndarray) -> Review:
        """The network for these texts, as a function of their embeddings alone.

        Parameters
        ----------
        ids : int array (N, T), or bool array (N, T)
            Of word numbers only which are padding is used; a mask says the same.
        """
        ids = np.asarray(ids)
        return Review(self, ids if ids.dtype == bool else ids != PAD)

    def __call__(self, x: Any) -> Any:
        """Logits of embeddings without padding: (N, T, D) -> (N, K)."""
        return self.given(np.ones((1, int(x.shape[1])), bool))(x)

    def logits(self, texts: str | Sequence[str]) -> np.ndarray:
        """Logits of texts by the whole network: float64 (N, K). A black box of texts."""
        with self.E.no_grad():
            y = self.network(self.E.array(self.tokens(texts)))
        return np.asarray(self.E.asnumpy(y), np.float64)


class Review:
    """A white box from embeddings to logits, with the padding of its texts as a constant.

    Parameters
    ----------
    review : ReviewModel
    mask : bool ndarray, shape (N, T)
        True where there is a word. With N = 1 it holds for every row of a batch.
    """

    def __init__(self, review: ReviewModel, mask: np.ndarray) -> None:
        self.review, self.mask, self.E, self.classes = review, mask, review.E, review.classes

    @property
    def dtype(self) -> str:
        return self.review.dtype

    @property
    def num_examples(self) -> int:
        return len(self.mask)

    def select(self, rows: Any) -> Review:
        """The same for a batch whose row i is text ``rows[i]``."""
        rows = np.asarray(rows)
        if len(self.mask) == 1:
            return self
        return Review(self.review, self.mask[rows])

    def __call__(self, x: Any) -> Any:
        """Logits: (M, T, D) -> (M, K).

        Raises
        ------
        ArgumentError
            When the shape is not that of the texts.
        """
        n, t = self.mask.shape
        shape = tuple(int(s) for s in x.shape)
        if len(shape) != 3 or shape[1:] != (t, self.review.dim) or n not in (1, shape[0]):
            wanted = f"({'M' if n == 1 else n}, {t}, {self.review.dim})"
            raise ArgumentError("Review", "x", f"shape {shape}", wanted)
        t = max(1, int(self.mask.any(axis=0).nonzero()[0].max(initial=0)) + 1)
        if t < shape[1]:  # behind it every row is padding, which nothing reads
            x = self.E.getitem(x, (slice(None), slice(0, t)))
        mask = np.broadcast_to(self.mask[:, :t], (shape[0], t))
        return self.review.network.classifier(self._features(x, mask))

    def _features(self, x: Any, mask: np.ndarray) -> Any:
        """What the network pools, from vectors instead of word numbers."""
        E, encoder, kind = self.E, self.review.encoder, dtype_name(x)
        words = x[:, :, : self.review.words_dim]  # (M, T, E)
        states, last = _read(encoder, words, mask)
        pooled = []

        def mean(steps: Any, real: np.ndarray, power: float) -> Any:
            return E.sum(E.multiply(steps, E.array(shares(real) ** power, kind)), axis=1)

        for name in encoder.pooling:
            if name == "last":
                pooled += last
            elif name == "mean":
                pooled.append(mean(states, mask, 1.0))
            elif name == "words":
                pooled.append(mean(words, mask, 0.5))
            elif name == "pairs":
                pooled.append(self._pairs(x, mask))
            else:
                floor = np.where(mask, 0.0, LOW)[:, :, None]
                pooled.append(E.max(E.add(states, E.array(floor, kind)), axis=1))
        return E.concat(pooled, axis=1) if len(pooled) > 1 else pooled[0]

    def _pairs(self, x: Any, mask: np.ndarray) -> Any:
        """The mean of both copies of each pair, summed with weight 1/√(number of pairs)."""
        E, start = self.E, self.review.words_dim
        begins, ends = mask.copy(), mask.copy()
        begins[:, :-1] &= mask[:, 1:]
        begins[:, -1] = False
        ends[:, 0] = False
        weights = [0.5 * shares(real) ** 0.5 for real in (begins, ends)]  # two of (M, T, 1)
        copies = [x[:, :, start : start + PAIR_DIM], x[:, :, start + PAIR_DIM :]]
        parts = [
            E.sum(E.multiply(copy, E.array(weight, dtype_name(x))), axis=1)
            for copy, weight in zip(copies, weights)
        ]
        return E.add(*parts)  # (M, P)


def _read(encoder: RNN, words: Any, mask: np.ndarray) -> tuple[Any, list[Any]]:
    """States of the LSTMs in their own order of reading, (M, T, H · directions); the last ones."""
    E, (m, t) = encoder.E, mask.shape
    outputs, last = [], []
    places = np.broadcast_to(np.arange(1, t + 1), (m, t)) * mask
    for order, lstm in zip((places, backwards(places, mask)), encoder.lstms):
        vectors = words
        if order is not places:
            rows = np.maximum(order - 1, 0) + t * np.arange(m)[:, None]
            flat = E.reshape(words, (m * t, int(words.shape[2])))
            vectors = E.take(flat, E.array(rows))  # (M, T, E)
        states, ends = lstm(vectors, mask=mask)
        outputs.append(states)
        last.append(ends[-1][0])
    return (E.concat(outputs, axis=2) if len(outputs) > 1 else outputs[0]), last


def review_model(engine: str | Engine | None = None) -> ReviewModel:
    """The shipped ``sentiment_analysis_model`` and ``sentiment_classifier``, cut for explaining."""
    encoder = load_model("sentiment_analysis_model", expected=RNN, engine=engine)
    classifier = load_model("sentiment_classifier", expected=Classifier, engine=engine)
    return ReviewModel(SentimentNetwork(encoder, classifier))


def white_box(model: Any) -> Layer:
    """The layer inside one of this module's models, or the layer itself.

    Raises
    ------
    ArgumentError
        When there is none.
    """
    found = getattr(model, "model", model)
    if not isinstance(found, Layer):
        raise ArgumentError("white_box", "model", f"type {type(model).__name__}", "a Layer")
    return found
