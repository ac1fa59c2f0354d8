"""Attempts as tasks of Ray: on a cluster of this process's own, or on one that is up already.

Ray schedules (CPUs, GPUs and memory of each run, nodes that come and go), and nothing else of it
is used: its retries are off, since the driver keeps the budgets of faults. What the driver holds
of Ray is a process, :mod:`.ray_broker`; see there why.

Nodes are expected to have this package, in the driver's version: the same container image. A node
without it, or with another, says so in a system fault of the run.

**Stopping.** :meth:`RayBackend.close` cancels what is queued, and what runs gets SIGTERM in its
worker process, on whichever node that is: training notebooks then save a checkpoint. Ray has no
call for that. `ray.cancel(force=False)` raises `KeyboardInterrupt`, but only once the main thread
of the worker wakes, and a run waits for its kernel nearly all the time; :mod:`.ray_attempt` turns
the cancellation into the signal at once. What still runs after the grace is killed with its
worker, and the kernels die with that.

**Security.** A cluster of this process listens on all addresses of the machine (Ray cannot do
otherwise) and takes tasks only with a token; the token and everything else of the cluster lie in a
private temporary folder. For a cluster at an address, Ray's own settings hold (``RAY_AUTH_MODE``,
``RAY_AUTH_TOKEN_PATH``, ``RAY_USE_TLS``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lepton_ref
from lepton_ref.cloud.sweeps.backends import ray_address, ray_local
from lepton_ref.cloud.sweeps.backends.base import BackendError
from lepton_ref.cloud.sweeps.backends.local import lost, runs_on_this_machine
from lepton_ref.cloud.sweeps.backends.ray_broker import digest
from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.runs import CANCELLED, Limits, Outcome, Task

#: Attempts kept queued at a cluster that may grow: its autoscaler looks at what waits.
QUEUED = 64
#: Never more than that, however large the cluster.
MOST = 4000
#: Seconds in which an address must answer, the loading of Ray aside.
ANSWER = 14.0
#: Seconds in which a cluster of our own must be up.
START = 75.0
#: Seconds in which a head has a server for a client: three attempts, 30 s for each that fails.
SERVER = 120.0

_SLOW = "timed out during startup"
_DRIVER = "lepton_ref.cloud.sweeps.worker:attempt"


class RayBackend:
    """Runs attempts on Ray.

    Parameters
    ----------
    address : str, optional
        ``"auto"`` (the cluster that this machine is a node of, or ``RAY_ADDRESS``),
        ``"host:port"`` (from a node of the cluster) or ``"ray://host:port"`` (from anywhere). By
        default a cluster on this machine that ends with the backend.
    workers : int, optional
        Runs at once. By default as many as this machine's CPUs hold, or whatever the cluster
        holds.
    limits : Limits, optional
        What each run gets; the tasks carry the same.
    attempt : str, optional
        ``"package.module:function"`` that executes a task on a node.
    runtime_env : dict, optional
        Ray's, for all runs: ``{"env_vars": {...}}``.
    silence : float
        Seconds without any word from the cluster after which it counts as lost.

    Attributes
    ----------
    slots : int
        Runs that the cluster holds at once, as last heard; it changes as nodes come and go.

    Raises
    ------
    SweepError
        For an argument that cannot be meant.
    """

    name = "ray"

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        limits: Limits | None = None,
        attempt: str | None = None,
        runtime_env: dict[str, Any] | None = None,
        silence: float = 120.0,
    ) -> None:
        if isinstance(workers, bool) or (workers or 0) < 0:
            raise SweepError(f"argument `workers` has the value {workers!r}; expected 1 or more")
        self._where = None if address is None else ray_address.parse(address)
        self.address = address
        self._workers = workers or None
        limits = limits or Limits()
        self._needs = {
            "CPU": float(limits.cpus),
            "GPU": float(limits.gpus),
            "memory": float(limits.memory or 0),
        }
        self._settings = {
            "attempt": attempt or _DRIVER,
            "version": lepton_ref.__version__,
            "needs": self._needs,
            "silence": silence,
        }
        self._runtime_env = runtime_env
        self.slots = 0
        self._keys = 0
        self._pending: dict[int, Task] = {}
        self._sent: set[str] = set()
        self._ended: list[Outcome] = []
        self._closing = False
        self._lost = ""
        self._broker: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._folder: Path | None = None

    # --- the protocol of backends -------------------------------------------------------------

    def start(self) -> None:
        if self._broker is not None:
            raise BackendError("this Ray backend has been started already")
        if importlib.util.find_spec("ray") is None:
            raise BackendError("Ray is not installed: pip install 'lepton-ref[cloud]'")
        if self._where is not None:
            ray_address.check_answer(*self._where)
        try:
            self._open()
        except BaseException as error:
            self._end()
            if self.address is not None or _SLOW not in str(error):
                raise
            # Ray gives its processes 30 s, which a machine that is busy or reads them from disk
            # for the first time may exceed; the second time they are in memory.
            self._lost, self._broker = "", None
            try:
                self._open()
            except BaseException:
                self._end()
                raise

    def capacity(self) -> int:
        if self.address is None:
            return min(2 * self.slots, MOST)
        wanted = min(max(2 * self.slots, QUEUED), MOST)
        return wanted if self._workers is None else min(wanted, self._workers)

    def running(self) -> int:
        return min(len(self._pending), self.slots)

    def submit(self, task: Task) -> None:
        self._usable()
        fields = dataclasses.asdict(task)
        del fields["notebook"]
        text = digest(task.notebook)
        notebook = None if text in self._sent else task.notebook
        self._keys += 1
        try:
            self._usable().send(("submit", self._keys, fields, text, notebook))
        except OSError as error:
            self._drain(0.0)
            self._lose("the process that talks to Ray has ended")
            raise BackendError(self._lost) from error
        self._sent.add(text)
        self._pending[self._keys] = task

    def wait(self, timeout: float) -> list[Outcome]:
        end = time.monotonic() + timeout
        if not self._pending and not self._ended:
            time.sleep(timeout)
        while not self._ended and self._pending:
            left = end - time.monotonic()
            if left <= 0:
                break
            self._drain(left)
        self._drain(0.0)
        return self._take()

    def close(self, grace: float = 10.0) -> list[Outcome]:
        if self._broker is None:
            return self._take()
        self._closing = True
        with contextlib.suppress(OSError, BackendError):
            self._usable().send(("close", grace))
            end = time.monotonic() + grace + 20.0
            while not self._lost and (left := end - time.monotonic()) > 0:
                if self._drain(left) in ("closing", "closed"):
                    break
            self._exited(15.0)
        self._end()
        self._lose("the backend was closed")
        return self._take()

    def notice(self) -> str:
        """What keeps runs from starting, in a sentence, or nothing."""
        if self._lost or self.slots or not self._pending:
            return ""
        return (
            f"no node of the cluster holds a run ({_words(self._needs)}); waiting for one to come"
        )

    # --- the broker ---------------------------------------------------------------------------

    def _open(self) -> None:
        self._folder = ray_local.private_folder()
        init: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        environment = dict(os.environ)
        if self.address is None:
            runs = self._workers or runs_on_this_machine(self._needs["CPU"] or 1.0)
            cpus = max(1, math.ceil(runs * self._needs["CPU"]))
            init.update(ray_local.arguments(self._folder, cpus))
            environment = ray_local.environment(self._folder, environment)
        else:
            init["address"] = self.address
        if self._runtime_env:
            init["runtime_env"] = self._runtime_env
        ours, theirs = socket.socketpair()
        log = self._folder / "broker.log"
        with theirs, log.open("wb") as output:
            self._broker = subprocess.Popen(
                [sys.executable, "-m", "lepton_ref.cloud.sweeps.backends.ray_broker"]
                + [str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                # Ctrl-C is for the driver, which then closes us.
                start_new_session=True,
            )
        self._connection = Connection(ours.detach())
        self._connection.send({**self._settings, "init": init, "folder": str(self._folder)})
        self._await("imported", START, "loading Ray")
        if self.address is None:
            self._await("ready", START, "starting a Ray cluster on this machine")
        else:
            # An address that was asked has answered; for a client it starts two processes now.
            left = 2 * ANSWER if self._where else ANSWER
            if self.address.startswith("ray://"):
                left = SERVER
            self._await("ready", left, f"connecting to the Ray address {self.address}")
        if self.address is None and not self.slots:
            raise BackendError(
                f"one run asks for {_words(self._needs)}, which this machine does not "
                "have; lower the limits of the sweep or give the address of a cluster"
            )

    def _await(self, what: str, seconds: float, doing: str) -> None:
        assert self._connection is not None
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            said = self._drain(left)
            if said == what:
                return
            if self._lost:
                raise BackendError(f"{doing} failed: {self._lost}{self._hint()}")
        raise BackendError(f"{doing}: no answer in {seconds:.0f} s{self._hint()}")

    def _hint(self) -> str:
        if self.address is None or self.address.startswith("ray://"):
            return ""
        if self.address == "auto":
            return "; is this machine a node of a Ray cluster (ray status)?"
        return (
            "; host:port is for a node of the cluster (elsewhere: ray://host:10001), and a cluster "
            "with a token wants RAY_AUTH_MODE=token here too"
        )

    def _usable(self) -> Connection:
        if self._connection is None:
            raise BackendError("this Ray backend is not started" if not self._lost else self._lost)
        if self._lost:
            raise BackendError(self._lost)
        return self._connection

    def _drain(self, timeout: float) -> str:
        """Take what the broker has said; the kind of the last message, ``""`` for none."""
        kind = ""
        try:
            while self._connection is not None and self._connection.poll(0.0 if kind else timeout):
                kind, *rest = self._connection.recv()
                self._heard(kind, rest)
                if kind in ("imported", "ready", "closing", "closed"):
                    break
        except (EOFError, OSError):
            self._lose("the process that talks to Ray has ended" + self._last_words())
        return kind

    def _heard(self, kind: str, rest: list[Any]) -> None:
        if kind in ("ready", "slots"):
            found = rest[0]
            self.slots = found if self._workers is None else min(found, self._workers)
        elif kind == "outcome":
            key, fields = rest
            del self._pending[key]
            self._ended.append(Outcome.from_json(fields))
        elif kind == "fault":
            key, name, value, cancelled = rest
            self._ended.append(lost(self._pending.pop(key), name, value))
            if cancelled and self._closing:
                self._ended[-1].status = CANCELLED
        elif kind == "failed":
            self._lose(": ".join(rest))
        elif kind == "lost":
            self._lose(f"the Ray cluster is lost: {rest[0]}")

    def _lose(self, reason: str) -> None:
        """Nothing comes from the broker any more: everything in flight comes back, once."""
        self._lost = self._lost or reason
        for task in self._pending.values():
            self._ended.append(lost(task, "ClusterLost", self._lost))
            if self._closing:
                self._ended[-1].status = CANCELLED
        self._pending.clear()

    def _last_words(self) -> str:
        """The end of what Ray wrote before it ended the broker."""
        assert self._folder is not None
        with contextlib.suppress(OSError):
            lines = (self._folder / "broker.log").read_text(errors="replace").strip().splitlines()
            said = [line.strip() for line in lines if line.strip()][-3:]
            if said:
                return ": " + " | ".join(said)[-1000:]
        return ""

    def _take(self) -> list[Outcome]:
        ended, self._ended = self._ended, []
        return ended

    def _exited(self, seconds: float) -> bool:
        """Whether the broker ends within so many seconds; it is not reaped."""
        import psutil

        assert self._broker is not None
        end = time.monotonic() + seconds
        process = psutil.Process(self._broker.pid)
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)
        return True

    def _end(self) -> None:
        """End the broker, and with it a cluster of ours; take the folder away."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._broker is not None and self._broker.returncode is None:
            if self.address is None and not self._exited(0.0):
                self._broker.terminate()  # Ray's own handler ends the processes that it started
                self._exited(5.0)
            # Its group, which is ours alone: some of Ray's processes outlive a broker that was
            # killed. Not reaped yet, it still holds the number of the group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._broker.pid, signal.SIGKILL)
            self._broker.wait()
        if self._folder is not None:
            ray_local.remove(self._folder)
            self._folder = None


def _words(needs: dict[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in needs.items() if amount) or "1 CPU"
