"""The driver: budgets, resumption, interruption; nothing lost, nothing twice."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from lepton_ref.cloud.sweeps import driver as driver_module
from lepton_ref.cloud.sweeps import runs
from lepton_ref.cloud.sweeps.driver import committed, run_sweep
from lepton_ref.cloud.sweeps.errors import StoreError, SweepError
from lepton_ref.cloud.sweeps.finish import finish, up_to_date
from lepton_ref.cloud.sweeps.plan import open_sweep
from lepton_ref.cloud.sweeps.spec import Retries, Search, SweepSpec
from lepton_ref.cloud.sweeps.storage import Store
from tests.cloud.sweeps.sweep_tools import Played, outcome, written


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def plan_of(tmp_path):
    """A plan over so many seeds."""

    def make(n: int = 5, **changes):
        grid = {} if "search" in changes else {"seed": tuple(range(n))}
        return open_sweep(
            SweepSpec(written(tmp_path), str(tmp_path / "store"), grid=grid, **changes)
        )

    return make


class Heard:
    """What a listener was told."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.notes: list[tuple[str, bool]] = []
        self.states: list[tuple[int, int]] = []

    def begin(self, total: int, done: int) -> None:
        self.begun, self.start = self.begun + 1, (total, done)

    def update(self, state) -> None:
        self.states.append((state.done, state.running))

    def note(self, outcome, again: bool) -> None:
        self.notes.append((outcome.status, again))

    def end(self) -> None:
        self.ended += 1


def test_every_run_ends_in_the_result_in_order(plan_of, store) -> None:
    plan, backend, heard = plan_of(7), Played(), Heard()
    result = run_sweep(plan, backend, store, heard)
    assert list(result.outcomes) == [run.id for run in plan.runs]
    assert [o.recorded["score"] for o in result.outcomes.values()] == [
        round(0.1 * (k + 1), 6) for k in range(7)
    ]
    assert (backend.opened, backend.closed) == (1, 1)
    assert backend.most <= backend.capacity()
    assert (heard.begun, heard.ended, heard.start) == (1, 1, (7, 0))
    assert heard.states[-1][0] == 7
    assert not result.failures() and result.missing == 0
    assert not [p for p in store.list("attempts")], "nothing is left in flight"


def test_a_finished_sweep_executes_nothing(plan_of, store) -> None:
    plan = plan_of(6)
    run_sweep(plan, Played(), store)
    again = Played()
    result = run_sweep(plan, again, store)
    assert again.opened == 0 and not again.tasks
    assert len(result.outcomes) == 6 and result.state.executed == 0


def test_what_was_added_runs_and_what_changed_runs_again(plan_of, store, tmp_path) -> None:
    run_sweep(plan_of(3), Played(), store)
    more = Played()
    run_sweep(plan_of(5), more, store)
    assert sorted(task.parameters["seed"] for task in more.tasks) == [3, 4]
    changed = Played()
    spec = SweepSpec(
        written(tmp_path, 'record("score", 1)'), str(tmp_path / "store"), grid={"seed": (0, 1)}
    )
    result = run_sweep(open_sweep(spec), changed, store)
    assert len(changed.tasks) == 2, "other code, other runs"
    assert len(result.outcomes) == 2 and result.earlier == 5


def test_a_table_that_lacks_runs_is_not_up_to_date(plan_of, store) -> None:
    def done(n):
        plan = plan_of(n)
        return plan, run_sweep(plan, Played(), store)

    finish(*done(2), store)
    assert up_to_date(done(2)[1], store)
    done(4)  # and its driver ends before it writes the table
    plan, result = done(4)
    assert result.state.executed == 0 and not up_to_date(result, store)
    assert len(finish(plan, result, store)) == 4
    assert up_to_date(result, store)
    assert not up_to_date(done(3)[1], store), "what is no longer asked for leaves the table"


def test_the_index_only_spares_reading(plan_of, store) -> None:
    plan = plan_of(4)
    run_sweep(plan, Played(), store)
    index = store.read_json("index.json")
    assert len(index["outcomes"]) == 4
    # A driver that was killed has not written it; a folder that was removed does not count.
    index["outcomes"] = index["outcomes"][:1]
    store.write_json("index.json", index)
    assert set(committed(store)) == {run.id for run in plan.runs}
    store.write_bytes("index.json", b"{torn")
    assert set(committed(store)) == {run.id for run in plan.runs}
    store.delete(f"runs/{plan.runs[2].id}")
    again = Played()
    run_sweep(plan, again, store)
    assert [task.id for task in again.tasks] == [plan.runs[2].id]


