"""The network: words to vectors, LSTMs in both directions, and what they say pooled over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import dtype_name
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import (
    LSTM,
    AttentionPooling,
    Dropout,
    Embedding,
    Layer,
)
from lepton_ref.framework.models import load_model, register
from lepton_ref.text.sentiment.classifier import Features
from lepton_ref.text.tokens import PAD, Vocabulary, pad

POOLINGS = ("last", "mean", "max", "attention", "words", "pairs")
LOW = -1e9  # below every output of an LSTM
BUCKETS, PAIR_DIM = 65_536, 8  # rows of the table for pairs of words; two pairs may share one
SMALL = 0.1  # word vectors start near zero: a word that is hardly ever seen says hardly anything


def backwards(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Each row's real steps in reverse order, still at its start: (N, T)."""
    steps = np.arange(ids.shape[1])
    source = mask.sum(axis=1, keepdims=True) - 1 - steps  # (N, T)
    return np.where(mask, np.take_along_axis(ids, np.maximum(source, 0), axis=1), PAD)


def turned(E: Any, states: Any, mask: np.ndarray) -> Any:
    """Each row's real steps in reverse order, the padding where it is: (N, T, H), on the engine."""
    n, t, width = (int(size) for size in states.shape)
    steps = np.arange(t)
    source = np.where(mask, mask.sum(axis=1, keepdims=True) - 1 - steps, steps)  # (N, T)
    return E.take(E.reshape(states, (n * t, width)), E.array(source + t * np.arange(n)[:, None]))


