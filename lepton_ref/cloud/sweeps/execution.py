"""One attempt at one run: papermill executes it here, and its outcome is told."""

from __future__ import annotations

import contextlib
import logging
import platform
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lepton_ref.cloud.sweeps import notebooks, secrets, warm
from lepton_ref.cloud.sweeps.commit import commit
from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.parameters import complete, declared
from lepton_ref.cloud.sweeps.runs import (
    BELOW_BOUNDS,
    CANCELLED,
    COMPLETE,
    FAILED,
    FINISHED,
    LEAKED_SECRET,
    PRUNED,
    SYSTEM_FAULT,
    TIMED_OUT,
    TOO_MUCH_OUTPUT,
    Outcome,
    Task,
)
from lepton_ref.cloud.sweeps.storage import Store
from lepton_ref.cloud.sweeps.watch import Watch

#: Seconds between copies of a running attempt's checkpoints to the store.
SYNC = 20.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_STOPPED = {
    PRUNED: "Pruned", SYSTEM_FAULT: "Preempted", TIMED_OUT: "TimedOut",
    TOO_MUCH_OUTPUT: "TooMuchOutput",
}  # fmt: skip
_TERMINATED = ("SystemExit", str(128 + signal.SIGTERM))
_PACKAGES = ("lepton-ref", "numpy", "mxnet", "torch")


def attempt(task: Task) -> Outcome:
    """Execute one notebook once, and store the result when the task names a store.

    Called in a worker process, one task at a time, in its main thread (SIGTERM is caught there
    while a run is under way). Whatever the notebook, its kernel or the store do is told in the
    outcome; nothing is raised.

    Parameters
    ----------
    task : Task

    Returns
    -------
    Outcome
        ``content`` holds the executed notebook only when the task names no store.
    """
    began = time.perf_counter()
    outcome = Outcome(
        task.id, task.attempt, task.parameters, SYSTEM_FAULT, host=platform.node(),
        started=datetime.now(UTC).isoformat(timespec="milliseconds"), versions=versions(),
    )  # fmt: skip
    content = None
    try:
        with tempfile.TemporaryDirectory(prefix="lepton-run-", ignore_cleanup_errors=True) as room:
            store = Store(task.store, create=False) if task.store else None
            content = _run(task, outcome, Path(room), store)
            outcome.seconds = round(time.perf_counter() - began, 3)
            if store is not None:
                commit(store, outcome, content)
                content = None
    except StoreError as error:
        _fault(outcome, "StoreError", str(error))
    except OSError as error:  # no room for the folder of the run, too many open files
        _fault(outcome, type(error).__name__, str(error))
    outcome.seconds = round(time.perf_counter() - began, 3)
    outcome.content = content if outcome.status != LEAKED_SECRET else None
    return outcome


def _fault(outcome: Outcome, name: str, message: str) -> None:
    outcome.status = SYSTEM_FAULT
    outcome.error = {"name": name, "value": message[:2000], "cell": None}


def _run(task: Task, outcome: Outcome, room: Path, store: Store | None) -> str | None:
    """Execute, and fill in the outcome; the text of the notebook as far as it came."""
    watch = Watch(task.limits, task.id, Store(task.channel) if task.channel else None)
    notebook = notebooks.read(task.notebook, task.name)
    outcome.engine, outcome.device = _engine(task, notebook)
    checkpoints = room / "checkpoints"
    checkpoints.mkdir()
    folder = Path(task.cwd) if task.cwd and Path(task.cwd).is_dir() else room / "work"
    folder.mkdir(exist_ok=True)
    prefix = f"checkpoints/{task.id}"
    if store is not None:
        store.download_folder(prefix, checkpoints)
    with _sigterm(watch), _synchronised(store, checkpoints, prefix):
        failure = _execute(task, watch, notebook, folder, checkpoints)
    executed = watch.notebook if watch.notebook is not None else notebook
    _judge(outcome, watch, executed, failure)
    about = executed.metadata.setdefault("papermill", {})
    outcome.kernel_seconds = float(about.get("duration") or 0)
    about["input_path"] = task.name  # papermill was given the notebook itself, and keeps a copy
    text = notebooks.write(executed)
    named = secrets.named(task.parameters).values()
    found = secrets.leaked(text + str(outcome.error), named)
    if found:
        outcome.status, outcome.recorded = LEAKED_SECRET, {}
        outcome.error = {
            "name": "LeakedSecret",
            "value": f"the value of secret `{found[0]}` stands in the output; nothing was stored",
            "cell": None,
        }
        return None
    if store is not None and outcome.status in COMPLETE:
        store.delete(prefix)
    return text


