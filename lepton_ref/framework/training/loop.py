"""The training loop: empirical risk, one mini-batch at a time (eq. training-risk)."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import lepton_ref
from lepton_ref.framework.data import batches
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.losses import l2_penalty
from lepton_ref.framework.optimizers import Optimizer, clip_by_norm, global_norm
from lepton_ref.framework.training import blame, checks, resume
from lepton_ref.framework.training.callbacks import Callback
from lepton_ref.framework.training.checkpoints import Checkpoint, automatic, fingerprint
from lepton_ref.framework.training.history import History

Arrays = tuple[np.ndarray, ...]
Metric = Callable[..., float]


class Run:
    """One training run in progress: what callbacks see and what a checkpoint saves.

    Attributes
    ----------
    model, optimizer, rng, history
        As given to :func:`fit`, and the record so far.
    epoch : int
        Epochs finished.
    step_in_epoch : int
        Steps taken in the epoch that is under way.
    steps_per_epoch : int
    validated : bool
        Whether validation data were given.
    """

    def __init__(
        self, model: Any, loss: Any, arrays: Arrays, optimizer: Optimizer, rng: Any, **settings: Any
    ) -> None:
        self.model, self.optimizer, self.rng, self.history = model, optimizer, rng, History()
        self.loss, self.arrays = loss, arrays
        self.batch_size, self.drop_last = settings["batch_size"], settings["drop_last"]
        self.l2, self.clip_norm = settings["l2"], settings["clip_norm"]
        self.augment = settings["augment"]
        self.validation, self.metrics = settings["validation"], settings["metrics"]
        self.params = model.parameters()
        self.penalised = [name for name, p in self.params.items() if len(p.shape) > 1]
        self.validated = self.validation is not None
        rows = len(arrays[0])
        self.steps_per_epoch = (
            rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)
        )
        self.epoch = self.step_in_epoch = 0
        self.epoch_rng: dict[str, Any] = rng.bit_generator.state
        self.step_rng: dict[str, Any] = self.epoch_rng
        self.gradient = model.E.value_and_grad(self.objective, has_aux=True)

    @functools.cached_property
    def fixed(self) -> dict[str, Any]:
        """Shapes of the model's arrays and a digest of the data, computed once for checkpoints."""
        shapes = {name: list(array.shape) for name, array in self.model.state().items()}
        return {"parameters": shapes, "data": fingerprint(self.arrays)}

    def stop(self, why: str) -> None:
        """End the run after this epoch; ``why`` goes into the history."""
        self.history.stopped = why

    def objective(self, params: dict[str, Any], batch: list[Any]) -> tuple[Any, Any]:
        """What is minimised, and the loss without its penalty."""
        data_loss = self.loss(self.model.apply(params, batch[0], self.rng), *batch[1:])
        if not self.l2:
            return data_loss, data_loss
        penalty = l2_penalty([params[name] for name in self.penalised], self.l2, self.model.E)
        return data_loss + penalty, data_loss

    def step(self, rows: Arrays) -> None:
        """One step on one mini-batch: gradient, clipping, move."""
        E = self.model.E
        if self.augment is not None:
            rows = (self.augment(rows[0], self.rng), *rows[1:])
        batch = to_engine(E, rows)
        self.step_rng = self.rng.bit_generator.state  # to run this very step again (blame)
        (_, data_loss), grads = self.gradient(self.params, batch)
        value = float(data_loss)
        if self.clip_norm is None:
            norm = global_norm(grads)
        else:
            grads, norm = clip_by_norm(grads, self.clip_norm)
        if not (math.isfinite(norm) and math.isfinite(value)):
            blame.raise_non_finite(self, batch)
        self.optimizer.step(self.params, grads)
        self.history.losses.append(value)
        self.history.norms.append(norm)
        self.step_in_epoch += 1

    def stream(self) -> Iterator[Arrays]:
        """The mini-batches of this epoch that are still to come.

        The order of the rows is drawn from the generator as it was when the epoch began; then
        the generator goes on from where the last step left it.
        """
        here = self.rng.bit_generator.state
        if self.step_in_epoch == 0:
            self.epoch_rng = here
            return batches(self.arrays, self.batch_size, self.rng, self.drop_last)
        self.rng.bit_generator.state = self.epoch_rng
        stream = batches(self.arrays, self.batch_size, self.rng, self.drop_last)
        self.rng.bit_generator.state = here
        return itertools.islice(stream, self.step_in_epoch, None)

    def close_epoch(self) -> None:
        """Write the epoch's row."""
        rows, size, steps = len(self.arrays[0]), self.batch_size, self.steps_per_epoch
        weights = np.full(steps, size, np.float64)
        if not self.drop_last:
            weights[-1] = rows - size * (steps - 1)
        lr = self.optimizer.lr
        row = {
            "epoch": self.epoch + 1,
            "lr": float(lr(self.optimizer.steps - 1) if callable(lr) else lr),
            "train_loss": float(np.average(self.history.losses[-steps:], weights=weights)),
        }
        if self.validation is not None:
            figures = evaluate(self.model, self.loss, self.validation, self.metrics)
            row |= {f"validation_{name}": figure for name, figure in figures.items()}
        self.history.rows.append(row)
        self.epoch, self.step_in_epoch = self.epoch + 1, 0


