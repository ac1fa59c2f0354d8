"""The process that talks to Ray, with a Ray that fails on demand."""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from lepton_ref.cloud.sweeps.backends import ray_broker
from lepton_ref.cloud.sweeps.backends.ray_broker import Broker, room, why
from tests.cloud.sweeps.ray_tools import until

# What ends the process ends a thread here.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

SETTINGS = {
    "attempt": "a:b",
    "version": "1",
    "needs": {"CPU": 1.0, "GPU": 0.0, "memory": 0.0},
    "silence": 60.0,
}
TASK = {"id": "r", "sweep": ""}


def node(alive: bool = True, **resources: float) -> dict:
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("needs", "nodes", "slots"),
    [
        ({"CPU": 1.0, "GPU": 0.0}, [node(CPU=4.0), node(CPU=2.0), node(False, CPU=8.0)], 6),
        ({"CPU": 1.0, "GPU": 1.0}, [node(CPU=64.0, GPU=4.0), node(CPU=64.0)], 4),
        ({"CPU": 0.1}, [node(CPU=0.3)], 3),
        ({"CPU": 3.0}, [node(CPU=2.0), node(CPU=2.0)], 0),
        ({"CPU": 1.0, "memory": 3e9}, [node(CPU=8.0, memory=10e9)], 3),
        ({"CPU": 0.0, "GPU": 0.0}, [node(CPU=5.0)], 5),
        ({"CPU": 1.0}, [], 0),
    ],
)
def test_room_counts_the_scarcest_resource_of_each_node(needs, nodes, slots):
    assert room(nodes, needs) == slots


def test_what_ray_said_is_shortened():
    class Ours(RuntimeError):
        cause = ValueError("inside")

    assert why(Ours("\x1b[36mtask\x1b[39m failed")) == ("ValueError", "task failed")
    assert why(RuntimeError()) == ("RuntimeError", "RuntimeError")
    assert len(why(RuntimeError("x" * 10**6))[1]) < 5000


class FakeRay(types.ModuleType):
    """As much of Ray as the broker uses; results are set by the test, by the task's number."""

    class ObjectLostError(Exception):
        pass

    class TaskCancelledError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("ray")
        self.exceptions = self.cloudpickle = self  # type: ignore[assignment]
        self.results: dict[int, Any] = {}
        self.puts: list[str] = []
        self.cancelled: list[tuple[int, bool]] = []
        self.stubborn: set[int] = set()
        self.alive = True
        self.down = False
        self.broken: Exception | None = None
        self.refuses: Exception | None = None
        self.too_busy = 0  # so many times
        self._tasks = 0

    def register_pickle_by_value(self, module: Any) -> None: ...

    def init(self, **given: Any) -> None:
        self.given = given
        if self.too_busy:
            self.too_busy -= 1
            raise ConnectionAbortedError("RuntimeError: Starting Ray client server failed. See")
        if self.refuses:
            raise self.refuses

    def shutdown(self) -> None:
        self.down = True

    def remote(self, **options: Any):
        assert options["max_retries"] == 0 and options["max_calls"] == 0
        return lambda function: types.SimpleNamespace(options=self._options)

    def _options(self, **options: Any):
        self.options = options
        return types.SimpleNamespace(remote=self._start)

    def _start(self, *arguments: Any) -> int:
        if self.refuses:
            raise self.refuses
        self._tasks += 1
        return self._tasks

    def put(self, text: str) -> str:
        self.puts.append(text)
        return text

    def wait(self, refs: list[int], num_returns: int, timeout: float, fetch_local: bool):
        assert not fetch_local
        if self.broken:
            raise self.broken
        end = time.monotonic() + timeout
        while True:
            ready = [ref for ref in refs if ref in self.results][:num_returns]
            if len(ready) == num_returns or time.monotonic() >= end:
                return ready, [ref for ref in refs if ref not in ready]
            time.sleep(0.005)

    def get(self, ref: int, timeout: float) -> Any:
        found = self.results.pop(ref)
        if isinstance(found, Exception):
            raise found
        return found

    def nodes(self) -> list[dict]:
        if not self.alive:
            raise ConnectionError("no answer")
        return [node(CPU=3.0)]

    def cancel(self, ref: int, force: bool, recursive: bool) -> None:
        self.cancelled.append((ref, force))
        if ref in self.stubborn and not force:
            raise RuntimeError("cannot be cancelled")
        self.results[ref] = self.TaskCancelledError()


@pytest.fixture
def fake() -> FakeRay:
    return FakeRay()


