"""What a sliding kernel meets: shifted views of an image, and its patches as columns."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import as_strided

#: Bytes of columns and output that are worked on at a time, so that they stay in the cache.
CACHE = 2**22

Size = int | tuple[int, int]


def pair(size: Size) -> tuple[int, int]:
    """One number for both directions, or one for each."""
    return (size, size) if isinstance(size, (int, np.integer)) else (size[0], size[1])


def output_size(
    shape: tuple[int, ...], kernel_size: Size, stride: Size = 1, padding: Size = 0
) -> tuple[int, int]:
    """Height and width after a kernel has slid over an image: ⌊(H + 2p − kh) / s⌋ + 1."""
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel_size), pair(stride), pair(padding)
    return (shape[-2] + 2 * ph - kh) // sh + 1, (shape[-1] + 2 * pw - kw) // sw + 1


def pad_image(x: np.ndarray, padding: Size, value: float = 0.0) -> np.ndarray:
    """``x`` with ``padding`` rows and columns of ``value`` on every side."""
    ph, pw = pair(padding)
    if not ph and not pw:
        return x
    *lead, H, W = x.shape
    padded = np.full((*lead, H + 2 * ph, W + 2 * pw), value, x.dtype)
    padded[..., ph : ph + H, pw : pw + W] = x
    return padded


def crop_image(padded: np.ndarray, padding: Size) -> np.ndarray:
    """The inverse of :func:`pad_image`, as a view."""
    ph, pw = pair(padding)
    return padded[..., ph : padded.shape[-2] - ph, pw : padded.shape[-1] - pw]


def shifted_views(
    padded: np.ndarray, kernel_size: Size, stride: Size, out: tuple[int, int]
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield ``(u, v, view)``: what kernel entry (u, v) meets, one entry per output position."""
    (kh, kw), (sh, sw), (Ho, Wo) = pair(kernel_size), pair(stride), out
    for u in range(kh):
        for v in range(kw):
            yield u, v, padded[..., _steps(u, sh, Ho), _steps(v, sw, Wo)]  # (..., Ho, Wo)


def _steps(first: int, stride: int, count: int) -> slice:
    """``count`` positions from ``first`` on, ``stride`` apart."""
    return slice(first, first + stride * (count - 1) + 1, stride)


def im2col(
    x: np.ndarray,
    kernel_size: Size,
    stride: Size = 1,
    padding: Size = 0,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Lay the patches that the kernel sees side by side, one column per output position.

    cols[n, (c, u, v), (i, j)] = x[n, c, s·i + u − p, s·j + v − p], zero outside the image.

    Shifting along the rows comes first, for all v; what is then shifted down, for all u, are
    whole blocks of memory, which copy fast.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    kernel_size, stride, padding : int or (int, int)
    out : array, shape (N, C·kh·kw, Ho·Wo), optional
        Where to write the columns.

    Returns
    -------
    array, shape (N, C·kh·kw, Ho·Wo)
    """
    N, C = x.shape[:2]
    (kh, kw), (sh, sw) = pair(kernel_size), pair(stride)
    Ho, Wo = output_size(x.shape, kernel_size, stride, padding)
    padded = pad_image(x, padding)
    n, c, h, v = padded.strides
    wide = as_strided(padded, (N, C, kw, padded.shape[2], Wo), (n, c, v, h, v * sw)).copy()
    n, c, j, h, v = wide.strides
    cols = np.empty((N, C * kh * kw, Ho * Wo), x.dtype) if out is None else out
    patches = as_strided(wide, (N, C, kh, kw, Ho, Wo), (n, c, h, j, h * sh, v))
    cols.reshape(patches.shape)[...] = patches
    return cols


def col2im(
    cols: np.ndarray,
    shape: tuple[int, ...],
    kernel_size: Size,
    stride: Size = 1,
    padding: Size = 0,
) -> np.ndarray:
    """Add each column back to where its patch came from: the transpose of :func:`im2col`.

    ⟨im2col(X), D⟩ = ⟨X, col2im(D)⟩ for every X and D. The two steps of :func:`im2col` come
    in the opposite order, and each copy has become a sum.

    Parameters
    ----------
    cols : array, shape (N, C·kh·kw, Ho·Wo)
    shape : (N, C, H, W) of the image
    kernel_size, stride, padding : int or (int, int)

    Returns
    -------
    array, shape (N, C, H, W)
    """
    N, C, H, W = shape
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel_size), pair(stride), pair(padding)
    Ho, Wo = output_size(shape, kernel_size, stride, padding)
    cols = cols.reshape(N, C, kh, kw, Ho, Wo)
    wide = np.zeros((N, C, kw, H + 2 * ph, Wo), cols.dtype)
    for i in range(kh):
        wide[..., _steps(i, sh, Ho), :] += cols[:, :, i]
    padded = np.zeros((N, C, H + 2 * ph, W + 2 * pw), cols.dtype)
    for j in range(kw):
        padded[..., _steps(j, sw, Wo)] += wide[:, :, j]
    return crop_image(padded, padding)


def few_at_a_time(part: slice, bytes_each: int) -> Iterator[slice]:
    """Cut a part of the batch into equal pieces whose columns about fit the cache."""
    n = part.stop - part.start
    pieces = min(n, max(1, round(n * bytes_each / CACHE)))
    for k in range(pieces):
        yield slice(part.start + k * n // pieces, part.start + (k + 1) * n // pieces)
