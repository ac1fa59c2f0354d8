"""The classifiers of the page vision/classification: equations, answers, refusals."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import lepton_ref
from lepton_ref import CNN
from lepton_ref.framework.errors import ArgumentError, ModelFileError
from lepton_ref.framework.layers import Dense, Residual, Sequential, Tanh
from lepton_ref.framework.losses import cross_entropy
from lepton_ref.framework.models import save
from lepton_ref.framework.optimizers import SGD, Adam
from lepton_ref.framework.training import fit
from lepton_ref.vision.classification import (
    LeNet,
    SmallResNet,
    compare_classifiers,
    residual_block,
)
from tests.numeric import numerical_gradient

RESULTS = Path(__file__).parents[2] / "book" / "results" / "vision"


@pytest.mark.equation("lenet-parameters")
@pytest.mark.parametrize(("channels", "side", "width"), [(1, 28, 8), (3, 16, 5), (2, 32, 12)])
def test_parameter_count(prove, rng, channels, side, width):
    """The formula against every array of the network, and against the widths by hand."""
    counted = LeNet(channels, side, width, rng=rng, engine="numpy").num_parameters
    first, second = 9 * channels * width + width, 18 * width**2 + 2 * width
    dense = 2 * width * (side // 4) ** 2 * 4 * width + 4 * width
    prove(float(counted), float(first + second + dense), oracle="count", tol=0)


@pytest.mark.equation("residual-dx")
def test_gradient_of_a_residual_block(engine, rng, prove):
    """dy + Jᵀ dy, with the Jacobian of the body measured entry by entry."""
    block = Residual(Sequential(Dense(3, 3, rng=rng), Tanh())).astype("float64")
    x, dy = rng.normal(size=(1, 3)), rng.normal(size=(1, 3))
    params = block.parameters()
    weights = {name: engine.asnumpy(p).copy() for name, p in params.items()}
    w, b = (next(v for k, v in weights.items() if k.endswith(end)) for end in ("weight", "bias"))
    jacobian = np.stack([
        numerical_gradient(lambda x, i=i: np.tanh(x @ w + b)[0, i], x)[0] for i in range(3)
    ])  # fmt: skip
    target = engine.array(dy, dtype="float64")
    _, dx = engine.value_and_grad(lambda x: engine.sum(block(x) * target))(
        engine.parameter(x, dtype="float64")
    )
    prove(engine.asnumpy(dx), dy + dy @ jacobian)


@pytest.mark.equation("residual-paths")
def test_a_stack_of_blocks_is_a_sum_over_paths(engine, rng, prove):
    """Four linear blocks: the gradient is the sum of 2⁴ products, one per choice of blocks."""
    matrices = rng.normal(size=(4, 3, 3)) * 0.5
    x, dy = rng.normal(size=(1, 3)), rng.normal(size=(1, 3))
    weights = [engine.array(m, dtype="float64") for m in matrices]
    target = engine.array(dy, dtype="float64")

    def stack(x):
        for w in weights:
            x = x + x @ w
        return engine.sum(x * target)

    _, dx = engine.value_and_grad(stack)(engine.parameter(x, dtype="float64"))
    paths = np.zeros((1, 3))
    for walked in itertools.product([False, True], repeat=4):
        term = dy
        for through, m in zip(reversed(walked), reversed(matrices)):
            term = term @ m.T if through else term
        paths += term
    prove(engine.asnumpy(dx), paths, oracle="sum over paths")


@pytest.mark.equation("residual-bounds")
def test_the_gradient_of_a_stack_stays_between_its_bounds(engine, rng, prove):
    """Bodies that only shrink or turn around reach the two ends; a random one lies between."""
    dy = rng.normal(size=(1, 4))
    target = engine.array(dy, dtype="float64")

    def length(body, blocks=3):
        w = engine.array(body, dtype="float64")

        def stack(x):
            for _ in range(blocks):
                x = x + x @ w
            return engine.sum(x * target)

        _, dx = engine.value_and_grad(stack)(engine.parameter(np.ones((1, 4)), dtype="float64"))
        return np.linalg.norm(engine.asnumpy(dx))

    rho = 0.3
    size = np.linalg.norm(dy)
    prove(length(-rho * np.eye(4)), (1 - rho) ** 3 * size, oracle="closed form")
    prove(length(rho * np.eye(4)), (1 + rho) ** 3 * size, oracle="closed form")
    for _ in range(20):
        turned = rho * np.linalg.qr(rng.normal(size=(4, 4)))[0]
        assert (1 - rho) ** 3 * size <= length(turned) <= (1 + rho) ** 3 * size


@pytest.mark.equation("paired-variance")
def test_variance_of_a_paired_difference(rng, prove):
    """Against the plain variance of the picture-by-picture differences."""
    labels = rng.integers(0, 10, 5000)
    first = np.where(rng.random(5000) < 0.9, labels, (labels + 1) % 10)
    second = np.where(rng.random(5000) < 0.8, labels, first)
    found = compare_classifiers(first, second, labels)
    each = (first == labels).astype(float) - (second == labels)
    prove(found.difference, each.mean(), oracle="numpy", tol=1e-12)
    prove(found.standard_error**2, each.var() / 5000, oracle="numpy", tol=1e-12)
    assert found.only_first == (each == 1).sum() and found.only_second == (each == -1).sum()


def test_paired_standard_error_covers(rng):
    """Over repeated test sets the difference scatters as widely as the formula says."""
    p = np.array([0.75, 0.08, 0.12, 0.05])  # both right, only first, only second, neither
    differences, errors = [], []
    for _ in range(400):
        kind = rng.choice(4, size=1000, p=p)
        labels = np.zeros(1000, int)
        found = compare_classifiers((kind >= 2).astype(int), (kind % 2 == 1).astype(int), labels)
        differences.append(found.difference)
        errors.append(found.standard_error)
    assert abs(np.std(differences) / np.mean(errors) - 1) < 0.15


@pytest.mark.parametrize("architecture", ["lenet", "resnet"])
def test_engines_agree_before_and_after_two_steps(architecture, rng):
    """Same weights, same batches, same dropout: the engines stay together through training."""
    pictures = rng.integers(0, 256, size=(16, 12, 12), dtype=np.uint8)
    labels = rng.integers(0, 3, 16)
    before, after = {}, {}
    for name in lepton_ref.engines.installed():
        model = CNN(
            architecture, "abc", image_size=12, width=4, rng=np.random.default_rng(1), engine=name
        )
        before[name] = model.predict_proba(pictures)
        fit(
            model, cross_entropy, (model.prepare(pictures), labels), SGD(0.05, engine=model.E),
            epochs=1, rng=np.random.default_rng(2), batch_size=8, progress=False,
        )  # fmt: skip
        after[name] = model.predict_proba(pictures)
    for name in before:
        np.testing.assert_allclose(before[name], before["numpy"], atol=1e-5)
        np.testing.assert_allclose(after[name], after["numpy"], atol=1e-4)
    assert np.abs(after["numpy"] - before["numpy"]).max() > 1e-3


def test_a_network_learns_real_pictures(engine):
    """Two thousand pictures, two epochs: far above one in ten on pictures it never saw."""
    data = lepton_ref.load("fashion-mnist")
    model = CNN("lenet", data.classes, width=8, dropout=0.0, rng=np.random.default_rng(0))
    x = model.prepare(data.train_images[:2000])
    fit(
        model, cross_entropy, (x, data.train_labels[:2000]), Adam(0.003), epochs=2,
        rng=np.random.default_rng(0), batch_size=50, progress=False,
    )  # fmt: skip
    assert (model.predict(data.test_images[:500]) == data.test_labels[:500]).mean() > 0.65


def small(rng, **options):
    return CNN("lenet", "abc", image_size=8, width=2, rng=rng, **options)


def test_pictures_are_taken_as_they_come(rng):
    model = small(rng, mean=0.25, std=0.5)
    one = rng.integers(0, 256, size=(8, 8), dtype=np.uint8)
    by_hand = (one / 255.0 - 0.25) / 0.5
    for given in (one, one[None], one[None, None], one / 255.0, (one / 255.0)[None]):
        np.testing.assert_allclose(model.prepare(given), by_hand[None, None], rtol=1e-5, atol=1e-6)
    assert model.prepare(one).dtype == np.float32
    colour = CNN("resnet", "ab", in_channels=3, image_size=8, width=2, rng=rng)
    assert colour.predict(np.zeros((2, 3, 8, 8), np.uint8)).shape == (2,)


def test_answers(rng):
    model = small(rng)
    pictures = rng.integers(0, 256, size=(5, 8, 8), dtype=np.uint8)
    p = model.predict_proba(pictures)
    assert p.shape == (5, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert model.predict(pictures).tolist() == p.argmax(axis=1).tolist()
    assert model.extract_features(pictures).shape == (5, 8)
    assert model.predict(pictures[:0]).shape == (0,), "no picture, no answer"


def test_batches_do_not_change_answers(rng):
    model = CNN("resnet", "abc", image_size=8, width=2, rng=rng)
    pictures = rng.integers(0, 256, size=(7, 8, 8), dtype=np.uint8)
    whole = model._in_batches(model, pictures, size=7)
    np.testing.assert_allclose(model._in_batches(model, pictures, size=2), whole, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 9, 9), np.uint8), r"shape \(2, 9, 9\); expected \(N, 1, 8, 8\), \(N, 8, 8\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"shape \(2, 3, 8, 8\)"),
        (np.zeros(8, np.uint8), r"shape \(8,\)"),
        (np.zeros((2, 8, 8), np.int64), "dtype int64; expected uint8, or floats"),
        (np.full((2, 8, 8), 200.0), "values from 200.0 to 200.0; expected floats in"),
        (np.full((2, 8, 8), np.nan), "values from nan to nan"),
        (np.array([["a"] * 8] * 8), "dtype <U1"),
    ],
)
def test_wrong_pictures_are_refused(rng, images, message):
    with pytest.raises(ArgumentError, match=f"CNN.prepare: argument `images` has {message}"):
        small(rng).predict(images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "vgg"}, "the value 'vgg'; expected one of lenet, resnet"),
        ({"classes": ["one"]}, "1 names; expected at least 2"),
        ({"image_size": 4}, "the value 4; expected at least 8"),
        ({"std": 0.0}, "`std` has the value 0.0"),
    ],
)
def test_wrong_networks_are_refused(rng, options, message):
    with pytest.raises(ArgumentError, match=message):
        CNN(rng=rng, **options)


def test_wrong_comparison_is_refused():
    with pytest.raises(ArgumentError, match="2 and 3 predictions; expected one for each"):
        compare_classifiers(np.zeros(2), np.zeros(3), np.zeros(3))


def test_shape_errors_name_the_layer(rng):
    """A network fed with a picture of another size says which layer could not take it."""
    model = small(rng)
    with pytest.raises(ArgumentError, match=r"CNN\.features\.8 \(Dense\).*expected \(..., 16\)"):
        model(model.E.array(np.zeros((1, 1, 16, 16))))


@pytest.mark.parametrize("architecture", ["lenet", "resnet"])
def test_saved_and_loaded_on_every_engine(architecture, rng, tmp_path):
    model = CNN(architecture, "abc", image_size=8, width=3, rng=rng, engine="numpy")
    pictures = rng.integers(0, 256, size=(6, 8, 8), dtype=np.uint8)
    model(model.E.array(model.prepare(pictures)), rng)  # moves the running statistics
    save(model, tmp_path / "small", {"recipe": "a test", "data": "none", "figures": {}})
    for name in lepton_ref.engines.installed():
        again = CNN.load_model("small", path=tmp_path, engine=name)
        assert again.E.name == name and again.classes == model.classes
        np.testing.assert_allclose(
            again.predict_proba(pictures), model.predict_proba(pictures), atol=1e-5
        )


def test_a_model_of_another_class_is_refused(rng, tmp_path):
    save(Dense(2, 3, rng=rng), tmp_path / "dense", {"recipe": "a test", "data": "none"})
    with pytest.raises(ModelFileError, match="Dense"):
        CNN.load_model("dense", path=tmp_path)


def test_the_shipped_model_is_what_its_description_says():
    """fashion_classifier, on the real test pictures, reaches the figure in its own file."""
    data = lepton_ref.load("fashion-mnist")
    model = CNN.load_model("fashion_classifier")
    accuracy = (model.predict(data.test_images) == data.test_labels).mean()
    assert model.classes == data.classes
    assert abs(accuracy - model.description["figures"]["test_accuracy"]) < 0.001
    assert accuracy >= 0.916
    features = model.extract_features(np.array([data.test_images[0]]))  # as the documents call it
    assert features.shape == (1, model.features.out_features)


def test_full_results_agree_across_engines():
    """What the full profile reached: the bar on NumPy, the other engines within 0.005."""
    found = {
        name: json.loads((RESULTS / f"classification.full.{name}.json").read_text())["records"]
        for name in ("numpy", "mxnet", "torch")
    }
    assert found["numpy"]["test_accuracy"] >= 0.916
    for name in ("mxnet", "torch"):
        for quantity in ("test_accuracy", "resnet_accuracy"):
            assert abs(found[name][quantity] - found["numpy"][quantity]) <= 0.005


def test_residual_block_shapes(engine, rng):
    x = engine.array(rng.normal(size=(2, 3, 7, 7)))
    assert tuple(residual_block(3, 5, stride=2, rng=rng)(x).shape) == (2, 5, 4, 4)
    assert tuple(SmallResNet(3, 7, width=2, rng=rng)(x).shape) == (2, 8)
