"""What the MXNet and the PyTorch engine do alike: conversion, indices, refusals.

Nothing here imports a library other than NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError

#: The dtype that data of each kind become unless another is asked for.
DEFAULT_DTYPE = {"f": "float32", "i": "int64", "u": "int64", "b": "bool"}

#: The dtypes an array of an engine may have.
DTYPES = ("float32", "float64", "int64", "bool")


def host_array(x: Any, dtype: Any = None) -> np.ndarray:
    """Data as a fresh, contiguous NumPy array: floats float32, whole numbers int64.

    Raises
    ------
    ArgumentError
        When ``x`` holds neither numbers nor booleans, or ``dtype`` is none of :data:`DTYPES`.
    """
    x = np.asarray(x)
    if x.dtype.kind not in DEFAULT_DTYPE:
        raise ArgumentError("array", "x", f"dtype {x.dtype}", "numbers or booleans")
    return np.array(x, dtype_of(dtype) or DEFAULT_DTYPE[x.dtype.kind], order="C")


def dtype_of(dtype: Any) -> str | None:
    """The name of a dtype given by name or as NumPy's; None stays None."""
    if dtype is None or dtype in DTYPES:
        return dtype
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = None
    if name not in DTYPES:
        expected = "float32, float64, int64 or bool"
        raise ArgumentError("array", "dtype", f"the value {dtype!r}", expected)
    return name


def pair(size: Any) -> tuple[int, int]:
    """One number for both directions, or one for each."""
    both = (size, size) if isinstance(size, (int, np.integer)) else size
    return int(both[0]), int(both[1])


def slid(shape: tuple[int, ...], kernel: Any, stride: Any, padding: Any) -> tuple[int, ...]:
    """Height and width after a kernel has slid over an image."""
    sizes = zip(shape[-2:], kernel, stride, padding)
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in sizes)


def enlarged(shape: tuple[int, ...], kernel: Any, stride: Any, padding: Any) -> tuple[int, ...]:
    """Height and width after a transposed convolution."""
    sizes = zip(shape[-2:], kernel, stride, padding)
    return tuple(s * (n - 1) + k - 2 * p for n, k, s, p in sizes)


def plain_index(index: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """An index in its plainest form, checked against ``shape``.

    ``...`` is written out, masks and lists become arrays of whole numbers, and nothing is
    negative (MXNet's gradient of an index array with −1 in it writes outside its memory).

    Returns
    -------
    tuple
        Of ``int``, ``slice``, ``None`` and int64 arrays.

    Raises
    ------
    ArgumentError
        When there are too many indices, one is out of range or of no type that indexes.
    """
    parts = [_as_index(part) for part in (index if isinstance(index, tuple) else (index,))]
    used = sum(_axes_used(part) for part in parts)
    if used > len(shape):
        raise ArgumentError("getitem", "index", f"{used} axes", f"at most {len(shape)}, of {shape}")
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    plain: list[Any] = []
    axis = 0
    for part in parts:
        if part is Ellipsis:
            plain += [slice(None)] * (len(shape) - used)
            axis += len(shape) - used
            used = len(shape)  # a second one stands for nothing
        elif part is None:
            plain.append(None)
        elif isinstance(part, np.ndarray) and part.dtype == bool:
            if part.shape != shape[axis : axis + part.ndim]:
                raise ArgumentError(
                    "getitem", "index", f"a mask of shape {part.shape}",
                    f"{shape[axis : axis + part.ndim]}, the axes it selects from",
                )  # fmt: skip
            plain += np.nonzero(part)
            axis += part.ndim
        else:
            plain.append(part if isinstance(part, slice) else _in_range(part, shape[axis]))
            axis += 1
    # Beside an index array a number is one too, and takes part in broadcasting (NumPy's rule).
    most = max((part.ndim for part in plain if isinstance(part, np.ndarray)), default=0)
    if most:
        plain = [np.full((1,) * most, p) if isinstance(p, int) else p for p in plain]
    return tuple(plain)


def _as_index(part: Any) -> Any:
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if isinstance(part, (int, np.integer)) and not isinstance(part, bool):
        return int(part)
    if hasattr(part, "asnumpy"):
        part = part.asnumpy()
    elif hasattr(part, "detach"):
        part = part.detach().cpu().numpy()
    array = np.asarray(part)
    if array.size == 0 and isinstance(part, (list, tuple)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise ArgumentError(
            "getitem", "index", f"type {type(part).__name__} of dtype {array.dtype}",
            "whole numbers, slices, masks or arrays of whole numbers",
        )  # fmt: skip
    if array.dtype == bool:
        return array
    return array.astype(np.int64) if array.ndim else int(array)


def _axes_used(part: Any) -> int:
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, np.ndarray) and part.dtype == bool else 1


def _in_range(part: Any, n: int) -> Any:
    """Whole numbers in −n..n−1, brought to 0..n−1."""
    low, high = np.min(part, initial=0), np.max(part, initial=-1)
    if np.size(part) and not (-n <= low and high < n):
        got = low if low < -n else high
        raise ArgumentError("getitem", "index", f"the value {got}", f"whole numbers in 0..{n - 1}")
    return part % n if n else part


def check_parameters(arrays: list[tuple[str, Any]], own: type, library: str) -> None:
    """Every parameter is a floating array of the engine."""
    for path, array in arrays:
        kind = str(getattr(array, "dtype", type(array).__name__)).removeprefix("torch.")
        if not isinstance(array, own) or not kind.startswith("float"):
            raise ArgumentError(
                "value_and_grad", path, f"dtype {kind}", f"a float32 or float64 {library} array"
            )


def check_result(output: Any) -> None:
    """What was differentiated is a scalar."""
    if np.shape(output) != ():
        raise ArgumentError(
            "value_and_grad", "function", f"a result of shape {tuple(np.shape(output))}",
            "a scalar (shape ())",
        )  # fmt: skip


def independent() -> ArgumentError:
    """The result was not computed from the parameters."""
    return ArgumentError(
        "value_and_grad", "function", "a result that depends on no parameter",
        "a scalar computed from the parameters",
    )  # fmt: skip
