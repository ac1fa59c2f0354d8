"""How sure, in a number that means something: temperature scaling and its record.

Source: Guo, Pleiss, Sun and Weinberger (2017), *On calibration of modern neural networks*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.arguments import real_array
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation import Calibration, calibration
from lepton_ref.framework.evaluation.inputs import class_indices, host, probabilities, same_length


class Likelihood(NamedTuple):
    """Mean negative log-likelihood at an inverse temperature, and its two derivatives."""

    value: float
    slope: float
    curvature: float


def likelihood(beta: float, logits: np.ndarray, labels: np.ndarray) -> Likelihood:
    """L(β) = mean of log Σ_k exp(β z_k) − β z_y, its slope and its curvature.

    L' = mean of E_p[z] − z_y (eq. temperature-slope), L'' = mean of Var_p[z] ≥ 0
    (eq. temperature-curvature), with p the softmax of β z.

    Parameters
    ----------
    beta : float
        1/T.
    logits : float array, shape (N, K)
    labels : int array, shape (N,)
    """
    z = np.asarray(logits, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    p = np.exp(beta * z)
    total = p.sum(axis=1, keepdims=True)
    p /= total
    mean = np.sum(p * z, axis=1)
    right = z[np.arange(len(z)), labels]
    value = np.log(total[:, 0]) - beta * right
    spread = np.sum(p * (z - mean[:, None]) ** 2, axis=1)
    return Likelihood(float(value.mean()), float((mean - right).mean()), float(spread.mean()))


class Record(NamedTuple):
    """What became of answers about as sure as this one."""

    right: int
    of: int

    @property
    def share(self) -> float:
        """right / of."""
        return self.right / self.of


@dataclass(frozen=True, repr=False)
class Temperature:
    """One number that softens (T > 1) or sharpens a model's probabilities; decisions stay.

    Attributes
    ----------
    value : float
        T.
    loss_before, loss_after : float
        Mean negative log-likelihood of the examples it was fitted on.
    confidence, hit : np.ndarray
        Of the examples that were kept for the record: how sure, and whether rightly; empty until
        :meth:`with_record`.
    """

    value: float
    loss_before: float
    loss_after: float
    confidence: np.ndarray = field(default_factory=lambda: np.zeros(0))
    hit: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))

    def __repr__(self) -> str:
        return (
            f"temperature {self.value:.2f}: loss {self.loss_before:.3f} before, "
            f"{self.loss_after:.3f} after"
        )

    def probabilities(self, logits: Any) -> np.ndarray:
        """softmax(z / T), float64 (N, K)."""
        z = real_array("Temperature.probabilities", "logits", host(logits))
        return probabilities(z / self.value)

    def with_record(self, logits: Any, labels: Any) -> Temperature:
        """The same temperature, and how its confidence fared on other examples.

        Parameters
        ----------
        logits : float array, shape (N, K)
            Of examples that neither the model nor the temperature was fitted on.
        labels : int array, shape (N,)

        Raises
        ------
        ArgumentError
            As :func:`fit_temperature`.
        """
        z, y = _checked("Temperature.with_record", logits, labels)
        p = self.probabilities(z)
        order = np.argsort(p.max(axis=1), kind="stable")
        sure, hit = p.max(axis=1)[order], (p.argmax(axis=1) == y)[order]
        return Temperature(self.value, self.loss_before, self.loss_after, sure, hit)

    def record(self, confidence: float, nearest: int = 100) -> Record:
        """Of the ``nearest`` kept examples closest in confidence: how many were right.

        Raises
        ------
        ArgumentError
            Without a record.
        """
        if not len(self.confidence):
            raise ArgumentError(
                "Temperature.record", "self", "no record", "with_record(logits, labels) before"
            )
        near = np.argsort(np.abs(self.confidence - confidence), kind="stable")[:nearest]
        return Record(int(self.hit[near].sum()), len(near))

    def reliability(self, logits: Any, labels: Any, bins: int = 10) -> Calibration:
        """:func:`lepton_ref.framework.evaluation.calibration` of the scaled probabilities."""
        return calibration(self.probabilities(logits), labels, bins)


def fit_temperature(logits: Any, labels: Any, tol: float = 1e-10) -> Temperature:
    """The temperature of largest likelihood on validation data (eq. temperature-optimum).

    The loss is convex in β = 1/T, so Newton's steps inside a bracket that shrinks cannot miss.

    Parameters
    ----------
    logits : float array, shape (N, K)
        Of examples that the model was not trained on.
    labels : int array, shape (N,)
    tol : float
        Of the slope.

    Returns
    -------
    Temperature

    Raises
    ------
    ArgumentError
        For another shape, logits that are not finite, labels out of range; or when the data set
        no temperature: every answer right (the likelihood grows for ever as T falls to 0), or
        answers no better than chance (it grows as T grows).
    """
    where = "fit_temperature"
    z, y = _checked(where, logits, labels)
    if likelihood(0.0, z, y).slope >= 0:
        raise ArgumentError(
            where, "logits", "right classes whose logits are not above the mean",
            "answers better than chance: no positive temperature fits these",
        )  # fmt: skip
    if (z[np.arange(len(z)), y] >= z.max(axis=1)).all():
        raise ArgumentError(
            where, "labels", "no answer that is wrong",
            "validation data with mistakes: without one the likelihood grows for ever as T falls",
        )  # fmt: skip
    low, high = 0.0, 1.0
    while likelihood(high, z, y).slope < 0:
        low, high = high, 2 * high
    beta = (low + high) / 2
    for _ in range(200):
        found = likelihood(beta, z, y)
        if abs(found.slope) <= tol:
            break
        low, high = (beta, high) if found.slope < 0 else (low, beta)
        step = beta - found.slope / found.curvature if found.curvature > 0 else low
        beta = step if low < step < high else (low + high) / 2
    before, after = likelihood(1.0, z, y).value, likelihood(beta, z, y).value
    return Temperature(1 / beta, before, after)


def _checked(where: str, logits: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    z = real_array(where, "logits", host(logits, where, "logits"))
    if z.ndim != 2 or not len(z) or z.shape[1] < 2:
        raise ArgumentError(where, "logits", f"shape {z.shape}", "(N, K), two classes or more")
    if not np.isfinite(z).all():
        raise ArgumentError(where, "logits", "entries that are not finite", "finite numbers")
    y = class_indices(where, "labels", labels, z.shape[1])
    same_length(where, "labels", y, len(z))
    return z, y
