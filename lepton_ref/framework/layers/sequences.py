"""Layers over time: recurrent networks. Sequences are (N, T, C)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import dtype_name, exactly, host
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers.base import Layer
from lepton_ref.framework.layers.feedforward import Dropout, positive
from lepton_ref.framework.layers.initializers import generator, glorot_uniform, orthogonal

#: A pre-activation at which σ is exactly 0 or 1 in float32 and float64.
SHUT = 1e4


class _Recurrent(Layer):
    """What the three recurrent layers share.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
        Stacked: each layer reads the outputs of the one below.
    dropout : float
        Rate between stacked layers.
    rng : numpy.random.Generator
        Input weights start Glorot-uniform per gate, hidden-to-hidden weights orthogonal per
        gate, biases zero (the LSTM's forget gate: one).
    engine : str or Engine, optional
    """

    gates = 1
    biases: tuple[str, ...] = ("b",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        where = type(self).__name__
        positive(where, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        random = generator(where, rng)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.dropout = Dropout(dropout, engine=self.E)
        for layer in range(num_layers):
            size = hidden_size if layer else input_size
            shape, square = (size, hidden_size), (hidden_size, hidden_size)
            w_ih = [glorot_uniform(random, shape, *shape) for _ in range(self.gates)]
            w_hh = [orthogonal(random, square) for _ in range(self.gates)]
            self.add_parameter(f"w_ih_{layer}", np.concatenate(w_ih, axis=1))  # (C, G*H)
            self.add_parameter(f"w_hh_{layer}", np.concatenate(w_hh, axis=1))  # (H, G*H)
            for name in self.biases:
                self.add_parameter(f"{name}_{layer}", self._bias())  # (G*H,)

    def _bias(self) -> np.ndarray:
        return np.zeros(self.gates * self.hidden_size)

    def _start(self, zeros: Any) -> Any:
        return zeros

    def _run(self, x: Any, state: Any, w_ih: Any, w_hh: Any, *biases: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def _run_masked(
        self, x: Any, state: Any, mask: np.ndarray, w_ih: Any, w_hh: Any, *biases: Any
    ) -> tuple[Any, Any]:
        """Unmasked outputs, and each row's state at its last real step (eq. lstm-last-state)."""
        outputs, _ = self._run(x, state, w_ih, w_hh, *biases)
        return outputs, self._at_last(outputs, state, mask)

    def _at_last(self, outputs: Any, start: Any, mask: np.ndarray) -> Any:
        """h of each row at its last real step; where a row has none, the state it started from."""
        lengths = mask.sum(axis=1)
        h = self.E.getitem(outputs, (np.arange(len(lengths)), np.maximum(lengths - 1, 0)))
        if lengths.all():
            return h
        empty = self.E.array((lengths == 0)[:, None])
        return self.E.where(empty, start, h)

    def forward(
        self,
        x: Any,
        rng: np.random.Generator | None = None,
        state: Any = None,
        mask: Any = None,
    ) -> tuple[Any, list[Any]]:
        """Outputs of the top layer, and the last state of every layer.

        Parameters
        ----------
        x : array, shape (N, T, C)
        state : list, optional
            One state per layer, as this method returns them, to go on from; without it, zeros.
        mask : bool array, shape (N, T), optional
            True where a step is real. In each row the real steps come first; what stands in ``x``
            behind them changes nothing and gets no gradient.

        Returns
        -------
        outputs : array, shape (N, T, H)
            Zero where the mask is False.
        last : list
            Per layer the state after each row's last real step, shape (N, H) (LSTM: a pair of
            them); of a row without a real step, the state it started from.

        Raises
        ------
        ArgumentError
            When a shape does not fit, or the mask is not boolean or has a gap.
        """
        if len(x.shape) != 3 or x.shape[2] != self.input_size:
            raise ArgumentError(
                type(self).__name__.lower(), "x", f"shape {tuple(x.shape)}",
                f"(N, T, {self.input_size})",
            )  # fmt: skip
        if state is not None and len(state) != self.num_layers:
            raise ArgumentError(
                type(self).__name__.lower(), "state", f"{len(state)} entries",
                f"{self.num_layers}, one per layer",
            )  # fmt: skip
        if state is None:
            zeros = np.zeros((int(x.shape[0]), self.hidden_size))
            state = [self._start(self.E.array(zeros, dtype_name(x)))] * self.num_layers
        real = None if mask is None else _checked_mask(type(self).__name__.lower(), x, mask)
        last = []
        for layer in range(self.num_layers):
            names = (f"w_ih_{layer}", f"w_hh_{layer}", *(f"{b}_{layer}" for b in self.biases))
            weights = [getattr(self, name) for name in names]
            if layer:
                x = self.dropout(x, rng)
            if real is None:
                x, end = self._run(x, state[layer], *weights)
            else:
                x, end = self._run_masked(x, state[layer], real, *weights)
            last.append(end)
        if real is not None:
            x = self.E.multiply(x, self.E.array(real[:, :, None], dtype_name(x)))
        return x, last


def _checked_mask(where: str, x: Any, mask: Any) -> np.ndarray | None:
    """The mask as a NumPy array, or None where every step is real."""
    exactly(where, "mask", mask, (int(x.shape[0]), int(x.shape[1])), "one entry for each step")
    if dtype_name(mask) != "bool":
        raise ArgumentError(where, "mask", f"dtype {dtype_name(mask)}", "bool, True = a real step")
    real = np.asarray(host(mask), bool)
    if (real[:, 1:] & ~real[:, :-1]).any():
        row = int((real[:, 1:] & ~real[:, :-1]).any(axis=1).argmax())
        raise ArgumentError(
            where, "mask", f"a gap in row {row}", "in each row first all True, then all False"
        )
    return None if real.all() else real


class RNNLayer(_Recurrent):
    """Plain recurrence: h_t = tanh(x_t W_ih + h_(t−1) W_hh + b).

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
        Stacked: each layer reads the outputs of the one below.
    dropout : float
        Rate between stacked layers.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    w_ih_0, w_hh_0, b_0, ... : array, shapes (C, H), (H, H), (H,)
        Per stacked layer.
    """

    def _run(self, x, state, w_ih, w_hh, b):
        return self.E.rnn(x, state, w_ih, w_hh, b)


class LSTM(_Recurrent):
    """Long short-term memory, gates i, f, g, o; a state is a pair (h, c).

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
        Stacked: each layer reads the outputs of the one below.
    dropout : float
        Rate between stacked layers.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    w_ih_0, w_hh_0, b_0, ... : array, shapes (C, 4H), (H, 4H), (4H,)
        Per stacked layer. The forget gate's bias starts at one: remember at first.

    Source: Hochreiter and Schmidhuber (1997); for the bias Jozefowicz et al. (2015).
    """

    gates = 4

    def _bias(self) -> np.ndarray:
        bias = np.zeros((4, self.hidden_size))
        bias[1] = 1.0
        return bias.ravel()

    def _start(self, zeros):
        return (zeros, zeros)

    def _run(self, x, state, w_ih, w_hh, b):
        return self.E.lstm(x, state, w_ih, w_hh, b)

    def _run_masked(self, x, state, mask, w_ih, w_hh, b):
        # The cell is no output, so it cannot be picked afterwards: it is frozen instead. One more
        # input, 1 where a step is padding, closes i and opens f (eq. lstm-frozen-cell).
        kind, H = dtype_name(x), self.hidden_size
        padding = self.E.array(~mask[:, :, None], kind)  # (N, T, 1)
        row = np.repeat([-SHUT, SHUT, 0.0, 0.0], H)[None]  # (1, 4H)
        outputs, (_, c) = self.E.lstm(
            self.E.concat([x, padding], axis=2), state,
            self.E.concat([w_ih, self.E.array(row, kind)], axis=0), w_hh, b,
        )  # fmt: skip
        return outputs, (self._at_last(outputs, state[0], mask), c)


class GRU(_Recurrent):
    """Gated recurrent unit, gates r, z, n.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
        Stacked: each layer reads the outputs of the one below.
    dropout : float
        Rate between stacked layers.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    w_ih_0, w_hh_0, b_ih_0, b_hh_0, ... : array, shapes (C, 3H), (H, 3H), (3H,), (3H,)
        Per stacked layer.

    Source: Cho et al. (2014), with the reset gate after the matrix product, as torch has it.
    """

    gates = 3
    biases = ("b_ih", "b_hh")

    def _run(self, x, state, w_ih, w_hh, b_ih, b_hh):
        return self.E.gru(x, state, w_ih, w_hh, b_ih, b_hh)
