"""A gallery of four people, for the tests of what it answers and of its file."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.vision.faces.gallery import Gallery

D = 6
NAMES = ("Ada Lovelace", "Ωμέγα", "王小明", "Zoë “Z” O'Hara\\n")


def faces(rng, k, n):
    """Embeddings of person k, (n, D), near an axis of their own."""
    return 5.0 * np.eye(D)[k] + 0.3 * rng.normal(size=(n, D))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.gallery"


@pytest.fixture
def gallery(path):
    return Gallery.create(path, "model-1", D, 0.8)


@pytest.fixture
def filled(gallery, rng):
    """Four people, each with three pictures."""
    for k, name in enumerate(NAMES):
        gallery.enrol(name, faces(rng, k, 3), "for this test")
    return gallery