def _execute(
    task: Task, watch: Watch, notebook: Any, folder: Path, checkpoints: Path
) -> BaseException | None:
    """Let papermill run the notebook; what it raised, if anything."""
    from papermill import execute_notebook

    from lepton_ref.cloud.sweeps.papermill_engine import NAME

    logging.getLogger("papermill").setLevel(logging.ERROR)
    env: dict[str, str | None] = {
        **dict.fromkeys(_THREADS, str(task.limits.threads)),
        "LEPTON_CHECKPOINTS": str(checkpoints),
        "LEPTON_RUN": task.id,
        "LEPTON_REPORT": "1" if task.channel else None,
    }
    preload = task.preload or warm.needed(
        cell.source for cell in notebook.cells if cell.cell_type == "code"
    )
    try:
        manager = warm.kernel_manager(preload, env=env, cwd=folder, warm=task.warm)
        execute_notebook(
            notebook,
            None,
            parameters=task.parameters,
            engine_name=NAME,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            request_save_on_cell_execute=False,
            autosave_cell_every=0,
            watch=watch,
            manager=manager,
            secrets=secrets.named(task.parameters),
        )
    except (Exception, KeyboardInterrupt) as error:
        return error
    return None


def _judge(
    outcome: Outcome, watch: Watch, executed: Any, failure: BaseException | None
) -> None:
    """Status, error and records of what was executed."""
    from papermill.exceptions import PapermillExecutionError

    outcome.recorded = notebooks.records(executed)
    outcome.last_report = watch.reports[-1] if watch.reports else None
    error = notebooks.last_error(executed)
    # An order to stop that came when the last cell had ended changed nothing; a flood did.
    if watch.reason and (failure is not None or watch.reason[0] == TOO_MUCH_OUTPUT):
        outcome.status, message = watch.reason
        cell = error["cell"] if error else None
        outcome.error = {"name": _STOPPED[outcome.status], "value": message, "cell": cell}
    elif failure is None:
        outcome.status = FINISHED
    elif isinstance(failure, KeyboardInterrupt):
        outcome.status = CANCELLED
        outcome.error = {"name": "Cancelled", "value": "the worker was interrupted", "cell": None}
    elif error is not None and (error["name"], error["value"]) == _TERMINATED:
        # The whole machine was told to end, and the training in the kernel heard it first.
        outcome.status = SYSTEM_FAULT
        outcome.error = {**error, "name": "Preempted", "value": "the kernel was told to end"}
    elif isinstance(failure, PapermillExecutionError):
        checked = error is not None and error["name"] == "CheckError"
        outcome.status = BELOW_BOUNDS if checked else FAILED
        outcome.error = error or {
            "name": failure.ename, "value": failure.evalue[:2000], "cell": None,
        }  # fmt: skip
    else:
        _fault(outcome, type(failure).__name__, str(failure) or "the kernel died")


def _engine(task: Task, notebook: Any) -> tuple[str, str]:
    """Engine and device that the run is given, or that its notebook falls back on."""
    full = complete(declared(notebook, task.name), task.parameters)
    return str(full.get("engine", "")), str(full.get("device", ""))


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the engines' libraries here."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


@contextlib.contextmanager
def _sigterm(watch: Watch) -> Iterator[None]:
    """Pass SIGTERM on to the kernel while it runs (only possible in the main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, watch.preempted)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _synchronised(store: Store | None, folder: Path, prefix: str) -> Iterator[None]:
    """Copy new checkpoints to the store now and then, and at the end."""
    if store is None:
        yield
        return
    over = threading.Event()

    def copy() -> None:
        with contextlib.suppress(StoreError):  # the next copy, or the commit, will tell
            store.upload_folder(folder, prefix)

    def loop() -> None:
        while not over.wait(SYNC):
            if any(folder.iterdir()):
                copy()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if any(folder.iterdir()):
            copy()

