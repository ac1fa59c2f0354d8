"""The page recsys/neighbours: odd input gets an answer or a clear refusal; saved models."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError, ModelFileError
from lepton_ref.framework.layers import Dense
from lepton_ref.framework.models import read_description, save
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.neighbours import (
    CollaborativeFiltering,
    NearestNeighbours,
    centred,
    nearest,
    similarities,
)

IDS = np.array(["ant", "bee", "cat", "dog", "eel", "fox", "gnu"])


def ratings(seed=1, users=20, empty=True):
    """Ratings of six animals of seven; user 3 and the gnu have none."""
    rng = np.random.default_rng(seed)
    there = rng.random((users, 7)) < 0.6
    if empty:
        there[3], there[:, 6] = False, False
    u, i = np.nonzero(there)
    values = rng.integers(1, 6, len(u)).astype(float)
    return Ratings.of(u, IDS[i], values, scale=(1, 5), user_ids=np.arange(users), item_ids=IDS)


def fitted(**options):
    return NearestNeighbours(**options).fit(ratings())


def liking(**options):
    return CollaborativeFiltering(**{"top": 4, **options}).fit(ratings())


# --- predicted ratings -------------------------------------------------------------------


@pytest.mark.parametrize("of", ["items", "users"])
def test_the_unknown_get_the_mean_and_the_bias_that_is_known(of):
    model, train = fitted(of=of), ratings()
    base = model.baseline
    found = model.predict([3, 3, 0], [6, 1, 6])
    wanted = base.mean + np.array([0, base.item_bias[1], base.user_bias[0]])
    np.testing.assert_allclose(found, wanted)
    assert base.mean == train.values.mean()
    why = model.because(3, 6)
    assert len(why.neighbours) == 0 and why.prediction == why.baseline == base.mean


@pytest.mark.parametrize("of", ["items", "users"])
@pytest.mark.parametrize(
    "kind", ["cosine", "adjusted_cosine", "pearson", "msd", "pearson_baseline"]
)
def test_every_similarity_gives_finite_ratings_on_the_scale(of, kind):
    for train in (
        ratings(),
        Ratings.of([0, 0, 1], [5, 6, 5], [3.0, 3.0, 3.0], scale=(1, 5)),  # nobody varies
        Ratings.of([4], ["x"], [2.0], scale=(1, 5)),  # one rating
    ):
        model = NearestNeighbours(of=of, similarity=kind).fit(train)
        u, i = (x.ravel() for x in np.indices((train.n_users, train.n_items)))
        found = model.predict(u, i)
        assert np.isfinite(found).all() and (found >= 1).all() and (found <= 5).all()
        assert model.similarities.shape[0] == (train.n_items if of == "items" else train.n_users)


def test_more_neighbours_than_there_are_items():
    every = fitted(k=7).predict([0, 1, 2], [0, 1, 2])
    np.testing.assert_array_equal(fitted(k=10**9).predict([0, 1, 2], [0, 1, 2]), every)
    np.testing.assert_array_equal(fitted(kept=10**6).predict([0, 1, 2], [0, 1, 2]), every)


def test_ratings_are_cut_to_the_scale_unless_told_otherwise():
    x = np.array([[5, 5, 5, 1.0], [5, 5, 5, 0], [1, 1, 1, 5], [5, 5, 0, 1]])
    u, i = np.nonzero(x)
    train = Ratings.of(u, i, x[u, i], scale=(1, 5))
    options = {"reg_users": 0.1, "reg_items": 0.1, "shrinkage": 0.0}
    cut = NearestNeighbours(**options).fit(train).predict([1, 3], [0, 2])
    free = NearestNeighbours(clip=False, **options).fit(train).predict([1, 3], [0, 2])
    assert free.max() > 5 and cut.max() == 5
    without = Ratings.of(u, i, x[u, i])
    np.testing.assert_array_equal(
        NearestNeighbours(**options).fit(without).predict([1, 3], [0, 2]), free
    )


def test_damping_pulls_to_the_baseline():
    u, i = (x.ravel() for x in np.indices((20, 7)))
    off = [
        np.abs(m.predict(u, i) - m.baseline.predict(u, i)).max()
        for m in (fitted(damping=d, clip=False, shrinkage=1.0) for d in (0.0, 1.0, 1e9))
    ]
    assert off[0] > off[1] > 1e-3 and off[2] < 1e-6


@pytest.mark.parametrize("of", ["items", "users"])
def test_recommend(of):
    model, train = fitted(of=of), ratings()
    found = model.recommend(k=3)
    assert found.shape == (20, 3) and found.dtype == np.int64
    seen = train.matrix().toarray() > 0
    for u, row in enumerate(found):
        picked = row[row >= 0]
        assert not seen[u, picked].any() and len(picked) == min(3, (~seen[u]).sum())
    np.testing.assert_array_equal(model.recommend([4, 2], k=3), found[[4, 2]])
    again = model.recommend([4], k=7, exclude_seen=False)
    assert sorted(again[0]) == list(range(7))
    assert (model.recommend([0], k=50)[0, 7:] == -1).all()
    assert model.recommend([], k=2).shape == (0, 2)


# --- interest ----------------------------------------------------------------------------


@pytest.mark.equation("neighbours-interest")
@pytest.mark.parametrize("weigh", ["ratings", "seen", "opinions"])
def test_interest(prove, weigh):
    """Loops over items, their four nearest over all raters, and the ratings of a person."""
    train, model = ratings(), liking(weigh=weigh)
    x = train.matrix().toarray().T
    given = {"bee": 5.0, "cat": 1.0, "fox": 4.0}
    weight = {"ratings": lambda r: r / 5, "seen": lambda r: 1.0, "opinions": lambda r: (r - 3) / 2}
    wanted = np.zeros(7)
    for i in range(6):
        near = [(x[i] @ x[j] / np.sqrt(x[i] @ x[i] * (x[j] @ x[j])), j) for j in range(6) if j != i]
        for s, j in sorted(near, reverse=True)[:4]:
            if IDS[j] in given:
                wanted[i] += s * weight[weigh](given[IDS[j]])
    found = model.predict(given)
    prove(found, wanted, oracle="loops", tol=1e-6)  # the table is float32
    for item in IDS:
        why = model.because(given, item, k=7)
        assert np.isclose(sum(part for _, part in why), found[list(IDS).index(item)])
        assert {name for name, _ in why} <= set(given)


def test_behaviour_in_every_form_means_the_same():
    model = liking()
    by_dict = model.predict({"ant": 5, "dog": 2})
    row = np.zeros(7)
    row[[0, 3]] = 5, 2
    table = np.stack([row, np.full(7, np.nan)])
    np.testing.assert_array_equal(model.predict([("ant", 5), ("dog", 2)]), by_dict)
    np.testing.assert_array_equal(model.predict(row), by_dict)
    np.testing.assert_array_equal(model.predict(table)[0], by_dict)
    np.testing.assert_array_equal(model.predict([{"ant": 5, "dog": 2}])[0], by_dict)
    np.testing.assert_array_equal(model.predict(["ant"]), model.predict({"ant": 5}))
    assert by_dict.shape == (7,) and by_dict.dtype == np.float64
    assert model.predict(table).shape == (2, 7)


def test_the_users_of_the_training_set_are_like_any_others():
    model, train = liking(), ratings()
    np.testing.assert_array_equal(model.scores(), model.predict(train.matrix().toarray()))
    found = model.recommend([0, 3], k=2)
    assert found.shape == (2, 2) and found[1, 0] == np.argmax(model.popularity)


def test_without_history_popularity():
    model, train = liking(), ratings()
    share = np.bincount(train.items, minlength=7) / 19  # user 3 has rated nothing
    for nothing in ({}, [], np.zeros(7), np.full(7, np.nan), {"gnu": 5}):  # nobody knows the gnu
        np.testing.assert_allclose(model.predict(nothing), share)
    middling = liking(weigh="opinions").predict({"ant": 3})
    np.testing.assert_allclose(middling, share)
    assert model.because({}, "ant") == []


def test_everything_rated_and_nothing_left():
    model = liking()
    found = model.predict(np.full(7, 3.0))
    assert np.isfinite(found).all() and (found[:6] > 0).all() and found[6] == 0


def test_dislikes_count_against_where_they_are_asked_to():
    assert liking(weigh="opinions").predict({"ant": 1})[:6].min() < 0
    assert liking().predict({"ant": 1}).min() == 0


def test_predicted_ratings():
    model = liking()
    found = model.predict_ratings({"ant": 5, "bee": 5})
    assert found.shape == (7,) and (found >= 1).all() and (found <= 5).all()
    assert (found[:6] > model.means[:6]).mean() > 0.5  # someone who likes more than others do
    nothing = model.predict_ratings({})
    np.testing.assert_allclose(nothing, model.means)
    assert model.predict_ratings(np.zeros((3, 7))).shape == (3, 7)
    near = model._table().toarray()[2]
    bias = (5 - model.means[0] + 5 - model.means[1]) / 7
    parts = [near[j] * (5 - model.means[j] - bias) for j in (0, 1)]
    wanted = model.means[2] + bias + sum(parts) / (1 + near[0] + near[1])
    assert np.isclose(found[2], np.clip(wanted, 1, 5))


def test_facts_without_a_scale():
    train = Ratings.of([0, 0, 1, 1, 2], [7, 8, 7, 8, 9])
    model = CollaborativeFiltering().fit(train)
    np.testing.assert_allclose(model.predict([7]), [0, 1, 0], atol=1e-6)
    assert model.scale is None and model.neighbours[2].max() == -1


# --- saved -------------------------------------------------------------------------------


def test_saved_and_loaded(tmp_path):
    model = liking(weigh="opinions", shrinkage=2.0)
    file = model.save(tmp_path / "animals", {"recipe": "a test"})
    again = CollaborativeFiltering.load_model("animals", path=tmp_path)
    given = {"bee": 4, "fox": 1}
    np.testing.assert_array_equal(again.predict(given), model.predict(given))
    assert again.because(given, "ant") == model.because(given, "ant")
    assert again.config() == model.config() and again.description["recipe"] == "a test"
    assert again.scale == (1.0, 5.0) and model.save(tmp_path / "b").read_bytes() != b""
    with pytest.raises(ArgumentError, match="no users: it was not trained here"):
        again.recommend()
    assert file.suffix == ".safetensors"


def test_a_saved_model_holds_items_and_no_person(tmp_path):
    """As large with a hundred users as with twenty, and the same names."""
    sizes = []
    for users in (20, 100):
        model = CollaborativeFiltering(top=4).fit(ratings(users=users))
        file = model.save(tmp_path / f"m{users}")
        sizes.append(sum(a.nbytes for a in model.state().values()))
        about = read_description(f"m{users}", path=tmp_path)
        assert about["config"]["item_ids"] == IDS.tolist() and file.exists()
    assert sizes[0] == sizes[1] and set(model.state()) == {
        "neighbours", "similarities", "means", "popularity",
    }  # fmt: skip


def test_every_number_rests_on_enough_people():
    """With one rater of the gnu, its neighbours would be that person's list."""
    rng = np.random.default_rng(4)
    there = rng.random((40, 7)) < 0.5
    there[:, 6] = np.arange(40) == 11
    u, i = np.nonzero(there)
    values = rng.integers(1, 6, len(u)).astype(float)
    train = Ratings.of(u, IDS[i], values, scale=(1, 5), item_ids=IDS)
    count = there.T.astype(int) @ there.astype(int)
    open_, kept = (CollaborativeFiltering(min_support=m).fit(train) for m in (1, 9))
    assert (open_.neighbours[6] >= 0).any() and open_.popularity[6] > 0
    assert (kept.neighbours[6] == -1).all() and kept.popularity[6] == 0
    assert kept.means[6] == values.mean() != open_.means[6]
    found = kept._table().toarray() > 0
    np.testing.assert_array_equal(found, (count >= 9) & ~np.eye(7, dtype=bool))


