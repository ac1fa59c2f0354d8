"""Attention as different as possible that leaves the prediction where it is: sought and exact."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.explain.attention.distances import (
    jensen_shannon,
    jensen_shannon_on,
    softmax,
    total_variation,
    total_variation_on,
)
from lepton_ref.explain.attention.interventions import Pooled
from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.optimizers import Adam

FAR = -1e9  # the score of padding


class Adversary(NamedTuple):
    """Another attention for each review."""

    weights: np.ndarray  #: (N, T), rows sum to 1
    divergence: np.ndarray  #: (N,), JSD to the model's attention
    change: np.ndarray  #: (N,), TVD to the model's prediction, at most epsilon


def adversary_loss(
    E: Any,
    scores: Any,
    word_logits: Any,
    weights: Any,
    before: Any,
    epsilon: float,
    strength: float,
) -> Any:
    """What the search descends, summed over reviews (eq. heed-objective).

    Parameters
    ----------
    scores : array, shape (C, N, T)
        Of C candidates for each review; their softmax is the attention.
    word_logits : array, shape (N, T, K)
    weights : array, shape (N, T)
        The model's attention.
    before : array, shape (N, K)
        The model's probabilities.
    epsilon, strength : float
        What a prediction may move, and the price λ of more.
    """
    count = int(scores.shape[0])
    found = E.softmax(scores)  # (C, N, T)
    n, t, k = (int(size) for size in word_logits.shape)
    logits = E.matmul(E.reshape(found, (count, n, 1, t)), word_logits)
    moved = total_variation_on(E, E.softmax(E.reshape(logits, (count, n, k))), before)
    gain = E.sum(jensen_shannon_on(E, found, weights))
    if count > 1:
        first, second = np.triu_indices(count, 1)
        between = jensen_shannon_on(
            E, E.take(found, E.array(first)), E.take(found, E.array(second))
        )
        gain = gain + E.sum(between) * (1 / (count * (count - 1)))
    return E.sum(E.relu(moved - epsilon)) * (strength / count) - gain


def adversarial_attention(
    reviews: Pooled,
    *,
    epsilon: float = 0.01,
    candidates: int = 3,
    steps: int = 300,
    lr: float = 0.1,
    strength: float = 500.0,
    seed: int = 0,
    engine: str | Engine | None = None,
) -> Adversary:
    """Search for attention that is far from the model's and keeps its prediction, by Adam.

    Parameters
    ----------
    reviews : Pooled
    epsilon : float
        Largest TVD of the prediction, in (0, 1).
    candidates : int
        Kept apart from each other as well; the farthest that keeps the prediction is returned.
    steps : int
    lr : float
    strength : float
        λ of eq. heed-objective.
    seed : int
        Of the starts.
    engine : str or Engine, optional

    Returns
    -------
    Adversary
        Where no candidate kept the prediction, the model's own attention with divergence 0.

    Raises
    ------
    ArgumentError

    Source: Jain and Wallace (2019), section 4.2.2.
    """
    where = "adversarial_attention"
    check_epsilon(where, epsilon)
    whole(where, candidates=candidates, steps=steps)
    whole(where, 0, seed=seed)
    number(where, strength=strength)
    E: Any = engine if isinstance(engine, Engine) else lepton_ref.engine(engine)
    n, t = reviews.mask.shape
    start = np.random.default_rng(seed).normal(size=(candidates, n, t))
    closed = E.array(np.where(reviews.mask, 0.0, FAR))
    given: Any = [E.array(a) for a in (reviews.word_logits, reviews.weights, reviews.predict())]
    params, optimizer = {"scores": E.parameter(start)}, Adam(lr, engine=E)
    word_logits, weights, before = given

    def objective(p: Any) -> Any:
        scores = p["scores"] + closed
        return adversary_loss(E, scores, word_logits, weights, before, epsilon, strength)

    gradient = E.value_and_grad(objective)
    best = Adversary(reviews.weights.copy(), np.zeros(n), np.zeros(n))
    for step in range(1, steps + 1):
        _, grads = gradient(params)
        optimizer.step(params, grads)
        if step % 10 == 0 or step == steps:
            _keep_better(best, reviews, E.asnumpy(params["scores"]), epsilon)
    return best


def _keep_better(best: Adversary, reviews: Pooled, scores: np.ndarray, epsilon: float) -> None:
    before = reviews.predict()
    for candidate in softmax(np.where(reviews.mask, scores, FAR)):
        change = total_variation(before, reviews.predict(candidate))
        divergence = jensen_shannon(candidate, reviews.weights)
        better = (change <= epsilon) & (divergence > best.divergence)
        best.weights[better] = candidate[better]
        best.divergence[better], best.change[better] = divergence[better], change[better]


def farthest_attention(reviews: Pooled, *, epsilon: float = 0.01) -> Adversary:
    """The largest JSD that any attention with this prediction has, for two classes; exact.

    The allowed attentions form a polytope, the divergence is convex, so the largest stands at a
    corner, and a corner has one or two words (eq. heed-corner). All corners are tried.

    Parameters and errors as in :func:`adversarial_attention`; K must be 2.
    """
    where = "farthest_attention"
    check_epsilon(where, epsilon)
    if reviews.word_logits.shape[2] != 2:
        raise ArgumentError(
            where, "reviews", f"{reviews.word_logits.shape[2]} classes", "2, or search instead"
        )
    n, t = reviews.mask.shape
    found = Adversary(np.zeros((n, t)), np.zeros(n), np.zeros(n))
    before = reviews.predict()[:, 1]
    log_odds = reviews.word_logits[..., 1] - reviews.word_logits[..., 0]
    for row in range(n):
        words = np.flatnonzero(reviews.mask[row])
        d, a = log_odds[row, words], reviews.weights[row, words]
        corners = np.concatenate([
            _corners(d, bound) for bound in _bounds(before[row], epsilon)
        ] + [_single(d, *_bounds(before[row], epsilon))])  # fmt: skip
        # (C, 3): two words and the weight of the first
        i, j, share = corners[:, 0].astype(int), corners[:, 1].astype(int), corners[:, 2]
        divergence = corner_divergence(a, i, j, share)
        top = int(divergence.argmax())
        np.add.at(found.weights[row], words[[i[top], j[top]]], [share[top], 1 - share[top]])
    found.divergence[:] = jensen_shannon(found.weights, reviews.weights)
    found.change[:] = total_variation(reviews.predict(), reviews.predict(found.weights))
    return found


def corner_divergence(a: np.ndarray, i: np.ndarray, j: np.ndarray, share: np.ndarray) -> np.ndarray:
    """JSD between ``a`` and attention on two words alone (eq. heed-corner-value): (C,).

    All words but i and j give ½ aₜ ln 2 each; i and j their own terms.
    """
    first = np.where(i == j, 1.0, share)
    rest = 1 - a[i] - np.where(i == j, 0, a[j])
    second = np.where(i == j, 0.0, _term(a[j], 1 - share))
    return 0.5 * np.log(2) * rest + _term(a[i], first) + second


def _term(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """½ [a ln(a / m) + b ln(b / m)], m = (a + b) / 2."""
    m = (a + b) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(x > 0, x * np.log(x / m), 0.0) for x in (a, b)]
    return 0.5 * (parts[0] + parts[1])


def _bounds(p: float, epsilon: float) -> tuple[float, float]:
    """Log-odds at which a probability p has moved by epsilon, down and up."""
    low, high = p - epsilon, p + epsilon
    below = -np.inf if low <= 0 else np.log(low / (1 - low))
    above = np.inf if high >= 1 else np.log(high / (1 - high))
    return below, above


def _single(d: np.ndarray, low: float, high: float) -> np.ndarray:
    alone = np.flatnonzero((d >= low) & (d <= high))
    return np.stack([alone, alone, np.ones(len(alone))], axis=1)


def _corners(d: np.ndarray, bound: float) -> np.ndarray:
    """Pairs of words whose log-odds stand on two sides of a bound, mixed to hit it."""
    if not np.isfinite(bound):
        return np.zeros((0, 3))
    i, j = np.nonzero((d[:, None] < bound) & (d[None, :] > bound))
    share = (d[j] - bound) / (d[j] - d[i])  # share · d_i + (1 − share) · d_j = bound
    return np.stack([i, j, share], axis=1)


def check_epsilon(where: str, epsilon: Any) -> None:
    """Refuse what is no room for a prediction to move in."""
    if isinstance(epsilon, bool) or not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise ArgumentError(where, "epsilon", f"the value {epsilon!r}", "between 0 and 1")
