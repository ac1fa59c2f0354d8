"""A sweep file: YAML in, :class:`.spec.SweepSpec` out, and every complaint with its line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lepton_ref.cloud.sweeps.errors import SweepError, did_you_mean
from lepton_ref.cloud.sweeps.runs import Limits
from lepton_ref.cloud.sweeps.spec import Domain, Random, Range, Retries, Search, SweepSpec

_LIMITS = {"timeout", "output_mb", "cpus", "gpus", "memory_mb", "threads"}
_RANGE = {"low", "high", "log", "step"}


class _Lines:
    """Line numbers of a document, by the path of keys that leads to a value."""

    def __init__(self, name: str, root: Any) -> None:
        self.name = name
        self.lines: dict[tuple[Any, ...], int] = {(): root.start_mark.line + 1}
        self._visit(root, ())

    def _visit(self, node: Any, path: tuple[Any, ...]) -> None:
        import yaml

        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                self.lines[(*path, key.value)] = key.start_mark.line + 1
                if key.value in seen:
                    raise self.error((*path, key.value), f"`{key.value}` stands here a second time")
                seen.add(key.value)
                self._visit(value, (*path, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                self.lines[(*path, i)] = value.start_mark.line + 1
                self._visit(value, (*path, i))

    def error(self, path: tuple[Any, ...], message: str) -> SweepError:
        while path not in self.lines:
            path = path[:-1]
        return SweepError(f"{self.name}, line {self.lines[path]}: {message}")


def load_spec(path: str | Path, overrides: Mapping[str, Any] | None = None) -> SweepSpec:
    """Read a sweep file.

    Parameters
    ----------
    path : str or Path
    overrides : mapping, optional
        Fields of :class:`.SweepSpec` that replace those of the file (from the command line).

    Returns
    -------
    SweepSpec
        A relative notebook is meant from the folder of the file; a relative output from the
        current one.

    Raises
    ------
    SweepError
        For a file that is missing, malformed or says something unknown: with its line.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SweepError(f"the sweep file {str(path)!r} cannot be read: {reason}") from error
    spec = parse_spec(text, file.name, overrides)
    if "://" not in spec.notebook and not Path(spec.notebook).is_absolute():
        spec = dataclasses.replace(spec, notebook=str(file.parent / spec.notebook))
    return spec


def parse_spec(
    text: str, name: str = "sweep", overrides: Mapping[str, Any] | None = None
) -> SweepSpec:
    """A sweep from the text of its file; ``name`` stands in the messages."""
    root, data = read_yaml(text, name)
    if root is None or not isinstance(data, dict):
        raise SweepError(f"{name}, line 1: a sweep is a mapping: notebook, output, grid, ...")
    return _Reader(_Lines(name, root)).spec(data, dict(overrides or {}))


