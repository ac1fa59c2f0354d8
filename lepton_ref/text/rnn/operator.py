"""The plain recurrent network, fused over time."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.autograd import op


def time_major(x: np.ndarray) -> np.ndarray:
    """(N, T, C) to (T, N, C), each time step contiguous; its own inverse."""
    return np.ascontiguousarray(x.swapaxes(0, 1))


def input_gradients(x, dz, w_ih, needs_x):
    """Gradients of Z_t = X_t W_ih + b, for all time steps in one product each.

    dX_t = dZ_t W_ihᵀ   (eq. rnn-dx);   dW_ih = Σ_t X_tᵀ dZ_t,   db = Σ_{t,n} dZ_t
    (eq. rnn-weights)

    Parameters
    ----------
    x : array, shape (T, N, C)
    dz : array, shape (T, N, G)
    w_ih : array, shape (C, G)
    needs_x : bool

    Returns
    -------
    dx : array, shape (N, T, C), or None
    dw_ih : array, shape (C, G)
    db : array, shape (G,)
    """
    rows = dz.reshape(-1, dz.shape[-1])  # (T·N, G)
    dx = time_major((rows @ w_ih.T).reshape(x.shape)) if needs_x else None
    return dx, x.reshape(len(rows), x.shape[-1]).T @ rows, rows.sum(axis=0)


def previous_states(first: np.ndarray, states: np.ndarray) -> np.ndarray:
    """(S_0, …, S_{T−1}) as (T·N, H), from S_0 (N, H) and (S_1, …, S_T) as (T, N, H)."""
    return np.concatenate([first[None], states[:-1]]).reshape(-1, first.shape[-1])


@op
def rnn(x, state, w_ih, w_hh, b):
    """h_t = tanh(x_t W_ih + h_{t−1} W_hh + b), t = 1 … T   (eq. rnn-forward).

    The two products are one of [x_t, h_{t−1}] and stacked weights (eq. rnn-joint).

    Backward through time, from t = T with the gradient of the final state:
    dZ_t = (dY_t + dZ_{t+1} W_hhᵀ) ⊙ (1 − h_t²)   (eq. rnn-dz);
    dW_hh = Σ_t h_{t−1}ᵀ dZ_t   (eq. rnn-weights).

    Parameters
    ----------
    x : array, shape (N, T, C)
    state : array, shape (N, H)
    w_ih : array, shape (C, H)
    w_hh : array, shape (H, H)
    b : array, shape (H,)

    Returns
    -------
    outputs : array, shape (N, T, H)
    h_T : array, shape (N, H)

    Source: Elman (1990), *Finding Structure in Time*.
    """
    steps = time_major(x)  # (T, N, C)
    hidden = steps @ w_ih + b  # (T, N, H), overwritten by the states
    h = state
    for z in hidden:
        z += h @ w_hh
        h = np.tanh(z, out=z)

    def vjp(dys, needs):
        dy, dh = dys
        dhidden = np.zeros_like(hidden) if dy is None else time_major(dy)
        dz = np.empty_like(hidden)
        dh = 0 if dh is None else dh
        for t in reversed(range(len(hidden))):
            dz[t] = (dhidden[t] + dh) * (1 - hidden[t] * hidden[t])
            dh = dz[t] @ w_hh.T
        dx, dw_ih, db = input_gradients(steps, dz, w_ih, needs[0])
        dw_hh = previous_states(state, hidden).T @ dz.reshape(-1, dz.shape[-1])
        return dx, dh, dw_ih, dw_hh, db

    return (time_major(hidden), h.copy()), vjp
