"""The table of ratings and the ways to split it: what is refused, what is kept, what leaks."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import (
    Ratings,
    folds,
    item_split,
    leave_one_out,
    movielens,
    random_split,
    stratified_split,
    temporal_split,
    time_leak,
)
from tests.data import load_or_skip

NAN = float("nan")


def table(seed=0, n_users=9, n_items=23, times=True):
    """Users of very different activity, the last one without any row."""
    rng = np.random.default_rng(seed)
    pairs = [(u, i) for u in range(n_users - 1) for i in rng.permutation(n_items)[: 1 + 2 * u]]
    users, items = np.array(pairs).T
    when = rng.integers(0, 30, len(users)) if times else None
    values = rng.integers(1, 6, len(users))
    return Ratings.of(
        users, items, values, when, scale=(1, 5), user_ids=range(n_users), item_ids=range(n_items)
    )


def rows(ratings):
    return set(zip(ratings.users.tolist(), ratings.items.tolist(), strict=True))


# --- the table ---------------------------------------------------------------------------


def test_ids_are_numbered_in_order_and_found_again():
    r = Ratings.of(["bob", "amy", "bob"], ["x", "x", "y"], [3, 4, 5], scale=(1, 5))
    assert list(r.user_ids) == ["amy", "bob"] and r.users.tolist() == [1, 0, 1]
    assert (r.user("bob"), r.item("y"), r.n_users, r.n_items, len(r)) == (1, 1, 2, 2, 3)
    assert r.times is None and r.values.dtype == np.float64
    assert "3 ratings of 2 items by 2 users" in repr(r)
    np.testing.assert_array_equal(r.matrix().toarray(), [[4, 0], [3, 5]])
    objects = Ratings.of(np.array(["b", "a"], object), [10, 7])
    assert list(objects.user_ids) == ["a", "b"] and objects.values.tolist() == [1, 1]


def test_given_ids_decide_the_numbering():
    r = Ratings.of([5, 9], [1, 1], user_ids=[9, 7, 5], item_ids=[1, 2])
    assert r.users.tolist() == [2, 0] and r.n_users == 3 and r.n_items == 2
    assert r.user(7) == 1
    part = r.take(np.array([True, False]))
    assert part.n_users == 3 and part.users.tolist() == [2]


def test_an_empty_table_is_one():
    r = Ratings.of([], [], [])
    assert len(r) == 0 and r.n_users == 0 and r.matrix().shape == (0, 0)
    known = Ratings.of([], [], user_ids=["a"], item_ids=[3])
    assert (known.n_users, known.n_items) == (1, 1)


def test_a_rating_of_zero_is_stored():
    r = Ratings.of([1, 1], [1, 2], [0.0, 3.0])
    assert r.matrix().nnz == 2


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"items": [1]}, r"`items` has shape \(1,\); expected \(2,\), like users"),
        ({"values": [1, 2, 3]}, r"`values` has shape \(3,\)"),
        ({"times": [1]}, r"`times` has shape \(1,\)"),
        ({"times": ["a", "b"]}, "`times`.*whole seconds"),
        ({"times": [1.0, NAN]}, "`times`.*whole seconds"),
        ({"values": [1, NAN]}, "`values` has nan in row 1; expected finite"),
        ({"values": [float("inf"), 1]}, "`values` has inf in row 0"),
        ({"values": ["good", "bad"]}, "`values` has something that is no number"),
        ({"values": [3, 6], "scale": (1, 5)}, "6 in row 1; expected ratings from 1 to 5"),
        ({"values": [0.5, 5], "scale": (1, 5)}, "0.5 in row 0"),
        ({"scale": (5, 1)}, "`scale`.*low < high"),
        ({"scale": 5}, "`scale`.*low < high"),
        ({"scale": (1, 2, 3)}, "`scale`.*low < high"),
        ({"users": [1.5, 2.0]}, "`users` has an array of dtype float64"),
        ({"users": [[1], [2]]}, r"`users`.*shape \(2, 1\)"),
        ({"users": [1, "a", None]}, "`users` has an array of dtype object"),
        ({"users": [True, False]}, "`users` has an array of dtype bool"),
        ({"users": [1, 2], "user_ids": [1, 3]}, "`users` has .*2.* in row 1; expected an id"),
        ({"users": [1, 2], "user_ids": []}, "`users` has .*1.* in row 0"),
        ({"user_ids": [1, 2, 2]}, "`user_ids` has an id that occurs twice"),
        ({"user_ids": ["1", "2"]}, "`users` has numbers where user_ids has the other kind"),
        ({"users": ["1", "2"], "user_ids": [1, 2]}, "`users` has str where user_ids"),
        ({"items": [1, 2], "item_ids": [2, 3]}, "`items`.*item_ids lists"),
        ({"duplicates": "max"}, "`duplicates`.*one of refuse, first, last, mean"),
        ({"users": [1, 1], "items": [4, 4]}, "`items` has 2 ratings of item .*4.* by user .*1"),
    ],
)
def test_bad_tables_are_refused(arguments, match):
    with pytest.raises(ArgumentError, match=match):
        Ratings.of(**{"users": [1, 2], "items": [1, 1], **arguments})


@pytest.mark.parametrize(
    ("how", "times", "kept"),
    [
        ("first", None, [5, 2]),
        ("last", None, [4, 2]),
        ("first", [9, 1, 3, 5], [3, 2]),
        ("last", [9, 1, 3, 5], [5, 2]),
        ("mean", None, [4, 2]),
        ("mean", [9, 1, 3, 5], [4, 2]),
    ],
)
def test_duplicates(how, times, kept):
    """User 1 rated item 7 three times: 5, 3, 4."""
    r = Ratings.of([1, 2, 1, 1], [7, 7, 7, 7], [5, 2, 3, 4], times=_order(times), duplicates=how)
    found = {(int(u), int(i)): v for u, i, v in zip(r.users, r.items, r.values, strict=True)}
    assert found == {(0, 0): kept[0], (1, 0): kept[1]}
    assert r.times is None or len(r.times) == 2


def _order(times):
    """Times of the rows in the order in which the test lists them: 5, 2, 3, 4."""
    return None if times is None else [times[0], times[3], times[1], times[2]]


@pytest.mark.parametrize("wanted", [3, "x", 1.0, True, None])
def test_unknown_ids(wanted):
    r = Ratings.of([1, 2], ["a", "b"])
    with pytest.raises(ArgumentError, match=r"user_id.*one of 2 known ids \(number\)"):
        r.user(wanted)
    with pytest.raises(ArgumentError, match=r"item_id.*one of 2 known ids \(str\)"):
        r.item(wanted)


# --- splits ------------------------------------------------------------------------------

SPLITS = {
    "random": random_split,
    "stratified": stratified_split,
    "leave one out": leave_one_out,
    "items": item_split,
    "temporal": lambda ratings, seed=0: temporal_split(ratings),
}


@pytest.mark.parametrize("name", SPLITS)
def test_every_row_goes_one_way_and_the_seed_decides(name):
    whole = table()
    train, test = SPLITS[name](whole, seed=3)
    again = SPLITS[name](whole, seed=3)
    assert rows(train) | rows(test) == rows(whole) and not rows(train) & rows(test)
    assert len(train) + len(test) == len(whole) and len(train) and len(test)
    assert (train.n_users, test.n_items, train.scale) == (whole.n_users, whole.n_items, (1, 5))
    assert np.array_equal(train.items, again[0].items)
    if name != "temporal":
        others = [rows(SPLITS[name](whole, seed=s)[1]) for s in range(4, 8)]
        assert any(other != rows(test) for other in others)


def test_the_order_of_rows_is_kept():
    whole = table()
    train, _ = random_split(whole)
    key = whole.users * whole.n_items + whole.items
    place = {int(k): at for at, k in enumerate(key)}
    positions = [place[int(k)] for k in train.users * whole.n_items + train.items]
    assert positions == sorted(positions)


def test_random_split_takes_the_share():
    whole = table()
    for share in (0.25, 0.5, 0.9):
        assert len(random_split(whole, share)[1]) == round(share * len(whole))
    two = whole.take(np.arange(2))
    assert [len(part) for part in random_split(two, 0.01)] == [1, 1]


def test_stratified_split_follows_recommenders_rule():
    """round(0.75 n) of each user's n rows stay, Python's round: halves to even."""
    whole = table()
    train, test = stratified_split(whole, 0.25)
    for u in range(whole.n_users):
        n = int((whole.users == u).sum())
        assert (train.users == u).sum() == round(0.75 * n)
        assert (test.users == u).sum() == n - round(0.75 * n)


def test_leave_one_out_takes_the_latest():
    whole = table()
    train, test = leave_one_out(whole)
    for u in range(whole.n_users):
        mine = whole.times[whole.users == u]
        if len(mine) < 2:
            assert not (test.users == u).any() and (train.users == u).sum() == len(mine)
        else:
            assert test.times[test.users == u].tolist() == [mine.max()]
    assert len(leave_one_out(table(times=False))[1]) == len(test)


def test_item_split_takes_whole_items():
    whole = table()
    train, test = item_split(whole, 0.3)
    assert not set(train.items) & set(test.items)
    assert len(set(test.items)) == round(0.3 * len(set(whole.items)))
    with pytest.raises(ArgumentError, match="ratings of one item; expected of at least two"):
        item_split(Ratings.of([1, 2], [4, 4]))


def test_temporal_split_is_a_point_in_time():
    train, test = temporal_split(table(), 0.25)
    assert train.times.max() < test.times.min()
    assert len(test) >= 0.25 * (len(test) + len(train)) - 1


def test_folds_test_each_row_once():
    from surprise.model_selection import KFold

    whole = table()
    parts = folds(whole, 5, seed=1)
    tested = [rows(test) for _, test in parts]
    assert set.union(*tested) == rows(whole) and sum(map(len, tested)) == len(whole)
    for train, test in parts:
        assert rows(train) == rows(whole) - rows(test)

    class Sized:  # all that KFold wants of a data set
        raw_ratings = list(range(len(whole)))

        def construct_trainset(self, raw):
            return raw

        def construct_testset(self, raw):
            return raw

    theirs = [len(test) for _, test in KFold(5, random_state=1).split(Sized())]
    assert [len(test) for _, test in parts] == theirs


@pytest.mark.parametrize("function", [random_split, stratified_split, temporal_split])
@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, 2, True, NAN, "a"])
def test_bad_shares(function, share):
    with pytest.raises(ArgumentError, match="`test` has the value .*between 0 and 1"):
        function(table(), share)


@pytest.mark.parametrize("function", [random_split, stratified_split, leave_one_out, folds])
def test_bad_seeds_and_tables(function):
    for seed in (-1, 1.5, True, "a"):
        with pytest.raises(ArgumentError, match="`seed` has the value"):
            function(table(), seed=seed)
    with pytest.raises(ArgumentError, match="`ratings` has type list; expected Ratings"):
        function([1, 2])
    with pytest.raises(ArgumentError, match="`ratings` has 1 rows; expected at least 2"):
        function(table().take(np.arange(1)))


def test_refusals_of_folds_and_time():
    for k in (1, 2.0, True, 10_000):
        with pytest.raises(ArgumentError, match="`k` has the value"):
            folds(table(), k)
    with pytest.raises(ArgumentError, match="no times; expected ratings with times"):
        temporal_split(table(times=False))
    at_once = Ratings.of([1, 2, 3], [1, 1, 1], times=[5, 5, 5])
    with pytest.raises(ArgumentError, match="rows at one time"):
        temporal_split(at_once)
    with pytest.raises(ArgumentError, match="`train` has no times"):
        time_leak(table(times=False), table())
    with pytest.raises(ArgumentError, match="`test` has no rows"):
        time_leak(table(), table().take(np.arange(0)))


@pytest.mark.equation("receval-leak")
def test_time_leak_is_a_share_of_pairs(prove):
    """Two loops over all pairs, and the Mann-Whitney statistic of SciPy."""
    from scipy.stats import mannwhitneyu

    train, test = random_split(table(), 0.3, seed=2)
    pairs = [(a > b) + 0.5 * (a == b) for a in train.times for b in test.times]
    prove(time_leak(train, test), float(np.mean(pairs)), oracle="loops", tol=1e-12)
    u = mannwhitneyu(train.times, test.times).statistic / len(pairs)
    prove(time_leak(train, test), float(u), oracle="SciPy", tol=1e-12)
    early, late = temporal_split(table())
    assert time_leak(early, late) == 0 and time_leak(late, early) == 1


def test_movielens_as_ratings():
    whole = movielens(load_or_skip("movielens-100k"))
    assert (len(whole), whole.n_users, whole.n_items, whole.scale) == (100_000, 943, 1682, (1, 5))
    train, test = stratified_split(whole)
    assert len(test) / len(whole) == pytest.approx(0.25, abs=0.001)
    assert time_leak(train, test) == pytest.approx(0.5, abs=0.01)
    assert time_leak(*temporal_split(whole)) == 0
    assert np.array_equal(movielens().values, whole.values), "loaded where no data are given"
