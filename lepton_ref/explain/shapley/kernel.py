"""KernelSHAP: Shapley values as a weighted least squares fit to sampled coalitions.

Source: Lundberg and Lee (2017), *A unified approach to interpreting model predictions*; paired
sampling and the error of the estimate: Covert and Lee (2021), *Improving KernelSHAP: practical
Shapley value estimation using linear regression*.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.explain.perturbation.coalitions import Game, question
from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError

WHERE = "kernel_shap"


def kernel_weights(players: int) -> np.ndarray:
    """π(s) = (n − 1) / (C(n, s) s (n − s)) of one coalition of size s (eq. shapley-kernel).

    Returns
    -------
    ndarray, shape (n + 1,), float64
        Infinite for s = 0 and n: these two are met exactly, by the constraint.
    """
    n = players
    inner = [(n - 1) / (math.comb(n, s) * s * (n - s)) for s in range(1, n)]
    return np.array([math.inf, *inner, math.inf])


def solve_constrained(
    masks: np.ndarray, v: np.ndarray, weights: np.ndarray, nobody: float, everybody: float
) -> np.ndarray:
    """Least squares under the constraint that all is shared out (eq. shapley-kernel-solution).

    argmin Σ w (v − v(∅) − Σ_{i ∈ S} φᵢ)²   subject to   Σ φ = v(N) − v(∅)

    Parameters
    ----------
    masks : bool array, shape (M, n)
    v, weights : float arrays, shape (M,)
    nobody, everybody : float
        v(∅) and v(N).

    Returns
    -------
    ndarray, shape (n,), float64

    Raises
    ------
    ArgumentError
        When the coalitions do not determine the players.
    """
    share = (everybody - nobody) / masks.shape[1]
    left = v - nobody - masks.sum(axis=1) * share
    psi, _ = _fit(centred(masks), left, weights)
    return psi + share


def centred(masks: np.ndarray) -> np.ndarray:
    """z − |z|/n: a row for each coalition that sums to 0 (eq. shapley-centred)."""
    z = masks.astype(np.float64)
    return z - z.mean(axis=1, keepdims=True)


def _fit(Z: np.ndarray, d: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ψ of least Σ w (d − Zψ)² with Σψ = 0, and the inverse of ZᵀWZ on that plane."""
    n = Z.shape[1]
    A = Z.T @ (w[:, None] * Z)
    scale = np.trace(A) / n
    try:
        # All rows of Z are orthogonal to 1; adding its square makes the rest invertible.
        if n > 1 and len(Z) < n - 1:
            raise np.linalg.LinAlgError
        factor = np.linalg.cholesky(A + scale * np.ones((n, n)))
        if factor.diagonal().min() < 1e-6 * factor.diagonal().max():
            raise np.linalg.LinAlgError
    except np.linalg.LinAlgError:
        raise ArgumentError(
            WHERE, "samples", f"coalitions that do not tell {n} players apart", "more samples"
        ) from None
    inverse = np.linalg.solve(factor.T, np.linalg.solve(factor, np.eye(n)))
    return inverse @ (Z.T @ (w * d)), inverse


