"""Monitors and the trap: what they see, on every engine, and that they change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError, NonFiniteError
from lepton_ref.framework.evaluation import (
    ActivationMonitor,
    GradientMonitor,
    NonFiniteTrap,
    TrappedError,
)
from lepton_ref.framework.layers import LSTM, Dense, Dropout, Embedding, Layer, ReLU, Sequential
from tests.numeric import relative_error

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture
def net(engine, rng) -> Sequential:
    return Sequential(Dense(4, 8, rng=rng), ReLU(), Dense(8, 3, rng=rng))


@pytest.fixture
def batch(engine, rng):
    return engine.array(rng.normal(size=(6, 4))), engine.array(np.array([0, 1, 2, 0, 1, 2]))


def loss_of(engine, net, batch, rng=None):
    x, labels = batch
    return lambda params: engine.cross_entropy(net.apply(params, x, rng), labels)


class Apply(Layer):
    """A layer from a function of (engine, x)."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x, rng=None):
        return self.function(self.E, x)


# --- monitors ------------------------------------------------------------------------------


def test_activation_statistics_are_those_of_the_outputs(engine, net, batch) -> None:
    x = batch[0]
    hidden = np.maximum(engine.asnumpy(net[0](x)), 0)
    with ActivationMonitor(net) as monitor:
        net(x)
        net.apply(net.parameters(), x)
    net(x)  # outside of the block: not recorded
    assert monitor.steps == [1, 2] and monitor.names() == ["0", "1", "2"]
    assert monitor.series("1", "mean") == pytest.approx([hidden.mean()] * 2, rel=1e-5)
    assert monitor.series("1", "std") == pytest.approx([hidden.std()] * 2, rel=1e-5)
    assert monitor.series("1", "max_abs")[0] == pytest.approx(hidden.max(), rel=1e-6)
    assert monitor.series("1", "zeros")[0] == np.mean(hidden == 0)
    assert monitor.series("1", "dead")[0] == np.mean(np.all(hidden == 0, axis=0))
    assert monitor.matrix("std").shape == (2, 3)


def test_watching_a_traced_step_changes_nothing(engine, net, batch) -> None:
    f = engine.value_and_grad(loss_of(engine, net, batch))
    value, grads = f(net.parameters())
    with ActivationMonitor(net, every=2) as monitor:
        for _ in range(5):
            watched, seen = f(net.parameters())
    assert monitor.steps == [2, 4]
    assert float(watched) == float(value)
    for name in grads:
        assert np.array_equal(engine.asnumpy(grads[name]), engine.asnumpy(seen[name]))


def test_a_lone_layer_and_one_with_several_outputs(engine, rng) -> None:
    dense = Dense(3, 5, rng=rng)
    with ActivationMonitor(dense) as monitor:
        dense(engine.array(rng.normal(size=(2, 3))))
    assert monitor.names() == ["Dense"]
    pair = Apply(lambda E, x: (x, (x * 2.0, x)))
    with ActivationMonitor(pair) as monitor:
        pair(engine.array(np.ones((2, 3))))
    assert monitor.series("Apply", "mean").tolist() == [1.0]


def test_an_empty_output_has_no_statistics(engine) -> None:
    empty = Apply(lambda E, x: x)
    with ActivationMonitor(empty) as monitor, NonFiniteTrap(empty).watch():
        empty(engine.array(np.zeros((0, 3))))
    assert np.isnan(monitor.series("Apply", "mean")[0])


def test_gradient_statistics(engine, net, batch) -> None:
    params = net.parameters()
    _, grads = engine.value_and_grad(loss_of(engine, net, batch))(params)
    monitor = GradientMonitor()
    monitor.record(grads, params)
    g, w = engine.asnumpy(grads["0.weight"]), engine.asnumpy(params["0.weight"])
    assert monitor.names() == list(params)
    assert monitor.series("0.weight", "norm")[0] == pytest.approx(np.linalg.norm(g), rel=1e-6)
    assert monitor.series("0.weight", "rms")[0] == pytest.approx(np.sqrt(np.mean(g**2)), rel=1e-6)
    assert monitor.series("0.weight", "max_abs")[0] == pytest.approx(np.abs(g).max(), rel=1e-6)
    assert monitor.series("0.weight", "zeros")[0] == np.mean(g == 0)
    ratio = np.linalg.norm(g) / np.linalg.norm(w)
    assert monitor.series("0.weight", "ratio")[0] == pytest.approx(ratio, rel=1e-6)
    assert monitor.series("0.bias", "ratio")[0] == np.inf  # the bias starts at zero


