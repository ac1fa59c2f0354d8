"""The adding problem: two marked numbers far apart in a long sequence, and their sum.

Source: Hochreiter and Schmidhuber (1997), *Long Short-Term Memory*, experiment 4, in the form of
Arjovsky, Shah and Bengio (2016).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import GRU, LSTM, Dense, Layer, RNNLayer
from lepton_ref.framework.losses import squared_error
from lepton_ref.framework.optimizers import Optimizer, clip_by_norm
from lepton_ref.text.lstm.memory import chrono_biases

CELLS: dict[str, Any] = {"rnn": RNNLayer, "lstm": LSTM, "gru": GRU}

#: Mean squared error of the best answer that ignores the sequence (eq. lstm-adding-baseline).
BASELINE = 1 / 6


def adding_problem(
    n: int, num_steps: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of numbers with two of them marked, and the sum of the two.

    Parameters
    ----------
    n : int
        Sequences.
    num_steps : int
        Their length T, at least 2.
    rng : numpy.random.Generator

    Returns
    -------
    x : ndarray, shape (n, T, 2), float32
        Uniform numbers in [0, 1), and marks: one among the first ⌊T/2⌋ steps, one among the rest.
    target : ndarray, shape (n, 1), float32

    Raises
    ------
    ArgumentError
        For fewer than 1 sequence or 2 steps.
    """
    if n < 1 or num_steps < 2:
        raise ArgumentError(
            "adding_problem", "n, num_steps", f"the values {n}, {num_steps}", "n >= 1, T >= 2"
        )
    x = np.zeros((n, num_steps, 2), np.float32)
    x[:, :, 0] = rng.random((n, num_steps), np.float32)
    rows, half = np.arange(n), num_steps // 2
    marked = np.stack([rng.integers(0, half, n), rng.integers(half, num_steps, n)])
    x[rows, marked, 1] = 1
    return x, x[rows, marked, 0].sum(axis=0)[:, None]


class LastState(Layer):
    """Reads a sequence and answers with numbers made from its last state.

    Parameters
    ----------
    input_size, hidden_size : int
    cell : {"rnn", "lstm", "gru"}
    longest : int, optional
        With an LSTM: start its biases for memories of up to so many steps (eq. lstm-chrono).
    outputs : int
    rng : numpy.random.Generator
    engine : str or Engine, optional
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        cell: str = "lstm",
        longest: int | None = None,
        outputs: int = 1,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        if cell not in CELLS or (longest is not None and cell != "lstm"):
            raise ArgumentError(
                "LastState", "cell", f"the value {cell!r} with longest={longest}",
                f"one of {', '.join(CELLS)}; `longest` goes with lstm",
            )  # fmt: skip
        self.cell = CELLS[cell](input_size, hidden_size, rng=rng, engine=self.E)
        self.head = Dense(hidden_size, outputs, rng=rng, engine=self.E)
        if longest is not None:
            assert rng is not None  # the cell has refused to be made without
            biases = chrono_biases(hidden_size, longest, rng)
            self.E.assign(self.cell.b_0, self.E.array(biases))

    def forward(self, x: Any, rng: np.random.Generator | None = None, mask: Any = None) -> Any:
        """(N, T, input_size) -> (N, outputs)."""
        _, last = self.cell(x, rng, mask=mask)
        state = last[-1]
        return self.head(state[0] if isinstance(state, tuple) else state)


class Learned(NamedTuple):
    """One run: the loss of each step, and the mean squared error on sequences never seen."""

    losses: np.ndarray
    test_error: float


def learn(
    model: LastState,
    num_steps: int,
    optimizer: Optimizer,
    steps: int,
    rng: np.random.Generator,
    batch_size: int = 64,
    max_norm: float = 1.0,
    enough: float = 0.0,
) -> Learned:
    """Train on the adding problem, fresh sequences at every step.

    Parameters
    ----------
    model : LastState
        Changed in place.
    num_steps : int
        Length of the sequences.
    optimizer : Optimizer
    steps : int
        Updates at most.
    rng : numpy.random.Generator
        Draws the sequences.
    batch_size : int
    max_norm : float
        Gradients are clipped to it.
    enough : float
        Stop when the mean loss of the last 25 steps is below this.

    Returns
    -------
    Learned
        The error is measured on 1,000 fresh sequences.
    """
    E, params, losses = model.E, model.parameters(), []

    def loss(params: dict[str, Any], x: Any, y: Any) -> Any:
        return squared_error(model.apply(params, x), y, engine=E)

    gradient = E.value_and_grad(loss)
    for _ in range(steps):
        x, y = adding_problem(batch_size, num_steps, rng)
        value, grads = gradient(params, E.array(x), E.array(y))
        grads, _ = clip_by_norm(grads, max_norm)
        optimizer.step(params, grads)
        losses.append(float(value))
        if not math.isfinite(losses[-1]) or np.mean(losses[-25:]) < enough:
            break
    x, y = adding_problem(1000, num_steps, rng)
    with E.no_grad():
        error = float(squared_error(model(E.array(x)), E.array(y), engine=E))
    return Learned(np.array(losses), error)
