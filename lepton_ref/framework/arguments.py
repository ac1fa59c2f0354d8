"""What single arguments may be: one check and one wording for all chapters."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError


def whole(where: str, least: int = 1, **values: Any) -> None:
    """Refuse what is not a whole number of at least ``least``."""
    for argument, value in values.items():
        fine = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not fine or value < least:
            expected = f"a whole number >= {least}"
            raise ArgumentError(where, argument, f"the value {value!r}", expected)


def number(where: str, above: float | None = None, **values: Any) -> None:
    """Refuse what is not a finite number of at least 0, or not above ``above``."""
    for argument, value in values.items():
        real = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        fine = real and np.isfinite(value) and (value >= 0 if above is None else value > above)
        if not fine:
            expected = "a finite number >= 0" if above is None else f"a finite number > {above:g}"
            raise ArgumentError(where, argument, f"the value {value!r}", expected)


def one_of(where: str, argument: str, value: Any, known: tuple[str, ...]) -> None:
    """Refuse a value that is not among the known."""
    if value not in known:
        raise ArgumentError(where, argument, f"the value {value!r}", f"one of {', '.join(known)}")


def flag(where: str, **values: Any) -> None:
    """Refuse what is neither True nor False."""
    for name, value in values.items():
        if not isinstance(value, (bool, np.bool_)):
            raise ArgumentError(where, name, f"the value {value!r}", "True or False")


def rectangular(
    where: str, argument: str, value: Any, expected: str = "an array, all rows equally long"
) -> np.ndarray:
    """``value`` as an array; refuse rows of different lengths."""
    try:
        return np.asarray(value)
    except ValueError:
        raise ArgumentError(where, argument, "rows of different lengths", expected) from None


def real_array(where: str, argument: str, value: Any) -> np.ndarray:
    """``value`` as float64; refuse what holds anything but numbers."""
    array = rectangular(where, argument, value)
    if array.dtype.kind not in "biuf":
        raise ArgumentError(where, argument, f"dtype {array.dtype}", "numbers")
    return array.astype(np.float64, copy=False)
