"""Small notebooks, and backends that execute nothing, for the tests of sweeps."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat

from lepton_ref.cloud.sweeps import runs
from lepton_ref.cloud.sweeps.runs import Outcome, Task

PARAMETERS = (
    'engine = "numpy"  # the engine\n'
    "seed = 0  # a count\n"
    "lr = 0.1  # a rate\n"
    'mode = "fine"  # what the notebook does\n'
    'token = ""  # a secret'
)
DECLARED = (
    "from lepton_ref.framework.evaluation import check, check_parameters, record, report\n"
    "E = check_parameters(\n"
    '    engine=engine, device="cpu", seed=seed, profile="quick",\n'
    '    lr=(lr, float, "(0, 1]"), mode=(mode, str), token=(token, str),\n'
    ")"
)
SCORE = 'record("score", round(lr * (seed + 1), 6))'
CHECK = 'check({"score": ("<=", 0.5)})'


def notebook(*cells: str, parameters: str | None = PARAMETERS) -> str:
    """The text of a notebook: parameters, then ``cells`` (by default one that records)."""
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {
        "name": "python3", "display_name": "Python 3", "language": "python",
    }  # fmt: skip
    if parameters is not None:
        cell = nbformat.v4.new_code_cell(parameters)
        cell.metadata["tags"] = ["parameters"]
        made.cells.append(cell)
    for source in cells or (DECLARED, SCORE, CHECK):
        made.cells.append(nbformat.v4.new_code_cell(source))
    return nbformat.writes(made)


def written(folder: Path, *cells: str, name: str = "trial.ipynb", **more: Any) -> str:
    """The path of such a notebook."""
    path = folder / name
    path.write_text(notebook(*cells, **more), encoding="utf-8")
    return str(path)


def outcome(task: Task, status: str = runs.FINISHED, **more: Any) -> Outcome:
    """What an attempt at a run that records its own arithmetic would have come to."""
    score = round(task.parameters.get("lr", 0.1) * (task.parameters.get("seed", 0) + 1), 6)
    fields: dict[str, Any] = {
        "recorded": {"score": score} if status in runs.COMPLETE else {},
        "error": None
        if status == runs.FINISHED
        else {"name": "Made", "value": f"made to be {status}", "cell": 2},
        "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "seconds": 0.01,
        "host": "here",
    }
    return Outcome(task.id, task.attempt, task.parameters, status, **(fields | more))


class Played:
    """A backend in this process: ``play(task, n)`` says what the n-th attempt comes to.

    Commits to the store like a worker, when ``commits``.
    """

    name = "local"
    slots = 3

    def __init__(self, play: Callable[[Task, int], Outcome] | None = None) -> None:
        self.play = play or (lambda task, n: outcome(task))
        self.queue: deque[Task] = deque()
        self.tried: Counter[str] = Counter()
        self.tasks: list[Task] = []
        self.opened = self.closed = 0
        self.most = 0

    def start(self) -> None:
        self.opened += 1

    def capacity(self) -> int:
        return 4

    def running(self) -> int:
        return min(len(self.queue), 3)

    def submit(self, task: Task) -> None:
        self.queue.append(task)
        self.tasks.append(task)
        self.most = max(self.most, len(self.queue))

    def wait(self, timeout: float) -> list[Outcome]:
        if not self.queue:
            time.sleep(timeout)
            return []
        return [self._end(self.queue.popleft())]

    def _end(self, task: Task) -> Outcome:
        from lepton_ref.cloud.sweeps.commit import commit
        from lepton_ref.cloud.sweeps.storage import Store

        self.tried[task.id] += 1
        ended = self.play(task, self.tried[task.id])
        content = json.dumps({"run": task.id})
        if task.store and ended.status != runs.SYSTEM_FAULT:
            commit(Store(task.store, create=False), ended, content)
        else:
            ended.content = content
        return ended

    def close(self, grace: float = 10.0) -> list[Outcome]:
        self.closed += 1
        self.queue.clear()
        return []
