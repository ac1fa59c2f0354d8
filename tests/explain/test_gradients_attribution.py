"""The shared base of the chapter: what an attribution is, what is refused, how it is drawn."""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest

from lepton_ref import explain
from lepton_ref.explain.gradients.attribution import (
    Attribution,
    SaturationWarning,
    at_target,
    check_explained,
    check_outputs,
    check_target,
)
from lepton_ref.explain.gradients.boxes import black_box, engine_of, model_dtype, select
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Dense

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")


def made(values, x=None, **options):
    values = np.asarray(values, np.float64)
    return Attribution(
        values, values if x is None else x, np.zeros(len(values), np.int64),
        np.full(len(values), 5.0), "by hand", **options,
    )  # fmt: skip


def test_gap_is_the_sum_less_the_difference():
    given = made([[1.0, 2.0], [0.5, 0.0]], baseline_outputs=np.array([2.0, 4.0]))
    np.testing.assert_allclose(given.gap, [0.0, -0.5])
    assert made([[1.0]]).gap is None


def test_summed_adds_up_each_word(rng):
    values = rng.normal(size=(2, 3, 4))
    found = made(values, baseline_outputs=np.zeros(2))
    np.testing.assert_allclose(found.summed().values, values.sum(axis=2))
    np.testing.assert_allclose(found.summed().gap, found.gap)
    with pytest.raises(ArgumentError, match=r"shape \(1, 1\); expected \(N, T, D\)"):
        made([[1.0]]).summed()


def test_black_box_batches_do_not_change_outputs(engine, rng):
    layer = Dense(3, 2, rng=rng)
    x = rng.normal(size=(7, 3)).astype(np.float32)
    expected = x @ engine.asnumpy(layer.weight)
    for size in (1, 3, 256):
        found = black_box(layer, batch_size=size)(x)
        assert found.dtype == np.float64 and found.shape == (7, 2)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    once = black_box(lambda a: engine.sum(engine.multiply(a, a), axis=1), engine=engine)
    np.testing.assert_allclose(once(x), (x**2).sum(axis=1), rtol=1e-5)
    assert black_box(once) is once


def test_black_box_of_a_plain_function(rng):
    sizes = []

    def model(x):
        assert type(x) is np.ndarray
        sizes.append(len(x))
        return x.sum(axis=1)

    x = rng.normal(size=(5, 2))
    np.testing.assert_array_equal(black_box(model, batch_size=2)(x), x.sum(axis=1))
    assert sizes == [2, 2, 1]
    assert black_box(model)(x[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: black_box(3), "`model` has type int; expected a callable"),
        (lambda: black_box(np.sum, batch_size=0), "the value 0; expected a whole number >= 1"),
    ],
)
def test_wrong_black_boxes_are_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


class Masked:
    """Something for each example: adds its number to its row."""

    def __init__(self, numbers):
        self.numbers = np.asarray(numbers)

    def __call__(self, x):
        return x.sum(axis=1) + self.numbers

    def select(self, rows):
        return Masked(self.numbers[rows])


def test_select_follows_the_rows():
    x = np.zeros((3, 2))
    model = Masked([10.0, 20.0])
    assert select(model, [1, 1, 0])(x).tolist() == [20, 20, 10]
    assert black_box(model).select([0, 1, 1])(x).tolist() == [10, 20, 20]
    assert select(np.sum, [0]) is np.sum


def test_engine_and_dtype_of_a_model(engine, rng):
    layer = Dense(2, 2, rng=rng)
    assert engine_of(layer) is engine and engine_of(np.sum).name == engine.name
    assert engine_of(layer, "numpy").name == "numpy"
    assert model_dtype(layer, np.zeros(1)) == "float32"
    assert model_dtype(layer.astype("float64"), np.zeros(1, np.float32)) == "float64"
    assert model_dtype(np.sum, np.zeros(1)) == "float64"
    assert model_dtype(np.sum, np.zeros(1, np.float32)) == "float32"


