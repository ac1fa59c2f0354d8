"""The factor models: what they learn, whom they answer, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError, ModelFileError
from lepton_ref.recsys.evaluation import (
    Ratings,
    folds,
    movielens,
    ranking_report,
    rmse,
    stratified_split,
)
from lepton_ref.recsys.factorization import (
    BiasedMF,
    ExplicitALS,
    ImplicitALS,
    MatrixFactorization,
    SVDPlusPlus,
)
from tests.data import load_or_skip

MODELS = [
    lambda: BiasedMF(factors=4, epochs=3, seed=1),
    lambda: SVDPlusPlus(factors=4, epochs=3, seed=1),
    lambda: SVDPlusPlus(factors=4, epochs=3, days=True, seed=1),
    lambda: ExplicitALS(factors=4, iterations=3, seed=1),
    lambda: ImplicitALS(factors=4, iterations=3, seed=1),
]
NAMES = ["mf", "svdpp", "days", "als", "implicit"]
RATING = MODELS[:4]


@pytest.fixture
def table(rng):
    """30 people, 12 items; person 29 and item 11 have no rating."""
    known = rng.random((30, 12)) < 0.5
    known[29], known[:, 11] = False, False
    u, i = np.nonzero(known)
    values, times = rng.integers(1, 6, len(u)).astype(float), rng.integers(0, 10**6, len(u))
    return Ratings.of(u, i, values, times, scale=(1, 5), user_ids=range(30), item_ids=range(12))


@pytest.mark.parametrize("make", RATING, ids=NAMES[:4])
def test_somebody_and_something_never_seen(table, make):
    model = make().fit(table)
    assert not model.user_factors[29].any() and not model.item_factors[11].any()
    assert model.user_bias[29] == 0 == model.item_bias[11]
    assert model.predict([29], [11])[0] == pytest.approx(table.values.mean())
    expected = np.clip(model.mean + model.item_bias, 1, 5)
    np.testing.assert_allclose(model.predict([29] * 12, np.arange(12)), expected)


def test_whoever_did_nothing_gets_what_is_popular(table):
    model = ImplicitALS(factors=4, iterations=3).fit(table)
    counts = np.bincount(table.items, minlength=12)
    order = model.recommend([29], k=12)[0]
    assert (np.diff(counts[order]) <= 0).all()
    np.testing.assert_allclose(model.predict([29, 29], [0, 11]), counts[[0, 11]] / counts.sum())


@pytest.mark.parametrize("make", MODELS, ids=NAMES)
def test_lists(table, make):
    model = make().fit(table)
    lists = model.recommend(k=5)
    scores = model.scores()
    assert lists.shape == (30, 5) and scores.shape == (30, 12)
    seen = table.matrix()
    for u, row in enumerate(lists):
        left = np.setdiff1d(np.arange(12), seen.indices[seen.indptr[u] : seen.indptr[u + 1]])
        wanted = left[np.argsort(-scores[u, left], kind="stable")][:5]
        np.testing.assert_array_equal(row[: len(wanted)], wanted)
        assert (row[len(wanted) :] == -1).all()
    np.testing.assert_array_equal(model.recommend([7, 3], k=5), lists[[7, 3]])
    everything = model.recommend([0], k=40, exclude_seen=False)[0]
    assert sorted(everything[:12]) == list(range(12)) and (everything[12:] == -1).all()


@pytest.mark.parametrize("make", MODELS, ids=NAMES)
def test_blocks_change_nothing(table, make, monkeypatch):
    model = make().fit(table)
    whole = model.recommend(k=3)
    monkeypatch.setattr("lepton_ref.recsys.evaluation.selection.BLOCK", 25)
    np.testing.assert_array_equal(model.recommend(k=3), whole)


@pytest.mark.parametrize("make", MODELS, ids=NAMES)
def test_the_seed_decides(table, make):
    first, again, other = make().fit(table), make().fit(table), make()
    other.seed = 9
    other.fit(table)
    np.testing.assert_array_equal(first.user_factors, again.user_factors)
    assert not np.allclose(first.user_factors, other.user_factors)


@pytest.mark.parametrize("make", MODELS, ids=NAMES)
def test_bad_questions(table, make):
    model = make()
    with pytest.raises(ArgumentError, match="after fit"):
        model.predict([0], [0])
    with pytest.raises(ArgumentError, match="after fit"):
        model.recommend()
    with pytest.raises(ArgumentError, match="Ratings"):
        model.fit(table.matrix())
    with pytest.raises(ArgumentError, match="no rows"):
        model.fit(table.take(np.zeros(0, np.int64)))
    model.fit(table)
    for users, items in (([30], [0]), ([-1], [0]), ([0], [12])):
        with pytest.raises(ArgumentError, match="numbers from 0 to"):
            model.predict(users, items)
    for users in ([0.5], ["3"], [[0]]):
        with pytest.raises(ArgumentError, match="whole numbers"):
            model.scores(users)
    with pytest.raises(ArgumentError, match="like users"):
        model.predict([0, 1], [0])
    for k in (0, 2.5, True):
        with pytest.raises(ArgumentError, match="whole number >= 1"):
            model.recommend(k=k)
    assert model.predict([], []).shape == (0,)


@pytest.mark.parametrize("cls", [BiasedMF, SVDPlusPlus, ExplicitALS, ImplicitALS])
def test_bad_settings(cls):
    for bad in ({"factors": 0}, {"factors": 2.0}, {"seed": -1}, {"seed": None}, {"reg": -1.0},
                {"reg": float("nan")}, {"reg": "x"}):  # fmt: skip
        with pytest.raises(ArgumentError, match=next(iter(bad))):
            cls(**bad)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: BiasedMF(lr=0.0), "lr"),
        (lambda: BiasedMF(epochs=0), "epochs"),
        (lambda: SVDPlusPlus(decay=float("inf")), "decay"),
        (lambda: SVDPlusPlus(days="yes"), "days"),
        (lambda: SVDPlusPlus(reg_day=-1), "reg_day"),
        (lambda: ExplicitALS(weighted=1), "weighted"),
        (lambda: ExplicitALS(reg=0), "reg"),
        (lambda: ImplicitALS(alpha=0), "alpha"),
        (lambda: ImplicitALS(solver="newton"), "solver"),
        (lambda: ImplicitALS(dtype="float16"), "dtype"),
        (lambda: ImplicitALS(cg_steps=0), "cg_steps"),
    ],
)
def test_each_model_names_the_setting(make, name):
    with pytest.raises(ArgumentError, match=f"`{name}`"):
        make()


def test_a_rate_that_is_too_large_is_refused(table):
    for cls in (BiasedMF, SVDPlusPlus):
        with pytest.raises(ArgumentError, match="smaller one"):
            cls(factors=4, lr=50.0, decay=1.0).fit(table)


def test_what_implicit_feedback_may_not_be(table):
    from dataclasses import replace

    wrong = replace(table, values=table.values - 1)
    with pytest.raises(ArgumentError, match="values above 0"):
        ImplicitALS().fit(wrong)


def test_days(table):
    model = SVDPlusPlus(factors=3, epochs=5, days=True, seed=2).fit(table)
    u, i, t = table.users, table.items, table.times
    plain, dated = model.predict(u, i, clip=False), model.predict(u, i, clip=False, times=t)
    day = {key: bias for key, bias in zip(model.known_days, model.day_bias)}
    added = [day[user * 2**32 + when // 86_400] for user, when in zip(u.tolist(), t.tolist())]
    np.testing.assert_allclose(dated - plain, added, atol=1e-12)
    assert np.abs(model.day_bias).max() > 0
    never = model.predict(u, i, clip=False, times=t + 10**9)
    np.testing.assert_array_equal(never, plain)
    with pytest.raises(ArgumentError, match="no times"):
        SVDPlusPlus(days=True).fit(Ratings.of([0, 1], [0, 1]))
    with pytest.raises(ArgumentError, match="no days"):
        SVDPlusPlus(factors=3).fit(table).predict(u, i, times=t)
    with pytest.raises(ArgumentError, match="whole seconds"):
        model.predict(u, i, times=t[:3])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["exact", "cg"])
def test_implicit_solvers_and_dtypes_go_down(table, solver, dtype):
    model = ImplicitALS(factors=4, iterations=6, solver=solver, dtype=dtype, reg=0.5, alpha=2.0)
    losses = model.fit(table, history=True).history
    assert all(b <= a * (1 + 1e-6) for a, b in zip(losses, losses[1:]))
    assert model.user_factors.dtype == dtype == model.scores([0]).dtype
    reference = ImplicitALS(factors=4, iterations=6, reg=0.5, alpha=2.0).fit(table, history=True)
    assert losses[-1] == pytest.approx(reference.history[-1], rel=0.02)


def test_scale_of_the_ratings(table):
    model = ExplicitALS(factors=8, iterations=10, reg=0.001).fit(table)
    loose = model.predict(np.repeat(np.arange(30), 12), np.tile(np.arange(12), 30), clip=False)
    tight = model.predict(np.repeat(np.arange(30), 12), np.tile(np.arange(12), 30))
    assert loose.max() > 5 and tight.max() == 5 and tight.min() >= 1


# --- the public class ----------------------------------------------------------------------


@pytest.fixture
def public(table):
    return MatrixFactorization(factors=4, iterations=3, reg=0.1).fit(table)


def test_behaviour_is_folded_in(public, table):
    """A user of the training set gets what ALS says of them, to the float32 of the file."""
    whole = ExplicitALS(factors=4, iterations=3, reg=0.1).fit(table)
    mine = table.users == 3
    behaviour = dict(zip(table.items[mine].tolist(), table.values[mine].tolist()))
    want = whole.predict([3] * 12, np.arange(12))
    np.testing.assert_allclose(public.predict(behaviour), want, atol=1e-5)
    vector = np.full(12, np.nan)
    vector[table.items[mine]] = table.values[mine]
    pairs = list(behaviour.items())
    for form in (pairs, vector):
        np.testing.assert_allclose(public.predict(form), public.predict(behaviour))
    several = public.predict(np.stack([vector, np.zeros(12)]))
    assert several.shape == (2, 12)
    np.testing.assert_allclose(several[0], public.predict(behaviour))
    assert public.predict([behaviour]).shape == (1, 12) == public.predict(vector[None]).shape


def test_no_behaviour_gives_the_films_averages(public):
    want = np.clip(public.mean + public.item_bias.astype(float), 1, 5)
    for nothing in ({}, [], np.zeros(12)):
        np.testing.assert_allclose(public.predict(nothing), want)


def test_saved_and_loaded(public, table, tmp_path):
    path = public.save(tmp_path / "small", {"text": "twelve items"})
    loaded = MatrixFactorization.load_model("small", path=tmp_path)
    assert loaded.description["text"] == "twelve items" and path.name == "small.safetensors"
    np.testing.assert_array_equal(loaded.predict([3, 4]), public.predict([3, 4]))
    assert loaded.scale == (1, 5) and loaded.item_ids.tolist() == list(range(12))
    content = path.read_bytes()
    assert set(loaded.state()) == {"item_factors", "item_bias", "mean"}
    assert len(content) < 12 * 5 * 4 + 1500  # nothing of 29 people is in it


def test_ids_that_are_words(tmp_path):
    data = Ratings.of(["ann", "ann", "bob"], ["tea", "jam", "tea"], [5, 1, 4], scale=(1, 5))
    model = MatrixFactorization(factors=2, iterations=2).fit(data)
    model.save(tmp_path / "words")
    loaded = MatrixFactorization.load_model("words", path=tmp_path)
    np.testing.assert_array_equal(loaded.predict({"tea": 5}), model.predict({"tea": 5}))
    with pytest.raises(ArgumentError, match="coffee"):
        loaded.predict({"coffee": 5})


def test_public_refusals(public, tmp_path):
    with pytest.raises(ArgumentError, match="after fit"):
        MatrixFactorization().predict({})
    with pytest.raises(ArgumentError, match="ratings from 1 to 5"):
        public.predict({3: 9})
    with pytest.raises(ModelFileError, match="no model"):
        MatrixFactorization.load_model("nowhere", path=tmp_path)


# --- the benchmark of scale ----------------------------------------------------------------


def test_synthetic_interactions_follow_a_power_law():
    from benchmarks.recsys.scale import interactions

    made = interactions(300, 100, 4_000)
    assert len(made) == 4_000 == len(np.unique(made.users * 100 + made.items))
    counts = np.sort(np.bincount(made.items, minlength=100))[::-1]
    assert counts[:10].sum() > 3 * counts[-50:].sum() / 5
    again = interactions(300, 100, 4_000)
    np.testing.assert_array_equal(made.items, again.items)


def test_growth_is_read_off_and_drawn_on():
    from benchmarks.recsys.scale import growth

    rows = [
        {"interactions": n, "exact_s": 2e-6 * n, "cg_s": 1e-9 * n**1.5, "peak_gib": 0.1 + 5e-8 * n}
        for n in (10**6, 10**7)
    ]
    found = growth(rows)
    assert (found["exact_exponent"], found["cg_exponent"]) == (1.0, 1.5)
    assert found["exact_s"] == pytest.approx(200) and found["peak_gib"] == pytest.approx(5.1)


# --- MovieLens -----------------------------------------------------------------------------


def test_movielens():
    """Small models on one fold: below the published figures of bigger ones."""
    train, test = folds(movielens(load_or_skip("movielens-100k")), 5, seed=0)[1]
    biased = BiasedMF(factors=20, epochs=20).fit(train)
    assert rmse(biased.predict(test.users, test.items), test.values) < 0.934
    plus = SVDPlusPlus(factors=20, epochs=20).fit(train)
    assert rmse(plus.predict(test.users, test.items), test.values) < 0.925
    assert all(b < a for a, b in zip(plus.history, plus.history[1:]))


def test_movielens_ranking():
    train, test = stratified_split(movielens(load_or_skip("movielens-100k")), 0.25, seed=0)
    model = ImplicitALS(factors=32, iterations=8).fit(train)
    assert ranking_report(model.recommend(), test).ndcg > 0.43


def test_an_item_of_few_raters_has_no_vector():
    users, items = np.array([0, 1, 2, 0, 1]), np.array([0, 0, 0, 1, 2])
    train = Ratings.of(users, items, [5.0, 4, 3, 2, 1], scale=(1, 5))
    model = MatrixFactorization(factors=2, iterations=3, min_support=2).fit(train)
    assert np.abs(model.item_factors[0]).max() > 0
    assert not model.item_factors[1:].any() and not model.item_bias[1:].any()
    assert model.config()["min_support"] == 2
    every = MatrixFactorization(factors=2, iterations=3).fit(train)
    assert np.abs(every.item_factors).max(1).min() > 0
    with pytest.raises(ArgumentError, match="min_support"):
        MatrixFactorization(min_support=0)


def test_the_shipped_model_keeps_films_of_few_raters_to_itself():
    model = MatrixFactorization.load_model("matrix_factorization_model")
    bare = ~model.item_factors.any(axis=1)
    data = load_or_skip("movielens-100k")
    raters = np.bincount(data.items, minlength=1683)[1:]
    assert np.array_equal(bare, raters < 5)


@pytest.mark.parametrize("scale", [5, (5, 1), (1, 2, 3)])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(ArgumentError, match="`scale` has the value"):
        MatrixFactorization(scale=scale)


@pytest.mark.parametrize("model", [BiasedMF, SVDPlusPlus, ExplicitALS, ImplicitALS])
def test_names_as_ids_a_user_who_has_everything_and_an_item_nobody_has(model):
    people, things = ["ann", "ann", "ann", "bob", "cy", "cy"], list("xyzxyz")
    train = Ratings.of(
        people, things, [5.0, 4, 1, 2, 4, 3], scale=(1, 5),
        user_ids=["ann", "bob", "cy", "dora"], item_ids=["x", "y", "z", "new"],
    )  # fmt: skip
    fitted = model(factors=2).fit(train)
    lists = fitted.recommend(k=9)  # more than there are
    assert lists.shape == (4, 9)
    ann, dora = lists[train.user("ann")], lists[train.user("dora")]
    assert ann[0] == train.item("new") and (ann[1:] == -1).all()
    assert sorted(dora[:4]) == [0, 1, 2, 3] and (dora[4:] == -1).all()
    if model is ImplicitALS:  # what nobody has comes last
        assert lists[train.user("bob")][2] == train.item("new") == dora[3]
