"""The Ray backend on a cluster of its own, and at addresses where there is none."""

from __future__ import annotations

import _thread
import contextlib
import importlib
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

import lepton_ref
from lepton_ref.cloud.sweeps.backends import ray as backends_ray
from lepton_ref.cloud.sweeps.backends import ray_address, ray_local
from lepton_ref.cloud.sweeps.backends.base import BackendError
from lepton_ref.cloud.sweeps.backends.ray import RayBackend
from lepton_ref.cloud.sweeps.backends.ray_attempt import execute
from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.runs import CANCELLED, FINISHED, SYSTEM_FAULT, Limits
from tests.cloud.sweeps import ray_tools
from tests.cloud.sweeps.ray_tools import ATTEMPT, collect, descendants, gone, task, until

# One cluster for all of them, so one worker.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]
MIB = 2**20


@pytest.fixture(scope="module", autouse=True)
def unmeasured() -> Iterator[None]:
    with ray_tools.unmeasured():
        yield


@pytest.fixture(scope="module")
def backend() -> Iterator[RayBackend]:
    """Two slots on this machine, each a worker process that is used again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ray_tools.ROOT))
        patch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # of some other cluster: not for us
        made = RayBackend(workers=2, attempt=ATTEMPT)
        made.start()
        yield made
        made.close(0.0)


# --- on a cluster of its own ------------------------------------------------------------------


def test_attempts_go_out_and_come_back(backend):
    for number in range(6):
        backend.submit(task(number, notebook="{}" * 10, x=[number, None, "é"]))
    found = collect(backend, 6)
    assert {o.status for o in found.values()} == {FINISHED}
    assert [found[f"{n:020x}"].parameters["x"][0] for n in range(6)] == list(range(6))
    assert {o.recorded["notebook"] for o in found.values()} == {20}
    # Warm: worker processes are used again.
    assert len({o.recorded["pid"] for o in found.values()}) <= 2
    assert backend.capacity() == 4
    assert backend.running() == 0
    assert backend.notice() == ""


def test_the_cluster_is_private(backend):
    folder = backend._folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
    # What Ray spares itself, notebooks still find: their environment is as it was.
    backend.submit(task(0, "environment"))
    recorded = collect(backend, 1)[f"{0:020x}"].recorded
    assert str(folder / "spared") not in recorded["path"]
    assert recorded["value"]["PYTHONPATH"] == str(ray_tools.ROOT)
    assert recorded["value"]["RAY_AUTH_MODE"] == "token"
    assert "RAY_AUTH_MODE" not in os.environ, "Ray's settings stay out of the driver"


@pytest.mark.parametrize(
    ("do", "name"),
    [
        ("exit", "WorkerCrashedError"),
        ("sys.exit", "WorkerCrashedError"),
        ("killed", "WorkerCrashedError"),
        ("raise", "KeyError"),
        ("memory", "MemoryError"),
        ("unpicklable", "TypeError"),
    ],
)
def test_whatever_befalls_a_worker_is_a_system_fault(backend, do, name):
    backend.submit(task(1, do))
    backend.submit(task(2))
    found = collect(backend, 2)
    assert found[f"{2:020x}"].status == FINISHED, "one run's fault is not another's"
    lost = found[f"{1:020x}"]
    assert lost.status == SYSTEM_FAULT
    assert lost.parameters == {"do": do}
    assert lost.error["name"] == name
    assert lost.error["value"]
    assert "\x1b" not in lost.error["value"]


def test_a_large_result_comes_back_whole(backend):
    backend.submit(task(3, "big", size=20 * MIB))
    assert len(collect(backend, 1)[f"{3:020x}"].recorded["value"]) == 20 * MIB


def test_a_thousand_runs_queued_cost_little_memory(backend):
    notebook = "x" * (2 * MIB)  # a copy in each task would be 2 GiB
    backend.submit(task(0, notebook=notebook))
    collect(backend, 1)
    processes = [psutil.Process(), psutil.Process(backend._broker.pid)]
    processes += [p for p in descendants(backend._broker.pid) if p.name() != "python"]
    assert {"raylet", "gcs_server"} <= {p.name() for p in processes}

    def used() -> int:
        return sum(p.memory_info().rss for p in processes if p.is_running())

    before = highest = used()
    for number in range(1000):
        backend.submit(task(number, notebook=notebook))
    found: set[str] = set()
    end = time.monotonic() + 120
    while len(found) < 1000 and time.monotonic() < end:
        for outcome in backend.wait(1.0):
            assert outcome.status == FINISHED
            assert outcome.id not in found
            found.add(outcome.id)
        highest = max(highest, used())
    assert len(found) == 1000
    assert highest - before < 1024 * MIB
    assert backend._pending == {}


def test_nothing_to_wait_for_takes_its_time(backend):
    begun = time.monotonic()
    assert backend.wait(0.2) == []
    assert time.monotonic() - begun >= 0.2


def test_a_started_backend_is_not_started_again(backend):
    with pytest.raises(BackendError, match="started already"):
        backend.start()


# --- stopping ---------------------------------------------------------------------------------


def test_closing_lets_runs_save_themselves_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ray_tools.ROOT))
    backend = RayBackend(workers=2, attempt=ATTEMPT)
    backend.start()
    folder = backend._folder
    marks = [tmp_path / "save", tmp_path / "stubborn"]
    for number, mark in enumerate(marks):
        backend.submit(task(number, mark.name, mark=str(mark)))
    for number in (2, 3, 4):
        backend.submit(task(number, "save", mark=str(tmp_path / "never")))
    until(lambda: all(mark.exists() for mark in marks), 60, "both runs are under way")
    started = descendants(backend._broker.pid)
    assert len(started) > 4
    ended = {int(o.id, 16): o for o in backend.close(grace=3.0)}
    assert sorted(ended) == [0, 1, 2, 3, 4]
    assert ended[0].recorded.get("saved") is True
    assert {ended[n].status for n in (1, 2, 3, 4)} == {CANCELLED}
    assert not (tmp_path / "never").exists(), "a queued run started in a freed slot"
    until(lambda: gone(started), 20, "Ray's processes are gone")
    assert not folder.exists()
    assert backend.close() == []
    with pytest.raises(BackendError, match="closed"):
        backend.submit(task(9))


def test_a_broker_that_is_killed_loses_nothing(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ray_tools.ROOT))
    backend = RayBackend(workers=1, attempt=ATTEMPT)
    backend.start()
    try:
        started = descendants(backend._broker.pid)
        for number in range(3):
            backend.submit(task(number, "sleep", seconds=60))
        backend._broker.kill()
        found = collect(backend, 3, within=30)
        assert {o.status for o in found.values()} == {SYSTEM_FAULT}
        assert {o.error["name"] for o in found.values()} == {"ClusterLost"}
        with pytest.raises(BackendError, match="has ended"):
            backend.submit(task(4))
    finally:
        assert backend.close(0.0) == []
    until(lambda: gone(started), 30, "Ray's processes are gone")


def test_a_cancelled_attempt_gets_a_signal_at_once(tmp_path):
    # What `ray.cancel` does in a worker, in this process: SIGINT marked, but not sent.
    mark = tmp_path / "mark"

    def cancel() -> None:
        until(mark.exists, 10, "the attempt is under way")
        time.sleep(0.2)
        _thread.interrupt_main()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    begun = time.monotonic()
    fields = asdict(task(0, "save", mark=str(mark)))
    try:
        found = execute(fields, fields.pop("notebook"), ATTEMPT, lepton_ref.__version__)
    finally:
        canceller.join()
    assert found["recorded"].get("saved") is True
    assert time.monotonic() - begun < 30  # it would have slept for 60


# --- nodes that are not as they should be -----------------------------------------------------


def run_here(version: str = lepton_ref.__version__, attempt: str = ATTEMPT) -> dict:
    fields = asdict(task(0))
    return execute(fields, fields.pop("notebook"), attempt, version)


def test_a_node_with_another_version_says_so():
    found = run_here("9.9.9")
    assert (found["status"], found["error"]["name"]) == (SYSTEM_FAULT, "VersionMismatch")
    assert "driver 9.9.9" in found["error"]["value"]
    assert run_here()["status"] == FINISHED


def test_a_node_without_the_package_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "lepton_ref", None)
    found = run_here()
    assert (found["status"], found["error"]["name"]) == (SYSTEM_FAULT, "PackageMissing")
    assert "on every node" in found["error"]["value"]


def test_an_attempt_that_does_not_exist_is_a_fault():
    found = run_here(attempt="tests.cloud.sweeps.ray_tools:nothing")
    assert found["error"]["name"] == "AttributeError"


# --- room -------------------------------------------------------------------------------------


def test_capacity_keeps_an_autoscaler_busy():
    backend = RayBackend("auto")
    assert backend.capacity() == backends_ray.QUEUED
    backend.slots = 100
    assert backend.capacity() == 200
    backend.slots = 10**6
    assert backend.capacity() == backends_ray.MOST
    assert RayBackend("auto", workers=8).capacity() == 8


def test_a_run_that_no_machine_holds_is_refused(monkeypatch):
    # A cluster that came up, as far as the backend can tell, and has no slot.
    monkeypatch.setattr(RayBackend, "_await", lambda *_: None)
    backend = RayBackend(limits=Limits(gpus=512))
    with pytest.raises(BackendError, match="512 GPU, which this machine does not have"):
        backend.start()
    assert backend._broker.returncode is not None
    assert backend._folder is None


def test_a_start_that_was_too_slow_is_tried_again_once(monkeypatch):
    opened = []

    def slow(self) -> None:
        opened.append(self)
        raise BackendError("Exception: The current node timed out during startup.")

    monkeypatch.setattr(RayBackend, "_open", slow)
    with pytest.raises(BackendError, match="timed out"):
        RayBackend().start()
    assert len(opened) == 2
    with pytest.raises(BackendError, match="timed out"):
        RayBackend("auto").start()
    assert len(opened) == 3


# --- addresses --------------------------------------------------------------------------------


@contextlib.contextmanager
def server(reply: bytes | None) -> Iterator[int]:
    """A port that accepts, and says ``reply`` to what comes; nothing at all for None."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        open_ones = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    open_ones.append(connection)
                    connection.recv(4096)
                    if reply:
                        connection.sendall(reply)

        if reply is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        for connection in open_ones:
            connection.close()


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_closed_port_is_told_within_15_seconds(scheme):
    begun = time.monotonic()
    backend = RayBackend(f"{scheme}127.0.0.1:{ray_tools.free_port()}")
    with pytest.raises(BackendError, match="does not answer: Connection refused"):
        backend.start()
    assert time.monotonic() - begun < 15