def test_checks_complete_what_was_left_out():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    outputs = np.array([[0.0, 3.0, 1.0], [9.0, 3.0, 1.0]])
    got, y, target, baseline = check_explained("here", lambda x: outputs, x)
    assert got is x and target.tolist() == [1, 0] and target.dtype == np.int64
    assert baseline.tolist() == [[0, 0], [0, 0]]
    assert at_target(y, target).tolist() == [3, 9] and at_target(x[:, 0], target).tolist() == [1, 3]
    *_, target, baseline = check_explained("here", outputs, x, 2, [7.0, 8.0])
    assert target.tolist() == [2, 2] and baseline.tolist() == [[7, 8], [7, 8]]
    assert check_target("here", None, np.array([-3.0, 2.0])).tolist() == [0, 0]


X = np.array([[1.0, 2.0], [3.0, 4.0]])
Y = np.array([[0.0, 3.0, 1.0], [9.0, 3.0, 1.0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Y, np.array([[1.0, np.nan], [3, 4]])), r"`x` has the value nan at \(0, 1\) \(1 in all\)"),
        ((Y, np.array([[1.0, 2], [np.inf, 4]])), r"`x` has the value inf at \(1, 0\)"),
        ((Y, np.array([[1, 2]])), "dtype int64; expected floats: .*, of words the embeddings"),
        ((Y, np.array([["a"]])), "dtype <U1; expected floats$"),
        ((Y, np.zeros((0, 2))), r"shape \(0, 2\); expected a batch"),
        ((Y, np.zeros(3)), r"shape \(3,\); expected a batch"),
        ((Y, X, 3), r"`target` has the value 3; expected 0\.\.2"),
        ((Y, X, -1), r"`target` has the value -1; expected 0\.\.2"),
        ((Y, X, [0, 5]), r"the value 5; expected 0\.\.2"),
        ((Y, X, [0, 1, 2]), r"shape \(3,\); expected one number or \(2,\)"),
        ((Y, X, 1.0), "dtype float64; expected whole numbers"),
        ((Y[:, 0], X, 1), r"the value 1; expected 0\.\.0"),
        ((Y, X, 0, np.zeros(3)), r"`baseline` has shape \(3,\); expected a number, \(2,\) or"),
        ((Y, X, 0, np.array([0, np.nan])), r"`baseline` has the value nan at \(1,\)"),
        ((Y, X, 0, "black"), "`baseline` has dtype <U5"),
        ((Y[:1], X), r"outputs of shape \(1, 3\); expected \(2, K\) or \(2,\)"),
        ((Y[None], X), r"outputs of shape \(1, 2, 3\)"),
        ((Y * np.nan, X), r"model's outputs` has the value nan at \(0, 0\) \(6 in all\)"),
    ],
)
def test_what_cannot_be_explained_is_refused(arguments, message):
    with pytest.raises(ArgumentError, match=f"here: argument .*{message}"):
        check_explained("here", *arguments)


def test_probabilities_and_an_absent_input_are_said_to_be_empty():
    with pytest.warns(SaturationWarning, match="explain the logits instead"):
        check_outputs("here", np.array([[0.25, 0.75], [1.0, 0.0]]), 2)
    with pytest.warns(SaturationWarning, match="example 1 equals its baseline"):
        check_explained("here", Y, X, 0, X[1])


def drawn(ax):
    matplotlib.pyplot.close(ax.figure)
    return ax


def test_bars_are_the_largest_first():
    given = made([[0.1, -3.0, 2.0]], standard_error=np.array([[0.1, 0.2, 0.3]]))
    ax = drawn(given.plot(names=["a", "b", "c"], top=2))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c"]
    bars = [p for p in ax.patches if p.get_width()]
    assert [bar.get_width() for bar in bars] == [-3, 2]
    against, speaks_for = (bar.get_facecolor() for bar in bars)
    assert against[2] > against[0] and speaks_for[0] > speaks_for[2], "blue against, red for"


