"""What every explainer of the chapter takes and returns, and what all of them refuse.

An explainer is ``explainer(model, x, target=None, *, ...) -> Attribution``; those that draw take a
``seed``.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lepton_ref.framework.arguments import real_array, rectangular
from lepton_ref.framework.errors import ArgumentError


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


def check_input(where: str, x: Any) -> np.ndarray:
    """A batch of finite floats.

    Raises
    ------
    ArgumentError
        For an empty batch, no batch at all, numbers that are not floats, NaN or infinity.
    """
    x = rectangular(where, "x", x)
    if x.dtype.kind != "f":
        hint = ""
        if x.dtype.kind in "iu":
            hint = ": a table after astype(float), of words the embeddings"
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
    y = real_array(where, "model's outputs", outputs)
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
    chosen = rectangular(where, "target", target)
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
    given = rectangular(where, "baseline", 0.0 if baseline is None else baseline)
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
