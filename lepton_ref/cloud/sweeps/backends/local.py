"""Runs on this machine: one worker process for each slot, and nothing to install."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime

import psutil

from lepton_ref.cloud.sweeps.backends.base import BackendError
from lepton_ref.cloud.sweeps.runs import SYSTEM_FAULT, Limits, Outcome, Task

#: Seconds between a worker's SIGTERM and its end, when its driver was killed.
ORPHAN_GRACE = 12.0


def available_cores() -> int:
    """Cores that this process may use (a container may have fewer than its machine)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def runs_on_this_machine(cpus: float) -> int:
    """How many runs of so many cores this machine holds at a time; at least one is tried."""
    return max(1, int(available_cores() / max(cpus, 0.01)))


class LocalBackend:
    """Worker processes of this machine.

    Each slot is an executor of one process, so that a worker that dies takes its own run with
    it and no other.

    Parameters
    ----------
    workers : int, optional
        Runs at a time; as many as ``limits.cpus`` fit into the cores when left out.
    limits : Limits
        Threads of the numerical libraries in each worker.
    """

    name = "local"

    def __init__(self, workers: int | None = None, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.slots = workers or runs_on_this_machine(self.limits.cpus)
        self._free: list[_Slot] = []
        self._busy: dict[Future[Outcome], tuple[_Slot, Task]] = {}
        self._waiting: deque[Task] = deque()
        self._done: list[Outcome] = []
        self._closing = False

    def start(self) -> None:
        """Make the slots; their processes start with their first run."""
        if self.limits.gpus:
            raise BackendError(
                "the local backend does not divide GPUs among runs; use --backend ray with gpus, "
                "or set gpus to 0 and give the runs device=gpu with one worker"
            )
        self._free = [_Slot(self.limits.threads) for _ in range(self.slots)]

    def capacity(self) -> int:
        """One attempt for each slot and one in reserve."""
        return self.slots + 1

    def running(self) -> int:
        """Busy slots."""
        return len(self._busy)

    def submit(self, task: Task) -> None:
        """Give the attempt to a free slot, or keep it until one is."""
        self._waiting.append(task)
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._free and not self._closing:
            slot, task = self._free.pop(), self._waiting.popleft()
            try:
                self._busy[slot.run(task)] = (slot, task)
            except BrokenProcessPool:  # it died between two runs
                slot.close()
                self._free.append(_Slot(self.limits.threads))
                self._waiting.appendleft(task)

    def wait(self, timeout: float) -> list[Outcome]:
        """Outcomes of attempts that have ended."""
        if self._busy and not self._done:
            ended, _ = wait(self._busy, timeout, FIRST_COMPLETED)
            for future in ended:
                self._collect(future)
            self._fill()
        elif not self._done:
            time.sleep(timeout)
        done, self._done = self._done, []
        return done

    def _collect(self, future: Future[Outcome]) -> None:
        slot, task = self._busy.pop(future)
        try:
            self._done.append(future.result())
            self._free.append(slot)
        except BrokenProcessPool:
            slot.close()
            self._done.append(lost(task, "WorkerDied", "the worker process ended unexpectedly"))
            self._free.append(_Slot(self.limits.threads))
        except Exception as error:  # an outcome that does not travel; the worker is well
            self._done.append(lost(task, type(error).__name__, str(error)))
            self._free.append(slot)

    def close(self, grace: float = 10.0) -> list[Outcome]:
        """End the workers; running attempts first save their checkpoints."""
        self._closing = True
        for slot, _ in self._busy.values():
            slot.signal(signal.SIGTERM)
        until = time.monotonic() + grace
        while self._busy and time.monotonic() < until:
            ended, _ = wait(self._busy, max(0.0, until - time.monotonic()), FIRST_COMPLETED)
            for future in ended:
                self._collect(future)
        for slot, task in self._busy.values():
            slot.signal(signal.SIGKILL)
            self._done.append(lost(task, "Killed", f"did not end within {grace:g} s"))
        for slot in [*self._free, *(slot for slot, _ in self._busy.values())]:
            slot.close()
        self._free, self._busy = [], {}
        self._waiting.clear()
        done, self._done = self._done, []
        return done


class _Slot:
    """One worker process."""

    def __init__(self, threads: int) -> None:
        # What all workers import, papermill above all, is imported once and forked.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["lepton_ref.cloud.sweeps.worker"])
        self._executor = ProcessPoolExecutor(
            1, context, _prepare, (threads, os.getpid(), dict(os.environ))
        )

    def run(self, task: Task) -> Future[Outcome]:
        return self._executor.submit(_attempt, task)

    def signal(self, signum: int) -> None:
        for process in list((self._executor._processes or {}).values()):
            if process.is_alive() and process.pid:
                os.kill(process.pid, signum)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


def _prepare(threads: int, driver: int, env: dict[str, str]) -> None:
    """In a new worker: Ctrl-C is the driver's affair, and a driver that is gone ends it."""
    # The server that forks workers keeps the environment of its first day.
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_outlive, args=(psutil.Process(driver),), daemon=True).start()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def _outlive(driver: psutil.Process) -> None:
    """In a worker: end it, its run and its kernels once the driver is gone.

    Nothing in the system does: a worker's parent is the server that forked it, which the worker
    itself keeps alive.
    """
    while driver.is_running() and driver.status() != psutil.STATUS_ZOMBIE:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)  # a run that trains saves its checkpoint
    time.sleep(ORPHAN_GRACE)
    os._exit(1)


def _attempt(task: Task) -> Outcome:
    from lepton_ref.cloud.sweeps.worker import attempt

    return attempt(task)


def lost(task: Task, name: str, message: str) -> Outcome:
    """The outcome of an attempt whose worker did not live to tell it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    error = {"name": name, "value": message[:2000], "cell": None}
    return Outcome(
        task.id, task.attempt, task.parameters, SYSTEM_FAULT, error=error, started=now
    )
