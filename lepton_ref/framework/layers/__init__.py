"""Layers: named arrays and a ``forward``, written once for all engines.

Source of the formulas: the page *framework/layers* of the book.
"""

from lepton_ref.framework.layers.attention import (
    AdditiveAttention,
    AttentionPooling,
    MultiHeadAttention,
)
from lepton_ref.framework.layers.base import LAYER_CLASSES, Layer, build, describe
from lepton_ref.framework.layers.containers import Residual, Sequential
from lepton_ref.framework.layers.feedforward import (
    GELU,
    AvgPool2d,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool2d,
    MaxPool2d,
    ReLU,
    Sigmoid,
    Tanh,
)
from lepton_ref.framework.layers.initializers import glorot_uniform, kaiming_normal, orthogonal
from lepton_ref.framework.layers.normalization import BatchNorm, LayerNorm
from lepton_ref.framework.layers.sequences import GRU, LSTM, RNNLayer
from lepton_ref.framework.layers.transformer import (
    TransformerBlock,
    TransformerEncoder,
    sinusoidal_positions,
)

_CLASSES: tuple[type[Layer], ...] = (
    Sequential, Residual, Dense, Conv2d, ConvTranspose2d, MaxPool2d, AvgPool2d, GlobalAvgPool2d,
    Flatten, ReLU, GELU, Tanh, Sigmoid, Dropout, Embedding, BatchNorm, LayerNorm, RNNLayer, LSTM,
    GRU, AdditiveAttention, AttentionPooling, MultiHeadAttention, TransformerBlock,
    TransformerEncoder,
)  # fmt: skip
LAYER_CLASSES.update({cls.__name__: cls for cls in _CLASSES})

__all__ = [
    "LAYER_CLASSES", "AdditiveAttention", "AttentionPooling", "AvgPool2d", "BatchNorm", "Conv2d",
    "ConvTranspose2d", "Dense", "Dropout", "Embedding", "Flatten", "GELU", "GRU",
    "GlobalAvgPool2d", "LSTM", "Layer", "LayerNorm", "MaxPool2d", "MultiHeadAttention",
    "RNNLayer", "ReLU", "Residual", "Sequential", "Sigmoid", "Tanh", "TransformerBlock",
    "TransformerEncoder", "build", "describe", "glorot_uniform", "kaiming_normal", "orthogonal",
    "sinusoidal_positions",
]  # fmt: skip
