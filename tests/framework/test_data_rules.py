"""What the functions of framework/data promise, and what they say to bad input."""

import numpy as np
import pytest

from lepton_ref.framework import data
from lepton_ref.framework.errors import ArgumentError, DataError


@pytest.fixture
def pictures(rng):
    return rng.integers(1, 256, (40, 6, 5)).astype(np.uint8)


# --- checks ---------------------------------------------------------------------------------


def test_check_finite_counts_and_points():
    x = np.zeros((2, 3))
    assert data.check_finite(x) is x and data.check_finite(np.arange(3)).size == 3
    x[1, 2], x[1, 1] = np.inf, np.nan
    with pytest.raises(DataError, match=r"pixels: 2 of 6 .* the first is nan at index \(1, 1\)"):
        data.check_finite(x, "pixels")


def test_check_labels():
    assert data.check_labels(np.array([0, 2], np.uint8), 3).dtype == np.int64
    with pytest.raises(DataError, match="1 of 3 are out of range, the first is 3 at index 1"):
        data.check_labels(np.array([0, 3, 2]), 3)
    with pytest.raises(DataError, match="the first is -1"):
        data.check_labels(np.array([-1]), 3)
    with pytest.raises(DataError, match="dtype float64"):
        data.check_labels(np.array([0.0]), 3)
    with pytest.raises(DataError, match=r"shape \(1, 1\)"):
        data.check_labels(np.array([[0]]), 3)


def test_clean_sorts_faults_by_reason():
    x = np.array([[1, 2], [np.nan, 1], [3, 3], [4, 5], [6, np.inf], [7, 8], [9, 1]])
    labels = np.array([0, 1, 1, 5, 9, np.nan, 0.5])
    found = data.clean(x, labels, num_classes=3)
    assert found.kept.tolist() == [0]
    assert {k: v.tolist() for k, v in found.dropped.items()} == {
        "non-finite": [1, 4], "bad label": [3, 5, 6], "constant": [2],
    }  # fmt: skip
    assert str(found) == "kept 1, dropped 2 non-finite, 3 bad label, 1 constant"
    assert str(data.clean(x[:1])) == "kept 1, dropped none"
    assert data.clean(x, labels).dropped["bad label"].tolist() == [5, 6]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((0, 3)), r"shape \(0, 3\); expected at least one row"),
        (np.array("a"), "dtype <U1"),
        (np.array(3.0), r"shape \(\)"),
    ],
)
def test_nothing_to_clean(x, message):
    with pytest.raises(ArgumentError, match=message):
        data.clean(x)


def test_lengths_that_differ():
    with pytest.raises(ArgumentError, match="`labels` has 2 rows; expected 3 rows, as `x` has"):
        data.clean(np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(ArgumentError, match="0 rows"):
        data.check_lengths("f", x=np.zeros((0, 1)))


# --- copies ---------------------------------------------------------------------------------


def test_equal_rows_are_found_and_the_first_is_kept(pictures):
    pictures[[7, 30]] = pictures[3]
    pictures[9] = pictures[8]
    assert [g.tolist() for g in data.duplicate_groups(pictures)] == [[3, 7, 30], [8, 9]]
    kept = data.deduplicate(pictures)
    assert kept.tolist() == sorted(set(range(40)) - {7, 30, 9})
    assert data.fingerprints(pictures)[7] == data.fingerprints(pictures)[3]
    # a view of another memory order is the same content
    assert data.fingerprints(np.asfortranarray(pictures)) == data.fingerprints(pictures)


def test_brighter_copies_are_near_and_others_are_not(rng):
    x = rng.random((300, 50))
    x[10] = 0.5 * x[4] + 0.2
    x[20] = x[10] + 0.001 * rng.standard_normal(50)
    x[30] = 0.7  # constant: near nothing
    x[31] = 0.7
    pairs, similarity = data.near_duplicates(x, 0.99, rng)
    assert pairs.tolist() == [[4, 10], [4, 20], [10, 20]]
    assert similarity[0] == pytest.approx(1, abs=1e-6)
    assert data.deduplicate(x, threshold=0.99).tolist() == sorted(set(range(300)) - {10, 20})
    assert data.duplicate_groups(x[[4, 10, 20]]) == []


def test_no_pairs_at_all(rng):
    pairs, similarity = data.near_duplicates(rng.random((20, 30)), 0.9999)
    assert pairs.shape == (0, 2) and similarity.shape == (0,)
    assert np.array_equal(data.connected(pairs, 3), [0, 1, 2])
    assert data.near_duplicates(np.ones((1, 4)))[0].shape == (0, 2)


def test_connected_follows_chains_in_any_order():
    pairs = np.array([[4, 5], [2, 4], [0, 1], [5, 2], [7, 1]])
    assert data.connected(pairs, 8).tolist() == [0, 0, 2, 3, 2, 2, 6, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"threshold": 1.0}, "threshold"), ({"threshold": 0}, "threshold"), ({"bits": 63}, "1 to 62")],
)
def test_near_search_refuses(options, message):
    with pytest.raises(ArgumentError, match=message):
        data.near_duplicates(np.ones((2, 2)), **options)
    with pytest.raises(DataError, match="not finite"):
        data.near_duplicates(np.array([[np.nan, 1.0]]))


