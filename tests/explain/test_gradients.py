"""The explainers of the page explain/gradients: equations, closed forms, bad input."""

from __future__ import annotations

import numpy as np
import pytest

import lepton_ref
from lepton_ref import explain
from lepton_ref.explain.gradients import fashion_model, patient_model, review_model
from lepton_ref.explain.gradients.attribution import SaturationWarning
from lepton_ref.explain.gradients.boxes import black_box
from lepton_ref.explain.gradients.integrated import QUADRATURES, controlled, quadrature
from lepton_ref.explain.gradients.methods import input_gradients
from lepton_ref.framework.layers import (
    Conv2d,
    Dense,
    Flatten,
    GlobalAvgPool2d,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
)
from tests.numeric import numerical_gradient


def smooth(rng, inputs=4, outputs=3):
    """A network without a kink, in float64."""
    return Sequential(Dense(inputs, 6, rng=rng), Tanh(), Dense(6, outputs, rng=rng)).astype(
        "float64"
    )


def kinked(rng, side=8):
    """Convolutions, pooling, a shortcut and dense layers with biases, in float64."""
    made = Sequential(
        Conv2d(2, 3, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2),
        Residual(Sequential(Conv2d(3, 3, 3, padding=1, rng=rng), Tanh())), Flatten(),
        Dense(3 * (side // 2) ** 2, 5, rng=rng), Sigmoid(), Dense(5, 4, rng=rng),
    ).astype("float64")  # fmt: skip
    state = made.state()
    made.load_state({k: v + 0.1 * rng.normal(size=v.shape) for k, v in state.items()})
    return made


@pytest.mark.equation("gradients-taylor")
def test_saliency_predicts_small_changes(engine, rng, prove):
    """Against finite differences of the logit, entry by entry."""
    model, x = smooth(rng), rng.normal(size=(1, 4))
    found = explain.saliency(model, x, 1)
    numeric = numerical_gradient(lambda x: black_box(model)(x)[0, 1], x)
    prove(found.values, numeric, oracle="finite differences", tol=1e-7)
    step = 1e-3 * rng.normal(size=x.shape)
    moved = black_box(model)(x + step)[0, 1] - found.outputs[0]
    assert abs(moved - (found.values * step).sum()) < 1e-5
    np.testing.assert_allclose(
        explain.saliency(model, x, 1, absolute=True).values, np.abs(found.values)
    )


@pytest.mark.equation("gradients-batch")
def test_one_pass_for_the_batch(engine, rng, prove):
    model, x = kinked(rng), rng.normal(size=(5, 2, 8, 8))
    target = np.array([0, 3, 1, 2, 0])
    _, _, together = input_gradients("here", model, x, target, batch_size=3)
    alone = [explain.saliency(model, x[i : i + 1], int(target[i])).values for i in range(5)]
    prove(together, np.concatenate(alone), oracle="one at a time", tol=1e-10)


@pytest.mark.equation("gradients-euler")
def test_gradient_x_input_is_complete_without_biases(engine, rng, prove):
    """Σ x ∂f/∂x = f for a network of ReLUs without biases; with them it is not."""
    bare = Sequential(
        Dense(4, 6, bias=False, rng=rng), ReLU(), Dense(6, 3, bias=False, rng=rng)
    ).astype("float64")
    x = rng.normal(size=(5, 4))
    found = explain.gradient_x_input(bare, x)
    prove(found.values.sum(axis=1), found.outputs, oracle="the output itself", tol=1e-10)
    biased = kinked(rng)
    x = rng.normal(size=(2, 2, 8, 8))
    found = explain.gradient_x_input(biased, x)
    assert np.abs(found.values.sum(axis=(1, 2, 3)) - found.outputs).min() > 1e-3


@pytest.mark.equation("gradients-softmax")
def test_gradient_of_a_probability(engine, rng, prove):
    """p (∂z_k − Σ p ∂z), from the logits' gradients, against that of the softmax."""
    model, x = smooth(rng), rng.normal(size=(1, 4))

    def softmax(x):
        return engine.softmax(model(x))

    with pytest.warns(SaturationWarning, match="explain the logits"):
        found = explain.saliency(softmax, x, 2, engine=engine).values
    each = np.stack([explain.saliency(model, x, k).values[0] for k in range(3)])
    z = black_box(model)(x)[0]
    p = np.exp(z) / np.exp(z).sum()
    prove(found[0], p[2] * (each[2] - p @ each), oracle="from the logits", tol=1e-9)


@pytest.mark.equation("gradients-stein")
def test_smoothgrad_is_the_gradient_of_the_smoothed_model(engine, rng, prove):
    """Both sides by Gauss–Hermite quadrature over one input of a network."""
    model, sigma = smooth(rng, inputs=1), 0.4
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    x = np.array([[0.3]])
    points = x + sigma * nodes[:, None]
    gradients = explain.saliency(model, points, 1).values[:, 0]
    mean_gradient = weights @ gradients
    values = black_box(model)(points)[:, 1]
    prove(mean_gradient, weights @ (values * nodes) / sigma, oracle="Stein", tol=1e-8)

    def smoothed(x):
        return weights @ black_box(model)(x + sigma * nodes[:, None])[:, 1]

    prove(mean_gradient, numerical_gradient(smoothed, x)[0, 0], tol=1e-7)
    found = explain.smoothgrad(model, x, 1, samples=400, std=sigma, seed=5)
    assert abs(found.values[0, 0] - mean_gradient) < 4 * found.standard_error[0, 0]
    spread = np.sqrt(weights @ (gradients - mean_gradient) ** 2)
    assert abs(found.standard_error[0, 0] * 20 / spread - 1) < 0.15
    again = explain.smoothgrad(model, x, 1, samples=1600, std=sigma, seed=6)
    assert 1.5 < (found.standard_error / again.standard_error).item() < 2.6, "1/√samples"


def test_noise_is_a_share_of_each_examples_own_range(rng):
    model, x = smooth(rng), rng.normal(size=(2, 4)) * [[1.0], [5.0]]
    found = explain.smoothgrad(model, x, 1, samples=20, noise=0.2, seed=3).values
    drawn = np.random.default_rng(3).standard_normal((20, 2, 4))
    for i in range(2):
        noisy = x[i] + 0.2 * (x[i].max() - x[i].min()) * drawn[:, i]
        by_hand = explain.saliency(model, noisy, 1).values.mean(axis=0)
        np.testing.assert_allclose(found[i], by_hand, rtol=1e-9)


@pytest.mark.equation("gradients-completeness")
def test_integrated_gradients_are_complete(engine, rng, prove):
    """A smooth network: Gauss–Legendre alone, without the control, reaches rounding."""
    model, x = smooth(rng), rng.normal(size=(3, 4))
    baseline = rng.normal(size=4)
    found = explain.integrated_gradients(
        model, x, [0, 1, 2], baseline=baseline, rule="gauss-legendre", control=False
    )
    difference = black_box(model)(x) - black_box(model)(np.broadcast_to(baseline, x.shape))
    prove(
        found.values.sum(axis=1), np.diag(difference), oracle="the outputs' difference", tol=1e-10
    )
    np.testing.assert_allclose(found.gap, found.settings["raw_gap"], atol=1e-12)


@pytest.mark.equation("gradients-quadrature")
def test_error_of_the_midpoint_rule(prove):
    """−(g′(1) − g′(0))/(24 n²), the error's first term, for g = exp."""
    n = 400
    points, weights = quadrature("midpoint", n)
    error = weights @ np.exp(points) - (np.e - 1)
    prove(error, -(np.e - 1) / (24 * n**2), oracle="Euler–Maclaurin", tol=1e-5)


@pytest.mark.equation("gradients-jump")
@pytest.mark.parametrize("n", [7, 64])
def test_error_at_a_jump(rng, prove, n):
    """J (c − [n c]/n), of size J/(2n) at most, wherever the jump is."""
    points, weights = quadrature("midpoint", n)
    places, jump = rng.random(200), 2.5
    errors = np.array([weights @ (jump * (points > c)) - jump * (1 - c) for c in places])
    prove(errors, jump * (places - np.round(n * places) / n), oracle="closed form", tol=1e-10)
    assert np.abs(errors).max() <= jump / (2 * n) + 1e-12


@pytest.mark.equation("gradients-control")
def test_controlled_weights(rng, prove):
    """Against the solution of the constrained problem by its linear equations (KKT)."""
    steps = 9
    for rule in ("midpoint", "gauss-legendre"):
        _, w = quadrature(rule, steps)
        d, rise = rng.normal(size=(steps, 2)), rng.normal(size=2)
        found = controlled(w, d, rise)
        for i in range(2):
            constraints = np.stack([np.ones(steps), d[:, i]])  # (2, S)
            system = np.block([[np.diag(2 / w), constraints.T], [constraints, np.zeros((2, 2))]])
            right = np.concatenate([np.full(steps, 2.0), [1.0, rise[i]]])
            prove(found[:, i], np.linalg.solve(system, right)[:steps], oracle="KKT", tol=1e-9)
    level = controlled(w, np.full((steps, 1), 3.0), np.array([3.1]))
    np.testing.assert_allclose(level[:, 0], w, err_msg="nothing to regress on")


def test_the_control_brings_attributions_nearer_to_the_integral(rng):
    """Not only their sum: against 4,000 steps, on the patients and on a network without kinks."""
    for model, x in (
        (patient_model(engine="numpy"), patient_model(engine="numpy").test_x[:20]),
        (smooth(rng), rng.normal(size=(20, 4))),
    ):
        exact = explain.integrated_gradients(model, x, 0, steps=4000, control=False).values
        error = {
            control: np.abs(
                explain.integrated_gradients(model, x, 0, steps=12, control=control).values - exact
            ).sum()
            for control in (True, False)
        }
        assert error[True] < error[False]


@pytest.mark.parametrize("rule", QUADRATURES)
def test_every_rule_integrates_a_line(rule):
    points, weights = quadrature(rule, 50)
    assert abs(weights.sum() - 1) < 1e-12 and points.min() >= 0 and points.max() <= 1
    assert abs(weights @ points - 0.5) <= (0.011 if rule in ("left", "right") else 1e-12)


def test_axioms_of_integrated_gradients(engine, rng):
    """Sensitivity, where the gradient fails; linearity; symmetry; what is not read gets nothing."""

    def saturating(x):  # reads the first two of three
        return 1 - engine.relu(1 - engine.sum(x[:, :2], axis=1))

    with pytest.warns(SaturationWarning, match="zero everywhere"):
        assert not explain.saliency(
            saturating, np.array([[2.0, 0.0, 5.0]]), engine=engine
        ).values.any()
    found = explain.integrated_gradients(saturating, np.array([[2.0, 2.0, 5.0]]), engine=engine)
    np.testing.assert_allclose(found.values, [[0.5, 0.5, 0.0]], atol=0.02)
    assert found.values[0, 0] == found.values[0, 1] and found.values[0, 2] == 0

    first, second, x = smooth(rng), smooth(rng), rng.normal(size=(2, 4))

    def mixed(x):
        return 2 * first(x) - 3 * second(x)

    parts = [explain.integrated_gradients(m, x, 0, control=False).values for m in (first, second)]
    both = explain.integrated_gradients(mixed, x, 0, control=False, engine=engine).values
    np.testing.assert_allclose(both, 2 * parts[0] - 3 * parts[1], atol=1e-10)


@pytest.mark.equation("gradients-deeplift")
def test_deeplift_is_complete(engine, rng, prove):
    """Through every kind of layer that the walk knows, with one pass."""
    model, x = kinked(rng), rng.normal(size=(3, 2, 8, 8))
    baseline = rng.normal(size=x.shape)
    found = explain.deeplift(model, x, [0, 1, 2], baseline=baseline, batch_size=2)
    difference = np.diag(black_box(model)(x) - black_box(model)(baseline))
    prove(found.values.sum(axis=(1, 2, 3)), difference, oracle="the outputs' difference", tol=1e-9)


@pytest.mark.equation("gradients-deeplift-chain")
def test_multipliers_chain(engine, rng, prove):
    """One hidden layer by hand: W₁ diag(Δrelu/Δh) W₂."""
    net = Sequential(Dense(3, 5, rng=rng), ReLU(), Dense(5, 2, rng=rng)).astype("float64")
    x, ref = rng.normal(size=(1, 3)), rng.normal(size=(1, 3))
    w1, w2 = (engine.asnumpy(net[i].weight) for i in (0, 2))
    h, h_ref = x @ w1, ref @ w1
    ratio = (np.maximum(h, 0) - np.maximum(h_ref, 0)) / (h - h_ref)
    by_hand = np.zeros(3)
    for i in range(3):
        for j in range(5):
            by_hand[i] += w1[i, j] * ratio[0, j] * w2[j, 1]
    found = explain.deeplift(net, x, 1, baseline=ref)
    prove(found.values / (x - ref), by_hand[None], oracle="by hand", tol=1e-9)


@pytest.mark.equation("gradients-deeplift-max")
def test_pooling_hands_over_what_changed(engine, rng, prove):
    """Window by window: a rise to the entry that is largest now, a fall to the one that was."""
    pool = Sequential(MaxPool2d(2), Flatten())
    x, ref = rng.normal(size=(1, 1, 4, 6)), rng.normal(size=(1, 1, 4, 6))
    for k in range(6):
        found = explain.deeplift(Sequential(*pool.layers), x, k, baseline=ref).values[0, 0]
        i, j = divmod(k, 3)
        window = np.s_[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        now, before = x[0, 0][window], ref[0, 0][window]
        by_hand = np.zeros((4, 6))
        rises = now.max() > before.max()
        at = np.unravel_index((now if rises else before).argmax(), (2, 2))
        by_hand[2 * i + at[0], 2 * j + at[1]] = now.max() - before.max()
        prove(found, by_hand, oracle="by hand", tol=1e-9)


@pytest.mark.equation("gradients-cam")
def test_grad_cam_is_cam_where_cam_is_defined(engine, rng, prove):
    """Behind a mean over places and one dense layer the weights are the dense layer's."""
    net = Sequential(
        Conv2d(1, 3, 3, padding=1, rng=rng), ReLU(), GlobalAvgPool2d(), Dense(3, 2, rng=rng)
    ).astype("float64")
    x = rng.normal(size=(2, 1, 6, 5))
    found = explain.grad_cam(net, x, 1, positive=False)
    features = engine.asnumpy(net[1](net[0](engine.array(x, "float64"))))
    w = engine.asnumpy(net[3].weight)[:, 1]
    by_hand = np.einsum("c,nchw->nhw", w, features) / 30
    prove(found.settings["map"], by_hand, oracle="class activation map", tol=1e-9)
    assert found.settings["layer"] == "1" and found.values.shape == x.shape


def test_grad_cam_finds_the_last_maps(rng):
    colour = rng.normal(size=(1, 3, 8, 8)).astype(np.float32)
    net = Sequential(Conv2d(3, 2, 3, rng=rng), MaxPool2d(2), Flatten(), Dense(18, 2, rng=rng))
    found = explain.grad_cam(net, colour)
    assert found.settings["layer"] == "0" and found.settings["map"].shape == (1, 6, 6)
    large = explain.grad_cam(net, colour, layer="1").values
    np.testing.assert_allclose(large[:, 0], large[:, 2])
    assert found.values.min() >= 0


def test_guided_backpropagation_by_hand(engine, rng):
    net = Sequential(Dense(3, 4, rng=rng), ReLU(), Dense(4, 2, rng=rng)).astype("float64")
    x = rng.normal(size=(1, 3))
    w1, w2 = (engine.asnumpy(net[i].weight) for i in (0, 2))
    passed = np.where((x @ w1 > 0) & (w2[:, 0] > 0), w2[:, 0], 0)
    found = explain.guided_backpropagation(net, x, 0)
    np.testing.assert_allclose(found.values, passed @ w1.T, atol=1e-12)


def pictures(rng):
    fashion = fashion_model("numpy")
    return fashion.x[:2] + (0.01 * rng.normal(size=(2, 1, 28, 28))).astype(np.float32)


EXPLAINERS = {
    "saliency": {}, "gradient_x_input": {}, "smoothgrad": {"samples": 4},
    "integrated_gradients": {"steps": 8}, "deeplift": {}, "guided_backpropagation": {},
    "grad_cam": {},
}  # fmt: skip


def test_the_engines_agree(rng):
    """Pictures, patients and reviews, each method on every engine."""
    x = pictures(rng)
    text, names = "not worth the money", lepton_ref.engines.installed()
    models = {n: (fashion_model(n), patient_model(engine=n), review_model(n)) for n in names}
    for name, options in EXPLAINERS.items():
        method, found = getattr(explain, name), {}
        for engine, (fashion, patients, review) in models.items():
            found[engine] = [method(fashion, x, [9, 2], **options).values]
            if name != "grad_cam":
                found[engine].append(method(patients, patients.test_x[:3], 0, **options).values)
            if name in ("saliency", "gradient_x_input", "smoothgrad", "integrated_gradients"):
                ids = review.tokens(text)
                given = method(review.given(ids), review.embed(ids), 0, **options)
                found[engine].append(given.values)
        for engine, values in found.items():
            for ours, reference in zip(values, found["numpy"], strict=True):
                np.testing.assert_allclose(
                    ours, reference, atol=1e-4 * np.abs(reference).max(), err_msg=f"{name} {engine}"
                )


def test_plain_pictures_differ_only_where_pixels_tie(rng):
    """Rounding settles the gradient in the black frame, engine by engine, and nowhere else.

    A millionth of noise does what rounding does: in a window of equal entries another one leads.
    That moves most of the frame, and on the clothes the few pixels that equal their neighbours.
    """
    fashion = {name: fashion_model(name) for name in lepton_ref.engines.installed()}
    x, lit = fashion["numpy"].x[:4], fashion["numpy"].images[:4, None] > 0
    found = {name: explain.saliency(model, x, 9).values for name, model in fashion.items()}
    for values in found.values():
        np.testing.assert_allclose(values[lit], found["numpy"][lit], atol=1e-4)
    speck = (1e-6 * rng.normal(size=x.shape)).astype(np.float32)
    moved = explain.saliency(fashion["numpy"], x + speck, 9).values
    moves = np.abs(moved - found["numpy"]) > 1e-3 * np.abs(moved).max()
    assert moves[~lit].mean() > 0.5 and moves[lit].mean() < 0.02


@pytest.mark.parametrize("which", ["fashion", "patients", "reviews"])
def test_completeness_at_64_steps(which):
    """The bar: half a per cent of the outputs' difference, on every model of the book."""
    name = lepton_ref.engines.installed()[-1]  # torch where it is there: the fastest
    if which == "fashion":
        model = fashion_model(name)
        found = explain.integrated_gradients(model, model.x[:12], baseline=model.black)
    elif which == "patients":
        model = patient_model(engine=name)
        found = explain.integrated_gradients(model, model.test_x)
    else:
        model = review_model(name)
        texts = [t for t in lepton_ref.load("amazon-sentences").texts[:30] if len(t) < 120][:12]
        ids = model.tokens(texts)
        found = explain.integrated_gradients(model.given(ids), model.embed(ids))
    share = np.abs(found.gap) / np.abs(found.outputs - found.baseline_outputs)
    assert share.max() <= 0.005
    raw = np.abs(found.settings["raw_gap"]) / np.abs(found.outputs - found.baseline_outputs)
    assert np.median(raw) <= 0.005
