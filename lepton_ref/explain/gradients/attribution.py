"""What every explainer of the chapter takes and returns, and what all of them refuse.

An explainer is ``explainer(model, x, target=None, *, ...) -> Attribution``; those that draw take a
``seed``. A *white box* is called with an engine's array and can be differentiated; a *black box*
is a function of NumPy arrays, and :func:`black_box` makes one of a white box.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Layer


class SaturationWarning(UserWarning):
    """An explanation that will be empty or nearly so, and why."""


@dataclass(frozen=True)
class Attribution:
    """How much each entry of an input contributed to one output of a model.

    Attributes
    ----------
    values : ndarray, shape (N, *shape), float64
        Positive: it spoke for the target.
    x : ndarray, shape (N, *shape)
        What was explained.
    target : int64 ndarray, shape (N,)
        Which output.
    outputs : float64 ndarray, shape (N,)
        f_target(x).
    method : str
        Name of the explainer.
    baseline : ndarray, shape (N, *shape), optional
        What "absent" means.
    baseline_outputs : ndarray, shape (N,), optional
        f_target(baseline).
    standard_error : ndarray like ``values``, optional
        Of methods that sample.
    seed : int, optional
        Of methods that draw random numbers.
    settings : mapping
        Steps, samples, and what else the method was told.
    """

    values: np.ndarray
    x: np.ndarray
    target: np.ndarray
    outputs: np.ndarray
    method: str
    baseline: np.ndarray | None = None
    baseline_outputs: np.ndarray | None = None
    standard_error: np.ndarray | None = None
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def gap(self) -> np.ndarray | None:
        """Σᵢ aᵢ − (f(x) − f(baseline)), shape (N,): zero for a complete method; else None."""
        if self.baseline_outputs is None:
            return None
        total = self.values.reshape(len(self.values), -1).sum(axis=1)
        return total - (self.outputs - self.baseline_outputs)

    def summed(self) -> Attribution:
        """One number for each row of the input: (N, T, D) -> (N, T), for vectors of words.

        Raises
        ------
        ArgumentError
            When one example has no two axes.
        """
        if self.values.ndim < 3:
            raise ArgumentError(
                "Attribution.summed", "values", f"shape {self.values.shape}", "(N, T, D)"
            )
        return dataclasses.replace(self, values=self.values.sum(axis=-1), standard_error=None)

    def plot(
        self,
        *,
        example: int = 0,
        names: Sequence[str] | None = None,
        ax: Any = None,
        top: int | None = None,
    ) -> Any:
        """Draw one example: signed bars, a picture with its map, or coloured words.

        Parameters
        ----------
        example : int
            Which row.
        names : sequence of str, optional
            Of the features, or the words themselves.
        ax : matplotlib.axes.Axes, optional
        top : int, optional
            Bars: only so many, the largest in absolute value.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ArgumentError
            For an example that is not there, or names of another number.
        """
        from lepton_ref.explain.gradients.plotting import plot

        return plot(self, example=example, names=names, ax=ax, top=top)


class BlackBox:
    """A model as a function of NumPy arrays: (M, *shape) -> float64 (M, K) or (M,).

    Attributes
    ----------
    E : Engine or None
        None for a function that computes with NumPy arrays itself.
    """

    def __init__(self, model: Callable[[Any], Any], batch_size: int, E: Any) -> None:
        self.model, self.batch_size, self._engine = model, batch_size, E

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Outputs of all rows, computed ``batch_size`` at a time; nothing is recorded.

        A model of as many examples as there are rows is asked for each batch's own examples.
        """
        x = np.asarray(x)
        if self.batch_size < len(x) == getattr(self.model, "num_examples", None):
            return self.of(x, np.arange(len(x)))
        parts = [
            self._run(x[i : i + self.batch_size]) for i in range(0, max(len(x), 1), self.batch_size)
        ]
        return np.concatenate(parts)

    def _run(self, x: np.ndarray) -> np.ndarray:
        if self._engine is None:
            return np.asarray(self.model(x), np.float64)
        with self._engine.no_grad():
            y = self.model(self._engine.array(x, model_dtype(self.model, x)))
            return np.asarray(self._engine.asnumpy(y), np.float64)

    def of(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Outputs of versions of several examples: row i is one of the example ``rows[i]``."""
        if getattr(self.model, "select", None) is None:
            return self(x)
        step = self.batch_size  # each batch must know whose rows it holds
        parts = [slice(i, i + step) for i in range(0, max(len(x), 1), step)]
        return np.concatenate([self.select(rows[part])(x[part]) for part in parts])

    def select(self, rows: Any) -> BlackBox:
        """As :func:`select`."""
        return BlackBox(select(self.model, rows), self.batch_size, self._engine)


def black_box(model: Any, batch_size: int = 256, engine: str | Engine | None = None) -> BlackBox:
    """A model as a function of NumPy arrays, evaluated in batches without a gradient.

    Parameters
    ----------
    model : Layer, white box or function
        What has an attribute ``E`` runs on that engine; a function with ``engine`` given runs
        on it; a function without is called with NumPy arrays.
    batch_size : int
        Rows at a time.
    engine : str or Engine, optional

    Returns
    -------
    BlackBox
        ndarray (M, *shape) -> float64 ndarray (M, K) or (M,).

    Raises
    ------
    ArgumentError
        For what cannot be called, or a batch size below one.
    """
    check_model("black_box", model, batch_size)
    if isinstance(model, BlackBox):
        return model
    own = getattr(model, "E", None)
    if engine is not None:
        own = engine if isinstance(engine, Engine) else lepton_ref.engine(engine)
    return BlackBox(model, batch_size, own)


def check_model(where: str, model: Any, batch_size: int = 1) -> None:
    """Refuse what cannot be called, and batches of no rows.

    Raises
    ------
    ArgumentError
    """
    if not callable(model):
        raise ArgumentError(where, "model", f"type {type(model).__name__}", "a callable")
    whole(where, batch_size=batch_size)


def engine_of(model: Any, engine: str | Engine | None = None) -> Any:
    """The engine of a white box: its own, the one given, or the active one."""
    if engine is not None:
        return engine if isinstance(engine, Engine) else lepton_ref.engine(engine)
    own = getattr(model, "E", None)
    return lepton_ref.engine() if own is None else own


def select(model: Any, rows: Any) -> Any:
    """The model for a batch whose row i is the example ``rows[i]``.

    Most models treat all rows alike and come back as they are. One that carries something for
    each example (the mask of a text) has a method ``select(rows)``; explainers that repeat,
    skip or reorder examples call this, so that each row meets its own mask.
    """
    method = getattr(model, "select", None)
    return model if method is None else method(np.asarray(rows))


def model_dtype(model: Any, x: np.ndarray) -> str:
    """The dtype a model computes in: that of its weights, or of ``x`` for a plain function."""
    said = getattr(model, "dtype", None)
    if isinstance(said, str):
        return said
    if isinstance(model, Layer):
        for array in model.parameters().values():
            return str(model.E.asnumpy(array).dtype)
    return "float64" if np.asarray(x).dtype == np.float64 else "float32"


def check_input(where: str, x: Any) -> np.ndarray:
    """A batch of finite floats.

    Raises
    ------
    ArgumentError
        For an empty batch, no batch at all, numbers that are not floats, NaN or infinity.
    """
    x = np.asarray(x)
    if x.dtype.kind != "f":
        hint = "; of words explain the embeddings" if x.dtype.kind in "iu" else ""
        raise ArgumentError(where, "x", f"dtype {x.dtype}", f"floats{hint}")
    if x.ndim < 2 or not x.size:
        raise ArgumentError(
            where, "x", f"shape {x.shape}", "a batch (N, ...) of at least one example"
        )
    _finite(where, "x", x)
    return x


def check_outputs(where: str, outputs: Any, n: int) -> np.ndarray:
    """A model's outputs as float64, (N, K) or (N,), finite.

    Warns
    -----
    SaturationWarning
        When the rows are probabilities, which hardly move where the model is sure.

    Raises
    ------
    ArgumentError
        For another shape, or outputs that are not finite.
    """
    y = np.asarray(outputs, np.float64)
    if y.ndim not in (1, 2) or len(y) != n or not y.size:
        raise ArgumentError(where, "model", f"outputs of shape {y.shape}", f"({n}, K) or ({n},)")
    _finite(where, "model's outputs", y)
    if y.ndim == 2 and y.shape[1] > 1 and y.min() >= 0 and np.allclose(y.sum(axis=1), 1, atol=1e-5):
        warnings.warn(
            f"{where}: the outputs are probabilities. They hardly move where the model is sure, "
            "and one may rise because another fell; explain the logits instead",
            SaturationWarning, stacklevel=3,
        )  # fmt: skip
    return y


def as_target(where: str, target: Any, n: int) -> np.ndarray | None:
    """The targets of n rows as an array, () or (n,), before any output is known; None stays.

    Raises
    ------
    ArgumentError
        For another number of targets, or no whole numbers.
    """
    if target is None:
        return None
    chosen = np.asarray(target)
    if chosen.dtype.kind not in "iu":
        raise ArgumentError(where, "target", f"dtype {chosen.dtype}", "whole numbers")
    if chosen.shape not in ((), (n,)):
        raise ArgumentError(where, "target", f"shape {chosen.shape}", f"one number or ({n},)")
    return chosen


def check_target(where: str, target: Any, outputs: np.ndarray) -> np.ndarray:
    """Which output of each row is explained: int64 (N,); None takes the largest.

    Raises
    ------
    ArgumentError
        For another number of targets, no whole numbers, or one out of range.
    """
    n, K = len(outputs), 1 if outputs.ndim == 1 else outputs.shape[1]
    chosen = as_target(where, target, n)
    if chosen is None:
        return outputs.reshape(n, K).argmax(axis=1).astype(np.int64)
    if chosen.size and (chosen.min() < 0 or chosen.max() >= K):
        bad = int(chosen.min() if chosen.min() < 0 else chosen.max())
        raise ArgumentError(where, "target", f"the value {bad}", f"0..{K - 1}")
    return np.broadcast_to(chosen, (n,)).astype(np.int64)


def check_baseline(where: str, baseline: Any, x: np.ndarray) -> np.ndarray:
    """What "absent" means, in the shape of ``x``; None is zero.

    Parameters
    ----------
    baseline : None, number, or array of shape (*shape) or (N, *shape)

    Warns
    -----
    SaturationWarning
        When an example is its own baseline: there is nothing to explain.

    Raises
    ------
    ArgumentError
        For another shape, or entries that are not finite.
    """
    given = np.asarray(0.0 if baseline is None else baseline)
    if given.dtype.kind not in "fiu":
        raise ArgumentError(where, "baseline", f"dtype {given.dtype}", "floats")
    if given.shape not in ((), x.shape[1:], x.shape):
        raise ArgumentError(
            where, "baseline", f"shape {given.shape}", f"a number, {x.shape[1:]} or {x.shape}"
        )
    _finite(where, "baseline", given)
    full = np.broadcast_to(given, x.shape).astype(x.dtype)
    same = (full == x).reshape(len(x), -1).all(axis=1)
    if same.any():
        warnings.warn(
            f"{where}: example {int(same.argmax())} equals its baseline; there is nothing to "
            "explain and every attribution is zero",
            SaturationWarning, stacklevel=3,
        )  # fmt: skip
    return full


def check_explained(
    where: str, model_outputs: Any, x: Any, target: Any = None, baseline: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All checks in one: x, outputs (N, K) or (N,), target (N,) and baseline, made whole.

    Parameters
    ----------
    where : str
        The explainer, for the messages.
    model_outputs : callable or array
        A function of x that gives the outputs, called once x has passed; or the outputs.

    Raises
    ------
    ArgumentError
        As the single checks.
    """
    x = check_input(where, x)
    full = check_baseline(where, baseline, x)
    y = check_outputs(where, model_outputs(x) if callable(model_outputs) else model_outputs, len(x))
    return x, y, check_target(where, target, y), full


def warn_of_zeros(where: str, gradients: np.ndarray) -> None:
    """Warn of examples at which no output moves at all: a saturated model, or dead units."""
    dead = ~gradients.reshape(len(gradients), -1).any(axis=1)
    if dead.any():
        warnings.warn(
            f"{where}: the gradient of example {int(dead.argmax())} is zero everywhere "
            f"({int(dead.sum())} of {len(dead)}): the model is saturated there. That does not mean "
            "that nothing mattered; explain the logits, or compare with a baseline "
            "(integrated_gradients)",
            SaturationWarning, stacklevel=3,
        )  # fmt: skip


def at_target(outputs: np.ndarray, target: np.ndarray) -> np.ndarray:
    """f_target of each row: (N, K) or (N,) -> float64 (N,)."""
    outputs = np.asarray(outputs, np.float64)
    return outputs if outputs.ndim == 1 else outputs[np.arange(len(outputs)), target]


def _finite(where: str, argument: str, array: np.ndarray) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ArgumentError(
            where, argument, f"the value {array[at]} at {at} ({int(bad.sum())} in all)",
            "finite numbers",
        )  # fmt: skip
