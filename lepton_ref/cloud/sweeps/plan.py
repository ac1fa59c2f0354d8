"""A sweep made ready: its notebook read, its parameters checked, its runs named."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_ref import __version__
from lepton_ref.cloud.sweeps import notebooks
from lepton_ref.cloud.sweeps.errors import StoreError, SweepError, did_you_mean
from lepton_ref.cloud.sweeps.identity import identity, lock_digest
from lepton_ref.cloud.sweeps.parameters import Parameter, check, complete, declared
from lepton_ref.cloud.sweeps.runs import Task
from lepton_ref.cloud.sweeps.spec import SweepSpec, check_space, expand
from lepton_ref.cloud.sweeps.yaml_file import coerce_floats
from lepton_ref.engines import NAMES, installed


@dataclass(frozen=True)
class Run:
    """One run of a sweep: what it is known by, and what it is given."""

    id: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """A sweep that can start.

    Attributes
    ----------
    spec : SweepSpec
    text : str
        The notebook.
    name : str
        Of the notebook's file.
    known : dict of str to Parameter
    runs : tuple of Run
        Empty for a search.
    repeated : int
        Runs that were asked for a second time and are run once.
    code, lock : str
        Digests that enter every identity.
    """

    spec: SweepSpec
    text: str
    name: str
    known: dict[str, Parameter]
    runs: tuple[Run, ...]
    repeated: int
    code: str
    lock: str

    @property
    def title(self) -> str:
        """What the sweep is called."""
        return self.spec.name or Path(self.name).stem

    @property
    def varied(self) -> list[str]:
        """Parameters that differ between runs."""
        spec = self.spec
        if spec.search:
            return list(spec.search.space)
        found = list(spec.random.space if spec.random else ()) + list(spec.grid)
        return list(dict.fromkeys(found + [key for run in spec.runs for key in run]))

    def run(self, given: Mapping[str, Any]) -> Run:
        """A run with these parameters.

        Raises
        ------
        SweepError
            When the notebook does not accept them.
        """
        checked = check(self.known, given, self.name)
        full = complete(self.known, checked)
        check_engine(full, self.spec.on_this_machine)
        return Run(identity(self.code, full, self.lock, __version__), checked)

    def task(self, run: Run, attempt: int, **more: Any) -> Task:
        """One attempt at a run."""
        folder = self.spec.notebook if self.spec.cwd == "notebook" else ""
        return Task(
            id=run.id,
            attempt=attempt,
            notebook=self.text,
            name=self.name,
            parameters=run.parameters,
            cwd=str(Path(folder).resolve().parent) if folder and "://" not in folder else "",
            warm=self.spec.warm,
            limits=self.spec.limits,
            sweep=self.title,
            **more,
        )


def open_sweep(spec: SweepSpec, lock: str | None = None) -> Plan:
    """Read the notebook of a sweep and check all that can be checked before anything starts.

    Parameters
    ----------
    spec : SweepSpec
    lock : str, optional
        Path of a lock file; without it the clone's, or the installed versions.

    Raises
    ------
    SweepError
        For a notebook that cannot be read or varied; an unknown parameter, a value of the wrong
        type or out of range; an engine that is unknown or missing; a sweep without runs.
    """
    text = read_text(spec.notebook)
    name = Path(spec.notebook).name
    notebook = notebooks.read(text, name)
    known = declared(notebook, name)
    spec = coerce_floats(spec, {k for k, p in known.items() if p.kind is float})
    for where in ("random", "search"):
        part = getattr(spec, where)
        if part is not None:
            check_space(part.space, known, where)
            twice = set(part.space) & (set(spec.parameters) | set(spec.grid))
            if twice:
                raise SweepError(f"{where}: `{min(twice)}` is given a value elsewhere too")
    if twice := set(spec.grid) & set(spec.parameters):
        raise SweepError(f"grid: `{min(twice)}` is given a value in `parameters` too")
    plan = Plan(spec, text, name, known, (), 0, notebooks.code_digest(notebook), lock_digest(lock))
    wanted = [plan.run(given) for given in expand(spec, known)]
    if spec.search:
        plan.run(spec.parameters)
    elif not wanted:
        raise SweepError("the sweep has no run")
    runs = {run.id: run for run in wanted}
    return dataclasses.replace(plan, runs=tuple(runs.values()), repeated=len(wanted) - len(runs))


def read_text(source: str) -> str:
    """Text of a file at a path or an fsspec address.

    Raises
    ------
    SweepError
        When it cannot be read.
    """
    try:
        if "://" not in source:
            return Path(source).read_text(encoding="utf-8")
        if source.startswith(("https://", "http://")):
            import fsspec

            with fsspec.open(source, "rt", encoding="utf-8") as file:
                return str(file.read())
        from lepton_ref.cloud.sweeps.storage import read_text_at

        return read_text_at(source)
    except FileNotFoundError:
        near = Path(source).parent
        names = [p.name for p in near.glob("*.ipynb")] if "://" not in source else []
        hint = did_you_mean(Path(source).name, names)
        raise SweepError(f"the notebook {source!r} does not exist.{hint}") from None
    except StoreError as error:
        raise SweepError(f"the notebook {error}") from error
    except Exception as error:  # whatever the service's library raises
        raise SweepError(f"the notebook {source!r} cannot be read: {error}") from error


def check_engine(parameters: Mapping[str, Any], here: bool) -> None:
    """Refuse an engine that the runs would not find; on a cluster, only an unknown one."""
    engine = parameters.get("engine")
    if not isinstance(engine, str):
        return
    if engine not in NAMES:
        raise SweepError(
            f"parameter `engine` has the value {engine!r}; there are {', '.join(NAMES)}."
            + did_you_mean(engine, NAMES)
        )
    if here and engine not in installed():
        raise SweepError(
            f"engine {engine!r} is not installed here: pip install 'lepton-ref[{engine}]'. "
            f"Installed: {', '.join(installed())}"
        )
    if here and parameters.get("device") == "gpu":
        import lepton_ref

        try:
            lepton_ref.engine(engine, device="gpu")
        except lepton_ref.EngineError as error:
            raise SweepError(f"parameter `device`: {error}") from None