def fit(
    model: Any,
    loss: Callable[..., Any],
    data: Sequence[np.ndarray],
    optimizer: Optimizer,
    epochs: int,
    *,
    rng: np.random.Generator,
    batch_size: int = 128,
    validation: Sequence[np.ndarray] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    l2: float = 0.0,
    clip_norm: float | None = None,
    augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None,
    drop_last: bool = False,
    callbacks: Sequence[Callback] = (),
    checkpoint: Checkpoint | None = None,
    progress: bool = True,
) -> History:
    """Minimise the mean loss over the rows of ``data`` by mini-batch steps.

    Parameters
    ----------
    model : Layer
        Trained in place, on the engine that it was made with.
    loss : callable
        ``loss(outputs, targets, ...) -> scalar``, such as :func:`losses.cross_entropy`.
    data : tuple of np.ndarray
        ``(x, y)`` or ``(x, y, mask, ...)``, one row per example; ``x`` goes through the model
        and the rest to the loss. Floats take the dtype of the parameters.
    optimizer : Optimizer
        Its ``lr`` may be a schedule of the step.
    epochs : int
        Passes over the data. A resumed run continues up to this number.
    rng : numpy.random.Generator
        Shuffles, augments and drops out.
    batch_size : int
        Rows per step; the last batch of an epoch may be smaller.
    validation : tuple of np.ndarray, optional
        As ``data``; evaluated after each epoch.
    metrics : mapping of str to callable, optional
        ``metric(outputs, targets, ...) -> float`` of NumPy arrays, over all validation rows.
    l2 : float
        Strength λ of the penalty ½λ‖W‖² on all parameters of two or more axes
        (eq. training-l2). Biases and gains go free.
    clip_norm : float, optional
        Largest norm of a gradient.
    augment : callable, optional
        ``augment(x, rng) -> x``, applied to each mini-batch's inputs (NumPy).
    drop_last : bool
        Leave out an epoch's last batch when it is not full.
    callbacks : sequence of Callback
    checkpoint : Checkpoint, optional
        Save and resume, to the bit. Without one, a run of a sweep gets its own when the machine
        may go at any moment (:func:`.checkpoints.automatic`).
    progress : bool
        Show a progress bar (on stderr).

    Returns
    -------
    History

    Raises
    ------
    ArgumentError, DataError
        Before the first step, for anything that is wrong with the arguments.
    NonFiniteError
        When a loss or a gradient is not finite; names the step and the layer. The weights are
        those before that step.
    ModelFileError
        When the checkpoint is damaged or belongs to another run.
    """
    checks.check_count("fit", "epochs", epochs)
    checks.check_rng("fit", rng)
    params, dtype = checks.check_model("fit", model)
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError("fit", "optimizer", type(optimizer).__name__, "an Optimizer")
    arrays = checks.as_arrays("fit", "data", data, dtype)
    held_out = None
    if validation is not None:
        held_out = checks.as_arrays("fit", "validation", validation, dtype)
    settings: dict[str, Any] = {
        "batch_size": checks.check_count("fit", "batch_size", batch_size),
        "drop_last": bool(drop_last),
        "l2": checks.check_strength("fit", "l2", l2),
        "clip_norm": clip_norm,
        "augment": augment,
        "validation": held_out,
        "metrics": dict(metrics or {}),
    }
    if clip_norm is not None:
        checks.check_strength("fit", "clip_norm", clip_norm, least=5e-324)
    if drop_last and batch_size > len(arrays[0]):
        raise ArgumentError(
            "fit", "batch_size", f"the value {batch_size} with drop_last",
            f"at most {len(arrays[0])}, the number of rows: no batch would be full",
        )  # fmt: skip
    E = model.E
    with lepton_ref.use(E.name, E.device):
        sets = (arrays,) if held_out is None else (arrays, held_out)
        checks.check_fit("fit", model, loss, settings["metrics"], *sets)
        run = Run(model, loss, arrays, optimizer, rng, **settings)
        if checkpoint is None:
            checkpoint = automatic(callbacks)
        if checkpoint is not None:
            checkpoint.prepare()
            if checkpoint.resume and checkpoint.path.exists():
                resume.load(run, checkpoint, callbacks)
        for callback in callbacks:
            callback.on_start(run)
        with _signals(checkpoint is not None) as caught, _bar(run, epochs, progress) as bar:
            while run.epoch < epochs and not run.history.stopped:
                _one_epoch(run, callbacks, checkpoint, caught, bar)
                last = run.epoch == epochs or run.history.stopped
                if checkpoint and (last or run.epoch % checkpoint.every_epochs == 0 or caught):
                    resume.save(run, checkpoint, callbacks)
                if caught:
                    _interrupt(caught)
        for callback in callbacks:
            callback.on_end(run)
    return run.history


