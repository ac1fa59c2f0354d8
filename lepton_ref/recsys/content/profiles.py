"""What an item is, as a vector: TF-IDF of its genres, the words of its title, and its decade.

Source: Salton and Buckley (1988); Lops, de Gemmis and Semeraro (2011), *Content-based
recommender systems*.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lepton_ref.framework.arguments import whole
from lepton_ref.framework.data import smooth_idf
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation.arguments import codes
from lepton_ref.recsys.evaluation.beyond import unit_rows
from lepton_ref.recsys.evaluation.selection import top_k

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from lepton_ref.datasets import Dataset

WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
STOP = frozenset(
    "a an and at by de el en for from i ii iii il in la le les of on or the to".split()
)


def title_words(title: str) -> list[str]:
    """The words of a title, lower case, without articles and the like.

    Raises
    ------
    ArgumentError
        When it is no str.
    """
    if not isinstance(title, str):
        raise ArgumentError("title_words", "title", f"type {type(title).__name__}", "a str")
    return [word for word in WORD.findall(title.lower()) if word not in STOP]


def tf_idf(documents: Sequence[Sequence[str]], min_count: int = 1) -> tuple[csr_matrix, list[str]]:
    """Unit rows of term count times inverse document frequency (eq. content-tfidf).

    Parameters
    ----------
    documents : sequence of lists of str
        The terms of each document.
    min_count : int
        Terms in fewer documents are left out.

    Returns
    -------
    matrix : csr_matrix
        float64 (n, D); a row of length 1, or of zeros for a document without a known term.
    terms : list of str
        (D,), sorted.
    """
    from scipy.sparse import csr_matrix

    if any(isinstance(document, str) for document in documents):
        raise ArgumentError("tf_idf", "documents", "a str among them", "lists of terms")
    whole("tf_idf", min_count=min_count)
    found: dict[str, int] = {}
    for document in documents:
        for term in set(document):
            found[term] = found.get(term, 0) + 1
    terms = sorted(term for term, n in found.items() if n >= min_count)
    column = {term: d for d, term in enumerate(terms)}
    pairs = [(i, column[t]) for i, doc in enumerate(documents) for t in doc if t in column]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    shape = (len(documents), len(terms))
    counts = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)  # repeats add up
    df = np.array([found[term] for term in terms], np.float64)
    idf = smooth_idf(df, len(documents))
    return unit_rows(counts.multiply(idf[None])), terms


@dataclass(frozen=True, repr=False)
class ItemProfiles:
    """A vector for each item, whose inner products are a weighted mean of cosines.

    Attributes
    ----------
    matrix : csr_matrix
        float64 (n_items, D).
    features : tuple of str
        (D,): ``"genre:Drama"``, ``"title:star"``, ``"decade:1990"``.
    """

    matrix: csr_matrix
    features: tuple[str, ...]

    @classmethod
    def of(
        cls,
        parts: Mapping[str, Sequence[Sequence[str]]],
        weights: Mapping[str, float] | None = None,
        min_count: int = 1,
    ) -> ItemProfiles:
        """Put blocks of TF-IDF side by side, each scaled by the root of its weight.

        The inner product of two items is then Σ weight · cosine within the block
        (eq. content-blocks).

        Parameters
        ----------
        parts : mapping of str to lists of terms
            The terms of each item, in as many kinds as you like: ``{"genre": [["Drama"], ...]}``.
        weights : mapping of str to float, optional
            Positive, for each part; brought to sum 1. Equal by default.
        min_count : int

        Raises
        ------
        ArgumentError
            No parts, parts of unequal length, weights that are not positive or for other parts.
        """
        from scipy.sparse import hstack

        where = "ItemProfiles.of"
        sizes = {name: len(documents) for name, documents in parts.items()}
        if len(set(sizes.values())) != 1:
            raise ArgumentError(where, "parts", f"lengths {sizes}", "parts of one length")
        share = dict.fromkeys(parts, 1.0) if weights is None else dict(weights)
        if set(share) != set(parts) or not all(0 < w < np.inf for w in share.values()):
            expected = f"a positive number for each of {', '.join(parts)}"
            raise ArgumentError(where, "weights", f"the value {share!r}", expected)
        blocks, names = [], []
        for name, documents in parts.items():
            block, terms = tf_idf(documents, min_count)
            blocks.append(block * np.sqrt(share[name] / sum(share.values())))
            names += [f"{name}:{term}" for term in terms]
        return cls(hstack(blocks, format="csr"), tuple(names))

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.matrix.shape[0])

    def __repr__(self) -> str:
        return f"profiles of {self.n_items:,} items, {len(self.features):,} features"

    def similar(self, item: int, k: int = 10) -> np.ndarray:
        """The k items most like this one, itself left out: int64 (k,), −1 where fewer are."""
        from scipy.sparse import csr_matrix

        codes("ItemProfiles.similar", "item", [item], self.n_items)
        scores = (self.matrix[[item]] @ self.matrix.T).toarray()
        itself = csr_matrix(([1.0], ([0], [item])), shape=scores.shape)
        return top_k(scores, k, itself)[0]


def movie_profiles(
    data: Dataset | None = None,
    weights: Mapping[str, float] | None = None,
    min_count: int = 2,
) -> ItemProfiles:
    """Profiles of the films of MovieLens 100K, from genres, title words and decade.

    Parameters
    ----------
    data : Dataset, optional
        ``lepton_ref.load("movielens-100k")`` by default.
    weights : mapping, optional
        Of ``genre``, ``title`` and ``decade``.
    min_count : int
        A word in one title alone says nothing about any other film.
    """
    if data is None:
        from lepton_ref import datasets

        data = datasets.load("movielens-100k")
    names = np.array(data.classes)
    parts = {
        "genre": [names[row].tolist() for row in data.genres],
        "title": [title_words(str(title)) for title in data.titles],
        "decade": [[f"{year // 10 * 10}"] if year else [] for year in data.years.tolist()],
    }
    if weights is not None:
        parts = {name: part for name, part in parts.items() if weights.get(name, 0) > 0}
        weights = {name: weight for name, weight in weights.items() if weight > 0}
    return ItemProfiles.of(parts, weights, min_count)
