"""Reading entries by index. The gradient adds each dY entry to where it was read (a scatter)."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.autograd import op


def scatter_add(rows: np.ndarray, indices: np.ndarray, n: int) -> np.ndarray:
    """Sum ``rows[k]`` into row ``indices[k]`` of a zero array with ``n`` rows.

    Sorting and ``np.add.reduceat`` do what ``np.add.at`` does, several times faster.
    """
    out = np.zeros((n, *rows.shape[1:]), rows.dtype)
    if indices.size:
        order = np.argsort(indices, kind="stable")
        ordered = indices[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        out[ordered[starts]] = np.add.reduceat(rows[order], starts, axis=0)
    return out


@op
def getitem(x, index):
    """Y = X[index] for slices, integers, masks and integer arrays."""

    def dx(dy):
        out = np.zeros_like(x)
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, (np.ndarray, list)) for part in parts):
            np.add.at(out, index, dy)  # an integer array may read an entry twice
        else:
            out[index] = dy
        return out

    return x[index], (dx,)


@op
def take(x, indices, axis=0):
    """Rows of X by number: an embedding look-up.

    Y[k] = X[indices[k]],   dX[i] = Σ dY[k] over all k with indices[k] = i   (eq. embedding-vjp)

    Parameters
    ----------
    x : array, shape (V, ...) along ``axis``
    indices : integer array, any shape, entries in 0..V−1
    axis : int

    Raises
    ------
    ArgumentError
        When an index is negative or not below V.
    """
    indices = np.asarray(indices)

    def dx(dy):
        axis_ = axis % x.ndim
        kept = x.shape[:axis_] + x.shape[axis_ + 1 :]
        lead = tuple(range(axis_, axis_ + indices.ndim))
        rest = tuple(i for i in range(dy.ndim) if i not in lead)
        rows = np.transpose(dy, lead + rest).reshape(indices.size, *kept)
        return np.moveaxis(scatter_add(rows, indices.ravel(), x.shape[axis_]), 0, axis_)

    return np.take(x, indices, axis=axis), (dx,)


@op
def pick(x, indices, axis=-1):
    """One entry along ``axis`` for every position of the other axes.

    Y[n] = X[n, indices[n]],   dX is dY at these places and zero elsewhere.

    Parameters
    ----------
    x : array, shape (..., C)
    indices : integer array, shape of ``x`` without ``axis``, entries in 0..C−1

    Raises
    ------
    ArgumentError
        When an index is negative or not below C, or the shapes do not match.
    """
    at = np.expand_dims(np.asarray(indices), axis)

    def dx(dy):
        out = np.zeros_like(x)
        np.put_along_axis(out, at, np.expand_dims(dy, axis), axis)
        return out

    return np.take_along_axis(x, at, axis).squeeze(axis), (dx,)