@pytest.fixture
def talk(fake, monkeypatch) -> Iterator[tuple[Connection, threading.Thread]]:
    """The driver's end of a broker that serves in a thread, and that thread."""

    def end(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(ray_broker.os, "_exit", end)
    ours, theirs = Pipe()
    broker = Broker(fake, theirs, {**SETTINGS, "silence": 3.0})
    thread = threading.Thread(target=broker.serve, daemon=True)
    thread.start()
    yield ours, thread
    ours.close()
    thread.join(10)
    assert not thread.is_alive()


def hear(connection: Connection, kind: str) -> tuple:
    """The next message of a kind; others between are passed over."""
    while connection.poll(10):
        said = connection.recv()
        if said[0] == kind:
            return said[1:]
    raise AssertionError(f"no {kind} in 10 s")


def test_a_notebook_is_put_once_for_all_its_runs(fake, talk):
    connection, _ = talk
    connection.send(("submit", 7, TASK, "hash", "text"))
    connection.send(("submit", 8, TASK, "hash", None))
    fake.results |= {1: {"of": 7}, 2: {"of": 8}}
    assert sorted([hear(connection, "outcome"), hear(connection, "outcome")]) == [
        (7, {"of": 7}),
        (8, {"of": 8}),
    ]
    assert fake.puts == ["text"]
    assert fake.options["memory"] is None


def test_a_notebook_that_was_lost_is_put_again(fake, talk):
    connection, _ = talk
    connection.send(("submit", 1, TASK, "hash", "text"))
    fake.results[1] = fake.ObjectLostError("gone")
    assert hear(connection, "fault") == (1, "ObjectLostError", "gone", False)
    connection.send(("submit", 2, TASK, "hash", None))
    until(lambda: fake.puts == ["text", "text"], 10, "the notebook is put again")


def test_what_ray_refuses_is_a_fault_of_that_run(fake, talk):
    connection, _ = talk
    fake.refuses = ValueError("no such resource")
    connection.send(("submit", 1, TASK, "hash", "text"))
    assert hear(connection, "fault") == (1, "ValueError", "no such resource", False)


def test_the_nodes_are_counted(talk):
    assert hear(talk[0], "slots") == (3,)


def test_a_wait_that_fails_loses_the_cluster(fake, talk):
    fake.broken = ConnectionError("GCS is gone")
    talk[0].send(("submit", 1, TASK, "hash", "text"))
    assert hear(talk[0], "lost") == ("ConnectionError: GCS is gone",)


def test_silence_loses_the_cluster(fake, talk):
    connection, thread = talk
    fake.alive = False
    assert "has not answered for" in hear(connection, "lost")[0]
    thread.join(10)
    assert not thread.is_alive()


def test_closing_cancels_the_queued_first_and_the_stubborn_by_force(fake, talk):
    connection, thread = talk
    for key in (1, 2, 3):
        connection.send(("submit", key, TASK, "hash", "text"))
    fake.stubborn = {1}
    connection.send(("close", 0.5))
    assert {hear(connection, "fault")[0] for _ in range(3)} == {1, 2, 3}
    hear(connection, "closing")
    assert fake.cancelled == [(3, False), (2, False), (1, False), (1, True)]
    thread.join(10)
    assert not thread.is_alive()


def test_a_driver_that_is_gone_ends_the_broker(talk):
    connection, thread = talk
    connection.close()
    thread.join(10)
    assert not thread.is_alive()


def serve_main(fake, monkeypatch, folder: Path) -> tuple[Connection, threading.Thread]:
    ours, theirs = Pipe()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(sys, "argv", ["broker", str(theirs.fileno())])
    # The thread's Connection owns the descriptor; ours must not close it too.
    monkeypatch.setattr(ray_broker, "Connection", lambda number: theirs)
    ours.send({**SETTINGS, "init": {"address": "auto"}, "folder": str(folder)})
    thread = threading.Thread(target=ray_broker.main, daemon=True)
    thread.start()
    return ours, thread


def test_the_process_connects_serves_and_tidies_up(fake, monkeypatch, tmp_path):
    folder = tmp_path / "room"
    folder.mkdir()
    connection, thread = serve_main(fake, monkeypatch, folder)
    hear(connection, "imported")
    assert hear(connection, "ready") == (3,)
    assert fake.given == {"address": "auto"}
    connection.send(("close", 1.0))
    hear(connection, "closed")
    thread.join(10)
    assert fake.down and not folder.exists()


def test_a_connection_that_fails_says_why(fake, monkeypatch, tmp_path):
    fake.refuses = ConnectionError("nobody there")
    connection, thread = serve_main(fake, monkeypatch, tmp_path)
    assert hear(connection, "failed") == ("ConnectionError", "nobody there")
    thread.join(10)


def test_a_head_that_gave_no_server_is_asked_again(fake, monkeypatch, tmp_path):
    fake.too_busy = 2
    connection, _ = serve_main(fake, monkeypatch, tmp_path)
    assert hear(connection, "ready") == (3,)
    connection.send(("close", 1.0))
    hear(connection, "closed")


def test_and_not_for_ever(fake, monkeypatch, tmp_path):
    fake.too_busy = 3
    connection, thread = serve_main(fake, monkeypatch, tmp_path)
    assert hear(connection, "failed")[0] == "ConnectionAbortedError"
    thread.join(10)
    fake.refuses = ConnectionAbortedError("another reason")
    connection, thread = serve_main(fake, monkeypatch, tmp_path)
    assert hear(connection, "failed") == ("ConnectionAbortedError", "another reason")
    thread.join(10)
