"""Sweeps on a Ray cluster of two nodes on this machine, of which parts are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lepton_ref.cloud.sweeps.backends.base import BackendError
from lepton_ref.cloud.sweeps.backends.ray import RayBackend
from lepton_ref.cloud.sweeps.results import table
from lepton_ref.cloud.sweeps.runs import FINISHED, SYSTEM_FAULT
from lepton_ref.cloud.sweeps.storage import Store
from tests.cloud.sweeps import ray_tools
from tests.cloud.sweeps.ray_tools import ATTEMPT, collect, descendants, gone, task, until

# One cluster for all of them, so one worker.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray-faults")]


@pytest.fixture(scope="module", autouse=True)
def unmeasured() -> Iterator[None]:
    with ray_tools.unmeasured():
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[str, ray_tools.Helper, str]]:
    """Address, holder and client address of two nodes; the environment leads to their token."""
    with (
        ray_tools.two_nodes() as (address, client, holder, env),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in env.items():
            patch.setenv(name, value)
        # The real 60 s are for a GCS that comes back.
        patch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
        yield address, holder, client


class When:
    """A listener that acts once, when so many runs are done."""

    def __init__(self, done: int, act) -> None:
        self.count, self.act, self.acted = done, act, False
        self.faults: list[str] = []

    def begin(self, total: int, done: int) -> None: ...

    def update(self, state) -> None:
        if state.done >= self.count and not self.acted:
            self.acted = True
            self.act()

    def note(self, outcome, again: bool) -> None:
        self.faults.append(outcome.error["name"])
        assert again, outcome

    def end(self) -> None: ...


def check_complete(store: Path, result) -> None:
    """Forty results: none lost, none twice, in what was returned, in the store and the table."""
    assert not result.failures() and not result.missing
    assert len(result.outcomes) == 40
    values = sorted(o.parameters["x"] for o in result.outcomes.values())
    assert values == list(range(40))
    stored = [p for p in Store(str(store)).list("runs") if p.endswith("/run.json")]
    assert len(stored) == 40
    frame = table(list(result.outcomes.values()))
    assert len(frame) == 40 and frame["id"].is_unique
    assert sorted(frame["p.x"]) == list(range(40))


def test_without_the_token_of_the_cluster_it_says_so(cluster, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("HOME", "/nonexistent")
    begun = time.monotonic()
    with pytest.raises(BackendError, match="RAY_AUTH_MODE=token"):
        RayBackend(cluster[0]).start()
    assert time.monotonic() - begun < 45


def test_from_a_machine_outside_of_the_cluster(cluster, tmp_path):
    backend = RayBackend(cluster[2], attempt=ATTEMPT)
    backend.start()
    try:
        assert backend.slots == 3
        for number in range(100):
            backend.submit(task(number, notebook="x" * 10**6))
        backend.submit(task(100, "exit"))
        found = collect(backend, 101)
        assert found.pop(f"{100:020x}").error["name"] == "WorkerCrashedError"
        assert {o.status for o in found.values()} == {FINISHED}
        mark = tmp_path / "mark"
        backend.submit(task(0, "save", mark=str(mark)))
        until(mark.exists, 30, "the run is under way")
    finally:
        (saved,) = backend.close(10.0)
    assert saved.recorded.get("saved") is True


def test_a_node_that_is_killed_loses_no_run(cluster, tmp_path):
    address, holder, _ = cluster
    raylet, hold = holder.tell("raylet")["pid"], tmp_path / "hold"

    def in_the_midst_of_a_run() -> None:
        hold.touch()
        until(lambda: list(tmp_path.glob(f"under-way-{raylet}-*")), 60, "the node has a run")
        holder.tell("kill")
        hold.unlink()

    kill = When(8, in_the_midst_of_a_run)
    backend = RayBackend(address)
    result = ray_tools.sweep(address, str(tmp_path / "store"), tmp_path, backend, kill)
    assert kill.acted
    assert kill.faults, "a run was under way when its node was killed"
    assert result.state.retried == len(kill.faults)
    check_complete(tmp_path / "store", result)
    assert holder.tell("add")["nodes"] == 2, "the cluster itself is left alone"


def test_a_driver_that_is_killed_goes_on_where_it_was(cluster, tmp_path):
    address, *_ = cluster
    store = tmp_path / "store"
    module = "tests.cloud.sweeps.ray_tools"
    first = subprocess.Popen(
        [sys.executable, "-m", module, "sweep", address, str(store), str(tmp_path)],
        cwd=ray_tools.ROOT,
    )
    try:
        until(lambda: len(list(store.glob("runs/*/run.json"))) >= 8, 90, "8 runs are stored")
        started = descendants(first.pid)
        opened = [f.path for p in started for f in p.open_files()]
        (log,) = {path for path in opened if path.endswith("broker.log")}
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    until(lambda: gone(started), 30, "what the driver started ends with it")
    assert not Path(log).parent.exists()
    before = {p: p.stat().st_mtime_ns for p in store.glob("runs/*/run.json")}
    assert 8 <= len(before) < 40
    result = ray_tools.sweep(address, str(store), tmp_path)
    check_complete(store, result)
    assert result.state.executed <= 40 - len(before)
    assert (
        before.items() <= {p: p.stat().st_mtime_ns for p in store.glob("runs/*/run.json")}.items()
    )


def test_a_cluster_that_is_lost_gives_everything_back(cluster):
    address, holder, _ = cluster
    backend = RayBackend(address, attempt=ATTEMPT, silence=20.0)
    backend.start()
    try:
        backend.submit(task(0))
        assert collect(backend, 1)[f"{0:020x}"].status == FINISHED
        for number in range(1, 6):
            backend.submit(task(number, "sleep", seconds=300))
        time.sleep(1)
        holder.tell("lose")
        found = collect(backend, 5, within=60)
        assert {o.status for o in found.values()} == {SYSTEM_FAULT}
        with pytest.raises(BackendError):
            for number in range(10, 20):  # the first ones may still be taken
                backend.submit(task(number))
                collect(backend, 1, within=60)
    finally:
        backend.close(0.0)
