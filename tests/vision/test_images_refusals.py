"""What is no picture is refused by name; what is a strange one gets a sensible answer."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.vision import images
from tests.vision.pictures import ramp

GREY, COLOUR = ramp((9, 7)), np.stack([ramp((9, 7))] * 3, axis=2)

#: Every function of one picture, and whether it takes grey, colour or both.
FUNCTIONS = {
    "as_float": "both", "as_uint8": "both", "sense": "both", "to_linear": "both",
    "to_srgb": "both", "grey": "colour", "luminance": "colour", "mean_filter": "both",
    "gaussian_filter": "both", "median_filter": "both", "bilateral_filter": "both",
    "non_local_means": "both", "stretch": "both", "grey_world": "colour", "rotate": "both",
    "histogram": "both", "equalise": "both", "clahe": "both", "gradient": "grey",
    "structure_tensor": "grey", "harris": "grey", "orientation_histograms": "both", "hog": "both",
    "otsu": "grey", "local_threshold": "grey",
}  # fmt: skip
MORE = {
    "rotate": {"degrees": 10}, "non_local_means": {"patch_distance": 1},
    "hog": {"cell": 2, "block": 2}, "orientation_histograms": {"cell": 2},
}  # fmt: skip


def call(name, picture):
    return getattr(images, name)(picture, **MORE.get(name, {}))


BAD = {
    "alpha": (np.zeros((5, 6, 4)), r"shape \(5, 6, 4\).*alpha channel, picture\[..., :3\]"),
    "one channel": (np.zeros((5, 6, 1)), r"drop the channel axis, picture\[..., 0\]"),
    "channels first": (np.zeros((3, 5, 6)), r"picture.transpose\(1, 2, 0\)"),
    "a batch": (np.zeros((2, 5, 6, 3)), "one picture at a time"),
    "a row": (np.zeros(5), r"expected \(H, W\) for grey"),
    "no pixel": (np.zeros((0, 5)), r"shape \(0, 5\); expected at least one pixel"),
    "0 to 255 as floats": (np.full((5, 6), 200.0), "floats from 200 to 200.*divide by 255"),
    "below 0": (np.full((5, 6), -0.5), "floats from -0.5 to -0.5.*clip or rescale"),
    "NaN": (np.full((5, 6), np.nan), "NaN or infinity"),
    "infinity": (np.full((5, 6), np.inf), "NaN or infinity"),
    "int64": (np.zeros((5, 6), int), "dtype int64; expected uint8, 0 to 255, or floats"),
    "uint16": (np.zeros((5, 6), np.uint16), "dtype uint16.*divide by the largest value"),
    "a mask": (np.zeros((5, 6), bool), r"dtype bool.*mask.astype\(float\)"),
    "complex": (np.zeros((5, 6), complex), "dtype complex128"),
    "text": (np.array([["a", "b"]]), "dtype <U1"),
}


def expects(name, shape):
    """Shape and colour are judged first, so a grey oddity may meet a demand for colour."""
    return FUNCTIONS[name] != "colour" or len(shape) != 2 or 0 in shape


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_picture_is_refused_by_every_function(name, kind):
    picture, message = BAD[kind]
    if not expects(name, picture.shape):
        picture = np.stack([picture] * 3, axis=2)
    with pytest.raises(ArgumentError, match=message) as caught:
        call(name, picture)
    assert name in str(caught.value) or name == "hog" or name in ("structure_tensor", "harris")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_of_different_lengths_are_no_picture(name):
    with pytest.raises(ArgumentError, match="`picture` has rows of different lengths"):
        call(name, [[0.1, 0.2], [0.3]])


def test_every_function_says_grey_or_colour():
    for name, takes in FUNCTIONS.items():
        if takes != "colour":
            call(name, GREY)
        else:
            with pytest.raises(ArgumentError, match=r"\(9, 7\).*red, green, blue"):
                call(name, GREY)
        if takes != "grey":
            call(name, COLOUR)
        else:
            with pytest.raises(ArgumentError, match=r"\(9, 7, 3\).*grey\(picture\) makes it"):
                call(name, COLOUR)


#: What stays as it is when nothing in the picture differs.
KEEP = (
    "as_float", "mean_filter", "gaussian_filter", "median_filter", "bilateral_filter",
    "non_local_means", "stretch", "equalise", "clahe", "local_threshold",
)  # fmt: skip


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_picture(value):
    for shape in ((9, 7), (9, 7, 3)):
        picture = np.full(shape, value)
        for name in KEEP:
            if FUNCTIONS[name] == "both" or len(shape) == 2:
                np.testing.assert_allclose(call(name, picture), picture, atol=1e-12)
    flat = np.full((20, 20), value)
    assert images.otsu(flat) == value
    assert not images.harris(flat).any() and len(images.corners(images.harris(flat))) == 0
    assert not images.hog(flat, cell=4).any()
    assert np.array_equal(images.grey_world(np.full((4, 4, 3), value)), np.full((4, 4, 3), value))


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if FUNCTIONS[n] != "colour"])
def test_one_pixel_is_a_picture(name):
    picture = np.array([[0.4]])
    if name in ("hog", "orientation_histograms"):
        with pytest.raises(ArgumentError, match="expected at most 1"):
            call(name, picture)
        return
    result = call(name, picture)
    assert np.isfinite(np.asarray(result[0] if isinstance(result, tuple) else result)).all()


def test_uint8_and_floats_give_the_same():
    levels = np.random.default_rng(0).integers(0, 256, (12, 11, 3), dtype=np.uint8)
    for name, takes in FUNCTIONS.items():
        picture = levels[..., 0] if takes == "grey" else levels
        if name in ("equalise", "histogram"):  # uint8 has bins of its own
            continue
        ours, other = call(name, picture), call(name, picture / 255)
        if name == "otsu":
            assert abs(ours - other) < 1 / 255
            continue
        for a, b in zip(np.atleast_1d(ours), np.atleast_1d(other)):
            np.testing.assert_allclose(a, b, atol=1e-12)
    assert np.array_equal(images.as_uint8(levels / 255), levels)
    assert images.as_float(levels).flags.writeable


def test_no_function_writes_to_its_picture():
    picture = np.random.default_rng(0).random((9, 7, 3))
    for name, takes in FUNCTIONS.items():
        given = picture[..., 0].copy() if takes == "grey" else picture.copy()
        before = given.copy()
        call(name, given)
        assert np.array_equal(given, before), name


ARGUMENTS = [
    (lambda: images.mean_filter(GREY, 4), "size.*value 4; expected an odd whole number"),
    (lambda: images.median_filter(GREY, 2.5), "size.*odd whole number"),
    (lambda: images.gaussian_filter(GREY, 0), "sigma.*value 0; expected a finite number > 0"),
    (lambda: images.gaussian_filter(GREY, -1), "sigma.*value -1; expected a finite number > 0"),
    (lambda: images.gaussian_weights(0), "gaussian_weights: .*sigma.*value 0"),
    (lambda: images.mean_filter(GREY, border="wrap"), "border.*'wrap'; expected one of symmetric"),
    (lambda: images.filter_picture(GREY, np.ones((2, 3))), r"kernel.*\(2, 3\).*odd sides"),
    (lambda: images.filter_picture(GREY, [[np.nan]]), "kernel.*NaN"),
    (lambda: images.filter_picture(GREY, "blur"), "kernel` has type str; expected real numbers"),
    (lambda: images.filter_picture(GREY, [[1], [1, 2]]), "kernel` has type list"),
    (lambda: images.bilateral_filter(GREY, 0.0), "sigma_color.*> 0"),
    (lambda: images.bilateral_filter(GREY, kernel=-np.ones((3, 3))), "kernel.*below 0"),
    (lambda: images.non_local_means(GREY, h=0), "h.*> 0"),
    (lambda: images.non_local_means(GREY, 0), "patch_size.*>= 1"),
    (lambda: images.non_local_means(GREY, exponential="fast"), "one of exact, schraudolph"),
    (lambda: images.sense(GREY, 0), "full_well.*> 0"),
    (lambda: images.sense(GREY, read_noise=-1), "read_noise"),
    (lambda: images.sense(GREY, rng=0), "rng.*default_rng"),
    (lambda: images.gamma(GREY, 0), "exponent.*> 0"),
    (lambda: images.stretch(GREY, 0.5, 0.5), "high.*more than low, 0.5"),
    (lambda: images.flatten_light(GREY, np.ones((3, 3))), r"light.*\(3, 3\).*\(9, 7\)"),
    (lambda: images.flatten_light(GREY, np.zeros((9, 7))), "light.*values above 0"),
    (lambda: images.flatten_light(GREY, COLOUR), "light.*grey"),
    (lambda: images.homography([[0, 0]] * 3, [[0, 0]] * 3), r"source.*\(3, 2\).*4 or more"),
    (lambda: images.homography(np.eye(4, 2), np.eye(5, 2)), "5 points; expected as many"),
    (lambda: images.homography([[0, 0], [1, 1], [2, 2], [0, 1]], np.eye(4, 2)), "fix no map"),
    (lambda: images.homography([[0, 0], [1, 0], [1, 1], [0, 1]], np.zeros((4, 2))), "fix no map"),
    (lambda: images.homography([[np.nan, 0]] * 4, [[0, 0]] * 4), "NaN"),
    (lambda: images.warp(GREY, np.eye(2)), r"matrix.*\(2, 2\).*\(3, 3\)"),
    (lambda: images.warp(GREY, np.eye(3), (0, 4)), "shape.*at least one row"),
    (lambda: images.warp(GREY, "turn"), "matrix` has type str"),
    (lambda: images.warp(GREY, np.eye(3), 4), "shape.*the value 4; expected two whole numbers"),
    (lambda: images.warp(GREY, np.eye(3), (4.0, 4)), "shape.*two whole numbers"),
    (lambda: images.warp(GREY, np.eye(3), fill=2.0), "fill.*the value 2; expected 0 to 1"),
    (lambda: images.homography("four", "points"), "source` has type str"),
    (lambda: images.apply_map(np.eye(2), [[1, 2]]), r"apply_map: .*matrix.*\(2, 2\)"),
    (lambda: images.apply_map(np.eye(3), [1, 2]), r"points` has shape \(2,\)"),
    (lambda: images.rotate(GREY, np.inf), "degrees.*the value inf"),
    (lambda: images.rotate(GREY, "right"), "degrees` has type str"),
    (lambda: images.rotation((9,), 10), r"rotation: .*shape.*\(9,\)"),
    (lambda: images.clahe(GREY, clip_limit=0), "clip_limit.*above 0, at most 1"),
    (lambda: images.clahe(GREY, clip_limit="low"), "clip_limit.*'low'; expected a finite number"),
    (lambda: images.clahe(GREY, tile=0), "tile.*>= 1"),
    (lambda: images.clahe(GREY, bins=2**15), "bins.*at most 16384"),
    (lambda: images.equalise(GREY, 1), "bins.*>= 2"),
    (lambda: images.harris(GREY, k=0.3), "k.*0 to 0.25"),
    (lambda: images.corners(GREY[0]), "response"),
    (lambda: images.corners("sharp"), "response` has type str"),
    (lambda: images.corners(GREY, 0), "distance.*>= 1"),
    (lambda: images.hog(GREY, cell=10), "cell.*at most 7"),
    (lambda: images.hog(GREY, cell=3), "3 by 2 cells.*room for a block of 3 by 3: 9 pixels"),
    (lambda: images.label(GREY), "dtype float64; expected bool; compare a picture"),
    (lambda: images.label(np.ones(3, bool)), r"shape \(3,\)"),
    (lambda: images.label(np.ones((3, 3), bool), 6), "neighbours.*4 or 8"),
    (lambda: images.regions(GREY), "labels.*integers from 0"),
    (lambda: images.regions(np.array([[1, 3]])), "no pixel with 2"),
    (lambda: images.local_threshold(GREY, offset=np.nan), "offset.*the value nan"),
    (lambda: images.local_threshold(GREY, offset=None), "offset` has type NoneType"),
    (lambda: images.fit_filter(COLOUR, COLOUR), r"inputs.*\(9, 7, 3\); expected grey: \(H, W\)"),
    (lambda: images.fit_filter(GREY, "wanted"), "outputs` has type str"),
    (lambda: images.fit_filter(COLOUR[0, 0], COLOUR[0, 0]), "inputs.*grey"),
    (lambda: images.fit_filter(GREY, GREY[1:]), r"outputs.*\(8, 7\).*\(9, 7\)"),
    (lambda: images.fit_filter(GREY, GREY * np.nan), "outputs.*NaN"),
    (lambda: images.fit_filter(GREY, GREY, 9), "size.*at most 7"),
    (lambda: images.descend_filter(GREY, GREY, steps=0), "steps.*>= 1"),
    (lambda: images.descend_filter(GREY, GREY, start=np.zeros(3)), "start.*shape"),
    (lambda: images.psnr(GREY, COLOUR), r"reference.*\(9, 7, 3\).*\(9, 7\)"),
]


@pytest.mark.parametrize(("attempt", "message"), ARGUMENTS)
def test_bad_arguments(attempt, message):
    with pytest.raises(ArgumentError, match=message):
        attempt()


def test_nothing_to_label_and_nothing_to_measure():
    labels, count = images.label(np.zeros((4, 5), bool))
    assert count == 0 and not labels.any() and len(images.regions(labels)) == 0


def test_equal_pictures_have_no_error():
    assert images.psnr(GREY, GREY) == np.inf and images.mean_squared_error(GREY, GREY) == 0
