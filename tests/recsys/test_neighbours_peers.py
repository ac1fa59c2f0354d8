"""The page recsys/neighbours beside Surprise, and on MovieLens."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.recsys import bench_neighbours
from lepton_ref.recsys.evaluation import (
    Ratings,
    folds,
    movielens,
    ranking_report,
    rmse,
    stratified_split,
)
from lepton_ref.recsys.neighbours import (
    CollaborativeFiltering,
    NearestNeighbours,
    nearest,
    similarities,
)
from tests.data import load_or_skip

surprise = pytest.importorskip("surprise")


def small(seed=5):
    """60 users and 40 items in random order of ratings, the fewest ten per cent held back."""
    rng = np.random.default_rng(seed)
    there = rng.random((60, 40)) < 0.35
    u, i = np.nonzero(there)
    values = np.clip(np.round(3.2 + rng.normal(size=60)[u] + rng.normal(size=len(u))), 1, 5)
    r = Ratings.of(u, i, values, scale=(1, 5), user_ids=np.arange(60), item_ids=np.arange(40))
    held = rng.random(len(r)) < 0.1
    return r.take(~held), r.take(held)


@pytest.mark.parametrize("of", ["items", "users"])
@pytest.mark.parametrize("kind", ["cosine", "pearson", "msd", "pearson_baseline"])
def test_similarities_and_predictions_are_surprises(of, kind):
    train, test = small()
    data = bench_neighbours.surprise_data(train)
    options = {"name": kind, "user_based": of == "users", "min_support": 1}
    peer = surprise.KNNBaseline(k=7, sim_options=options, verbose=False).fit(data)
    inner = data.to_inner_uid if of == "users" else data.to_inner_iid
    n = train.n_users if of == "users" else train.n_items
    order = [inner(k) for k in range(n)]
    wanted = np.maximum(peer.sim[np.ix_(order, order)], 0)
    np.fill_diagonal(wanted, 0)
    strength = 100.0 if kind == "pearson_baseline" else 0.0
    ours = NearestNeighbours(of=of, similarity=kind, k=7, shrinkage=strength).fit(train)
    np.testing.assert_allclose(ours.similarities.toarray(), wanted, atol=1e-10)
    pairs = list(zip(test.users.tolist(), test.items.tolist(), test.values.tolist()))
    found = ours.predict(test.users, test.items)
    np.testing.assert_allclose(found, [p.est for p in peer.test(pairs)], atol=1e-10)


def test_signed_similarities_are_surprises():
    """Negative ones too, which the predictions never see."""
    train, _ = small()
    data = bench_neighbours.surprise_data(train)
    options = {"name": "pearson", "user_based": False}
    peer = surprise.KNNBasic(sim_options=options, verbose=False).fit(data)
    order = [data.to_inner_iid(k) for k in range(train.n_items)]
    found = similarities(train.matrix().T.tocsr(), "pearson")
    assert (found < 0).any()
    np.testing.assert_allclose(found, peer.sim[np.ix_(order, order)], atol=1e-10)


# --- MovieLens ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "bar"),
    [({"of": "users", "similarity": "msd", "shrinkage": 0.0}, 0.931), ({"of": "items"}, 0.918)],
)
def test_five_folds(options, bar):
    load_or_skip("movielens-100k")
    errors = []
    for train, test in folds(movielens(), 5, seed=0):
        model = NearestNeighbours(**options).fit(train)
        errors.append(rmse(model.predict(test.users, test.items), test.values))
    assert np.mean(errors) <= bar and np.std(errors) < 0.01


def test_real_ratings_are_predicted_as_surprise_does():
    """A corner of MovieLens; the benchmark compares a whole fold."""
    load_or_skip("movielens-100k")
    train, test = (r.take((r.users < 250) & (r.items < 300)) for r in bench_neighbours.fold())
    data = bench_neighbours.surprise_data(train)
    wanted = bench_neighbours.surprise_predictions(data, test, "items", "pearson_baseline")
    ours = NearestNeighbours().fit(train).predict(test.users, test.items)
    np.testing.assert_allclose(ours, wanted, atol=1e-10)


def test_ranking_under_the_stratified_split():
    load_or_skip("movielens-100k")
    train, test = stratified_split(movielens(), seed=0)
    model = CollaborativeFiltering().fit(train)
    assert ranking_report(model.recommend(), test, 10).ndcg >= 0.42


def test_movielens_with_few_kept_is_nearly_as_good():
    load_or_skip("movielens-100k")
    train, test = folds(movielens(), 5, seed=0)[0]
    better = {"damping": 0.2, "reg_users": 5.0, "reg_items": 3.0}
    every = NearestNeighbours(**better).fit(train)
    few = NearestNeighbours(**better, kept=200).fit(train)
    assert few.similarities.nnz < 0.5 * every.similarities.nnz
    found = [rmse(m.predict(test.users, test.items), test.values) for m in (every, few)]
    assert found[0] < 0.913 and found[1] - found[0] < 0.006


def test_cosines_of_movielens_are_scikit_learns():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    load_or_skip("movielens-100k")
    x = movielens().matrix().T.tocsr()
    wanted = pairwise.cosine_similarity(x)
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(nearest(x, over="all").toarray(), wanted, atol=1e-10)