def test_a_port_that_never_answers_is_told_within_15_seconds():
    begun = time.monotonic()
    with server(None) as port, pytest.raises(BackendError, match="does not answer: no word in 10"):
        RayBackend(f"127.0.0.1:{port}").start()
    assert time.monotonic() - begun < 15


def test_a_port_of_something_else_is_told():
    with server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        with pytest.raises(BackendError, match="not as Ray does.*8265 is the dashboard's"):
            RayBackend(f"localhost:{port}").start()
    with server(b"") as port, pytest.raises(BackendError):
        ray_address.check_answer("127.0.0.1", port, within=1.0)


def test_a_name_that_nobody_knows_is_told():
    with pytest.raises(BackendError, match="does not answer"):
        RayBackend("no-such-host.invalid:6379").start()


def test_encrypted_addresses_are_asked_no_further(monkeypatch):
    monkeypatch.setenv("RAY_USE_TLS", "1")
    with server(None) as port:
        ray_address.check_answer("127.0.0.1", port, within=1.0)


def test_an_address_that_speaks_but_never_connects_is_given_up(monkeypatch):
    monkeypatch.setattr(backends_ray, "ANSWER", 2.0)
    settings_frame = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    with server(settings_frame) as port:
        backend = RayBackend(f"127.0.0.1:{port}")
        with pytest.raises(BackendError, match="connecting to the Ray address.*host:10001"):
            backend.start()
    assert backend._broker.poll() is not None, "the process that hung is ended"
    assert backend._folder is None


