"""How layers are named, run, saved and refused; agreement of engines and with torch."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework import layers
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import (
    GRU,
    LSTM,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    LayerNorm,
    MaxPool2d,
    MultiHeadAttention,
    ReLU,
    Residual,
    RNNLayer,
    Sequential,
    build,
    describe,
)
from tests.framework.layer_tools import f64
from tests.numeric import relative_error


class Blocks(Layer):
    """A model with layers in a list, a nested one, and one used twice."""

    def __init__(self, width=4, rng=None, engine=None):
        super().__init__(engine)
        self.blocks = [Dense(width, width, rng=rng, engine=self.E) for _ in range(2)]
        self.head = Sequential(ReLU(engine=self.E), Dense(width, 3, rng=rng, engine=self.E))
        self.again = self.blocks[0]

    def forward(self, x, rng=None):
        for block in self.blocks:
            x = self.E.tanh(block(x, rng))
        return self.head(self.again(x, rng), rng)


def every_layer(rng):
    """One of each class, with an input that it takes."""
    image, row = rng.normal(size=(2, 3, 6, 6)), rng.normal(size=(2, 5))
    sequence = rng.normal(size=(2, 4, 6))
    return [
        (Dense(5, 4, rng=rng), row),
        (Dense(5, 4, bias=False, initializer="kaiming_normal", rng=rng), row),
        (Conv2d(3, 4, 3, stride=2, padding=(1, 0), rng=rng), image),
        (Conv2d(3, 4, 3, bias=False, rng=rng), image),
        (ConvTranspose2d(3, 2, 3, stride=2, padding=1, rng=rng), image),
        (ConvTranspose2d(3, 2, 3, bias=False, rng=rng), image),
        (MaxPool2d(2), image),
        (layers.AvgPool2d(3, stride=1, padding=1), image),
        (GlobalAvgPool2d(), image),
        (BatchNorm(3), image),
        (LayerNorm(6), sequence),
        (Dropout(0.5), image),
        (Embedding(5, 3, rng=rng), np.array([[0, 4], [2, 2]])),
        (RNNLayer(6, 5, rng=rng), sequence),
        (LSTM(6, 5, num_layers=2, dropout=0.2, rng=rng), sequence),
        (GRU(6, 5, num_layers=2, rng=rng), sequence),
        (MultiHeadAttention(6, 2, rng=rng), sequence),
        (layers.AdditiveAttention(6, 6, 5, rng=rng), sequence),
        (layers.AttentionPooling(6, 5, rng=rng), sequence),
        (layers.TransformerBlock(6, 2, dropout=0.2, rng=rng), sequence),
        (layers.TransformerEncoder(6, 2, 2, norm="post", causal=True, rng=rng), sequence),
        (Flatten(), image),
        (ReLU(), row),
        (layers.GELU(), row),
        (layers.Tanh(), row),
        (layers.Sigmoid(), row),
        (Sequential(Dense(5, 5, rng=rng), ReLU()), row),
        (Residual(Conv2d(3, 4, 1, rng=rng), Conv2d(3, 4, 1, rng=rng)), image),
    ]


def values(engine, y):
    parts = y if isinstance(y, (tuple, list)) else [y]
    flat = []
    for part in parts:
        flat += values(engine, part) if isinstance(part, (tuple, list)) else [engine.asnumpy(part)]
    return flat


def test_all_public_layers_are_covered(rng):
    used = {type(layer).__name__ for layer, _ in every_layer(rng)}
    assert used == {cls.__name__ for cls in layers._CLASSES}  # registered models come on top


def test_engines_start_equal_and_agree(engine):
    """One seed gives one network, whichever engine holds it."""
    with lepton_ref.use("numpy"):
        reference = every_layer(np.random.default_rng(5))
    E = lepton_ref.engine("numpy")
    for (layer, x), (ours, _) in zip(every_layer(np.random.default_rng(5)), reference, strict=True):
        state, expected = layer.state(), ours.state()
        assert state.keys() == expected.keys()
        for name, array in state.items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
        for seed in (None, 3):  # inference, then training with the same random numbers
            random = [None if seed is None else np.random.default_rng(seed) for _ in range(2)]
            found = values(engine, layer(engine.array(x), random[0]))
            wanted = values(E, ours(E.array(x), random[1]))
            for a, b in zip(found, wanted, strict=True):
                assert a.shape == b.shape and relative_error(a, b) < 1e-5, type(layer).__name__


def test_names_follow_attributes(rng):
    model = Blocks(rng=rng)
    assert list(model.parameters()) == [
        "blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias",
        "head.1.weight", "head.1.bias",
    ]  # fmt: skip
    assert [path for path, _ in model.named_layers()] == [
        "", "blocks.0", "blocks.1", "head", "head.0", "head.1",
    ]  # fmt: skip
    assert model.num_parameters == 2 * (16 + 4) + 15
    assert isinstance(model.head[1], Dense) and len(model.head) == 2


def test_apply_gives_gradients_of_all_names_and_restores(engine, rng):
    model = Blocks(rng=rng)
    before = model.state()
    x, labels = engine.array(rng.normal(size=(5, 4))), engine.array(np.array([0, 1, 2, 0, 1]))
    step = engine.value_and_grad(lambda p: engine.cross_entropy(model.apply(p, x), labels))
    first = None
    for _ in range(20):
        value, grads = step(model.parameters())
        assert grads.keys() == model.parameters().keys()
        first = float(value) if first is None else first
        for name, p in model.parameters().items():
            engine.assign(p, p - 0.3 * grads[name])
    assert float(value) < 0.7 * first
    after = model.state()
    assert all(np.abs(after[name] - before[name]).max() > 0 for name in before)


def test_apply_restores_its_arrays_after_an_error(rng):
    model = Sequential(Dense(3, 2, rng=rng))
    own = model[0].weight
    with pytest.raises(ArgumentError):
        model.apply({"0.weight": own * 2}, np.zeros((1, 9), "float32"))
    assert model[0].weight is own


def test_names_left_out_are_frozen(engine, rng):
    model = Blocks(rng=rng)
    x = engine.array(rng.normal(size=(5, 4)))
    head = {k: v for k, v in model.parameters().items() if k.startswith("head")}
    _, grads = engine.value_and_grad(lambda p: engine.sum(model.apply(p, x) ** 2))(head)
    assert set(grads) == {"head.1.weight", "head.1.bias"}
    _, full = engine.value_and_grad(lambda p: engine.sum(model.apply(p, x) ** 2))(
        model.parameters()
    )
    for name in head:
        assert relative_error(grads[name], full[name]) < 1e-6


def test_state_goes_from_engine_to_engine(engine, rng):
    source = Sequential(Dense(4, 3, rng=rng, engine="numpy"), BatchNorm(3, engine="numpy"))
    source(rng.normal(size=(6, 4)).astype("float32"), rng)
    target = Sequential(Dense(4, 3, rng=rng), BatchNorm(3))
    target.load_state(source.state())
    x = rng.normal(size=(2, 4)).astype("float32")
    assert relative_error(target(engine.array(x)), source(x)) < 1e-5
    state = target.state()
    state["0.weight"][:] = 0  # a copy: the layer keeps its own
    assert target.state()["0.weight"].any()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("0.bias"), r"no 0\.bias; expected exactly 0\.weight"),
        (lambda s: s.update(extra=np.zeros(1)), "the unknown extra"),
        (lambda s: s.update({"0.bias": np.zeros(5)}), r"`state\['0\.bias'\]` has shape \(5,\)"),
    ],
)
def test_load_state_refuses_and_changes_nothing(rng, change, match):
    model = Sequential(Dense(4, 3, rng=rng))
    before = model.state()
    other = Sequential(Dense(4, 3, rng=rng)).state()
    change(other)
    with pytest.raises(ArgumentError, match=match):
        model.load_state(other)
    np.testing.assert_array_equal(model.state()["0.weight"], before["0.weight"])


def test_config_rebuilds_every_layer(rng):
    for layer, x in every_layer(rng):
        description = json.loads(json.dumps(describe(layer)))
        twin = build(description, np.random.default_rng(9))
        assert describe(twin) == description
        twin.load_state(layer.state())
        x = x.astype("float32") if x.dtype.kind == "f" else x
        for a, b in zip(values(layer.E, twin(x)), values(layer.E, layer(x)), strict=True):
            np.testing.assert_array_equal(a, b)
        assert repr(twin).startswith(type(layer).__name__)


def test_config_refuses_what_json_cannot_hold():
    class Odd(Layer):
        def __init__(self, function, sizes=(1, 2), table=None, engine=None):
            super().__init__(engine)

    assert Odd(None, (1, np.int64(2)), {"a": 1}).config() == {
        "function": None, "sizes": [1, 2], "table": {"a": 1},
    }  # fmt: skip
    with pytest.raises(ArgumentError, match="`function` has type builtin_function_or_method"):
        Odd(len).config()
    with pytest.raises(ArgumentError, match="the class 'Odd'; expected one of Sequential"):
        build({"class": "Odd", "config": {}})
    with pytest.raises(ArgumentError, match="the unknown width; expected arguments of Dense"):
        Dense.from_config({"width": 3})


def test_a_copy_is_independent(rng):
    model = Blocks(rng=rng)
    twin = copy.deepcopy(model)
    twin.E.assign(twin.blocks[0].weight, np.zeros((4, 4), "float32"))
    assert model.blocks[0].weight.any() and twin.config() == model.config()


def test_repr_shows_shapes_and_counts(rng):
    lines = repr(Sequential(Flatten(), Dense(784, 10, rng=rng), Dropout(0.2))).splitlines()
    assert lines == [
        "Sequential()  7,850 parameters",
        "  0: Flatten()",
        "  1: Dense(in_features=784, out_features=10)  7,850 parameters: "
        "weight (784, 10), bias (10,)",
        "  2: Dropout(rate=0.2)",
    ]


def test_observe_reports_each_layer_with_its_path(engine, rng):
    model, seen = Blocks(rng=rng), []
    x = engine.array(rng.normal(size=(2, 4)))
    with model.observe(lambda path, layer, y: seen.append((path, type(layer).__name__, y.shape))):
        model(x)
    assert ("head.1", "Dense", (2, 3)) in [(p, n, tuple(s)) for p, n, s in seen]
    assert [path for path, *_ in seen].count("blocks.0") == 2  # used twice
    count = len(seen)
    model(x)
    assert len(seen) == count  # nothing is left behind


def test_inference_and_training_differ_only_by_rng(engine, rng):
    x = engine.array(rng.normal(3.0, 2.0, size=(64, 4)))
    model = Sequential(BatchNorm(4), Dropout(0.5))
    start = engine.asnumpy(model(x))
    np.testing.assert_allclose(start, engine.asnumpy(x) / np.sqrt(1 + 1e-5), rtol=1e-5)
    once = engine.asnumpy(model(x, np.random.default_rng(1)))
    assert 0.3 < (once == 0).mean() < 0.7
    later = engine.asnumpy(model(x))
    assert not np.allclose(later, start)  # the running statistics moved
    np.testing.assert_array_equal(once, engine.asnumpy(model(x, np.random.default_rng(1))))


def test_running_statistics_move_while_a_gradient_is_taken(engine, rng):
    model = Sequential(Dense(4, 3, rng=rng), BatchNorm(3))
    x, before = engine.array(rng.normal(size=(8, 4))), model.state()
    f = engine.value_and_grad(lambda p: engine.sum(engine.tanh(model.apply(p, x, rng)) ** 2))
    for _ in range(2):
        f(model.parameters())
    after = model.state()
    assert np.abs(after["1.running_mean"] - before["1.running_mean"]).max() > 1e-3
    assert np.isfinite(after["1.running_var"]).all()


# --- parity with torch.nn, weights copied ---------------------------------------------------


def load_torch(peer, layer):
    """Copy a layer's weights into the torch module of the same kind."""
    torch = pytest.importorskip("torch")
    state = {k: torch.tensor(v) for k, v in layer.state().items()}
    with torch.no_grad():
        for i in range(getattr(layer, "num_layers", 0)):
            getattr(peer, f"weight_ih_l{i}").copy_(state[f"w_ih_{i}"].T)
            getattr(peer, f"weight_hh_l{i}").copy_(state[f"w_hh_{i}"].T)
            getattr(peer, f"bias_ih_l{i}").copy_(state.get(f"b_ih_{i}", state.get(f"b_{i}")))
            getattr(peer, f"bias_hh_l{i}").copy_(
                state.get(f"b_hh_{i}", torch.zeros_like(peer.bias_hh_l0))
            )
    return peer


