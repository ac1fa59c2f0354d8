"""How alike two rows of ratings are, all from the same few sums over the raters they share.

Sources: Sarwar, Karypis, Konstan and Riedl (2001), *Item-based collaborative filtering
recommendation algorithms*; Koren (2010), *Factor in the neighbors*.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.arguments import number, one_of, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.neighbours.loops import ROUNDING, nearest_rows, pair_sums

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

KINDS = ("cosine", "pearson", "msd")
MEMORY = 8 << 20  # bytes of a block of sums
COUNT, PRODUCT, SQUARE, OTHER_SQUARE, SUM, OTHER_SUM = range(6)


def checked(
    where: str, kind: str, over: str, shrinkage: float, min_support: int, memory: int
) -> None:
    """Refuse what :func:`similarity_blocks` and :func:`nearest` do not take."""
    one_of(where, "kind", kind, KINDS)
    one_of(where, "over", over, ("common", "all") if kind == "cosine" else ("common",))
    number(where, shrinkage=shrinkage)
    whole(where, min_support=min_support, memory=memory)


def common_sums(
    matrix: csr_matrix, start: int, stop: int, means: bool = True, products: bool = False
) -> np.ndarray:
    """Sums over the raters that rows ``start`` to ``stop`` share with every row.

    With the mask M of stored entries they are six sparse products, rows of M Mᵀ, X Xᵀ, X² Mᵀ,
    M X²ᵀ, X Mᵀ, M Xᵀ (eq. neighbours-products). One pass over the ratings makes all of them.

    Parameters
    ----------
    matrix : csr_matrix
        X (n, raters); a stored zero is a rating.
    start, stop : int
        The rows of the block.
    means : bool
        Also the plain sums, which only Pearson's correlation needs.
    products : bool
        Make them by scipy's sparse products instead of the compiled loop: the readable version.

    Returns
    -------
    np.ndarray
        float64 (stop − start, n, 6), or 4 without ``means``: count, product, square of the
        row's, square of the other's, sum of the row's, sum of the other's.
    """
    width, n = 6 if means else 4, matrix.shape[0]
    if products:
        mask, square = matrix.copy(), matrix.copy()
        mask.data, square.data = np.ones_like(matrix.data), matrix.data**2
        mine = slice(start, stop)
        pairs = [(mask, mask), (matrix, matrix), (square, mask), (mask, square)]
        pairs += [(matrix, mask), (mask, matrix)]
        found = [(left[mine] @ right.T).toarray() for left, right in pairs[:width]]
        return np.stack(found, axis=2)
    raters = matrix.T.tocsr()
    arrays = [(x.indptr, x.indices, x.data) for x in (matrix, raters)]
    sums = np.zeros((width, stop - start, n))
    pair_sums(start, stop, *arrays[0], *arrays[1], sums)
    return np.moveaxis(sums, 0, 2)


def from_sums(kind: str, sums: np.ndarray) -> np.ndarray:
    """Similarities (..., n) from sums over common raters (..., n, 4 or 6); 0 where undefined.

    - cosine: Σab / √(Σa² Σb²)   (eq. neighbours-cosine)
    - pearson: (n Σab − Σa Σb) / √((n Σa² − (Σa)²)(n Σb² − (Σb)²))   (eq. neighbours-pearson)
    - msd: 1 / (1 + (Σa² − 2 Σab + Σb²) / n)   (eq. neighbours-msd)
    """
    n, ab, aa, bb = (sums[..., k] for k in range(4))
    if kind == "msd":
        gap = np.maximum(aa - 2 * ab + bb, 0) / np.maximum(n, 1)
        return np.where(n > 0, 1 / (1 + gap), 0.0)
    if kind == "pearson":
        a, b = sums[..., SUM], sums[..., OTHER_SUM]
        ab, aa, bb, raw_a, raw_b = n * ab - a * b, n * aa - a**2, n * bb - b**2, n * aa, n * bb
        aa, bb = aa * (aa > ROUNDING * raw_a), bb * (bb > ROUNDING * raw_b)
    # Each root alone: the product of two small squares can be smaller than any float.
    below = np.sqrt(aa)
    below *= np.sqrt(bb)
    found = np.divide(ab, below, out=np.zeros_like(below), where=below > 0)
    return np.clip(found, -1, 1, out=found)


def shrink(found: np.ndarray, count: np.ndarray, shrinkage: float) -> np.ndarray:
    """Pull correlations of few raters towards 0: ρ̂ (n − 1)/(n − 1 + λ) (eq. neighbours-shrunk).

    Parameters
    ----------
    found, count : np.ndarray
        Correlations, and the number n of ratings behind each.
    shrinkage : float
        λ; with 0 nothing is pulled.
    """
    if shrinkage == 0:
        return found
    more = np.maximum(count - 1.0, 0)
    return found * np.divide(more, more + shrinkage, out=more)


def centred(matrix: csr_matrix) -> csr_matrix:
    """Each rating less the mean of its rater, that is, of its column (eq. neighbours-centred)."""
    out = matrix.tocsr().copy()
    size = matrix.shape[1]
    count = np.bincount(out.indices, minlength=size)
    mean = np.bincount(out.indices, out.data, minlength=size) / np.maximum(count, 1)
    out.data = out.data - mean[out.indices]
    return out


def similarity_blocks(
    matrix: csr_matrix,
    kind: str = "cosine",
    *,
    over: str = "common",
    shrinkage: float = 0.0,
    min_support: int = 1,
    memory: int = MEMORY,
    products: bool = False,
) -> Iterator[tuple[int, np.ndarray]]:
    """Similarities of a few rows at a time with all others, so that memory stays bounded.

    Parameters
    ----------
    matrix : csr_matrix
        (n, raters), a row for each thing that is compared.
    kind : {"cosine", "pearson", "msd"}
        The adjusted cosine is the cosine of :func:`centred` rows, the Pearson-baseline
        correlation that of residuals.
    over : {"common", "all"}
        Over whom the lengths in the denominator of the cosine run: those who rated both, or all
        who rated one, a missing rating counting as 0.
    shrinkage : float
        λ of :func:`shrink`.
    min_support : int
        Pairs with fewer common raters have similarity 0.
    memory : int
        Bytes that the sums of a block may take; one row at least is made at a time.
    products : bool
        See :func:`common_sums`.

    Yields
    ------
    start : int
    block : np.ndarray
        float64 (rows, n), of the rows from ``start``; 1 on the diagonal.

    Raises
    ------
    ArgumentError
        An unknown kind, sums over "all" for another kind than the cosine, a negative shrinkage.
    """
    checked("similarity_blocks", kind, over, shrinkage, min_support, memory)
    matrix = matrix.tocsr()
    n, means = matrix.shape[0], kind == "pearson"
    raters = matrix.T.tocsr()
    arrays = [(x.indptr, x.indices, x.data) for x in (matrix, raters)]
    length = _lengths(matrix)
    step = max(1, min(n, memory // max(1, n * (6 if means else 4) * 8)))
    for start in range(0, n, step):
        stop = min(start + step, n)
        if products:
            sums = common_sums(matrix, start, stop, means, products)
        else:
            made = np.zeros((6 if means else 4, stop - start, n))
            pair_sums(start, stop, *arrays[0], *arrays[1], made)
            sums = np.moveaxis(made, 0, 2)
        if over == "all":
            below = length[start:stop, None] * length
            dot = sums[..., PRODUCT]
            block = np.divide(dot, below, out=np.zeros_like(below), where=below > 0)
        else:
            block = from_sums(kind, sums)
        block = shrink(block, sums[..., COUNT], shrinkage)
        if min_support > 1:
            block[sums[..., COUNT] < min_support] = 0
        block[np.arange(stop - start), np.arange(start, stop)] = 1
        yield start, block


def similarities(matrix: csr_matrix, kind: str = "cosine", **options: Any) -> np.ndarray:
    """All similarities at once, float64 (n, n); arguments as in :func:`similarity_blocks`."""
    blocks = [block for _, block in similarity_blocks(matrix, kind, **options)]
    return np.concatenate(blocks) if blocks else np.zeros((0, 0))


def nearest(
    matrix: csr_matrix,
    kind: str = "cosine",
    top: int | None = None,
    *,
    over: str = "common",
    shrinkage: float = 0.0,
    min_support: int = 1,
    memory: int = MEMORY,
    products: bool = False,
) -> csr_matrix:
    """The positive similarities, of each row the ``top`` largest; a row is no neighbour of itself.

    Only pairs with a common rater are touched (eq. neighbours-work), and all that is held is one
    row of sums and what is kept (eq. neighbours-kept).

    Parameters
    ----------
    matrix, kind, over, shrinkage, min_support
        As in :func:`similarity_blocks`.
    top : int, optional
        How many are kept of each row; all without it. Of equal ones the lower number is kept.
    memory : int
        Bytes of the block of rows that is made at a time.
    products : bool
        Pick from the blocks of :func:`similarity_blocks` instead: the readable version, whose
        time grows with the square of the number of rows.

    Returns
    -------
    csr_matrix
        float64 (n, n), columns ascending.

    Raises
    ------
    ArgumentError
        As :func:`similarity_blocks`; a ``top`` below 1.
    """
    from scipy.sparse import csr_matrix

    checked("nearest", kind, over, shrinkage, min_support, memory)
    if top is not None:
        whole("nearest", top=top)
    matrix = matrix.tocsr()
    n = matrix.shape[0]
    if not n:
        return csr_matrix((0, 0))
    most = n if top is None else min(top, n)
    if products:
        options: dict[str, Any] = {"over": over, "shrinkage": shrinkage, "memory": memory}
        blocks = similarity_blocks(matrix, kind, min_support=min_support, **options, products=True)
        parts = [_picked(start, block, most) for start, block in blocks]
    else:
        raters, step = matrix.T.tocsr(), max(1, min(n, memory // (12 * most)))
        arrays = [a for x in (matrix, raters) for a in (x.indptr, x.indices, x.data)]
        lengths = _lengths(matrix) if over == "all" else np.zeros(0)
        numbers = (KINDS.index(kind), float(shrinkage), float(min_support))
        parts = []
        for start in range(0, n, step):
            stop = min(start + step, n)
            at = np.zeros((stop - start, most), np.int32)
            values, counts = np.zeros(at.shape), np.zeros(stop - start, np.int64)
            nearest_rows(start, stop, *arrays, lengths, *numbers, at, values, counts)
            there = np.arange(most) < counts[:, None]
            parts.append((at[there], values[there], counts))
    columns, similar, per_row = (np.concatenate(found) for found in zip(*parts))
    out = csr_matrix((similar, columns, np.concatenate([[0], np.cumsum(per_row)])), shape=(n, n))
    out.sort_indices()
    return out


def _picked(start: int, block: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns, values and their number in each row of the ``most`` largest positive entries."""
    block[np.arange(len(block)), np.arange(start, start + len(block))] = 0
    keep = (block > 0) & largest(block, most)
    return np.nonzero(keep)[1].astype(np.int32), block[keep], keep.sum(1)