def test_gradient_monitor_of_a_nest_and_every_other_step() -> None:
    monitor = GradientMonitor(every=2)
    for _ in range(4):
        monitor.record([np.ones(4), {"b": np.zeros(2)}])
    assert monitor.steps == [2, 4]
    assert monitor.series("grads[0]", "norm").tolist() == [2.0, 2.0]
    assert monitor.series("grads[1]['b']", "zeros").tolist() == [1.0, 1.0]
    assert "ratio" not in monitor.rows[0]["grads[0]"]


def test_squares_of_large_gradients_do_not_overflow() -> None:
    monitor = GradientMonitor()
    monitor.record({"w": np.full(4, 1e30, "float32")})
    assert monitor.series("w", "norm")[0] == pytest.approx(2e30, rel=1e-6)


def test_the_table_shows_the_last_step() -> None:
    monitor = GradientMonitor()
    assert monitor.table() == "nothing recorded"
    monitor.record({"weight": np.array([3.0, 4.0])})
    lines = monitor.table().splitlines()
    assert lines[0].split() == ["step", "1", "norm", "rms", "max_abs", "zeros"]
    assert lines[1].split() == ["weight", "5", "3.54", "4", "0"]


def test_bad_requests_of_monitors(engine, net) -> None:
    with pytest.raises(ArgumentError, match="argument `every`"):
        ActivationMonitor(net, every=0)
    monitor = GradientMonitor()
    monitor.record({"w": np.ones(2)})
    with pytest.raises(ArgumentError, match="norm or rms or zeros"):
        monitor.series("w", "median")
    with pytest.raises(ArgumentError, match="the value 'v'; expected w"):
        monitor.series("v", "norm")
    with pytest.raises(ArgumentError, match="no arrays"):
        monitor.record({})


# --- the trap: healthy steps -------------------------------------------------------------------


def test_a_healthy_step_is_the_step_without_a_trap(engine, batch, rng) -> None:
    net = Sequential(Dense(4, 8, rng=rng), Dropout(0.5), Dense(8, 3, rng=rng))
    draw = lambda: np.random.default_rng(7)
    plain = engine.value_and_grad(loss_of(engine, net, batch, draw()))(net.parameters())
    trap = NonFiniteTrap(net)
    watched = trap.value_and_grad(loss_of(engine, net, batch, draw()))(net.parameters())
    assert float(plain[0]) == float(watched[0]) and trap.step == 1
    for name in plain[1]:
        assert relative_error(plain[1][name], watched[1][name]) == 0
    assert all("forward" not in vars(layer) for _, layer in net.named_layers())


def test_auxiliary_results_pass_through(engine, net, batch) -> None:
    x, labels = batch

    def loss(params):
        logits = net.apply(params, x)
        return engine.cross_entropy(logits, labels), logits

    (_, logits), _ = NonFiniteTrap(net).value_and_grad(loss, has_aux=True)(net.parameters())
    assert tuple(logits.shape) == (6, 3)


