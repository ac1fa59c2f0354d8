"""Faces in even light: what it takes away, that it takes away all of it, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.vision.faces import even_light, prepare_faces
from tests.data import load_or_skip


@pytest.fixture(scope="module")
def faces():
    return load_or_skip("orl-faces").images[::37]


def test_step_by_step_with_scipy(faces):
    for picture, found in zip(faces, even_light(faces), strict=True):
        lifted = (picture / 255) ** 0.2
        d = gaussian_filter(lifted, 2.0) - gaussian_filter(lifted, 8.0)
        d = d / np.mean(np.abs(d) ** 0.1) ** 10
        d = d / np.mean(np.minimum(10, np.abs(d)) ** 0.1) ** 10
        np.testing.assert_allclose(found, (np.tanh(d / 10) + 1) / 2, atol=1e-10)


@pytest.mark.equation("faces-light-gain")
@pytest.mark.parametrize("gain", [0.03, 0.4, 0.999])
def test_the_strength_of_the_light_says_nothing(faces, gain, prove):
    x = faces / 255
    prove(even_light(gain * x), even_light(x), oracle="the same light, weaker", tol=1e-9)
    assert np.abs(even_light(np.sqrt(x)) - even_light(x)).max() > 1e-3


def test_light_from_one_side_loses_most_of_its_weight(faces):
    """A slope of light across the face: how far pictures move, before and after."""
    x = faces / 255
    slope = np.linspace(0.25, 1, x.shape[2])

    def moved(view):
        a, b = (prepare_faces(view(p)).reshape(len(x), -1) for p in (x, slope * x))
        return 1 - (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)

    assert np.median(moved(even_light)) < 0.5 * np.median(moved(lambda p: p))


def test_forms(faces):
    one = even_light(faces[0])
    assert one.shape == faces[0].shape and one.dtype == np.float64
    assert one.min() >= 0 and one.max() <= 1
    np.testing.assert_array_equal(one, even_light(faces[:1])[0])
    np.testing.assert_allclose(one, even_light(faces[0] / 255), atol=1e-12)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 4, 5)), r"`images` has shape \(2, 3, 4, 5\); expected \(H, W\) or"),
        (np.zeros((0, 4, 4)), r"shape \(0, 4, 4\)"),
        (np.zeros((4, 4), int), "dtype int64; expected uint8"),
        (np.full((4, 4), 1.5), "`images` has floats from 1.5 to 1.5"),
        (np.full((4, 4), np.nan), "`images` has NaN or infinity"),
        (np.full((2, 8, 8), 0.5), "one grey level in picture 0"),
        ([[0.1, 0.2], [0.3]], "rows of different lengths"),
    ],
)
def test_what_is_no_face_is_refused(images, message):
    with pytest.raises(ArgumentError, match=message):
        even_light(images)