def pair_rows(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row of each pair of neighbours in a table of BUCKETS rows, and which pairs are real.

    Pairs are not listed but hashed, so that no vocabulary of them is kept (Joulin et al., 2017).

    Parameters
    ----------
    ids : int array, shape (N, T)

    Returns
    -------
    rows : int64 array, shape (N, max(T − 1, 1))
    mask : bool array of that shape
    """
    if ids.shape[1] < 2:
        ids = np.pad(ids, ((0, 0), (0, 2 - ids.shape[1])))
    left, right = ids[:, :-1], ids[:, 1:]
    return (left * 1_000_003 + right) % BUCKETS, (left != PAD) & (right != PAD)


def shares(mask: np.ndarray) -> np.ndarray:
    """1 / (number of real steps) where a step is real, else 0: weights of a mean, (N, T, 1)."""
    return (mask / np.maximum(mask.sum(axis=1, keepdims=True), 1))[:, :, None]


@register
class RNN(Layer):
    """What a text says, as a row of numbers: embedding, LSTM, pooling over time.

    Parameters
    ----------
    vocabulary : Vocabulary or sequence of str
        The words it knows.
    embedding_dim, hidden_size : int
        E and H.
    bidirectional : bool
        A second LSTM reads from the end.
    pooling : sequence of {"last", "mean", "max", "attention", "words", "pairs"}
        How the states of all steps become one vector; several are set side by side. ``"words"``
        is the mean of the word vectors themselves, which no LSTM has read; ``"pairs"`` the mean
        of a second table's vectors, one for each pair of neighbours.
    dropout : float
        Of the word vectors, and of the features, in training.
    max_length : int
        Words that are read; the rest of a longer text is not.
    rng : numpy.random.Generator
        Draws the initial weights.
    engine : str or Engine, optional

    Attributes
    ----------
    vocabulary : Vocabulary
    out_features : int
        F = H · directions · poolings.

    Raises
    ------
    ArgumentError
        For an unknown pooling, none, or no length.
    """

    def __init__(
        self,
        vocabulary: Vocabulary | Sequence[str] = (),
        embedding_dim: int = 64,
        hidden_size: int = 64,
        bidirectional: bool = True,
        pooling: Sequence[str] = ("max",),
        dropout: float = 0.3,
        max_length: int = 128,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        kinds = (pooling,) if isinstance(pooling, str) else tuple(pooling)
        if not kinds or any(kind not in POOLINGS for kind in kinds):
            raise ArgumentError("RNN", "pooling", f"{kinds}", f"some of {', '.join(POOLINGS)}")
        if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 1:
            raise ArgumentError("RNN", "max_length", f"the value {max_length!r}", "at least 1")
        known = vocabulary if isinstance(vocabulary, Vocabulary) else Vocabulary(vocabulary)
        self.vocabulary, self.pooling, self.max_length = known, kinds, max_length
        made: dict[str, Any] = {"rng": rng, "engine": self.E}
        self.embedding = Embedding(len(known), embedding_dim, **made)
        self.E.assign(self.embedding.weight, self.embedding.weight * SMALL)
        self.lstms = [
            LSTM(embedding_dim, hidden_size, **made) for _ in range(1 + bool(bidirectional))
        ]
        wide = hidden_size * len(self.lstms)
        self.attention = AttentionPooling(wide, wide, **made) if "attention" in kinds else None
        self.dropout = Dropout(dropout, engine=self.E)
        self.pairs = None
        if "pairs" in kinds:
            self.pairs = Embedding(BUCKETS, PAIR_DIM, **made)
            self.E.assign(self.pairs.weight, self.pairs.weight * SMALL)
        sizes = {"words": embedding_dim, "pairs": PAIR_DIM}
        self.out_features = sum(sizes.get(kind, wide) for kind in kinds)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments; the vocabulary as a list of its words."""
        given = {k: v for k, v in self._bound().items() if k != "vocabulary"}
        given["pooling"] = list(self.pooling)
        return {"vocabulary": list(self.vocabulary.tokens), **given}

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Features of rows of word numbers: int (N, T), 0 = padding, -> (N, F)."""
        return self._pool(*self._states(x, rng), rng)[0]

    def _states(self, x: Any, rng: np.random.Generator | None) -> tuple[Any, list[Any], Any, Any]:
        """States of all steps (N, T, directions · H), the last ones, word vectors, word numbers."""
        ids = np.asarray(self.E.asnumpy(x)).astype(np.int64)
        if ids.ndim != 2:
            raise ArgumentError("RNN", "x", f"shape {ids.shape}", "(N, T), word numbers")
        mask = ids != PAD
        used = max(int(mask.any(axis=0).sum()), 1)  # columns of padding alone say nothing
        ids, mask = ids[:, :used], mask[:, :used]
        outputs: list[Any] = []
        last, words = [], []
        for reading, lstm in zip((ids, backwards(ids, mask)), self.lstms):
            vectors = self.dropout(self.embedding(self.E.array(reading)), rng)  # (N, T, E)
            words.append(vectors)
            states, ends = lstm(vectors, mask=mask)
            # A weight belongs to a word, so both directions must speak of it at the same step; a
            # mean or a maximum over all steps does not ask for it.
            turn = bool(outputs) and self.attention is not None
            outputs.append(turned(self.E, states, mask) if turn else states)
            last.append(ends[-1][0])
        states = self.E.concat(outputs, axis=2) if len(outputs) > 1 else outputs[0]
        return states, last, words[0], ids

    def _pool(
        self,
        states: Any,
        last: list[Any],
        words: Any,
        ids: np.ndarray,
        rng: np.random.Generator | None = None,
    ) -> tuple[Any, Any]:
        """One vector for each row, and the attention's weights when there are any."""
        E, kind, weights, mask = self.E, dtype_name(states), None, ids != PAD

        def mean(steps: Any, real: np.ndarray, power: float = 1.0) -> Any:
            return E.sum(E.multiply(steps, E.array(shares(real) ** power, kind)), axis=1)

        pooled = []
        for name in self.pooling:
            if name == "last":
                pooled += last
            elif name == "mean":
                pooled.append(mean(states, mask))
            elif name == "words":
                pooled.append(mean(words, mask, 0.5))
            elif name == "pairs":
                assert self.pairs is not None
                rows, real = pair_rows(ids)
                pooled.append(mean(self.dropout(self.pairs(E.array(rows)), rng), real, 0.5))
            elif name == "max":
                floor = np.where(mask | ~mask.any(axis=1, keepdims=True), 0.0, LOW)
                pooled.append(E.max(E.add(states, E.array(floor[:, :, None], kind)), axis=1))
            else:
                assert self.attention is not None
                vector, weights = self.attention(states, mask=E.array(mask))
                pooled.append(vector)
        together = E.concat(pooled, axis=1) if len(pooled) > 1 else pooled[0]
        return self.dropout(together, rng), weights

    def encode(self, documents: Sequence[Sequence[str]], length: int | None = None) -> np.ndarray:
        """Lists of words as rows of numbers, int64 (N, T), cut at ``max_length``."""
        widest = min(self.max_length, length or self.max_length)
        rows = [self.vocabulary.encode(words[:widest]) for words in documents]
        return pad(rows, length)[0]

    def extract_features(self, words: Any, batch_size: int = 256) -> Features:
        """Features of one preprocessed text (F,), or of several (N, F); float32.

        A text without words, or of unknown ones alone, has features as well: what the network
        makes of nothing, or of ``<unk>``.

        Parameters
        ----------
        words : list of str, or a list of such lists
            As :func:`preprocess` returns them.
        batch_size : int

        Raises
        ------
        ArgumentError
            For a text that was not preprocessed.
        """
        documents, single = _documents("RNN.extract_features", words)
        parts = [np.zeros((0, self.out_features), np.float32)]
        with self.E.no_grad():
            for start in range(0, len(documents), batch_size):
                ids = self.encode(documents[start : start + batch_size])
                parts.append(self.E.asnumpy(self(self.E.array(ids))))
        features = np.concatenate(parts).view(Features)
        features.vocabulary = self.vocabulary.sha256
        return features[0] if single else features

    def extended(
        self,
        documents: Iterable[Sequence[str]],
        min_count: int = 2,
        rng: np.random.Generator | None = None,
        **changes: Any,
    ) -> RNN:
        """A copy that also has rows for the words of these texts which it does not know yet.

        Parameters
        ----------
        documents : iterable of lists of str
            Preprocessed texts: the training part alone.
        min_count : int
            Rarer words stay unknown.
        rng : numpy.random.Generator
            Draws the new rows.
        **changes
            Other constructor's arguments to change that touch no array: ``dropout``,
            ``max_length``.
        """
        found = Vocabulary.build(documents, min_count).tokens
        words = [*self.vocabulary.tokens, *(w for w in found if w not in self.vocabulary)]
        settings = self.config() | {"vocabulary": words} | changes
        copy = type(self)(rng=rng, engine=self.E, **settings)
        rows, old = copy.state(), super().state()
        known = len(self.vocabulary)
        rows["embedding.weight"][:known] = old.pop("embedding.weight")
        copy.load_state(rows | old)
        return copy

    def attention_weights(self, words: Sequence[str]) -> np.ndarray:
        """How much each word of one preprocessed text counts: (T,), sums to 1.

        Raises
        ------
        ArgumentError
            When the model does not pool by attention, or for several texts.
        """
        where = "RNN.attention_weights"
        if self.attention is None:
            raise ArgumentError(where, "self", f"pooling {self.pooling}", "pooling by attention")
        documents, single = _documents(where, words)
        if not single:
            raise ArgumentError(where, "words", f"{len(documents)} texts", "one")
        with self.E.no_grad():
            ids = self.E.array(self.encode(documents))
            _, weights = self._pool(*self._states(ids, None))
        return self.E.asnumpy(weights)[0][: len(documents[0])]

    def state(self) -> dict[str, np.ndarray]:
        """All arrays, and the hash of the vocabulary whose rows they are."""
        digest = np.frombuffer(bytes.fromhex(self.vocabulary.sha256), np.uint8).copy()
        return super().state() | {"vocabulary": digest}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Overwrite all arrays, if they belong to this vocabulary.

        Raises
        ------
        ArgumentError
            When they were saved with another vocabulary, or do not fit otherwise.
        """
        theirs = bytes(np.asarray(state.get("vocabulary", ()), np.uint8)).hex()
        if theirs and theirs != self.vocabulary.sha256:
            raise ArgumentError(
                "RNN.load_state", "state", f"arrays for the vocabulary {theirs[:12]}...",
                f"those for this model's, {self.vocabulary.sha256[:12]}...: row i of the "
                "embedding would stand for another word",
            )  # fmt: skip
        super().load_state(state)

    @classmethod
    def load_model(
        cls,
        name: str,
        path: str | Path | None = None,
        engine: str | Engine | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> RNN:
        """A saved model by name; see :func:`lepton_ref.framework.models.load_model`.

        Parameters
        ----------
        vocabulary : Vocabulary, optional
            The one that your word numbers are made with. A model of another is refused.

        Raises
        ------
        ModelFileError
            When there is none of this name, it is damaged, or it holds another class.
        ArgumentError
            When it was saved with another vocabulary than the one given.
        """
        model = load_model(name, path=path, expected=cls, engine=engine)
        if vocabulary is not None and vocabulary != model.vocabulary:
            raise ArgumentError(
                "RNN.load_model", "vocabulary",
                f"{len(vocabulary):,} words, hash {vocabulary.sha256[:12]}...",
                f"the one that {name} was saved with: {len(model.vocabulary):,} words, hash "
                f"{model.vocabulary.sha256[:12]}...",
            )  # fmt: skip
        return model


def _documents(where: str, words: Any) -> tuple[list[Any], bool]:
    """Several preprocessed texts, and whether one was given."""
    wanted = "what preprocess(text) returns"
    if isinstance(words, (str, bytes)):
        raise ArgumentError(where, "words", f"type {type(words).__name__}", wanted)
    documents = list(words)
    if all(isinstance(word, str) for word in documents):
        return [documents], True
    for document in documents:
        if isinstance(document, str) or not all(isinstance(word, str) for word in document):
            raise ArgumentError(where, "words", "texts and words mixed", wanted)
    return documents, False
