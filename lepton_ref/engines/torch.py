"""The PyTorch engine: today's GPUs, and an oracle in the tests.

Gradients come from ``torch.autograd.grad`` on detached copies of the parameters' handles, so
nothing is ever stored on a tensor. The GPU path asks cuDNN for its deterministic algorithms
and for full float32; it is written and has not been run on a GPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lepton_ref.engines import common
from lepton_ref.engines.base import Engine
from lepton_ref.engines.common import enlarged, pair
from lepton_ref.framework.autograd import differentiating
from lepton_ref.framework.errors import EngineError
from lepton_ref.framework.trees import flatten, map_tree, unflatten

_DTYPES = {name: getattr(torch, name) for name in common.DTYPES}


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return tuple(axis) if isinstance(axis, (tuple, list)) else (int(axis),)


class TorchEngine(Engine):
    """PyTorch on the CPU or, with ``device="gpu"``, on the first CUDA device.

    Raises
    ------
    EngineError
        When a GPU is asked for and PyTorch sees none.
    """

    name = "torch"

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        if device == "gpu":
            if not torch.cuda.is_available():
                raise EngineError(
                    f"engine 'torch' finds no GPU here (PyTorch {torch.__version__}, "
                    f"built for CUDA: {torch.version.cuda or 'no'}); take device 'cpu'"
                )
            torch.backends.cudnn.deterministic = True
            torch.backends.cudnn.allow_tf32 = False
        self._device = torch.device("cuda" if device == "gpu" else "cpu")

    # Arrays -----------------------------------------------------------------------------

    def array(self, x: Any, dtype: str | None = None) -> Any:
        """A tensor: floats become float32 unless ``dtype`` says otherwise; a tensor stays."""
        if isinstance(x, torch.Tensor):
            name = common.dtype_of(dtype)
            return x.to(self._device, _DTYPES[name] if name else x.dtype)
        return torch.from_numpy(common.host_array(x, dtype)).to(self._device)

    @staticmethod
    def asnumpy(x: Any) -> np.ndarray:
        """The values as a NumPy array."""
        return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)

    def parameter(self, x: Any, dtype: str | None = None) -> Any:
        """A trainable tensor: a copy of ``x`` that :meth:`assign` may overwrite."""
        return self.array(x, dtype).detach().clone()

    def assign(self, target: Any, value: Any) -> None:
        """Overwrite ``target`` in place."""
        with torch.no_grad():
            target.copy_(self._own(value)) if hasattr(value, "shape") else target.fill_(value)

    def _own(self, x: Any) -> Any:
        """A NumPy array as a tensor of the same dtype; anything else as it is."""
        if isinstance(x, (np.ndarray, np.generic)):
            return torch.from_numpy(np.array(x, order="C")).to(self._device)
        return x

    # Differentiation --------------------------------------------------------------------

    @staticmethod
    def stop_gradient(x: Any) -> Any:
        """The value of ``x`` as a constant."""
        return map_tree(lambda a: a.detach() if isinstance(a, torch.Tensor) else a, x)

    @staticmethod
    def no_grad() -> AbstractContextManager[None]:
        """Record nothing inside."""
        return torch.no_grad()

    @staticmethod
    def value_and_grad(function: Callable[..., Any], has_aux: bool = False) -> Callable[..., Any]:
        """As :func:`lepton_ref.framework.autograd.value_and_grad`, by this library."""

        @functools.wraps(function)
        def run(params: Any, *args: Any, **kwargs: Any) -> Any:
            arrays, structure = flatten(params)
            common.check_parameters(arrays, torch.Tensor, "PyTorch")
            leaves = [array.detach().requires_grad_() for _, array in arrays]
            with differentiating(), torch.enable_grad():
                result = function(unflatten(structure, leaves), *args, **kwargs)
            output, aux = result if has_aux else (result, None)
            common.check_result(output)
            if not isinstance(output, torch.Tensor) or not output.requires_grad:
                raise common.independent()
            found = torch.autograd.grad(output, leaves, allow_unused=True)
            grads = [
                torch.zeros_like(leaf) if grad is None else grad.detach()
                for leaf, grad in zip(leaves, found)
            ]
            value = output.detach()
            out = (value, TorchEngine.stop_gradient(aux)) if has_aux else value
            return out, unflatten(structure, grads)

        return run

    # Arithmetic -------------------------------------------------------------------------

    def add(self, a: Any, b: Any) -> Any:
        return self._own(a) + self._own(b)

    def subtract(self, a: Any, b: Any) -> Any:
        return self._own(a) - self._own(b)

    def multiply(self, a: Any, b: Any) -> Any:
        return self._own(a) * self._own(b)

    def divide(self, a: Any, b: Any) -> Any:
        return self._own(a) / self._own(b)

    def matmul(self, a: Any, b: Any) -> Any:
        return self._own(a) @ self._own(b)

    def negative(self, x: Any) -> Any:
        return -self._own(x)

    def power(self, x: Any, exponent: Any) -> Any:
        return self._own(x) ** exponent

    def getitem(self, x: Any, index: Any) -> Any:
        x = self._own(x)
        index = list(common.plain_index(index, tuple(x.shape)))
        axis = 0
        for i, part in enumerate(index):
            if part is None:
                continue
            if isinstance(part, slice):
                start, stop, step = part.indices(x.shape[axis])
                if step < 0:  # torch only steps forward: turn the axis round
                    x = x.flip(axis)
                    start, stop, step = x.shape[axis] - 1 - start, x.shape[axis] - 1 - stop, -step
                index[i] = slice(start, max(start, stop), step)
            elif isinstance(part, np.ndarray):
                index[i] = self._own(part)
            axis += 1
        return x[tuple(index)]

    # Elementwise ------------------------------------------------------------------------

    def exp(self, x: Any) -> Any:
        return torch.exp(self._own(x))

    def log(self, x: Any) -> Any:
        return torch.log(self._own(x))

    def sqrt(self, x: Any) -> Any:
        return torch.sqrt(self._own(x))

    def tanh(self, x: Any) -> Any:
        return torch.tanh(self._own(x))

    def sigmoid(self, x: Any) -> Any:
        return torch.sigmoid(self._own(x))

    def relu(self, x: Any) -> Any:
        return torch.relu(self._own(x))

    def gelu(self, x: Any) -> Any:
        return F.gelu(self._own(x), approximate="tanh")

    def softplus(self, x: Any) -> Any:
        return F.softplus(self._own(x), threshold=40)  # beyond it ln(1 + eˣ) = x in float64

    def abs(self, x: Any) -> Any:
        return torch.abs(self._own(x))

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        return torch.where(self._own(condition), self._own(a), self._own(b))

    # Reductions -------------------------------------------------------------------------

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x, axes = self._own(x), _axes(x, axis)
        return x.sum(axes, keepdim=keepdims) if axes else x

    def mean(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x, axes = self._own(x), _axes(x, axis)
        return x.mean(axes, keepdim=keepdims) if axes else x

    def max(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x, axes = self._own(x), _axes(x, axis)
        return x.amax(axes, keepdim=keepdims) if axes else x  # shares among ties, as ours

    # Shapes -----------------------------------------------------------------------------

    def reshape(self, x: Any, shape: Any) -> Any:
        return self._own(x).reshape(shape)

    def transpose(self, x: Any, axes: Any = None) -> Any:
        return self._own(x).permute(*(reversed(range(x.ndim)) if axes is None else axes))

    def concat(self, arrays: Any, axis: int = 0) -> Any:
        return torch.cat([self._own(a) for a in arrays], axis)

    def stack(self, arrays: Any, axis: int = 0) -> Any:
        return torch.stack([self._own(a) for a in arrays], axis)

    def pad(self, x: Any, pad_width: Any, value: float = 0.0) -> Any:
        widths = [int(n) for pair in reversed(list(pad_width)) for n in pair]
        return F.pad(self._own(x), widths, value=value) if widths else self._own(x)

    # Look-up ----------------------------------------------------------------------------

    def take(self, x: Any, indices: Any, axis: int = 0) -> Any:
        x, indices = self._own(x), self._own(indices).long()
        axis %= x.ndim
        rows = x.index_select(axis, indices.reshape(-1))
        return rows.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])

    def pick(self, x: Any, indices: Any, axis: int = -1) -> Any:
        at = self._own(indices).long().unsqueeze(axis)
        return self._own(x).gather(axis, at).squeeze(axis)

    # Probability ------------------------------------------------------------------------

    def softmax(self, x: Any, axis: int = -1) -> Any:
        return torch.softmax(self._own(x), axis)

    def log_softmax(self, x: Any, axis: int = -1) -> Any:
        return torch.log_softmax(self._own(x), axis)

    def cross_entropy(self, logits: Any, labels: Any, mask: Any = None) -> Any:
        logits, labels = self._own(logits), self._own(labels).long()
        rows, classes = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
        if mask is None:
            return F.cross_entropy(rows, classes)
        weight = self._own(mask).detach().to(logits.dtype).reshape(-1)
        nll = F.cross_entropy(rows, classes, reduction="none")
        return (nll * (weight / weight.sum())).sum()

    # Normalisation ----------------------------------------------------------------------

    def layer_norm(self, x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> Any:
        x, gamma, beta = (self._own(a) for a in (x, gamma, beta))
        return F.layer_norm(x, x.shape[-1:], gamma, beta, eps)

    def batch_norm(
        self, x: Any, gamma: Any, beta: Any, mean: Any = None, var: Any = None, eps: float = 1e-5
    ) -> Any:
        x, gamma, beta, mean, var = (self._own(a) for a in (x, gamma, beta, mean, var))
        use_batch = mean is None
        if use_batch:
            var, mean = torch.var_mean(x.detach(), (0, *range(2, x.ndim)), correction=0)
        mean, var = mean.detach(), var.detach()
        given = (None, None) if use_batch else (mean, var)
        # torch.batch_norm, since F.batch_norm refuses one value per channel.
        y = torch.batch_norm(
            x, gamma, beta, *given, use_batch, 0.0, eps, torch.backends.cudnn.enabled
        )
        return y, mean, var

    # Images -----------------------------------------------------------------------------

    def conv2d(self, x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0) -> Any:
        x, w, b = self._own(x), self._own(w), self._own(b)
        y = F.conv2d(x, w, b, pair(stride), pair(padding))
        return y if x.shape[1] else self._biased((*y.shape[:1], w.shape[0], *y.shape[2:]), b, x, w)

    @staticmethod
    def _biased(shape: Any, b: Any, x: Any, w: Any) -> Any:
        """A convolution over no channels, which torch gets wrong: the bias alone."""
        y = x.new_zeros(shape) + x.sum() + w.sum()
        return y if b is None else y + b[:, None, None]

    def conv_transpose2d(
        self, x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0
    ) -> Any:
        x, w, b = self._own(x), self._own(w), self._own(b)
        if not x.shape[1]:
            size = enlarged(x.shape, w.shape[2:], pair(stride), pair(padding))
            return self._biased((x.shape[0], w.shape[1], *size), b, x, w)
        return F.conv_transpose2d(x, w, b, pair(stride), pair(padding))

    def max_pool2d(self, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
        stride = kernel_size if stride is None else stride
        return F.max_pool2d(self._own(x), pair(kernel_size), pair(stride), pair(padding))

    def avg_pool2d(self, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
        stride = kernel_size if stride is None else stride
        return F.avg_pool2d(self._own(x), pair(kernel_size), pair(stride), pair(padding))

    # Sequences --------------------------------------------------------------------------

    def _recurrent(self, kernel: Any, x: Any, states: Any, weights: Any) -> Any:
        """One of torch's fused recurrent kernels; its weights are ours transposed."""
        w_ih, w_hh, b_ih, b_hh = (self._own(a) for a in weights)
        b_hh = torch.zeros_like(b_ih) if b_hh is None else b_hh
        states = [self._own(s).unsqueeze(0) for s in states]
        flat = [w_ih.T, w_hh.T, b_ih, b_hh]
        state = states if len(states) > 1 else states[0]
        y, *last = kernel(self._own(x), state, flat, True, 1, 0.0, False, False, True)
        return y, *(s.squeeze(0) for s in last)

    def rnn(self, x: Any, state: Any, w_ih: Any, w_hh: Any, b: Any) -> Any:
        return self._recurrent(torch.rnn_tanh, x, [state], (w_ih, w_hh, b, None))

    def lstm(self, x: Any, state: Any, w_ih: Any, w_hh: Any, b: Any) -> Any:
        y, h, c = self._recurrent(torch.lstm, x, state, (w_ih, w_hh, b, None))
        return y, (h, c)

    def gru(self, x: Any, state: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
        return self._recurrent(torch.gru, x, [state], (w_ih, w_hh, b_ih, b_hh))

    def attention(self, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        q, k, v = self._own(q), self._own(k), self._own(v)
        scores = (q / math.sqrt(q.shape[-1])) @ k.transpose(-1, -2)  # (..., T, S)
        if mask is None:
            weights = torch.softmax(scores, -1)
        else:
            blocked = ~self._own(mask)
            scores = scores.masked_fill(blocked, torch.finfo(scores.dtype).min)
            weights = torch.softmax(scores, -1).masked_fill(blocked, 0)
        return weights @ v, weights
