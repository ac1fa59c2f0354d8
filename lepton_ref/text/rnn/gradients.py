"""Back-propagation through time taken apart: Jacobians, their products, shares by distance.

These functions are for looking, not for training: plain NumPy, float64, and no tape.
"""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.errors import ArgumentError


def spectral_radius(w: np.ndarray) -> float:
    """The largest |eigenvalue| of a square matrix (eq. rnn-spectral-radius)."""
    w = np.asarray(w, np.float64)
    if w.ndim != 2 or w.shape[0] != w.shape[1] or not w.size:
        raise ArgumentError("spectral_radius", "w", f"shape {w.shape}", "(H, H) with H >= 1")
    return float(np.abs(np.linalg.eigvals(w)).max())


def state_jacobians(states: np.ndarray, w_hh: np.ndarray) -> np.ndarray:
    """J_t = diag(1 − h_t²) W_hhᵀ, by which dh_{t−1} = dh_t J_t   (eq. rnn-jacobian).

    Parameters
    ----------
    states : array, shape (..., T, H)
        h_1 ... h_T, as the operator returns them.
    w_hh : array, shape (H, H)

    Returns
    -------
    ndarray, shape (..., T, H, H), float64
    """
    states, w_hh = np.asarray(states, np.float64), np.asarray(w_hh, np.float64)
    if states.ndim < 2 or w_hh.shape != states.shape[-1:] * 2:
        raise ArgumentError(
            "state_jacobians", "w_hh", f"shape {w_hh.shape} beside states {states.shape}",
            "(H, H) beside (..., T, H)",
        )  # fmt: skip
    return (1 - states**2)[..., :, None] * w_hh.T


def reach(states: np.ndarray, w_hh: np.ndarray) -> np.ndarray:
    """How much of a gradient at the last step arrives d steps earlier, at most.

    Entry d is the spectral norm of J_T J_{T−1} … J_{T−d+1}; it is at most
    (γ‖W_hh‖)^d with γ = max (1 − h²) (eq. rnn-norm-bound). Its logarithm over d is the rate
    (eq. rnn-rate).

    Parameters
    ----------
    states : array, shape (N, T, H)
    w_hh : array, shape (H, H)

    Returns
    -------
    ndarray, shape (N, T + 1)
        Distance 0 (always 1) to T, which is the state before the first step.
    """
    jacobians = state_jacobians(states, w_hh)  # (N, T, H, H)
    n, steps, hidden = np.shape(states)
    product = np.broadcast_to(np.eye(hidden), (n, hidden, hidden))
    norms = [np.ones(n)]
    for t in reversed(range(steps)):
        product = product @ jacobians[:, t]
        norms.append(np.linalg.norm(product, 2, axis=(1, 2)))
    return np.stack(norms, axis=1)


def gradient_by_distance(
    states: np.ndarray,
    start: np.ndarray,
    w_hh: np.ndarray,
    dy: np.ndarray,
    window: int | None = None,
) -> np.ndarray:
    """dW_hh split by how many steps lie between an output and the use of the weights.

    Entry d is Σ_t Σ_n h_{k−1}ᵀ ([dY_t J_t … J_{k+1}] ⊙ (1 − h_k²)) with k = t − d
    (eq. rnn-bptt). The sum over d is the whole gradient. With ``window`` only pairs (k, t)
    inside one window of so many steps count: truncated back-propagation (eq. rnn-truncated), of
    which few are left (eq. rnn-pairs). The entries from d on are bounded (eq. rnn-truncation-tail).

    Parameters
    ----------
    states : array, shape (N, T, H)
        h_1 ... h_T.
    start : array, shape (N, H)
        h_0.
    w_hh : array, shape (H, H)
    dy : array, shape (N, T, H)
        Gradient of the loss with respect to each output, through that output alone.
    window : int, optional

    Returns
    -------
    ndarray, shape (T, H, H), float64
    """
    states, dy = np.asarray(states, np.float64), np.asarray(dy, np.float64)
    w_hh, start = np.asarray(w_hh, np.float64), np.asarray(start, np.float64)
    if window is not None and window < 1:
        raise ArgumentError("gradient_by_distance", "window", f"the value {window}", ">= 1")
    steps = states.shape[1]
    before = np.concatenate([start[:, None], states[:, :-1]], axis=1)  # h_0 ... h_{T−1}
    slope = 1 - states**2
    terms = np.zeros((steps, *w_hh.shape))
    sources = np.arange(steps)  # the outputs t whose errors are still under way
    error = dy  # error of source t, arrived at step t − d
    for d in range(steps):
        kept = sources >= d if window is None else sources % window >= d
        sources, error = sources[kept], error[:, kept]
        if not len(sources):
            break
        dz = error * slope[:, sources - d]
        rows = before[:, sources - d].reshape(-1, len(w_hh))
        terms[d] = rows.T @ dz.reshape(-1, len(w_hh))
        error = dz @ w_hh.T
    return terms
