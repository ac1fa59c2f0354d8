"""Proofs of the page recsys/system: blends, their error, lists merged from parts."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import zscore

import lepton_ref
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import ItemScores, read_behaviour, standardised, top_k
from lepton_ref.recsys.system import (
    RecommenderSystem,
    best_weight,
    blended_error,
    merge_top_k,
)

IDS = np.array([10, 20, 30, 40, 50])
INTEREST = np.array([0.1, 0.9, 0.4, 0.8, 0.2])
RATING = np.array([3.0, 4.0, 5.0, 2.0, 4.5])


# --- one scale ---------------------------------------------------------------------------


def test_candidates_have_mean_zero_and_spread_one(rng):
    scores = rng.normal(3, 7, (4, 9))
    np.testing.assert_allclose(standardised(scores), zscore(scores, axis=1), atol=1e-12)
    allowed = rng.random((4, 9)) < 0.6
    found = standardised(scores, allowed)
    for row, mask, raw in zip(found, allowed, scores):
        np.testing.assert_allclose(row[mask], zscore(raw[mask]), atol=1e-12)


@pytest.mark.equation("system-invariant")
def test_a_blend_does_not_see_units(rng, prove):
    a, b = rng.normal(size=(3, 8)), rng.normal(size=(3, 8))

    def blend(a, b):
        return 0.3 * standardised(a) + 0.7 * standardised(b)

    prove(blend(a, b), blend(100 * a - 7, 0.01 * b + 3), oracle="other units", tol=1e-12)
    # The order of a plain sum does change with them.
    assert (np.argsort(a + b) != np.argsort(100 * a - 7 + 0.01 * b + 3)).any()


def test_equal_scores_say_nothing():
    np.testing.assert_array_equal(standardised(np.full((2, 3), 0.1)), np.zeros((2, 3)))
    none = standardised(np.arange(3.0)[None], np.zeros((1, 3), bool))
    assert np.isfinite(none).all()


# --- the weight --------------------------------------------------------------------------


@pytest.fixture
def predictions(rng):
    truth = rng.integers(1, 6, 400).astype(float)
    shared = rng.normal(0, 0.5, 400)
    return truth + shared + rng.normal(0, 0.6, 400), truth + shared + rng.normal(0, 0.9, 400), truth


@pytest.mark.equation("system-blend-error")
def test_error_of_a_blend_from_the_errors_of_its_parts(predictions, prove):
    a, b, truth = predictions
    weights = np.array([-0.2, 0.0, 0.3, 0.75, 1.0, 1.4])
    direct = [np.mean((w * a + (1 - w) * b - truth) ** 2) for w in weights]
    prove(
        np.array([blended_error(a - truth, b - truth, w) for w in weights]),
        np.array(direct), oracle="the blend itself", tol=1e-12,
    )  # fmt: skip


@pytest.mark.equation("system-weight")
def test_the_best_weight_is_where_a_search_finds_it(predictions, prove):
    a, b, truth = predictions
    found = minimize_scalar(lambda w: np.mean((w * a + (1 - w) * b - truth) ** 2), tol=1e-14)
    prove(np.array([best_weight(a, b, truth)]), np.array([found.x]), oracle="scipy", tol=1e-6)


@pytest.mark.equation("system-gain")
def test_two_equal_errors_blend_to_their_mean_covariance(rng, prove):
    # σ = 1 for both and correlation ρ, exactly: an orthonormal basis of errors.
    basis = np.linalg.qr(rng.normal(size=(50, 2)))[0].T * np.sqrt(50)
    for rho in (0.0, 0.5, 0.9):
        first = basis[0]
        second = rho * basis[0] + np.sqrt(1 - rho**2) * basis[1]
        w = best_weight(first, second, np.zeros(50))
        prove(
            np.array([w, blended_error(first, second, w)]), np.array([0.5, (1 + rho) / 2]),
            oracle="constructed errors", tol=1e-12,
        )  # fmt: skip


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([1.0], [1.0, 2.0], [1.0, 2.0]), "`first`"),
        (([], [], []), "`first`"),
        (([1.0], [np.nan], [1.0]), "`second`"),
        (([1.0, 2.0], [1.0, 2.0], [0.0, 0.0]), "the same predictions as `first`"),
    ],
)
def test_weights_that_cannot_be_found(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        best_weight(*map(np.array, arguments))


# --- a catalogue in parts ----------------------------------------------------------------


@pytest.mark.equation("system-merge")
def test_the_best_of_the_parts_are_the_best_of_the_whole(rng, prove):
    scores = rng.integers(0, 12, (6, 40)).astype(float)  # with many ties
    scores[0, 3:] = -np.inf  # and a row with less than k
    items, values = [], []
    for part in np.array_split(np.arange(40), 3):
        best = top_k(scores[:, part], 7)
        items.append(np.where(best < 0, -1, part[best]))
        values.append(np.take_along_axis(scores[:, part], np.maximum(best, 0), axis=1))
    prove(
        merge_top_k(items, values, 7).astype(float), top_k(scores, 7).astype(float),
        oracle="the whole catalogue", tol=0,
    )  # fmt: skip


def test_parts_shorter_than_the_list_leave_it_short():
    found = merge_top_k([np.array([[2, -1]])], [np.array([[1.0, 9.0]])], 4)
    assert found.tolist() == [[2, -1, -1, -1]]
    with pytest.raises(ArgumentError, match="0 parts with 0"):
        merge_top_k([], [], 3)


# --- the list ----------------------------------------------------------------------------


def given(values, behaviour, several=False):
    rows = read_behaviour("test", behaviour, IDS, (1, 5))
    return ItemScores.of(np.atleast_2d(values), rows, IDS, several)


@pytest.mark.equation("system-blend")
def test_a_score_is_the_sum_of_its_two_parts(prove):
    system = RecommenderSystem(weight=0.3, k=5)
    found = system.generate_recommendations(given(INTEREST, {}), given(RATING, {}))
    by_hand = {int(i): 0.3 * a + 0.7 * b for i, a, b in zip(IDS, zscore(INTEREST), zscore(RATING))}
    assert [line.item_id for line in found] == sorted(by_hand, key=by_hand.get, reverse=True)
    prove(
        np.array([line.interest + line.rating for line in found]),
        np.array([by_hand[line.item_id] for line in found]), oracle="scipy", tol=1e-12,
    )  # fmt: skip
    assert all(line.score == line.interest + line.rating for line in found)


def test_what_was_had_and_what_is_not_sold_is_not_shown():
    system = RecommenderSystem(never={30})
    found = system.generate_recommendations(given(INTEREST, {20: 5}), given(RATING, {20: 5}))
    assert sorted(line.item_id for line in found) == [10, 40, 50]
    everything = {int(i): 3 for i in IDS}
    assert system.generate_recommendations(given(INTEREST, everything), given(RATING, {})) == []


def test_several_people_get_a_list_each():
    both = np.stack([INTEREST, INTEREST[::-1]]), np.stack([RATING, RATING])
    behaviour = [{20: 5}, {}]
    system = RecommenderSystem(k=2)
    lists = system.generate_recommendations(
        given(both[0], behaviour, True), given(both[1], behaviour, True)
    )
    assert [len(one) for one in lists] == [2, 2] and 20 not in [r.item_id for r in lists[0]]
    alone = system.generate_recommendations(
        given(INTEREST, behaviour[0]), given(RATING, behaviour[0])
    )
    assert lists[0] == alone
    numbers = system.top_items(given(both[0], behaviour, True), given(both[1], behaviour, True))
    assert IDS[numbers].tolist() == [[line.item_id for line in one] for one in lists]
    assert system.top_items(INTEREST, RATING).shape == (1, 2)


def test_plain_arrays_are_ranked_by_position():
    found = RecommenderSystem(weight=1.0, k=9).generate_recommendations(INTEREST, list(RATING))
    assert [line.item_id for line in found] == [1, 3, 2, 4, 0]


@pytest.mark.parametrize(
    "interests, features, message",
    [
        ("likes", RATING, "`user_interests` has a str that is no array"),
        (INTEREST, RATING[:3], r"`item_features` has shape \(3,\)"),
        (INTEREST * np.nan, RATING, "`user_interests` has NaN"),
        (np.zeros((1, 1, 5)), RATING, r"shape \(1, 1, 5\)"),
        (np.zeros(0), np.zeros(0), r"shape \(0,\)"),
        (given(INTEREST, {}), ItemScores.of(RATING[None], None, IDS + 1, False), "other items"),
    ],
)
def test_scores_that_do_not_fit_are_refused(interests, features, message):
    with pytest.raises(ArgumentError, match=message):
        RecommenderSystem().generate_recommendations(interests, features)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"weight": 1.5}, r"the value 1.5; expected a number in \[0, 1\]"),
        ({"weight": True}, "the value True"),
        ({"k": 0}, "the value 0; expected a whole number >= 1"),
        ({"never": "abc"}, "a collection of item ids"),
    ],
)
def test_a_system_that_cannot_be_is_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        RecommenderSystem(**options)


# --- the documents' listing --------------------------------------------------------------

LISTING = re.search(
    r"^```python\n(from lepton_ref import Coll.*?)^```",
    (Path(__file__).parents[2] / "book/recsys/system.md").read_text(encoding="utf-8"),
    re.S | re.M,
)[1]


@pytest.mark.parametrize(
    "behaviour", [{50: 5, 181: 5, 204: 4}, [50, 181, 204], [(50, 5), (181, 4)]]
)
def test_the_listing_runs_as_printed_on_the_shipped_models(behaviour):
    space = {"user_behavior": behaviour}
    exec(LISTING, space)
    found = space["recommendations"]
    had = {pair[0] if isinstance(pair, tuple) else pair for pair in behaviour}
    assert len({line.item_id for line in found}) == 10
    assert not had & {line.item_id for line in found}
    assert 172 in [line.item_id for line in found]  # The Empire Strikes Back
    scores = [line.score for line in found]
    assert scores == sorted(scores, reverse=True)


def test_different_people_get_different_lists():
    lists = []
    for liked in ([50, 181, 204], [432, 588, 596]):  # adventures; animated films for children
        space = {"user_behavior": liked}
        exec(LISTING, space)
        lists.append({line.item_id for line in space["recommendations"]})
    assert len(lists[0] & lists[1]) < 4


@pytest.mark.parametrize("name", ["collaborative_filtering_model", "matrix_factorization_model"])
def test_the_shipped_models_describe_items_and_nobody(name):
    model = lepton_ref.load_model(name)
    n = len(model.item_ids)
    assert n == 1682
    assert all(array.shape[:1] in ((n,), (1,)) for array in model.state().values())
    assert 943 not in [size for array in model.state().values() for size in array.shape]
