"""Convolution, its transpose, and pooling, each one fused operator.

What a kernel entry (u, v) meets while the kernel slides over an image is a shifted, strided
view of that image. Pooling is written with these kh·kw views (:func:`shifted_views`): it takes
their maximum or mean. ``im2col`` lays the same windows side by side in two copies, first along
the rows, then down, which turns a convolution into one matrix product; ``col2im`` undoes the two
steps with sums, which is the transposed map.

Sizes: Ho = ⌊(H + 2p − kh) / s⌋ + 1, and the same for Wo.

Source: Chellapilla, Puri and Simard (2006), *High Performance Convolutional Neural Networks
for Document Processing*; Dumoulin and Visin (2016), *A guide to convolution arithmetic*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from lepton_ref.framework.autograd import op
from lepton_ref.framework.parallel import over_batch

#: Bytes of columns and output that are worked on at a time, so that they stay in the cache.
_CACHE = 2**22

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


def _few_at_a_time(part: slice, bytes_each: int) -> Iterator[slice]:
    """Cut a part of the batch into equal pieces whose columns about fit the cache."""
    n = part.stop - part.start
    pieces = min(n, max(1, round(n * bytes_each / _CACHE)))
    for k in range(pieces):
        yield slice(part.start + k * n // pieces, part.start + (k + 1) * n // pieces)


@op
def conv2d(x, w, b=None, stride=1, padding=0):
    """Slide kernels over images (cross-correlation, as every deep-learning library).

    With X_col = im2col(X) and w flattened to (O, C·kh·kw),

    Y[n, o, i, j] = b[o] + Σ_{c,u,v} w[o, c, u, v] X[n, c, s·i + u − p, s·j + v − p]
                                                        (eq. conv2d-forward),
    that is Y = w X_col + b                             (eq. conv2d-im2col)
    dX = col2im(wᵀ dY)                                  (eq. conv2d-dx)
    dw = Σ_n dY_n X_col,nᵀ                              (eq. conv2d-dw)
    db = Σ_{n,i,j} dY                                   (eq. conv2d-db)

    The columns hold each pixel up to kh·kw times. They are made for a few images at a time, so
    that they stay in the cache. Where all of them together fit it, the backward pass finds them
    there; otherwise it makes them again, and they are never stored.
    The bias is the weight of one more row of the columns that is always 1, so the same two
    products compute b's part of Y and its gradient.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    w : array, shape (O, C, kh, kw)
    b : array, shape (O,), optional
    stride, padding : int or (int, int)

    Returns
    -------
    array, shape (N, O, Ho, Wo)

    Raises
    ------
    ArgumentError
        For other shapes or dtypes, or a kernel larger than the padded image
        (:mod:`lepton_ref.engines.domain`).
    """
    (N, C), (O, _, kh, kw) = x.shape[:2], w.shape
    Ho, Wo = output_size(x.shape, (kh, kw), stride, padding)
    K = C * kh * kw
    kernel = w.reshape(O, K) if b is None else np.column_stack([w.reshape(O, K), b])
    y = np.empty((N, O, Ho * Wo), np.result_type(x, w))
    bytes_each = (kernel.shape[1] + O) * Ho * Wo * x.itemsize
    multiply_adds = N * O * Ho * Wo * K

    kept: dict[int, np.ndarray] = {}
    keep = N * kernel.shape[1] * Ho * Wo * x.itemsize <= _CACHE

    def columns(few: slice) -> np.ndarray:  # (n, K, Ho·Wo), a row of ones below when b is given
        if few.start in kept and len(kept[few.start]) == few.stop - few.start:
            return kept[few.start]
        images = x[few]
        cols = np.empty((len(images), kernel.shape[1], Ho * Wo), x.dtype)
        im2col(images, (kh, kw), stride, padding, out=cols[:, :K])
        cols[:, K:] = 1
        if keep:
            kept[few.start] = cols
        return cols

    def forward(part: slice) -> None:
        for few in _few_at_a_time(part, bytes_each):
            np.matmul(kernel, columns(few), out=y[few])

    over_batch(forward, N, multiply_adds)

    def vjp(dy, needs):
        dy = dy.reshape(N, O, Ho * Wo)
        dx = np.empty_like(x)

        def backward(part: slice) -> np.ndarray:
            dkernel = np.zeros_like(kernel)
            for few in _few_at_a_time(part, bytes_each):
                if needs[0]:
                    dcols = kernel[:, :K].T @ dy[few]
                    dx[few] = col2im(dcols, x[few].shape, (kh, kw), stride, padding)
                if needs[1] or needs[2]:
                    dkernel += (dy[few] @ columns(few).swapaxes(1, 2)).sum(axis=0)
            return dkernel

        dkernel = np.sum(over_batch(backward, N, 2 * multiply_adds), axis=0)
        dw = dkernel[:, :K].reshape(w.shape)
        return dx if needs[0] else None, dw, None if b is None else dkernel[:, K]

    return y.reshape(N, O, Ho, Wo), vjp


@op
def conv_transpose2d(x, w, b=None, stride=1, padding=0):
    """The transpose of the linear map of :func:`conv2d`: it enlarges where that one reduces.

    Y = col2im(wᵀ X) + b                                (eq. conv-transpose)
    dX = w im2col(dY),   dw = Σ_n X_n im2col(dY)_nᵀ,   db = Σ_{n,i,j} dY

    with w flattened to (C, O·kh·kw). Output height: s (H − 1) + kh − 2p.

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    w : array, shape (C, O, kh, kw)
    b : array, shape (O,), optional
    stride, padding : int or (int, int)

    Returns
    -------
    array, shape (N, O, s(H − 1) + kh − 2p, s(W − 1) + kw − 2p)
    """
    N, C, H, W = x.shape
    _, O, kh, kw = w.shape
    (sh, sw), (ph, pw) = pair(stride), pair(padding)
    shape = (N, O, sh * (H - 1) + kh - 2 * ph, sw * (W - 1) + kw - 2 * pw)
    kernel, flat = w.reshape(C, O * kh * kw), x.reshape(N, C, H * W)

    y = col2im(kernel.T @ flat, shape, (kh, kw), stride, padding)
    if b is not None:
        y = y + b[:, None, None]

    def vjp(dy, needs):
        dcols = im2col(dy, (kh, kw), stride, padding)  # (N, O·kh·kw, H·W)
        return (
            np.matmul(kernel, dcols).reshape(x.shape) if needs[0] else None,
            (flat @ dcols.swapaxes(1, 2)).sum(axis=0).reshape(w.shape) if needs[1] else None,
            dy.sum(axis=(0, 2, 3)) if needs[2] else None,
        )

    return y, vjp


@op
def max_pool2d(x, kernel_size, stride=None, padding=0):
    """The largest entry of each window.

    Y[n, c, i, j] = max_{u,v} X[n, c, s·i + u − p, s·j + v − p]     (eq. max-pool-forward)
    dX receives dY[n, c, i, j] at the position of that maximum, zero elsewhere; of several
    equal ones the first in reading order is taken                  (eq. max-pool-dx)

    Parameters
    ----------
    x : array, shape (N, C, H, W)
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        ``kernel_size`` when None: windows side by side.
    padding : int or (int, int)
        Minus infinity around the image; at most half the kernel.

    Returns
    -------
    array, shape (N, C, Ho, Wo)
    """
    stride = kernel_size if stride is None else stride
    out = output_size(x.shape, kernel_size, stride, padding)
    padded = pad_image(x, padding, -np.inf)
    y = np.empty((*x.shape[:2], *out), x.dtype)
    operations = y.size * math.prod(pair(kernel_size))

    def forward(part: slice) -> None:
        y[part] = -np.inf
        for _, _, view in shifted_views(padded[part], kernel_size, stride, out):
            np.maximum(y[part], view, out=y[part])

    over_batch(forward, len(x), operations)

    def dx(dy):
        dpadded = np.zeros_like(padded)
        apart = all(s >= k for s, k in zip(pair(stride), pair(kernel_size)))

        def backward(part: slice) -> None:
            views = shifted_views(padded[part], kernel_size, stride, out)
            targets = shifted_views(dpadded[part], kernel_size, stride, out)
            free = np.ones(y[part].shape, bool)  # windows whose maximum is not yet found
            for (_, _, view), (_, _, target) in zip(views, targets):
                found = (view == y[part]) & free
                free ^= found
                if apart:
                    target[...] = dy[part] * found
                else:
                    target += dy[part] * found

        over_batch(backward, len(x), 4 * operations)
        return crop_image(dpadded, padding)

    return y, (dx,)


@op
def avg_pool2d(x, kernel_size, stride=None, padding=0):
    """The mean of each window; the zeros of the padding count.

    Y[n, c, i, j] = 1/(kh·kw) Σ_{u,v} X[n, c, s·i + u − p, s·j + v − p]   (eq. avg-pool-forward)
    dX[n, c, s·i + u − p, s·j + v − p] += dY[n, c, i, j] / (kh·kw)        (eq. avg-pool-dx)

    Parameters and result as in :func:`max_pool2d`.
    """
    stride = kernel_size if stride is None else stride
    out = output_size(x.shape, kernel_size, stride, padding)
    kh, kw = pair(kernel_size)

    y = np.zeros((*x.shape[:2], *out), x.dtype)
    for _, _, view in shifted_views(pad_image(x, padding), kernel_size, stride, out):
        y += view
    y /= kh * kw

    def dx(dy):
        dpadded = pad_image(np.zeros_like(x), padding)
        share = dy / (kh * kw)
        for _, _, view in shifted_views(dpadded, kernel_size, stride, out):
            view += share
        return crop_image(dpadded, padding)

    return y, (dx,)


class Conv2dCost(NamedTuple):
    """What one convolution costs, counted from the shapes alone."""

    forward_multiply_adds: int
    backward_multiply_adds: int
    minimum_bytes: int
    im2col_bytes: int


def conv2d_cost(
    x_shape: tuple[int, int, int, int],
    w_shape: tuple[int, int, int, int],
    stride: Size = 1,
    padding: Size = 0,
    itemsize: int = 4,
) -> Conv2dCost:
    """Count the work of :func:`conv2d`.

    M = N·O·Ho·Wo·C·kh·kw multiply-adds forward, 2M backward (dw and dx)   (eq. conv2d-cost)
    Bytes moved at least: input, weights and output once; im2col: its columns
    (eq. conv2d-bytes)

    Parameters
    ----------
    x_shape : (N, C, H, W)
    w_shape : (O, C, kh, kw)
    stride, padding : int or (int, int)
    itemsize : int
        Bytes of one number; 4 in float32.
    """
    N, C, H, W = x_shape
    O, _, kh, kw = w_shape
    Ho, Wo = output_size(x_shape, (kh, kw), stride, padding)
    forward = N * O * Ho * Wo * C * kh * kw
    moved = N * C * H * W + O * C * kh * kw + N * O * Ho * Wo
    columns = N * C * kh * kw * Ho * Wo
    return Conv2dCost(forward, 2 * forward, itemsize * moved, itemsize * columns)


def receptive_field(layers: Sequence[tuple[int, int]]) -> int:
    """How many rows of the input one output row depends on.

    R = 1 + Σ_l (k_l − 1) Π_{m<l} s_m   (eq. receptive-field)

    Parameters
    ----------
    layers : sequence of (kernel size, stride)
        From the input on; pooling counts as a layer.
    """
    rows, step = 1, 1
    for kernel, stride in layers:
        rows += (kernel - 1) * step
        step *= stride
    return rows
