"""The file of a gallery: cut, flipped, edited, foreign, written by two at once, on a full disk."""

from __future__ import annotations

import json
import multiprocessing
import os

import numpy as np
import pytest

from lepton_ref.framework.layers import Dense
from lepton_ref.framework.models import save
from lepton_ref.framework.models.format import file_digest, serialize
from lepton_ref.vision.faces.gallery import Gallery
from lepton_ref.vision.faces.gallery_file import GalleryFileError, read, unpack
from tests.vision.faces_gallery import NAMES, D, faces


def test_a_file_cut_anywhere_is_refused(filled, path):
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(GalleryFileError, match="people.gallery: (truncated|damaged|foreign)"):
            Gallery.open(path, "1" * 64)
    path.write_bytes(whole + b"\0")
    with pytest.raises(GalleryFileError, match="truncated or damaged"):
        Gallery.open(path, "1" * 64)


def test_a_flipped_bit_is_never_read_as_something_else(filled, path, rng):
    whole = path.read_bytes()
    expected = unpack(whole, "whole")
    refused = 0
    for i in rng.choice(len(whole), 300, replace=False):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << int(rng.integers(8))]) + whole[i + 1 :])
        try:
            found, _ = read(path)
        except GalleryFileError as error:
            refused += 1
            assert "people.gallery" in str(error)
        else:  # a bit of the white space that pads the header
            assert found.people == expected.people and found.threshold == expected.threshold
            np.testing.assert_array_equal(found.templates, expected.templates)
    assert refused > 290


def edited(path, change):
    """The file with another description, and a digest that fits it: what a forger would write."""
    content, _ = read(path)
    description = {
        "model": content.model, "threshold": content.threshold,
        "people": [p._asdict() for p in content.people],
    }  # fmt: skip
    arrays = {"templates": content.templates.copy(), "owners": content.owners.copy()}
    change(description, arrays)
    text = json.dumps(description)
    metadata = {"format": "lepton-gallery", "version": "1", "description": text}
    path.write_bytes(serialize(arrays, metadata | {"sha256": file_digest(text, arrays)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, a: d.pop("model"), "its description lacks 'model'"),
        (lambda d, a: d["people"].pop(), "people and templates do not fit"),
        (lambda d, a: d["people"][0].update(name=3), "people and templates do not fit"),
        (lambda d, a: d["people"][0].update(age=3), "its description lacks"),
        (lambda d, a: d["people"][0].update(name=NAMES[1]), "two people of one name"),
        (lambda d, a: a["owners"].__setitem__(0, 3), "do not fit"),
        (lambda d, a: a["templates"].__setitem__(0, 2.0), "a template has not length 1"),
        (lambda d, a: a["templates"].__setitem__(0, np.nan), "a template has not length 1"),
        (lambda d, a: a.pop("owners"), "its description lacks 'owners'"),
    ],
)
def test_a_file_with_a_right_digest_and_a_wrong_content_is_refused(filled, path, change, message):
    edited(path, lambda d, a: None)
    assert len(Gallery.open(path)) == 4  # the forger's tool itself writes good files
    edited(path, change)
    with pytest.raises(GalleryFileError, match=message):
        Gallery.open(path)


def test_an_edited_name_is_noticed(filled, path):
    path.write_bytes(path.read_bytes().replace(b"Ada Lovelace", b"Eve Lovelace"))
    with pytest.raises(GalleryFileError, match="altered since it was written"):
        Gallery.open(path)


def test_files_of_others_are_refused(path, rng, tmp_path):
    with pytest.raises(GalleryFileError, match=r"no such gallery; Gallery.create makes one"):
        Gallery.open(path)
    save(Dense(2, 3, rng=rng), tmp_path / "dense")
    with pytest.raises(GalleryFileError, match="of format 'lepton-model', expected 'lepton-gall"):
        Gallery.open(tmp_path / "dense.safetensors")
    path.write_bytes(b"\x80\x04\x95" + bytes(20))
    with pytest.raises(GalleryFileError, match="a pickle"):
        Gallery.open(path)
    path.write_bytes(serialize({}, {"format": "lepton-gallery", "version": "2"}))
    with pytest.raises(GalleryFileError, match="format '2', this package reads up to 1"):
        Gallery.open(path)
    with pytest.raises(GalleryFileError, match="cannot be read"):
        Gallery.open(tmp_path)


def test_create_does_not_replace_a_gallery(filled, path):
    before = path.read_bytes()
    with pytest.raises(GalleryFileError, match="exists already; Gallery.open reads it"):
        Gallery.create(path, "1" * 64, D, 0.5)
    assert path.read_bytes() == before


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_loses_nothing(filled, path, rng, monkeypatch, broken):
    """The disk is full before or at the swap: file, memory and folder are as they were."""
    before, there = path.read_bytes(), sorted(path.parent.iterdir())

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, full)
        for change in (
            lambda: filled.enrol("new", faces(rng, 5, 1), "yes"),
            lambda: filled.forget(NAMES[0]),
        ):
            with pytest.raises(GalleryFileError, match="stays as it was: No space left on device"):
                change()
    assert path.read_bytes() == before and sorted(path.parent.iterdir()) == there
    assert "new" not in filled and NAMES[0] in filled
    filled.forget(NAMES[0])  # and goes on working
    assert NAMES[0] not in Gallery.open(path)


def test_a_folder_that_is_a_file_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(GalleryFileError, match="cannot be written"):
        Gallery.create(tmp_path / "file" / "g", "3" * 64, D, 0.5)


def test_two_writers_lose_nobody(filled, path):
    other = Gallery.open(path, "1" * 64)
    other.enrol("from there", np.eye(D)[4], "yes")
    with pytest.raises(GalleryFileError, match="changed by somebody else since it was opened"):
        filled.enrol("from here", np.eye(D)[5], "yes")
    assert "from here" not in filled
    again = Gallery.open(path, "1" * 64)
    again.enrol("from here", np.eye(D)[5], "yes")
    assert {"from there", "from here"} <= {p.name for p in Gallery.open(path).people}
    path.unlink()
    with pytest.raises(GalleryFileError, match="no such gallery"):
        again.forget("from here")


def _enrol_some(path, first):
    for i in range(first, first + 5):
        while True:
            try:
                Gallery.open(path, "1" * 64).enrol(f"person {i}", np.eye(D)[i % D], "yes")
                break
            except GalleryFileError as error:
                assert "changed by somebody else" in str(error)


def test_two_processes_lose_nobody(gallery, path):
    """Each opens, changes, and tries again when the other was faster."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_enrol_some, args=(path, first)) for first in (0, 5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert {p.name for p in Gallery.open(path).people} == {f"person {i}" for i in range(10)}
