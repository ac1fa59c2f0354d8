"""Dense, convolution, pooling, activation, dropout and embedding layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import dtype_name, pair
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers.base import Layer
from lepton_ref.framework.layers.initializers import generator, initialize

Size = int | tuple[int, int]


def positive(where: str, **sizes: int) -> None:
    """Refuse sizes that are not whole numbers of at least one."""
    for argument, value in sizes.items():
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or value < 1:
            raise ArgumentError(where, argument, f"the value {value!r}", "a whole number >= 1")


def _has_channels(where: str, x: Any, channels: int) -> None:
    shape = tuple(x.shape)
    if len(shape) != 4 or shape[1] != channels:
        raise ArgumentError(where, "x", f"shape {shape}", f"(N, {channels}, H, W)")


class Dense(Layer):
    """Y = X W + b: every output is a dot product of the whole input (eq. layers-dense).

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Whether to add ``b``.
    initializer : {"glorot_uniform", "kaiming_normal"}
        How W starts; b starts at zero.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    weight : array, shape (in_features, out_features)
    bias : array, shape (out_features,), or None
    """

    weight: Any
    bias: Any

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        initializer: str = "glorot_uniform",
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        positive("Dense", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        shape = (in_features, out_features)
        self.add_parameter("weight", initialize("Dense", initializer, rng, shape, *shape))
        if bias:
            self.add_parameter("bias", np.zeros(out_features))
        else:
            self.bias = None

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:  # (..., in)
        if not x.shape or x.shape[-1] != self.in_features:
            raise ArgumentError(
                "dense", "x", f"shape {tuple(x.shape)}", f"(..., {self.in_features})"
            )
        y = self.E.matmul(x, self.weight)  # (..., out)
        return y if self.bias is None else self.E.add(y, self.bias)


class Conv2d(Layer):
    """Slide O kernels over the image; each output sees only a window of the input.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (int, int)
    stride, padding : int or (int, int)
    bias : bool
    initializer : {"kaiming_normal", "glorot_uniform"}
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    weight : array, shape (out_channels, in_channels, kh, kw)
    bias : array, shape (out_channels,), or None
    """

    weight: Any
    bias: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        bias: bool = True,
        initializer: str = "kaiming_normal",
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        positive("Conv2d", in_channels=in_channels, out_channels=out_channels)
        kh, kw = pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = pair("Conv2d", "stride", stride, 1)
        self.padding = pair("Conv2d", "padding", padding, 0)
        shape = (out_channels, in_channels, kh, kw)
        fans = in_channels * kh * kw, out_channels * kh * kw
        self.add_parameter("weight", initialize("Conv2d", initializer, rng, shape, *fans))
        if bias:
            self.add_parameter("bias", np.zeros(out_channels))
        else:
            self.bias = None

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:  # (N, C, H, W)
        _has_channels("conv2d", x, self.weight.shape[1])
        return self.E.conv2d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)


class ConvTranspose2d(Layer):
    """The transpose of a convolution, as a linear map: it enlarges by ``stride``.

    Parameters as for :class:`Conv2d`. The fan-in counts the kernel entries that meet in one
    output: C kh kw / stride².

    Attributes
    ----------
    weight : array, shape (in_channels, out_channels, kh, kw)
    bias : array, shape (out_channels,), or None
    """

    weight: Any
    bias: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        bias: bool = True,
        initializer: str = "kaiming_normal",
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        where = "ConvTranspose2d"
        positive(where, in_channels=in_channels, out_channels=out_channels)
        kh, kw = pair(where, "kernel_size", kernel_size, 1)
        self.stride = sh, sw = pair(where, "stride", stride, 1)
        self.padding = pair(where, "padding", padding, 0)
        shape = (in_channels, out_channels, kh, kw)
        fans = in_channels * kh * kw / (sh * sw), out_channels * kh * kw
        self.add_parameter("weight", initialize(where, initializer, rng, shape, *fans))
        if bias:
            self.add_parameter("bias", np.zeros(out_channels))
        else:
            self.bias = None

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:  # (N, C, H, W)
        _has_channels("conv_transpose2d", x, self.weight.shape[0])
        return self.E.conv_transpose2d(
            x, self.weight, self.bias, stride=self.stride, padding=self.padding
        )


class _Pool2d(Layer):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        where = type(self).__name__
        self.kernel_size = pair(where, "kernel_size", kernel_size, 1)
        self.stride = self.kernel_size if stride is None else pair(where, "stride", stride, 1)
        self.padding = pair(where, "padding", padding, 0)


class MaxPool2d(_Pool2d):
    """The largest entry of every window. ``stride`` defaults to ``kernel_size``."""

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:  # (N, C, H, W)
        return self.E.max_pool2d(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_Pool2d):
    """The mean of every window, padding included. ``stride`` defaults to ``kernel_size``."""

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:  # (N, C, H, W)
        return self.E.avg_pool2d(x, self.kernel_size, self.stride, self.padding)


class GlobalAvgPool2d(Layer):
    """The mean of every feature map: (N, C, H, W) to (N, C)."""

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        if len(x.shape) != 4:
            raise ArgumentError(
                "global_avg_pool2d", "x", f"shape {tuple(x.shape)}", "4 axes (N, C, H, W)"
            )
        return self.E.mean(x, axis=(2, 3))


class Flatten(Layer):
    """All axes but the first become one: (N, C, H, W) to (N, C·H·W)."""

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        return self.E.reshape(x, (x.shape[0], int(np.prod(tuple(x.shape[1:])))))


class ReLU(Layer):
    """max(x, 0); its gradient at 0 is 0."""

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        return self.E.relu(x)


class GELU(Layer):
    """x Φ(x), in the tanh form."""

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        return self.E.gelu(x)


class Tanh(Layer):
    """tanh x, in (−1, 1)."""

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        return self.E.tanh(x)


class Sigmoid(Layer):
    """1 / (1 + e⁻ˣ), in (0, 1)."""

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        return self.E.sigmoid(x)


class Dropout(Layer):
    """Inverted dropout: zero each entry with probability ``rate``, scale the rest up.

    Y = M ⊙ X with M = keep / (1 − rate), so that E[Y] = X (eq. layers-dropout-expectation)
    and dX = M ⊙ dY with the same M (eq. layers-dropout-dx). Without ``rng`` (inference) the
    input passes unchanged.

    Parameters
    ----------
    rate : float
        In [0, 1).
    engine : str or Engine, optional

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014).
    """

    def __init__(self, rate: float, engine: str | Engine | None = None) -> None:
        super().__init__(engine)
        if not 0.0 <= rate < 1.0:
            raise ArgumentError("Dropout", "rate", f"the value {rate!r}", "a number in [0, 1)")
        self.rate = rate

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        if rng is None or self.rate == 0.0:
            return x
        kept = rng.random(tuple(x.shape), dtype=np.float32) >= self.rate
        mask = kept * np.float32(1.0 / (1.0 - self.rate))
        return self.E.multiply(x, self.E.array(mask, dtype_name(x)))


class Embedding(Layer):
    """A table with one trained row per item; the input picks rows (eq. layers-embedding).

    Parameters
    ----------
    num_embeddings : int
        How many rows.
    embedding_dim : int
        How long each is.
    rng : numpy.random.Generator
        The rows start as standard normal numbers: inputs of variance one for what follows.
    engine : str or Engine, optional

    Attributes
    ----------
    weight : array, shape (num_embeddings, embedding_dim)
    """

    weight: Any

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        rows = generator("Embedding", rng).normal(size=(num_embeddings, embedding_dim))
        self.add_parameter("weight", rows)

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:  # (...) of int
        return self.E.take(self.weight, x)  # (..., embedding_dim)
