"""Proofs of the page framework/training, and the loop's own behaviour."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError, DataError, NonFiniteError
from lepton_ref.framework.evaluation import accuracy
from lepton_ref.framework.layers import BatchNorm, Dense, Dropout, Layer, ReLU, Sequential
from lepton_ref.framework.losses import cross_entropy, squared_error
from lepton_ref.framework.optimizers import SGD, Adam, cosine
from lepton_ref.framework.training import (
    Callback,
    Checkpoint,
    EarlyStopping,
    History,
    cross_validate,
    evaluate,
    fit,
)


class Linear(Layer):
    """y = X θ, in float64, starting at zero."""

    def __init__(self, size, engine=None):
        super().__init__(engine)
        self.add_parameter("theta", np.zeros((size, 1)))
        self.astype("float64")

    def forward(self, x, rng=None):
        return x @ self.theta


def half_squares(prediction, target):
    return 0.5 * squared_error(prediction, target)


def regression(rng, n=24, d=3, noise=0.5, least=0.3):
    x = rng.standard_normal((n, d)) * np.geomspace(1.0, least, d)
    return x, x @ rng.standard_normal((d, 1)) + noise * rng.standard_normal((n, 1))


def blobs(rng, n=120, classes=3):
    """Points around the corners of a triangle."""
    y = rng.integers(0, classes, n)
    angle = 2 * np.pi * y / classes
    x = 1.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.7 * rng.standard_normal((n, 2))
    return x.astype(np.float32), y


def network(seed=0, rate=0.0, engine=None):
    rng = np.random.default_rng(seed)
    layers = [Dense(2, 16, rng=rng), ReLU(), Dense(16, 3, rng=rng)]
    return Sequential(*layers[:2], *([Dropout(rate)] if rate else []), layers[2])


def quick(model, data, optimizer=None, epochs=2, seed=0, **settings):
    settings = {"batch_size": 16, "progress": False} | settings
    rng = np.random.default_rng(seed)
    return fit(model, cross_entropy, data, optimizer or SGD(0.1), epochs, rng=rng, **settings)


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


# ---------------------------------------------------------------- mini-batch gradients


def row_gradients(rng, engine, n=6):
    """The gradient of each row's loss by the engine, (n, 3), at a random θ."""
    x, y = regression(rng, n)
    model = Linear(3)
    params = {"theta": engine.parameter(rng.standard_normal((3, 1)), dtype="float64")}

    def gradient(rows):
        batch = [engine.array(a[list(rows)], dtype="float64") for a in (x, y)]
        loss = lambda p: half_squares(model.apply(p, batch[0]), batch[1])
        return engine.asnumpy(engine.value_and_grad(loss)(params)[1]["theta"])[:, 0]

    return gradient, np.array([gradient([i]) for i in range(n)])


@pytest.mark.equation("training-minibatch-unbiased", "training-minibatch-variance")
def test_batches_with_replacement(engine, prove, rng):
    """Every one of the 6² batches of two rows, by the engine's own batch gradient."""
    gradient, rows = row_gradients(rng, engine)
    g = rows.mean(axis=0)
    variance = np.sum((rows - g) ** 2, axis=1).mean()
    drawn = np.array([gradient(b) for b in itertools.product(range(6), repeat=2)])
    error = np.sum((drawn - g) ** 2, axis=1).mean()
    where = {"oracle": "all batches enumerated", "engine": engine.name}
    prove(g, drawn.mean(axis=0), label="training-minibatch-unbiased", **where)
    prove(variance / 2, error, label="training-minibatch-variance", **where)


@pytest.mark.equation("training-minibatch-without")
@pytest.mark.parametrize("size", [1, 2, 4])
def test_batches_without_replacement(engine, prove, rng, size):
    gradient, rows = row_gradients(rng, engine)
    g, n = rows.mean(axis=0), 6
    variance = np.sum((rows - g) ** 2, axis=1).mean()
    drawn = np.array([gradient(b) for b in itertools.combinations(range(n), size)])
    error = np.sum((drawn - g) ** 2, axis=1).mean()
    said = variance / size * (n - size) / (n - 1)
    prove(said, error, oracle="all batches enumerated", engine=engine.name)


# ------------------------------------------------------------- penalties and stopping


