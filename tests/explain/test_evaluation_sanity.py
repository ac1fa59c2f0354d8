"""Rank correlation, controls, randomisation, temperature of the page explain/evaluation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import spearmanr

from lepton_ref.explain.evaluation import (
    agreement,
    edge_detector,
    empty_correlation,
    fit_temperature,
    random_attribution,
    randomisation_test,
    rank_correlation,
)
from lepton_ref.explain.evaluation.calibration import likelihood
from lepton_ref.explain.evaluation.ranks import mean_ranks
from lepton_ref.explain.evaluation.sanity import (
    cascade,
    forgotten,
    randomised,
    sobel_length,
)
from lepton_ref.explain.gradients import gradient_x_input, saliency
from lepton_ref.explain.gradients.attribution import Attribution, SaturationWarning
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation import calibration
from lepton_ref.framework.layers import Dense, ReLU, Sequential
from tests.numeric import numerical_gradient

# --- rank correlation ----------------------------------------------------------------------


@pytest.mark.equation("sanity-rank")
def test_rank_correlation(rng, prove):
    """Against the formula without ties, in a loop, and SciPy's with them."""
    a, b = rng.normal(size=(2, 3, 9))
    by_hand = np.empty(3)
    for n in range(3):
        ranks = [[int(np.sum(v[n] <= value)) for value in v[n]] for v in (a, b)]
        by_hand[n] = 1 - 6 * sum((r - t) ** 2 for r, t in zip(*ranks)) / (9 * (81 - 1))
    prove(rank_correlation(a, b), by_hand, oracle="sum over entries", tol=1e-12)
    tied = np.round(a), np.round(b)
    theirs = [spearmanr(x, y).statistic for x, y in zip(*tied)]
    prove(rank_correlation(*tied), np.array(theirs), oracle="scipy", tol=1e-12)


@pytest.mark.equation("sanity-empty")
def test_empty_pixels_correlate(rng, prove):
    """Two maps with nothing in common but their zeros: absolute values, and signed ones."""
    n = 200_000
    for q in (0.1, 0.5, 0.8):
        a, b = rng.normal(size=(2, 1, n))
        a[0, : int(q * n)] = b[0, : int(q * n)] = 0
        found = rank_correlation(a, b, absolute=True)[0]
        prove(found, empty_correlation(q), oracle="simulation", tol=0.01)
        assert abs(rank_correlation(a, b)[0]) < 0.01
    assert empty_correlation(0.5) == pytest.approx(6 / 7)


@pytest.mark.equation("sanity-odd")
def test_signs_cancel_between_opposite_weights(rng, prove):
    """Gradient × input of a network, its last layer W and −W: the correlations sum to zero."""
    x, w1 = rng.normal(size=(4, 6)), rng.normal(size=(6, 8))
    trained, w2 = rng.normal(size=(2, 8))

    def explained(head):
        return x * (((x @ w1 > 0) * head) @ w1.T)

    first = rank_correlation(explained(trained), explained(w2))
    second = rank_correlation(explained(trained), explained(-w2))
    prove(first, -second, oracle="opposite weights", tol=1e-12)
    assert np.abs(first).max() > 0.1, "and no single one of them is zero"


def test_missing_players_do_not_count(rng):
    a, b = rng.normal(size=(2, 2, 6))
    a[1, 4:] = b[1, 4:] = np.nan
    found = rank_correlation(a, b)
    assert found[1] == pytest.approx(spearmanr(a[1, :4], b[1, :4]).statistic)
    assert np.isnan(mean_ranks(a)[1, 4:]).all()
    assert mean_ranks(np.array([3.0, 1, 3, 3])).tolist() == [3, 1, 3, 3]


def test_a_constant_map_ranks_nothing(rng):
    a = rng.normal(size=(1, 4))
    assert rank_correlation(a, np.ones((1, 4)))[0] == 0


def test_agreement_matrix(rng):
    a = rng.normal(size=(5, 20))
    names, matrix = agreement({"one": a, "same": a**3, "turned": -a})
    assert names == ["one", "same", "turned"]
    np.testing.assert_allclose(matrix, [[1, 1, -1], [1, 1, -1], [-1, -1, 1]], atol=1e-12)
    assert agreement({"one": a, "turned": -a}, absolute=True)[1][0, 1] == pytest.approx(1)


# --- controls ------------------------------------------------------------------------------


def test_edges_are_those_of_scikit_image(rng):
    filters = pytest.importorskip("skimage.filters")
    picture = rng.random((9, 11))
    across = filters.sobel_v(np.pad(picture, 1, mode="edge"))[1:-1, 1:-1]
    down = filters.sobel_h(np.pad(picture, 1, mode="edge"))[1:-1, 1:-1]
    np.testing.assert_allclose(sobel_length(picture), 4 * np.hypot(across, down), atol=1e-12)


