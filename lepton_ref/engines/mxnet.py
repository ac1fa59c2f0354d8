"""The MXNet engine: MXNet 1.9.1 through ``mx.np`` and ``mx.npx``.

Several operators of MXNet are silently wrong, or end the process, outside of what is used
here: the gradients of ``var`` and ``std``; negative index arrays; arithmetic on whole numbers;
batches that broadcast in ``matmul``; numbers in ``where``; ties in ``max``; the constant of
``pad``; empty arrays nearly everywhere. The methods below go round all of that. Arithmetic
signs (``x + y``) are MXNet's own, so leave empty arrays and whole numbers to the methods.

The GPU path (``device="gpu"``) is written and has not been run on a GPU.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as onp

from lepton_ref.engines import common
from lepton_ref.engines.base import OPERATORS, SERVICES, Engine
from lepton_ref.engines.common import enlarged, pair, slid
from lepton_ref.engines.mxnet_gradients import constant, value_and_grad
from lepton_ref.engines.mxnet_library import (
    choose,
    largest,
    mx,
    nothing,
    numpy_semantics,
    pairwise,
    product,
)
from lepton_ref.framework.errors import EngineError

np, npx, autograd = mx.np, mx.npx, mx.autograd


def _in_every_thread(cls: type[Engine]) -> type[Engine]:
    """Let every method of the surface look after its thread."""
    for name in (*OPERATORS, *SERVICES):
        method = vars(cls)[name]
        if isinstance(method, staticmethod):
            setattr(cls, name, staticmethod(numpy_semantics(method.__func__)))
        else:
            setattr(cls, name, numpy_semantics(method))
    return cls


@_in_every_thread
class MXNetEngine(Engine):
    """MXNet on the CPU or, with ``device="gpu"``, on the first CUDA device.

    Raises
    ------
    EngineError
        When a GPU is asked for and MXNet sees none.
    """

    name = "mxnet"

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        if device == "gpu":
            try:
                found = mx.context.num_gpus()
            except mx.MXNetError:  # a build with CUDA on a machine without its driver
                found = 0
            if not found:
                raise EngineError(
                    f"engine 'mxnet' finds no GPU here (MXNet {mx.__version__}); take device 'cpu'"
                )
        self._ctx = mx.gpu(0) if device == "gpu" else mx.cpu()

    # Arrays -----------------------------------------------------------------------------

    def array(self, x: Any, dtype: str | None = None) -> Any:
        """An ``mx.np.ndarray``: floats become float32 unless ``dtype`` says otherwise.

        What is one already keeps its dtype when none is asked for.
        """
        if isinstance(x, np.ndarray):
            name = common.dtype_of(dtype)
            x = x if name is None or x.dtype == name else x.astype(name)
            return x.as_in_ctx(self._ctx)
        return self._own(common.host_array(x, dtype))

    @staticmethod
    def asnumpy(x: Any) -> onp.ndarray:
        """The values as a NumPy array."""
        return x.asnumpy() if isinstance(x, np.ndarray) else onp.asarray(x)

    def parameter(self, x: Any, dtype: str | None = None) -> Any:
        """A trainable array: a copy of ``x`` that :meth:`assign` may overwrite."""
        return self.array(x, dtype).detach().copy()

    def assign(self, target: Any, value: Any) -> None:
        """Overwrite ``target`` in place."""
        target[()] = self._own(value)

    def _own(self, x: Any) -> Any:
        """A NumPy array as one of MXNet, same dtype; anything else as it is."""
        if isinstance(x, (onp.ndarray, onp.generic)):
            return np.array(x, dtype=x.dtype, ctx=self._ctx)
        return x

    # Differentiation --------------------------------------------------------------------

    stop_gradient = staticmethod(constant)
    value_and_grad = staticmethod(value_and_grad)

    @staticmethod
    def no_grad() -> AbstractContextManager[None]:
        """Record nothing inside."""
        return autograd.pause()

    # Arithmetic -------------------------------------------------------------------------

    def add(self, a: Any, b: Any) -> Any:
        return pairwise(np.add, self._own(a), self._own(b))

    def subtract(self, a: Any, b: Any) -> Any:
        return pairwise(np.subtract, self._own(a), self._own(b))

    def multiply(self, a: Any, b: Any) -> Any:
        return pairwise(np.multiply, self._own(a), self._own(b))

    def divide(self, a: Any, b: Any) -> Any:
        return pairwise(np.true_divide, self._own(a), self._own(b))

    def matmul(self, a: Any, b: Any) -> Any:
        return product(self._own(a), self._own(b))

    def negative(self, x: Any) -> Any:
        return np.negative(self._own(x))

    def power(self, x: Any, exponent: Any) -> Any:
        return self._own(x) ** float(exponent)

    def getitem(self, x: Any, index: Any) -> Any:
        x = self._own(x)
        parts = common.plain_index(index, x.shape)
        return x[tuple(self._own(part) for part in parts)]

    # Elementwise ------------------------------------------------------------------------

    def exp(self, x: Any) -> Any:
        return np.exp(self._own(x))

    def log(self, x: Any) -> Any:
        return np.log(self._own(x))

    def sqrt(self, x: Any) -> Any:
        return np.sqrt(self._own(x))

    def tanh(self, x: Any) -> Any:
        return np.tanh(self._own(x))

    def sigmoid(self, x: Any) -> Any:
        return npx.sigmoid(self._own(x))

    def relu(self, x: Any) -> Any:
        return npx.relu(self._own(x))  # the gradient of np.maximum(x, 0) at 0 is 1, of this 0

    def gelu(self, x: Any) -> Any:
        x = self._own(x)  # npx has the erf form only
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))

    def softplus(self, x: Any) -> Any:
        x = self._own(x)
        return npx.activation(x, act_type="softrelu") if x.size else x * 1

    def abs(self, x: Any) -> Any:
        return np.abs(self._own(x))

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        return choose(self._own(condition), self._own(a), self._own(b))

    # Reductions -------------------------------------------------------------------------

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x = self._own(x)
        if x.size == 0:  # an empty sum of several entries would stop MXNet, later and elsewhere
            shape = onp.zeros(x.shape).sum(axis=axis, keepdims=keepdims).shape
            return nothing(shape, x)
        return x.sum(axis=axis, keepdims=keepdims)

    def mean(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return self._own(x).mean(axis=axis, keepdims=keepdims)

    def max(self, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return largest(self._own(x), axis, keepdims)

    # Shapes -----------------------------------------------------------------------------

    def reshape(self, x: Any, shape: Any) -> Any:
        return self._own(x).reshape(shape)

    def transpose(self, x: Any, axes: Any = None) -> Any:
        return np.transpose(self._own(x), axes)

    def concat(self, arrays: Any, axis: int = 0) -> Any:
        return np.concatenate([self._own(a) for a in arrays], axis=axis)

    def stack(self, arrays: Any, axis: int = 0) -> Any:
        return np.stack([self._own(a) for a in arrays], axis=axis)

    def pad(self, x: Any, pad_width: Any, value: float = 0.0) -> Any:
        x = self._own(x)  # np.pad forgets its constant and wants two axes: join instead
        for axis, widths in enumerate(pad_width):
            parts = [
                np.full((*x.shape[:axis], int(n), *x.shape[axis + 1 :]), value, x.dtype, ctx=x.ctx)
                for n in widths
            ]
            if any(widths):
                x = np.concatenate([parts[0], x, parts[1]], axis=axis)
        return x

    # Look-up ----------------------------------------------------------------------------

    def take(self, x: Any, indices: Any, axis: int = 0) -> Any:
        return np.take(self._own(x), self._own(indices), axis=axis, mode="clip")

    def pick(self, x: Any, indices: Any, axis: int = -1) -> Any:
        x, indices = self._own(x), self._own(indices)
        if x.ndim == 1:  # npx.pick wants a row of indices
            return npx.pick(x.reshape(1, -1), indices.reshape(1), mode="clip").reshape(())
        return npx.pick(x, indices, axis=axis, mode="clip")

    # Probability ------------------------------------------------------------------------

    def softmax(self, x: Any, axis: int = -1) -> Any:
        return npx.softmax(self._own(x), axis=axis)

    def log_softmax(self, x: Any, axis: int = -1) -> Any:
        x = self._own(x)  # npx.log_softmax is right to 5e-6 only; its exp and log to 1e-7
        z = x - x.max(axis=axis, keepdims=True).detach() if x.size else x
        return self.subtract(z, np.log(self.sum(np.exp(z), axis=axis, keepdims=True)))

    def cross_entropy(self, logits: Any, labels: Any, mask: Any = None) -> Any:
        logits, labels = self._own(logits), self._own(labels)
        nll = -self.pick(self.log_softmax(logits), labels)
        if mask is None:
            return nll.mean()
        weight = self._own(mask).detach().astype(logits.dtype)
        return (nll * (weight / weight.sum())).sum()

    # Normalisation ----------------------------------------------------------------------

    def layer_norm(self, x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> Any:
        x, gamma, beta = (self._own(a) for a in (x, gamma, beta))
        if x.size == 0:
            return nothing(x.shape, x, gamma, beta)
        return npx.layer_norm(x, gamma, beta, axis=-1, eps=eps)

    def batch_norm(
        self, x: Any, gamma: Any, beta: Any, mean: Any = None, var: Any = None, eps: float = 1e-5
    ) -> Any:
        x, gamma, beta, mean, var = (self._own(a) for a in (x, gamma, beta, mean, var))
        given = mean is not None
        if given:
            mean, var = mean.detach(), var.detach()
            if x.size == 0:
                return nothing(x.shape, x, gamma, beta), mean, var
        else:
            with autograd.pause():  # np.var has no gradient, and none is wanted here
                per_channel = (1, -1) + (1,) * (x.ndim - 2)
                axes = (0, *range(2, x.ndim))
                mean = x.mean(axis=axes)
                var = np.square(x - mean.reshape(per_channel)).mean(axis=axes)
        with autograd.train_mode():
            y = npx.batch_norm(
                x, gamma, beta, mean.copy(), var.copy(), eps=eps, momentum=1.0, fix_gamma=False,
                use_global_stats=given, cudnn_off=eps < 1e-5,
            )  # fmt: skip
        return y, mean, var

    # Images -----------------------------------------------------------------------------

    def conv2d(self, x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0) -> Any:
        x, w, b = self._own(x), self._own(w), self._own(b)
        stride, padding = pair(stride), pair(padding)
        size = slid(x.shape, w.shape[2:], stride, padding)
        if x.size == 0 or w.size == 0:
            return self._biased((x.shape[0], w.shape[0], *size), b, x, w)
        return npx.convolution(
            x, w, b, kernel=w.shape[2:], stride=stride, pad=padding, num_filter=w.shape[0],
            no_bias=b is None,
        )  # fmt: skip

    def conv_transpose2d(
        self, x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0
    ) -> Any:
        x, w, b = self._own(x), self._own(w), self._own(b)
        stride, padding = pair(stride), pair(padding)
        if x.size == 0 or w.size == 0:
            size = enlarged(x.shape, w.shape[2:], stride, padding)
            return self._biased((x.shape[0], w.shape[1], *size), b, x, w)
        return npx.deconvolution(
            x, w, b, kernel=w.shape[2:], stride=stride, pad=padding, num_filter=w.shape[1],
            no_bias=b is None,
        )  # fmt: skip

    @staticmethod
    def _biased(shape: tuple[int, ...], b: Any, *arrays: Any) -> Any:
        """A convolution over nothing: the bias alone."""
        if b is None or 0 in shape:
            return nothing(shape, *arrays, *(() if b is None else (b,)))
        return nothing(shape, *arrays) + b.reshape((-1, 1, 1))

    def _pool(self, kind: str, x: Any, kernel_size: Any, stride: Any, padding: Any) -> Any:
        x, kernel, padding = self._own(x), pair(kernel_size), pair(padding)
        stride = kernel if stride is None else pair(stride)
        if x.size == 0:
            return nothing((*x.shape[:2], *slid(x.shape, kernel, stride, padding)), x)
        if x.grad is not None:
            x = x + 0  # on a leaf that is a slice of another array the gradient would be misplaced
        return npx.pooling(
            x, kernel=kernel, stride=stride, pad=padding, pool_type=kind, count_include_pad=True
        )

    def max_pool2d(self, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
        return self._pool("max", x, kernel_size, stride, padding)

    def avg_pool2d(self, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Any:
        return self._pool("avg", x, kernel_size, stride, padding)

    # Sequences --------------------------------------------------------------------------

    def _recurrent(self, mode: str, x: Any, states: Any, weights: Any) -> Any:
        """``npx.rnn``: time first, and all weights in one row, ours transposed."""
        x, states = self._own(x), [self._own(s) for s in states]
        w_ih, w_hh, b_ih, b_hh = (self._own(a) for a in weights)
        (batch, steps, size), hidden = x.shape, w_hh.shape[0]
        b_hh = np.zeros_like(b_ih) if b_hh is None else b_hh
        if batch == 0 or hidden == 0:  # a division by zero inside npx.rnn ends the process
            every = (x, *states, w_ih, w_hh, b_ih, b_hh)
            ends = [nothing((batch, hidden), *every) for _ in states]
            return nothing((batch, steps, hidden), *every), *ends
        if size == 0:
            x, w_ih = nothing((batch, steps, 1), x), nothing((1, w_ih.shape[1]), w_ih)
        # Where the weights want no gradient, npx.rnn computes that of the input wrongly (modes
        # rnn_tanh and gru). So they always depend on all arguments, by pieces of length 0.
        empty = [a.reshape(-1)[:0] for a in (x, *states)]
        flat = [w_ih.T.reshape(-1), w_hh.T.reshape(-1), b_ih, b_hh, *empty]
        cell = {"state_cell": states[1].reshape(1, batch, hidden)} if len(states) > 1 else {}
        y, *last = npx.rnn(
            data=x.transpose(1, 0, 2), parameters=np.concatenate(flat),
            state=states[0].reshape(1, batch, hidden), mode=mode, state_size=hidden,
            num_layers=1, state_outputs=True, **cell,
        )  # fmt: skip
        return y.transpose(1, 0, 2), *(s.reshape(batch, hidden) for s in last)

    def rnn(self, x: Any, state: Any, w_ih: Any, w_hh: Any, b: Any) -> Any:
        return self._recurrent("rnn_tanh", x, [state], (w_ih, w_hh, b, None))

    def lstm(self, x: Any, state: Any, w_ih: Any, w_hh: Any, b: Any) -> Any:
        y, h, c = self._recurrent("lstm", x, state, (w_ih, w_hh, b, None))
        return y, (h, c)

    def gru(self, x: Any, state: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
        return self._recurrent("gru", x, [state], (w_ih, w_hh, b_ih, b_hh))

    def attention(self, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        q, k, v = self._own(q), self._own(k), self._own(v)
        scores = np.matmul(q / math.sqrt(q.shape[-1]), k.swapaxes(-1, -2))  # (..., T, S)
        if mask is None:
            weights = npx.softmax(scores, axis=-1)
        else:
            mask = np.broadcast_to(self._own(mask), scores.shape)
            least = float(onp.finfo(scores.dtype).min)
            weights = npx.softmax(choose(mask, scores, least), axis=-1) * mask
        return np.matmul(weights, v), weights