def read_yaml(text: str, name: str) -> tuple[Any, Any]:
    """The nodes of a YAML text, which know their lines, and its values.

    Raises
    ------
    SweepError
        With the line, when it is not YAML.
    """
    import yaml

    try:
        return yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SweepError(f"{name}, line {line}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:  # a date that no calendar has
        raise SweepError(f"{name}, line 1: not YAML: {error}") from error


class _Reader:
    def __init__(self, lines: _Lines) -> None:
        self.lines = lines

    def spec(self, data: dict[str, Any], overrides: dict[str, Any]) -> SweepSpec:
        fields = {f.name for f in dataclasses.fields(SweepSpec)}
        self.known(data, (), fields)
        given: dict[str, Any] = {}
        for key, value in data.items():
            given[key] = getattr(self, f"_{key}", lambda value, path: value)(value, (key,))
        given |= overrides
        for needed in ("notebook", "output"):
            if needed not in given:
                raise self.lines.error((), f"`{needed}` is missing")
        return self.guarded((), SweepSpec, **given)

    def known(self, data: Any, path: tuple[Any, ...], keys: set[str]) -> None:
        """``data`` is a mapping and has no key but ``keys``."""
        if not isinstance(data, dict):
            what = f"`{path[-1]}`" if path else "a sweep"
            wanted = f"it is a mapping with {', '.join(sorted(keys))}"
            raise self.lines.error(path, f"{what} has the value {data!r}; {wanted}")
        for key in data:
            if key not in keys:
                raise self.lines.error(
                    (*path, key),
                    f"unknown key `{key}`; accepted: {', '.join(sorted(keys))}."
                    + did_you_mean(str(key), keys),
                )

    def guarded(self, path: tuple[Any, ...], make: Any, **given: Any) -> Any:
        """Call ``make``; what it refuses is told with the line of the key that it names."""
        try:
            return make(**given)
        except SweepError as error:
            named = [key for key in given if str(error).startswith((f"{key} ", f"`{key}`"))]
            named += [key for key in given if f": {key} " in str(error)]
            raise self.lines.error((*path, *named[:1]), str(error)) from None
        except TypeError as error:
            raise self.lines.error(path, str(error).partition("() ")[2] or str(error)) from None

    def mapping(self, data: Any, path: tuple[Any, ...]) -> dict[str, Any]:
        if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
            raise self.lines.error(
                path, f"`{path[-1]}` has the value {data!r}; it is a mapping: parameter: value"
            )
        return data

    # --- one method for each key that is more than a word or a number

    def _parameters(self, data: Any, path: tuple[Any, ...]) -> dict[str, Any]:
        return self.mapping(data, path)

    _options = _parameters

    def _grid(self, data: Any, path: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
        return {
            key: self.values(value, (*path, key)) for key, value in self.mapping(data, path).items()
        }

    def values(self, data: Any, path: tuple[Any, ...]) -> tuple[Any, ...]:
        """A list of values, or ``"0:5"`` for 0 to 4."""
        if isinstance(data, str):
            span = whole_span(data)
            if span is not None:
                data = list(span)
        if not isinstance(data, list) or not data:
            wanted = 'it is a list of values, or a span "0:5"'
            raise self.lines.error(path, f"`{path[-1]}` has the value {data!r}; {wanted}")
        return tuple(data)

    def _runs(self, data: Any, path: tuple[Any, ...]) -> tuple[dict[str, Any], ...]:
        if not isinstance(data, list):
            raise self.lines.error(path, "`runs` is a list of mappings: - {lr: 0.1}")
        return tuple(self.mapping(run, (*path, i)) for i, run in enumerate(data))

    def _random(self, data: Any, path: tuple[Any, ...]) -> Random:
        return self.sampled(data, path, Random)

    def _search(self, data: Any, path: tuple[Any, ...]) -> Search:
        return self.sampled(data, path, Search)

    def sampled(self, data: Any, path: tuple[Any, ...], kind: Any) -> Any:
        fields = dataclasses.fields(kind)
        self.known(data, path, {f.name for f in fields})
        for f in fields:
            if f.default is dataclasses.MISSING and f.name not in data:
                raise self.lines.error(path, f"`{path[-1]}` has no `{f.name}`")
        space = self.mapping(data["space"], (*path, "space"))
        domains = {key: self.domain(value, (*path, "space", key)) for key, value in space.items()}
        return self.guarded(path, kind, **{**data, "space": domains})

    def domain(self, data: Any, path: tuple[Any, ...]) -> Domain:
        """``[a, b]``, ``"0:5"``, or ``{low: 1e-4, high: 0.1, log: true}``."""
        if not isinstance(data, dict):
            return self.values(data, path)
        self.known(data, path, _RANGE)
        if not {"low", "high"} <= set(data):
            raise self.lines.error(path, f"the range of `{path[-1]}` needs `low` and `high`")
        numbers = {key: self.number(data[key], (*path, key)) for key in data if key != "log"}
        return self.guarded(path, Range, log=bool(data.get("log", False)), **numbers)

    def number(self, data: Any, path: tuple[Any, ...]) -> float:
        """A number; YAML 1.1 reads ``1e-4`` as text."""
        try:
            if isinstance(data, bool):
                raise ValueError
            return float(data)
        except (TypeError, ValueError):
            message = f"`{path[-1]}` has the value {data!r}; it is a number"
            raise self.lines.error(path, message) from None

    def _limits(self, data: Any, path: tuple[Any, ...]) -> Limits:
        self.known(data, path, _LIMITS)
        numbers = {
            key: None if value is None else self.number(value, (*path, key))
            for key, value in data.items()
        }
        for key, value in numbers.items():
            if value is not None and (value < 0 or (value == 0 and key != "gpus")):
                message = f"`{key}` has the value {value:g}; it is above 0"
                raise self.lines.error((*path, key), message)
        return limits(**numbers)

    def _retries(self, data: Any, path: tuple[Any, ...]) -> Retries:
        self.known(data, path, {"system", "error"})
        return self.guarded(path, Retries, **data)


def limits(
    timeout: float | None = None,
    output_mb: float | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    memory_mb: float | None = None,
    threads: float | None = None,
) -> Limits:
    """Limits in the units that people write; None leaves the default."""
    plain = Limits()
    return Limits(
        timeout=timeout,
        output_bytes=plain.output_bytes if output_mb is None else int(output_mb * 1e6),
        cpus=plain.cpus if cpus is None else cpus,
        gpus=plain.gpus if gpus is None else gpus,
        memory=None if memory_mb is None else int(memory_mb * 1e6),
        threads=plain.threads if threads is None else int(threads),
    )


def whole_span(text: str) -> range | None:
    """``"0:5"`` as 0 to 4, ``"0:10:2"`` in steps; None when the text is no span."""
    parts = text.split(":")
    if len(parts) not in (2, 3):
        return None
    try:
        return range(*(int(part) for part in parts)) or None
    except ValueError:
        return None


def coerce_floats(spec: SweepSpec, floats: set[str]) -> SweepSpec:
    """Texts such as ``1e-4``, which YAML 1.1 takes for words, as the numbers they are."""

    def number(key: str, value: Any) -> Any:
        if key in floats and isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                return value
        return value

    def space(found: dict[str, Domain]) -> dict[str, Domain]:
        return {
            key: domain if isinstance(domain, Range) else tuple(number(key, v) for v in domain)
            for key, domain in found.items()
        }

    return dataclasses.replace(
        spec,
        parameters={k: number(k, v) for k, v in spec.parameters.items()},
        grid={k: tuple(number(k, v) for v in values) for k, values in spec.grid.items()},
        runs=tuple({k: number(k, v) for k, v in run.items()} for run in spec.runs),
        random=spec.random and dataclasses.replace(spec.random, space=space(spec.random.space)),
        search=spec.search and dataclasses.replace(spec.search, space=space(spec.search.space)),
    )
