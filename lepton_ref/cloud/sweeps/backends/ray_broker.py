"""The process that talks to Ray for a :class:`~.ray.RayBackend`: one backend, one broker.

Ray lives in a process of its own because it does to its process what a command line cannot bear:
it may wait for minutes for an address, ends the process when the cluster is lost, takes its
signal handlers, its process group and its environment. So the driver can end the broker at any
time, and what the broker ends of, the driver survives. The broker ends when the driver does.

Messages are tuples over a socket pair. In: the settings, then ``submit``, ``close``. Out:
``imported``, ``ready``, ``failed``, ``slots``, ``outcome``, ``fault``, ``lost``, ``closing``,
``closed``.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lepton_ref.cloud.sweeps.backends import ray_attempt, ray_local

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST = 4000


def room(nodes: Iterable[Mapping[str, Any]], needs: Mapping[str, float]) -> int:
    """How many runs the living nodes hold at once.

    Parameters
    ----------
    nodes : iterable of mapping
        As `ray.nodes()` gives them.
    needs : mapping
        Ray's resources of one run: ``{"CPU": 1.0, "GPU": 0.0, "memory": 0.0}``. A run that needs
        nothing counts as one CPU, so that the number stays finite.
    """
    wanted = {name: amount for name, amount in needs.items() if amount > 0} or {"CPU": 1.0}
    total = 0
    for node in nodes:
        if node.get("Alive"):
            has = node.get("Resources", {})
            # Ray counts in ten-thousandths; 0.3 / 0.1 must be 3.
            total += min(
                math.floor(has.get(name, 0.0) / amount + 1e-4) for name, amount in wanted.items()
            )
    return total


def why(error: BaseException) -> tuple[str, str]:
    """Name and text of what Ray raised; of the cause when the task raised it."""
    cause = getattr(error, "cause", None)
    named = cause if isinstance(cause, BaseException) else error
    text = _ESCAPES.sub("", str(error)).strip()
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}\n…\n{text[-_LONGEST // 2 :]}"
    return type(named).__name__, text or type(named).__name__


class Broker:
    """Submits, collects, counts the nodes, closes.

    Parameters
    ----------
    ray : module
    connection : Connection
        To the driver.
    settings : dict
        ``attempt``, ``version``, ``needs``, ``silence`` (seconds without a word from the cluster
        after which it is lost).
    """

    def __init__(self, ray: Any, connection: Connection, settings: Mapping[str, Any]) -> None:
        self._ray = ray
        self._connection = connection
        self._settings = settings
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._refs: dict[Any, int] = {}
        self._texts: dict[str, str] = {}
        self._puts: dict[str, Any] = {}
        self._heard = time.monotonic()
        self._stopped = threading.Event()
        ray.cloudpickle.register_pickle_by_value(ray_attempt)
        # No budget of Ray's own: it counts preemptions as retries. And without `max_calls` Ray
        # ends the worker after each run that has a GPU; ours holds nothing there, its kernel did.
        self._execute = ray.remote(max_retries=0, retry_exceptions=False, max_calls=0)(
            ray_attempt.execute
        )

    def serve(self) -> None:
        """Until the driver closes or is gone."""
        threading.Thread(target=self._collect, daemon=True).start()
        threading.Thread(target=self._count_nodes, daemon=True).start()
        parent = os.getppid()
        while True:
            try:
                message = self._connection.recv() if self._connection.poll(1.0) else None
            except (EOFError, OSError):
                return
            if os.getppid() != parent:
                return
            silent = time.monotonic() - self._heard
            if silent > self._settings["silence"]:
                self._lost(f"the cluster has not answered for {silent:.0f} s")
            if message is None:
                continue
            if message[0] == "close":
                self._close(message[1])
                return
            self._submit(*message[1:])

    def send(self, *message: Any) -> None:
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:
                pass  # the driver is gone: `serve` sees that and ends

    def _submit(self, key: int, task: dict[str, Any], text: str, notebook: str | None) -> None:
        try:
            if notebook is not None:
                self._texts[text] = notebook
            if text not in self._puts:
                # Once for all the runs of a sweep, not a copy in each.
                self._puts[text] = self._ray.put(self._texts[text])
            needs = self._settings["needs"]
            ref = self._execute.options(
                num_cpus=needs["CPU"],
                num_gpus=needs["GPU"],
                memory=int(needs["memory"]) or None,
                name=f"{task['sweep'] or 'sweep'} {task['id']}",
            ).remote(task, self._puts[text], self._settings["attempt"], self._settings["version"])
        except Exception as error:
            self.send("fault", key, *why(error), False)
            return
        with self._changed:
            self._refs[ref] = key
            self._changed.notify_all()

    def _collect(self) -> None:
        ray = self._ray
        while True:
            with self._changed:
                while not self._refs:
                    self._changed.wait()
                refs = list(self._refs)
            try:
                # One wakes us, then all that are there. A result is fetched when it is wanted.
                ready, _ = ray.wait(refs, num_returns=1, timeout=0.1, fetch_local=False)
                if ready:
                    ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
            except Exception as error:
                self._lost(": ".join(why(error)))
                return
            del refs
            while ready:
                self._deliver(ready.pop())

    def _deliver(self, ref: Any) -> None:
        key = self._refs[ref]
        try:
            self.send("outcome", key, self._ray.get(ref, timeout=120))
        except Exception as error:
            cancelled = isinstance(error, self._ray.exceptions.TaskCancelledError)
            if isinstance(error, self._ray.exceptions.ObjectLostError):
                self._puts.clear()  # it may be the notebook that was lost: put it again
            self.send("fault", key, *why(error), cancelled)
        with self._changed:
            del self._refs[ref]
            self._changed.notify_all()

    def _count_nodes(self) -> None:
        before = -1
        while not self._stopped.wait(2.0):
            try:
                slots = room(self._ray.nodes(), self._settings["needs"])
            except Exception:
                continue  # `serve` knows for how long
            self._heard = time.monotonic()
            if slots != before:
                self.send("slots", slots)
                before = slots

    def _lost(self, reason: str) -> None:
        self.send("lost", reason)
        os._exit(1)  # nothing that asks the cluster would return

    def _close(self, grace: float) -> None:
        # The queued ones were submitted last; ended first, none of them starts in a freed slot.
        for ref in reversed(list(self._refs)):
            try:
                self._ray.cancel(ref, force=False, recursive=False)
            except Exception:
                continue
        if not self._emptied(grace):
            for ref in list(self._refs):
                try:
                    self._ray.cancel(ref, force=True, recursive=False)
                except Exception:
                    continue
            self._emptied(5.0)
        self.send("closing")

    def _emptied(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._refs, timeout=seconds)


def connect(ray: Any, init: dict[str, Any], attempts: int = 3) -> None:
    """Initialise Ray; again where the head could not start a server for this client.

    For a client from outside the head forks a server. Where gRPC's fork handlers are on, one in a
    few of these ends at once, and the head waits 30 s for it before it says so
    (``GRPC_ENABLE_FORK_SUPPORT=0`` at the head prevents it); a busy head may be too slow for one.
    """
    for left in reversed(range(attempts)):
        try:
            ray.init(**init)
            return
        except ConnectionAbortedError as error:
            if "Starting Ray client server failed" not in str(error) or not left:
                raise


def main() -> None:
    """Connect to the driver over the descriptor in the first argument, then to Ray; serve."""
    connection = Connection(int(sys.argv[1]))
    settings = connection.recv()
    # Seconds of parsers that jsonschema builds when it finds this, and nobody asks for (see
    # `ray_local`).
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    try:
        import ray

        connection.send(("imported",))
        connect(ray, settings["init"])
        broker = Broker(ray, connection, settings)
        slots = room(ray.nodes(), settings["needs"])
    except BaseException as error:
        connection.send(("failed", *why(error)))
        return
    connection.send(("ready", slots))
    broker.serve()
    ray.shutdown()
    broker.send("closed")
    ray_local.remove(Path(settings["folder"]))  # a driver that was killed cannot


def digest(text: str) -> str:
    """Key of a notebook's text."""
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    main()