# --- scaling --------------------------------------------------------------------------------


def test_standardizer_over_all_pixels_and_back(pictures):
    scaler = data.Standardizer(axis=(0, 1, 2)).fit(pictures)
    z = scaler.transform(pictures)
    assert z.dtype == np.float32 and scaler.mean.shape == ()
    assert abs(z.mean()) < 1e-5 and abs(z.std() - 1) < 1e-5
    np.testing.assert_allclose(scaler.inverse_transform(z), pictures, rtol=1e-5)


def test_chunks_are_invisible(rng, monkeypatch):
    x = rng.standard_normal((100, 3))
    whole = data.Standardizer().fit(x)
    monkeypatch.setattr("lepton_ref.framework.data.scaling.CHUNK", 7)
    pieces = data.Standardizer().fit(x)
    np.testing.assert_allclose(pieces.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(pieces.std, whole.std, rtol=1e-12)
    assert pieces.count == 100
    pieces.fit(x[:10])  # forgets
    assert pieces.count == 10


def test_constant_features_stay_at_zero():
    x = np.full((50, 2), 0.1, np.float64)
    x[:, 1] = np.arange(50)
    z = data.Standardizer().fit(x).transform(x)
    np.testing.assert_allclose(z[:, 0], 0, atol=1e-12)
    assert data.MinMax().fit(x).transform(x)[:, 0].tolist() == [0] * 50


def test_standardizer_refuses():
    with pytest.raises(ArgumentError, match="axis 0 among them"):
        data.Standardizer(axis=1)
    with pytest.raises(ValueError, match="call fit on the training part"):
        data.Standardizer().transform(np.ones((2, 2)))
    with pytest.raises(DataError, match="not finite"):
        data.Standardizer().fit(np.array([[np.nan]]))
    scaler = data.Standardizer().fit(np.eye(3))
    with pytest.raises(ArgumentError, match=r"shape \(2, 4\); expected features \(3,\)"):
        scaler.transform(np.ones((2, 4)))
    with pytest.raises(ArgumentError, match=r"features \(4,\)"):
        scaler.partial_fit(np.ones((2, 4)))
    with pytest.raises(ArgumentError, match=r"shape \(\)"):
        scaler.transform(np.float64(3))


def test_min_max():
    x = np.array([[0.0, 10], [5, 30]])
    scaler = data.MinMax().fit(x)
    assert scaler.transform(x).tolist() == [[0, 0], [1, 1]]
    assert scaler.transform(np.array([[10, 20]], np.float32)).dtype == np.float32
    with pytest.raises(ArgumentError, match="as fitted"):
        scaler.transform(np.ones((2, 3)))
    with pytest.raises(ValueError, match="call fit"):
        data.MinMax().transform(x)


# --- features -------------------------------------------------------------------------------


def test_one_hot_and_cyclical():
    assert data.one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(DataError, match="one_hot: labels"):
        data.one_hot(np.array([3]), 3)
    np.testing.assert_allclose(data.cyclical(np.array([0, 6]), 24), [[0, 1], [1, 0]], atol=1e-6)


def test_impute_fills_with_training_means_and_remembers():
    x = np.array([[1.0, np.nan], [3.0, 4.0]])
    filled, missing = data.impute(x)
    assert filled.tolist() == [[1, 4], [3, 4]] and missing.tolist() == [[False, True], [False] * 2]
    assert data.impute(x, fill=np.array([0.0, 7.0]))[0][0, 1] == 7
    with pytest.raises(DataError, match="feature 1 has no value at all"):
        data.impute(x[:1])


# --- augmentation ---------------------------------------------------------------------------


@pytest.mark.parametrize("f", [data.random_shift, data.random_flip, data.random_erasing])
def test_augmentations_keep_form_and_input(pictures, f):
    before = pictures.copy()
    one = f(pictures, np.random.default_rng(1))
    assert np.array_equal(pictures, before) and not np.array_equal(one, before)
    assert one.shape == pictures.shape and one.dtype == pictures.dtype
    assert np.array_equal(one, f(pictures, np.random.default_rng(1)))
    colour = np.repeat(pictures[:, None], 3, 1)  # the three channels move together
    same = f(colour, np.random.default_rng(1))
    assert np.array_equal(same[:, 0], one) and np.array_equal(same[:, 2], one)
    with pytest.raises(ArgumentError, match=r"pictures \(N, H, W\)"):
        f(pictures[0], np.random.default_rng(1))


def test_shift_moves_and_fills(pictures, rng):
    out = data.random_shift(pictures, rng, max_shift=1, fill=0)
    moves = set()
    for before, after in zip(pictures, out, strict=True):
        padded = np.pad(before, 1)
        hits = [
            (i, j) for i in range(3) for j in range(3)
            if np.array_equal(padded[i : i + 6, j : j + 5], after)
        ]  # fmt: skip
        assert len(hits) == 1
        moves.update(hits)
    assert len(moves) == 9
    assert np.array_equal(data.random_shift(pictures, rng, 0), pictures)
    with pytest.raises(ArgumentError, match="0 to 4"):
        data.random_shift(pictures, rng, 5)


def test_flip_and_erasing_at_their_bounds(pictures, rng):
    assert np.array_equal(data.random_flip(pictures, rng, 1.0), pictures[:, :, ::-1])
    assert np.array_equal(data.random_flip(pictures, rng, 0.0), pictures)
    assert np.array_equal(data.random_erasing(pictures, rng, 0.0), pictures)
    assert not data.random_erasing(pictures, rng, 1.0, area=(1.0, 1.0)).all()
    erased = (data.random_erasing(pictures, rng, 1.0, area=(0.1, 0.3)) == 0).mean((1, 2))
    assert erased.min() > 0 and erased.max() <= 0.45
    with pytest.raises(ArgumentError, match="a probability"):
        data.random_flip(pictures, rng, 1.5)
    with pytest.raises(ArgumentError, match="0 < low <= high"):
        data.random_erasing(pictures, rng, area=(0.3, 0.2))


# --- splits ---------------------------------------------------------------------------------


def test_split_uses_each_row_once(rng):
    split = data.train_validation_test_split(103, rng, 0.1, 0.2)
    assert [len(part) for part in split] == [72, 10, 21]
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(103))
    again = data.train_validation_test_split(103, np.random.default_rng(5), 0.1, 0.2)
    same = data.train_validation_test_split(103, np.random.default_rng(5), 0.1, 0.2)
    assert all(np.array_equal(a, b) for a, b in zip(again, same, strict=True))
    assert len(data.train_validation_test_split(3, rng, 0, 0).train) == 3


