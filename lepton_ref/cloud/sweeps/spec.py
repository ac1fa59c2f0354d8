"""What a sweep is: a notebook, what varies, where it runs and where its results go."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lepton_ref.cloud.sweeps.errors import SweepError, did_you_mean
from lepton_ref.cloud.sweeps.parameters import Parameter
from lepton_ref.cloud.sweeps.runs import Limits

BACKENDS = ("local", "ray", "kubernetes")
SAMPLERS = ("tpe", "random")
PRUNERS = ("none", "median", "halving", "hyperband")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; evenly in the logarithm with ``log``."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise SweepError(f"the range {self.low}..{self.high} is empty; low must be below high")
        if self.log and self.low <= 0:
            raise SweepError(f"the range {self.low}..{self.high} has no logarithm below 0")
        if self.step is not None and (self.step <= 0 or self.log):
            raise SweepError("`step` must be positive, and goes with a range without `log`")


#: What a parameter is drawn from: a range, or a list of values.
Domain = Range | tuple[Any, ...]


@dataclass(frozen=True)
class Search:
    """Parameters proposed one after the other, by what earlier ones achieved (Optuna).

    Attributes
    ----------
    n : int
        Trials.
    metric : str
        A recorded value.
    direction : {"maximize", "minimize"}
    space : mapping of str to Domain
    sampler : {"tpe", "random"}
    pruner : {"none", "median", "halving", "hyperband"}
        Stops runs that `report` values behind the others.
    seed : int
    """

    n: int
    metric: str
    space: dict[str, Domain]
    direction: str = "maximize"
    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        positive("search: n", self.n)
        choice("search: direction", self.direction, ("maximize", "minimize"))
        choice("search: sampler", self.sampler, SAMPLERS)
        choice("search: pruner", self.pruner, PRUNERS)
        if not self.space:
            raise SweepError("search: `space` names no parameter")


@dataclass(frozen=True)
class Random:
    """``n`` points drawn from ``space`` by a generator of ``seed``."""

    n: int
    space: dict[str, Domain]
    seed: int = 0

    def __post_init__(self) -> None:
        positive("random: n", self.n)
        if not self.space:
            raise SweepError("random: `space` names no parameter")


@dataclass(frozen=True)
class Retries:
    """How often a run is tried again: after faults of the machine, after its own errors."""

    system: int = 3
    error: int = 0

    def __post_init__(self) -> None:
        for name, value in (("system", self.system), ("error", self.error)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise SweepError(f"retries: `{name}` has the value {value!r}; accepted: 0 or more")


@dataclass(frozen=True)
class SweepSpec:
    """A sweep as its author described it.

    Attributes
    ----------
    notebook, output : str
        Path or URL (fsspec) of the notebook, and of the store.
    name : str
        For titles; the notebook's name when empty.
    parameters : mapping
        Given to every run.
    grid : mapping of str to tuple
        Every combination is run.
    runs : tuple of mapping
        Further runs, one by one.
    random, search : Random, Search, optional
    backend : {"local", "ray", "kubernetes"}
    workers : int, optional
        At most so many runs at a time; 0 or None for as many as the machine has cores.
    address : str, optional
        Of a Ray cluster.
    limits : Limits
    retries : Retries
    warm : bool
        Fork kernels from a process that has imported the heavy modules.
    cwd : {"own", "notebook"}
        Each run gets a folder of its own, or runs beside the notebook.
    below_bounds : {"fail", "accept"}
        Whether a run whose last cell finds a result outside its bound makes the sweep fail. Its
        results are kept either way.
    machine : str
        An entry of the price file, for the estimated cost; ``""`` for none.
    spot : bool
    options : mapping
        For the backend (image, namespace, ...).
    """

    notebook: str
    output: str
    name: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    runs: tuple[dict[str, Any], ...] = ()
    random: Random | None = None
    search: Search | None = None
    backend: str = "local"
    workers: int | None = None
    address: str | None = None
    limits: Limits = field(default_factory=Limits)
    retries: Retries = field(default_factory=Retries)
    warm: bool = True
    cwd: str = "own"
    below_bounds: str = "fail"
    machine: str = ""
    spot: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("notebook", "output"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise SweepError(f"`{name}` is missing; give a path or an address (s3://...)")
        choice("backend", self.backend, BACKENDS)
        choice("cwd", self.cwd, ("own", "notebook"))
        choice("below_bounds", self.below_bounds, ("fail", "accept"))
        if self.workers:
            positive("workers", self.workers)
        if self.address and self.backend != "ray":
            raise SweepError("`address` is of a Ray cluster; add --backend ray")
        if self.search and (self.random or self.grid or self.runs):
            raise SweepError(
                "`search` proposes the runs itself: it goes with `parameters`, and not with "
                "`grid`, `random` or `runs`"
            )

    @property
    def on_this_machine(self) -> bool:
        """Whether the runs find what this machine has: its engines, its secrets."""
        return self.backend == "local" or (self.backend == "ray" and not self.address)


def positive(name: str, value: Any) -> None:
    """Refuse what is no whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SweepError(f"{name} has the value {value!r}; accepted: a whole number, 1 or more")


