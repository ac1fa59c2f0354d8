"""Whole training steps: forward, loss, backward, SGD with momentum, as a user writes them.

Ours runs on the tape with the package's layers and optimizer; the others with theirs.
"""

from __future__ import annotations

import numpy as np

from benchmarks.framework import bench_layers
from benchmarks.rows import Arrays, Row, normal

RATE, MOMENTUM = 0.01, 0.9


def _ours(model, weights, a, head=lambda y: y):
    """The step of one of our models, started from ``weights`` in the order of its parameters."""
    import lepton_ref
    from lepton_ref.framework.losses import cross_entropy
    from lepton_ref.framework.optimizers import SGD

    E = lepton_ref.engine("numpy")
    params = model.parameters()
    model.load_state({n: w.reshape(params[n].shape) for n, w in zip(params, weights)})
    optimizer, last = SGD(RATE, momentum=MOMENTUM), {}
    rng = np.random.default_rng(0)

    def loss(p):
        return cross_entropy(head(model.apply(p, a["x"], rng)), a["labels"])

    run = E.value_and_grad(loss)

    def step():
        last.clear()
        params = model.parameters()
        last["loss"], grads = run(params)
        optimizer.step(params, grads)

    return step, lambda: {"loss": last["loss"], **_numbered(model.parameters().values())}


def _torch(model, a, names_back, head=lambda y: y):
    import torch

    x, labels = torch.tensor(a["x"]), torch.tensor(a["labels"])
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    last = {}

    def step():
        last.clear()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(head(model(x)), labels)
        loss.backward()
        optimizer.step()
        last["loss"] = loss.detach().numpy()

    def result():
        return {"loss": last["loss"], **_numbered(names_back(model))}

    return step, result


def _chainer(params, forward, a):
    import chainer
    import chainer.functions as F

    link = chainer.Link()
    with link.init_scope():
        for i, p in enumerate(params):
            setattr(link, f"p{i}", chainer.Parameter(np.ascontiguousarray(p)))
    p = [getattr(link, f"p{i}") for i in range(len(params))]
    optimizer = chainer.optimizers.MomentumSGD(lr=RATE, momentum=MOMENTUM).setup(link)
    labels, last = a["labels"].astype(np.int32), {}

    def step():
        last.clear()
        link.cleargrads()
        loss = F.softmax_cross_entropy(forward(p, a["x"]), labels)
        loss.backward()
        optimizer.update()
        last["loss"] = loss.array

    return step, lambda: (last["loss"], [t.array for t in p])


def _autograd(params, forward, a):
    import autograd.numpy as anp
    from autograd import value_and_grad

    params = [p.copy() for p in params]
    velocity = [np.zeros_like(p) for p in params]
    rows = np.arange(len(a["labels"]))

    def loss(p):
        z = forward(p, a["x"])
        z = z - anp.max(z, axis=1, keepdims=True)
        return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - z[rows, a["labels"]])

    last, run = {}, value_and_grad(loss)

    def step():
        last.clear()
        last["loss"], grads = run(params)
        for p, v, g in zip(params, velocity, grads):
            v *= MOMENTUM
            v += g
            p -= RATE * v

    return step, lambda: {"loss": last["loss"], **_numbered(params)}


def _numbered(arrays) -> Arrays:
    return {f"p{i}": np.asarray(p).ravel() for i, p in enumerate(arrays)}


# --- multilayer perceptron -------------------------------------------------------------

MLP = ("w1", "b1", "w2", "b2")
mlp = Row("MLP 784-256-10, batch 128", "training step", 1.3, bench_layers.inputs)


@mlp.peer("numpy")
def mlp_ours(a):
    from lepton_ref.framework.layers import Dense, ReLU, Sequential

    rng = np.random.default_rng(0)
    model = Sequential(Dense(784, 256, rng=rng), ReLU(), Dense(256, 10, rng=rng))
    return _ours(model, [a[n] for n in MLP], a)


@mlp.peer("torch")
def mlp_torch(a):
    model = bench_layers.torch_model(a)
    return _torch(model, a, lambda m: [p.detach().numpy().T for p in m.parameters()])


@mlp.peer("autograd")
def mlp_autograd(a):
    import autograd.numpy as anp

    def forward(p, x):
        return anp.dot(anp.maximum(anp.dot(x, p[0]) + p[1], 0), p[2]) + p[3]

    return _autograd([a[n] for n in MLP], forward, a)


@mlp.peer("chainer")
def mlp_chainer(a):
    import chainer.functions as F

    def forward(p, x):
        return F.linear(F.relu(F.linear(x, p[0], p[1])), p[2], p[3])

    step, result = _chainer([a[n].T for n in MLP], forward, a)
    return step, lambda: {"loss": result()[0], **_numbered(p.T for p in result()[1])}


# --- convolutional network -------------------------------------------------------------

CNN = ("w1", "b1", "w2", "b2", "w3", "b3")


