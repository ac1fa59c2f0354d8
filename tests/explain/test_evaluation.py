"""Deletion, insertion, infidelity, sensitivity of the page explain/evaluation."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from lepton_ref.explain.evaluation import (
    Perturbations,
    additive_area,
    deletion_curve,
    infidelity,
    insertion_curve,
    max_sensitivity,
    noise,
    optimal_attribution,
    patches,
    player_values,
    removals,
    words,
)
from lepton_ref.explain.evaluation.asking import Asked
from lepton_ref.explain.evaluation.fidelity import output_changes
from lepton_ref.explain.evaluation.metrics import curve, order_of
from lepton_ref.explain.evaluation.players import spread
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Dense, Sequential, Tanh


def made(values, x, **more):
    """An attribution of the first output, of somebody's making."""
    n = len(x)
    return Attribution(values, x, np.zeros(n, np.int64), np.zeros(n), "made", **more)


def curved(x):
    """Not additive: a product of neighbours beside a sum. (M, 5) -> (M,)."""
    return x.sum(axis=1) + x[:, 0] * x[:, 1] - 2 * x[:, 2] * x[:, 4] ** 2


# --- deletion and insertion ----------------------------------------------------------------


@pytest.mark.equation("deletion-additive")
def test_area_of_an_additive_model(rng, prove):
    """The curve, step by step through the model, against the closed form."""
    w, b = rng.normal(size=6), rng.normal()
    x = rng.normal(size=(1, 6))
    found = deletion_curve(lambda x: x @ w + b, made(w * x, x), steps=6)
    order = np.argsort(-(w * x)[0])
    prove(found.area[0], additive_area((w * x)[0], b, order), oracle="closed form", tol=1e-12)
    assert found.outputs[0, 0] == pytest.approx((x @ w + b)[0])
    assert found.outputs[0, -1] == pytest.approx(b)


@pytest.mark.equation("deletion-optimal")
def test_no_order_of_an_additive_model_has_a_smaller_area(rng, prove):
    """All 120 orders of five players; the reverse order is the worst."""
    values, empty = rng.normal(size=5), 0.3
    areas = {o: additive_area(values, empty, np.array(o)) for o in itertools.permutations(range(5))}
    best = additive_area(values, empty, np.argsort(-values))
    prove(best, min(areas.values()), oracle="enumeration", tol=1e-12)
    worst = additive_area(values, empty, np.argsort(values))
    prove(worst, max(areas.values()), oracle="enumeration", tol=1e-12)


@pytest.mark.equation("deletion-random")
def test_a_random_order_is_the_straight_line(rng, prove):
    """The mean area over all orders of an additive model: half way between both ends."""
    values, empty = rng.normal(size=5), 0.7
    areas = [additive_area(values, empty, np.array(o)) for o in itertools.permutations(range(5))]
    prove(np.mean(areas), empty + values.sum() / 2, oracle="enumeration", tol=1e-12)


@pytest.mark.equation("deletion-insertion")
def test_insertion_is_deletion_backwards(rng, prove):
    """On a model that is not additive, with fewer steps than players."""
    x, values = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    inserted = insertion_curve(curved, made(values, x), steps=5)
    deleted = deletion_curve(curved, made(-values, x), steps=5)
    prove(inserted.outputs, deleted.outputs[:, ::-1], oracle="the other curve", tol=1e-12)
    prove(inserted.area, deleted.area, oracle="the other curve", tol=1e-12)


def test_the_curve_by_hand(rng):
    """Three examples, a baseline of their own, one replaced entry after the other."""
    x, base = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    values = rng.normal(size=(3, 5))
    found = deletion_curve(curved, made(values, x, baseline=base), steps=5)
    for n in range(3):
        row = x[n].copy()
        outputs = [curved(row[None])[0]]
        for i in np.argsort(-values[n]):
            row[i] = base[n, i]
            outputs.append(curved(row[None])[0])
        np.testing.assert_allclose(found.outputs[n], outputs)
        area = sum((a + b) / 2 for a, b in itertools.pairwise(outputs)) / 5
        assert found.area[n] == pytest.approx(area)