def largest(block: np.ndarray, top: int) -> np.ndarray:
    """Where the ``top`` largest of each row stand, of equal ones the first: bool, as ``block``."""
    edge = -np.partition(-block, top - 1, axis=1)[:, top - 1 : top]
    above, level = block > edge, block == edge
    room = top - above.sum(1, keepdims=True)
    return above | (level & (np.cumsum(level, axis=1) <= room))


def prior_strength(found: np.ndarray, count: np.ndarray, lost: int = 1) -> float:
    """The λ that the correlations themselves ask for (eq. neighbours-empirical).

    Observed squares are larger than true ones by the variance 1/ν of the noise, so the mean of
    ρ̂² − 1/ν over pairs, weighted by ν, estimates the prior's variance τ²; λ = 1/τ².

    Parameters
    ----------
    found, count : np.ndarray
        Correlations of distinct pairs, not shrunk, and the number n of ratings behind each.
    lost : int
        ν = n − lost: 1 for Pearson's correlation, which took its means from the same ratings
        (eq. neighbours-noise), 0 for the cosine of residuals (eq. neighbours-noise-signs). Pairs
        with n < 2 are left out.

    Returns
    -------
    float
        λ; infinite when the correlations are no larger than chance makes them.

    Raises
    ------
    ArgumentError
        When no pair has two ratings, or another number is lost.
    """
    where = "prior_strength"
    if lost not in (0, 1):
        raise ArgumentError(where, "lost", f"the value {lost!r}", "0 or 1")
    use = np.asarray(count) > 1
    if not use.any():
        raise ArgumentError(where, "count", "no pair with 2 or more", "some")
    rho, degrees = np.asarray(found)[use], np.asarray(count)[use] - float(lost)
    variance = float((degrees * rho**2 - 1).sum() / degrees.sum())
    return 1 / variance if variance > 0 else float("inf")


def _lengths(matrix: csr_matrix) -> np.ndarray:
    """The length of each row, over all raters: float64 (n,)."""
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return np.sqrt(np.bincount(rows, matrix.data**2, minlength=matrix.shape[0]))