def test_a_damaged_outcome_is_run_again(plan_of, store) -> None:
    plan = plan_of(2)
    run_sweep(plan, Played(), store)
    store.delete("index.json")
    store.write_bytes(f"runs/{plan.runs[0].id}/run.json", b'{"id": ')
    again = Played()
    run_sweep(plan, again, store)
    assert [task.id for task in again.tasks] == [plan.runs[0].id]


class TestFaults:
    def test_the_machine_and_the_notebook_have_budgets_of_their_own(self, plan_of, store) -> None:
        def play(task, n):
            seed = task.parameters["seed"]
            if seed == 1 and n <= 3:
                return outcome(task, runs.SYSTEM_FAULT)
            if seed == 2:
                return outcome(task, runs.FAILED)
            if seed == 3:
                return outcome(task, runs.SYSTEM_FAULT)
            return outcome(task)

        heard, backend = Heard(), Played(play)
        result = run_sweep(plan_of(5, retries=Retries(system=3, error=1)), backend, store, heard)
        tried = {t.parameters["seed"]: backend.tried[t.id] for t in backend.tasks}
        assert tried == {0: 1, 1: 4, 2: 2, 3: 4, 4: 1}
        assert [o.status for o in result.outcomes.values()] == [
            runs.FINISHED, runs.FINISHED, runs.FAILED, runs.SYSTEM_FAULT, runs.FINISHED,
        ]  # fmt: skip
        assert {o.parameters["seed"] for o in result.failures()} == {2, 3}
        assert heard.notes.count((runs.FAILED, False)) == 1
        assert result.state.retried == 3 + 1 + 3
        assert list(result.attempts.values()) == [1, 4, 2, 4, 1]

    @pytest.mark.parametrize(
        "status", [runs.FAILED, runs.TIMED_OUT, runs.TOO_MUCH_OUTPUT, runs.LEAKED_SECRET]
    )
    def test_errors_of_the_notebook_are_not_tried_again(self, plan_of, store, status) -> None:
        backend = Played(lambda task, n: outcome(task, status))
        result = run_sweep(plan_of(2), backend, store)
        assert set(backend.tried.values()) == {1}
        assert [o.status for o in result.outcomes.values()] == [status] * 2

    def test_below_its_bounds_a_run_keeps_its_results(self, plan_of, store) -> None:
        backend = Played(lambda task, n: outcome(task, runs.BELOW_BOUNDS))
        result = run_sweep(plan_of(2), backend, store)
        assert all(o.recorded for o in result.outcomes.values())
        assert len(result.failures()) == 2 and not result.failures(below_bounds=False)
        assert not run_sweep(plan_of(2), Played(), store).state.executed

    def test_failed_runs_run_again_and_overwrite_no_earlier_notebook(self, plan_of, store) -> None:
        plan = plan_of(1)
        for _ in range(3):
            run_sweep(plan, Played(lambda task, n: outcome(task, runs.FAILED)), store)
        kept = [p for p in store.list("failed") if p.endswith("notebook.ipynb")]
        assert kept == [f"failed/{plan.runs[0].id}/{k}/notebook.ipynb" for k in range(3)]

    def test_a_worker_lost_after_it_had_stored_its_result_is_not_repeated(
        self, plan_of, store
    ) -> None:
        def play(task, n):
            from lepton_ref.cloud.sweeps.commit import commit

            commit(Store(task.store), outcome(task), "{}")
            return outcome(task, runs.SYSTEM_FAULT)

        backend = Played(play)
        result = run_sweep(plan_of(3), backend, store)
        assert set(backend.tried.values()) == {1}
        assert not result.failures()

    def test_a_late_sibling_changes_nothing(self, plan_of, store) -> None:
        class Twice(Played):
            def wait(self, timeout):
                ended = super().wait(timeout)
                return ended * 2

        result = run_sweep(plan_of(3), Twice(), store)
        assert len(result.outcomes) == 3 and not result.failures()