@pytest.mark.parametrize(("ours", "theirs"), [(RNNLayer, "RNN"), (LSTM, "LSTM"), (GRU, "GRU")])
def test_stacked_recurrent_layers_match_torch(engine, rng, ours, theirs):
    torch = pytest.importorskip("torch")
    layer, x = ours(6, 5, num_layers=2, rng=rng), rng.normal(size=(3, 4, 6)).astype("float32")
    peer = load_torch(getattr(torch.nn, theirs)(6, 5, num_layers=2, batch_first=True), layer)
    outputs, states = layer(engine.array(x))
    their_outputs, their_state = peer(torch.tensor(x))
    assert relative_error(outputs, their_outputs) < 1e-5
    for i, state in enumerate(states):
        h = state[0] if ours is LSTM else state
        their_h = their_state[0] if ours is LSTM else their_state
        assert relative_error(h, their_h[i]) < 1e-5
    first, middle = layer(engine.array(x[:, :2]))  # in two halves, the state carried over
    second, _ = layer(engine.array(x[:, 2:]), state=middle)
    halves = np.concatenate([engine.asnumpy(first), engine.asnumpy(second)], 1)
    assert relative_error(halves, outputs) < 1e-5


def test_multi_head_attention_matches_torch(engine, rng):
    torch = pytest.importorskip("torch")
    layer = MultiHeadAttention(8, 2, rng=rng)
    x = rng.normal(size=(3, 4, 8)).astype("float32")
    memory = rng.normal(size=(3, 5, 8)).astype("float32")
    mask = rng.random((3, 1, 4, 5)) > 0.4
    mask[..., 0] = True
    peer, state = torch.nn.MultiheadAttention(8, 2, batch_first=True), layer.state()
    parts = [torch.tensor(state[f"{n}.weight"]).T for n in ("query", "key", "value")]
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat(parts))
        peer.out_proj.weight.copy_(torch.tensor(state["output.weight"]).T)
    y, weights = layer(engine.array(x), memory=engine.array(memory), mask=engine.array(mask))
    their_y, their_weights = peer(
        torch.tensor(x), torch.tensor(memory), torch.tensor(memory),
        attn_mask=torch.tensor(~np.repeat(mask, 2, 1).reshape(6, 4, 5)),
        average_attn_weights=False,
    )  # fmt: skip
    assert relative_error(y, their_y) < 1e-5
    assert relative_error(weights, their_weights) < 1e-5
    assert tuple(layer(engine.array(x))[1].shape) == (3, 2, 4, 4)  # self-attention


def test_batch_norm_and_pooling_in_float64(engine, rng):
    layer = BatchNorm(3).astype("float64")
    y = layer(f64(engine, rng.normal(size=(4, 3, 2, 2))), rng)
    assert engine.asnumpy(y).dtype == np.float64
    assert {str(v.dtype) for v in layer.state().values()} == {"float64"}
    assert engine.asnumpy(Dropout(0.5)(f64(engine, np.ones(4)), rng)).dtype == np.float64
