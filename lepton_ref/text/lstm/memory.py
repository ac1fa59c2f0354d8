"""How long a gated cell remembers, and the gates themselves, for looking at them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lepton_ref.framework.errors import ArgumentError


class Gates(NamedTuple):
    """What an LSTM did at each step; all of shape (N, T, H), float64."""

    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray
    h: np.ndarray


def lstm_gates(x, state, w_ih, w_hh, b) -> Gates:
    """The LSTM step by step, with everything that the fused operator keeps to itself.

    Parameters as for the operator ``lstm``, as NumPy arrays
    (eq. lstm-gates, eq. lstm-cell).
    """
    x, w_ih, w_hh, b = (np.asarray(a, np.float64) for a in (x, w_ih, w_hh, b))
    h, c = (np.asarray(a, np.float64) for a in state)
    kept = []
    for t in range(x.shape[1]):
        zi, zf, zg, zo = np.split(x[:, t] @ w_ih + h @ w_hh + b, 4, axis=1)
        i, f, o = (0.5 * np.tanh(0.5 * z) + 0.5 for z in (zi, zf, zo))
        g = np.tanh(zg)
        c = f * c + i * g
        h = o * np.tanh(c)
        kept.append((i, f, g, o, c, h))
    return Gates(*(np.stack(parts, axis=1) for parts in zip(*kept)))


def half_life(bias: float) -> float:
    """Steps after which a cell with forget gate σ(bias) has kept half: ln 2 / ln(1 + e^−bias).

    (eq. lstm-half-life)
    """
    return math.log(2) / math.log1p(math.exp(-bias))


def chrono_biases(hidden_size: int, longest: int, rng: np.random.Generator) -> np.ndarray:
    """Biases that give the cells memories of 1 to ``longest`` steps (eq. lstm-chrono).

    b_f = ln u with u uniform in [1, longest − 1], b_i = −b_f, b_g = b_o = 0.

    Returns
    -------
    ndarray, shape (4 * hidden_size,)
        In the order i, f, g, o.

    Source: Tallec and Ollivier (2018), *Can recurrent neural networks warp time?*
    """
    if longest < 3:
        raise ArgumentError("chrono_biases", "longest", f"the value {longest}", "at least 3 steps")
    forget = np.log(rng.uniform(1, longest - 1, hidden_size))
    return np.concatenate([-forget, forget, np.zeros(2 * hidden_size)])