def plan(
    players: int, samples: int, rng: np.random.Generator, paired: bool = True
) -> tuple[np.ndarray, np.ndarray, int]:
    """Which coalitions to evaluate, and their weights.

    Sizes from the outside in are taken whole while the samples suffice for as many of them as the
    kernel would send there; from the other sizes coalitions are drawn in proportion to the kernel.

    Parameters
    ----------
    players, samples : int
    rng : numpy.random.Generator
    paired : bool
        Leave out the complement of each, which the caller adds.

    Returns
    -------
    masks : bool ndarray, shape (M, players)
        The drawn ones last.
    weights : ndarray, shape (M,)
    drawn : int
        How many of them were drawn.
    """
    n = players
    pi = kernel_weights(n)
    left, taken, weights = samples, [], []
    sizes = list(range(1, n // 2 + 1))  # s stands for s and n − s
    share = {s: (n - 1) / (s * (n - s)) * (1 if 2 * s == n else 2) for s in sizes}
    while sizes:
        s = sizes[0]
        both = math.comb(n, s) * (1 if 2 * s == n else 2)
        if left * share[s] / sum(share[t] for t in sizes) < both * (1 - 1e-9):
            break
        masks = _all_of_size(n, s)
        if 2 * s == n and paired:
            masks = masks[masks[:, 0]]
        elif 2 * s != n and not paired:
            masks = np.concatenate([masks, ~masks])
        taken.append(masks)
        weights.append(np.full(len(masks), pi[s] * (2 if paired else 1)))
        left -= both
        sizes = sizes[1:]
    drawn = 0
    if sizes and left >= 2:
        drawn = left // 2 if paired else left
        total = sum(share[s] for s in sizes)
        size = rng.choice(sizes, drawn, p=np.array([share[s] for s in sizes]) / total)
        place = np.argsort(np.argsort(rng.random((drawn, n)), axis=1), axis=1)
        masks = place < size[:, None]
        if not paired:
            masks ^= rng.random((drawn, 1)) < 0.5
        taken.append(masks)
        weights.append(np.full(drawn, total / drawn))
    return (
        np.concatenate([np.zeros((0, n), bool), *taken]),
        np.concatenate([np.zeros(0), *weights]),
        drawn,
    )


def _all_of_size(n: int, s: int) -> np.ndarray:
    chosen = np.array(list(itertools.combinations(range(n), s)))
    masks = np.zeros((len(chosen), n), bool)
    np.put_along_axis(masks, chosen, True, axis=1)
    return masks


class _Asking(NamedTuple):
    """What one game is asked, known before it answers."""

    masks: np.ndarray  # (M, n)
    weights: np.ndarray  # (M,)
    drawn: int
    paired: bool
    once: np.ndarray  # (U, n), the coalitions, none of them twice
    again: np.ndarray  # (M,) or (2M,), which of them each row is


def _asking(players: int, samples: int, rng: np.random.Generator, paired: bool) -> _Asking:
    if players < 2:  # both ends say all there is to know
        nothing = np.zeros((0, players), bool)
        return _Asking(nothing, np.zeros(0), 0, paired, nothing, np.zeros(0, np.int64))
    masks, weights, drawn = plan(players, samples, rng, paired)
    rows = np.concatenate([masks, ~masks]) if paired else masks
    _, first, again = np.unique(
        np.packbits(rows, axis=1), axis=0, return_index=True, return_inverse=True
    )
    return _Asking(masks, weights, drawn, paired, rows[first], again.reshape(-1))


def _solved(
    asked: _Asking, answers: np.ndarray, nobody: float, everybody: float
) -> tuple[np.ndarray, np.ndarray]:
    """Values and standard errors from v of ``asked.once`` and of both ends."""
    masks, w, drawn = asked[:3]
    n = masks.shape[1]
    if n < 2:
        return np.full(n, everybody - nobody), np.zeros(n)
    share = (everybody - nobody) / n
    Z, v = centred(masks), answers[asked.again]
    if asked.paired:
        v = v.reshape(2, -1)
        # The complement's row is −Z: two equations of one left side (eq. shapley-paired).
        d = (v[0] - v[1] - (2 * masks.sum(axis=1) - n) * share) / 2
    else:
        d = v - nobody - masks.sum(axis=1) * share
    psi, inverse = _fit(Z, d, w)
    error = np.zeros(n)
    if drawn:
        # Each draw's pull on the solution, as if it were left out (eq. shapley-kernel-error).
        part, weight = Z[-drawn:], w[-drawn:]
        reach = part @ inverse  # (drawn, n)
        leverage = weight * (reach * part).sum(axis=1)
        residual = (d[-drawn:] - part @ psi) / np.maximum(1 - leverage, 1e-6)
        error = np.sqrt(((weight * residual)[:, None] ** 2 * reach**2).sum(axis=0))
    return psi + share, error


def estimate(
    game: Game, samples: int, rng: np.random.Generator, paired: bool = True
) -> tuple[np.ndarray, np.ndarray, float]:
    """Values, standard errors and v(∅) of one game; see :func:`kernel_shap`."""
    ends = game.ends()
    asked = _asking(game.players, samples, rng, paired)
    return (*_solved(asked, game(asked.once), *ends), ends[0])


def kernel_shap(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    samples: int | None = None,
    paired: bool = True,
    players: Any = None,
    baseline: Any = None,
    background: Any = None,
    batch_size: int = 256,
    engine: str | Engine | None = None,
    seed: int = 0,
) -> Attribution:
    """Shapley values by weighted least squares (eqs. shapley-kernel, shapley-kernel-solution).

    What is not named here is as in :func:`~lepton_ref.explain.shapley.exact_shapley`.

    Parameters
    ----------
    samples : int, optional
        Coalitions beside the empty and the full one; 2n + 2048 by default, as in the library
        ``shap``. From 2^n − 2 on all are taken and the values are exact.
    paired : bool
        Draw each coalition with its complement (eq. shapley-paired).
    seed : int

    Returns
    -------
    Attribution
        Sums are exact, by the constraint. ``standard_error`` is that of the draws
        (eq. shapley-kernel-error); 0 where none were needed.

    Raises
    ------
    ArgumentError
        For samples too few to tell the players apart; otherwise as all explainers.
    """
    whole(WHERE, 0, seed=seed)
    if samples is not None:
        whole(WHERE, 2, samples=samples)
    asked = question(WHERE, model, x, target, players, baseline, background, batch_size, engine)
    rng = np.random.default_rng(seed)
    smaller = [game.of_those_that_matter() for game in asked.games]
    asking = []
    for game, _ in smaller:
        many = 2 * game.players + 2048 if samples is None else samples
        if many < min(2 * game.players, 2**game.players - 2):
            raise ArgumentError(
                WHERE, "samples", f"{many} coalitions for {game.players} players",
                f"at least {min(2 * game.players, 2**game.players - 2)}",
            )  # fmt: skip
        asking.append(_asking(game.players, many, rng, paired))
    games = [game for game, _ in smaller]
    ends = asked.ends(games)
    found, errors = [], []
    answers = asked.values([one.once for one in asking], games)
    for i, (whole_game, (_, there)) in enumerate(zip(asked.games, smaller)):
        phi, error = np.zeros((2, whole_game.players))
        phi[there], error[there] = _solved(asking[i], answers[i], *ends[i])
        found.append(phi)
        errors.append(error)
    settings = {"samples": samples, "paired": paired}
    nobody = [empty for empty, _ in ends]
    return asked.answer(found, errors, nobody, seed=seed, settings=settings)
