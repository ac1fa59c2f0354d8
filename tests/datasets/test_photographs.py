"""The photographs: the published bytes, read as they are stored, and nothing from a wrong file."""

from __future__ import annotations

import io
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from lepton_ref import datasets
from lepton_ref.datasets import fetch
from lepton_ref.datasets.photographs import SHAPES, parse_png, photographs
from lepton_ref.framework.errors import DataError

Image = pytest.importorskip("PIL.Image")
FILES = fetch.SHIPPED / "photographs"


def test_the_photographs_are_those_of_the_package():
    data = datasets.load("photographs")
    for name, shape in SHAPES.items():
        assert getattr(data, name).shape == shape and getattr(data, name).dtype == np.uint8
    # Corners and means read off with another reader (matplotlib).
    plt = pytest.importorskip("matplotlib.image")
    for name in SHAPES:
        theirs = plt.imread(FILES / f"{name}.png") * 255
        assert np.array_equal(np.rint(theirs), getattr(data, name))


def test_they_are_shipped_byte_for_byte():
    pytest.importorskip("skimage")
    files = {Path(str(f)).name: f for f in metadata.files("scikit-image") or []}
    for name in SHAPES:
        theirs = Path(files[f"{name}.png"].locate()).read_bytes()
        assert theirs == (FILES / f"{name}.png").read_bytes()


def test_author_and_licence_stand_beside_them():
    readme, licence = (FILES / "README.md").read_text(), (FILES / "LICENSE").read_text()
    for name in SHAPES:
        assert f"{name}.png" in readme and f"{name}.png" in licence
    assert sum(f.stat().st_size for f in FILES.iterdir()) < 1_200_000


def png(mode: str, size=(4, 3)) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.png: cannot be read as a PNG"),
        (b"GIF89a....", "cannot be read as a PNG"),
        (png("L", (64, 64))[:60], "cannot be read as a PNG"),
        (png("RGBA"), "mode RGBA, expected L"),
        (png("1"), "mode 1, expected L"),
    ],
)
def test_what_is_no_such_picture_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        parse_png(content, "x.png")


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(DataError, match=r"a.png: a picture of \(3, 4\), expected \(512, 512\)"):
        photographs([png("L")] * 4, ["a.png"] * 4)


def test_without_pillow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="takes Pillow.*pip install pillow"):
        datasets.load("photographs")
