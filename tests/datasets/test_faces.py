"""The ORL faces as they lie in their package, and files that are none of them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lepton_ref import datasets
from lepton_ref.datasets.faces import orl_faces, parse_pgm
from lepton_ref.framework.errors import DataError
from tests.data import load_or_skip


@pytest.fixture(scope="module")
def data():
    return load_or_skip("orl-faces")


def test_forty_people_ten_pictures_each(data):
    assert data.images.shape == (400, 112, 92) and data.images.dtype == np.uint8
    assert data.subjects.dtype == np.int64
    assert np.bincount(data.subjects).tolist() == [0] + [10] * 40
    assert len(np.unique(data.images.reshape(400, -1), axis=0)) == 400, "no picture twice"


def test_nothing_is_shipped():
    entry = datasets.entry("orl-faces")
    assert not entry.shipped and "AT&T" in entry.licence and "redistribution" in entry.licence
    folder = datasets.fetch.SHIPPED / "orl-faces"
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "members.txt"]


def test_pictures_have_no_step_where_bytes_were_doubled(data):
    """A pixel too many shifts all rows behind it: neighbouring rows no longer resemble."""
    rows = data.images.astype(float)
    steps = np.abs(np.diff(rows, axis=1)).mean(axis=(1, 2))
    shifted = np.abs(rows[:, 1:, 1:] - rows[:, :-1, :-1]).mean(axis=(1, 2))
    assert (steps < shifted).mean() > 0.9


def pgm(pixels: np.ndarray, head: bytes = b"P5\n7 5\n255\n") -> bytes:
    return head + pixels.astype(np.uint8).tobytes()


def test_pgm_with_comments(rng):
    pixels = rng.integers(0, 256, (5, 7))
    for head in (b"P5\n7 5\n255\n", b"P5 7 5 255 ", b"P5\n# a note\n7 5\n# 1 2\n255\n"):
        np.testing.assert_array_equal(parse_pgm(pgm(pixels, head), "a.pgm"), pixels)


def test_pgm_that_was_moved_as_text(rng):
    """Every lone 10 became 13 10, as git does it; also where pixels begin or end with it."""
    pixels = rng.integers(9, 13, (5, 7))  # many tens, no thirteen
    pixels[0, 0] = pixels[4, 6] = 10
    moved = pgm(pixels).replace(b"\n", b"\r\n")
    assert len(moved) > len(pgm(pixels)) + 5
    np.testing.assert_array_equal(parse_pgm(moved, "a.pgm"), pixels)


def test_pgm_moved_as_text_with_a_pair_of_its_own():
    """One 13 10 was in the picture before: the columns of a striped picture tell which."""
    pixels = np.tile(np.array([200, 13, 10, 90, 10, 30, 180]), (5, 1))
    pixels[:, 1:3] = (60, 10)
    pixels[2, 1] = 13
    moved = pgm(pixels).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    np.testing.assert_array_equal(parse_pgm(moved, "a.pgm"), pixels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.pgm: not a binary PGM"),
        (b"P6\n7 5\n255\n" + bytes(35), r"begins b'P6"),
        (b"P5\n7 five\n255\n", "not a binary PGM"),
        (b"P5\n7 5\n65535\n" + bytes(70), "7x5 pixels up to 65535"),
        (b"P5\n0 5\n255\n", "0x5 pixels"),
        (b"P5\n7 5\n255\n" + bytes(34), "34 pixels, its header announces 7x5 = 35"),
        (b"P5\n7 5\n255\n" + bytes(36), "36 pixels"),
        (b"P5\r\n7 5\r\n255\r\n" + bytes(34), "34 pixels"),
    ],
)
def test_what_is_no_picture_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        parse_pgm(content, "a.pgm")


def test_pictures_of_another_size_or_number_are_refused():
    small, right = pgm(np.zeros((5, 7))), pgm(np.zeros((112, 92)), b"P5\n92 112\n255\n")
    with pytest.raises(DataError, match=r"s1/2.pgm: a picture of \(5, 7\), expected \(112, 92\)"):
        orl_faces([right, small], ["s1/1.pgm", "s1/2.pgm"])
    with pytest.raises(DataError, match="1 pictures, expected 400"):
        orl_faces([right], ["s1/1.pgm"])


def test_a_damaged_file_is_named_by_its_person(data, tmp_path):
    """From a folder of originals: one file cut short is found by its hash and named."""
    entry = datasets.entry("orl-faces")
    for name, content in zip(entry.files, datasets.read_members(entry)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    again = datasets.load("orl-faces", path=tmp_path)
    assert hashlib.sha256(again.images).digest() == hashlib.sha256(data.images).digest()
    (tmp_path / "s7" / "3.pgm").write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"s7/3\.pgm.*bytes, expected"):
        datasets.load("orl-faces", path=tmp_path)