def trained(engine, x, y, epochs, lr, l2=0.0):
    """θ after full-batch descent by `fit`, (d,)."""
    model = Linear(x.shape[1])
    fit(model, half_squares, (x, y), SGD(lr), epochs, rng=np.random.default_rng(0),
        batch_size=len(x), l2=l2, progress=False)
    return model.state()["theta"][:, 0]


def eigen(x, y):
    h, q = np.linalg.eigh(x.T @ x / len(x))
    return h, q, np.linalg.lstsq(x, y[:, 0], rcond=None)[0]


@pytest.mark.equation("training-l2-shrinkage")
def test_the_penalty_is_a_filter(engine, prove, rng):
    x, y = regression(rng, least=0.8)
    h, q, best = eigen(x, y)
    strength = 0.3
    theta = trained(engine, x, y, 60, lr=1 / (h.max() + strength), l2=strength)
    prove(
        h / (h + strength) * (q.T @ best), q.T @ theta,
        oracle="descent to the minimum", engine=engine.name,
    )


@pytest.mark.equation("training-early-stopping")
def test_stopping_is_a_filter(engine, prove, rng):
    x, y = regression(rng)
    h, q, best = eigen(x, y)
    for steps in (1, 7, 40):
        theta = trained(engine, x, y, steps, lr=0.4)
        said = (1 - (1 - 0.4 * h) ** steps) * (q.T @ best)
        prove(said, q.T @ theta, oracle="a run stopped early", engine=engine.name)


@pytest.mark.equation("training-early-vs-l2")
def test_steps_are_an_inverse_penalty(engine, prove, rng):
    import sympy

    h, eta = sympy.symbols("h eta", positive=True)
    for steps in (1, 2, 9):
        strength = h * (1 - eta * h) ** steps / (1 - (1 - eta * h) ** steps)
        assert sympy.simplify(h / (h + strength) - 1 + (1 - eta * h) ** steps) == 0
        limit = sympy.limit(sympy.cancel(strength), h, 0).subs(eta, 0.3)
        prove(1 / (0.3 * steps), float(limit), oracle="sympy")
    x, y = regression(rng, d=1)  # one direction: the equivalent penalty reproduces the run
    curvature = float(x[:, 0] @ x[:, 0]) / len(x)
    left = (1 - 0.3 * curvature) ** 10
    strength = curvature * left / (1 - left)
    penalised = trained(engine, x, y, 12, lr=0.9 / (curvature + strength), l2=strength)
    prove(penalised, trained(engine, x, y, 10, lr=0.3), oracle="two runs", engine=engine.name)


@pytest.mark.equation("training-effective-parameters")
def test_effective_parameters(prove, rng):
    """The trace, entry by entry: how much a fitted value moves with its own target."""
    from tests.numeric import numerical_gradient

    x, y = regression(rng, n=10)
    h, strength = np.linalg.eigvalsh(x.T @ x / 10), 0.2

    def fitted(targets):
        return x @ np.linalg.solve(x.T @ x / 10 + strength * np.eye(3), x.T @ targets / 10)

    trace = sum(
        numerical_gradient(lambda t, i=i: fitted(t)[i], y[:, 0])[i] for i in range(10)
    )
    prove(np.sum(h / (h + strength)), trace, oracle="finite differences")


# ------------------------------------------------------------------- cross-validation


@pytest.mark.equation("training-leave-one-out", "training-cross-validation")
def test_leave_one_out_has_a_closed_form(engine, prove, rng):
    """cross_validate with k = n, each model trained to its minimum, against one fit."""
    x, y = regression(rng, n=6, d=1)
    hat = x @ np.linalg.solve(x.T @ x, x.T)
    closed = ((y - hat @ y) / (1 - np.diag(hat)[:, None]))[:, 0] ** 2
    found = cross_validate(
        lambda r: Linear(1), squared_error, (x, y), lambda: SGD(0.5 / np.mean(x**2)), 25,
        rng=np.random.default_rng(1), k=6, batch_size=5, progress=False,
    )
    where = {"oracle": "n models trained", "engine": engine.name, "tol": 1e-6}
    prove(np.sort(closed), np.sort(found.scores["loss"]), label="training-leave-one-out", **where)
    prove(closed.mean(), found.mean(), label="training-cross-validation", **where)


