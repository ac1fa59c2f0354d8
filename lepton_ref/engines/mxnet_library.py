"""MXNet 1.9.1 itself: how it is imported, in which threads it works, and its empty arrays.

MXNet imports only while ``numpy.bool`` exists, so that name is lent to NumPy for the import
and taken back. Its NumPy semantics are a switch of the current thread (``npx.set_np``): each
call of the engine makes sure that its thread has it. Nothing else of MXNet's state is touched.
"""

from __future__ import annotations

import functools
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
