"""Gated recurrent networks, fused over time: LSTM and GRU."""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.autograd import op
from lepton_ref.framework.parallel import narrow_products
from lepton_ref.text.rnn import input_gradients, previous_states, time_major


@op
def _lstm(x, h, c, w_ih, w_hh, b):
    # Inside, examples are columns: Z_t = Wᵀ [x_t; h_(t-1); 1], and a gate is a block of rows,
    # which lies in one piece in memory. The bias is the weight of the constant 1.
    (N, T, C), H = x.shape, h.shape[-1]
    weights = np.concatenate([w_ih, w_hh, b[None]])  # (C + H + 1, 4H)
    inputs = np.ones((T + 1, C + H + 1, N), x.dtype)
    inputs[:T, :C] = x.transpose(1, 2, 0)
    inputs[0, C:-1] = h.T
    hidden = inputs[1:, C:-1]  # (T, H, N): h_1 ... h_T
    cells = np.empty((T + 1, H, N), x.dtype)
    cells[0] = c.T
    gates = np.empty((T, 4 * H, N), x.dtype)
    squashed = np.empty((T, H, N), x.dtype)  # tanh(c_t)

    # σ(z) = ½ tanh(½ z) + ½ (eq. lstm-half-angle): one tanh serves all gates when i, f and o
    # are halved before.
    halved = weights * np.repeat(np.array([0.5, 0.5, 1, 0.5], x.dtype), H)
    with narrow_products():
        for t in range(T):
            z = np.matmul(halved.T, inputs[t], out=gates[t])
            np.tanh(z, out=z)
            for sigmoid in (z[: 2 * H], z[3 * H :]):
                sigmoid *= 0.5
                sigmoid += 0.5
            i, f, g, o = z.reshape(4, H, N)
            np.multiply(f, cells[t], out=cells[t + 1])
            cells[t + 1] += i * g
            np.tanh(cells[t + 1], out=squashed[t])
            np.multiply(o, squashed[t], out=hidden[t])

    def vjp(dys, needs):
        dy, dh, dc = dys
        dhidden = np.zeros(hidden.shape, x.dtype)
        if dy is not None:
            dhidden[...] = dy.transpose(1, 2, 0)
        dh = 0 if dh is None else dh.T
        dc = 0 if dc is None else dc.T
        dz = np.empty_like(gates)
        wanted = weights[0 if needs[0] else C : C + H]  # the rows that reach x and h
        dinputs = np.empty((T, len(wanted), N), x.dtype)
        with narrow_products():
            for t in reversed(range(T)):
                i, f, g, o = gates[t].reshape(4, H, N)
                di, df, dg, do = dz[t].reshape(4, H, N)
                s = squashed[t]
                dh = dhidden[t] + dh
                dc = dc + dh * o * (1 - s * s)
                di[...] = dc * g * i * (1 - i)
                df[...] = dc * cells[t] * f * (1 - f)
                dg[...] = dc * i * (1 - g * g)
                do[...] = dh * s * o * (1 - o)
                dh = np.matmul(wanted, dz[t], out=dinputs[t])[-H:]
                dc = dc * f
        dw = side_by_side(inputs[:T]) @ side_by_side(dz).T  # (C + H + 1, 4H)
        dx = dinputs[:, :C].transpose(2, 0, 1) if needs[0] else None
        return dx, dh.T, dc.T, dw[:C], dw[C:-1], dw[-1]

    outputs = np.ascontiguousarray(hidden.transpose(2, 0, 1))
    return (outputs, hidden[-1].T.copy(), cells[-1].T.copy()), vjp


def side_by_side(steps: np.ndarray) -> np.ndarray:
    """(T, F, N) to (F, T·N): the columns of all time steps in one matrix."""
    T, F, N = steps.shape
    return steps.swapaxes(0, 1).reshape(F, T * N)