class TestInterrupted:
    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
    def test_goes_on_where_it_was(self, plan_of, store, signum) -> None:
        def play(task, n):
            if task.parameters["seed"] == 3:
                signal.raise_signal(signum)
            return outcome(task)

        plan = plan_of(8)
        before = signal.getsignal(signum)
        result = run_sweep(plan, Played(play), store)
        assert result.interrupted == signum
        assert 0 < len(result.outcomes) < 8 and result.missing == 8 - len(result.outcomes)
        assert signal.getsignal(signum) is before
        rest = Played()
        whole = run_sweep(plan, rest, store)
        assert len(rest.tasks) == result.missing
        assert len(whole.outcomes) == 8 and not whole.interrupted

    def test_the_third_ctrl_c_is_not_waited_for(self, plan_of, store) -> None:
        def play(task, n):
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
            return outcome(task)

        backend = Played(play)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(plan_of(8), backend, store)
        assert backend.closed == 1

    def test_in_a_thread_signals_are_left_alone(self, plan_of, store) -> None:
        found: list = []
        thread = threading.Thread(
            target=lambda: found.append(run_sweep(plan_of(2), Played(), store))
        )
        thread.start()
        thread.join(30)
        assert len(found[0].outcomes) == 2

    def test_what_comes_back_while_closing_is_kept(self, plan_of, store) -> None:
        class Late(Played):
            def wait(self, timeout):
                signal.raise_signal(signal.SIGINT)
                return []

            def close(self, grace=10.0):
                first, *rest = self.queue
                lost = [outcome(task, runs.SYSTEM_FAULT) for task in rest]
                return [self._end(first), *lost]

        result = run_sweep(plan_of(6), Late(), store)
        assert len(result.outcomes) == 1 and result.missing == 5
        assert not result.failures(), "an attempt that was ended is no failure of its run"

    def test_the_store_of_one_process_holds_what_the_driver_brings(self, plan_of) -> None:
        store = Store("memory://driver-test")
        result = run_sweep(plan_of(3), Played(), store)
        assert len(committed(store)) == 3
        assert all(o.content is None for o in result.outcomes.values())
        assert store.exists(next(iter(result.outcomes.values())).artifact)


class TestStore:
    def test_one_that_cannot_be_written_starts_nothing(self, plan_of, tmp_path) -> None:
        (tmp_path / "store").write_text("a file where the folder should be")
        backend = Played()
        with pytest.raises(StoreError):
            run_sweep(plan_of(2), backend, Store(str(tmp_path / "store")))
        assert backend.opened == 0

    def test_one_that_vanishes_ends_the_sweep_and_says_so(self, plan_of, store, tmp_path) -> None:
        import shutil

        def play(task, n):
            if task.parameters["seed"] == 2:
                shutil.rmtree(tmp_path / "store", ignore_errors=True)
                error = {"name": "StoreError", "value": "gone", "cell": None}
                return outcome(task, runs.SYSTEM_FAULT, error=error)
            return outcome(task)

        backend = Played(play)
        with pytest.raises(StoreError, match="store"):
            run_sweep(plan_of(4), backend, store)
        assert backend.closed == 1


