"""Text classifiers: a convolution over words, an LSTM over words, and the mean of their vectors.

Source: Kim (2014), *Convolutional neural networks for sentence classification*; Hochreiter and
Schmidhuber (1997); Joulin, Grave, Bojanowski and Mikolov (2017), *Bag of tricks for efficient
text classification*.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import dtype_name, host
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.inputs import probabilities
from lepton_ref.framework.layers import LSTM, Dense, Dropout, Embedding, Layer, kaiming_normal
from lepton_ref.framework.layers.feedforward import positive
from lepton_ref.framework.layers.initializers import generator
from lepton_ref.framework.models import load_model, register
from lepton_ref.text.tokens import UNK, Vocabulary, clean, masked_mean, pad, tokenize
from lepton_ref.text.tokens.cleaning import URL, check_text

SCALE = 0.1
DIGIT = re.compile(r"\d")


def words(text: str, language: str = "auto") -> list[str]:
    """The tokens that the classifiers read: addresses are ``url``, digits all ``0``.

    A telephone number never seen before is then still a number of eleven digits, ``00000000000``,
    and a year ``0000``.
    """
    text = URL.sub(" url ", check_text("words", text))
    return [DIGIT.sub("0", token) for token in tokenize(clean(text), language)]


class WordConvolution(Layer):
    """Windows of k words against F patterns, and of each pattern its best match.

    z_ti = b_i + Σ_j w_ji · x_(t+j−k+1), y_i = max_t relu(z_ti), over the windows that touch a
    word (eqs. textcnn-window, textcnn-max). It is a convolution (eq. conv2d-forward) of a picture
    of T rows and D columns with kernels as wide as the picture.

    Parameters
    ----------
    embed_dim, num_filters : int
        D and F.
    width : int
        k, in words.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    weight : array, shape (F, 1, k, D)
    bias : array, shape (F,)
    """

    weight: Any
    bias: Any

    def __init__(
        self,
        embed_dim: int,
        num_filters: int,
        width: int,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        positive("WordConvolution", embed_dim=embed_dim, num_filters=num_filters, width=width)
        self.width = width
        shape = (num_filters, 1, width, embed_dim)
        random = generator("WordConvolution", rng)
        self.add_parameter("weight", kaiming_normal(random, shape, width * embed_dim))
        self.add_parameter("bias", np.zeros(num_filters))

    def forward(self, x: Any, rng: np.random.Generator | None = None, mask: Any = None) -> Any:
        """Best matches, (N, T, D) -> (N, F).

        Parameters
        ----------
        x : array, shape (N, T, D)
        mask : bool ndarray, shape (N, T), optional
            True where a word stands; in each row these come first.
        """
        E, k = self.E, self.width
        n, T, D = (int(size) for size in x.shape)
        if mask is not None:
            x = x * E.array(mask[:, :, None], dtype_name(x))
        picture = E.reshape(x, (n, 1, T, D))  # one grey picture, a row for each word
        y = E.relu(E.conv2d(picture, self.weight, self.bias, padding=(k - 1, 0)))
        windows = T + k - 1
        if mask is not None:  # windows past the last word match nothing
            touches = np.arange(windows) < mask.sum(1, keepdims=True) + k - 1
            y = y * E.array(touches[:, None, :, None], dtype_name(x))  # (N, F, T + k - 1, 1)
        return E.reshape(E.max(y, axis=2), (n, int(y.shape[1])))


class TextCNN(Layer):
    """Word convolutions of several widths side by side: (N, T, D) -> (N, F · widths)."""

    def __init__(
        self,
        embed_dim: int,
        size: int = 64,
        widths: Sequence[int] = (2, 3, 4),
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        self.convolutions = [
            WordConvolution(embed_dim, size, width, rng=rng, engine=self.E) for width in widths
        ]
        self.out_features = size * len(widths)

    def forward(self, x: Any, rng: np.random.Generator | None = None, mask: Any = None) -> Any:
        return self.E.concat([c(x, rng, mask=mask) for c in self.convolutions], axis=1)


class TextLSTM(Layer):
    """An LSTM from left to right, and the mean of its states over the words: (N, T, D) -> (N, H).

    Padding stands on the right, so no state of a word has seen any; the mean leaves the others
    out (eq. tokens-masked-mean).
    """

    def __init__(
        self,
        embed_dim: int,
        size: int = 64,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        self.lstm = LSTM(embed_dim, size, rng=rng, engine=self.E)
        self.out_features = size

    def forward(self, x: Any, rng: np.random.Generator | None = None, mask: Any = None) -> Any:
        outputs, _ = self.lstm(x, rng)
        return masked_mean(outputs, mask, self.E)


class TextMean(Layer):
    """The mean of the word vectors, order forgotten: (N, T, D) -> (N, D).

    With a linear layer behind it, the whole is linear in the counts of the words
    (eq. textmean-linear).
    """

    def __init__(
        self,
        embed_dim: int,
        size: int = 0,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        self.out_features = embed_dim

    def forward(self, x: Any, rng: np.random.Generator | None = None, mask: Any = None) -> Any:
        return masked_mean(x, mask, self.E)


ARCHITECTURES: dict[str, Callable[..., Any]] = {
    "cnn": TextCNN, "lstm": TextLSTM, "mean": TextMean,
}  # fmt: skip


@register
class TextClassifier(Layer):
    """A classifier that takes texts as they come and holds its own vocabulary.

    Parameters
    ----------
    architecture : {"cnn", "lstm", "mean"}
        What makes one vector of the vectors of the words.
    vocabulary : Vocabulary or sequence of str
        The words that have a vector; all others share one. It is saved with the model.
    classes : sequence of str
        Their names, in the order of the labels.
    length : int
        Words read of each text; what is longer is cut.
    embed_dim, size : int
        Length of a word's vector; filters of each width, or hidden size.
    dropout : float
        Of the word vectors and of the features.
    language : {"auto", "en", "zh"}
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Raises
    ------
    ArgumentError
        For an unknown architecture, fewer than two classes or a size below 1.
    """

    def __init__(
        self,
        architecture: str,
        vocabulary: Vocabulary | Sequence[str],
        classes: Sequence[str],
        length: int = 64,
        embed_dim: int = 64,
        size: int = 64,
        dropout: float = 0.3,
        language: str = "auto",
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        where = "TextClassifier"
        if architecture not in ARCHITECTURES:
            raise ArgumentError(
                where, "architecture", f"the value {architecture!r}",
                f"one of {', '.join(ARCHITECTURES)}",
            )  # fmt: skip
        if isinstance(classes, str) or len(classes) < 2:
            raise ArgumentError(where, "classes", f"the value {classes!r}", "at least 2 names")
        positive(where, length=length, embed_dim=embed_dim, size=size)
        if not isinstance(vocabulary, Vocabulary):
            vocabulary = Vocabulary(vocabulary)
        self.vocabulary, self.classes = vocabulary, tuple(classes)
        self.length, self.language = length, language
        made: dict[str, Any] = {"rng": generator(where, rng), "engine": self.E}
        self.embedding = Embedding(len(vocabulary), embed_dim, **made)
        # Small, so that what is learned soon outweighs what was drawn, also for rare words.
        self.embedding.load_state({"weight": SCALE * self.embedding.state()["weight"]})
        self.dropout = Dropout(dropout, engine=self.E)
        self.features = ARCHITECTURES[architecture](embed_dim, size, **made)
        self.head = Dense(self.features.out_features, len(classes), **made)

    def config(self) -> dict[str, Any]:
        arguments = self._bound()
        vocabulary = list(self.vocabulary.tokens)
        return {**arguments, "vocabulary": vocabulary, "classes": list(self.classes)}

    def represent(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """One vector for each row of word numbers: (N, T) -> (N, F)."""
        mask = np.asarray(host(x)) != 0
        vectors = self.dropout(self.embedding(x, rng), rng)  # (N, T, D)
        return self.features(vectors, rng, mask=mask)

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Logits of word numbers, 0 being padding: (N, T) -> (N, number of classes)."""
        return self.head(self.dropout(self.represent(x, rng), rng), rng)

    def prepare(self, texts: Iterable[str] | Iterable[list[str]]) -> np.ndarray:
        """Texts as the network takes them: word numbers (N, ``length``), int64.

        A text without any word becomes one unknown word. A list of words, as :func:`words` makes
        it, may stand for a text, to cut each only once.

        Raises
        ------
        ArgumentError
            For a single str (its letters would become texts), bytes and half surrogate pairs.
        """
        if isinstance(texts, (str, bytes)):
            raise ArgumentError(
                "TextClassifier.prepare", "texts", f"type {type(texts).__name__}",
                "a list of texts: [text]",
            )  # fmt: skip
        cut = (t if isinstance(t, list) else words(t, self.language) for t in texts)
        return pad([self.vocabulary.encode(tokens) or [UNK] for tokens in cut], self.length)[0]

    def prepare_labels(self, labels: Any) -> np.ndarray:
        """Labels, checked: int64 (N,).

        Raises
        ------
        ArgumentError
            When one is no whole number, or none of the classes' numbers.
        """
        labels = np.asarray(labels)
        where, last = "TextClassifier.prepare_labels", len(self.classes) - 1
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise ArgumentError(
                where, "labels", f"shape {labels.shape} and dtype {labels.dtype}", "integers (N,)"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() <= last:
            bad = labels.min() if labels.min() < 0 else labels.max()
            raise ArgumentError(where, "labels", f"the label {bad}", f"whole numbers in 0..{last}")
        return labels.astype(np.int64)

    def _in_batches(self, function: Callable[[Any], Any], ids: np.ndarray, size: int = 512) -> Any:
        with self.E.no_grad():
            parts = [
                self.E.asnumpy(function(self.E.array(ids[i : i + size])))
                for i in range(0, len(ids), size)
            ]
        return np.concatenate(parts)

    def extract_features(self, texts: Iterable[str] | Iterable[list[str]]) -> np.ndarray:
        """What the last layer sees of each text: (N, F), float32."""
        ids = self.prepare(texts)
        if not len(ids):
            return np.zeros((0, self.features.out_features), np.float32)
        return self._in_batches(self.represent, ids)

    def predict_proba(self, texts: Iterable[str] | Iterable[list[str]]) -> np.ndarray:
        """Probability of each class for each text: (N, number of classes), rows sum to 1."""
        ids = self.prepare(texts)
        if not len(ids):
            return np.zeros((0, len(self.classes)))
        return probabilities(self._in_batches(self, ids))

    def predict(self, texts: Iterable[str] | Iterable[list[str]]) -> np.ndarray:
        """The most probable label of each text: (N,), int64."""
        return self.predict_proba(texts).argmax(axis=1)

    @classmethod
    def load_model(
        cls, name: str, path: str | Path | None = None, engine: str | Engine | None = None
    ) -> TextClassifier:
        """A saved classifier by name; see :func:`lepton_ref.framework.models.load_model`.

        Raises
        ------
        ModelFileError
            When there is none of this name, it is damaged, or it holds another class.
        """
        return load_model(name, path=path, expected=cls, engine=engine)


def squared_hinge(scores: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss Σ max(0, 1 − y s)² of a linear support vector machine, and its gradient.

    ds = −2 y max(0, 1 − y s)   (eq. hinge-gradient)

    Parameters
    ----------
    scores : array, shape (N,)
    labels : array, shape (N,)
        −1 or 1.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape or not np.isin(labels, (-1, 1)).all():
        raise ArgumentError(
            "squared_hinge", "labels", f"shape {labels.shape}", f"{scores.shape}, each -1 or 1"
        )
    short = np.maximum(0.0, 1.0 - labels * scores)
    return float((short**2).sum()), -2.0 * labels * short


def best_threshold(ratio: float) -> float:
    """The probability of spam above which holding a message back costs less than letting it pass.

    t = r / (1 + r), when a lost message costs r times as much as a spam that gets through
    (eq. spam-threshold).

    Parameters
    ----------
    ratio : float
        r > 0.
    """
    if not ratio > 0:
        raise ArgumentError("best_threshold", "ratio", f"the value {ratio}", "a positive number")
    return ratio / (1.0 + ratio)