def _one_epoch(
    run: Run,
    callbacks: Sequence[Callback],
    checkpoint: Checkpoint | None,
    caught: list[int],
    bar: Any,
) -> None:
    watching = [c for c in callbacks if type(c).on_step is not Callback.on_step]
    every = checkpoint.every_steps if checkpoint else None
    for rows in run.stream():
        run.step(rows)
        for callback in watching:
            callback.on_step(run)
        bar.update()
        if run.step_in_epoch == run.steps_per_epoch:
            break  # whatever is due is done at the end of the epoch
        if checkpoint and (caught or (every and run.step_in_epoch % every == 0)):
            resume.save(run, checkpoint, callbacks)
            if caught:
                _interrupt(caught)
    run.close_epoch()
    shown = [f"{k} {v:.4f}" for k, v in run.history.rows[-1].items() if k not in ("epoch", "lr")]
    bar.set_postfix_str(", ".join(shown))
    for callback in callbacks:
        callback.on_epoch(run)


def evaluate(
    model: Any,
    loss: Callable[..., Any],
    data: Sequence[np.ndarray],
    metrics: Mapping[str, Metric] | None = None,
    batch_size: int = 512,
) -> dict[str, float]:
    """Mean loss over the rows of ``data``, and metrics over all outputs; nothing is trained.

    Returns
    -------
    dict of str to float
        ``{"loss": ..., <metric>: ...}``.
    """
    E = model.E
    outputs, total = [], 0.0
    with E.no_grad():
        for rows in batches(tuple(data), batch_size):
            batch = to_engine(E, rows)
            out = model(batch[0])
            total += len(rows[0]) * float(loss(out, *batch[1:]))
            if metrics:
                outputs.append(E.asnumpy(out))
    figures = {"loss": total / len(data[0])}
    if metrics:
        everything = np.concatenate(outputs)
        figures |= {k: float(metric(everything, *data[1:])) for k, metric in metrics.items()}
    return figures


def to_engine(E: Any, rows: Sequence[np.ndarray]) -> list[Any]:
    """NumPy rows as arrays of the engine, float64 kept."""
    return [E.array(a, "float64") if a.dtype == np.float64 else E.array(a) for a in rows]


# ------------------------------------------------------------- progress and interruption


@contextlib.contextmanager
def _bar(run: Run, epochs: int, progress: bool) -> Iterator[Any]:
    """A progress bar over all steps, or something silent with the same methods."""
    if not progress:
        yield _Silent()
        return
    from tqdm import tqdm

    done = run.epoch * run.steps_per_epoch + run.step_in_epoch
    with tqdm(total=epochs * run.steps_per_epoch, initial=done, unit="step") as bar:
        yield bar


class _Silent:
    def update(self) -> None: ...

    def set_postfix_str(self, text: str) -> None: ...


@contextlib.contextmanager
def _signals(active: bool) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying in the middle of a step.

    The second Ctrl-C is not waited for.
    """
    caught: list[int] = []
    if not active or threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def note(number: int, frame: Any) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(caught: list[int]) -> None:
    """The exception that the first signal would have raised, now that the run is saved."""
    if caught[0] == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + caught[0])
