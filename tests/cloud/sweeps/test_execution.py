"""One attempt, whatever the notebook does: papermill, a real kernel, a real store."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import nbformat
import pytest

from lepton_ref.cloud.sweeps import runs
from lepton_ref.cloud.sweeps.execution import attempt
from lepton_ref.cloud.sweeps.runs import Limits, Outcome, Task
from lepton_ref.cloud.sweeps.storage import Store
from tests.cloud.sweeps.sweep_tools import CHECK, DECLARED, SCORE, notebook

pytestmark = pytest.mark.xdist_group("sweep-execution")  # one zygote for all of them
SLEEP = "import time\ntime.sleep(60)"


def task(*cells: str, attempt: int = 0, limits: Limits | None = None, store="", **parameters):
    return Task(
        "ab" * 10, attempt, notebook(*cells), "trial.ipynb", parameters,
        store=store, limits=limits or Limits(), sweep="trial",
    )  # fmt: skip


def texts(outcome: Outcome) -> str:
    found = nbformat.reads(outcome.content, 4)
    return "".join(o.get("text", "") for c in found.cells for o in c.get("outputs", []))


def test_a_run_that_finishes() -> None:
    done = attempt(task(seed=2, lr=0.125))
    assert done.status == runs.FINISHED and done.error is None
    assert done.recorded == {"score": 0.375}
    assert done.engine == "numpy" and done.versions["numpy"]
    assert done.seconds > done.kernel_seconds > 0
    executed = nbformat.reads(done.content, 4)
    assert executed.metadata.papermill.parameters == {"seed": 2, "lr": 0.125}
    assert executed.metadata.papermill.input_path == "trial.ipynb"
    assert [c for c in executed.cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert Outcome.from_json(json.loads(json.dumps(done.to_json()))).recorded == done.recorded


def test_outcomes_of_a_later_version_can_be_read() -> None:
    stored = {"id": "x", "attempt": 0, "parameters": {}, "status": "finished", "new": 1}
    assert Outcome.from_json(stored).status == runs.FINISHED


def test_below_its_bound_the_results_stay() -> None:
    done = attempt(task(seed=9))
    assert done.status == runs.BELOW_BOUNDS and done.recorded == {"score": 1.0}
    assert done.error == {"name": "CheckError", "value": "score: 1 is not <= 0.5", "cell": 5}


def test_an_error_names_its_cell_and_keeps_the_rest() -> None:
    done = attempt(task(DECLARED, SCORE, "raise KeyError('no such thing')", CHECK))
    assert done.status == runs.FAILED
    assert done.error == {"name": "KeyError", "value": "'no such thing'", "cell": 4}
    assert done.recorded == {"score": 0.1}, "what was recorded before"
    assert "KeyError" in done.content


def test_a_kernel_that_dies_is_a_fault_of_the_machine() -> None:
    done = attempt(task("print('so far', flush=True)", "import os\nos._exit(3)"))
    assert done.status == runs.SYSTEM_FAULT and "died" in done.error["value"].lower()
    assert "so far" in texts(done)
    assert attempt(task()).status == runs.FINISHED, "the next one is well"


def test_the_timeout_is_of_the_whole_notebook() -> None:
    cells = [f"import time\ntime.sleep(0.7)\nprint({k})" for k in range(10)]
    done = attempt(task(*cells, limits=Limits(timeout=4.0)))
    assert done.status == runs.TIMED_OUT
    assert done.error["name"] == "TimedOut" and "longer than 4 s" in done.error["value"]
    assert "0\n" in texts(done), "the partial notebook is kept"


def test_a_kernel_that_ignores_interrupts_is_ended_with_its_children(monkeypatch, tmp_path) -> None:
    from lepton_ref.cloud.sweeps import watch

    monkeypatch.setattr(watch, "GRACE", 0.5)
    child = tmp_path / "child"
    deaf = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"open({str(child)!r}, 'w').write(str(p.pid))\n"
        "time.sleep(60)"
    )
    done = attempt(task(deaf, limits=Limits(timeout=4.0)))
    assert done.status == runs.TIMED_OUT
    for _ in range(50):
        if not _alive(int(child.read_text())):
            break
        time.sleep(0.1)
    assert not _alive(int(child.read_text()))


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_a_notebook_that_prints_100_mb() -> None:
    flood = "for _ in range(100):\n    print('x' * 10**6)"
    done = attempt(task(flood, SCORE, limits=Limits(output_bytes=3_000_000)))
    assert done.status == runs.TOO_MUCH_OUTPUT
    assert "passed 3 MB" in done.error["value"]
    assert len(done.content) < 3_500_000


class TestSecrets:
    @pytest.fixture(autouse=True)
    def _set(self, monkeypatch) -> None:
        monkeypatch.setenv("LEPTON_SECRET_TOK", "hunter2-and-more")

    def test_resolved_inside_the_kernel_alone(self) -> None:
        done = attempt(task("print(len(token), token.startswith('hunter'))", token="secret:TOK"))
        assert done.status == runs.FINISHED and "16 True" in texts(done)
        assert "hunter2" not in done.content and done.parameters == {"token": "secret:TOK"}

    @pytest.mark.parametrize("leak", ["print(token)", "raise ValueError(token)", "token"])
    def test_one_that_gets_out_is_not_stored(self, leak, tmp_path) -> None:
        store = Store(str(tmp_path))
        done = attempt(task(DECLARED, leak, SCORE, token="secret:TOK", store=store.url))
        assert done.status == runs.LEAKED_SECRET and done.recorded == {} and done.content is None
        assert "`TOK`" in done.error["value"]
        everything = b"".join(store.read_bytes(path) for path in store.list())
        assert b"hunter2" not in everything and not store.list("runs")

    def test_one_that_is_not_set_says_so(self) -> None:
        done = attempt(task(token="secret:UNSET_HERE"))
        assert done.status == runs.FAILED and "LEPTON_SECRET_UNSET_HERE" in done.error["value"]


class TestStore:
    def test_a_complete_run_is_committed(self, tmp_path) -> None:
        store = Store(str(tmp_path))
        done = attempt(task(store=store.url))
        assert store.list() == [f"runs/{done.id}/notebook.ipynb", f"runs/{done.id}/run.json"]
        assert done.artifact == f"runs/{done.id}/notebook.ipynb" and done.content is None
        assert store.read_json(f"runs/{done.id}/run.json") == done.to_json() | {
            "seconds": store.read_json(f"runs/{done.id}/run.json")["seconds"]
        }

    def test_a_partial_notebook_is_kept_apart(self, tmp_path) -> None:
        store = Store(str(tmp_path))
        done = attempt(task("1 / 0", attempt=2, store=store.url))
        names = ("notebook.ipynb", "run.json")
        assert store.list() == [f"failed/{done.id}/2/{name}" for name in names]

    def test_one_that_vanished_is_a_fault_of_the_machine(self, tmp_path) -> None:
        done = attempt(task(store=str(tmp_path / "gone")))
        assert done.status == runs.SYSTEM_FAULT and done.error["name"] == "StoreError"


TRAIN = """
import signal
import numpy as np
from lepton_ref.framework.layers import Dense
from lepton_ref.framework.losses import squared_error
from lepton_ref.framework.optimizers import Adam
from lepton_ref.framework.training import Callback, fit
from pathlib import Path
rng = np.random.default_rng(0)
x = rng.normal(size=(64, 4)).astype("float32"); y = x[:, :1] * 2
class Stop(Callback):
    def on_step(self, run):
        flag = Path(FLAG)
        if run.epoch == 3 and not flag.exists():
            flag.touch()
            import os, time
            os.kill(WORKER, signal.SIGTERM)
            time.sleep(3)
    def state(self): return {}
    def load_state(self, state): pass