def test_auto_without_a_cluster_is_told(monkeypatch, tmp_path):
    # A cluster that was here once, and whose address Ray still remembers.
    folder = tmp_path / "ray"
    folder.mkdir()
    (folder / "ray_current_cluster").write_text(f"127.0.0.1:{ray_tools.free_port()}")
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.setattr(backends_ray, "ANSWER", 4.0)
    with pytest.raises(BackendError, match="address auto.*node of a Ray cluster"):
        RayBackend("auto").start()


@pytest.mark.parametrize(
    "address",
    ["", "head", "head:", "head:0", "head:99999", "redis://h:1", "http://h:8265", "[::1", "a b:1"],
)
def test_an_address_that_cannot_be_one_is_refused(address):
    with pytest.raises(SweepError, match="argument `address`.*expected"):
        RayBackend(address)


def test_addresses_are_read():
    assert ray_address.parse("auto") is None
    assert ray_address.parse("ray://head:10001") == ("head", 10001)
    assert ray_address.parse("[::1]:6379") == ("::1", 6379)


@pytest.mark.parametrize("workers", [-1, True])
def test_workers_are_positive(workers):
    with pytest.raises(SweepError, match="argument `workers`"):
        RayBackend(workers=workers)


def test_ray_is_needed_only_to_start(monkeypatch):
    code = (
        "import sys, lepton_ref.cloud.sweeps.backends.ray as r; r.RayBackend('auto'); "
        "assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=ray_tools.ROOT)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ray" else find(name)
    )
    with pytest.raises(BackendError, match=r"pip install 'lepton-ref\[cloud\]'"):
        RayBackend().start()


def test_a_backend_that_is_not_started_says_so():
    with pytest.raises(BackendError, match="not started"):
        RayBackend().submit(task(0))
    assert RayBackend().close() == []


def test_temporary_folders_with_long_names_are_avoided(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("d" * 60)))
    folder = ray_local.private_folder()
    try:
        assert len(str(folder)) < 30
    finally:
        folder.rmdir()
    assert Path("/tmp") in folder.parents
