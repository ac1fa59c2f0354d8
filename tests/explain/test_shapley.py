"""Shapley values on the page explain/shapley: axioms, uniqueness, enumeration, refusals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lepton_ref.explain import exact_shapley, kernel_shap, permutation_shapley
from lepton_ref.explain.gradients.models import patient_model
from lepton_ref.explain.perturbation import Game, patches
from lepton_ref.explain.shapley import (
    RatedItems,
    coalitions,
    dividends,
    shapley_value,
    shapley_weights,
)
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.models import load_model


def subset(players, *members):
    """The number of a coalition: bits of its members."""
    return sum(1 << i for i in members)


def by_orders(v, n):
    """φ by walking all n! orders, one player after another."""
    phi = np.zeros(n)
    for order in itertools.permutations(range(n)):
        here = 0
        for i in order:
            phi[i] += v[here | 1 << i] - v[here]
            here |= 1 << i
    return phi / math.factorial(n)


@pytest.mark.equation("shapley-orders", "shapley-value")
@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_the_value_is_the_mean_over_all_orders(n, rng, prove):
    """The formula with its factorials, and the fast one, against every order walked."""
    v = rng.normal(size=1 << n)
    walked = by_orders(v, n)
    literal = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for s in range(n):
            weight = math.factorial(s) * math.factorial(n - s - 1) / math.factorial(n)
            for S in itertools.combinations(others, s):
                literal[i] += weight * (v[subset(n, i, *S)] - v[subset(n, *S)])
    prove(literal, walked, oracle="all orders", tol=1e-12)
    prove(shapley_value(v), walked, oracle="all orders", tol=1e-12)


def test_the_weights_of_the_coalitions_without_a_player_sum_to_one():
    for n in (1, 2, 7, 20):
        counted = [math.comb(n - 1, s) for s in range(n)]
        assert abs(shapley_weights(n) @ counted - 1) < 1e-12


@pytest.mark.equation("shapley-efficiency", "shapley-additivity")
def test_all_is_shared_out_and_sums_of_games_add(rng, prove):
    v, w = rng.normal(size=(2, 64))
    prove(shapley_value(v).sum(), v[-1] - v[0], oracle="closed form", tol=1e-12)
    prove(
        shapley_value(2 * v + w), 2 * by_orders(v, 6) + by_orders(w, 6),
        oracle="all orders", tol=1e-12,
    )  # fmt: skip


@pytest.mark.equation("shapley-symmetry", "shapley-null")
def test_equal_players_get_the_same_and_idle_ones_nothing(rng, prove):
    """Players 0 and 1 count alike, player 2 adds 0.7 wherever it enters (a shifted null player)."""
    n, v = 5, np.zeros(32)
    table = rng.normal(size=(3, 4))
    for m, row in enumerate(coalitions(n)):
        v[m] = table[int(row[0]) + int(row[1]), int(row[3]) + 2 * int(row[4])] + 0.7 * row[2]
    phi = shapley_value(v)
    prove(phi[0], phi[1], oracle="symmetry", tol=1e-12)
    prove(phi[2], 0.7, oracle="closed form", tol=1e-12)
    # Without its constant it is a null player, and gets nothing.
    assert abs(shapley_value(v - 0.7 * coalitions(n)[:, 2])[2]) < 1e-12


@pytest.mark.equation("shapley-unanimity-value")
def test_a_unanimity_game_is_shared_among_its_members(prove):
    n = 5
    for T in ((0,), (1, 3), (0, 2, 4), (0, 1, 2, 3, 4)):
        u = coalitions(n)[:, list(T)].all(axis=1).astype(float)
        expected = np.zeros(n)
        expected[list(T)] = 1 / len(T)
        prove(shapley_value(u), expected, oracle="closed form", tol=1e-12)
        prove(by_orders(u, n), expected, oracle="closed form", tol=1e-12)


@pytest.mark.equation("shapley-dividend", "shapley-moebius", "shapley-unique")
def test_dividends_rebuild_the_game_and_are_shared_equally(rng, prove):
    """Any game is a sum of unanimity games; splitting each among its members is the value."""
    n, v = 5, rng.normal(size=32)
    rows = coalitions(n)
    literal, rebuilt, shared = np.zeros(32), np.zeros(32), np.zeros(n)
    inside = [[not (rows[S] & ~rows[T]).any() for S in range(32)] for T in range(32)]
    for T in range(32):
        for S in range(32):
            if inside[T][S]:
                literal[T] += (-1) ** int(rows[T].sum() - rows[S].sum()) * v[S]
    found = dividends(v)
    prove(found, literal, oracle="sum over subsets", tol=1e-12)
    for S in range(32):
        rebuilt[S] = sum(found[T] for T in range(32) if inside[S][T])
    prove(rebuilt, v, oracle="the game itself", tol=1e-12)
    for T in range(1, 32):
        shared[rows[T]] += literal[T] / rows[T].sum()
    prove(shapley_value(v), shared, oracle="dividends", tol=1e-12)


@pytest.mark.equation("shapley-linear")
def test_a_linear_model_gives_weight_times_distance(engine, rng, prove):
    """With a background the others drop out: w (x − mean of the background)."""
    from lepton_ref.framework.layers import Dense

    layer = Dense(6, 3, rng=rng).astype("float64")
    weight = next(
        engine.asnumpy(p) for name, p in layer.parameters().items() if name.endswith("weight")
    )
    x, rows = rng.normal(size=(2, 6)), rng.normal(size=(5, 6))
    found = exact_shapley(layer, x, [2, 0], background=rows)
    expected = weight[:, [2, 0]].T * (x - rows.mean(axis=0))
    prove(found.values, expected, oracle="closed form", tol=1e-9)
    prove(found.baseline_outputs, found.outputs - expected.sum(axis=1), oracle="closed form")


def plain(x):
    """Three outputs of eight columns, nowhere linear."""
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(8, 12)), rng.normal(size=(12, 3))
    return np.tanh(x @ first) @ second


def test_parity_with_the_exact_explainer_of_shap(rng):
    """Columns of a table with a background: ≤ 1e-8."""
    shap = pytest.importorskip("shap")
    x, rows = rng.normal(size=(2, 8)), rng.normal(size=(6, 8))
    ours = exact_shapley(plain, x, 1, background=rows)
    peer = shap.explainers.ExactExplainer(
        lambda z: plain(z)[:, 1], shap.maskers.Independent(rows, max_samples=100)
    )(x, silent=True)
    assert np.abs(ours.values - peer.values).max() <= 1e-8
    assert np.abs(ours.baseline_outputs - peer.base_values).max() <= 1e-8
    assert np.abs(ours.gap).max() < 1e-12


def test_parity_with_shap_on_the_patients(rng):
    """Ten groups of three measurements, the game itself put before shap's explainer."""
    shap = pytest.importorskip("shap")
    patients = patient_model(engine="numpy")
    # In float32 the rounding of a row depends on the batch that it comes in.
    network, row = patients.model.astype("float64"), patients.test_x[:1].astype(np.float64)
    groups = np.arange(30) % 10
    ours = exact_shapley(network, row, players=groups, baseline=0.0)
    game = Game(
        lambda rows: np.asarray(network.E.asnumpy(network(network.E.array(rows, "float64")))),
        row[0], int(ours.target[0]), groups, np.zeros((1, 30)),
    )  # fmt: skip
    peer = shap.explainers.ExactExplainer(
        lambda z: game(z > 0.5), shap.maskers.Independent(np.zeros((1, 10)))
    )(np.ones((1, 10)), silent=True)
    assert np.abs(ours.settings["player_values"][0] - peer.values[0]).max() <= 1e-8


