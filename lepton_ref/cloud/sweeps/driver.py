"""The driver of a sweep: hands out attempts, counts faults, and loses nothing.

It may be killed at any moment. All it needs to go on is in the store: a run is done when its
``run.json`` is there, and everything else is computed again from the sweep file.
"""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lepton_ref.cloud.sweeps.backends.base import Backend
from lepton_ref.cloud.sweeps.commit import commit
from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.plan import Plan, Run
from lepton_ref.cloud.sweeps.runs import CANCELLED, COMPLETE, SYSTEM_FAULT, Outcome
from lepton_ref.cloud.sweeps.state import Listener, Silent, State, SweepResult
from lepton_ref.cloud.sweeps.storage import Store

INDEX = "index.json"
#: Seconds between two writings of the index while runs finish.
INDEX_EVERY = 15.0


@dataclass
class _Tries:
    """Attempts at one run."""

    first: int = 0  # number of the first attempt: earlier sweeps may have left some
    system: int = 0
    error: int = 0
    made: int = field(default=0)


def run_sweep(
    plan: Plan, backend: Backend, store: Store, listener: Listener | None = None
) -> SweepResult:
    """Execute what of a sweep is not done yet.

    Parameters
    ----------
    plan : Plan
        From :func:`.plan.open_sweep`.
    backend : Backend
        Started here, when there is anything to do, and closed here.
    store : Store
    listener : Listener, optional

    Returns
    -------
    SweepResult

    Raises
    ------
    SweepError, StoreError, BackendError
        Before the first run. A store that vanishes later also ends the sweep, with all that
        was stored still there.
    """
    store.check_writable()
    driver = _Driver(plan, backend, store, listener or Silent())
    return driver.run()