def test_players_go_together_and_padding_stays():
    """Two texts of three and two words with vectors of two; a step is a word."""
    mask = np.array([[True, True, True], [True, True, False]])
    players = words(mask, 2)
    x = np.arange(12.0).reshape(2, 3, 2) + 1
    values = np.zeros_like(x)
    values[0, :, 0], values[1, :, 1] = [1, 3, 2], [5, 7, 99]
    seen = []

    def model(rows):
        seen.append(rows.copy())
        return rows.sum(axis=(1, 2))

    found = deletion_curve(model, made(values, x), players=players, steps=3)
    (rows,) = seen
    assert (rows[:4, [1, 2, 0], 0] == 0).tolist() == [
        [False] * 3, [True, False, False], [True, True, False], [True, True, True],
    ]  # fmt: skip
    assert np.all(rows[4:, 2] == x[1, 2]), "padding belongs to nobody"
    assert found.fractions[1].tolist() == [0, 0.5, 0.5, 1]
    np.testing.assert_allclose(player_values(values, players), [[1, 3, 2], [5, 7, np.nan]])


def test_nothing_is_asked_twice(rng):
    """Curves over one room share their ends, and what differs by a player of no account."""
    seen = []
    model = lambda x: seen.append(x.copy()) or curved(x)
    x = rng.normal(size=(2, 5))
    x[0, 3] = 0.0  # like its baseline: its going changes nothing
    empty = np.repeat([[0.0], [0.1]], 5, axis=1)
    asked = Asked("test", model, x, np.zeros(2, np.int64), empty, None, "score")
    for kind, alone in (("deletion", deletion_curve), ("insertion", insertion_curve)):
        for values in rng.normal(size=(3, 2, 5)):
            found = curve(kind, asked, made(values, x), steps=5)
            again = alone(curved, made(values, x), baseline=empty, steps=5)
            np.testing.assert_allclose(found.outputs, again.outputs)
    rows = np.concatenate(seen)
    assert len(rows) == len(np.unique(rows, axis=0)) <= 2**4 + 2**5
    before = len(seen)
    outputs, _ = asked(np.zeros(2, int), np.array([[0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], bool))
    assert len(seen) == before and outputs[0] == outputs[1] == pytest.approx(curved(x)[0])


def test_probabilities_or_scores_and_decisions(rng):
    x = rng.normal(size=(2, 3))
    w = rng.normal(size=(3, 4))
    a = dataclasses.replace(made(x, x), target=np.array([3, 1]))
    scores = deletion_curve(lambda x: x @ w, a, scale="score", steps=3)
    shares = deletion_curve(lambda x: x @ w, a, steps=3)
    np.testing.assert_allclose(scores.outputs[:, 0], (x @ w)[[0, 1], [3, 1]])
    np.testing.assert_allclose(shares.outputs[:, -1], 0.25)
    np.testing.assert_array_equal(scores.decisions[:, 0], (x @ w).argmax(axis=1))
    assert "deletion curve of made: 2 examples" in repr(scores)


def test_ties_are_broken_at_random_and_repeatably():
    values = np.zeros((1, 50))
    first, again, other = (order_of(values, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != np.arange(50)).any()


def test_engines_give_the_same_curve(engine, rng):
    net = Sequential(Dense(5, 4, rng=np.random.default_rng(1)), Tanh(), Dense(4, 3, rng=rng))
    weights = np.random.default_rng(2)
    state = {k: weights.normal(size=v.shape).astype("float32") for k, v in net.state().items()}
    net.load_state(state)
    x = np.random.default_rng(3).normal(size=(4, 5)).astype("float32")
    found = deletion_curve(net, made(x.astype(float), x), steps=5)
    (first, second), (w1, b1, w2, b2) = (5, 4), state.values()
    assert w1.shape == (first, second)
    z = np.tanh(x @ w1 + b1) @ w2 + b2
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.outputs[:, 0], p[:, 0], rtol=1e-5)


# --- infidelity ------------------------------------------------------------------------------


def quadratic_case(rng):
    x = rng.normal(size=(2, 5))
    plan = noise(x, 0.5, samples=40, seed=3)
    return x, plan, output_changes(curved, x, np.zeros(2, np.int64), plan.change)


@pytest.mark.equation("infidelity-optimum")
def test_the_optimum_is_a_stationary_point(rng, prove):
    """Against the normal equations in loops, and against every small step away from it."""
    x, plan, done = quadratic_case(rng)
    best = optimal_attribution(curved, x, 0, plan)
    by_hand = np.empty((2, 5))
    for n in range(2):
        gram, right = np.zeros((5, 5)), np.zeros(5)
        for s in range(40):
            w = plan.weights[s, n]
            gram += np.outer(w, w) / 40
            right += w * done[s, n] / 40
        by_hand[n] = np.linalg.inv(gram) @ right
    prove(best.values, by_hand, oracle="normal equations", tol=1e-9)
    least = infidelity(curved, best, plan)
    for _ in range(10):
        step = 0.01 * rng.normal(size=(2, 5))
        moved = dataclasses.replace(best, values=best.values + step)
        assert (infidelity(curved, moved, plan) > least).all()


@pytest.mark.equation("infidelity-excess")
def test_what_another_attribution_costs(rng, prove):
    x, plan, _ = quadratic_case(rng)
    best, other = optimal_attribution(curved, x, 0, plan), made(rng.normal(size=(2, 5)), x)
    gap = other.values - best.values
    excess = [np.mean([(plan.weights[s, n] @ gap[n]) ** 2 for s in range(40)]) for n in range(2)]
    measured = infidelity(curved, other, plan) - infidelity(curved, best, plan)
    prove(measured, np.array(excess), oracle="quadratic form", tol=1e-9)


@pytest.mark.equation("infidelity-scale")
def test_the_best_factor(rng, prove):
    """Against a search over factors."""
    x, plan, _ = quadratic_case(rng)
    some = made(rng.normal(size=(2, 5)), x)
    factors = np.linspace(-3, 3, 6001)
    curve = [
        infidelity(curved, dataclasses.replace(some, values=f * some.values), plan) for f in factors
    ]
    prove(
        infidelity(curved, some, plan, scaled=True),
        np.min(curve, axis=0),
        oracle="search",
        tol=1e-5,
    )
    nothing = made(np.zeros((2, 5)), x)
    assert (infidelity(curved, nothing, plan, scaled=True) > 0).all()


def test_a_linear_model_has_no_infidelity(rng):
    """Its slope predicts every change, its contributions every removal."""
    w, x = rng.normal(size=5), rng.normal(size=(3, 5))
    linear = lambda x: x @ w
    slope, share = made(np.tile(w, (3, 1)), x), made(w * x, x)
    assert infidelity(linear, slope, noise(x)).max() < 1e-25
    assert infidelity(linear, share, removals(x)).max() < 1e-25
    assert infidelity(linear, slope, removals(x)).max() > 0.01, "a slope is no contribution"


def test_removals_take_whole_players_of_every_number():
    players = patches((1, 6, 6), 3)
    x = np.ones((2, 1, 6, 6))
    plan = removals(x, -1.0, players, samples=200, seed=0)
    z = plan.weights
    assert set(np.unique(z)) == {0.0, 1.0} and np.all(plan.change == 2 * z)
    for p in range(4):
        assert np.ptp(z[:, :, players == p], axis=2).max() == 0
    sizes = z[..., ::3, ::3].sum(axis=(2, 3, 4))
    assert set(np.unique(sizes)) == {1, 2, 3, 4}
    assert np.bincount(sizes[:, 0].astype(int)).tolist() == [0, 50, 50, 50, 50]


def test_infidelity_of_captum(rng):
    """The same perturbations through Captum: both forms to 1e-5."""
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("captum.metrics")
    w1, w2 = rng.normal(size=(6, 5)), rng.normal(size=(5, 3))
    net = lambda x: torch.tanh(x @ torch.tensor(w1)) @ torch.tensor(w2)
    x, values = rng.normal(size=(3, 6)), rng.normal(size=(3, 6))
    plan = noise(x, 0.3, samples=20, seed=1)
    target = np.array([2, 0, 1])
    found = dataclasses.replace(made(values, x), target=target)
    box = lambda x: np.tanh(x @ w1) @ w2

    def given(inputs):
        moves = torch.tensor(plan.change.transpose(1, 0, 2).reshape(-1, 6))
        return moves, inputs - moves

    for scaled in (False, True):
        theirs = metrics.infidelity(
            net, given, torch.tensor(x), torch.tensor(values), target=torch.tensor(target),
            n_perturb_samples=20, normalize=scaled,
        )  # fmt: skip
        ours = infidelity(box, found, plan, scaled=scaled)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-12)