@pytest.mark.equation("training-cross-validation")
def test_folds_of_different_sizes_weigh_by_their_rows(prove, rng):
    """3 folds of 10 rows, scored by hand with models trained by hand on the same folds."""
    from lepton_ref.framework.data import k_fold

    x, y = regression(rng, n=10, d=2, least=1.0)
    found = cross_validate(
        lambda r: Linear(2), squared_error, (x, y), lambda: SGD(0.4), 200,
        rng=np.random.default_rng(1), k=3, batch_size=10, progress=False,
    )
    losses = []
    for train, unseen in k_fold(10, 3, np.random.default_rng(1)):
        theta = np.linalg.lstsq(x[train], y[train], rcond=None)[0]
        losses += list((y[unseen] - x[unseen] @ theta)[:, 0] ** 2)
    prove(np.mean(losses), found.mean(), oracle="least squares, row by row", tol=1e-6)
    assert sorted(found.sizes) == [3, 3, 4] and len(found.histories) == 3
    assert found.standard_error() == pytest.approx(found.spread() / 3**0.5)


def test_cross_validation_of_a_classifier(rng):
    x, y = blobs(rng, 90)
    found = cross_validate(
        lambda r: network(), cross_entropy, (x, y), lambda: Adam(0.02), 6,
        rng=np.random.default_rng(0), k=3, stratify=True, metrics={"accuracy": accuracy},
        callbacks=lambda: [EarlyStopping("train_loss", patience=1)], progress=False,
    )
    assert found.scores["accuracy"].shape == (3,) and found.mean("accuracy") > 0.7
    assert found.histories[0]["validation_accuracy"][-1] == found.scores["accuracy"][0]
    with pytest.raises(ArgumentError, match="cross_validate: argument `k` has the value 1"):
        cross_validate(lambda r: network(), cross_entropy, (x, y), lambda: SGD(0.1), 1,
                       rng=np.random.default_rng(0), k=1)  # fmt: skip


# --------------------------------------------------------------------------- the loop


def test_fit_is_the_loop_written_out(engine, rng):
    """Two epochs by hand, with the last batch smaller, agree with `fit` to the bit."""
    x, y = blobs(rng, 40)
    model, by_hand = network(rate=0.3), network(rate=0.3)
    history = quick(model, (x, y), SGD(0.1, momentum=0.9), validation=(x, y), l2=0.01)

    generator, optimizer, losses = np.random.default_rng(0), SGD(0.1, momentum=0.9), []
    params = by_hand.parameters()
    for _ in range(2):
        order = generator.permutation(40)
        for rows in (order[:16], order[16:32], order[32:]):
            batch = engine.array(x[rows]), engine.array(y[rows])

            def objective(p, batch=batch):
                loss = cross_entropy(by_hand.apply(p, batch[0], generator), batch[1])
                weights = sum(engine.sum(w * w) for k, w in p.items() if k.endswith("weight"))
                return loss + 0.005 * weights, loss

            (_, loss), grads = engine.value_and_grad(objective, has_aux=True)(params)
            optimizer.step(params, grads)
            losses.append(float(engine.asnumpy(loss)))
    np.testing.assert_allclose(history.losses, losses, rtol=1e-6)
    for name, value in by_hand.state().items():
        np.testing.assert_allclose(model.state()[name], value, rtol=1e-4, atol=1e-6)
    assert history["train_loss"][0] == pytest.approx(np.average(losses[:3], weights=[16, 16, 8]))
    figures = evaluate(model, cross_entropy, (x, y), {"accuracy": accuracy}, batch_size=7)
    assert history["validation_loss"][-1] == pytest.approx(figures["loss"], rel=1e-5)
    assert 0.3 < figures["accuracy"] <= 1.0


def test_it_learns_on_every_engine_alike(engine, rng):
    x, y = blobs(rng)
    model = network()
    history = quick(
        model, (x, y), Adam(cosine(0.05, 40, warmup=4)), epochs=5, validation=(x, y),
        metrics={"accuracy": accuracy}, clip_norm=1.0,
    )
    assert history["validation_accuracy"][-1] > 0.85
    assert history["train_loss"][-1] < history["train_loss"][0]
    assert len(history.losses) == len(history.norms) == 40 and min(history.norms) > 0
    assert history["lr"][-1] == cosine(0.05, 40, warmup=4)(39)
    with lepton_ref.use("numpy"):
        reference = quick(network(), (x, y), Adam(cosine(0.05, 40, warmup=4)), 5, clip_norm=1.0)
    np.testing.assert_allclose(history.losses, reference.losses, rtol=2e-3)


