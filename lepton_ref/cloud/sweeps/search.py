"""A search: Optuna proposes, the driver runs, and Optuna is told what came of it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lepton_ref import __version__
from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.parameters import Parameter
from lepton_ref.cloud.sweeps.plan import Plan, Run
from lepton_ref.cloud.sweeps.runs import COMPLETE, PRUNED, Outcome
from lepton_ref.cloud.sweeps.spec import Domain, Range, Search, is_whole
from lepton_ref.cloud.sweeps.storage import Store

#: Optuna's journal, inside the store.
JOURNAL = "search.journal"
#: Marks a trial that repeats one that failed; it is none of the search's `n`.
AGAIN = "again"


class Proposals:
    """The runs of a search, asked for one at a time; resumes from its journal.

    Parameters
    ----------
    plan : Plan
        With a search.
    store : Store
        Holds the journal; one that is no local folder gets a copy after each trial.
    """

    def __init__(self, plan: Plan, store: Store) -> None:
        import optuna
        import optuna.storages.journal

        assert plan.spec.search is not None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self.plan, self.search, self._store = optuna, plan, plan.spec.search, store
        self._distributions = {
            name: _distribution(optuna, name, domain, plan.known[name])
            for name, domain in self.search.space.items()
        }
        self._folder = None
        local = store.local_path(JOURNAL)
        if local is None:
            self._folder = tempfile.TemporaryDirectory(prefix="lepton-search-")
            local = Path(self._folder.name) / JOURNAL
            if store.exists(JOURNAL):
                local.write_bytes(store.read_bytes(JOURNAL))
        self._journal = Path(local)
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        backend = optuna.storages.journal.JournalFileBackend(str(self._journal))
        storage = optuna.storages.JournalStorage(backend)
        name = study_name(plan)
        summaries = optuna.get_all_study_summaries(storage)
        made = sum(summary.n_trials for summary in summaries if summary.study_name == name)
        self.study = optuna.create_study(
            study_name=name,
            storage=storage,
            direction=self.search.direction,
            load_if_exists=True,
            # A resumed search must not draw the first points again.
            sampler=_sampler(optuna, self.search, self.search.seed + made),
            pruner=_pruner(optuna, self.search.pruner),
        )
        self.trials: dict[str, list[Any]] = {}  # run -> trials that wait for it
        self.order: list[str] = []
        self._reported: dict[str, int] = {}
        self._again = self._failed_before()
        self._left_over = self._interrupted()

    def _failed_before(self) -> list[dict[str, Any]]:
        """Points whose trials failed under an earlier driver; each is tried once more."""
        states = self._optuna.trial.TrialState
        trials = self.study.get_trials(deepcopy=False)
        settled = [t.params for t in trials if t.state not in (states.FAIL, states.WAITING)]
        waiting = [t.system_attrs.get("fixed_params") for t in trials if t.state == states.WAITING]
        found: list[dict[str, Any]] = []
        for trial in trials:
            failed = trial.state == states.FAIL and trial.params not in settled
            if failed and trial.params not in found:
                found.append(trial.params)
                if trial.params not in waiting:
                    self.study.enqueue_trial(trial.params, user_attrs={AGAIN: True})
        return found

    def _interrupted(self) -> Iterator[Run]:
        """Runs that an earlier driver had asked for and never heard of again."""
        states = self._optuna.trial.TrialState
        for frozen in self.study.get_trials(deepcopy=False):
            if frozen.state == states.COMPLETE or frozen.state == states.PRUNED:
                self.order.append(frozen.user_attrs.get("run", ""))
        for frozen in self.study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            trial = self._optuna.trial.Trial(self.study, frozen._trial_id)
            yield self._enter(trial, dict(frozen.params))

    @property
    def total(self) -> int:
        """Trials of the whole search."""
        return self.search.n

    @property
    def told(self) -> int:
        """Trials that have ended, in this process or before."""
        states = self._optuna.trial.TrialState
        ended = self.study.get_trials(
            deepcopy=False, states=(states.COMPLETE, states.PRUNED, states.FAIL)
        )
        return sum(not t.user_attrs.get(AGAIN) and t.params not in self._again for t in ended)

    def next(self) -> Run | None:
        """The next run; None when all trials have been asked for."""
        for run in self._left_over:
            return run
        trials = self.study.get_trials(deepcopy=False)
        left_over = any(t.state == self._optuna.trial.TrialState.WAITING for t in trials)
        if not left_over and sum(not t.user_attrs.get(AGAIN) for t in trials) >= self.search.n:
            return None
        trial = self.study.ask(self._distributions)
        return self._enter(trial, dict(trial.params))

    def _enter(self, trial: Any, params: dict[str, Any]) -> Run:
        run = self.plan.run({**self.plan.spec.parameters, **params})
        trial.set_user_attr("run", run.id)
        self.trials.setdefault(run.id, []).append(trial)
        if run.id not in self.order:
            self.order.append(run.id)
        return run

    def tell(self, outcome: Outcome) -> None:
        """What came of a run, for every trial that proposed it."""
        states = self._optuna.trial.TrialState
        value = outcome.recorded.get(self.search.metric)
        usable = (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
        )
        for trial in self.trials.pop(outcome.id, []):
            if trial.params in self._again:
                self._again.remove(trial.params)
            if outcome.status == PRUNED:
                self.study.tell(trial, state=states.PRUNED)
            elif outcome.status in COMPLETE and usable:
                self.study.tell(trial, float(value))  # type: ignore[arg-type]
            else:
                self.study.tell(trial, state=states.FAIL)
        if self._folder is not None:
            self._store.write_bytes(JOURNAL, self._journal.read_bytes())

    def prune(self, channel: Store, running: set[str], stop: Callable[[str], None]) -> None:
        """Read what the runs have reported, and order those that fall behind to stop."""
        for run in running & set(self.trials):
            path = f"reports/{run}.json"
            if not channel.exists(path):
                continue
            reports = channel.read_json(path)
            trial = self.trials[run][0]
            fresh = [r for r in reports[self._reported.get(run, 0) :] if r["name"] == self.metric]
            self._reported[run] = len(reports)
            for report in fresh:
                trial.report(report["value"], report["step"])
            if fresh and trial.should_prune():
                stop(run)

    @property
    def metric(self) -> str:
        """The name of what is optimised."""
        return self.search.metric

    def close(self) -> None:
        """Let go of the copy of the journal."""
        if self._folder is not None:
            self._folder.cleanup()


def study_name(plan: Plan) -> str:
    """What makes two searches one: all that enters a run or the order of the proposals.

    The number of trials does not, so that a search can be made longer.
    """
    search = plan.spec.search
    assert search is not None
    rest = dataclasses.replace(search, n=1)
    facts = (sorted(plan.spec.parameters.items()), rest, plan.lock, __version__)
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()
    return f"{search.metric} {plan.code[:12]} {digest[:12]}"


def check_metric(plan: Plan) -> None:
    """Refuse a metric whose name stands nowhere in the notebook: no run would have it.

    Raises
    ------
    SweepError
    """
    from lepton_ref.cloud.sweeps import notebooks

    assert plan.spec.search is not None
    metric = plan.spec.search.metric
    notebook = notebooks.read(plan.text, plan.name)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    if f'"{metric}"' not in code and f"'{metric}'" not in code:
        raise SweepError(
            f"search: the metric `{metric}` is recorded nowhere in {plan.name}; a run records it "
            f'with record("{metric}", value)'
        )


def _distribution(optuna: Any, name: str, domain: Domain, parameter: Parameter) -> Any:
    kinds = optuna.distributions
    if not isinstance(domain, Range):
        return kinds.CategoricalDistribution(domain)
    if is_whole(domain, parameter):
        step = int(domain.step or 1)
        return kinds.IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=step)
    return kinds.FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def _sampler(optuna: Any, search: Search, seed: int) -> Any:
    if search.sampler == "random":
        return optuna.samplers.RandomSampler(seed)
    # Several runs are under way at a time: an unfinished one counts as a bad one meanwhile.
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _pruner(optuna: Any, name: str) -> Any:
    makers = {
        "none": optuna.pruners.NopPruner,
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=4),
        "halving": lambda: optuna.pruners.SuccessiveHalvingPruner(
            min_resource=1, reduction_factor=3
        ),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=3),
    }
    return makers[name]()