def test_another_class_is_refused(tmp_path):
    save(Dense(2, 3, rng=np.random.default_rng(0)), tmp_path / "dense")
    with pytest.raises(ModelFileError, match="expected a CollaborativeFiltering"):
        CollaborativeFiltering.load_model("dense", path=tmp_path)


def test_the_model_that_ships():
    """A fresh process: films near Star Wars, from a file with 1,682 items and no user."""
    code = (
        "import json; from lepton_ref.recsys.neighbours import CollaborativeFiltering\n"
        "m = CollaborativeFiltering.load_model('collaborative_filtering_model')\n"
        "q = m.predict({50: 5}); top = (-q).argsort()[:6]\n"
        "print(json.dumps([len(q), m.item_ids[top].tolist(), m.because([50], 181)[0][0]]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    n, top, why = json.loads(out.stdout)
    assert n == 1682 and why == 50
    assert {181, 172} <= set(top), "the sequels of Star Wars"


# --- refused -----------------------------------------------------------------------------

EMPTY = ratings().take(np.zeros(0, np.int64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: NearestNeighbours(of="pairs"),
            "`of` has the value 'pairs'; expected one of items",
        ),
        (lambda: NearestNeighbours(similarity="dice"), "the value 'dice'; expected one of cosine"),
        (lambda: NearestNeighbours(k=0), "`k` has the value 0; expected a whole number >= 1"),
        (lambda: NearestNeighbours(k=2.5), "`k` has the value 2.5"),
        (lambda: NearestNeighbours(k=True), "`k` has the value True"),
        (lambda: NearestNeighbours(kept=0), "`kept` has the value 0"),
        (lambda: NearestNeighbours(min_support=0), "`min_support` has the value 0"),
        (lambda: NearestNeighbours(epochs=0), "`epochs` has the value 0"),
        (lambda: NearestNeighbours(shrinkage=-1), "`shrinkage` has the value -1; .* >= 0"),
        (lambda: NearestNeighbours(damping=np.nan), "`damping` has the value nan"),
        (lambda: NearestNeighbours(reg_users=-1.0), "`reg_users` has the value -1.0"),
        (lambda: NearestNeighbours().fit(EMPTY), "`train` has no rows"),
        (lambda: NearestNeighbours().predict([0], [0]), "no similarities yet; expected a call of"),
        (lambda: NearestNeighbours().because(0, 0), "NearestNeighbours.because.*no similarities"),
        (lambda: NearestNeighbours().recommend(), "NearestNeighbours.recommend.*no similarities"),
        (lambda: fitted().predict([20], [0]), "`users` has numbers from 20 to 20; .* 0 to 19"),
        (lambda: fitted().predict([0], [-1]), "`items` has numbers from -1 to -1; .* 0 to 6"),
        (lambda: fitted().predict([0.5], [0]), "dtype float64; expected a row of whole"),
        (lambda: fitted().predict(["a"], [0]), "dtype <U1; expected a row of whole"),
        (lambda: fitted().predict([0, 1], [0]), "`items` has 1 rows; expected 2"),
        (lambda: fitted().predict([[0]], [[0]]), r"shape \(1, 1\)"),
        (lambda: fitted().because(0, 7), "`item` has numbers from 7 to 7"),
        (lambda: fitted().recommend([99]), "`users` has numbers from 99"),
        (lambda: fitted().recommend(k=0), "`k` has the value 0"),
        (lambda: similarities(ratings().matrix(), "jaccard"), "the value 'jaccard'; .* cosine"),
        (lambda: similarities(ratings().matrix(), over="some"), "the value 'some'; .* common, all"),
        (lambda: similarities(ratings().matrix(), "msd", over="all"), "the value 'all'"),
        (lambda: similarities(ratings().matrix(), memory=0), "`memory` has the value 0"),
        (lambda: nearest(ratings().matrix(), top=-2), "`top` has the value -2"),
        (lambda: CollaborativeFiltering(min_support=0), "`min_support` has the value 0"),
        (lambda: CollaborativeFiltering(top=0), "`top` has the value 0"),
        (lambda: CollaborativeFiltering(weigh="stars"), "the value 'stars'; .* ratings, seen"),
        (lambda: CollaborativeFiltering(shrinkage=-0.1), "`shrinkage` has the value -0.1"),
        (lambda: CollaborativeFiltering(scale=(5, 1)), r"`scale` has the value \(5, 1\)"),
        (lambda: CollaborativeFiltering().fit(EMPTY), "`train` has no ratings"),
        (
            lambda: CollaborativeFiltering().fit(Ratings.of([0], [1], [-2.0])),
            "the rating -2; expected 0 or more",
        ),
        (lambda: CollaborativeFiltering().predict({}), "no items yet; expected fit"),
        (lambda: CollaborativeFiltering().scores(), "no users: it was not trained here"),
        (lambda: liking().scores([20]), "`users` has numbers from 20"),
        (lambda: liking().predict({"yak": 5}), "the item 'yak'"),
        (lambda: liking().predict({"ant": 6}), "the rating 6; expected ratings from 1 to 5"),
        (lambda: liking().predict({"ant": float("nan")}), "the rating nan"),
        (lambda: liking().predict("ant"), "a str"),
        (lambda: liking().predict(np.zeros(6)), r"shape \(6,\)"),
        (lambda: liking().because({"ant": 5}, "yak"), "`item_id` has the value 'yak'"),
        (lambda: liking().because(np.zeros((2, 7)), "ant"), "2 people; expected one"),
        (lambda: liking().because({"ant": 5}, "bee", k=0), "`k` has the value 0"),
        (lambda: liking().predict_ratings({}, damping=-1), "`damping` has the value -1"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_centring_leaves_what_was_given():
    x = ratings().matrix().T.tocsr()
    before = x.data.copy()
    found = centred(x)
    np.testing.assert_array_equal(x.data, before)
    assert np.abs(found.sum(0)).max() < 1e-12


@pytest.mark.parametrize(
    "options, message",
    [
        ({"scale": 5}, "`scale` has the value 5"),
        ({"scale": (5, 1)}, "`scale` has the value"),
        ({"seed": "x"}, "`seed` has the value 'x'"),
    ],
)
def test_an_interest_that_cannot_be_is_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        CollaborativeFiltering(**options)


def test_a_training_set_is_a_table_of_ratings():
    with pytest.raises(ArgumentError, match="`train` has type list; expected Ratings"):
        CollaborativeFiltering().fit([1, 2])
