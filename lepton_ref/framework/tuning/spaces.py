"""What may be chosen: each hyper-parameter as a walk from 0 to 1.

All searches work in the unit cube, one axis per hyper-parameter. Whether a rate is searched on
a linear or on a logarithmic scale is thereby settled in one place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.training.checks import check_count, check_rng


@dataclass(frozen=True)
class Real:
    """A number from ``low`` to ``high``; with ``log``, each factor of ten gets equal room.

    Raises
    ------
    ArgumentError
        When the bounds are not finite, not in order, or, with ``log``, not positive.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not (number and math.isfinite(value)):
                raise ArgumentError("Real", name, f"the value {value!r}", "a finite number")
        if self.log and not self.low > 0:
            raise ArgumentError("Real", "low", f"the value {self.low}", "above 0 with log=True")
        if not self.low < self.high:
            raise ArgumentError("Real", "high", f"the value {self.high}", f"above low, {self.low}")

    def at(self, u: float) -> float:
        """The value at ``u`` in [0, 1]."""
        if self.log:
            found = self.low * (self.high / self.low) ** u
        else:
            found = self.low + u * (self.high - self.low)
        return float(min(max(found, self.low), self.high))  # rounding stays inside

    def unit(self, value: Any) -> float:
        """Where ``value`` lies, in [0, 1]."""
        if not (isinstance(value, (int, float, np.number)) and self.low <= value <= self.high):
            raise ArgumentError(
                "Real", "value", f"the value {value!r}", f"a number in [{self.low}, {self.high}]"
            )
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Levels:
    """One of several values in a meaningful order, such as batch sizes; equal room for each.

    Raises
    ------
    ArgumentError
        When there is none, or one occurs twice.
    """

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.values, (tuple, list)) or not self.values:
            raise ArgumentError("Levels", "values", repr(self.values), "a tuple of values")
        object.__setattr__(self, "values", tuple(self.values))
        for i, value in enumerate(self.values):
            if value in self.values[:i]:
                raise ArgumentError("Levels", "values", f"{value!r} twice", "each value once")

    def at(self, u: float) -> Any:
        """The value at ``u`` in [0, 1]."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    def unit(self, value: Any) -> float:
        """The middle of the room that ``value`` has."""
        if value not in self.values:
            shown = ", ".join(repr(known) for known in self.values)
            raise ArgumentError("Levels", "value", f"the value {value!r}", f"one of {shown}")
        return (self.values.index(value) + 0.5) / len(self.values)


Space = Mapping[str, Real | Levels]
Setting = dict[str, Any]


def check_space(where: str, space: Space) -> None:
    """Refuse what is not a mapping of names to :class:`Real` or :class:`Levels`."""
    if not isinstance(space, Mapping) or not space:
        got = "no entry" if isinstance(space, Mapping) else f"type {type(space).__name__}"
        raise ArgumentError(where, "space", got, '{"lr": Real(1e-4, 1e-1, log=True), ...}')
    for name, axis in space.items():
        if not isinstance(axis, (Real, Levels)):
            raise ArgumentError(
                where, f"space[{name!r}]", f"type {type(axis).__name__}", "Real or Levels"
            )


def setting_at(space: Space, u: Sequence[float] | np.ndarray) -> Setting:
    """The setting at a point of the unit cube, one coordinate per hyper-parameter."""
    check_space("setting_at", space)
    point = np.asarray(u, np.float64)
    if point.shape != (len(space),) or not ((point >= 0) & (point <= 1)).all():
        raise ArgumentError("setting_at", "u", f"{u!r}", f"{len(space)} numbers in [0, 1]")
    return {name: axis.at(float(x)) for (name, axis), x in zip(space.items(), point)}


def unit_point(space: Space, setting: Mapping[str, Any]) -> np.ndarray:
    """Where a setting lies in the unit cube, float64 (d,)."""
    check_space("unit_point", space)
    if set(setting) != set(space):
        raise ArgumentError(
            "unit_point", "setting", f"the names {', '.join(setting)}", ", ".join(space)
        )
    return np.array([axis.unit(setting[name]) for name, axis in space.items()])


def grid(space: Space, sizes: int | Mapping[str, int]) -> list[Setting]:
    """Every combination of a few values of each hyper-parameter.

    Parameters
    ----------
    space : mapping of str to Real or Levels
    sizes : int or mapping of str to int
        Values per hyper-parameter: the middles of as many equal parts of its scale.

    Returns
    -------
    list of dict
        As many as the product of the sizes; the last name varies fastest. Along a
        hyper-parameter only its own size counts: n^(1/d) values of n (eq. tuning-projection).
    """
    check_space("grid", space)
    if isinstance(sizes, Mapping):
        if set(sizes) != set(space):
            raise ArgumentError("grid", "sizes", f"the names {', '.join(sizes)}", ", ".join(space))
        counts = [sizes[name] for name in space]
    else:
        counts = [sizes] * len(space)
    axes = []
    for (name, axis), count in zip(space.items(), counts):
        check_count("grid", f"sizes[{name!r}]", count)
        if isinstance(axis, Levels) and count > len(axis.values):
            raise ArgumentError(
                "grid", f"sizes[{name!r}]", f"the value {count}", f"at most {len(axis.values)}"
            )
        axes.append([axis.at((i + 0.5) / count) for i in range(count)])
    return [dict(zip(space, values)) for values in itertools.product(*axes)]


def sample(space: Space, n: int, rng: np.random.Generator) -> list[Setting]:
    """``n`` settings drawn uniformly and independently from the unit cube: random search."""
    check_space("sample", space)
    check_count("sample", "n", n)
    check_rng("sample", rng)
    return [setting_at(space, u) for u in rng.random((n, len(space)))]