def test_pictures_keep_their_size_and_sign():
    values = np.zeros((1, 1, 4, 6))
    values[0, 0, 1, 2], values[0, 0, 3, 5] = 2.0, -2.0
    ax = drawn(made(values).plot())
    over = ax.images[1].get_array()
    assert over.shape == (4, 6, 4)
    assert over[1, 2, 0] > over[1, 2, 2] and over[3, 5, 2] > over[3, 5, 0]
    assert over[1, 2, 3] == 1 and over[0, 0, 3] == 0, "what says nothing is transparent"
    assert drawn(made(values[:, 0]).plot(example=0)).images[1].get_array().shape == (4, 6, 4)


def test_words_are_coloured_and_wrapped(rng):
    words = [f"word{i}" for i in range(20)]
    given = made(rng.normal(size=(1, 22, 3)), rng.normal(size=(1, 22, 3))).summed()
    ax = drawn(given.plot(names=words))
    assert [t.get_text() for t in ax.texts] == words, "padding is not shown"
    assert len({t.get_position()[1] for t in ax.texts}) > 2
    assert drawn(given.plot(top=3)).patches, "without their names they are bars"


@pytest.mark.parametrize("width", [3.0, 5.4, 9.0])
@pytest.mark.parametrize("columns", [1, 2])
def test_words_fill_their_line_and_never_meet(rng, width, columns):
    words = ["mm" * (1 + i % 4) for i in range(24)]
    figure, axes = matplotlib.pyplot.subplots(
        1, columns, figsize=(width * columns, 2.5), layout="constrained", squeeze=False
    )
    values = rng.normal(size=(1, 24, 3))
    ax = made(values, values).summed().plot(names=words, ax=axes[0, 0])
    figure.canvas.draw()
    boxes = [(t.get_position()[1], t.get_window_extent()) for t in ax.texts]
    gaps = [after.x0 - before.x1 for (a, before), (b, after) in zip(boxes, boxes[1:]) if a == b]
    character = figure.dpi / 72 * 5.4
    assert gaps and min(gaps) > 0.5 * character, "neighbours do not touch"
    assert max(gaps) < 5 * character, "nor stand far apart"
    assert max(box.x1 for _, box in boxes) <= ax.get_window_extent().x1
    matplotlib.pyplot.close(figure)


def test_a_map_of_zeros_is_drawn():
    assert drawn(made(np.zeros((1, 1, 3, 3))).plot()).images
    assert drawn(made(np.zeros((1, 3))).plot()).patches


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((2, 3)), {"example": 2}, r"`example` has the value 2; expected 0\.\.1"),
        (np.zeros((2, 3)), {"example": 0.5}, "`example` has type float"),
        (np.zeros((2, 3)), {"names": ["a"] * 4}, "`names` has 4 names; expected 3"),
        (np.zeros((2, 3)), {"names": ["a"] * 2}, "`names` has 2 names; expected 3"),
        (np.zeros((2, 3)), {"top": 0}, "`top` has the value 0"),
        (np.zeros((2, 1, 1, 1, 1)), {}, "expected 1 to 3 axes"),
    ],
)
def test_wrong_plots_are_refused(values, options, message):
    with pytest.raises(ArgumentError, match=message):
        made(values).plot(**options)
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("name", [
    "saliency", "gradient_x_input", "smoothgrad", "integrated_gradients", "deeplift",
    "guided_backpropagation", "grad_cam", "occlusion", "lime", "counterfactual", "exact_shapley",
    "permutation_shapley", "kernel_shap", "attention_weights", "attention_rollout", "report",
    "ImageView", "ReviewView", "PatientView", "RecommendationView",
])  # fmt: skip
def test_what_a_reader_calls_hangs_off_the_chapter(name):
    assert name in dir(explain) and name in explain.__all__
    found = getattr(explain, name)
    assert found.__name__ == name and found.__doc__
    if name[0].islower():
        assert next(iter(inspect.signature(found).parameters)) in ("model", "attribution")
        said = found.__doc__ + sys.modules[found.__module__].__doc__
        assert "Source: " in said or name == "report"
