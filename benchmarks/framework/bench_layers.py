"""A two-layer perceptron 784-256-10, batch 128: forward, cross-entropy, backward on the tape."""

from __future__ import annotations

import numpy as np

from benchmarks.rows import Arrays, Row, normal

N, SIZES = 128, (784, 256, 10)
NAMES = ("w1", "b1", "w2", "b2")


def inputs(rng: np.random.Generator) -> Arrays:
    d, h, c = SIZES
    return {
        "x": normal(rng, N, d),
        "labels": rng.integers(0, c, N),
        "w1": normal(rng, d, h, scale=d**-0.5),
        "b1": normal(rng, h, scale=0.1),
        "w2": normal(rng, h, c, scale=h**-0.5),
        "b2": normal(rng, c, scale=0.1),
    }


def _named(loss, grads) -> Arrays:
    return {"loss": loss, **{f"d{n}": g for n, g in zip(NAMES, grads)}}


row = Row("MLP 784-256-10, batch 128", "operator", 1.1, inputs, "loss and gradients of the weights")


@row.peer("numpy")
def ours(a):
    import lepton_ref

    E = lepton_ref.engine("numpy")
    params, last = {n: a[n] for n in NAMES}, {}

    def loss(p):
        h = E.relu(a["x"] @ p["w1"] + p["b1"])
        return E.cross_entropy(h @ p["w2"] + p["b2"], a["labels"])

    run = E.value_and_grad(loss)

    def step():
        last.clear()
        last["loss"], last["grads"] = run(params)

    return step, lambda: _named(last["loss"], last["grads"].values())


@row.peer("torch")
def torch_(a):
    import torch

    x, labels, model = torch.tensor(a["x"]), torch.tensor(a["labels"]), torch_model(a)
    last = {}

    def step():
        last.clear()
        model.zero_grad()
        last["loss"] = torch.nn.functional.cross_entropy(model(x), labels)
        last["loss"].backward()

    def result():
        grads = [p.grad.numpy().T for p in model.parameters()]
        return _named(last["loss"].detach().numpy(), grads)

    return step, result


def torch_model(a):
    """``nn.Sequential`` with these weights; also used for the whole training step."""
    import torch

    d, h, c = SIZES
    model = torch.nn.Sequential(torch.nn.Linear(d, h), torch.nn.ReLU(), torch.nn.Linear(h, c))
    with torch.no_grad():
        for p, n in zip(model.parameters(), NAMES):
            p.copy_(torch.tensor(a[n].T))
    return model


@row.peer("mxnet")
def mxnet_(a):
    import mxnet as mx

    x, labels = mx.np.array(a["x"]), mx.np.array(a["labels"])
    w1, b1, w2, b2 = p = [mx.np.array(a[n].T) for n in NAMES]
    for t in p:
        t.attach_grad()
    entropy, last = mx.gluon.loss.SoftmaxCrossEntropyLoss(), {}

    def step():
        last.clear()
        with mx.autograd.record():
            h = mx.npx.relu(mx.npx.fully_connected(x, w1, b1, num_hidden=SIZES[1]))
            z = mx.npx.fully_connected(h, w2, b2, num_hidden=SIZES[2])
            loss = entropy(z, labels).mean()
        loss.backward()
        last["loss"] = loss
        mx.npx.waitall()

    return step, lambda: _named(last["loss"].asnumpy(), [t.grad.asnumpy().T for t in p])


@row.peer("autograd")
def autograd_(a):
    import autograd.numpy as anp
    from autograd import value_and_grad

    rows = np.arange(N)

    def loss(p):
        w1, b1, w2, b2 = p
        h = anp.maximum(anp.dot(a["x"], w1) + b1, 0)
        z = anp.dot(h, w2) + b2
        z = z - anp.max(z, axis=1, keepdims=True)
        return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - z[rows, a["labels"]])

    last, run = {}, value_and_grad(loss)

    def step():
        last.clear()
        last["loss"], last["grads"] = run([a[n] for n in NAMES])

    return step, lambda: _named(last["loss"], last["grads"])


@row.peer("chainer")
def chainer_(a):
    import chainer
    import chainer.functions as F

    w1, b1, w2, b2 = p = [chainer.Variable(np.ascontiguousarray(a[n].T)) for n in NAMES]
    labels, last = a["labels"].astype(np.int32), {}

    def step():
        last.clear()
        for t in p:
            t.cleargrad()
        h = F.relu(F.linear(a["x"], w1, b1))
        last["loss"] = F.softmax_cross_entropy(F.linear(h, w2, b2), labels)
        last["loss"].backward()

    return step, lambda: _named(last["loss"].array, [t.grad.T for t in p])


@row.peer("numpy-ml")
def numpy_ml(a):
    from numpy_ml.neural_nets.layers import FullyConnected, Softmax
    from numpy_ml.neural_nets.losses import CrossEntropy

    first, second = FullyConnected(SIZES[1], act_fn="ReLU"), FullyConnected(SIZES[2])
    softmax = Softmax()
    for layer, w, b, size in ((first, "w1", "b1", SIZES[0]), (second, "w2", "b2", SIZES[1])):
        layer.n_in = size
        layer._init_params()
        layer.parameters = {"W": a[w], "b": a[b][None]}
    onehot = np.eye(SIZES[2], dtype=np.float32)[a["labels"]]
    entropy, last = CrossEntropy(), {}

    def step():
        last.clear()
        for layer in (first, second, softmax):
            layer.flush_gradients()
        p = softmax.forward(second.forward(first.forward(a["x"])))
        last["loss"] = entropy.loss(onehot, p) / N
        first.backward(second.backward(entropy.grad(onehot, p) / N))

    def result():
        grads = [layer.gradients[n] for layer in (first, second) for n in ("W", "b")]
        return _named(last["loss"], [g.squeeze() for g in grads])

    return step, result


ROWS = [row]
