"""MXNet 1.9.1 itself: how it is imported, in which threads it works, and its faults mended.

Its threads wait for each other passively unless ``OMP_WAIT_POLICY`` says otherwise: where others
want the cores too, small operators would spend most of their time spinning.

MXNet imports only while ``numpy.bool`` exists, so that name is lent to NumPy for the import
and taken back. Its NumPy semantics are a switch of the current thread (``npx.set_np``): each
call of the engine makes sure that its thread has it. Nothing else of MXNet's state is touched.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as onp

from lepton_ref.framework.errors import EngineError


def import_mxnet() -> Any:
    """MXNet, with NumPy left as it was.

    Raises
    ------
    EngineError
        When MXNet cannot be imported beside this NumPy.
    """
    lent = "bool" not in vars(onp)
    if lent:
        onp.bool = onp.bool_  # type: ignore[attr-defined]
    waiting = "OMP_WAIT_POLICY" not in os.environ  # read once, when libgomp is loaded
    if waiting:
        os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        with warnings.catch_warnings():  # its use of distutils, nothing of ours
            warnings.simplefilter("ignore", DeprecationWarning)
            import mxnet
    except Exception as error:
        raise EngineError(
            f"engine 'mxnet' is installed and cannot be imported beside NumPy {onp.__version__} "
            f"(it needs NumPy 1.26): {type(error).__name__}: {error}"
        ) from error
    finally:
        if lent:
            del onp.bool  # type: ignore[attr-defined]
        if waiting:
            del os.environ["OMP_WAIT_POLICY"]
    return mxnet


mx = import_mxnet()
np, npx, autograd = mx.np, mx.npx, mx.autograd


def nothing(shape: tuple[int, ...], *arrays: Any) -> Any:
    """Zeros that depend on ``arrays``: for empty results and products over empty axes.

    MXNet's fused operators stop or crash on empty arrays. The gradient of this is zero.
    """
    if 0 in shape:
        return np.concatenate([a.reshape(-1)[:0] for a in arrays]).reshape(shape)
    y = np.zeros(shape, dtype=arrays[0].dtype, ctx=arrays[0].ctx)
    for a in arrays:
        y = y + a.reshape(-1)[:0].sum()
    return y


def numpy_semantics(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn MXNet's NumPy semantics on in the thread that calls, once."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not mx.util.is_np_array():
            npx.set_np()
        return method(*args, **kwargs)

    return call


def pairwise(function: Callable[..., Any], a: Any, b: Any) -> Any:
    """``function(a, b)`` elementwise.

    Beside an empty array MXNet leaves the gradient of the other one unwritten.
    """
    arrays = [x for x in (a, b) if isinstance(x, np.ndarray)]
    if any(x.size == 0 for x in arrays):
        shape = onp.broadcast_shapes(*(x.shape for x in arrays))
        return nothing(shape, *(x for x in arrays if x.dtype != bool))
    return function(a, b)


def product(a: Any, b: Any) -> Any:
    """The matrix product. Left to broadcast two batches, MXNet computes wrong gradients."""
    batch = onp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if a.size == 0 or b.size == 0:
        return nothing((*batch, a.shape[-2], b.shape[-1]), a, b)
    if a.ndim > 2 and b.ndim > 2 and a.shape[:-2] != b.shape[:-2]:
        a = np.broadcast_to(a, batch + a.shape[-2:])
        b = np.broadcast_to(b, batch + b.shape[-2:])
    return np.matmul(a, b)


def choose(condition: Any, a: Any, b: Any) -> Any:
    """``np.where`` without its faults: a number spoils the gradient, empty arrays crash."""
    like = a if isinstance(a, np.ndarray) else b
    a, b = (
        x if isinstance(x, np.ndarray) else np.array(x, dtype=like.dtype, ctx=like.ctx)
        for x in (a, b)
    )
    shape = onp.broadcast_shapes(condition.shape, a.shape, b.shape)
    return np.where(condition, a, b) if 0 not in shape else nothing(shape, a, b)


def largest(x: Any, axis: Any, keepdims: bool) -> Any:
    """The maximum. MXNet hands the whole gradient to each entry that ties; here they share it."""
    y = x.max(axis=axis, keepdims=keepdims)
    if not autograd.is_recording() or y.dtype not in (onp.float32, onp.float64):
        return y
    with autograd.pause():
        hits = x == x.max(axis=axis, keepdims=True)
        ties = hits.sum(axis=axis, keepdims=keepdims).astype(x.dtype)
    share = y / ties
    with autograd.pause():  # two corrections give back y to the last bit, infinite or not
        first = np.where(share == y, np.zeros_like(y), y - share)
        second = np.where(share == y, np.zeros_like(y), y - (share + first))
    return share + first + second