def choice(name: str, value: Any, accepted: tuple[str, ...]) -> None:
    """Refuse what is none of the accepted words."""
    if value not in accepted:
        raise SweepError(
            f"{name} has the value {value!r}; accepted: {', '.join(accepted)}."
            + did_you_mean(str(value), accepted)
        )


def expand(spec: SweepSpec, known: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """The parameters of every run, in order; for a search, none (it proposes them).

    Random points come outermost, then the grid in the order of its lines, then `runs`.
    """
    if spec.search:
        return []
    points = draw(spec.random, known) if spec.random else [{}]
    found = []
    if spec.grid or spec.random or not spec.runs:
        lines = [[(key, value) for value in values] for key, values in spec.grid.items()]
        for point, combination in itertools.product(points, list(itertools.product(*lines))):
            found.append({**spec.parameters, **point, **dict(combination)})
    return found + [{**spec.parameters, **run} for run in spec.runs]


def draw(random: Random, known: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """``n`` points of a space, the same for the same seed."""
    rng = np.random.default_rng(random.seed)
    return [
        {name: _draw(rng, name, domain, known.get(name)) for name, domain in random.space.items()}
        for _ in range(random.n)
    ]


def _draw(
    rng: np.random.Generator, name: str, domain: Domain, parameter: Parameter | None
) -> Any:
    if not isinstance(domain, Range):
        return domain[int(rng.integers(len(domain)))]
    whole = is_whole(domain, parameter)
    if domain.step is not None:
        count = int((domain.high - domain.low) / domain.step + 1e-9)
        value = domain.low + domain.step * int(rng.integers(count + 1))
    elif domain.log:
        value = math.exp(rng.uniform(math.log(domain.low), math.log(domain.high)))
    elif whole:
        value = int(rng.integers(int(domain.low), int(domain.high) + 1))
    else:
        value = float(rng.uniform(domain.low, domain.high))
    if whole:
        return int(min(max(round(value), domain.low), domain.high))
    return float(value)


def is_whole(domain: Range, parameter: Parameter | None) -> bool:
    """Whether a range is one of whole numbers: as the notebook declares, else as it is written."""
    if parameter is not None and parameter.kind is not None:
        return parameter.kind is int
    return all(float(v).is_integer() for v in (domain.low, domain.high)) and not domain.log


def check_space(space: Mapping[str, Domain], known: Mapping[str, Parameter], where: str) -> None:
    """Refuse a space that the notebook does not accept, before any point is drawn."""
    for name, domain in space.items():
        if name not in known:
            raise SweepError(
                f"{where}: the notebook has no parameter `{name}`; it has {', '.join(known)}."
                + did_you_mean(name, known)
            )
        parameter = known[name]
        if isinstance(domain, Range):
            if parameter.choices is not None or parameter.kind in (bool, str):
                raise SweepError(
                    f"{where}: `{name}` has a range; the notebook accepts "
                    + (" or ".join(map(repr, parameter.choices or ())) or str(parameter.kind))
                )
            ends: tuple[Any, ...] = (domain.low, domain.high)
            if is_whole(domain, parameter):
                if not all(float(end).is_integer() for end in ends):
                    raise SweepError(f"{where}: `{name}` is a whole number; its range is {ends}")
                ends = (int(ends[0]), int(ends[1]))
        else:
            ends = domain
            if not ends:
                raise SweepError(f"{where}: `{name}` has no value to choose from")
        for value in ends:
            parameter.check(value)