# --- max-sensitivity -------------------------------------------------------------------------


def slope_of(matrix):
    """The gradient of ½ xᵀ A x as an explainer."""
    return lambda model, x, target=None: made(x @ matrix, x)


@pytest.mark.equation("sensitivity-quadratic")
def test_sensitivity_of_a_quadratic_form(rng, prove):
    """No movement of length r beats the leading direction of A, and that one reaches r ‖A‖."""
    a = rng.normal(size=(4, 4))
    a = a + a.T
    x, r = rng.normal(size=(1, 4)), 0.3
    values, vectors = np.linalg.eigh(a)
    worst = vectors[:, np.argmax(np.abs(values))]
    moves = rng.normal(size=(500, 1, 4))
    moves *= r / np.linalg.norm(moves, axis=2, keepdims=True)
    drawn = max_sensitivity(slope_of(a), None, x, perturbations=moves, relative=False)[0]
    most = r * np.linalg.norm(a, 2)
    assert 0.7 * most < drawn <= most, "a few draws are a lower bound"
    aimed = np.concatenate([moves, r * worst[None, None]])
    reached = max_sensitivity(slope_of(a), None, x, perturbations=aimed, relative=False)[0]
    prove(reached, most, oracle="singular value", tol=1e-12)


def test_sensitivity_of_captum(rng):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("captum.metrics")
    a = rng.normal(size=(4, 4))
    x = rng.normal(size=(3, 4))
    moves = rng.uniform(-0.02, 0.02, size=(10, 3, 4))
    theirs = metrics.sensitivity_max(
        lambda inputs: ((inputs[0] if isinstance(inputs, tuple) else inputs) @ torch.tensor(a),),
        torch.tensor(x),
        perturb_func=lambda x: x + torch.tensor(moves.transpose(1, 0, 2).reshape(-1, 4)),
        n_perturb_samples=10,
    )
    ours = max_sensitivity(slope_of(a), None, x, perturbations=moves)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5)


