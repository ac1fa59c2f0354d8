"""How far two attentions, and two predictions, are apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.arguments import real_array
from lepton_ref.framework.errors import ArgumentError

#: Added inside logarithms on an engine, so that a weight of zero has a finite gradient.
TINY = 1e-12


def jensen_shannon(p: Any, q: Any) -> np.ndarray:
    """JSD over the last axis, in nats: 0 for equal distributions, ln 2 for disjoint ones.

    ½ KL(p ‖ m) + ½ KL(q ‖ m) with m = (p + q) / 2 (eq. heed-jsd, eq. heed-jsd-bounds).

    Parameters
    ----------
    p, q : arrays, shapes (..., T) that broadcast
        Not negative, rows sum to one.

    Returns
    -------
    float64 ndarray, shape (...)

    Raises
    ------
    ArgumentError
        For rows that are no distributions.

    Source: Lin (1991), *Divergence Measures Based on the Shannon Entropy*.
    """
    p, q = _distributions(p, q)
    m = (p + q) / 2

    def half(a: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(a > 0, a * np.log(a / m), 0.0)
        return 0.5 * terms.sum(axis=-1)

    return half(p) + half(q)


def total_variation(p: Any, q: Any) -> np.ndarray:
    """½ Σ |p − q| over the last axis (eq. heed-tvd): 0 to 1.

    Parameters, shapes and errors as in :func:`jensen_shannon`.
    """
    p, q = _distributions(p, q)
    return 0.5 * np.abs(p - q).sum(axis=-1)


def jensen_shannon_on(E: Any, p: Any, q: Any) -> Any:
    """As :func:`jensen_shannon` on an engine (gradient: eq. heed-jsd-gradient)."""
    m = E.log(0.5 * (p + q) + TINY)
    terms = p * (E.log(p + TINY) - m) + q * (E.log(q + TINY) - m)
    return 0.5 * E.sum(terms, axis=-1)


def total_variation_on(E: Any, p: Any, q: Any) -> Any:
    """As :func:`total_variation` on an engine (gradient: eq. heed-tvd-gradient)."""
    return 0.5 * E.sum(E.abs(p - q), axis=-1)


def kullback_leibler_on(E: Any, p: Any, q: Any) -> Any:
    """Σ p log(p / q) over the last axis, on an engine."""
    return E.sum(p * (E.log(p + TINY) - E.log(q + TINY)), axis=-1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits (..., K), float64."""
    z = np.asarray(logits, np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _distributions(p: Any, q: Any) -> tuple[np.ndarray, np.ndarray]:
    p, q = _distribution("p", p), _distribution("q", q)
    sides = zip(p.shape[-2::-1], q.shape[-2::-1])  # rows may be broadcast, the weights may not
    if p.shape[-1] != q.shape[-1] or any(a != b and 1 not in (a, b) for a, b in sides):
        raise ArgumentError(
            "distance", "q", f"shape {q.shape}", f"what broadcasts with {p.shape}, that of `p`"
        )
    return p, q


def _distribution(name: str, a: Any) -> np.ndarray:
    values = real_array("distance", name, a)
    if values.ndim < 1 or not values.shape[-1]:
        raise ArgumentError("distance", name, f"shape {values.shape}", "(..., T) with T > 0")
    total = values.sum(axis=-1)
    if not (values >= 0).all() or not (np.abs(total - 1) <= 1e-4).all():  # also refuses NaN
        raise ArgumentError(
            "distance", name, f"entries from {values.min():.3g}, rows that sum to "
            f"{total.min():.3g}..{total.max():.3g}", "weights >= 0 that sum to 1",
        )  # fmt: skip
    return values