def test_the_model_brings_its_engine(engine, rng):
    model = network()
    with lepton_ref.use("numpy"):  # another engine is active meanwhile
        quick(model, blobs(rng), epochs=1)
        assert lepton_ref.engine().name == "numpy"
    assert model.E.name == engine.name


def test_clipping_bounds_the_step(rng):
    x, y = blobs(rng, 32)
    model = network()
    before = model.state()
    history = quick(model, (x, y), SGD(1.0), epochs=1, batch_size=32, clip_norm=0.01)
    moved = sum(np.sum((model.state()[k] - v) ** 2.0) for k, v in before.items()) ** 0.5
    assert moved == pytest.approx(0.01, rel=1e-3) and history.norms[0] > 0.01


def test_augmentation_sees_each_batch(rng):
    seen = []

    def shift(x, generator):
        seen.append(x.shape)
        return x + generator.normal(size=x.shape).astype(np.float32)

    data = blobs(rng, 40)
    one, other = network(), network()
    quick(one, data, augment=shift, drop_last=True)
    quick(other, data)
    assert seen == [(16, 2)] * 4 and not same(one.state(), other.state())


def test_masks_go_to_the_loss(rng):
    x, y = blobs(rng, 40)
    mask = np.ones(40)
    mask[20:] = 0.0
    y_spoilt = np.where(mask == 1, y, (y + 1) % 3)
    one, other = network(), network()
    quick(one, (x, y, mask), batch_size=40)
    quick(other, (x, y_spoilt, mask), batch_size=40)
    assert same(one.state(), other.state())


def test_running_statistics_move_in_training_only(rng):
    x, y = blobs(rng, 64)
    seeded = np.random.default_rng(0)
    model = Sequential(Dense(2, 8, rng=seeded), BatchNorm(8), ReLU(), Dense(8, 3, rng=seeded))
    before = {k: np.array(v) for k, v in model.buffers().items()}
    evaluate(model, cross_entropy, (x, y))
    assert same(before, {k: np.array(v) for k, v in model.buffers().items()})
    quick(model, (x, y))
    assert not same(before, {k: np.array(v) for k, v in model.buffers().items()})


def test_callbacks_are_called_in_their_places(rng):
    calls = []

    class Spy(Callback):
        def on_start(self, run):
            calls.append(("start", run.steps_per_epoch, run.validated))

        def on_step(self, run):
            calls.append(("step", run.step_in_epoch))

        def on_epoch(self, run):
            calls.append(("epoch", run.epoch))
            if run.epoch == 2:
                run.stop("enough")

        def on_end(self, run):
            calls.append(("end", len(run.history)))

    history = quick(network(), blobs(rng, 32), epochs=5, callbacks=[Spy(), Callback()])
    one = [("step", 1), ("step", 2)]
    assert calls == [
        ("start", 2, False), *one, ("epoch", 1), *one, ("epoch", 2), ("end", 2)
    ]  # fmt: skip
    assert history.stopped == "enough" and "enough" in str(history)


def test_early_stopping_restores_the_best(engine, rng):
    """A rate that is far too large after epoch 3: the weights of epoch 3 come back."""
    x, y = blobs(rng, 64)
    rate = lambda step: 0.1 if step < 12 else 30.0
    model, stopping, kept = network(), EarlyStopping(patience=2), {}

    class Keep(Callback):
        def on_epoch(self, run):
            kept[run.epoch] = run.model.state()

    history = quick(model, (x, y), SGD(rate), 20, validation=(x, y), callbacks=[stopping, Keep()])
    best = int(np.argmin(history["validation_loss"])) + 1
    assert stopping.best_epoch == best < len(history) == best + 2
    assert stopping.best == history["validation_loss"].min()
    assert same(model.state(), kept[best]) and "stopped after" in history.stopped


def test_early_stopping_upwards_and_without_restoring(rng):
    x, y = blobs(rng, 64)
    stopping = EarlyStopping("validation_accuracy", patience=1, mode="max", restore_best=False)
    model, last = network(), {}

    class Keep(Callback):
        def on_epoch(self, run):
            last.update(run.model.state())

    history = quick(
        model, (x, y), SGD(0.3), 30, validation=(x, y), metrics={"accuracy": accuracy},
        callbacks=[stopping, Keep()],
    )
    assert stopping.best == history["validation_accuracy"].max() and same(model.state(), last)


