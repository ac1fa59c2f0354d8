"""The reference engine: NumPy arrays, and the tape of :mod:`lepton_ref.framework.autograd`."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework import autograd, operators
from lepton_ref.framework.autograd import Tensor, raw
from lepton_ref.framework.errors import ArgumentError, EngineError
from lepton_ref.framework.memory import keep_freed_memory
from lepton_ref.text.attention import attention as _attention
from lepton_ref.text.lstm import gru as _gru
from lepton_ref.text.lstm import lstm as _lstm
from lepton_ref.text.rnn import rnn as _rnn
from lepton_ref.vision import convolution

_DEFAULT = {"f": "float32", "i": "int64", "u": "int64", "b": "bool"}

keep_freed_memory()


class NumPyEngine(Engine):
    """NumPy on the CPU; runs wherever NumPy does."""

    name = "numpy"

    def __init__(self, device: str = "cpu") -> None:
        if device != "cpu":
            raise EngineError(
                f"engine 'numpy' has no device {device!r}: it runs on 'cpu'. "
                "For a GPU take engine 'torch' or 'mxnet'"
            )
        super().__init__(device)

    @staticmethod
    def array(x: Any, dtype: str | None = None) -> Any:
        """An array of the engine: floats become float32 unless ``dtype`` says otherwise."""
        if isinstance(x, Tensor):
            return x
        x = np.asarray(x)
        if x.dtype.kind not in _DEFAULT:
            raise ArgumentError("array", "x", f"dtype {x.dtype}", "numbers or booleans")
        return np.asarray(x, dtype or _DEFAULT[x.dtype.kind])

    @staticmethod
    def asnumpy(x: Any) -> np.ndarray:
        """The values as a NumPy array."""
        return np.asarray(raw(x))

    @staticmethod
    def parameter(x: Any, dtype: str | None = None) -> np.ndarray:
        """A trainable array: a copy of ``x`` that :meth:`assign` may overwrite."""
        return np.array(NumPyEngine.array(x, dtype))

    @staticmethod
    def assign(target: np.ndarray, value: Any) -> None:
        """Overwrite ``target`` in place."""
        target[...] = value

    stop_gradient = staticmethod(autograd.stop_gradient)
    value_and_grad = staticmethod(autograd.value_and_grad)
    no_grad = staticmethod(autograd.no_grad)

    add = staticmethod(operators.add)
    subtract = staticmethod(operators.subtract)
    multiply = staticmethod(operators.multiply)
    divide = staticmethod(operators.divide)
    matmul = staticmethod(operators.matmul)
    negative = staticmethod(operators.negative)
    power = staticmethod(operators.power)
    getitem = staticmethod(operators.getitem)
    exp = staticmethod(operators.exp)
    log = staticmethod(operators.log)
    sqrt = staticmethod(operators.sqrt)
    tanh = staticmethod(operators.tanh)
    sigmoid = staticmethod(operators.sigmoid)
    relu = staticmethod(operators.relu)
    gelu = staticmethod(operators.gelu)
    softplus = staticmethod(operators.softplus)
    abs = staticmethod(operators.abs)
    where = staticmethod(operators.where)
    sum = staticmethod(operators.sum)
    mean = staticmethod(operators.mean)
    max = staticmethod(operators.max)
    reshape = staticmethod(operators.reshape)
    transpose = staticmethod(operators.transpose)
    concat = staticmethod(operators.concat)
    stack = staticmethod(operators.stack)
    pad = staticmethod(operators.pad)
    take = staticmethod(operators.take)
    pick = staticmethod(operators.pick)
    softmax = staticmethod(operators.softmax)
    log_softmax = staticmethod(operators.log_softmax)
    cross_entropy = staticmethod(operators.cross_entropy)
    layer_norm = staticmethod(operators.layer_norm)
    batch_norm = staticmethod(operators.batch_norm)
    conv2d = staticmethod(convolution.conv2d)
    conv_transpose2d = staticmethod(convolution.conv_transpose2d)
    max_pool2d = staticmethod(convolution.max_pool2d)
    avg_pool2d = staticmethod(convolution.avg_pool2d)
    rnn = staticmethod(_rnn)
    lstm = staticmethod(_lstm)
    gru = staticmethod(_gru)
    attention = staticmethod(_attention)