def lstm(x, state, w_ih, w_hh, b):
    """Long short-term memory over a sequence.

    Z_t = x_t W_ih + h_{t−1} W_hh + b, split along its last axis into the gates
    i = σ(Z_i),   f = σ(Z_f),   g = tanh(Z_g),   o = σ(Z_o)   (eq. lstm-gates);
    c_t = f ⊙ c_{t−1} + i ⊙ g,   h_t = o ⊙ tanh(c_t)   (eq. lstm-cell).

    Backward through time, from t = T:
    dc_t += dh_t ⊙ o ⊙ (1 − tanh²(c_t))   (eq. lstm-dc);
    dZ_i = dc_t ⊙ g ⊙ i(1 − i),   dZ_f = dc_t ⊙ c_{t−1} ⊙ f(1 − f),
    dZ_g = dc_t ⊙ i ⊙ (1 − g²),   dZ_o = dh_t ⊙ tanh(c_t) ⊙ o(1 − o)   (eq. lstm-dz);
    dh_{t−1} = dY_{t−1} + dZ_t W_hhᵀ,   dc_{t−1} = dc_t ⊙ f   (eq. lstm-back),
    the carousel (eq. lstm-carousel);
    the weights as in any recurrent network (eq. lstm-weights).

    Parameters
    ----------
    x : array, shape (N, T, C)
    state : pair (h, c) of arrays, shape (N, H)
    w_ih : array, shape (C, 4H)
    w_hh : array, shape (H, 4H)
    b : array, shape (4H,)

    Returns
    -------
    outputs : array, shape (N, T, H)
    state : pair (h_T, c_T) of arrays, shape (N, H)

    Source: Hochreiter and Schmidhuber (1997), *Long Short-Term Memory*, with the forget gate
    of Gers, Schmidhuber and Cummins (2000).
    """
    h, c = state
    outputs, h, c = _lstm(x, h, c, w_ih, w_hh, b)
    return outputs, (h, c)


@op
def gru(x, state, w_ih, w_hh, b_ih, b_hh):
    """Gated recurrent unit over a sequence.

    A_t = x_t W_ih + b_ih and B_t = h_{t−1} W_hh + b_hh, split along the last axis:
    r = σ(A_r + B_r),   z = σ(A_z + B_z),   n = tanh(A_n + r ⊙ B_n)   (eq. gru-gates);
    h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}   (eq. gru-state), so that |h_t| ≤ max(1, |h_0|)
    (eq. gru-bounded).

    Backward through time, from t = T:
    dA_n = dh_t ⊙ (1 − z) ⊙ (1 − n²),   dB_n = dA_n ⊙ r,
    dA_r = dB_r = dA_n ⊙ B_n ⊙ r(1 − r),
    dA_z = dB_z = dh_t ⊙ (h_{t−1} − n) ⊙ z(1 − z)   (eq. gru-dz);
    dh_{t−1} = dY_{t−1} + dh_t ⊙ z + dB_t W_hhᵀ   (eq. gru-back);
    the weights (eq. gru-weights).

    Parameters
    ----------
    x : array, shape (N, T, C)
    state : array, shape (N, H)
    w_ih : array, shape (C, 3H)
    w_hh : array, shape (H, 3H)
    b_ih, b_hh : array, shape (3H,)

    Returns
    -------
    outputs : array, shape (N, T, H)
    h_T : array, shape (N, H)

    Source: Cho et al. (2014), *Learning Phrase Representations using RNN Encoder–Decoder*,
    with the reset gate after the product, as cuDNN and torch have it.
    """
    H = state.shape[-1]
    steps = time_major(x)  # (T, N, C)
    gates = steps @ w_ih + b_ih  # (T, N, 3H): A, overwritten by (r, z, n)
    recurrent = np.empty((*gates.shape[:2], H), gates.dtype)  # B_n
    hidden = np.empty_like(recurrent)
    h = state
    for t, a in enumerate(gates):
        rz, n = a[:, : 2 * H], a[:, 2 * H :]
        from_h = h @ w_hh + b_hh
        recurrent[t] = from_h[:, 2 * H :]
        rz[...] = 0.5 * np.tanh(0.5 * (rz + from_h[:, : 2 * H])) + 0.5
        r, z = rz[:, :H], rz[:, H:]
        n += r * recurrent[t]
        np.tanh(n, out=n)
        hidden[t] = n + z * (h - n)
        h = hidden[t]

    def vjp(dys, needs):
        dy, dh = dys
        dhidden = np.zeros_like(hidden) if dy is None else time_major(dy)
        dh = 0 if dh is None else dh
        da, db = np.empty_like(gates), np.empty_like(gates)
        for t in reversed(range(len(gates))):
            r, z, n = (gates[t, :, k * H : (k + 1) * H] for k in range(3))
            before = hidden[t - 1] if t else state
            dh = dhidden[t] + dh
            da_n = dh * (1 - z) * (1 - n * n)
            da[t, :, :H] = da_n * recurrent[t] * r * (1 - r)
            da[t, :, H : 2 * H] = dh * (before - n) * z * (1 - z)
            da[t, :, 2 * H :] = da_n
            db[t] = da[t]
            db[t, :, 2 * H :] *= r
            dh = dh * z + db[t] @ w_hh.T
        dx, dw_ih, db_ih = input_gradients(steps, da, w_ih, needs[0])
        rows = db.reshape(-1, 3 * H)
        dw_hh = previous_states(state, hidden).T @ rows
        return dx, dh, dw_ih, dw_hh, db_ih, rows.sum(axis=0)

    return (time_major(hidden), h.copy()), vjp
