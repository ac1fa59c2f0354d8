"""A document as the counts of its words, plain or weighted by how telling each word is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lepton_ref.framework.data import smooth_idf
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.tokens.vocabulary import Vocabulary


def bag_of_words(documents: Iterable[Sequence[str]], vocabulary: Vocabulary) -> np.ndarray:
    """How often each word occurs in each document; order is forgotten.

    Parameters
    ----------
    documents : iterable of sequences of str
        N lists of tokens.
    vocabulary : Vocabulary

    Returns
    -------
    ndarray float32, shape (N, V)
        Column 0 (``<pad>``) is zero, column 1 counts unknown words.
    """
    rows = [
        np.bincount(np.array(vocabulary.encode(d), np.int64), minlength=len(vocabulary))
        for d in documents
    ]
    return np.array(rows, np.float32).reshape(len(rows), len(vocabulary))


class TfIdf:
    """Counts weighted by idf = ln((1 + N) / (1 + df)) + 1, each row of length 1.

    df is the number of documents that hold the word; a word in none counts as in one, and so
    does every word once more (eq. tokens-idf-smooth).

    Parameters
    ----------
    vocabulary : Vocabulary

    Attributes
    ----------
    idf : ndarray float32, shape (V,)
        After :meth:`fit`.

    Source: Spärck Jones (1972); smoothing as in scikit-learn.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.idf: np.ndarray | None = None

    def fit(self, documents: Iterable[Sequence[str]]) -> TfIdf:
        """Count in how many documents each word occurs."""
        size, df, count = len(self.vocabulary), np.zeros(len(self.vocabulary)), 0
        for document in documents:
            present = np.unique(np.array(self.vocabulary.encode(document), np.int64))
            df[present] += 1
            count += 1
        if not count:
            raise ArgumentError("TfIdf.fit", "documents", "no document", "at least one")
        self.idf = smooth_idf(df, count).astype(np.float32).reshape(size)
        return self

    def transform(self, documents: Iterable[Sequence[str]]) -> np.ndarray:
        """Weighted counts (N, V), float32; a document without words is a row of zeros."""
        if self.idf is None:
            raise ArgumentError("TfIdf.transform", "self", "no idf yet", "fit(documents) first")
        weighted = bag_of_words(documents, self.vocabulary) * self.idf
        length = np.linalg.norm(weighted, axis=1, keepdims=True)
        return np.divide(weighted, length, out=np.zeros_like(weighted), where=length > 0)


def tf_idf(documents: Sequence[Sequence[str]], vocabulary: Vocabulary) -> np.ndarray:
    """:class:`TfIdf` fitted on the documents that it then weighs: (N, V), float32."""
    return TfIdf(vocabulary).fit(documents).transform(documents)
