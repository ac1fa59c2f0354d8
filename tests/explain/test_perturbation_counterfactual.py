"""Counterfactuals on the page explain/perturbation: they flip, nothing in them is idle."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lepton_ref.explain import counterfactual
from lepton_ref.explain.gradients.boxes import black_box
from lepton_ref.explain.gradients.models import fashion_model, patient_model, review_model
from lepton_ref.explain.perturbation import deviations, patches
from lepton_ref.framework.errors import ArgumentError


def linear(g, level):
    """A single output, g · x + level."""
    return lambda x: np.asarray(x) @ g + level


@pytest.mark.equation("perturbation-cheapest")
def test_the_cheapest_change_of_a_linear_lead(rng, prove):
    """The closed form against a linear programme, and our search against both."""
    from scipy.optimize import linprog

    g, x = rng.normal(size=6), rng.normal(size=(1, 6))
    rows = rng.normal(size=(400, 6)) * [1, 2, 0.5, 3, 1, 0.2] * 3
    level = 1.5 - float((x @ g)[0])
    mad = deviations(rows)
    programme = linprog(
        np.tile(1 / mad, 2), A_eq=np.concatenate([g, -g])[None], b_eq=[-1.5], bounds=(0, None)
    )
    prove(1.5 / np.max(np.abs(g) * mad), programme.fun, oracle="scipy linprog", tol=1e-9)
    found = counterfactual(linear(g, level), x, training=rows)
    assert found.settings["flipped"].all()
    # As cheap, up to the margin and the last step, and in one column.
    assert 1 < found.settings["cost"][0] / programme.fun < 1.003
    assert found.settings["changed"][0].tolist() == [int(np.argmax(np.abs(g) * mad))]


@pytest.mark.equation("perturbation-spread")
def test_the_shortest_change_is_spread_over_all(rng, prove):
    from scipy.optimize import minimize

    g, lead = rng.normal(size=5), 0.8
    found = minimize(
        lambda d: d @ d, np.ones(5), constraints={"type": "eq", "fun": lambda d: g @ d + lead},
        tol=1e-12,
    )  # fmt: skip
    prove(-lead / (g @ g) * g, found.x, oracle="scipy SLSQP", tol=1e-5)


def test_deviations_are_those_of_scipy(rng):
    from scipy.stats import median_abs_deviation

    rows = rng.normal(size=(101, 4))
    assert np.allclose(deviations(rows), median_abs_deviation(rows, axis=0))
    rows[:60, 1], rows[:, 2] = 3.0, 1.0
    assert deviations(rows)[1] == pytest.approx(rows[:, 1].std()) and deviations(rows)[2] == 1


@pytest.mark.parametrize("lead", [None, 0.3])
def test_patients_flip_and_nothing_is_idle(engine, lead):
    patients = patient_model(engine=engine)
    x, f = patients.test_x[:3], black_box(patients)
    fixed = [0, 20, 27]
    found = counterfactual(
        patients, x, training=patients.train_x, immutable=fixed, margin=lead
    )  # fmt: skip
    other = found.settings["counterfactual"]
    assert found.settings["flipped"].all() and found.gap is None
    before, after = f(x), f(other)
    assert (before.argmax(axis=1) == found.target).all()
    assert (after.argmax(axis=1) == found.settings["decision"]).all()
    assert (found.settings["decision"] != found.target).all()
    mad = deviations(patients.train_x)
    for i, changed in enumerate(found.settings["changed"]):
        assert not set(changed) & set(fixed)
        assert (np.flatnonzero(other[i] != x[i]) == changed).all()
        k = found.target[i]
        m = after[i, k] - after[i, 1 - k]
        least = found.settings["margin"][i]
        assert least == lead or abs(least - 1e-3 * abs(before[i, 0] - before[i, 1])) < 1e-5
        assert m + least < 1e-5
        for column in changed:
            undone = other[i].copy()
            undone[column] = x[i, column]
            back = f(undone[None])[0]
            assert back[k] - back[1 - k] + least >= -1e-5, "a change that was not needed"
            worth = back[k] - back[1 - k] - m
            assert abs(found.values[i, column] - worth) < 1e-4
        assert np.count_nonzero(found.values[i]) == len(changed)
        cost = (np.abs(other[i].astype(float) - x[i]) / mad).sum()
        assert abs(cost - found.settings["cost"][i]) < 1e-3
        # Nothing leaves the range of what occurs.
        assert (other[i] >= np.minimum(patients.train_x.min(axis=0), x[i]) - 1e-6).all()
        assert (other[i] <= np.maximum(patients.train_x.max(axis=0), x[i]) + 1e-6).all()


def test_a_wish_for_one_decision(rng):
    """Of three classes the nearest is not the one asked for."""
    W = np.array([[1.0, 0.0], [-1.0, 0.2], [0.0, 1.0]])  # logits = W x + b
    b = np.array([0.0, 0.5, -4.0])
    f = lambda x: np.asarray(x) @ W.T + b  # noqa: E731
    x, rows = np.array([[1.0, 0.0]]), rng.normal(size=(300, 2)) * 4
    assert counterfactual(f, x, training=rows).settings["decision"].tolist() == [1]
    wished = counterfactual(f, x, 0, to=2, training=rows)
    assert wished.settings["decision"].tolist() == [2]
    assert wished.settings["cost"][0] > counterfactual(f, x, training=rows).settings["cost"][0]


def removal_by_force(f, x, lead, most=3):
    """The smallest number of entries of x whose zeroing flips, by trying all."""
    for size in range(1, most + 1):
        for gone in itertools.combinations(range(x.shape[1]), size):
            y = x.copy()
            y[:, list(gone)] = 0
            if lead(f(y)[0]) < 0:
                return size
    return most + 1


@pytest.mark.equation("perturbation-certificate")
def test_up_to_two_the_removal_is_the_smallest(rng, prove):
    """Random networks: singles, pairs and more, against trying everything."""
    sizes, forced, bounds = [], [], []
    for seed in range(40):
        own = np.random.default_rng(seed)
        first, second = own.normal(size=(7, 9)), own.normal(size=9)
        f = lambda x: np.tanh(np.asarray(x) @ first) @ second + 0.8  # noqa: B023, E731
        x = own.normal(size=(1, 7))
        sign = 1 if f(x)[0] > 0 else -1
        found = counterfactual(f, x)
        least = removal_by_force(f, x, lambda y: sign * y)  # noqa: B023
        bounds.append(found.settings["at_least"][0] <= least)
        if least <= 2:
            sizes.append(found.settings["cost"][0])
            forced.append(float(least))
        elif found.settings["flipped"][0]:
            assert found.settings["cost"][0] >= 3 and found.settings["at_least"][0] == 3
    prove(np.array(sizes), np.array(forced), oracle="all sets", tol=0)
    assert all(bounds) and {1.0, 2.0} <= set(forced)


@pytest.mark.parametrize("seed", [37, 118, 187])
def test_what_was_taken_greedily_and_is_not_needed_is_put_back(seed):
    """Networks on which greed alone takes one to five players too many."""
    own = np.random.default_rng(seed)
    first, second, x = own.normal(size=(9, 9)), own.normal(size=9), own.normal(size=(1, 9))
    f = lambda x: np.tanh(np.asarray(x) @ first) @ second + 0.8  # noqa: E731
    found = counterfactual(f, x)
    gone = found.settings["changed"][0]
    assert found.settings["flipped"][0] and len(gone) >= 3
    other = found.settings["counterfactual"]
    assert (f(other)[0] > 0) != (f(x)[0] > 0)
    for i in gone:
        back = other.copy()
        back[0, i] = x[0, i]
        assert (f(back)[0] > 0) == (f(x)[0] > 0)


def test_words_are_taken_out_until_a_review_flips():
    review = review_model("numpy")
    text = (
        "The coffee is not bad but the bag was torn and it arrived stale, I will not buy it again."
    )
    ids = review.tokens(text)
    x, f = review.embed(ids), black_box(review.given(ids))
    found = counterfactual(review.given(ids), x, players=np.arange(ids.shape[1])[:, None])
    gone = found.settings["changed"][0]
    assert found.settings["flipped"][0] and len(gone) == found.settings["cost"][0]
    words = review.words(text)
    assert "stale" in [words[i] for i in gone]
    y = f(found.settings["counterfactual"])[0]
    assert y.argmax() != found.target[0]
    for i in gone:  # no word is put back without losing the flip
        back = found.settings["counterfactual"].copy()
        back[0, i] = x[0, i]
        assert f(back)[0].argmax() == found.target[0]
    summed = found.summed().values[0]
    assert (np.flatnonzero(summed) == gone).all() and (summed[gone] > 0).all()


def test_patches_of_a_picture(engine):
    fashion = fashion_model(engine)
    x, f = fashion.x[:1], black_box(fashion)
    found = counterfactual(fashion, x, players=patches((1, 28, 28), 7), baseline=fashion.black)
    other = found.settings["counterfactual"]
    assert found.settings["flipped"][0] and f(other)[0].argmax() != found.target[0]
    changed = (other != x)[0, 0]
    assert np.allclose(other[0, 0][changed], fashion.black)


def test_what_cannot_flip_says_so(rng):
    constant = lambda x: np.tile([2.0, 0.5], (len(x), 1))  # noqa: E731
    x = rng.normal(size=(2, 4))
    for more in ({}, {"training": rng.normal(size=(9, 4))}, {"immutable": range(4)}):
        found = counterfactual(constant, x, **more)
        assert not found.settings["flipped"].any() and not found.values.any()
        assert np.array_equal(found.settings["counterfactual"], x)
        assert (found.settings["decision"] == found.target).all()
    # 300 players are too many for pairs: the bound is that of the singles.
    many = counterfactual(lambda z: z.sum(axis=1) - 297.5, np.ones((1, 300)))
    assert many.settings["at_least"][0] == 2 and many.settings["cost"][0] == 3


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"target": 2}, r"target.*expected 0, the model's decision for example 0"),
        ({"target": [0, 1]}, r"target` has shape \(2,\); expected one number or \(1,\)"),
        ({"target": 0.0}, "target` has dtype float64; expected whole numbers"),
        ({"to": 0}, "another than the present decision"),
        ({"to": 3}, r"0\.\.2"),
        ({"to": 1.0}, r"0\.\.2"),
        ({"immutable": [4]}, "numbers from 0 to 3"),
        ({"levels": 1}, ">= 2"),
        ({"margin": -1.0}, ">= 0"),
        ({"training": np.ones((5, 3))}, r"shape \(5, 3\)"),
        ({"training": np.full((5, 4), np.nan)}, "NaN or infinity"),
        ({"training": np.ones((5, 4)), "players": np.arange(4)}, "only one of them"),
        ({"baseline": np.ones(3)}, r"shape \(3,\)"),
        ({"x": np.full((1, 4), np.nan)}, "nan"),
    ],
)
def test_bad_input_is_refused(given, match):
    W = np.array([[3.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    given = {"x": np.ones((1, 4)), **given}
    with pytest.raises(ArgumentError, match=match):
        counterfactual(lambda x: np.asarray(x) @ W.T, given.pop("x"), **given)


def test_a_single_output_has_no_other_wish():
    asked = lambda target: counterfactual(lambda x: x.sum(axis=1), np.ones((1, 3)), target)  # noqa: E731
    assert asked(0).target.tolist() == asked(None).target.tolist() == [0]
    with pytest.raises(ArgumentError, match=r"`target` has the value 7; expected 0\.\.0"):
        asked(7)
    with pytest.raises(ArgumentError, match="a model of one output"):
        counterfactual(lambda x: x.sum(axis=1), np.ones((1, 3)), to=0)
