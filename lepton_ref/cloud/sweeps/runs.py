"""What travels between the driver of a sweep and the places where its runs execute.

A :class:`Task` is one attempt at one run and goes out; an :class:`Outcome` is what became of it
and comes back. Both are plain data (JSON, picklable), so they cross processes, Ray and stores.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

#: A run that ran to its end with every result inside its bounds.
FINISHED = "finished"
#: A run that ran to its end; its last cell found a result outside its bound (`CheckError`).
BELOW_BOUNDS = "below_bounds"
#: A search stopped the run early because others do better.
PRUNED = "pruned"
#: The notebook raised.
FAILED = "failed"
#: The whole-notebook timeout passed.
TIMED_OUT = "timed_out"
#: A cell printed more than the run may store.
TOO_MUCH_OUTPUT = "too_much_output"
#: A secret's value stood in the output; nothing was stored.
LEAKED_SECRET = "leaked_secret"
#: The machine failed the run: node lost, preempted, kernel died, store unreachable.
SYSTEM_FAULT = "system_fault"
#: The user stopped the sweep while the run was under way.
CANCELLED = "cancelled"

#: Statuses that hold results: never run again.
COMPLETE = frozenset({FINISHED, BELOW_BOUNDS, PRUNED})
#: Statuses that count against the budget of the notebook's own errors.
USER_ERRORS = frozenset({FAILED, TIMED_OUT, TOO_MUCH_OUTPUT, LEAKED_SECRET})


@dataclass(frozen=True)
class Limits:
    """What one run may use; the same on every backend.

    Attributes
    ----------
    timeout : float or None
        Seconds for the whole notebook.
    output_bytes : int
        Most bytes of outputs that a run may print.
    cpus, gpus : float
        Per run; what Ray and Kubernetes schedule by.
    memory : int or None
        Bytes per run.
    threads : int
        Of the numerical libraries in the kernel.
    """

    timeout: float | None = None
    output_bytes: int = 20_000_000
    cpus: float = 1.0
    gpus: float = 0.0
    memory: int | None = None
    threads: int = 1


@dataclass(frozen=True)
class Task:
    """One attempt at one run.

    Attributes
    ----------
    id : str
        Identity of the run (:mod:`.identity`): 20 hexadecimal digits.
    attempt : int
        Counted from 0 over both kinds of fault.
    notebook : str
        Text of the notebook (JSON): the runs of one sweep execute what the driver read.
    name : str
        Its file name, for messages.
    parameters : dict
        As the user gave them; a secret still reads ``"secret:NAME"``.
    store : str
        Root of the sweep's store, an fsspec URL; ``""`` when only the driver reaches it, and
        then the executed notebook travels inside the outcome.
    cwd : str
        Folder to run in when it exists on that machine; else a fresh one.
    channel : str
        fsspec URL of a folder where reported values go and where an order to stop is read;
        ``""`` without a search that prunes.
    warm : bool
        Fork the kernel from a process that has imported the heavy modules.
    preload : tuple of str
        Those modules.
    limits : Limits
    sweep : str
        Name of the sweep.
    """

    id: str
    attempt: int
    notebook: str
    name: str
    parameters: dict[str, Any]
    store: str = ""
    cwd: str = ""
    channel: str = ""
    warm: bool = True
    preload: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    sweep: str = ""


@dataclass
class Outcome:
    """What became of one attempt.

    Attributes
    ----------
    id, attempt, parameters
        Of the task.
    status : str
        One of the constants of this module.
    recorded : dict
        What the cells recorded, by name.
    error : dict or None
        ``{"name": "ValueError", "value": "...", "cell": 3}``: why it did not finish.
    started : str
        UTC, ISO 8601.
    seconds : float
        Of the whole attempt; `kernel_seconds` of the cells alone.
    host, engine, device : str
    versions : dict
        Python, this package, the engines.
    artifact : str
        Path of the executed notebook inside the store; ``""`` when none was stored.
    last_report : dict or None
        What the run reported last: ``{"name": ..., "value": ..., "step": ...}``.
    content : str or None
        The executed notebook itself when only the driver reaches the store.
    """

    id: str
    attempt: int
    parameters: dict[str, Any]
    status: str
    recorded: dict[str, Any] = field(default_factory=dict)
    error: dict[str, Any] | None = None
    started: str = ""
    seconds: float = 0.0
    kernel_seconds: float = 0.0
    host: str = ""
    engine: str = ""
    device: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    artifact: str = ""
    last_report: dict[str, Any] | None = None
    content: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As stored in ``run.json``: everything but the notebook itself."""
        found = dataclasses.asdict(self)
        del found["content"]
        return found

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Outcome:
        """The inverse of :meth:`to_json`; keys of a later version are ignored."""
        known = {f.name for f in dataclasses.fields(cls)}
        return cls(**{k: v for k, v in stored.items() if k in known})
