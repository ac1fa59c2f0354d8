"""The simple models of the page recsys/evaluation: closed forms, Surprise, sensible answers."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import (
    BiasBaseline,
    ItemMean,
    Popularity,
    Random,
    Ratings,
    folds,
    movielens,
    random_split,
    ranking_report,
    rmse,
    stratified_split,
)
from tests.data import load_or_skip

MODELS = {
    "random": Random,
    "popularity": Popularity,
    "chart": lambda: Popularity(chart=3),
    "item mean": ItemMean,
    "bias": BiasBaseline,
}


def ratings(seed=0, n_users=8, n_items=13):
    """User 7 and item 12 have no rating; user 0 has rated everything else."""
    rng = np.random.default_rng(seed)
    given = rng.random((n_users, n_items)) < 0.4
    given[0], given[7], given[:, 12] = True, False, False
    users, items = np.nonzero(given)
    values = np.clip(np.round(3.3 + rng.normal(size=len(users))), 1, 5)
    return Ratings.of(
        users, items, values, scale=(1, 5), user_ids=range(n_users), item_ids=range(n_items)
    )


@pytest.mark.equation("receval-bias-step")
def test_one_turn_by_loops(prove):
    r = ratings()
    model = BiasBaseline(3.0, 2.0, epochs=1).fit(r)
    mu = sum(r.values) / len(r)
    items = np.zeros(r.n_items)
    for i in range(r.n_items):
        mine = [v - mu for j, v in zip(r.items, r.values) if j == i]
        items[i] = sum(mine) / (2.0 + len(mine))
    users = np.zeros(r.n_users)
    for u in range(r.n_users):
        mine = [v - mu - items[i] for w, i, v in zip(r.users, r.items, r.values) if w == u]
        users[u] = sum(mine) / (3.0 + len(mine))
    found = {"users": model.user_bias, "items": model.item_bias}
    prove(found, {"users": users, "items": items}, oracle="loops", tol=1e-12)


@pytest.mark.equation("receval-bias-step", "receval-bias-normal")
def test_turns_end_at_the_minimum(prove):
    """The gradient is zero there, the linear system holds, and each turn has lowered the loss."""
    from scipy.optimize import minimize

    r = ratings()
    lu, li = 3.0, 2.0
    mu = r.values.mean()

    def loss(b):
        bu, bi = b[: r.n_users], b[r.n_users :]
        error = r.values - mu - bu[r.users] - bi[r.items]
        return (error**2).sum() + lu * (bu**2).sum() + li * (bi**2).sum()

    def biases(epochs):
        model = BiasBaseline(lu, li, epochs).fit(r)
        return np.concatenate([model.user_bias, model.item_bias])

    losses = [loss(biases(epochs)) for epochs in (1, 2, 3, 5, 9)]
    assert losses == sorted(losses, reverse=True)
    found = biases(400)
    searched = minimize(loss, np.zeros(r.n_users + r.n_items), method="BFGS").x
    prove(found, searched, oracle="SciPy's minimiser", label="receval-bias-step", tol=1e-4)
    M = (r.matrix().toarray() != 0).astype(float)
    D = np.diag(np.concatenate([M.sum(1) + lu, M.sum(0) + li]))
    Z = np.zeros
    left = D + np.block([[Z((r.n_users,) * 2), M], [M.T, Z((r.n_items,) * 2)]])
    residual = r.values - mu
    right = [np.bincount(r.users, residual, r.n_users), np.bincount(r.items, residual, r.n_items)]
    solved = np.linalg.solve(left, np.concatenate(right))
    prove(found, solved, oracle="linear system", label="receval-bias-normal", tol=1e-10)


def test_item_mean_is_the_mean():
    r = ratings()
    plain, shrunk = ItemMean().fit(r), ItemMean(2.0).fit(r)
    for i in range(12):
        mine = r.values[r.items == i]
        assert plain.predict([1], [i])[0] == pytest.approx(mine.mean())
        padded = np.concatenate([mine, [r.values.mean()] * 2])
        assert shrunk.predict([7], [i])[0] == pytest.approx(padded.mean())
    assert plain.predict([1], [12])[0] == pytest.approx(r.values.mean())


def test_biases_are_surprises():
    """Surprise's BaselineOnly on the same fold, prediction by prediction."""
    import surprise

    whole = movielens(load_or_skip("movielens-100k"))
    train, test = folds(whole)[0]
    reader = surprise.Reader(rating_scale=(1, 5))
    rows = [(int(u), int(i), v, None) for u, i, v in zip(train.users, train.items, train.values)]
    data = surprise.Dataset(reader)
    theirs = surprise.BaselineOnly(verbose=False).fit(data.construct_trainset(rows))
    wanted = [theirs.predict(int(u), int(i)).est for u, i in zip(test.users, test.items)]
    found = BiasBaseline().fit(train).predict(test.users, test.items)
    np.testing.assert_allclose(found, wanted, atol=1e-10, rtol=0)


def test_movielens_five_folds():
    """0.9440 ± 0.006 is Surprise's over five folds; 0.0014 is the standard error of their mean."""
    whole = movielens(load_or_skip("movielens-100k"))
    found = []
    for train, test in folds(whole):
        found.append(rmse(BiasBaseline().fit(train).predict(test.users, test.items), test.values))
    assert np.mean(found) == pytest.approx(0.9440, abs=0.003)


def test_popularity_beats_the_biased_mean_in_a_list():
    """And the other way round where ratings are predicted: the point of the page."""
    train, test = stratified_split(movielens(load_or_skip("movielens-100k")))
    popular = ranking_report(Popularity().fit(train).recommend(), test)
    biased = ranking_report(BiasBaseline().fit(train).recommend(), test)
    assert popular.ndcg > biased.ndcg + 0.05
    assert popular.skipped == 0