def test_the_edge_detector_does_not_ask_the_model(rng):
    """The same map for two models: of pictures, of texts, of tables."""
    for shape in ((2, 1, 6, 6), (2, 5, 3), (2, 7)):
        x = rng.normal(size=shape)
        maps = []
        for _ in range(2):
            w = rng.normal(size=(x[0].size, 3))
            maps.append(edge_detector(lambda x, w=w: x.reshape(len(x), -1) @ w, x).values)
        np.testing.assert_array_equal(*maps)
        assert maps[0].shape == shape and (maps[0] >= 0).all() and maps[0].max() > 0
    flat = edge_detector(lambda x: x.sum(axis=1), np.array([[1.0, -3.0]]), baseline=1.0)
    assert flat.values.tolist() == [[0, 4]]


def test_random_attribution_is_seeded(rng):
    x = rng.normal(size=(2, 4))
    model = lambda x: x
    one, again, other = (random_attribution(model, x, seed=s).values for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()


# --- randomisation -------------------------------------------------------------------------


def network(rng):
    return Sequential(Dense(12, 16, rng=rng), ReLU(), Dense(16, 3, rng=rng))


def slope(model, x, target=None):
    """Gradient × input by the engine."""
    E = model.E
    y = E.asnumpy(model(E.array(x)))
    goal = y.argmax(axis=1) if target is None else np.asarray(target)
    _, g = E.value_and_grad(lambda a: E.sum(E.pick(model(a), E.array(goal))))(E.parameter(x))
    return Attribution(E.asnumpy(g) * x, x, goal, y[np.arange(len(x)), goal], "slope")


def test_randomisation_tells_a_model_from_its_input(engine, rng):
    """Gradient × input forgets; the edge detector keeps all; the weights come back."""
    model, x = network(rng), rng.normal(size=(20, 12)).astype("float32")
    before = model.state()
    fair = randomisation_test(slope, model, x, draws=8)
    blind = randomisation_test(edge_detector, model, x, draws=1)
    assert abs(fair.signed[-1].mean()) < 0.15 and fair.passed()
    np.testing.assert_allclose(blind.signed, 1)
    assert not blind.passed() and len(fair.stages) == 2 == len(fair.signed)
    assert (fair.size >= np.abs(fair.signed) - 1e-12).all()
    assert "all 2 layers random" in repr(fair)
    for name, array in model.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_several_explainers_forget_as_each_alone_does(rng):
    """The last stage of the cascade; and the weights are drawn once, not once for each."""
    model = Sequential(Dense(6, 5, rng=rng), ReLU(), Dense(5, 2, rng=rng))
    x = rng.normal(size=(4, 6)).astype("float32")
    explainers = {"saliency": saliency, "gradient_x_input": gradient_x_input}
    trained = {name: explain(model, x) for name, explain in explainers.items()}
    found = forgotten(
        explainers, {name: a.values for name, a in trained.items()}, model, x,
        trained["saliency"].target, weights=model, draws=2, seed=3,
    )  # fmt: skip
    for name, explain in explainers.items():
        alone = randomisation_test(explain, model, x, draws=2, seed=3)
        for what in ("signed", "absolute", "size"):
            np.testing.assert_allclose(
                getattr(found[name], what)[0], getattr(alone, what)[-1], atol=1e-12
            )
    with pytest.raises(ArgumentError, match="`draws` has the value 0"):
        forgotten({}, {}, model, x, np.zeros(4, int), weights=model, draws=0)


def test_weights_come_back_after_an_error(rng):
    model = network(rng)
    before = model.state()
    with pytest.raises(KeyError, match="on purpose"):
        with randomised(model, list(before), rng):
            after = model.state()
            assert all((after[k] != before[k]).any() for k in before if before[k].ndim == 2)
            raise KeyError("on purpose")
    for name, array in model.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_the_cascade_begins_at_the_output(rng):
    stages = cascade(network(rng))
    assert len(stages) == 2
    sizes = [dict(network(rng).state())[names[0]].shape for _, names in stages]
    assert sizes == [(16, 3), (12, 16)]


# --- temperature ---------------------------------------------------------------------------


def overconfident(rng, n=4000, factor=2.5):
    """Labels drawn from softmax(z) for a model that says factor · z: T is known."""
    z = rng.normal(size=(n, 4)) * 1.5
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    y = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return factor * z, y


@pytest.mark.equation("temperature-slope", "temperature-curvature")
def test_derivatives_of_the_loss(rng, prove):
    """Against finite differences of the loss, written as the page has it, and of the slope."""
    z, y = overconfident(rng, 30)
    loss = lambda b: np.mean([np.log(np.sum(np.exp(b * r))) - b * r[k] for r, k in zip(z, y)])
    for beta in (0.2, 1.0, 3.0):
        found = likelihood(beta, z, y)
        assert found.value == pytest.approx(loss(beta))
        prove(found.slope, numerical_gradient(loss, np.array(beta)), tol=1e-6)
        slope_at = lambda b: likelihood(float(b), z, y).slope
        prove(found.curvature, numerical_gradient(slope_at, np.array(beta)), tol=1e-6)
        assert found.curvature >= 0


@pytest.mark.equation("temperature-optimum")
def test_the_fitted_temperature(rng, prove):
    """Against SciPy's minimiser; at it the expected logit is the right one; and it is known."""
    z, y = overconfident(rng)
    found = fit_temperature(z, y)
    theirs = minimize_scalar(
        lambda t: np.mean(np.log(np.exp(z / t).sum(axis=1)) - z[np.arange(len(z)), y] / t),
        bounds=(0.1, 20), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    prove(found.value, theirs.x, oracle="scipy", tol=1e-6)
    p = found.probabilities(z)
    prove(np.mean(np.sum(p * z, axis=1)), np.mean(z[np.arange(len(z)), y]), oracle="mean", tol=1e-8)
    assert abs(found.value - 2.5) < 0.15
    assert found.loss_after < found.loss_before
    np.testing.assert_array_equal(p.argmax(axis=1), z.argmax(axis=1))
    before = calibration(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), y).ece
    assert found.reliability(z, y).ece < before / 3


def test_the_record(rng):
    z, y = overconfident(rng)
    found = fit_temperature(z[:2000], y[:2000]).with_record(z[2000:], y[2000:])
    for level in (0.5, 0.7, 0.9):
        record = found.record(level, nearest=400)
        assert record.of == 400 and abs(record.share - level) < 0.08
    assert "temperature" in repr(found)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.eye(3), [0, 1, 2], "no answer that is wrong"),
        (np.eye(3), [1, 2, 0], "not above the mean"),
        (np.eye(3), [0, 1, 3], "the class 3"),
        (np.eye(3), [0, 1], "2 rows"),
        (np.zeros(3), [0, 1, 2], r"shape \(3,\)"),
        (np.full((2, 2), np.nan), [0, 1], "not finite"),
    ],
)
def test_no_temperature(logits, labels, message):
    with pytest.raises(ArgumentError, match=message):
        fit_temperature(logits, np.array(labels))