def test_an_explanation_that_never_moves_has_no_sensitivity(rng):
    x = rng.normal(size=(2, 4))
    same = lambda model, x, target=None: made(np.ones_like(x), x)
    assert max_sensitivity(same, None, x).tolist() == [0, 0]
    none = lambda model, x, target=None: made(np.zeros_like(x), x)
    assert max_sensitivity(none, None, x).tolist() == [0, 0]


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "percent"}, "`scale` has the value 'percent'; expected probability or score"),
        ({"steps": 0}, "`steps` has the value 0; expected a whole number from 1"),
        ({"steps": 2.0}, "`steps` has the value 2.0"),
        ({"baseline": np.zeros(4)}, r"`baseline` has shape \(4,\); expected a number, \(5,\)"),
        ({"baseline": np.nan}, "`baseline` has entries that are not finite"),
        ({"players": np.zeros(4, int)}, "`players` has shape"),
        ({"players": np.zeros(5)}, "`players` has dtype float64"),
        ({"players": np.full(5, -1)}, "no player"),
        ({"players": np.array([0, 0, 2, 2, 2])}, "without a gap"),
    ],
)
def test_wrong_curves_are_refused(rng, options, message):
    x = rng.normal(size=(2, 5))
    with pytest.raises(ArgumentError, match=message):
        deletion_curve(curved, made(x, x), **options)


def test_wrong_perturbations_are_refused(rng):
    x = rng.normal(size=(2, 5))
    a = made(x, x)
    flat = np.zeros((3, 2, 4))
    with pytest.raises(ArgumentError, match=r"change of shape \(3, 2, 4\)"):
        infidelity(curved, a, Perturbations(flat, flat))
    bad = np.full((3, 2, 5), np.nan)
    with pytest.raises(ArgumentError, match="not finite"):
        optimal_attribution(curved, x, 0, Perturbations(bad, bad))
    with pytest.raises(ArgumentError, match="`std` has the value 0"):
        noise(x, 0.0)
    with pytest.raises(ArgumentError, match="`samples` has the value 0"):
        noise(x, samples=0)
    with pytest.raises(ArgumentError, match="`samples` has the value 0"):
        removals(x, samples=0)
    explainer = slope_of(np.eye(5))
    with pytest.raises(ArgumentError, match="`radius` has the value 0"):
        max_sensitivity(explainer, None, x, radius=0.0)
    with pytest.raises(ArgumentError, match="`samples` has the value 0"):
        max_sensitivity(explainer, None, x, samples=0)


def test_spread_writes_players_back():
    players = patches((1, 4, 4), 2)
    values = np.arange(16.0).reshape(1, 1, 4, 4)
    back = spread(player_values(values, players), players, values.shape)
    assert back[0, 0, :2, :2].tolist() == [[10.0, 10.0], [10.0, 10.0]]
