"""Alternating least squares: with the items' vectors fixed, each user's is a small linear system.

Explicit ratings and implicit feedback differ in the system, not in how it is solved, so one
function serves both; the second one solves the same systems approximately.

Source: Zhou, Wilkinson, Schreiber and Pan (2008), *Large-scale parallel collaborative filtering
for the Netflix Prize*; Hu, Koren and Volinsky (2008), *Collaborative filtering for implicit
feedback datasets*; Takács, Pilászy and Tikk (2011), *Applications of the conjugate gradient
method for implicit feedback collaborative filtering*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lepton_ref.framework.compiled import compiled
from lepton_ref.framework.parallel import over_batch

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


@compiled
def normal_equations(indptr, indices, weights, targets, base, scale, Y, X):
    """Solve (s B + Yᵤᵀ W Yᵤ) x = Yᵤᵀ t for every row u, and write x into ``X``.

    Yᵤ are the rows of ``Y`` that the row has entries for. With w = 1, t the ratings and B = λ I
    it is ridge regression (eq. als-step); with w = c − 1, t = c and B = Yᵀ Y + λ I it is the step
    of implicit feedback (eq. implicit-step). A row without entries gets zero.

    Parameters
    ----------
    indptr, indices : int64 (m + 1,), int (n,)
        The entries, row by row.
    weights, targets : float (n,)
        w and t of each entry.
    base : float (k, k)
        B.
    scale : float (m,)
        s of each row: 1, or the number of its entries (eq. als-weighted).
    Y, X : float (items, k), (m, k)
        What is fixed, and what is solved for.
    """
    k = Y.shape[1]
    A = np.empty((k, k), Y.dtype)  # the upper half is used
    x = np.empty(k, Y.dtype)
    for u in range(len(indptr) - 1):
        row = indptr[u]
        end = indptr[u + 1]
        if row == end:
            X[u] = 0.0
            continue
        A[:] = scale[u] * base
        x[:] = 0.0
        # Four entries at a time, so that A is read and written a quarter as often. Not BLAS: its
        # threads would wait for one another longer than such small products take.
        while row + 4 <= end:
            y0, y1 = Y[indices[row]], Y[indices[row + 1]]
            y2, y3 = Y[indices[row + 2]], Y[indices[row + 3]]
            for a in range(k):
                w0, w1 = weights[row] * y0[a], weights[row + 1] * y1[a]
                w2, w3 = weights[row + 2] * y2[a], weights[row + 3] * y3[a]
                for c in range(a, k):
                    A[a, c] += w0 * y0[c] + w1 * y1[c] + w2 * y2[c] + w3 * y3[c]
                x[a] += targets[row] * y0[a] + targets[row + 1] * y1[a]
                x[a] += targets[row + 2] * y2[a] + targets[row + 3] * y3[a]
            row += 4
        while row < end:
            y0 = Y[indices[row]]
            for a in range(k):
                w0 = weights[row] * y0[a]
                for c in range(a, k):
                    A[a, c] += w0 * y0[c]
                x[a] += targets[row] * y0[a]
            row += 1
        for j in range(k):  # A = RᵀR, R in place of the upper half
            root = np.sqrt(A[j, j])
            for c in range(j, k):
                A[j, c] /= root
            for i in range(j + 1, k):
                for c in range(i, k):
                    A[i, c] -= A[j, i] * A[j, c]
        for j in range(k):  # Rᵀ z = x, downwards
            x[j] /= A[j, j]
            for c in range(j + 1, k):
                x[c] -= A[j, c] * x[j]
        for j in range(k - 1, -1, -1):  # R x = z, upwards
            for c in range(j + 1, k):
                x[j] -= A[j, c] * x[c]
            x[j] /= A[j, j]
        X[u] = x


@compiled
def conjugate_gradient(indptr, indices, weights, targets, base, scale, Y, X, steps):
    """The same systems, each improved by some steps of conjugate gradients from what ``X`` holds.

    A p = s B p + Yᵤᵀ (w ∘ Yᵤ p), so the matrix is never made (eqs. implicit-cg-product,
    implicit-cg-step): a step costs k² + 2 n k products instead of n k² + k³ / 3 once.

    Parameters
    ----------
    steps : int
        At most so many; k of them solve exactly, up to rounding. Others as in
        :func:`normal_equations`.
    """
    k = Y.shape[1]
    most = 0
    for u in range(len(indptr) - 1):
        most = max(most, indptr[u + 1] - indptr[u])
    columns = np.empty((k, most), Y.dtype)  # Yᵤᵀ: both products run along rows of a table
    t = np.empty(most, Y.dtype)
    Av = np.empty(k, Y.dtype)
    r = np.empty(k, Y.dtype)
    v = np.empty(k, Y.dtype)
    for u in range(len(indptr) - 1):
        start = indptr[u]
        n = indptr[u + 1] - start
        if n == 0:
            X[u] = 0.0
            continue
        x = X[u]
        r[:] = 0.0
        for row in range(n):
            y = Y[indices[start + row]]
            for f in range(k):
                columns[f, row] = y[f]
                r[f] += targets[start + row] * y[f]
        v[:] = x
        old = 0.0
        for step in range(steps + 1):
            t[:n] = 0.0
            Av[:] = 0.0
            for f in range(k):
                for row in range(n):
                    t[row] += v[f] * columns[f, row]
                for c in range(k):
                    Av[c] += scale[u] * v[f] * base[f, c]
            for row in range(n):
                y = Y[indices[start + row]]
                weighted = weights[start + row] * t[row]
                for f in range(k):
                    Av[f] += weighted * y[f]
            if step == 0:  # v was x: the residual is the first direction
                r -= Av
                v[:] = r
                old = float(np.sum(r * r))
            else:
                length = old / np.sum(v * Av)
                new = 0.0
                for f in range(k):
                    x[f] += length * v[f]
                    r[f] -= length * Av[f]
                    new += r[f] * r[f]
                for f in range(k):
                    v[f] = r[f] + new / old * v[f]
                old = new
            if old < 1e-20:
                break


class Entries(NamedTuple):
    """A sparse matrix row by row, as the loops take it.

    ``indptr`` int64 (m + 1,), ``indices`` int32 (n,), ``values`` float (n,).
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, matrix: csr_matrix, dtype: str = "float64") -> Entries:
        """The entries of a matrix, zeros that it stores among them."""
        indices = matrix.indices.astype(np.int32, copy=False)
        return cls(matrix.indptr.astype(np.int64), indices, matrix.data.astype(dtype, copy=False))

    @property
    def counts(self) -> np.ndarray:
        """int64 (m,), entries of each row."""
        return np.diff(self.indptr)