def _cnn_inputs(rng: np.random.Generator) -> Arrays:
    return {
        "x": normal(rng, 64, 1, 28, 28),
        "labels": rng.integers(0, 10, 64),
        "w1": normal(rng, 32, 1, 3, 3, scale=1 / 3),
        "b1": normal(rng, 32, scale=0.1),
        "w2": normal(rng, 64, 32, 3, 3, scale=288**-0.5),
        "b2": normal(rng, 64, scale=0.1),
        "w3": normal(rng, 64 * 7 * 7, 10, scale=3136**-0.5),
        "b3": normal(rng, 10, scale=0.1),
    }


cnn = Row(
    "CNN conv 32, pool, conv 64, pool, dense 10; 28×28, batch 64",
    "training step", 2.1, _cnn_inputs, "3×3 kernels, padding 1, ReLU, 2×2 max-pooling",
)  # fmt: skip


@cnn.peer("numpy")
def cnn_ours(a):
    from lepton_ref.framework.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU, Sequential

    rng = np.random.default_rng(0)
    model = Sequential(
        Conv2d(1, 32, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2),
        Conv2d(32, 64, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2),
        Flatten(), Dense(64 * 7 * 7, 10, rng=rng),
    )  # fmt: skip
    return _ours(model, [a[n] for n in CNN], a)


@cnn.peer("torch")
def cnn_torch(a):
    import torch
    from torch import nn

    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 7 * 7, 10),
    )  # fmt: skip
    with torch.no_grad():
        for p, n in zip(model.parameters(), CNN):
            p.copy_(torch.tensor(a[n].T if n == "w3" else a[n]))

    def back(m):
        found = [p.detach().numpy() for p in m.parameters()]
        found[4] = found[4].T
        return found

    return _torch(model, a, back)


@cnn.peer("chainer")
def cnn_chainer(a):
    import chainer.functions as F

    def forward(p, x):
        h = F.max_pooling_2d(F.relu(F.convolution_2d(x, p[0], p[1], pad=1)), 2)
        h = F.max_pooling_2d(F.relu(F.convolution_2d(h, p[2], p[3], pad=1)), 2)
        return F.linear(h, p[4], p[5])

    step, result = _chainer([a[n].T if n == "w3" else a[n] for n in CNN], forward, a)

    def back():
        loss, found = result()
        found[4] = found[4].T
        return {"loss": loss, **_numbered(found)}

    return step, back


# --- recurrent network -----------------------------------------------------------------

LSTM = ("w_ih", "w_hh", "b", "w", "c")


def _lstm_inputs(rng: np.random.Generator) -> Arrays:
    return {
        "x": normal(rng, 64, 50, 128),
        "labels": rng.integers(0, 10, 64),
        "w_ih": normal(rng, 128, 512, scale=128**-0.5),
        "w_hh": normal(rng, 128, 512, scale=128**-0.5),
        "b": normal(rng, 512, scale=0.1),
        "w": normal(rng, 128, 10, scale=128**-0.5),
        "c": normal(rng, 10, scale=0.1),
    }


lstm = Row(
    "LSTM 128→128, T 50, last state to dense 10; batch 64", "training step", 1.8, _lstm_inputs
)


@lstm.peer("numpy")
def lstm_ours(a):
    from lepton_ref.framework.layers import LSTM as Recurrent
    from lepton_ref.framework.layers import Dense, Layer

    class Classifier(Layer):
        def __init__(self, rng):
            super().__init__("numpy")
            self.lstm, self.dense = Recurrent(128, 128, rng=rng), Dense(128, 10, rng=rng)

        def forward(self, x, rng=None):
            outputs, _ = self.lstm(x, rng)
            return self.dense(outputs[:, -1], rng)

    return _ours(Classifier(np.random.default_rng(0)), [a[n] for n in LSTM], a)


@lstm.peer("torch")
def lstm_torch(a):
    import torch
    from torch import nn

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.dense = nn.LSTM(128, 128, batch_first=True), nn.Linear(128, 10)

        def forward(self, x):
            return self.dense(self.lstm(x)[0][:, -1])

    model = Classifier()
    with torch.no_grad():
        model.lstm.bias_hh_l0.zero_()
        model.lstm.bias_hh_l0.requires_grad_(False)  # ours has one bias
        kept = [p for p in model.parameters() if p.requires_grad]
        for p, n in zip(kept, LSTM):
            p.copy_(torch.tensor(a[n].T))
    return _torch(model, a, lambda m: [p.detach().numpy().T for p in kept])


@lstm.peer("autograd")
def lstm_autograd(a):
    import autograd.numpy as anp

    def sigmoid(z):
        return 0.5 * (anp.tanh(0.5 * z) + 1)

    def forward(p, x):
        w_ih, w_hh, b, w, c0 = p
        h = c = np.zeros((64, 128), np.float32)
        for t in range(50):
            z = anp.dot(x[:, t], w_ih) + anp.dot(h, w_hh) + b
            i, f = sigmoid(z[:, :128]), sigmoid(z[:, 128:256])
            g, o = anp.tanh(z[:, 256:384]), sigmoid(z[:, 384:])
            c = f * c + i * g
            h = o * anp.tanh(c)
        return anp.dot(h, w) + c0

    return _autograd([a[n] for n in LSTM], forward, a)


ROWS = [mlp, cnn, lstm]