model = Dense(4, 1, rng=rng)
history = fit(model, squared_error, (x, y), Adam(0.01), 6, rng=rng, callbacks=[Stop()],
              progress=False, batch_size=8)
record("loss", round(history.losses[-1], 8))
record("steps", len(history.losses))
"""


def test_a_preempted_training_goes_on_from_its_checkpoint(tmp_path) -> None:
    """A real SIGTERM to this worker; the second attempt ends as if nothing had been."""
    flag, store = tmp_path / "flag", Store(str(tmp_path / "store"))
    store.check_writable()
    cells = [DECLARED, TRAIN.replace("FLAG", repr(str(flag))).replace("WORKER", str(os.getpid()))]
    before = signal.getsignal(signal.SIGTERM)
    first = attempt(task(*cells, store=store.url))
    assert signal.getsignal(signal.SIGTERM) is before
    assert first.status == runs.SYSTEM_FAULT and first.error["name"] == "Preempted"
    saved = [p for p in store.list("checkpoints") if "/fit-1.checkpoint" in p]
    assert saved
    second = attempt(task(*cells, store=store.url, attempt=1))
    assert second.status == runs.FINISHED, second.error
    assert not store.list("checkpoints"), "a finished run leaves none"
    whole = attempt(task(*cells))
    assert second.recorded == whole.recorded == {**whole.recorded, "steps": 48}


def test_a_search_hears_of_a_run_and_stops_it(tmp_path) -> None:
    channel = Store(str(tmp_path))
    loop = (
        "import time\nfor step in range(200):\n"
        "    report('score', 0.5 + step, step)\n    time.sleep(0.05)"
    )
    given = task(DECLARED, loop, SCORE)
    given = Task(**{**given.__dict__, "channel": str(tmp_path)})

    def order() -> None:
        for _ in range(200):
            if channel.exists(f"reports/{given.id}.json"):
                channel.write_text(f"stop/{given.id}", "")
                return
            time.sleep(0.05)

    thread = threading.Thread(target=order)
    thread.start()
    done = attempt(given)
    thread.join()
    assert done.status == runs.PRUNED and done.recorded == {}
    assert done.last_report["name"] == "score" and done.last_report["step"] < 150
    reports = channel.read_json(f"reports/{given.id}.json")
    assert reports[0] == {"name": "score", "value": 0.5, "step": 0} and len(reports) < 150
    assert "lepton.report" not in done.content, "a report is no output"


def test_outside_a_search_a_report_is_nothing() -> None:
    done = attempt(task(DECLARED, "report('score', 1.0, 0)", SCORE))
    assert done.status == runs.FINISHED and "lepton.report" not in done.content


def test_each_run_has_a_folder_of_its_own_or_the_notebooks() -> None:
    where = "import os\nprint(os.listdir()); open('left', 'w').close(); print(os.getcwd())"
    one, two = attempt(task(where)), attempt(task(where))
    assert texts(one).splitlines()[0] == texts(two).splitlines()[0] == "[]"
    assert texts(one).splitlines()[1] != texts(two).splitlines()[1]
    assert not os.path.exists(texts(one).splitlines()[1]), "gone with the run"


def test_beside_the_notebook(tmp_path) -> None:
    given = Task(**{**task("import os\nprint(os.getcwd())").__dict__, "cwd": str(tmp_path)})
    assert texts(attempt(given)).strip() == os.path.realpath(tmp_path)


def test_cold_kernels_give_the_same() -> None:
    warm = attempt(task(seed=3))
    cold = attempt(Task(**{**task(seed=3).__dict__, "warm": False}))
    assert cold.recorded == warm.recorded and cold.status == runs.FINISHED
