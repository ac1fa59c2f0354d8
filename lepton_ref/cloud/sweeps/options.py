"""The command line as a sweep: ``--grid lr=0.1,0.01`` in, :class:`.spec.SweepSpec` out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lepton_ref.cloud.sweeps import notebooks
from lepton_ref.cloud.sweeps.errors import SweepError, did_you_mean
from lepton_ref.cloud.sweeps.parameters import Parameter, declared
from lepton_ref.cloud.sweeps.plan import read_text
from lepton_ref.cloud.sweeps.spec import Domain, Random, Range, Retries, Search, SweepSpec
from lepton_ref.cloud.sweeps.yaml_file import limits, whole_span


class Varied(NamedTuple):
    """What the command line says of parameters."""

    parameter: Sequence[str]
    grid: Sequence[str]
    space: Sequence[str]
    random: int
    search: int
    metric: str
    direction: str
    pruner: str
    seed: int


def known_parameters(spec: SweepSpec) -> dict[str, Parameter]:
    """What the notebook of a sweep accepts."""
    name = Path(spec.notebook).name
    return declared(notebooks.read(read_text(spec.notebook), name), name)


def given_parameters(spec: SweepSpec, given: Sequence[str]) -> dict[str, Any]:
    """``-p name value`` in the type that the notebook declares."""
    if not given:
        return dict(spec.parameters)
    known = known_parameters(spec)
    found = dict(spec.parameters)
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise SweepError(f"-p has the value {text!r} alone; accepted: -p NAME VALUE")
        found[name] = _parameter(known, name).read(value)
    return found


def _parameter(known: Mapping[str, Parameter], name: str) -> Parameter:
    if name not in known:
        raise SweepError(
            f"the notebook has no parameter `{name}`; it has {', '.join(known)}."
            + did_you_mean(name, known)
        )
    return known[name]


def _split(option: str, text: str) -> tuple[str, str]:
    name, equals, values = text.partition("=")
    if not equals or not name or not values:
        raise SweepError(f"{option} has the value {text!r}; accepted: NAME=VALUES, lr=0.1,0.01")
    return name, values


def vary(spec: SweepSpec, said: Varied) -> SweepSpec:
    """``spec`` with what the command line adds to it or replaces in it.

    Raises
    ------
    SweepError
        For a parameter that the notebook does not have, or a text that is none of its values.
    """
    if not (said.parameter or said.grid or said.space or said.random or said.search):
        return spec
    known = known_parameters(spec)
    grid = dict(spec.grid)
    for text in said.grid:
        name, values = _split("--grid", text)
        grid[name] = _values(_parameter(known, name), values)
    space: dict[str, Domain] = {}
    for text in said.space:
        name, domain = _split("--space", text)
        space[name] = _domain(_parameter(known, name), domain)
    if space and not (said.random or said.search):
        raise SweepError("--space says from what to draw; add --random N or --search N")
    if said.random and said.search:
        raise SweepError("--random and --search are two ways of one thing; give one")
    changes: dict[str, Any] = {"grid": grid, "parameters": given_parameters(spec, said.parameter)}
    if said.random:
        changes["random"] = Random(said.random, space, said.seed)
    if said.search:
        if not said.metric:
            raise SweepError("--search needs --metric, the recorded value that it improves")
        changes["search"] = Search(
            said.search, said.metric, space, said.direction, "tpe", said.pruner, said.seed
        )
    return dataclasses.replace(spec, **changes)


def _values(parameter: Parameter, text: str) -> tuple[Any, ...]:
    span = whole_span(text)
    if span is not None and parameter.kind in (int, float):
        return tuple(parameter.check(value) for value in span)
    return tuple(parameter.read(part) for part in text.split(","))


def _domain(parameter: Parameter, text: str) -> Domain:
    """``1e-4..0.1:log``, ``32..256`` (``:step=32``), or a list of values."""
    low, dots, rest = text.partition("..")
    if not dots:
        return _values(parameter, text)
    high, _, how = rest.partition(":")
    try:
        ends = float(low), float(high)
        step = float(how.partition("=")[2]) if how.startswith("step=") else None
    except ValueError:
        raise SweepError(
            f"--space {parameter.name} has the value {text!r}; accepted: 1e-4..0.1:log, 0..1, "
            "32..256:step=32, or values with commas"
        ) from None
    if how and how != "log" and step is None:
        raise SweepError(f"--space {parameter.name}: {how!r} is neither `log` nor `step=NUMBER`")
    return Range(*ends, log=how == "log", step=step)


def limit(
    spec: SweepSpec,
    *,
    timeout: float | None = None,
    output_mb: float | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    memory_mb: float | None = None,
    threads: int | None = None,
    system: int | None = None,
    error: int | None = None,
) -> SweepSpec:
    """``spec`` with the limits and budgets of the command line."""
    given = {
        "timeout": timeout, "output_mb": output_mb, "cpus": cpus, "gpus": gpus,
        "memory_mb": memory_mb, "threads": threads,
    }  # fmt: skip
    for name, value in given.items():
        if value is not None and (value < 0 or (value == 0 and name != "gpus")):
            raise SweepError(f"--{name.replace('_', '-')} has the value {value:g}; it is above 0")
    fresh = limits(**given)
    fields = {"output_mb": "output_bytes", "memory_mb": "memory"}
    said = {fields.get(name, name) for name, value in given.items() if value is not None}
    retries = Retries(
        spec.retries.system if system is None else system,
        spec.retries.error if error is None else error,
    )
    return dataclasses.replace(
        spec,
        limits=dataclasses.replace(spec.limits, **{name: getattr(fresh, name) for name in said}),
        retries=retries,
    )