@pytest.mark.parametrize("name", MODELS)
def test_lists_hold_what_is_new(name):
    r = ratings()
    model = MODELS[name]().fit(r)
    shown = model.recommend(k=20)
    seen = r.matrix().toarray() != 0
    assert shown.shape == (8, 20) and shown.dtype == np.int64
    for u, row in enumerate(shown):
        there = row[row >= 0]
        assert sorted(there) == sorted(np.flatnonzero(~seen[u]))
        s = model.scores([u])[0]
        assert (np.diff(s[there]) <= 0).all() and (row[len(there) :] == -1).all()
    assert shown[0].tolist()[:2] == [12, -1], "all but one item seen"
    every = model.recommend([3, 0], k=13, exclude_seen=False)
    assert sorted(every[1]) == list(range(13))
    np.testing.assert_array_equal(model.recommend([3], k=5), shown[[3], :5])
    assert model.recommend([], k=4).shape == (0, 4)
    assert model.scores().shape == (8, 13) and model.scores([]).shape[0] == 0


def test_blocks_change_nothing(monkeypatch):

    model = Random(seed=3).fit(ratings())
    whole = model.recommend(k=4)
    monkeypatch.setattr("lepton_ref.recsys.evaluation.selection.BLOCK", 27)
    np.testing.assert_array_equal(model.recommend(k=4), whole)


def test_chart_knows_the_best_and_draws_the_rest():
    r = ratings()
    all_, chart = Popularity().fit(r).count, Popularity(chart=3, seed=1).fit(r).count
    best = np.argsort(-all_, kind="stable")[:3]
    np.testing.assert_array_equal(chart[best], all_[best])
    rest = np.delete(chart, best)
    assert rest.max() < chart[best].min() and len(np.unique(rest)) == len(rest)
    assert not np.array_equal(chart, Popularity(chart=3, seed=2).fit(r).count)


@pytest.mark.parametrize("model", [ItemMean(), BiasBaseline()])
def test_strangers(model):
    """No training row: the mean, with whatever bias is known."""
    r = ratings()
    model.fit(r)
    both, user, item = model.predict([7, 7, 1], [12, 2, 12])
    assert both == pytest.approx(r.values.mean())
    assert user == pytest.approx(r.values.mean() + model.item_bias[2])
    assert item == pytest.approx(r.values.mean() + model.user_bias[1])


def test_clipping():
    r = Ratings.of([0, 0, 1], [0, 1, 1], [5, 5, 1], scale=(1, 5))
    clipped, free = BiasBaseline(0, 0, 200).fit(r), BiasBaseline(0, 0, 200, clip=False).fit(r)
    assert clipped.predict([1], [0])[0] >= 1
    assert free.predict([0], [0])[0] == pytest.approx(5, abs=0.01)
    unscaled = Ratings.of([0, 1], [0, 0], [10.0, 20.0])
    assert ItemMean().fit(unscaled).predict([0], [0])[0] == 15


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Random(seed=-1), "Random: argument `seed` has the value -1"),
        (lambda: Popularity(chart=0), "`chart` has the value 0"),
        (lambda: Popularity(chart=2.0), "`chart` has the value 2.0"),
        (lambda: ItemMean(-1), "`shrinkage` has the value -1"),
        (lambda: ItemMean(float("nan")), "`shrinkage` has the value nan"),
        (lambda: BiasBaseline(reg_users=-1), "`reg_users` has the value -1"),
        (lambda: BiasBaseline(reg_items="a"), "`reg_items` has the value 'a'"),
        (lambda: BiasBaseline(epochs=0), "`epochs` has the value 0"),
        (lambda: BiasBaseline().fit("ratings"), "`train` has type str"),
        (lambda: BiasBaseline().fit(ratings().take(np.arange(0))), "`train` has no rows"),
        (lambda: BiasBaseline().predict([0], [0]), "predict: .*learnt nothing yet"),
        (lambda: Popularity().recommend(), "recommend: .*a model after fit"),
        (lambda: Random().scores(), "scores: .*learnt nothing yet"),
        (
            lambda: BiasBaseline().fit(ratings()).predict([8], [0]),
            "`users` has numbers from 8 to 8",
        ),
        (lambda: BiasBaseline().fit(ratings()).predict([0], [-1]), "`items` has numbers from -1"),
        (lambda: BiasBaseline().fit(ratings()).predict([0, 1], [1]), r"`items` has shape \(1,\)"),
        (lambda: BiasBaseline().fit(ratings()).predict([0.5], [1]), "dtype float64"),
        (lambda: Popularity().fit(ratings()).recommend([99]), "`users` has numbers from 99 to 99"),
        (lambda: Popularity().fit(ratings()).recommend(["bob"]), "a row of whole numbers"),
        (lambda: Popularity().fit(ratings()).recommend(k=0), "`k` has the value 0"),
    ],
)
def test_refusals(make, match):
    with pytest.raises(ArgumentError, match=match):
        make()


def test_random_is_luck():
    """Its nDCG on many users is what the formula of chance says, within four standard errors."""
    from lepton_ref.recsys.evaluation import chance_ndcg

    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((400, 30)) < 0.3)
    train, test = random_split(Ratings.of(users, items), 0.5)
    report = ranking_report(Random(seed=2).fit(train).recommend(k=5), test, 5)
    seen, wanted = np.bincount(train.users, minlength=400), np.bincount(test.users, minlength=400)
    expected = [chance_ndcg(int(wanted[u]), 30 - int(seen[u]), 5) for u in report.users]
    g = report.per_user["ndcg"]
    assert abs(report.ndcg - np.mean(expected)) < 4 * g.std() / np.sqrt(len(g))
