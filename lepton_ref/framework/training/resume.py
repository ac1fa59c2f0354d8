"""From a run to its checkpoint and back (eq. training-state)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError, ModelFileError
from lepton_ref.framework.training.callbacks import Callback
from lepton_ref.framework.training.checkpoints import Checkpoint

if TYPE_CHECKING:
    from lepton_ref.framework.training.loop import Run


def save(run: Run, checkpoint: Checkpoint, callbacks: Sequence[Callback]) -> None:
    """Write the whole state of ``run``."""
    arrays = {f"model/{name}": array for name, array in run.model.state().items()}
    arrays |= {f"optimizer/{name}": array for name, array in run.optimizer.state().items()}
    arrays["history/losses"] = np.array(run.history.losses, np.float64)
    arrays["history/norms"] = np.array(run.history.norms, np.float64)
    for i, callback in enumerate(callbacks):
        arrays |= {f"callback/{i}/{k}": np.asarray(v) for k, v in callback.state().items()}
    description = {
        "run": identity(run, callbacks),
        "epoch": run.epoch,
        "step_in_epoch": run.step_in_epoch,
        "rng": run.rng.bit_generator.state,
        "epoch_rng": run.epoch_rng,
        "rows": run.history.rows,
        "stopped": run.history.stopped,
    }
    checkpoint.write(arrays, description)


def load(run: Run, checkpoint: Checkpoint, callbacks: Sequence[Callback]) -> None:
    """Bring ``run`` to where the checkpoint was written.

    Raises
    ------
    ModelFileError
        When the file is damaged, or was made by a run that differs from this one: the message
        names the first difference.
    """
    arrays, about = checkpoint.read()
    _compare(str(checkpoint.path), about["run"], identity(run, callbacks))
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        kind, _, name = key.partition("/")
        if kind == "callback":
            kind, name = f"callback/{name.partition('/')[0]}", name.partition("/")[2]
        groups.setdefault(kind, {})[name] = array
    try:
        run.model.load_state(groups["model"])
        run.optimizer.load_state(groups["optimizer"])
        for i, callback in enumerate(callbacks):
            callback.load_state(groups.get(f"callback/{i}", {}))
    except (ArgumentError, KeyError) as error:
        raise ModelFileError(f"{checkpoint.path}: does not fit this run: {error}") from error
    run.history.losses = groups["history"]["losses"].tolist()
    run.history.norms = groups["history"]["norms"].tolist()
    run.history.rows, run.history.stopped = about["rows"], about["stopped"]
    run.epoch, run.step_in_epoch = about["epoch"], about["step_in_epoch"]
    run.epoch_rng = about["epoch_rng"]
    run.rng.bit_generator.state = about["rng"]


def identity(run: Run, callbacks: Sequence[Callback]) -> dict[str, Any]:
    """What must be the same on both sides of a resumption."""
    return {
        "model": type(run.model).__name__,
        "parameters": run.fixed["parameters"],
        "loss": getattr(run.loss, "__qualname__", type(run.loss).__name__),
        "optimizer": run.optimizer.settings(),
        "generator": run.rng.bit_generator.state["bit_generator"],
        "batch_size": run.batch_size,
        "drop_last": run.drop_last,
        "l2": run.l2,
        "clip_norm": run.clip_norm,
        "augment": getattr(run.augment, "__qualname__", type(run.augment).__name__),
        "callbacks": [type(callback).__name__ for callback in callbacks],
        "data": run.fixed["data"],
    }


def _compare(path: str, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if saved.get(key) != value:
            raise ModelFileError(
                f"{path}: the checkpoint of another run: `{key}` was {saved.get(key)!r} and is "
                f"{value!r} now; give another path, or Checkpoint(..., resume=False) to start "
                "afresh"
            )
