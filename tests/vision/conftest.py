"""Fixtures of the chapter's tests."""

from __future__ import annotations

import pytest

from lepton_ref.vision.faces.gallery import Gallery
from tests.vision.faces_gallery import NAMES, D, faces


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.gallery"


@pytest.fixture
def gallery(path):
    return Gallery.create(path, "1" * 64, D, 0.8)


@pytest.fixture
def filled(gallery, rng):
    """Four people, each with three pictures."""
    for k, name in enumerate(NAMES):
        gallery.enrol(name, faces(rng, k, 3), "for this test")
    return gallery
