"""What a notebook may be given: its `parameters` cell, and what `check_parameters` declares.

Both are read without running anything, so that a mistyped parameter costs no machine.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lepton_ref.cloud.sweeps.errors import SweepError, did_you_mean
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.recording import PROFILES, check_value

#: A string that names a secret; its value is looked up inside the kernel.
SECRET = "secret:"

_KINDS: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
_MISSING = object()


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook.

    Attributes
    ----------
    name : str
    default : object
        The literal of the parameters cell.
    kind : type or None
        ``int``, ``float``, ``bool`` or ``str``; None when anything goes.
    interval : str or None
        ``"(0, 1]"``.
    choices : tuple or None
        The only values accepted.
    """

    name: str
    default: Any
    kind: type | None
    interval: str | None = None
    choices: tuple[Any, ...] | None = None

    def check(self, value: Any) -> Any:
        """``value``, with whole numbers as floats where a float is declared.

        Raises
        ------
        SweepError
            For another type, a value out of range, or what JSON cannot hold.
        """
        if isinstance(value, str) and value.startswith(SECRET):
            return self._check_secret(value)
        declared: tuple[Any, ...] | None = None
        if self.choices is not None:
            declared = (value, self.choices)
        elif self.kind is not None:
            declared = (value, self.kind) + ((self.interval,) if self.interval else ())
        if declared is not None:
            try:
                check_value("parameters", self.name, declared)
            except ArgumentError as error:
                raise SweepError(
                    f"parameter `{self.name}` has {error.got}; "
                    f"the notebook accepts {error.expected}"
                ) from None
        check_json(self.name, value)
        return float(value) if self.kind is float and isinstance(value, int) else value

    def _check_secret(self, value: str) -> str:
        name = value[len(SECRET) :]
        if not name.isidentifier():
            raise SweepError(
                f"parameter `{self.name}` has the value {value!r}; the name of a secret has "
                "letters, digits and underscores: secret:API_KEY"
            )
        if self.kind not in (None, str) or self.choices is not None:
            raise SweepError(
                f"parameter `{self.name}` has a secret for its value; the notebook accepts "
                f"{'one of its choices' if self.choices else getattr(self.kind, '__name__', '')}"
            )
        return value

    def read(self, text: str) -> Any:
        """A value from the command line: text in the type that the notebook declares.

        Raises
        ------
        SweepError
            When the text is no such value.
        """
        kind = self.kind
        if kind is None and self.choices:
            kind = type(self.choices[0])
        if kind is str:
            return self.check(text)
        if text.startswith(SECRET):
            return self.check(text)
        lowered = {"true": True, "false": False, "none": None, "null": None}.get(text.lower(), text)
        value: Any = lowered
        if isinstance(lowered, str):
            try:
                value = json.loads(text)
            except json.JSONDecodeError:
                value = self._number(text)
        return self.check(value)

    def _number(self, text: str) -> Any:
        try:
            return float(text) if self.kind is float else int(text)
        except ValueError:
            return text


def check_json(name: str, value: Any) -> None:
    """Refuse what JSON cannot hold, or would hold as something else."""
    try:
        if json.loads(json.dumps(value, allow_nan=False)) == value:
            return
    except (TypeError, ValueError):
        pass
    finite = not isinstance(value, float) or math.isfinite(value)
    shown = f"a value of type {type(value).__name__}" if finite else f"the value {value!r}"
    raise SweepError(
        f"parameter `{name}` has {shown}; accepted is what JSON holds: numbers, strings, "
        "true, false, null, lists, and mappings with strings for keys"
    )


