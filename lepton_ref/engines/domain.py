"""What each operator accepts, checked once for all engines before any work starts.

A check has the signature of its operator, looks only at shapes, dtypes and (for labels and
indices) ranges, and raises :class:`~lepton_ref.framework.errors.ArgumentError`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


def dtype_name(x: Any) -> str:
    """The dtype's name in NumPy's words, whichever engine the array is of."""
    return _name_of(x.dtype)


@functools.cache
def _name_of(dtype: Any) -> str:
    name = str(dtype)
    return name[6:] if name.startswith("torch.") else np.dtype(dtype).name


def host(x: Any) -> Any:
    """The values of a mask, of labels or indices, where asking about them costs least."""
    if hasattr(x, "asnumpy"):  # MXNet: one wait for all instead of one per question
        return x.asnumpy()
    return getattr(x, "value", x)  # inside a traced tensor of the NumPy engine


def shape_of(where: str, argument: str, x: Any) -> tuple[int, ...]:
    """The shape of an array, or an error when ``x`` is none."""
    if not hasattr(x, "shape"):
        raise ArgumentError(
            where, argument, f"type {type(x).__name__}", "an array of the engine: E.array(x)"
        )
    return tuple(x.shape)


def floating(where: str, **arrays: Any) -> None:
    """All of ``arrays`` are floating, and of one dtype."""
    first = None
    for argument, x in arrays.items():
        if x is None:
            continue
        shape_of(where, argument, x)
        name = dtype_name(x)
        if name not in FLOATS:
            raise ArgumentError(where, argument, f"dtype {name}", "a floating dtype (float32)")
        if first is None:
            first = argument, name
        elif name != first[1]:
            raise ArgumentError(
                where, argument, f"dtype {name}", f"{first[1]}, the dtype of `{first[0]}`"
            )


def axes(where: str, argument: str, x: Any, layout: str) -> tuple[int, ...]:
    """``x`` has as many axes as ``layout`` names, e.g. ``"N, C, H, W"``."""
    shape = shape_of(where, argument, x)
    n = layout.count(",") + 1
    if len(shape) != n:
        raise ArgumentError(where, argument, f"shape {shape}", f"{n} axes ({layout})")
    return shape


def exactly(where: str, argument: str, x: Any, shape: tuple[int, ...], meaning: str) -> None:
    """``x`` has exactly this shape."""
    got = shape_of(where, argument, x)
    if got != shape:
        raise ArgumentError(where, argument, f"shape {got}", f"{shape}: {meaning}")


def pair(where: str, argument: str, value: Any, least: int) -> tuple[int, int]:
    """One or two whole numbers, none below ``least``."""
    both = (value, value) if isinstance(value, (int, np.integer)) else value
    fits = isinstance(both, (tuple, list)) and len(both) == 2
    if not fits or any(not isinstance(v, (int, np.integer)) or v < least for v in both):
        raise ArgumentError(
            where, argument, f"the value {value!r}", f"a whole number >= {least}, or two of them"
        )
    return int(both[0]), int(both[1])


def in_range(where: str, argument: str, indices: Any, n: int) -> None:
    """Whole numbers in 0..n−1."""
    shape_of(where, argument, indices)
    name = dtype_name(indices)
    if "int" not in name:
        raise ArgumentError(where, argument, f"dtype {name}", "an integer dtype")
    if 0 in indices.shape:
        return
    indices = host(indices)
    low, high = int(indices.min()), int(indices.max())
    if low < 0 or high >= n:
        got = low if low < 0 else high
        raise ArgumentError(where, argument, f"the value {got}", f"whole numbers in 0..{n - 1}")


def _convolution(where, x, w, b, stride, padding, transposed=False):
    shape = axes(where, "x", x, "N, C, H, W")
    layout = "C, O, kh, kw" if transposed else "O, C, kh, kw"
    kernel = axes(where, "w", w, layout)
    channels, outputs = (kernel[0], kernel[1]) if transposed else (kernel[1], kernel[0])
    floating(where, x=x, w=w, b=b)
    if shape[1] != channels:
        raise ArgumentError(
            where, "w", f"shape {kernel} ({layout})", f"C = {shape[1]}, the channels of `x`"
        )
    if b is not None:
        exactly(where, "b", b, (outputs,), "one number per output channel")
    strides = pair(where, "stride", stride, 1)
    padded = pair(where, "padding", padding, 0)
    if not transposed:
        _kernel_fits(where, "w", kernel[2:], shape, padded)
        return
    for size, n, s, p, axis in zip(kernel[2:], shape[2:], strides, padded, "HW"):
        if n == 0 or s * (n - 1) + size - 2 * p < 1:
            raise ArgumentError(
                where, "padding" if n else "x", f"the value {padding!r}" if n else f"shape {shape}",
                f"an output of at least 1 along {axis}: stride * (n - 1) + kernel - 2 * padding",
            )  # fmt: skip


def _kernel_fits(where, argument, kernel, shape, padding):
    for size, n, p, axis in zip(kernel, shape[2:], padding, "HW"):
        if size > n + 2 * p:
            raise ArgumentError(
                where, argument, f"a kernel of {size} along {axis}",
                f"at most {n + 2 * p}: the input has {n} and padding adds {2 * p}",
            )  # fmt: skip


def conv2d(x, w, b=None, stride=1, padding=0):
    _convolution("conv2d", x, w, b, stride, padding)


def conv_transpose2d(x, w, b=None, stride=1, padding=0):
    _convolution("conv_transpose2d", x, w, b, stride, padding, transposed=True)


def _pooling(where, x, kernel_size, stride, padding):
    shape = axes(where, "x", x, "N, C, H, W")
    floating(where, x=x)
    kernel = pair(where, "kernel_size", kernel_size, 1)
    if stride is not None:
        pair(where, "stride", stride, 1)
    padded = pair(where, "padding", padding, 0)
    if any(2 * p > k for p, k in zip(padded, kernel)):
        raise ArgumentError(
            where,
            "padding",
            f"the value {padding!r}",
            f"at most half of kernel_size {kernel_size!r}",
        )
    _kernel_fits(where, "kernel_size", kernel, shape, padded)


def max_pool2d(x, kernel_size, stride=None, padding=0):
    _pooling("max_pool2d", x, kernel_size, stride, padding)


def avg_pool2d(x, kernel_size, stride=None, padding=0):
    _pooling("avg_pool2d", x, kernel_size, stride, padding)


def cross_entropy(logits, labels, mask=None):
    where = "cross_entropy"
    shape = shape_of(where, "logits", logits)
    floating(where, logits=logits)
    if not shape:
        raise ArgumentError(where, "logits", "shape ()", "(..., C): one logit per class, last")
    exactly(where, "labels", labels, shape[:-1], "one label for each row of logits")
    if 0 in shape:
        raise ArgumentError(where, "logits", f"shape {shape}", "at least one row and one class")
    in_range(where, "labels", labels, shape[-1])
    if mask is not None:
        exactly(where, "mask", mask, shape[:-1], "one weight for each label")
        if not float(host(mask).sum()) > 0:
            raise ArgumentError(where, "mask", "a sum of zero", "at least one label that counts")


def take(x, indices, axis=0):
    shape = shape_of("take", "x", x)
    if not -len(shape) <= axis < len(shape):
        raise ArgumentError("take", "axis", f"the value {axis}", f"an axis of shape {shape}")
    in_range("take", "indices", indices, shape[axis])


def pick(x, indices, axis=-1):
    shape = shape_of("pick", "x", x)
    if not -len(shape) <= axis < len(shape):
        raise ArgumentError("pick", "axis", f"the value {axis}", f"an axis of shape {shape}")
    at = axis % len(shape)
    exactly("pick", "indices", indices, shape[:at] + shape[at + 1 :], "`x` without `axis`")
    in_range("pick", "indices", indices, shape[axis])


def layer_norm(x, gamma, beta, eps=1e-5):
    shape = shape_of("layer_norm", "x", x)
    if not shape or shape[-1] == 0:
        raise ArgumentError("layer_norm", "x", f"shape {shape}", "at least one entry to normalise")
    floating("layer_norm", x=x, gamma=gamma, beta=beta)
    for name, value in (("gamma", gamma), ("beta", beta)):
        exactly("layer_norm", name, value, shape[-1:], "one number per entry of the last axis")


def batch_norm(x, gamma, beta, mean=None, var=None, eps=1e-5):
    where = "batch_norm"
    shape = shape_of(where, "x", x)
    if len(shape) < 2:
        raise ArgumentError(where, "x", f"shape {shape}", "at least 2 axes (N, C, ...)")
    floating(where, x=x, gamma=gamma, beta=beta, mean=mean, var=var)
    if (mean is None) != (var is None):
        raise ArgumentError(where, "var", "no partner", "mean and var together, or neither")
    for name, value in (("gamma", gamma), ("beta", beta), ("mean", mean), ("var", var)):
        if value is not None:
            exactly(where, name, value, shape[1:2], "one number per channel")
    if mean is None and 0 in shape:
        raise ArgumentError(where, "x", f"shape {shape}", "a batch to take statistics of")


def _recurrent(where, gates, x, states, w_ih, w_hh, **biases):
    n, steps, size = axes(where, "x", x, "N, T, C")
    if steps == 0:
        raise ArgumentError(where, "x", f"shape {(n, steps, size)}", "at least one time step")
    hidden = axes(where, "w_hh", w_hh, "H, gates*H")[0]
    floating(where, x=x, **states, w_ih=w_ih, w_hh=w_hh, **biases)
    exactly(where, "w_hh", w_hh, (hidden, gates * hidden), f"(H, {gates}H)")
    exactly(where, "w_ih", w_ih, (size, gates * hidden), f"(C, {gates}H)")
    for name, state in states.items():
        exactly(where, name, state, (n, hidden), "(N, H)")
    for name, bias in biases.items():
        exactly(where, name, bias, (gates * hidden,), f"({gates}H,)")


def rnn(x, state, w_ih, w_hh, b):
    _recurrent("rnn", 1, x, {"state": state}, w_ih, w_hh, b=b)


def lstm(x, state, w_ih, w_hh, b):
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise ArgumentError("lstm", "state", f"type {type(state).__name__}", "a pair (h, c)")
    _recurrent("lstm", 4, x, {"state[0]": state[0], "state[1]": state[1]}, w_ih, w_hh, b=b)


def gru(x, state, w_ih, w_hh, b_ih, b_hh):
    _recurrent("gru", 3, x, {"state": state}, w_ih, w_hh, b_ih=b_ih, b_hh=b_hh)


def attention(q, k, v, mask=None):
    where = "attention"
    queries, keys, values = (shape_of(where, n, x) for n, x in (("q", q), ("k", k), ("v", v)))
    floating(where, q=q, k=k, v=v)
    if len(queries) < 2:
        raise ArgumentError(where, "q", f"shape {queries}", "at least 2 axes (..., T, D)")
    exactly(where, "k", k, (*queries[:-2], *keys[-2:-1], queries[-1]), "the axes and D of `q`")
    exactly(where, "v", v, (*keys[:-1], *values[-1:]), "one value for each key")
    if queries[-1] == 0:
        raise ArgumentError(where, "q", f"shape {queries}", "at least one feature")
    if keys[-2] == 0:
        raise ArgumentError(where, "k", f"shape {keys}", "at least one key to attend to")
    if mask is not None:
        scores = (*queries[:-1], keys[-2])
        got = shape_of(where, "mask", mask)
        if dtype_name(mask) != "bool":
            raise ArgumentError(where, "mask", f"dtype {dtype_name(mask)}", "bool, True = attend")
        fits = len(got) <= len(scores) and all(
            a in (1, b) for a, b in zip(reversed(got), reversed(scores))
        )
        if not fits:
            raise ArgumentError(
                where, "mask", f"shape {got}", f"a shape that broadcasts to {scores}"
            )


CHECKS: dict[str, Callable[..., None]] = {
    check.__name__: check
    for check in (
        conv2d, conv_transpose2d, max_pool2d, avg_pool2d, cross_entropy, take, pick,
        layer_norm, batch_norm, rnn, lstm, gru, attention,
    )
}  # fmt: skip
