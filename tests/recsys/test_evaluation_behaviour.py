"""A person's behaviour, however it is written down."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import ItemScores, of_several, read_behaviour

IDS = np.array([10, 20, 30, 40])
NAMES = np.array(["bread", "cheese", "milk", "salt"])
SCALE = (1.0, 5.0)


def read(given, ids=IDS, scale=SCALE):
    return read_behaviour("predict", given, ids, scale).toarray().tolist()


@pytest.mark.parametrize(
    "given",
    [
        {20: 4, 40: 2.5},
        {np.int64(40): 2.5, np.int64(20): np.float32(4)},
        [(40, 2.5), (20, 4)],
        [0.0, 4.0, 0.0, 2.5],
        np.array([np.nan, 4, np.nan, 2.5]),
        np.array([[0, 4, 0, 2.5]]),
        [{20: 4, 40: 2.5}],
    ],
)
def test_seven_ways_to_say_the_same(given):
    assert read(given) == [[0, 4, 0, 2.5]]


def test_what_is_only_named_was_liked():
    assert read([40, 10]) == [[5, 0, 0, 5]]
    assert read(np.array([40, 10])) == [[5, 0, 0, 5]]
    assert read(["milk"], NAMES, None) == [[0, 0, 1, 0]]
    assert read(("milk", "bread"), NAMES) == [[5, 0, 5, 0]]
    assert read([10, 20, 30, 40]) == [[5, 5, 5, 5]]  # as many ids as items, but no ratings


def test_nothing_yet_is_behaviour_too():
    assert read(np.zeros((0, 4))) == []
    for given in ({}, [], np.zeros(4), np.full(4, np.nan)):
        assert read(given) == [[0, 0, 0, 0]]


def test_several_people():
    assert read([{10: 1}, {}, {30: 5}]) == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 5, 0]]
    assert read(np.array([[0, 0, 3.0, 0], [1, 0, 0, 0]])) == [[0, 0, 3, 0], [1, 0, 0, 0]]
    assert read([[0, 0, 3.0, 0], [1, 0, 0, 0]]) == [[0, 0, 3, 0], [1, 0, 0, 0]]
    assert of_several([{10: 1}]) and of_several(np.zeros((2, 4))) and of_several([[1.0] * 4])
    assert not any(map(of_several, ({10: 1}, [10, 20], [(10, 1)], np.zeros(4), [])))


@pytest.mark.parametrize(
    "given, message",
    [
        ("bread", "a str; expected a dict"),
        (None, "a NoneType; expected"),
        ({50: 3}, "the item 50; expected one of the 4 items of the model .whole numbers, such as"),
        ({"10": 3}, "the item '10'"),
        ({True: 3}, "the item True"),
        ([10, 10], "the item 10 twice"),
        ({10: 6}, "the rating 6; expected ratings from 1 to 5"),
        ({10: float("nan")}, "the rating nan"),
        ({10: "good"}, "a rating that is no number"),
        ([(10, 3), 20], "tuples that are no pairs"),
        ([(10, 3, 1)], "tuples that are no pairs"),
        ([0.0, 4.0], r"an array of dtype float64 and shape \(2,\) \(there are 4 items\)"),
        (np.zeros((2, 3)), r"an array of dtype float64 and shape \(2, 3\)"),
        ([[1.0], [1.0, 2.0]], "rows of unequal length"),
        (np.array([0, 9.0, 0, 0]), "the rating 9"),
        (np.full(4, "x", object), "the item 'x'"),
    ],
)
def test_what_is_no_behaviour_is_refused(given, message):
    with pytest.raises(ArgumentError, match=f"predict: argument `user_behavior` has {message}"):
        read(given)


def test_without_a_scale_any_finite_rating_counts():
    assert read({10: -3}, scale=None) == [[-3, 0, 0, 0]]
    with pytest.raises(ArgumentError, match="the rating inf; expected finite ratings"):
        read({10: np.inf}, scale=None)


def test_scores_know_their_items_as_long_as_their_shape_stays():
    rows = read_behaviour("predict", {20: 4}, IDS, SCALE)
    scores = ItemScores.of(np.arange(4.0)[None], rows, IDS, several=False)
    assert scores.shape == (4,) and scores.had.indices.tolist() == [1]
    assert (2 * scores + 1).item_ids is IDS and (scores + 0).had is rows
    assert scores[1:].item_ids is None and scores.reshape(2, 2).had is None
    # The same shape in another order: the ids would be those of other items.
    for moved in (scores[::-1], scores[[3, 0, 1, 2]], np.sort(scores), scores.copy()[::-1]):
        assert moved.shape == (4,) and moved.item_ids is None and moved.had is None
    assert np.add.reduce(scores) == 6.0 and scores.sum() == 6.0
    scores += 1
    assert scores.tolist() == [1.0, 2.0, 3.0, 4.0] and scores.item_ids is IDS
    scores -= 1
    assert float(scores[3]) == 3.0 and np.argmax(scores) == 3
    both = ItemScores.of(np.zeros((1, 4)), rows, IDS, several=True)
    assert both.shape == (1, 4)