def test_the_bar_counts_to_the_end(rng, capsys):
    quick(network(), blobs(rng, 32), progress=True)
    shown = capsys.readouterr()
    assert "4/4" in shown.err and "train_loss" in shown.err and shown.out == ""
    quick(network(), blobs(rng, 32), progress=False)
    assert capsys.readouterr().err == ""


def test_history_reads_like_a_table(rng):
    assert str(History()) == "no epoch yet"
    with pytest.raises(KeyError, match="no epoch has ended"):
        History()["train_loss"]
    history = quick(network(), blobs(rng, 32))
    with pytest.raises(KeyError, match="there are epoch, lr, train_loss"):
        history["validation_loss"]
    lines = str(history).splitlines()
    assert lines[0].split() == ["epoch", "lr", "train_loss"] and len(lines) == 3
    assert lines[1].split()[:2] == ["1", "0.1000"]


# -------------------------------------------------------------------------- bad input


def spoilt(array, index, value):
    array = array.copy()
    array[index] = value
    return array


BAD = {
    "NaN": (lambda x, y: {"data": (spoilt(x, (5, 1), np.nan), y)},
            DataError, r"fit: data\[0\]: 1 of 64 entries are not finite.*\(5, 1\)"),
    "infinite": (lambda x, y: {"validation": (spoilt(x, 0, np.inf), y)},
                 DataError, r"validation\[0\]: 2 of 64"),
    "label above": (lambda x, y: {"data": (x, spoilt(y, 7, 3))},
                    DataError, r"1 of 32 labels are out of range, the first is 3 .*\(7,\).*0\.\.2"),
    "label below": (lambda x, y: {"validation": (x, spoilt(y, 0, -1))},
                    DataError, r"validation\[1\].* the first is -1"),
    "empty": (lambda x, y: {"data": (x[:0], y[:0])}, DataError, "`data` is empty: 0 rows"),
    "no validation": (lambda x, y: {"validation": (x[:0], y[:0])}, DataError,
                      "`validation` is empty"),
    "lengths": (lambda x, y: {"data": (x, y[:-1])}, ArgumentError,
                r"`data\[1\]` has 31 rows; expected 32 rows"),
    "no tuple": (lambda x, y: {"data": x}, ArgumentError, "`data` has ndarray; expected a tuple"),
    "one array": (lambda x, y: {"data": (x,)}, ArgumentError, "`data` has 1 arrays"),
    "list": (lambda x, y: {"data": (x.tolist(), y)}, ArgumentError, r"`data\[0\]` has type list"),
    "scalar": (lambda x, y: {"data": (np.array(1.0), y)}, ArgumentError, r"has shape \(\)"),
    "pictures in bytes": (lambda x, y: {"data": (x.astype(np.uint8), y)}, ArgumentError,
                          "dtype uint8; expected float32: scale pictures"),
    "words": (lambda x, y: {"data": (x.astype(str), y)}, ArgumentError, r"`data\[0\]` has dtype"),
    "float labels": (lambda x, y: {"data": (x, y.astype(float))}, ArgumentError,
                     "labels.* has dtype float32; expected an integer"),
    "wrong width": (lambda x, y: {"data": (np.hstack([x, x]), y)}, ArgumentError, "Dense"),
    "batch size 0": (lambda x, y: {"batch_size": 0}, ArgumentError,
                     "fit: argument `batch_size` has the value 0; expected a whole number >= 1"),
    "batch size 2.5": (lambda x, y: {"batch_size": 2.5}, ArgumentError, "`batch_size`"),
    "batch size True": (lambda x, y: {"batch_size": True}, ArgumentError, "`batch_size`"),
    "no full batch": (lambda x, y: {"batch_size": 33, "drop_last": True}, ArgumentError,
                      "`batch_size` .* at most 32"),
    "no epochs": (lambda x, y: {"epochs": 0}, ArgumentError, "`epochs` has the value 0"),
    "seed for rng": (lambda x, y: {"rng": 0}, ArgumentError, "`rng` has type int"),
    "optimizer": (lambda x, y: {"optimizer": SGD}, ArgumentError, "`optimizer` has type"),
    "l2": (lambda x, y: {"l2": -0.1}, ArgumentError, "`l2` has the value -0.1"),
    "clip_norm": (lambda x, y: {"clip_norm": 0.0}, ArgumentError, "`clip_norm` has the value 0.0"),
    "loss": (lambda x, y: {"loss": "cross_entropy"}, ArgumentError, "`loss` has str"),
    "vector loss": (lambda x, y: {"loss": lambda o, t: o[:, 0]}, ArgumentError,
                    r"`loss` has a result of shape \(1,\)"),
    "metric": (lambda x, y: {"metrics": {"acc": 1}}, ArgumentError, r"metrics\['acc'\]"),
    "model": (lambda x, y: {"model": lambda x: x}, ArgumentError, "`model` .* without parameters"),
    "no parameters": (lambda x, y: {"model": Sequential(ReLU())}, ArgumentError, "no parameters"),
    "monitor": (lambda x, y: {"callbacks": [EarlyStopping()]}, ArgumentError,
                r"`monitor` .*train_loss \(give `validation`\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_before_any_step(rng, case):
    x, y = blobs(rng, 32)
    change, error, message = BAD[case]
    model = network()
    before = model.state()
    call = {
        "model": model, "loss": cross_entropy, "data": (x, y), "optimizer": SGD(0.1), "epochs": 1,
        "rng": np.random.default_rng(0), "progress": False,
    } | change(x, y)  # fmt: skip
    with pytest.raises(error, match=message):
        fit(**call)
    assert case == "monitor" or same(model.state(), before)


def test_a_broken_parameter_is_named(rng):
    model = network()
    state = model.state()
    state["layers.2.bias" if "layers.2.bias" in state else sorted(state)[0]][0] = np.nan
    model.load_state(state)
    with pytest.raises(DataError, match="parameter `.*` of the model: 1 of 3 entries|1 of"):
        quick(model, blobs(rng, 32))


def test_mixed_dtypes_are_refused(rng):
    model = network()
    next(layer for _, layer in model.named_layers() if isinstance(layer, Dense)).astype("float64")
    with pytest.raises(ArgumentError, match="dtype float32, float64; expected all float32 or all"):
        quick(model, blobs(rng, 32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(patience=0), "EarlyStopping: argument `patience`"),
        (lambda: EarlyStopping(min_delta=-1.0), "EarlyStopping: argument `min_delta`"),
        (lambda: EarlyStopping(mode="up"), "EarlyStopping: argument `mode`"),
        (lambda: Checkpoint("a", every_epochs=0), "Checkpoint: argument `every_epochs`"),
        (lambda: Checkpoint("a", every_steps=0), "Checkpoint: argument `every_steps`"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


class Fragile(Layer):
    """Passes its input on; from a given call on, makes a NaN of the first entry."""

    def __init__(self, when):
        super().__init__()
        self.calls, self.when = 0, when

    def forward(self, x, rng=None):
        self.calls += rng is not None
        return self.E.log(x - 1e9) if rng is not None and self.calls >= self.when else x


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_nan_names_the_step_and_the_layer(engine, rng):
    seeded = np.random.default_rng(0)
    model = Sequential(Dense(2, 4, rng=seeded), Fragile(when=4), Dense(4, 3, rng=seeded))
    with pytest.raises(NonFiniteError, match="epoch 2, batch 2: step 4.*Fragile"):
        quick(model, blobs(rng, 32))
    assert all(np.isfinite(v).all() for v in model.state().values())


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_a_gradient_that_is_not_finite_is_caught_at_its_step(engine, rng):
    """√0 has the value 0 and an infinite slope: the loss is finite, the gradient is not."""

    class Root(Layer):
        def forward(self, x, rng=None):
            return self.E.sqrt(x * 0.0)

    seeded = np.random.default_rng(0)
    model = Sequential(Dense(2, 4, rng=seeded), Root(), Dense(4, 3, rng=seeded))
    with pytest.raises(NonFiniteError, match="epoch 1, batch 1: step 1: backward.*Root"):
        quick(model, blobs(rng, 32))


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_nan_that_does_not_come_back_is_still_an_error(rng):
    calls = []

    def moody(outputs, labels):
        calls.append(1)
        return cross_entropy(outputs, labels) * (np.nan if len(calls) == 2 else 1.0)

    with pytest.raises(NonFiniteError, match="epoch 1, batch 1.*but was when the step was run"):
        fit(network(), moody, blobs(rng, 32), SGD(0.1), 1, rng=np.random.default_rng(0),
            progress=False)  # fmt: skip