def test_stratified_split_and_folds_share_out_each_class(rng):
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    split = data.train_validation_test_split(100, rng, 0.1, 0.2, labels=labels)
    assert [np.bincount(labels[part]).tolist() for part in split] == [
        [35, 21, 14], [5, 3, 2], [10, 6, 4],
    ]  # fmt: skip
    for _, fold in data.k_fold(100, 7, rng, labels=labels):
        assert np.all(np.abs(np.bincount(labels[fold]) - np.array([50, 30, 20]) / 7) < 1)


def test_groups_stay_together(rng):
    groups = rng.integers(0, 30, 200) * 10 - 50
    split = data.train_validation_test_split(200, rng, 0.2, 0.2, groups=groups)
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(200))
    seen = [set(groups[part]) for part in split]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    labels = groups % 3
    folds = list(data.k_fold(200, 5, rng, labels=labels, groups=groups))
    assert all(not set(groups[t]) & set(groups[v]) for t, v in folds)
    assert sum(len(v) for _, v in folds) == 200


def test_largest_remainder():
    assert data.largest_remainder(30, [0.8, 0.1, 0.1]).tolist() == [24, 3, 3]
    assert data.largest_remainder(7, [1 / 3] * 3).tolist() == [3, 2, 2]
    assert data.largest_remainder(0, [0.5, 0.5]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "at least one row"),
        ({"test": 1.0}, r"a share in \[0, 1\)"),
        ({"validation": -0.1}, r"a share in \[0, 1\)"),
        ({"validation": 0.5, "test": 0.5}, "less than 0.5, so that some train"),
        ({"labels": np.zeros(9, int)}, r"expected shape \(10,\)"),
        ({"groups": np.zeros(9, int)}, "10, one per row"),
        ({"count": 1, "validation": 0.1, "test": 0.8}, "none is left to train"),
    ],
)
def test_split_refuses(rng, options, message):
    with pytest.raises(ArgumentError, match=message):
        data.train_validation_test_split(**{"count": 10, "rng": rng, **options})


def test_k_fold_and_batches_refuse_at_the_call(rng):
    for k in (1, 6):
        with pytest.raises(ArgumentError, match="2 to 5"):
            data.k_fold(5, k, rng)
    with pytest.raises(ArgumentError, match="at least 1"):
        data.batches(np.ones(3), 0)
    with pytest.raises(ArgumentError, match=r"`arrays\[0\]` has 0 rows"):
        data.batches(np.ones((0, 3)), 2)
    with pytest.raises(ArgumentError, match=r"`arrays\[1\]` has 2 rows; expected 3"):
        data.batches([np.ones(3), np.ones(2)], 2)


def test_batches_keep_rows_side_by_side(rng):
    x, y = np.arange(10) * 2, np.arange(10)
    seen = list(data.batches([x, y], 4, rng))
    assert [len(a) for a, _ in seen] == [4, 4, 2]
    assert all(np.array_equal(a, 2 * b) for a, b in seen)
    assert sorted(np.concatenate([b for _, b in seen])) == list(range(10))
    assert [b.tolist() for (b,) in data.batches(y, 4, drop_last=True)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
    ]
    assert list(data.batches(y, 20, drop_last=True)) == []
