"""The operators: convolution, its transpose, pooling by maximum and by mean."""

from __future__ import annotations

import math

import numpy as np

from lepton_ref.framework.autograd import op
from lepton_ref.framework.parallel import over_batch
from lepton_ref.vision.convolution import windows
from lepton_ref.vision.convolution.windows import (
    col2im,
    crop_image,
    few_at_a_time,
    im2col,
    output_size,
    pad_image,
    pair,
    shifted_views,
)


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
    keep = N * kernel.shape[1] * Ho * Wo * x.itemsize <= windows.CACHE

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
        for few in few_at_a_time(part, bytes_each):
            np.matmul(kernel, columns(few), out=y[few])

    over_batch(forward, N, multiply_adds)

    def vjp(dy, needs):
        dy = dy.reshape(N, O, Ho * Wo)
        dx = np.empty_like(x)

        def backward(part: slice) -> np.ndarray:
            dkernel = np.zeros_like(kernel)
            for few in few_at_a_time(part, bytes_each):
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
