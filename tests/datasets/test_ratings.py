"""MovieLens 100K as it is counted by others, and files that are not it."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref import datasets
from lepton_ref.datasets import ratings
from lepton_ref.framework.errors import DataError
from tests.data import load_or_skip


@pytest.fixture(scope="module")
def data():
    return load_or_skip("movielens-100k")


def test_movielens_counts_are_those_that_grouplens_prints(data):
    assert data.ratings.shape == (100_000,)
    # The counts of one to five stars in GroupLens' own file.
    assert np.bincount(data.ratings).tolist() == [0, 6110, 11370, 27145, 34174, 21201]
    assert len(np.unique(data.users)) == 943 and len(np.unique(data.items)) == 1682
    assert np.bincount(data.users)[1:].min() == 20  # everybody rated twenty films or more
    assert data.genres.shape == (1682, 18) and len(data.classes) == 18
    assert data.genres[:, data.classes.index("Drama")].sum() == 725


def test_the_two_odd_lines_of_the_films_are_read(data):
    assert data.titles[data.item_ids == 267] == ["unkonwn"] and data.years[266] == 0
    assert not data.genres[266].any()
    assert data.years[data.item_ids == 1412] == [1995] and "(1995)" not in data.titles[1411]


def test_it_is_not_shipped():
    entry = datasets.entry("movielens-100k")
    assert not entry.shipped and "redistribution" in entry.licence


INTER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1\t3\t5\n"


@pytest.mark.parametrize(
    "contents, message",
    [
        ([b"user\titem\n"], "columns are"),
        ([INTER], "1 ratings, expected 100000"),
        ([INTER + b"1\t2\n"], "line 3 has 2 columns"),
    ],
)
def test_a_file_that_is_not_movielens_is_refused(contents, message):
    with pytest.raises(DataError, match=message):
        ratings.movielens_100k(contents, ["ml-100k.inter"])


def test_what_is_no_number_and_no_star_is_refused(monkeypatch):
    monkeypatch.setitem(ratings._COUNTS, "ratings", 1)
    with pytest.raises(DataError, match="rating that is no number"):
        ratings.movielens_100k([INTER.replace(b"\t3\t", b"\tx\t")], ["ml-100k.inter"])
    with pytest.raises(DataError, match="ratings other than 1 to 5"):
        ratings.movielens_100k([INTER.replace(b"\t3\t", b"\t6\t")], ["ml-100k.inter"])
