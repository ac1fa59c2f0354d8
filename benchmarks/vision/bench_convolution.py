"""Convolution, forward and backward: 3×3 kernels, padding 1, stride 1, batch 64, float32."""

from __future__ import annotations

import numpy as np

from benchmarks.rows import Arrays, Row, normal


def _row(name: str, C: int, O: int, size: int, bar: float, dx: bool) -> Row:
    def inputs(rng: np.random.Generator) -> Arrays:
        return {
            "x": normal(rng, 64, C, size, size),
            "w": normal(rng, O, C, 3, 3, scale=(9 * C) ** -0.5),
            "b": normal(rng, O),
            "dy": normal(rng, 64, O, size, size),
        }

    row = Row(name, "operator", bar, inputs, "3×3 kernel, padding 1")
    names = ("x", "w", "b") if dx else ("w", "b")  # what needs a gradient

    def grads(values) -> Arrays:
        return {f"d{n}": v for n, v in zip(names, values)}

    @row.peer("numpy")
    def ours(a):
        from lepton_ref.vision.convolution import conv2d

        last = {}

        def step():
            last.clear()
            y, vjp = conv2d.__wrapped__(a["x"], a["w"], a["b"], 1, 1)
            last["y"], last["grads"] = y, vjp(a["dy"], (dx, True, True))

        return step, lambda: {"y": last["y"], **grads(last["grads"][-len(names) :])}

    @row.peer("torch")
    def torch_(a):
        import torch

        layer = torch.nn.Conv2d(C, O, 3, padding=1)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(a["w"]))
            layer.bias.copy_(torch.tensor(a["b"]))
        x, dy = torch.tensor(a["x"], requires_grad=dx), torch.tensor(a["dy"])
        last = {}

        def step():
            last.clear()
            layer.weight.grad = layer.bias.grad = x.grad = None
            last["y"] = layer(x)
            last["y"].backward(dy)

        def result():
            found = [t.grad.numpy() for t in (x, layer.weight, layer.bias)[-len(names) :]]
            return {"y": last["y"].detach().numpy(), **grads(found)}

        return step, result

    @row.peer("mxnet")
    def mxnet_(a):
        import mxnet as mx

        t = {k: mx.np.array(v) for k, v in a.items()}
        for n in names:
            t[n].attach_grad()
        last = {}

        def step():
            last.clear()
            with mx.autograd.record():
                y = mx.npx.convolution(
                    t["x"], t["w"], t["b"], kernel=(3, 3), pad=(1, 1), num_filter=O
                )
            y.backward(t["dy"])
            last["y"] = y
            mx.npx.waitall()

        return step, lambda: {
            "y": last["y"].asnumpy(),
            **grads([t[n].grad.asnumpy() for n in names]),
        }

    @row.peer("autograd")
    def autograd_(a):
        import autograd.numpy as anp
        from autograd import make_vjp
        from autograd.scipy.signal import convolve

        def forward(wrt):
            p = {**a, **dict(zip(names, wrt))}
            x = anp.pad(p["x"], ((0, 0), (0, 0), (1, 1), (1, 1)), "constant")
            flipped = p["w"][:, :, ::-1, ::-1]
            y = convolve(x, flipped, axes=([2, 3], [2, 3]), dot_axes=([1], [1]), mode="valid")
            return y + p["b"][None, :, None, None]

        last = {}

        def step():
            last.clear()
            vjp, last["y"] = make_vjp(forward)(tuple(a[n] for n in names))
            last["grads"] = vjp(a["dy"])

        return step, lambda: {"y": last["y"], **grads(last["grads"])}

    @row.peer("chainer")
    def chainer_(a):
        import chainer
        import chainer.functions as F

        v = {k: chainer.Variable(t, requires_grad=k in names) for k, t in a.items()}
        last = {}

        def step():
            last.clear()
            for n in names:
                v[n].cleargrad()
            y = last["y"] = F.convolution_2d(v["x"], v["w"], v["b"], pad=1)
            y.grad = a["dy"]
            y.backward()

        return step, lambda: {"y": last["y"].array, **grads([v[n].grad for n in names])}

    @row.peer("numpy-ml")
    def numpy_ml(a):
        from numpy_ml.neural_nets.layers import Conv2D

        layer = Conv2D(out_ch=O, kernel_shape=(3, 3), pad=1, stride=1)
        layer.in_ch = C
        layer._init_params()
        layer.parameters = {
            "W": np.ascontiguousarray(a["w"].transpose(2, 3, 1, 0)),
            "b": a["b"].reshape(1, 1, 1, O),
        }
        x = np.ascontiguousarray(a["x"].transpose(0, 2, 3, 1))
        dy = np.ascontiguousarray(a["dy"].transpose(0, 2, 3, 1))
        last = {}

        def step():
            last.clear()
            layer.flush_gradients()
            layer.X = []
            last["y"] = layer.forward(x)
            last["dx"] = layer.backward(dy)

        def result():
            found = {
                "x": np.asarray(last["dx"]).transpose(0, 3, 1, 2),
                "w": layer.gradients["W"].transpose(3, 2, 0, 1),
                "b": layer.gradients["b"].ravel(),
            }
            return {"y": last["y"].transpose(0, 3, 1, 2), **grads([found[n] for n in names])}

        return step, result

    return row


ROWS = [
    _row("convolution 1→32, 28×28, no dx", 1, 32, 28, bar=1.0, dx=False),
    _row("convolution 32→64, 14×14", 32, 64, 14, bar=1.9, dx=True),
]
