"""Everything that can be wrong with a training run, found before its first step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lepton_ref.engines.domain import dtype_name
from lepton_ref.framework.arguments import whole
from lepton_ref.framework.data import check_finite
from lepton_ref.framework.errors import ArgumentError, DataError

Arrays = tuple[np.ndarray, ...]


def check_count(where: str, name: str, value: Any, low: int = 1) -> int:
    """A whole number of at least ``low``."""
    whole(where, low, **{name: value})
    return int(value)


def check_strength(where: str, name: str, value: Any, least: float = 0.0) -> float:
    """A finite number of at least ``least`` (or above it, when it is not zero)."""
    fits = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
    if not (fits and least <= value < math.inf):
        raise ArgumentError(where, name, f"the value {value!r}", f"a finite number >= {least:g}")
    return float(value)


def check_rng(where: str, rng: Any) -> np.random.Generator:
    """A NumPy generator: the only source of randomness."""
    if not isinstance(rng, np.random.Generator):
        raise ArgumentError(
            where, "rng", f"type {type(rng).__name__}", "np.random.default_rng(seed)"
        )
    return rng


def as_arrays(where: str, name: str, data: Any, float_dtype: str) -> Arrays:
    """``(x, y, ...)`` as arrays of equal length, of the dtypes that the engines take.

    Raises
    ------
    ArgumentError
        Not a tuple of two or more arrays, different lengths, or a dtype that is no number.
    DataError
        An empty data set, a NaN or an infinity.
    """
    if not isinstance(data, (tuple, list)) or len(data) < 2:
        got = f"{len(data)} arrays" if isinstance(data, (tuple, list)) else type(data).__name__
        raise ArgumentError(where, name, got, "a tuple (inputs, targets) of NumPy arrays")
    arrays = []
    for i, part in enumerate(data):
        label = f"{name}[{i}]"
        if not isinstance(part, np.ndarray):
            raise ArgumentError(where, label, f"type {type(part).__name__}", "a NumPy array")
        if part.ndim == 0:
            raise ArgumentError(where, label, "shape ()", "one row per example, (N, ...)")
        if len(part) != len(data[0]):
            raise ArgumentError(
                where, label, f"{len(part)} rows", f"{len(data[0])} rows, as {name}[0] has"
            )
        arrays.append(_as_number(where, label, part, float_dtype, is_input=i == 0))
    if len(arrays[0]) == 0:
        raise DataError(f"{where}: `{name}` is empty: 0 rows")
    for i, array in enumerate(arrays):
        check_finite(array, f"{where}: {name}[{i}]")
    return tuple(arrays)


def _as_number(
    where: str, label: str, part: np.ndarray, float_dtype: str, is_input: bool
) -> np.ndarray:
    if part.dtype.kind == "f":
        return np.asarray(part, float_dtype)
    if part.dtype == np.uint8 and is_input:
        raise ArgumentError(
            where, label, "dtype uint8",
            "float32: scale pictures first (`Standardizer`, or x / 255); int64 for indices",
        )  # fmt: skip
    if part.dtype.kind in "iu":
        return np.asarray(part, np.int64)
    if part.dtype.kind == "b":
        return part
    raise ArgumentError(where, label, f"dtype {part.dtype}", "floats, integers or booleans")


def check_model(where: str, model: Any) -> tuple[dict[str, Any], str]:
    """The model's parameters and their dtype; they are there, alike and finite."""
    needed = ("parameters", "apply", "state", "load_state", "E")
    if lacking := [name for name in needed if not hasattr(model, name)]:
        raise ArgumentError(
            where, "model", f"type {type(model).__name__} without {', '.join(lacking)}", "a Layer"
        )
    params = model.parameters()
    if not params:
        raise ArgumentError(where, "model", "no parameters", "at least one array to train")
    dtypes = {dtype_name(p) for p in params.values()}
    if len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
        raise ArgumentError(
            where, "model", f"parameters of dtype {', '.join(sorted(dtypes))}",
            "all float32 or all float64",
        )  # fmt: skip
    for name, array in params.items():
        check_finite(model.E.asnumpy(array), f"{where}: parameter `{name}` of the model")
    return params, dtypes.pop()


def check_fit(
    where: str, model: Any, loss: Callable[..., Any], metrics: Mapping[str, Any], *sets: Arrays
) -> None:
    """Send one row through model and loss, and compare all labels with the outputs.

    Integer targets with one axis less than the outputs are class labels: each must be one of
    the classes that the last axis offers.
    """
    if not callable(loss):
        raise ArgumentError(where, "loss", type(loss).__name__, "a function loss(outputs, targets)")
    for name, metric in metrics.items():
        if not callable(metric):
            raise ArgumentError(
                where, f"metrics[{name!r}]", type(metric).__name__, "a function (outputs, targets)"
            )
    E = model.E
    for i, arrays in enumerate(sets):
        name = ("data", "validation")[i]
        first = [E.array(a[:1], None if a.dtype.kind != "f" else str(a.dtype)) for a in arrays]
        with E.no_grad():
            outputs = model(first[0])
            shape = tuple(outputs.shape)
            labels = arrays[1]
            if labels.dtype.kind in "iu" and labels.ndim == len(shape) - 1:
                _check_classes(f"{where}: {name}[1]", labels, shape[-1])
            value = E.asnumpy(loss(outputs, *first[1:]))
        if value.shape != ():
            raise ArgumentError(where, "loss", f"a result of shape {value.shape}", "a scalar ()")


def _check_classes(name: str, labels: np.ndarray, num_classes: int) -> None:
    bad = (labels < 0) | (labels >= num_classes)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{name}: {int(bad.sum())} of {labels.size} labels are out of range, the first is "
            f"{labels[first]} at index {first}; the model has outputs for 0..{num_classes - 1}"
        )
