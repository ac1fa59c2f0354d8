"""LSTM, forward and backward through time: batch 64, 50 steps, 128 inputs, 128 units."""

from __future__ import annotations

import numpy as np

from benchmarks.rows import Arrays, Row, normal

N, T, C, H = 64, 50, 128, 128
NAMES = ("x", "w_ih", "w_hh", "b")


def _inputs(rng: np.random.Generator) -> Arrays:
    return {
        "x": normal(rng, N, T, C),
        "w_ih": normal(rng, C, 4 * H, scale=C**-0.5),
        "w_hh": normal(rng, H, 4 * H, scale=H**-0.5),
        "b": normal(rng, 4 * H),
        "dy": normal(rng, N, T, H),
    }


def _named(y, grads) -> Arrays:
    return {"y": y, **{f"d{n}": g for n, g in zip(NAMES, grads)}}


row = Row("LSTM 128→128, T 50, batch 64", "operator", 1.6, _inputs, "gradients of x and weights")


@row.peer("numpy")
def ours(a):
    from lepton_ref.text.lstm import _lstm

    lstm, zero = _lstm.__wrapped__, np.zeros((N, H), np.float32)
    last = {}

    def step():
        last.clear()
        outputs, vjp = lstm(a["x"], zero, zero, a["w_ih"], a["w_hh"], a["b"])
        last["y"] = outputs[0]
        last["grads"] = vjp((a["dy"], None, None), (True, False, False, True, True, True))

    return step, lambda: _named(last["y"], [last["grads"][i] for i in (0, 3, 4, 5)])


@row.peer("torch")
def torch_(a):
    import torch

    layer = torch.nn.LSTM(C, H, batch_first=True)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor(a["w_ih"].T))
        layer.weight_hh_l0.copy_(torch.tensor(a["w_hh"].T))
        layer.bias_ih_l0.copy_(torch.tensor(a["b"]))
        layer.bias_hh_l0.zero_()
    x, dy = torch.tensor(a["x"], requires_grad=True), torch.tensor(a["dy"])
    last = {}

    def step():
        last.clear()
        layer.zero_grad()
        x.grad = None
        last["y"] = layer(x)[0]
        last["y"].backward(dy)

    def result():
        g = [x.grad, layer.weight_ih_l0.grad.T, layer.weight_hh_l0.grad.T, layer.bias_ih_l0.grad]
        return _named(last["y"].detach().numpy(), [t.numpy() for t in g])

    return step, result


@row.peer("mxnet")
def mxnet_(a):
    import mxnet as mx

    zero = np.zeros(4 * H, np.float32)
    flat = np.concatenate([a["w_ih"].T.ravel(), a["w_hh"].T.ravel(), a["b"], zero])
    x = mx.np.array(a["x"].swapaxes(0, 1))  # its operator is time-major
    dy = mx.np.array(a["dy"].swapaxes(0, 1))
    weights = mx.np.array(flat)
    h, c = mx.np.zeros((1, N, H)), mx.np.zeros((1, N, H))
    for t in (x, weights):
        t.attach_grad()
    last = {}

    def step():
        last.clear()
        with mx.autograd.record():
            y = mx.npx.rnn(
                data=x, parameters=weights, state=h, state_cell=c, mode="lstm",
                state_size=H, num_layers=1,
            )  # fmt: skip
        y.backward(dy)
        last["y"] = y
        mx.npx.waitall()

    def result():
        g = weights.grad.asnumpy()
        w_ih, w_hh, b, _ = np.split(g, np.cumsum([4 * H * C, 4 * H * H, 4 * H]))
        grads = [
            x.grad.asnumpy().swapaxes(0, 1),
            w_ih.reshape(4 * H, C).T,
            w_hh.reshape(4 * H, H).T,
            b,
        ]
        return _named(last["y"].asnumpy().swapaxes(0, 1), grads)

    return step, result


@row.peer("autograd")
def autograd_(a):
    import autograd.numpy as anp
    from autograd import make_vjp

    def sigmoid(z):
        return 0.5 * (anp.tanh(0.5 * z) + 1)

    def forward(p):
        x, w_ih, w_hh, b = p
        h = c = np.zeros((N, H), np.float32)
        outputs = []
        for t in range(T):
            z = anp.dot(x[:, t], w_ih) + anp.dot(h, w_hh) + b
            i, f = sigmoid(z[:, :H]), sigmoid(z[:, H : 2 * H])
            g, o = anp.tanh(z[:, 2 * H : 3 * H]), sigmoid(z[:, 3 * H :])
            c = f * c + i * g
            h = o * anp.tanh(c)
            outputs.append(h)
        return anp.stack(outputs, axis=1)

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

    v = {k: chainer.Variable(t) for k, t in a.items() if k != "dy"}
    # Its gates come in the order a (candidate), i, f, o, interleaved unit by unit.
    order = np.arange(4 * H).reshape(4, H)[[2, 0, 1, 3]].T.ravel()
    v["w_ih"] = chainer.Variable(np.ascontiguousarray(a["w_ih"].T[order]))
    v["w_hh"] = chainer.Variable(np.ascontiguousarray(a["w_hh"].T[order]))
    v["b"] = chainer.Variable(a["b"][order])
    zero = np.zeros((N, H), np.float32)
    last = {}

    def step():
        last.clear()
        for n in NAMES:
            v[n].cleargrad()
        from_x = F.linear(v["x"], v["w_ih"], v["b"], n_batch_axes=2)
        h, c = chainer.Variable(zero), chainer.Variable(zero)
        outputs = []
        for z in F.separate(from_x, axis=1):
            c, h = F.lstm(c, z + F.linear(h, v["w_hh"]))
            outputs.append(h)
        y = last["y"] = F.stack(outputs, axis=1)
        y.grad = a["dy"]
        y.backward()

    def result():
        back = np.argsort(order)
        grads = [v["x"].grad, v["w_ih"].grad[back].T, v["w_hh"].grad[back].T, v["b"].grad[back]]
        return _named(last["y"].array, grads)

    return step, result


@row.peer("numpy-ml")
def numpy_ml(a):
    from numpy_ml.neural_nets.layers import LSTMCell

    # Its LSTM layer, a loop over this cell, cannot be constructed; so the loop stands here.
    cell = LSTMCell(n_out=H)
    cell.n_in = C
    cell._init_params()
    gates = {"u": 0, "f": 1, "c": 2, "o": 3}  # its names of i, f, g, o
    for name, k in gates.items():
        at = slice(k * H, (k + 1) * H)
        cell.parameters[f"W{name}"] = np.vstack([a["w_hh"][:, at], a["w_ih"][:, at]])
        cell.parameters[f"b{name}"] = a["b"][None, at]
    last = {}

    def step():
        last.clear()
        cell.flush_gradients()
        # flush_gradients leaves empty lists where backward wants None.
        cell.derived_variables |= {"dLdA_accumulator": None, "dLdC_accumulator": None}
        last["y"] = np.stack([cell.forward(a["x"][:, t])[0] for t in range(T)], axis=1)
        dx = [cell.backward(a["dy"][:, t]) for t in reversed(range(T))]
        last["dx"] = np.stack(dx[::-1], axis=1)

    def result():
        w = np.hstack([cell.gradients[f"W{name}"] for name in gates])
        b = np.hstack([cell.gradients[f"b{name}"] for name in gates]).ravel()
        return _named(last["y"], [last["dx"], w[H:], w[:H], b])

    return step, result


ROWS = [row]
