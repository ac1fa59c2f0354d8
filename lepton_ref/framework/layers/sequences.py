"""Layers over time: recurrent networks and multi-head attention. Sequences are (N, T, C)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import dtype_name
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers.base import Layer
from lepton_ref.framework.layers.feedforward import Dense, Dropout, positive
from lepton_ref.framework.layers.initializers import generator, glorot_uniform, orthogonal


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

    def forward(
        self, x: Any, rng: np.random.Generator | None = None, state: Any = None
    ) -> tuple[Any, list[Any]]:
        """Outputs of the top layer (N, T, H), and the last state of every layer in a list.

        ``state`` is such a list, to go on from; without it, zeros.
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
        last = []
        for layer in range(self.num_layers):
            names = (f"w_ih_{layer}", f"w_hh_{layer}", *(f"{b}_{layer}" for b in self.biases))
            if layer:
                x = self.dropout(x, rng)
            x, end = self._run(x, state[layer], *(getattr(self, name) for name in names))
            last.append(end)
        return x, last


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


class MultiHeadAttention(Layer):
    """Attention in ``num_heads`` subspaces of size embed_dim / num_heads, joined by a matrix.

    Parameters
    ----------
    embed_dim : int
    num_heads : int
        Divides ``embed_dim``.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    query, key, value, output : Dense
        Each of (embed_dim, embed_dim).

    Source: Vaswani et al. (2017), section 3.2.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        positive("MultiHeadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ArgumentError(
                "MultiHeadAttention", "num_heads", f"the value {num_heads}",
                f"a divisor of embed_dim = {embed_dim}",
            )  # fmt: skip
        self.num_heads = num_heads
        self.query = Dense(embed_dim, embed_dim, rng=rng, engine=self.E)
        self.key = Dense(embed_dim, embed_dim, rng=rng, engine=self.E)
        self.value = Dense(embed_dim, embed_dim, rng=rng, engine=self.E)
        self.output = Dense(embed_dim, embed_dim, rng=rng, engine=self.E)

    def _split(self, x: Any) -> Any:  # (N, T, D) -> (N, heads, T, D / heads)
        n, t, d = x.shape
        heads = self.E.reshape(x, (n, t, self.num_heads, d // self.num_heads))
        return self.E.transpose(heads, (0, 2, 1, 3))

    def forward(
        self,
        x: Any,
        rng: np.random.Generator | None = None,
        memory: Any = None,
        mask: Any = None,
    ) -> tuple[Any, Any]:
        """Attend from ``x`` to ``memory`` (without it, to ``x`` itself).

        Parameters
        ----------
        x : array, shape (N, T, D)
        memory : array, shape (N, S, D), optional
        mask : bool array that broadcasts to (N, heads, T, S), optional
            True where attending is allowed.

        Returns
        -------
        y : array, shape (N, T, D)
        weights : array, shape (N, heads, T, S)
        """
        if len(x.shape) != 3:
            raise ArgumentError(
                "multi_head_attention", "x", f"shape {tuple(x.shape)}", "3 axes (N, T, D)"
            )
        memory = x if memory is None else memory
        q = self._split(self.query(x))
        k = self._split(self.key(memory))
        v = self._split(self.value(memory))
        heads, weights = self.E.attention(q, k, v, mask)  # (N, heads, T, D / heads)
        joined = self.E.reshape(self.E.transpose(heads, (0, 2, 1, 3)), tuple(x.shape))
        return self.output(joined), weights