def test_engines_agree(engine):
    patients = patient_model(engine=engine)
    found = exact_shapley(
        patients, patients.test_x[:2], players=np.arange(30) % 10,
        background=patients.train_x[:3],
    )  # fmt: skip
    numpy = patient_model(engine="numpy")
    same = exact_shapley(
        numpy, numpy.test_x[:2], players=np.arange(30) % 10, background=numpy.train_x[:3]
    )
    assert np.abs(found.values - same.values).max() < 1e-5
    assert np.abs(found.gap).max() < 1e-5


def test_a_player_of_several_entries_is_shared_among_them(rng):
    players = np.array([0, 0, 1, -1, 2, 2, 2, 1])
    x = rng.normal(size=(2, 8))
    found = exact_shapley(plain, x, 0, players=players)
    for row, values in zip(found.values, found.settings["player_values"]):
        assert np.allclose(np.bincount(players[players >= 0], row[players >= 0]), values)
    assert not found.values[:, 3].any()
    # An entry of nobody is never absent.
    still = np.where(players == -1, x, 0.0)
    assert np.allclose(found.baseline_outputs, plain(still)[:, 0])


def test_rated_films_as_players(rng):
    """A person's ratings as a game: v(S) is what the model predicts from S alone."""
    model = load_model("matrix_factorization_model")
    behaviour = dict(zip(model.item_ids[:7].tolist(), [5.0, 3.0, 4.0, 1.0, 5.0, 2.0, 4.0]))
    listened = RatedItems(model, behaviour)
    item = int(model.item_ids[49])
    found = exact_shapley(listened, listened.x, listened.column(item))
    v = []
    for row in coalitions(7):
        told = {item: r for keep, (item, r) in zip(row, behaviour.items()) if keep}
        v.append(model.predict(told)[listened.column(item)])
    assert np.allclose(found.values[0], by_orders_fast(np.array(v), 7), atol=1e-10)
    assert abs(found.outputs[0] - model.predict(behaviour)[listened.column(item)]) < 1e-12
    for bad, match in (
        ({}, "no rating"), ([1, 2], "list"), ({10**9: 3.0}, "the item 1000000000"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=match):
            RatedItems(model, bad)
    with pytest.raises(ArgumentError, match="an item of the model"):
        listened.column("Casablanca")


def by_orders_fast(v, n):
    """The literal formula, player by player; 7! orders would be slow."""
    phi = np.zeros(n)
    for i in range(n):
        for m in range(1 << n):
            if not m >> i & 1:
                s = bin(m).count("1")
                weight = math.factorial(s) * math.factorial(n - s - 1) / math.factorial(n)
                phi[i] += weight * (v[m | 1 << i] - v[m])
    return phi


EXPLAINERS = [exact_shapley, permutation_shapley, kernel_shap]


@pytest.mark.parametrize("explain", EXPLAINERS)
def test_bad_input_is_refused(explain, rng):
    x = rng.normal(size=(2, 8))
    bad = x.copy()
    bad[1, 3] = np.nan
    cases = [
        ({"x": bad}, "nan"),
        ({"x": x[:0]}, "at least one example"),
        ({"target": 3}, r"0\.\.2"),
        ({"target": [0, 1, 2]}, "target"),
        ({"baseline": np.zeros(7)}, r"baseline.*shape \(7,\)"),
        ({"baseline": np.full(8, np.inf)}, "inf"),
        ({"background": np.zeros((3, 7))}, r"background.*shape \(3, 7\)"),
        ({"background": np.full((3, 8), np.nan)}, "NaN or infinity"),
        ({"background": np.zeros((3, 8)), "baseline": 0.0}, "only one of them"),
        ({"players": np.arange(7)}, r"players.*shape \(7,\)"),
        ({"players": np.arange(8) * 2}, "without a gap"),
        ({"players": np.full(8, -1)}, "no player"),
        ({"players": np.linspace(0, 1, 8)}, "whole numbers"),
    ]
    for change, match in cases:
        given = {"x": x, **change}
        with pytest.raises(ArgumentError, match=match):
            explain(plain, given.pop("x"), **given)


@pytest.mark.parametrize("explain", EXPLAINERS)
def test_a_model_that_breaks_down_is_named(explain, rng):
    """Finite on what it knows, NaN where something is absent."""
    x = rng.normal(size=(1, 4)) + 5
    with pytest.raises(ArgumentError, match="not finite where players are absent"):
        explain(lambda z: np.where((z == 0).any(axis=1), np.nan, z.sum(axis=1)), x)


@pytest.mark.parametrize("explain", EXPLAINERS)
def test_a_constant_input_is_warned_of_and_gets_nothing(explain):
    """The input is its own baseline: every coalition looks the same."""
    with pytest.warns(UserWarning, match="equals its baseline"):
        found = explain(plain, np.zeros((1, 8)), 0)
    assert not found.values.any()


@pytest.mark.parametrize("explain", EXPLAINERS)
def test_a_saturated_model_gets_no_invented_values(explain, rng):
    """Where no coalition moves the output, no player is given anything, and no error is claimed."""
    x = rng.normal(size=(1, 8))
    found = explain(lambda z: np.full((len(z), 2), 3.0), x, 1)
    assert np.abs(found.values).max() < 1e-12
    assert found.standard_error is None or np.abs(found.standard_error).max() < 1e-12


def test_too_many_players_are_refused_with_the_number_and_the_way_out():
    x = np.zeros((1, 28, 28)) + 1
    with pytest.raises(ArgumentError, match=r"49 players.*at most 20.*kernel_shap"):
        exact_shapley(lambda z: z.sum(axis=(1, 2)), x, players=patches((28, 28), 4))


def test_written_out_games_of_another_length_are_refused():
    for function in (shapley_value, dividends):
        for v in (np.zeros(6), np.zeros(1), np.zeros((2, 2))):
            with pytest.raises(ArgumentError, match=r"\(2\^n,\)"):
                function(v)
    with pytest.raises(ArgumentError, match="`v` has dtype <U1; expected numbers"):
        shapley_value(["a", "b"])


@pytest.mark.parametrize("explain", EXPLAINERS)
def test_players_that_look_absent_cost_nothing(explain, rng):
    """30 columns of which 22 stand at the background's values: eight players, 256 coalitions."""
    x = np.zeros((1, 30))
    x[0, ::4] = rng.normal(size=8)
    seen = []

    def model(z):
        seen.append(len(z))
        return plain(z[:, ::4])

    found = explain(model, x, 2, players=np.append(np.arange(29), -1))
    assert not found.values[0, [i for i in range(30) if i % 4]].any()
    alone = exact_shapley(plain, x[:, ::4], 2)
    bound = 1e-10 if explain is exact_shapley else 4 * found.standard_error[:, ::4] + 1e-10
    assert (np.abs(found.values[:, ::4] - alone.values) <= bound).all()
    if explain is not permutation_shapley:
        assert sum(seen) <= 1 + 2 + 256
