"""The baselines of face verification: pixels and eigenfaces, beside scikit-learn's PCA."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

import lepton_ref
from lepton_ref.framework.errors import ArgumentError, DataError
from lepton_ref.vision.faces.baselines import Eigenfaces, raw_pixels
from lepton_ref.vision.faces.data import identity_folds
from lepton_ref.vision.faces.verification import all_pairs, cosine_similarity, equal_error_rate


def pictures(rng, n=12, height=6, width=5):
    return rng.integers(0, 256, size=(n, height, width), dtype=np.uint8)


@pytest.mark.parametrize("whiten", [False, True])
def test_eigenfaces_equal_scikit_learn(rng, whiten):
    train, test = pictures(rng), pictures(rng, n=4)
    faces = Eigenfaces(5, whiten).fit(train)
    pca = PCA(5, whiten=whiten, svd_solver="full").fit(train.reshape(12, -1).astype(float))
    flat = test.reshape(4, -1).astype(float)
    np.testing.assert_allclose(faces.mean, pca.mean_, rtol=1e-13)
    np.testing.assert_allclose(faces.components, pca.components_, atol=1e-12)
    np.testing.assert_allclose(faces.variance, pca.explained_variance_, rtol=1e-12)
    np.testing.assert_allclose(faces.explained, pca.explained_variance_ratio_, rtol=1e-12)
    codes = faces.transform(test)
    np.testing.assert_allclose(codes, pca.transform(flat), atol=1e-10)
    np.testing.assert_allclose(
        faces.reconstruct(codes).reshape(4, -1), pca.inverse_transform(codes), atol=1e-10
    )


def test_signs_follow_a_rule(rng):
    for _ in range(5):
        v = Eigenfaces(8).fit(pictures(rng)).components
        assert (v.max(axis=1) > -v.min(axis=1)).all()


def test_whitened_training_codes_are_uncorrelated_with_variance_one(rng):
    train = pictures(rng)
    codes = Eigenfaces(6, whiten=True).fit(train).transform(train)
    np.testing.assert_allclose(np.cov(codes.T), np.eye(6), atol=1e-12)


def test_centred_pixels_ignore_brightness_and_contrast(rng):
    x = rng.uniform(size=(2, 6, 5))
    same = np.stack([x[0], 0.3 * x[0] + 0.5])
    np.testing.assert_allclose(cosine_similarity(raw_pixels(same, centre=True)), 1.0)
    correlation = np.corrcoef(raw_pixels(x))[0, 1]
    assert cosine_similarity(raw_pixels(x, centre=True))[0, 1] == pytest.approx(correlation)
    np.testing.assert_array_equal(raw_pixels(x), x.reshape(2, 30))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 4)), r"shape \(3, 4\); expected grey pictures \(N, H, W\)"),
        (np.zeros((2, 4, 4, 3)), r"shape \(2, 4, 4, 3\)"),
        (np.zeros((0, 4, 4)), r"shape \(0, 4, 4\)"),
        (np.zeros((2, 4, 4), np.int64), "dtype int64; expected uint8 or floats"),
        (np.full((2, 4, 4), np.inf), "NaN or infinity"),
    ],
)
def test_wrong_pictures_are_refused(images, message):
    with pytest.raises(ArgumentError, match=message):
        raw_pixels(images)
    with pytest.raises(ArgumentError, match=message):
        Eigenfaces(1).fit(images)


@pytest.mark.parametrize("components", [0, 2.0, True])
def test_wrong_number_of_components_is_refused(components):
    with pytest.raises(ArgumentError, match="expected a whole number from 1"):
        Eigenfaces(components)


def test_eigenfaces_that_cannot_be_are_refused(rng):
    x = pictures(rng, n=5)
    with pytest.raises(ArgumentError, match="5 pictures of 30 pixels; expected more than 5"):
        Eigenfaces(5).fit(x)
    twins = np.concatenate([x[:3], x[:3]])  # six pictures, two directions
    with pytest.raises(ArgumentError, match="has 2 directions in which .* at least 3"):
        Eigenfaces(3).fit(twins)
    with pytest.raises(ArgumentError, match="has 0 directions"):
        Eigenfaces(1).fit(np.full((3, 4, 4), 7, np.uint8))
    with pytest.raises(ArgumentError, match="no directions yet; expected fit"):
        Eigenfaces(2).transform(x)
    faces = Eigenfaces(2).fit(x)
    with pytest.raises(ArgumentError, match=r"shape \(5, 5, 6\); expected grey .*\(N, 6, 5\)"):
        faces.transform(x.transpose(0, 2, 1))
    with pytest.raises(ArgumentError, match=r"shape \(1, 3\); expected \(N, 2\)"):
        faces.reconstruct(np.zeros((1, 3)))


def test_eigenfaces_of_real_people_say_something_about_others():
    """On ORL, people not seen: far better than chance, and 50 numbers hold most of a face."""
    try:
        data = lepton_ref.load("orl-faces")
    except DataError as error:
        pytest.skip(str(error))
    fold = identity_folds(data.subjects, np.random.default_rng(0))[0]
    small = data.images[:, ::4, ::4]  # 28 by 23 pixels
    faces = Eigenfaces(50).fit(small[fold.train])
    assert faces.explained.sum() > 0.8
    who = data.subjects[fold.test]
    pixels = equal_error_rate(all_pairs(raw_pixels(small[fold.test]), who).curve)
    codes = equal_error_rate(all_pairs(faces.transform(small[fold.test]), who).curve)
    assert 0.02 < codes < pixels < 0.35
