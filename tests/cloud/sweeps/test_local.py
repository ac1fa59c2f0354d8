"""The local backend: real workers, real kernels, and what becomes of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lepton_ref.cloud.sweeps import runs
from lepton_ref.cloud.sweeps.backends.base import BackendError
from lepton_ref.cloud.sweeps.backends.local import LocalBackend
from lepton_ref.cloud.sweeps.driver import run_sweep
from lepton_ref.cloud.sweeps.plan import open_sweep
from lepton_ref.cloud.sweeps.runs import Limits, Task
from lepton_ref.cloud.sweeps.spec import Range, Retries, Search, SweepSpec
from lepton_ref.cloud.sweeps.storage import Store
from tests.cloud.sweeps.sweep_tools import CHECK, DECLARED, SCORE, notebook, written

pytestmark = pytest.mark.xdist_group("sweep-local")

# From the kernel upwards: the first ancestor that is neither kernel nor zygote.
WORKER = (
    "    import psutil\n"
    "    worker = next(p.pid for p in psutil.Process().parents()\n"
    "                  if 'zygote' not in ' '.join(p.cmdline()))\n"
)


def test_a_sweep_whose_workers_die_loses_nothing(tmp_path) -> None:
    """One run kills its own worker, the first time only; every other is untouched."""
    flag = tmp_path / "died"
    die = (
        f"import os, signal, pathlib\nflag = pathlib.Path({str(flag)!r})\n"
        "if seed == 1 and not flag.exists():\n"
        f"    flag.touch()\n{WORKER}    os.kill(worker, signal.SIGKILL)"
    )
    path = written(tmp_path, DECLARED, die, SCORE, CHECK)
    plan = open_sweep(SweepSpec(path, str(tmp_path / "store"), grid={"seed": (0, 1, 2, 3)}))
    store = Store(str(tmp_path / "store"))
    result = run_sweep(plan, LocalBackend(2), store)
    assert flag.exists()
    assert [o.status for o in result.outcomes.values()] == [runs.FINISHED] * 4
    assert result.attempts[plan.runs[1].id] == 2
    assert len([p for p in store.list("runs") if p.endswith("run.json")]) == 4


def task(*cells: str, seed: int = 0, **more) -> Task:
    return Task(f"{seed:020x}", 0, notebook(*cells), "trial.ipynb", {"seed": seed}, **more)


def collect(backend: LocalBackend, n: int, seconds: float = 240.0) -> list[runs.Outcome]:
    found: list[runs.Outcome] = []
    until = time.monotonic() + seconds
    while len(found) < n and time.monotonic() < until:
        found += backend.wait(0.5)
    return found


def test_slots_run_side_by_side_and_keep_their_workers() -> None:
    backend = LocalBackend(2)
    backend.start()
    try:
        say = "import psutil\n" + DECLARED + "\nrecord('parent', psutil.Process().ppid())"
        for seed in range(6):
            backend.submit(task(say, seed=seed))
        assert backend.running() == 2 and backend.capacity() == 3
        done = collect(backend, 6)
        assert sorted(o.parameters["seed"] for o in done) == list(range(6))
        assert {o.status for o in done} == {runs.FINISHED}
        assert len({o.recorded["parent"] for o in done}) == 2, "one zygote for each worker"
    finally:
        assert backend.close() == []


def test_closing_ends_kernels_and_workers(tmp_path) -> None:
    backend = LocalBackend(1)
    backend.start()
    pid = tmp_path / "pid"
    backend.submit(
        task(f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    )
    until = time.monotonic() + 240
    while not (pid.exists() and pid.read_text()) and time.monotonic() < until:
        backend.wait(0.1)
    (ended,) = backend.close(10.0)
    assert ended.status == runs.SYSTEM_FAULT
    gone = time.monotonic() + 10
    while psutil.pid_exists(int(pid.read_text())) and time.monotonic() < gone:
        time.sleep(0.1)
    assert not psutil.pid_exists(int(pid.read_text()))


def test_gpus_are_not_divided_here() -> None:
    with pytest.raises(BackendError, match="--backend ray"):
        LocalBackend(1, Limits(gpus=1)).start()


def test_a_search_that_prunes_end_to_end(tmp_path) -> None:
    """Runs report their rate; the median rule stops those that fall behind."""
    train = (
        "import time\nfor step in range(40):\n"
        "    report('score', lr, step)\n    time.sleep(0.05)"
    )
    path = written(tmp_path, DECLARED, train, SCORE)
    search = Search(12, "score", {"lr": Range(0.1, 0.9)}, pruner="median", sampler="random")
    plan = open_sweep(SweepSpec(path, str(tmp_path / "store"), search=search))
    result = run_sweep(plan, LocalBackend(2), Store(str(tmp_path / "store")))
    statuses = [o.status for o in result.outcomes.values()]
    assert set(statuses) <= {runs.FINISHED, runs.PRUNED} and runs.PRUNED in statuses
    best = max(result.outcomes.values(), key=lambda o: o.parameters["lr"])
    assert best.status == runs.FINISHED


def test_ctrl_c_stores_what_is_done_and_the_rest_follows(tmp_path) -> None:
    path = written(tmp_path, DECLARED, "import time\ntime.sleep(0.3)", SCORE)
    plan = open_sweep(
        SweepSpec(path, str(tmp_path / "store"), grid={"seed": tuple(range(8))}, retries=Retries(0))
    )
    store = Store(str(tmp_path / "store"))

    class Interrupting(LocalBackend):
        def wait(self, timeout):
            done = super().wait(timeout)
            if done and not hasattr(self, "sent"):
                self.sent = True
                os.kill(os.getpid(), signal.SIGINT)
            return done

    first = run_sweep(plan, Interrupting(2), store)
    assert first.interrupted == signal.SIGINT and 0 < len(first.outcomes) < 8
    whole = run_sweep(plan, LocalBackend(2), store)
    assert len(whole.outcomes) == 8 and not whole.failures()
    assert whole.state.executed == 8 - len(first.outcomes)
    assert Path(store.local_path("index.json")).is_file()


def test_a_driver_that_is_killed_leaves_no_process(tmp_path) -> None:
    """SIGKILL to the driver in the middle of a sweep: workers, zygotes and kernels go too."""
    path = written(tmp_path, "import time\ntime.sleep(120)")
    command = [
        sys.executable, "-m", "lepton_ref.cli", "sweep", path, "--grid", "seed=0:2",
        "--workers", "2", "--output", str(tmp_path / "store"),
    ]  # fmt: skip
    driver = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 240
    # Two kernels: processes that were forked from a zygote.
    below: list[psutil.Process] = []
    while time.monotonic() < until:
        below = driver.children(recursive=True)
        if sum("zygote" in " ".join(_command(p)) for p in below) >= 4:
            break
        time.sleep(0.2)
    assert len(below) >= 6
    driver.kill()
    driver.wait()
    _, left = psutil.wait_procs(below, timeout=60)
    assert not left


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
