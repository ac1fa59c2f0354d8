"""What a notebook promises: parameters that are checked first, results that are checked last.

``check_parameters`` stands in a notebook's third cell, ``record`` beside each result, and
``check`` in the last cell. A recorded value is stored in the notebook, so that the book
quotes it and nobody types a figure by hand.
"""

from __future__ import annotations

import ast
import math
import operator
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from lepton_ref.engines import use
from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError

Value = float | int | bool | str

PROFILES = ("quick", "full")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_INTERVAL = re.compile(r"\s*([\[(])\s*(\S+?)\s*,\s*(\S+?)\s*([\])])\s*")
_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_MIME_PREFIX = "application/papermill.record/"

#: The values recorded in this process, by name.
recorded: dict[str, Value] = {}


class CheckError(AssertionError):
    """A recorded result that misses its bound, or a bound without its result."""


def record(name: str, value: Any) -> None:
    """Store a result in the notebook under a name that the book can quote.

    The cell shows nothing, but its stored output carries the value, in the form of
    ``myst_nb.glue`` (with or without MyST-NB installed). Outside IPython the value is only
    kept for :func:`check`. Recording a name again replaces its value.

    Parameters
    ----------
    name : str
        Lower case, digits and underscores: ``"test_accuracy"``.
    value : float, int, bool, str or array of one number
        Round it to the digits that are meant: ``record("auc", round(auc, 4))``.

    Raises
    ------
    ArgumentError
        For another name or value; NaN and infinities are no results.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(
            "record", "name", f"the value {name!r}", "lower-case letters, digits and underscores"
        )
    value = _plain(name, value)
    recorded[name] = value
    _emit(name, value)


def _plain(name: str, value: Any) -> Value:
    """A number of any library as Python's own."""
    if isinstance(value, str):
        return value
    plain = value
    if hasattr(value, "item"):  # an array or scalar of NumPy, MXNet or PyTorch
        try:
            plain = value.item()
        except (TypeError, ValueError, RuntimeError):
            pass  # several numbers: refused below
    if isinstance(plain, bool) or (isinstance(plain, int | float) and math.isfinite(plain)):
        return plain
    shown = f"shape {value.shape}" if hasattr(value, "shape") else f"the value {value!r}"
    raise ArgumentError(f"record({name!r})", "value", shown, "one finite number, or a string")


def _emit(name: str, value: Value) -> None:
    """Display the bundle that ``myst_nb.glue(name, value, display=False)`` would display."""
    if "IPython" not in sys.modules:
        return
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        return
    metadata = {"scrapbook": {"name": name, "mime_prefix": _MIME_PREFIX}}
    display({f"{_MIME_PREFIX}text/plain": repr(value)}, raw=True, metadata=metadata)


def report(name: str, value: Any, step: int) -> None:
    """Tell a search how far this run has come, so that it can stop a hopeless one early.

    Outside a sweep that searches this does nothing.

    Parameters
    ----------
    name : str
        The metric that the search looks at: ``"validation_accuracy"``.
    value : float
    step : int
        Epoch, or whatever grows; not negative.

    Raises
    ------
    ArgumentError
        For a value that is no finite number or a step that is no count.
    """
    plain = _plain(name, value)
    if isinstance(plain, str) or isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise ArgumentError(
            f"report({name!r})", "value", f"{value!r} at step {step!r}",
            "a number, and a step of 0 or more",
        )  # fmt: skip
    if os.environ.get("LEPTON_REPORT") and "IPython" in sys.modules:
        from IPython.display import display

        bundle = {"name": name, "value": float(plain), "step": step}
        display({"application/vnd.lepton.report+json": bundle}, raw=True)


def check(bounds: Mapping[str, tuple[Any, ...]]) -> None:
    """Compare each recorded number with its bound; print the table; fail below a bound.

    Parameters
    ----------
    bounds : mapping
        ``{"test_accuracy": (">=", 0.85), "epochs": ("==", 5), "auc": ("within", 0.87, 0.01)}``.
        The relations are ``>= <= > < ==`` and ``within`` (a value and a distance).

    Raises
    ------
    CheckError
        When a value misses its bound, a bound has no recorded value, or a recorded number
        has no bound. All of them are named.
    ArgumentError
        For a bound that cannot be read.
    """
    if not isinstance(bounds, Mapping) or not bounds:
        raise ArgumentError("check", "bounds", f"the value {bounds!r}", "a mapping of bounds")
    rows, problems = [], []
    for name, bound in bounds.items():
        met, wanted = _read(name, bound)
        if name not in recorded:
            problems.append(f"{name}: nothing was recorded under this name")
            continue
        value = recorded[name]
        if isinstance(value, str) != isinstance(bound[1], str):
            problems.append(f"{name}: {value!r} cannot be compared with {bound[1]!r}")
            continue
        rows.append((name, _shown(value), wanted))
        if not met(value):
            problems.append(f"{name}: {_shown(value)} is not {wanted}")
    for name, value in recorded.items():
        if name not in bounds and not isinstance(value, str):
            problems.append(f"{name}: {_shown(value)} was recorded and has no bound")
    if problems:
        raise CheckError("; ".join(problems))
    width = max(len(name) for name, _, _ in rows)
    for name, value, wanted in rows:
        print(f"{name:<{width}}  {value}  ({wanted})")


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _read(name: str, bound: Any) -> tuple[Callable[[Any], bool], str]:
    """A bound as a predicate and in words."""
    match bound:
        case (str(relation), limit) if relation in _RELATIONS:
            return lambda value: _RELATIONS[relation](value, limit), f"{relation} {_shown(limit)}"
        case ("within", int() | float() as centre, int() | float() as distance) if distance >= 0:
            return (
                lambda value: abs(value - centre) <= distance,
                f"within {_shown(distance)} of {_shown(centre)}",
            )
    raise ArgumentError(
        "check", name, f"the bound {bound!r}", '(">=", 0.85) or ("within", 0.87, 0.01)'
    )


