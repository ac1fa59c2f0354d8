"""What runs on a node of a Ray cluster: one attempt, in a worker process that is used again.

Sent by value, so that it runs, and can say what is wrong, on a node that has another version of
this package or none. Hence everything is imported inside.
"""

from __future__ import annotations

from typing import Any


def execute(task: dict[str, Any], notebook: str, attempt: str, version: str) -> dict[str, Any]:
    """Run one attempt in this process.

    Parameters
    ----------
    task : dict
        The fields of a `Task` but its notebook, as plain data.
    notebook : str
    attempt : str
        ``"package.module:function"``.
    version : str
        Of this package at the driver.

    Returns
    -------
    dict
        The fields of an `Outcome`. Whatever the attempt raises becomes a system fault.
    """
    import contextlib
    import dataclasses
    import importlib
    import os
    import platform
    import signal
    import socket
    import sys
    import threading

    def fault(name: str, value: str) -> dict[str, Any]:
        return {
            "id": task["id"],
            "attempt": task["attempt"],
            "parameters": task["parameters"],
            "status": "system_fault",
            "error": {"name": name, "value": value[:2000], "cell": None},
            "host": platform.node(),
        }

    @contextlib.contextmanager
    def told_to_stop():
        """SIGTERM for the attempt when Ray cancels it, so that training can save itself.

        `ray.cancel` marks SIGINT as received without sending it, so a main thread that sleeps or
        waits for a kernel would not see it before it wakes. The mark is written to the wakeup
        descriptor at once, though; a thread that reads there sends the real signal.
        """
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        sent = threading.Event()

        def stop(*_: object) -> None:
            if not sent.is_set():
                sent.set()
                os.kill(os.getpid(), signal.SIGTERM)

        def listen() -> None:
            with contextlib.suppress(OSError):
                while said := ours.recv(64):
                    if signal.SIGINT in said:
                        stop()

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        # asyncio takes the descriptor for itself while a loop has handlers of signals: then it
        # wakes the main thread, and this handler sends the signal.
        before = signal.signal(signal.SIGINT, stop)
        term = signal.getsignal(signal.SIGTERM)
        wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            signal.signal(signal.SIGTERM, term)
            signal.signal(signal.SIGINT, before)
            theirs.close()
            listener.join(5)
            ours.close()

    # The folder that spares Ray's processes an import (see `ray`) is not for the notebooks.
    spared = os.environ.pop("LEPTON_RAY_SPARED", None)
    if spared:
        sys.path[:] = [folder for folder in sys.path if folder != spared]
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        os.environ["PYTHONPATH"] = os.pathsep.join(p for p in paths if p and p != spared)

    try:
        here = importlib.import_module("lepton_ref").__version__
    except ImportError as error:
        return fault(
            "PackageMissing",
            f"lepton-ref {version} must be installed on every node of the cluster: {error}",
        )
    if here != version:
        return fault(
            "VersionMismatch",
            f"this node has lepton-ref {here}, the driver {version}; install one version on both",
        )
    try:
        runs = importlib.import_module("lepton_ref.cloud.sweeps.runs")
        module, _, function = attempt.partition(":")
        run = getattr(importlib.import_module(module), function)
        fields = {
            **task,
            "notebook": notebook,
            "preload": tuple(task["preload"]),
            "limits": runs.Limits(**task["limits"]),
        }
        with told_to_stop():
            outcome = run(runs.Task(**fields))
        return {f.name: getattr(outcome, f.name) for f in dataclasses.fields(outcome)}
    except Exception as error:
        return fault(type(error).__name__, str(error))