def _cell_source(cell: Mapping[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _code_cells(notebook: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def declared(notebook: Mapping[str, Any], name: str = "the notebook") -> dict[str, Parameter]:
    """The parameters of a notebook, by name.

    Parameters
    ----------
    notebook : mapping
        As nbformat reads it.
    name : str
        What messages call it.

    Raises
    ------
    SweepError
        When no cell is tagged ``parameters``, or that cell is not assignments of literals.
    """
    tagged = [
        cell for cell in _code_cells(notebook)
        if "parameters" in cell.get("metadata", {}).get("tags", [])
    ]  # fmt: skip
    if not tagged:
        raise SweepError(
            f"{name}: no cell is tagged `parameters`, so nothing in it can be varied; in "
            "JupyterLab, select the cell with the parameters and add the tag under Common Tools"
        )
    found: dict[str, Parameter] = {}
    try:
        statements = ast.parse(_cell_source(tagged[0])).body
    except SyntaxError as error:
        raise SweepError(f"{name}: the cell `parameters`: {error}") from None
    for node in statements:
        for target, default in _assigned(node):
            kind = type(default) if type(default) in _KINDS.values() else None
            found[target] = Parameter(target, default, kind)
    return found | _refined(notebook, found)


def _assigned(node: ast.stmt) -> list[tuple[str, Any]]:
    """Names and literal values of one statement; an expression counts as of any type."""
    targets: list[ast.expr]
    if isinstance(node, ast.Assign):
        targets, value = node.targets, node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets, value = [node.target], node.value
    else:
        return []
    try:
        literal = ast.literal_eval(value)
    except ValueError:
        literal = _MISSING
    return [(t.id, literal) for t in targets if isinstance(t, ast.Name)]


def _refined(
    notebook: Mapping[str, Any], found: Mapping[str, Parameter]
) -> dict[str, Parameter]:
    """The parameters that a call of `check_parameters` says more about."""
    call = _declaration(notebook)
    if call is None:
        return {}
    profiles: tuple[Any, ...] = PROFILES
    refined: dict[str, Parameter] = {}
    for keyword in call.keywords:
        if keyword.arg == "profiles":
            profiles = tuple(ast.literal_eval(keyword.value))
    for keyword in call.keywords:
        name = keyword.arg
        if name is None or name not in found:
            continue
        default = found[name].default
        if name in ("engine", "device"):
            refined[name] = Parameter(name, default, str)
        elif name == "seed":
            refined[name] = Parameter(name, default, int, "[0, inf)")
        elif name == "profile":
            refined[name] = Parameter(name, default, None, None, profiles)
        elif isinstance(keyword.value, ast.Tuple):
            parameter = _from_tuple(name, default, keyword.value.elts)
            if parameter is not None:
                refined[name] = parameter
    return refined


def _declaration(notebook: Mapping[str, Any]) -> ast.Call | None:
    for cell in _code_cells(notebook):
        if "check_parameters" not in _cell_source(cell):
            continue
        try:
            tree = ast.parse(_cell_source(cell))
        except SyntaxError:  # a line of IPython's own
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                if ast.unparse(node.func).rpartition(".")[2] == "check_parameters":
                    return node
    return None


def _from_tuple(name: str, default: Any, parts: list[ast.expr]) -> Parameter | None:
    """``(value, type)``, ``(value, type, interval)`` or ``(value, choices)``."""
    if len(parts) < 2:
        return None
    if isinstance(parts[1], ast.Name):
        kind = _KINDS.get(parts[1].id)
        if kind is None:
            return None
        interval = ast.literal_eval(parts[2]) if len(parts) > 2 else None
        return Parameter(name, default, kind, interval)
    try:
        return Parameter(name, default, None, None, tuple(ast.literal_eval(parts[1])))
    except ValueError:
        return None


def check(
    known: Mapping[str, Parameter], given: Mapping[str, Any], name: str = "the notebook"
) -> dict[str, Any]:
    """``given``, checked against what the notebook accepts.

    Raises
    ------
    SweepError
        For a parameter that the notebook does not have, and for a value that it does not
        accept.
    """
    for key in given:
        if key not in known:
            raise SweepError(
                f"{name} has no parameter `{key}`; it has {', '.join(known) or 'none'}."
                + did_you_mean(key, known)
            )
    return {key: known[key].check(value) for key, value in given.items()}


def complete(known: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """``given`` and the defaults of all else: what a run is known by."""
    defaults = {k: p.check(p.default) for k, p in known.items() if p.default is not _MISSING}
    return dict(sorted((defaults | dict(given)).items()))
