"""Alternating least squares: with the items' vectors fixed, each user's is a small linear system.

Explicit ratings and implicit feedback differ in the system, not in how it is solved, so one
function serves both; the second one solves the same systems approximately.

Source: Zhou, Wilkinson, Schreiber and Pan (2008), *Large-scale parallel collaborative filtering
for the Netflix Prize*; Hu, Koren and Volinsky (2008), *Collaborative filtering for implicit
feedback datasets*; Takács, Pilászy and Tikk (2011), *Applications of the conjugate gradient
method for implicit feedback collaborative filtering*.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lepton_ref.framework.compiled import compiled

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
    for u in range(len(indptr) - 1):
        start = indptr[u]
        end = indptr[u + 1]
        if start == end:
            X[u] = 0.0
            continue
        rows = Y[indices[start:end]]  # (n_u, k)
        A = np.dot(rows.T, weights[start:end].copy().reshape(-1, 1) * rows)
        A += scale[u] * base
        x = np.dot(rows.T, targets[start:end])
        # A = RᵀR, R over the upper half of A. LAPACK would do; to compile a call of it takes
        # longer than all of this page's training.
        for j in range(k):
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
    for u in range(len(indptr) - 1):
        start = indptr[u]
        end = indptr[u + 1]
        if start == end:
            X[u] = 0.0
            continue
        rows = Y[indices[start:end]]
        w = weights[start:end]
        x = X[u].copy()
        r = np.dot(rows.T, targets[start:end] - w * np.dot(rows, x)) - scale[u] * np.dot(base, x)
        p = r.copy()
        old = np.dot(r, r)
        for _ in range(steps):
            if old < 1e-20:
                break
            Ap = np.dot(rows.T, w * np.dot(rows, p)) + scale[u] * np.dot(base, p)
            length = old / np.dot(p, Ap)
            x += length * p
            r -= length * Ap
            new = np.dot(r, r)
            p = r + (new / old) * p
            old = new
        X[u] = x


class Entries(NamedTuple):
    """A sparse matrix row by row, as the loops take it.

    Attributes
    ----------
    indptr, indices : np.ndarray
        int64 (m + 1,), int32 (n,).
    values : np.ndarray
        float (n,).
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
    normal_equations(entries.indptr, indices, ones, entries.values, base, scale, Y, X)


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
        normal_equations(*given)
    else:
        conjugate_gradient(*given, cg_steps)


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
