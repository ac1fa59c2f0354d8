"""What layers refuse, and that the message names the layer, the argument and what was expected."""

from __future__ import annotations

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import (
    GRU,
    LSTM,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dropout,
    Embedding,
    GlobalAvgPool2d,
    Layer,
    LayerNorm,
    MaxPool2d,
    MultiHeadAttention,
    ReLU,
    Residual,
    Sequential,
)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda r: Dense(0, 3, rng=r), "Dense: argument `in_features` has the value 0"),
        (lambda r: Dense(2, 3.5, rng=r), "`out_features` has the value 3.5"),
        (lambda r: Dense(2, True, rng=r), "`out_features` has the value True"),
        (lambda r: Dense(2, 3), "`rng` has type NoneType; expected a numpy.random.Generator"),
        (lambda r: Dense(2, 3, rng=0), "`rng` has type int"),
        (lambda r: Dense(2, 3, initializer="he", rng=r), "`initializer` has the value 'he'"),
        (lambda r: Conv2d(1, 1, 0, rng=r), "Conv2d: argument `kernel_size` has the value 0"),
        (lambda r: Conv2d(1, 1, 3, stride=0, rng=r), "`stride` has the value 0"),
        (lambda r: Conv2d(1, 1, (3, 3, 3), rng=r), r"`kernel_size` has the value \(3, 3, 3\)"),
        (lambda r: ConvTranspose2d(1, 1, 3, padding=-1, rng=r), "`padding` has the value -1"),
        (lambda r: MaxPool2d(0), "MaxPool2d: argument `kernel_size`"),
        (lambda r: Dropout(1.0), r"`rate` has the value 1.0; expected a number in \[0, 1\)"),
        (lambda r: BatchNorm(3, momentum=0.0), "`momentum` has the value 0.0"),
        (lambda r: Embedding(3, 0, rng=r), "`embedding_dim` has the value 0"),
        (lambda r: Embedding(3, 2), "Embedding: argument `rng`"),
        (lambda r: LSTM(3, 2, num_layers=0, rng=r), "LSTM: argument `num_layers`"),
        (lambda r: MultiHeadAttention(6, 4, rng=r), "a divisor of embed_dim = 6"),
        (lambda r: Sequential(ReLU(), "relu"), r"`layers\[1\]` has type str"),
    ],
)
def test_layers_refuse_wrong_arguments(rng, make, match):
    with pytest.raises(ArgumentError, match=match):
        make(rng)


@pytest.mark.parametrize(
    ("make", "shape", "match"),
    [
        (lambda r: Sequential(ReLU(), Dense(4, 2, rng=r)), (3, 5),
         r"Sequential\.1 \(Dense\) > dense: argument `x` has shape \(3, 5\); expected .*4\)"),
        (lambda r: Sequential(Residual(Sequential(Conv2d(3, 3, 1, rng=r)))), (2, 1, 4, 4),
         r"Sequential\.0\.body\.0 \(Conv2d\) > conv2d: argument `x` has .*expected \(N, 3, H, W\)"),
        (lambda r: ConvTranspose2d(3, 1, 2, rng=r), (2, 3, 4), "conv_transpose2d: argument `x`"),
        (lambda r: Sequential(Residual(Dense(4, 3, rng=r))), (2, 4),
         r"Sequential\.0 \(Residual\) > Residual: argument `body` has an output of shape \(2, 3\)"),
        (lambda r: GlobalAvgPool2d(), (2, 3), r"expected 4 axes \(N, C, H, W\)"),
        (lambda r: BatchNorm(3), (1, 3), "at least 2 values per channel to train on"),
        (lambda r: LayerNorm(4), (2, 3), "LayerNorm > layer_norm: argument `gamma`"),
        (lambda r: LSTM(3, 2, rng=r), (2, 5), r"lstm: argument `x` has shape \(2, 5\)"),
        (lambda r: MultiHeadAttention(4, 2, rng=r), (2, 4), r"expected 3 axes \(N, T, D\)"),
    ],
)  # fmt: skip
def test_inputs_are_refused_with_the_layer_named(engine, rng, make, shape, match):
    layer = make(rng)
    with pytest.raises(ArgumentError, match=match):
        layer(engine.array(rng.normal(size=shape)), rng)


def test_further_refusals(rng):
    x = np.zeros((2, 3), "float32")
    with pytest.raises(ArgumentError, match="`rng` has type int; expected a numpy.random.Gener"):
        Dropout(0.5)(x, 3)
    with pytest.raises(ArgumentError, match=r"the names \['head'\]"):
        Sequential(Dense(3, 3, rng=rng)).apply({"head": x}, x)
    with pytest.raises(ArgumentError, match="`indices` has the value -1"):
        Embedding(3, 2, rng=rng)(np.array([-1]))
    with pytest.raises(ArgumentError, match="3 entries; expected 2, one per layer"):
        GRU(3, 2, num_layers=2, rng=rng)(np.zeros((1, 1, 3), "float32"), state=[x, x, x])
    with pytest.raises(NotImplementedError, match="Layer does not define forward"):
        Layer()(x)


def test_sequential_refuses_layers_of_two_engines(rng):
    others = [n for n in lepton_ref.engines.installed() if n != "numpy"]
    if not others:
        pytest.skip("one engine installed")
    with pytest.raises(ArgumentError, match=rf"`layers\[1\]` has engine '{others[0]}'"):
        Sequential(ReLU(engine="numpy"), ReLU(engine=others[0]))