def test_integers_and_several_outputs_pass_through(engine, rng) -> None:
    class Reader(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lstm = Embedding(9, 4, rng=rng), LSTM(4, 5, rng=rng)

        def forward(self, x, rng=None):
            outputs, _ = self.lstm(self.embed(x))
            return outputs

    reader = Reader()
    words = engine.array(np.array([[1, 2, 3]]))
    loss = lambda p: engine.sum(engine.sqrt(reader.apply(p, words) * 0.0))
    with pytest.raises(TrappedError, match="backward: the loss function made"):
        NonFiniteTrap(reader).value_and_grad(loss)(reader.parameters())


# --- the trap: what it names -------------------------------------------------------------------


def trapped(net, function, params=None) -> TrappedError:
    with pytest.raises(TrappedError) as caught:
        NonFiniteTrap(net).value_and_grad(function)(params or net.parameters())
    assert isinstance(caught.value, NonFiniteError)
    assert all("forward" not in vars(layer) for _, layer in net.named_layers())
    return caught.value


def test_the_layer_that_makes_a_nan_forward(engine, batch, rng) -> None:
    log = Apply(lambda E, x: E.log(x))
    net = Sequential(Dense(4, 8, rng=rng), log, Dense(8, 3, rng=rng))
    error = trapped(net, loss_of(engine, net, batch))
    assert (error.step, error.layer, error.phase) == (1, "1", "forward")
    assert str(error).startswith("step 1: layer `1` (Apply) made ")
    assert "NaN (of 48 entries" in str(error) and "input was finite, from -" in str(error)


def test_the_innermost_layer_is_named(engine, batch, rng) -> None:
    block = Sequential(Dense(4, 4, rng=rng), Sequential(Apply(lambda E, x: E.log(x))))
    net = Sequential(block, Dense(4, 3, rng=rng))
    assert trapped(net, loss_of(engine, net, batch)).layer == "0.1.0"


def test_a_nan_made_between_layers_is_laid_at_the_door_of_the_one_around(engine, batch, rng):
    class Net(Layer):
        def __init__(self, late: bool) -> None:
            super().__init__()
            self.a, self.b, self.late = Dense(4, 4, rng=rng), Dense(4, 3, rng=rng), late

        def forward(self, x, rng=None):
            if self.late:
                return self.E.log(self.b(self.a(x)))
            return self.b(self.E.log(self.a(x)))

    for late, words in ((False, "the model (Net) made it between"), (True, "or after its layers")):
        net = Net(late)
        error = trapped(net, loss_of(engine, net, batch))
        assert (error.layer, error.phase) == ("", "forward") and words in str(error)


def test_the_input_of_the_network(engine, net, batch) -> None:
    bad = np.ones((6, 4), "float32")
    bad[2, 1] = np.nan
    error = trapped(net, loss_of(engine, net, (engine.array(bad), batch[1])))
    assert error.phase == "input"
    assert "1 NaN (of 24 entries, the first at (2, 1)): clean the data" in str(error)


def test_a_parameter_and_the_step_that_broke_it(engine, net, batch) -> None:
    step = NonFiniteTrap(net).value_and_grad(loss_of(engine, net, batch))
    params = net.parameters()
    step(params)
    engine.assign(params["2.weight"], engine.array(np.full((8, 3), np.inf)))
    with pytest.raises(TrappedError) as caught:
        step(params)
    error = caught.value
    assert (error.step, error.layer, error.phase) == (2, "2", "parameter")
    assert "`weight` of layer `2` (Dense) holds 24 inf" in str(error)
    assert "by the update after step 1" in str(error)


def test_the_loss(engine, net, batch) -> None:
    error = trapped(net, lambda p: engine.log(engine.sum(net.apply(p, batch[0])) * 0.0))
    assert error.phase == "loss" and "the loss is -inf" in str(error)


def test_the_gradient_of_the_loss(engine, net, batch) -> None:
    error = trapped(net, lambda p: engine.sum(engine.sqrt(net.apply(p, batch[0]) * 0.0)))
    assert (error.layer, error.phase) == ("", "backward") and "the loss function made" in str(error)


def root(E, x):
    """Finite forward; the gradient of the root at 0 is infinite, and times 0 it is NaN."""
    return E.sqrt(x * x)


def test_the_layer_that_makes_a_nan_backward(engine, rng, batch) -> None:
    net = Sequential(Dense(4, 8, rng=rng), Apply(root), ReLU(), Dense(8, 3, rng=rng))
    blank = engine.array(np.zeros((6, 4)))
    error = trapped(net, loss_of(engine, net, (blank, batch[1])))
    assert (error.step, error.layer, error.phase) == (1, "1", "backward")
    assert "in the gradient of its input, out of a finite gradient" in str(error)


def test_a_parameter_gradient_alone(engine, rng, batch) -> None:
    class Scale(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.add_parameter("gain", np.zeros(4))

        def forward(self, x, rng=None):
            return x + self.E.sqrt(self.gain)

    net = Sequential(Scale(), Dense(4, 3, rng=rng))
    error = trapped(net, loss_of(engine, net, batch))
    assert (error.layer, error.phase) == ("0", "backward")
    assert "in the gradient of `gain`" in str(error)


def test_a_gradient_broken_between_layers(engine, rng, batch) -> None:
    class Net(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = Dense(4, 4, rng=rng), Dense(4, 3, rng=rng)

        def forward(self, x, rng=None):
            return self.b(root(self.E, self.a(x)))

    net = Net()
    blank = engine.array(np.zeros((6, 4)))
    error = trapped(net, loss_of(engine, net, (blank, batch[1])))
    # Nothing that is a layer made it, and the network's own input needs no gradient but a probe.
    assert error.phase == "backward" and error.layer == ""


def test_the_second_run_draws_the_same_random_numbers(engine, rng, batch) -> None:
    """The culprit is active only under the dropout mask of the first run."""
    x = engine.array(np.ones((6, 4)))
    net = Sequential(Dense(4, 4, rng=rng), Dropout(0.5), Apply(root), Dense(4, 3, rng=rng))
    generator = np.random.default_rng(5)
    error = trapped(net, loss_of(engine, net, (x, batch[1]), generator))
    assert (error.layer, error.phase) == ("2", "backward")
    once = np.random.default_rng(5)
    net(x, once)
    assert generator.bit_generator.state == once.bit_generator.state


def test_watching_inference_alone(engine, net, batch) -> None:
    trap = NonFiniteTrap(net)
    with trap.watch():
        net(batch[0])
    with pytest.raises(TrappedError, match="step 2: the input of the network"), trap.watch():
        net(engine.array(np.full((1, 4), np.nan)))
    net(engine.array(np.full((1, 4), np.nan)))  # not watched: the engine's own business