class TestSearch:
    def space(self, n=8, **more):
        return Search(n, "score", {"lr": (0.1, 0.2, 0.3, 0.4, 0.5), "seed": (0, 1)}, **more)

    def test_finds_the_best_and_counts_its_trials(self, plan_of, store) -> None:
        backend = Played()
        result = run_sweep(plan_of(search=self.space(20)), backend, store)
        assert result.state.total == result.state.done == 20
        # Twenty trials over ten points: what is proposed twice is executed once.
        assert len(backend.tasks) == len({t.id for t in backend.tasks}) == len(result.outcomes)
        assert max(o.recorded["score"] for o in result.outcomes.values()) == 1.0

    def test_goes_on_after_an_interruption(self, plan_of, store) -> None:
        from lepton_ref.cloud.sweeps.search import Proposals

        def play(task, n):
            if len(interrupted.tried) == 4:
                signal.raise_signal(signal.SIGINT)
            return outcome(task)

        plan = plan_of(search=self.space(12))
        interrupted = Played(play)
        first = run_sweep(plan, interrupted, store)
        assert first.interrupted and first.missing > 0
        rest = Played()
        whole = run_sweep(plan, rest, store)
        assert whole.state.done == 12 and whole.missing == 0
        assert set(first.outcomes) <= set(whole.outcomes)
        assert not {t.id for t in rest.tasks} & set(first.outcomes)
        assert Proposals(plan, store).told == 12
        assert run_sweep(plan, Played(), store).state.executed == 0

    def test_the_journal_follows_a_store_that_is_no_folder(self, plan_of) -> None:
        store = Store("memory://search-test")
        plan = plan_of(search=self.space(6, sampler="random"))
        run_sweep(plan, Played(), store)
        assert store.exists("search.journal")
        again = Played()
        assert run_sweep(plan, again, store).state.done == 6 and not again.tasks

    def test_failed_trials_count_and_are_told(self, plan_of, store) -> None:
        backend = Played(lambda task, n: outcome(task, runs.FAILED))
        result = run_sweep(plan_of(search=self.space(3)), backend, store)
        assert result.state.done == 3 and len(result.failures()) == len(result.outcomes)

    def test_a_run_without_the_metric_is_a_failed_trial(self, plan_of, store) -> None:
        from lepton_ref.cloud.sweeps.search import Proposals

        plan = plan_of(search=self.space(3))
        run_sweep(plan, Played(lambda task, n: outcome(task, recorded={"other": 1})), store)
        states = {t.state.name for t in Proposals(plan, store).study.trials}
        assert states == {"FAIL", "WAITING"}, "a driver that comes later tries them again"

    def test_a_later_driver_tries_failed_trials_again(self, plan_of, store) -> None:
        def play(task, n):
            return outcome(task, runs.FAILED if task.parameters["lr"] > 0.3 else runs.FINISHED)

        plan = plan_of(search=self.space(10, sampler="random"))
        first = run_sweep(plan, Played(play), store)
        failed = {o.id for o in first.failures()}
        assert failed and first.missing == 0
        for _ in range(2):  # failing twice must not ask for more and more
            again = Played(play)
            second = run_sweep(plan, again, store)
            assert {t.id for t in again.tasks} == failed == {o.id for o in second.failures()}
        mended = Played()
        third = run_sweep(plan, mended, store)
        assert {t.id for t in mended.tasks} == failed
        assert not third.failures() and third.state.done == 10 and third.missing == 0
        assert run_sweep(plan, Played(), store).state.executed == 0

    def test_another_search_in_the_same_store_starts_anew(self, plan_of, store) -> None:
        run_sweep(plan_of(search=self.space(4)), Played(), store)
        longer = run_sweep(plan_of(search=self.space(6)), Played(), store)
        assert longer.state.done == 6 and longer.state.executed <= 2, "the same one, made longer"
        for search, more in (
            (self.space(4, direction="minimize"), {}),
            (Search(4, "score", {"lr": (0.6, 0.7, 0.8)}), {}),
            (self.space(4), {"parameters": {"mode": "other"}}),
        ):
            found = run_sweep(plan_of(search=search, **more), Played(), store)
            assert found.state.done == found.state.total == 4
            asked = {o.parameters["lr"] for o in found.outcomes.values()}
            assert asked <= set(search.space["lr"])

    def test_small_is_good_when_told_so(self, plan_of, store) -> None:
        from lepton_ref.cloud.sweeps.search import Proposals

        plan = plan_of(search=self.space(10, direction="minimize"))
        run_sweep(plan, Played(), store)
        study = Proposals(plan, store).study
        assert study.best_value == min(t.value for t in study.trials)

    def test_a_metric_that_nobody_records(self, plan_of, store) -> None:
        search = Search(3, "scroe", {"lr": (0.1, 0.2)})
        with pytest.raises(SweepError, match="`scroe` is recorded nowhere in trial.ipynb"):
            run_sweep(plan_of(search=search), Played(), store)

    @pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
    def test_runs_that_fall_behind_are_told_to_stop(self, plan_of, store, pruner) -> None:
        """Each run reports its rate at nine steps; the backend obeys the order to stop."""
        stopped: list[float] = []

        class Reporting(Played):
            def wait(self, timeout):
                if not self.queue:
                    return []
                task = self.queue[0]
                channel = Store(task.channel)
                path = f"reports/{task.id}.json"
                told = channel.read_json(path) if channel.exists(path) else []
                if channel.exists(f"stop/{task.id}"):
                    self.queue.popleft()
                    stopped.append(task.parameters["lr"])
                    return [self.told(task, runs.PRUNED)]
                if len(told) == 9:
                    self.queue.popleft()
                    return [self.told(task, runs.FINISHED)]
                report = {"name": "score", "value": task.parameters["lr"], "step": len(told)}
                channel.write_json(path, [*told, report])
                return []

            def told(self, task, status):
                self.tried[task.id] += 1
                return outcome(task, status)

            def capacity(self):
                return 1

        rates = tuple(round(0.9 - 0.05 * k, 2) for k in range(16))
        search = Search(16, "score", {"lr": rates}, sampler="random", pruner=pruner)
        result = run_sweep(plan_of(search=search), Reporting(), store)
        finished = [o.parameters["lr"] for o in result.outcomes.values() if o.recorded]
        assert stopped and max(stopped) < max(finished), "the best is never stopped"
        pruned = [o for o in result.outcomes.values() if o.status == runs.PRUNED]
        assert {o.parameters["lr"] for o in pruned} == set(stopped) and not result.failures()


def test_the_index_is_written_now_and_then(plan_of, store, monkeypatch) -> None:
    monkeypatch.setattr(driver_module, "INDEX_EVERY", 0.0)
    written_at: list[int] = []

    class Looking(Played):
        def wait(self, timeout):
            if store.exists("index.json"):
                written_at.append(len(store.read_json("index.json")["outcomes"]))
            return super().wait(timeout)

    run_sweep(plan_of(6), Looking(), store)
    assert written_at and written_at == sorted(written_at) and written_at[0] < 6