def check_parameters(
    *,
    engine: Any,
    device: Any,
    seed: Any,
    profile: Any,
    profiles: tuple[str, ...] = PROFILES,
    **others: tuple[Any, ...],
) -> Engine:
    """Check a notebook's parameters and make its engine the active one.

    Stands in the third cell, before anything costly, so that a mistyped parameter of a run
    in the cloud fails in its first second::

        E = check_parameters(
            engine=engine, device=device, seed=seed, profile=profile,
            epochs=(epochs, int, "[1, inf)"), lr=(lr, float, "(0, 1]"),
            schedule=(schedule, ("constant", "cosine")), augment=(augment, bool),
        )

    Parameters
    ----------
    engine, device : str
        See :func:`lepton_ref.use`.
    seed : int
        Not negative.
    profile : str
        One of `profiles`.
    profiles : tuple of str
        What the notebook offers.
    **others
        ``name=(value, type)``, ``(value, type, interval)`` or ``(value, choices)``; `type` is
        ``int``, ``float`` (takes whole numbers too), ``bool`` or ``str``.

    Returns
    -------
    Engine
        The active engine.

    Raises
    ------
    ArgumentError
        For a value of another type or outside its interval, an unknown profile, and a
        parameter given to the run (by papermill) that the notebook does not have.
    EngineError
        For an unknown engine, one that is not installed, or a GPU that is not there.
    """
    for name, value in (("engine", engine), ("device", device)):
        check_value("parameters", name, (value, str))
    check_value("parameters", "seed", (seed, int, "[0, inf)"))
    check_value("parameters", "profile", (profile, tuple(profiles)))
    for name, declared in others.items():
        check_value("parameters", name, declared)
    _refuse_unknown({"engine", "device", "seed", "profile", *others})
    return use(engine, device)


def check_value(where: str, name: str, declared: Any) -> None:
    """Check one ``(value, type or choices[, interval])``."""
    if not isinstance(declared, tuple) or len(declared) not in (2, 3):
        raise ArgumentError(
            "check_parameters", name, f"the declaration {declared!r}", "(value, type[, interval])"
        )
    value, kind, *interval = declared
    shown = f"the value {value!r} of type {type(value).__name__}"
    if isinstance(kind, tuple):
        if not any(type(value) is type(choice) and value == choice for choice in kind):
            choices = " or ".join(repr(choice) for choice in kind)
            raise ArgumentError(where, name, shown, choices)
        return
    if kind not in (int, float, bool, str):
        raise ArgumentError("check_parameters", name, f"the type {kind!r}", "int, float, bool, str")
    accepted = (int, float) if kind is float else (kind,)
    if type(value) not in accepted:
        raise ArgumentError(where, name, shown, f"type {kind.__name__}")
    if interval and not _inside(name, value, interval[0]):
        raise ArgumentError(where, name, f"the value {value!r}", f"a number in {interval[0]}")
    if kind is float and not math.isfinite(value):
        raise ArgumentError(where, name, f"the value {value!r}", "a finite number")


def _inside(name: str, value: Any, interval: Any) -> bool:
    match = _INTERVAL.fullmatch(interval) if isinstance(interval, str) else None
    if match is None:
        raise ArgumentError("check_parameters", name, f"the interval {interval!r}", '"[0, 1)"')
    low, high = float(match[2]), float(match[3])
    above = value >= low if match[1] == "[" else value > low
    below = value <= high if match[4] == "]" else value < high
    return above and below


def _refuse_unknown(known: set[str]) -> None:
    """Refuse what papermill injected and the notebook does not declare.

    Papermill itself only warns; the run would then go on with its defaults, and its result
    would pass for one it is not.
    """
    for source in _cells_run():
        if not source.startswith("# Parameters\n"):
            continue
        for node in ast.parse(source).body:
            for target in getattr(node, "targets", []):
                if isinstance(target, ast.Name) and target.id not in known:
                    raise ArgumentError(
                        "parameters",
                        target.id,
                        "been given to this run",
                        "one of " + ", ".join(sorted(known)),
                    )


def _cells_run() -> list[str]:
    """The sources of the cells that ran in this notebook; nothing outside IPython."""
    if "IPython" not in sys.modules:
        return []
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return [] if shell is None else list(shell.user_ns.get("In", []))