class _Driver:
    def __init__(self, plan: Plan, backend: Backend, store: Store, listener: Listener) -> None:
        self.plan, self.backend, self.store, self.listener = plan, backend, store, listener
        self.order: list[str] = [run.id for run in plan.runs]
        self.pending: deque[Run] = deque()
        self.flight: dict[str, Run] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.tries: dict[str, _Tries] = {}
        self.proposals: Any = None
        self.index_due = time.monotonic() + INDEX_EVERY
        self.state = State(len(plan.runs))
        self.stored: dict[str, Outcome] = {}

    def run(self) -> SweepResult:
        self.stored = committed(self.store)
        self._number_attempts()
        search = self.plan.spec.search
        if search:
            from lepton_ref.cloud.sweeps.search import Proposals, check_metric

            check_metric(self.plan)
            self.proposals = Proposals(self.plan, self.store)
            self.state.total = search.n
        for run in self.plan.runs:
            if run.id in self.stored:
                self.outcomes[run.id] = self.stored[run.id]
            else:
                self.pending.append(run)
        self._count()
        self.listener.begin(self.state.total, self.state.done)
        try:
            caught = self._work()
        finally:
            self.listener.end()
            if self.proposals is not None:
                self.order = [run for run in dict.fromkeys(self.proposals.order) if run]
                for key in self.order:
                    if key in self.stored:
                        self.outcomes.setdefault(key, self.stored[key])
                self.proposals.close()
        return self._result(caught)

    def _work(self) -> int:
        """Run until nothing is left or a signal comes; the signal."""
        first = self._next()
        if first is None:
            self._count()  # a search may have found all its runs in the store
            return 0
        self.pending.appendleft(first)
        self._describe()
        with _signals() as caught, self._channel() as channel:
            try:
                self.backend.start()
                while not caught:
                    self._submit(channel)
                    if not self.flight:
                        break
                    for outcome in self.backend.wait(0.25):
                        self._settle(outcome)
                    self._look_after(channel)
            finally:
                for outcome in self.backend.close(30.0 if len(caught) < 2 else 0.0):
                    self._settle(outcome, closing=True)
                self._count()
        self._write_index()
        return caught[0] if caught else 0

    def _next(self) -> Run | None:
        """The next run that is not in the store; a search is told at once of one that is."""
        if self.pending:
            return self.pending.popleft()
        while self.proposals is not None:
            run = self.proposals.next()
            if run is None or run.id not in (self.outcomes | self.stored):
                return None if run is None or run.id in self.flight else run
            outcome = self.outcomes.setdefault(run.id, self.stored.get(run.id))  # type: ignore[arg-type]
            self.proposals.tell(outcome)
        return None

    def _submit(self, channel: Store | None) -> None:
        while len(self.flight) < self.backend.capacity():
            run = self._next()
            if run is None:
                return
            tries = self.tries.setdefault(run.id, _Tries())
            task = self.plan.task(
                run,
                tries.first + tries.made,
                store="" if self.store.local_only else self.store.url,
                channel=channel.url if channel is not None else "",
            )
            tries.made += 1
            self.flight[run.id] = run
            self.backend.submit(task)

    def _settle(self, outcome: Outcome, closing: bool = False) -> None:
        """Take an attempt's outcome: keep it, or try again."""
        run = self.flight.pop(outcome.id, None)
        self.state.executed += 1
        self.state.busy_seconds += outcome.seconds
        if run is None:  # a late sibling of an attempt that was given up
            return
        if self.store.local_only:
            commit(self.store, outcome, outcome.content)
            outcome.content = None
        if (outcome.error or {}).get("name") == "StoreError" and not closing:
            self.store.check_writable()  # one that is gone for all is not worth more tries
        if outcome.status == SYSTEM_FAULT and (done := self._committed(outcome.id)):
            outcome = done  # the worker was lost after it had stored the result
        if outcome.status in COMPLETE:
            self._keep(outcome)
            return
        if outcome.status == CANCELLED or (closing and outcome.status == SYSTEM_FAULT):
            return
        tries, budget = self.tries[run.id], self.plan.spec.retries
        if outcome.status == SYSTEM_FAULT:
            tries.system += 1
            again = tries.system <= budget.system
        else:
            tries.error += 1
            again = tries.error <= budget.error
        self.listener.note(outcome, again and not closing)
        if again and not closing:
            self.state.retried += 1
            self.pending.appendleft(run)
        else:
            self._keep(outcome)

    def _committed(self, run: str) -> Outcome | None:
        path = f"runs/{run}/run.json"
        try:
            if self.store.exists(path):
                return Outcome.from_json(self.store.read_json(path))
        except StoreError:
            return None
        return None

    def _keep(self, outcome: Outcome) -> None:
        self.outcomes[outcome.id] = outcome
        if self.proposals is not None:
            self.proposals.tell(outcome)

    def _look_after(self, channel: Store | None) -> None:
        """Between two waits: prune, count, and write the index now and then."""
        if channel is not None:
            order = channel
            self.proposals.prune(
                channel, set(self.flight), lambda run: order.write_text(f"stop/{run}", "")
            )
        self._count()
        self.state.notice = getattr(self.backend, "notice", str)()
        self.listener.update(self.state)
        if time.monotonic() > self.index_due:
            self._write_index()
            self.index_due = time.monotonic() + INDEX_EVERY

    def _count(self) -> None:
        state = self.state
        if self.proposals is not None:
            state.done = self.proposals.told
        else:
            state.done = len(self.outcomes)
        state.running = min(len(self.flight), self.backend.running()) if self.flight else 0
        state.failed = sum(o.status not in COMPLETE for o in self.outcomes.values())

    @contextlib.contextmanager
    def _channel(self) -> Iterator[Store | None]:
        """Where runs report and read orders: a local folder for local workers, else the store."""
        search = self.plan.spec.search
        if search is None or search.pruner == "none":
            yield None
        elif self.backend.name == "local" or self.store.local_only:
            with tempfile.TemporaryDirectory(prefix="lepton-channel-") as folder:
                yield Store(folder)
        else:
            yield Store(f"{self.store.url.rstrip('/')}/channel")

    # --- the store

    def _number_attempts(self) -> None:
        """Count on after the failed attempts that are there, so that none is overwritten."""
        for path in self.store.list("failed"):
            parts = path.split("/")
            if len(parts) == 4 and parts[2].isdigit():
                tries = self.tries.setdefault(parts[1], _Tries())
                tries.first = max(tries.first, int(parts[2]) + 1)

    def _describe(self) -> None:
        self.store.write_json(
            "sweep.json",
            {
                "name": self.plan.title,
                "notebook": self.plan.name,
                "code_sha256": self.plan.code,
                "lock_sha256": self.plan.lock,
                "backend": self.backend.name,
                "parameters": self.plan.spec.parameters,
                "varied": self.plan.varied,
                "runs": self.state.total,
            },
        )

    def _write_index(self) -> None:
        new = {key: o for key, o in self.outcomes.items() if o.status in COMPLETE}
        rows = [outcome.to_json() for outcome in (self.stored | new).values()]
        self.store.write_json(INDEX, {"version": 1, "outcomes": rows})

    def _result(self, caught: int) -> SweepResult:
        ordered = {run: self.outcomes[run] for run in self.order if run in self.outcomes}
        earlier = len(set(self.stored) - set(self.order))
        attempts = {
            run: (tries.made if (tries := self.tries.get(run)) else 0) or outcome.attempt + 1
            for run, outcome in ordered.items()
        }
        missing = max(0, self.state.total - self.state.done)
        return SweepResult(ordered, attempts, self.state, caught, earlier, missing)


def committed(store: Store) -> dict[str, Outcome]:
    """Every complete run of a store, by its identity.

    The index spares reading each ``run.json``; what it does not know, because a driver was
    killed, is read one by one, and what is gone from the folders does not count.
    """
    found = {
        path.split("/")[1] for path in store.list("runs") if path.endswith("/run.json")
    }
    outcomes: dict[str, Outcome] = {}
    if found and store.exists(INDEX):
        with contextlib.suppress(StoreError, ValueError, TypeError, KeyError):
            for stored in store.read_json(INDEX)["outcomes"]:
                outcomes[stored["id"]] = Outcome.from_json(stored)
    for run in sorted(found - set(outcomes)):
        try:
            stored = json.loads(store.read_bytes(f"runs/{run}/run.json"))
            outcomes[run] = Outcome.from_json(stored)
        except (ValueError, TypeError, AttributeError):  # damaged: it is run again
            continue
    return {run: outcomes[run] for run in found if run in outcomes}


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM; the loop ends in good order. A third Ctrl-C is not waited for."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, frame: Any) -> None:
        caught.append(number)
        if len(caught) > 2:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