def ridge_step(
    entries: Entries, Y: np.ndarray, X: np.ndarray, reg: float, weighted: bool = True
) -> None:
    """Best vectors for explicit values, given the other side (eqs. als-step, als-weighted).

    Each row of ``X`` becomes argmin Σ (value − x·y)² + λ n ‖x‖², n the number of its entries, or
    1 when not ``weighted``: ridge regression of the values on the rows of ``Y``.

    Parameters
    ----------
    entries : Entries
        m rows.
    Y, X : np.ndarray
        float (items, k) and (m, k); ``X`` is overwritten.
    reg : float
        λ, positive.
    weighted : bool
    """
    scale = entries.counts.astype(X.dtype) if weighted else np.ones(len(X), X.dtype)
    base = reg * np.eye(Y.shape[1], dtype=Y.dtype)
    ones = np.ones(len(entries.values), Y.dtype)
    indices = entries.indices.astype(np.int32, copy=False)  # one compiled version serves all
    _by_rows(normal_equations, entries.indptr, indices, ones, entries.values, base, scale, Y, X)


def implicit_step(
    extra: Entries, Y: np.ndarray, X: np.ndarray, reg: float, cg_steps: int | None = None
) -> None:
    """Best vectors for implicit feedback, the other side given (eqs. implicit-step, -trick).

    Each row of ``X`` becomes argmin Σ c (p − x·y)² + λ ‖x‖² over *all* rows of ``Y``, with
    p = 1 and confidence c = 1 + value where there is an entry, and p = 0, c = 1 elsewhere.

    Parameters
    ----------
    extra : Entries
        m rows; values c − 1, what the confidence is above 1.
    Y, X : np.ndarray
        float (items, k) and (m, k); ``X`` is overwritten.
    reg : float
        λ, positive.
    cg_steps : int, optional
        Steps of conjugate gradients from what ``X`` holds; by default the exact solution.
    """
    base = Y.T @ Y + reg * np.eye(Y.shape[1], dtype=Y.dtype)
    scale = np.ones(len(X), X.dtype)
    indices = extra.indices.astype(np.int32, copy=False)
    given = extra.indptr, indices, extra.values, 1 + extra.values, base, scale, Y, X
    if cg_steps is None:
        _by_rows(normal_equations, *given)
    else:
        _by_rows(conjugate_gradient, *given, cg_steps)


def _by_rows(
    loop: Callable[..., Any], indptr: np.ndarray, indices: np.ndarray, weights: np.ndarray,
    targets: np.ndarray, base: np.ndarray, scale: np.ndarray, Y: np.ndarray, X: np.ndarray,
    *more: int,
) -> None:  # fmt: skip
    """Run a loop over the rows on several threads, as many entries on each; no row sees another."""
    m, n = len(X), int(indptr[-1])

    def work(part: slice) -> None:
        first = int(np.searchsorted(indptr, part.start)) if part.start else 0
        last = m if part.stop == n else int(np.searchsorted(indptr, part.stop))
        loop(
            indptr[first : last + 1], indices, weights, targets, base, scale[first:last], Y,
            X[first:last], *more,
        )  # fmt: skip

    over_batch(work, n, float(n) * Y.shape[1] ** 2)


def implicit_loss(extra: Entries, X: np.ndarray, Y: np.ndarray, reg: float) -> float:
    """Σ over all pairs of c (p − x·y)², plus λ (‖X‖² + ‖Y‖²), without visiting all pairs.

    The pairs without an entry cost Σ (x·y)² = ⟨XᵀX, YᵀY⟩ together; the others are put right
    (eq. implicit-loss-fast).
    """
    total = float(np.sum((X.T @ X) * (Y.T @ Y)))
    rows = np.repeat(np.arange(len(X)), extra.counts)
    for start in range(0, len(rows), 1 << 20):
        part = slice(start, start + (1 << 20))
        dot = np.einsum("nk,nk->n", X[rows[part]], Y[extra.indices[part]])
        total += float(np.sum((1 + extra.values[part]) * (1 - dot) ** 2 - dot * dot))
    return total + reg * float(np.sum(X * X) + np.sum(Y * Y))
