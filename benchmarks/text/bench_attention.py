"""Scaled dot-product attention, forward and backward: batch 16, 4 heads, T 64, D 32."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.rows import Arrays, Row, normal

SHAPE = (16, 4, 64, 32)
NAMES = ("q", "k", "v")


def _inputs(rng: np.random.Generator) -> Arrays:
    return {name: normal(rng, *SHAPE) for name in (*NAMES, "dy")}


def _named(y, grads) -> Arrays:
    return {"y": y, **{f"d{n}": g for n, g in zip(NAMES, grads)}}


row = Row(
    "attention, batch 16, T 64, 4 heads × 32", "operator", 1.5, _inputs, "gradients of q, k and v"
)


@row.peer("numpy")
def ours(a):
    from lepton_ref.text.attention import attention

    last = {}

    def step():
        last.clear()
        outputs, vjp = attention.__wrapped__(a["q"], a["k"], a["v"])
        last["y"] = outputs[0]
        last["grads"] = vjp((a["dy"], None), (True, True, True, False))

    return step, lambda: _named(last["y"], last["grads"])


@row.peer("torch")
def torch_(a):
    import torch
    import torch.nn.functional as F

    q, k, v = (torch.tensor(a[n], requires_grad=True) for n in NAMES)
    dy, last = torch.tensor(a["dy"]), {}

    def step():
        last.clear()
        q.grad = k.grad = v.grad = None
        last["y"] = F.scaled_dot_product_attention(q, k, v)
        last["y"].backward(dy)

    return step, lambda: _named(last["y"].detach().numpy(), [t.grad.numpy() for t in (q, k, v)])


@row.peer("mxnet")
def mxnet_(a):
    import mxnet as mx

    flat = (SHAPE[0] * SHAPE[1], *SHAPE[2:])
    q, k, v = (mx.np.array(a[n].reshape(flat)) for n in NAMES)
    dy, last = mx.np.array(a["dy"].reshape(flat)), {}
    for t in (q, k, v):
        t.attach_grad()

    def step():
        last.clear()
        with mx.autograd.record():
            scores = mx.npx.batch_dot(q, k, transpose_b=True) / math.sqrt(SHAPE[-1])
            y = mx.npx.batch_dot(mx.npx.softmax(scores, axis=-1), v)
        y.backward(dy)
        last["y"] = y
        mx.npx.waitall()

    return step, lambda: _named(
        last["y"].asnumpy().reshape(SHAPE), [t.grad.asnumpy().reshape(SHAPE) for t in (q, k, v)]
    )


@row.peer("autograd")
def autograd_(a):
    import autograd.numpy as anp
    from autograd import make_vjp

    def forward(p):
        q, k, v = p
        scores = anp.matmul(q, anp.swapaxes(k, -1, -2)) / math.sqrt(SHAPE[-1])
        e = anp.exp(scores - anp.max(scores, axis=-1, keepdims=True))
        return anp.matmul(e / anp.sum(e, axis=-1, keepdims=True), v)

    last = {}

    def step():
        last.clear()
        vjp, last["y"] = make_vjp(forward)(tuple(a[n] for n in NAMES))
        last["grads"] = vjp(a["dy"])

    return step, lambda: _named(last["y"], last["grads"])


@row.peer("chainer")
def chainer_(a):
    import chainer
    import chainer.functions as F

    q, k, v = (chainer.Variable(a[n]) for n in NAMES)
    last = {}

    def step():
        last.clear()
        for t in (q, k, v):
            t.cleargrad()
        scores = F.matmul(q, k, transb=True) / math.sqrt(SHAPE[-1])
        y = last["y"] = F.matmul(F.softmax(scores, axis=3), v)
        y.grad = a["dy"]
        y.backward()

    return step, lambda: _named(last["y"].array, [t.grad for t in (q, k, v)])


@row.peer("numpy-ml")
def numpy_ml(a):
    from numpy_ml.neural_nets.layers import DotProductAttention

    layer = DotProductAttention()
    last = {}

    def step():
        last.clear()
        layer.flush_gradients()
        layer._init_params()
        last["y"] = layer.forward(a["q"], a["k"], a["v"])
        last["grads"] = layer.backward(a["dy"])

    return step, lambda: _named(last["y"], last["grads"])


ROWS = [row]