def test_other_refusals(rng):
    x = rng.normal(size=(2, 4))
    with pytest.raises(ArgumentError, match="no record"):
        fit_temperature(*overconfident(rng, 50)).record(0.5)
    with pytest.raises(ArgumentError, match=r"shape \(2, 3\); expected \(2, 4\)"):
        rank_correlation(x, x[:, :3])
    with pytest.raises(ArgumentError, match="at least two entries"):
        rank_correlation(x[:, :1], x[:, :1])
    with pytest.raises(ArgumentError, match="`second` has rows of different lengths"):
        rank_correlation(x, [[1.0, 2.0, 3.0, 4.0], [1.0]])
    with pytest.raises(ArgumentError, match="`first` has dtype <U1; expected numbers"):
        rank_correlation([["a", "b"]], x)
    with pytest.raises(ArgumentError, match="the value 1; expected in"):
        empty_correlation(1)
    with pytest.raises(ArgumentError, match="a model with state"):
        cascade(lambda x: x)
    with pytest.raises(ArgumentError, match="no arrays of floats"):
        cascade(ReLU())
    with pytest.raises(ArgumentError, match="`draws` has the value 0"):
        randomisation_test(slope, network(rng), x, draws=0)
    with pytest.raises(ArgumentError, match="nan"):
        edge_detector(lambda x: x, np.full((1, 3), np.nan))
    with pytest.raises(ArgumentError, match="0..3"):
        random_attribution(lambda x: x, x, 4)


def test_a_dead_random_network_warns_nobody(rng):
    """What the same network is told outside of the block."""
    model = Sequential(Dense(3, 2, rng=rng, engine="numpy"), ReLU(engine="numpy"))
    state = {k: np.zeros_like(v) for k, v in model.state().items()}
    model.load_state(state)
    x = np.ones((2, 3), np.float32)
    with pytest.warns(SaturationWarning, match="zero everywhere"):
        saliency(model, x, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with randomised(model, [], rng):
            saliency(model, x, 0)
        with pytest.raises(SaturationWarning):
            saliency(model, x, 0)
