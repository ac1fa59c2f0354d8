"""The page vision/faces: people dealt out, pictures prepared and varied, the network, training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lepton_ref
from lepton_ref import CNN
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.models import find, save
from lepton_ref.vision.faces import (
    CosineHead,
    FaceCNN,
    all_pairs,
    equal_error_rate,
    identity_folds,
    prepare_faces,
    rephotograph,
    train_embedding,
    vary_faces,
)
from lepton_ref.vision.faces.network import _turned
from tests.data import load_or_skip
from tests.myst import listing

RESULTS = Path(__file__).parents[2] / "book" / "results" / "vision"
SUBJECTS = np.repeat(np.arange(1, 11), 3)


@pytest.fixture
def pictures(rng):
    """Coarse random pictures that stay what they are when they are made small."""
    return np.kron(rng.integers(20, 200, size=(6, 8, 2)), np.ones((14, 46))).astype(np.uint8)


# ------------------------------------------------------------------------------ people


def test_nobody_stands_in_two_parts(rng):
    folds = identity_folds(SUBJECTS, rng, folds=5, validation=1)
    for fold in folds:
        people = [set(SUBJECTS[rows]) for rows in fold]
        assert sum(len(group) for group in people) == len(set.union(*people)) == 10
        assert sum(len(rows) for rows in fold) == 30
        assert [len(group) for group in people] == [7, 1, 2]
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested) == list(range(30)), "everybody is tested once"


def test_the_same_generator_deals_the_same():
    one, two = (identity_folds(SUBJECTS, np.random.default_rng(3), validation=2) for _ in range(2))
    assert all((a.test == b.test).all() for a, b in zip(one, two))


@pytest.mark.parametrize(
    ("subjects", "options", "message"),
    [
        (SUBJECTS * 1.0, {}, "dtype float64"),
        (SUBJECTS.reshape(5, 6), {}, r"shape \(5, 6\)"),
        (SUBJECTS, {"folds": 11}, "the value 11; expected 2 to 10 people"),
        (SUBJECTS, {"folds": 1}, "the value 1"),
        (SUBJECTS, {"validation": 3}, "1 to 2 people"),
        (SUBJECTS, {"validation": 0}, "the value 0"),
        (np.array([1, 2, 3]), {"folds": 2, "validation": 1}, "two people to train"),
    ],
)
def test_people_that_cannot_be_dealt_out(rng, subjects, options, message):
    with pytest.raises(ArgumentError, match=message):
        identity_folds(subjects, rng, **options)


# ---------------------------------------------------------------------------- pictures


@pytest.mark.equation("faces-standardise")
def test_lamp_and_black_level_change_nothing(rng, prove):
    """The same numbers from p and a·p + b, and from nested loops."""
    p = rng.uniform(0.2, 0.6, size=(2, 112, 92))
    found = prepare_faces(p).astype(np.float64)
    prove(found, prepare_faces(0.5 * p + 0.3).astype(np.float64), oracle="a p + b", tol=1e-5)
    by_hand = np.zeros((2, 1, 56, 46))
    for n in range(2):
        for i in range(56):
            for j in range(46):
                by_hand[n, 0, i, j] = p[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].sum() / 4
        by_hand[n] = (by_hand[n] - by_hand[n].mean()) / by_hand[n].std()
    prove(found, by_hand, oracle="loops", tol=1e-6)


def test_pictures_are_taken_as_they_come(pictures):
    whole = prepare_faces(pictures)
    assert whole.shape == (6, 1, 56, 46) and whole.dtype == np.float32
    for given in (pictures[:, None], pictures / 255, pictures[:, ::2, ::2]):
        np.testing.assert_allclose(prepare_faces(given), whole, atol=1e-5)
    np.testing.assert_allclose(prepare_faces(pictures[0]), whole[:1], atol=1e-6)
    assert prepare_faces(pictures[:0]).shape == (0, 1, 56, 46)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 112, 92, 3), np.uint8), ".*3 channels last; expected grey"),
        (np.zeros((112, 92, 4), np.uint8), ".*4 channels last"),
        (np.zeros((2, 3, 112, 92), np.uint8), r"shape \(2, 3, 112, 92\)"),
        (np.zeros((2, 100, 92), np.uint8), r"shape \(2, 100, 92\)"),
        (np.zeros((2, 28, 23), np.uint8), r"shape \(2, 28, 23\)"),
        (np.zeros(10, np.uint8), r"shape \(10,\)"),
        (np.zeros((112, 92), np.int64), "dtype int64"),
        (np.full((112, 92), 99.0), "values from 99.0 to 99.0"),
        (np.full((112, 92), np.nan), "values from nan"),
        (np.full((2, 112, 92), 7, np.uint8), "one grey level in picture 0; expected a face"),
    ],
)
def test_what_is_no_grey_face_is_refused(images, message):
    with pytest.raises(ArgumentError, match=f"prepare_faces: argument `images` has {message}"):
        prepare_faces(images)


@pytest.mark.equation("faces-cylinder")
def test_a_turned_head_is_a_turned_cylinder(rng, prove):
    """A point of the surface in space, turned back with a rotation matrix."""
    q, phi, radius = rng.uniform(-20, 20, size=(1, 4, 5)), 0.35, 29.0
    depth = np.sqrt(radius**2 - q**2)
    rotation = np.array([[np.cos(phi), np.sin(phi)], [-np.sin(phi), np.cos(phi)]])
    before = np.einsum("ij,jnhw->inhw", rotation, np.stack([q, depth]))[0]
    found = _turned(q, np.full((1, 1, 1), phi), radius) + 0.6 * radius * np.sin(phi)
    prove(found, before, oracle="rotation matrix", tol=1e-12)


def test_nothing_varied_is_the_picture_itself(pictures):
    x = prepare_faces(pictures)
    still = dict.fromkeys(("turn", "nod", "angle", "zoom", "shift", "light"), 0.0)
    out = vary_faces(x, np.random.default_rng(0), **still)
    mirrored = np.array([np.abs(o - i).max() > 1e-3 for o, i in zip(out, x)])
    np.testing.assert_allclose(out[~mirrored], x[~mirrored], atol=1e-4)
    np.testing.assert_allclose(out[mirrored], x[mirrored][..., ::-1], atol=1e-4)
    assert mirrored.any() and not mirrored.all()


def test_variations_differ_and_leave_their_input_alone(pictures):
    x = prepare_faces(pictures)
    kept = x.copy()
    out = vary_faces(x, np.random.default_rng(1))
    assert out.shape == x.shape and out.dtype == np.float32 and np.isfinite(out).all()
    assert (x == kept).all() and (np.abs(out - x).max(axis=(1, 2, 3)) > 0.1).all()
    np.testing.assert_array_equal(out, vary_faces(x, np.random.default_rng(1)))


def test_a_photograph_of_a_photograph(pictures):
    shown = rephotograph(pictures, np.random.default_rng(0))
    assert shown.shape == pictures.shape and shown.dtype == np.uint8
    assert (shown[:, :4] == shown[0, 0, 0]).all()
    same = rephotograph(pictures, np.random.default_rng(0), 1.0, 0.0, 0.0, 0)
    middle = np.s_[:, 6:8, 10:30]  # blur leaves flat squares alone
    np.testing.assert_array_equal(same[middle], pictures[middle])


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 9, 9)), {}, "float64"),
        (np.zeros((2, 9, 9), np.uint8), {"gamma": 0.0}, "gamma 0.0"),
        (np.zeros((2, 9, 9), np.uint8), {"border": 5}, "`border` has the value 5"),
    ],
)
def test_bad_presentations_are_refused(rng, images, options, message):
    with pytest.raises(ArgumentError, match=message):
        rephotograph(images, rng, **options)


# ------------------------------------------------------------------------- the network


def small(rng, engine=None):
    return FaceCNN(width=2, dimension=5, rng=rng, engine=engine)


def test_answers(engine, rng, pictures):
    model = small(rng, engine)
    features, vectors = model.extract_features(pictures), model.embed(pictures, mirror=False)
    assert features.shape == vectors.shape == (6, 5) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(
        vectors, features / np.linalg.norm(features, axis=1, keepdims=True), atol=1e-5
    )
    both = model.embed(pictures)
    np.testing.assert_allclose(both, model.embed(pictures[..., ::-1]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-5)


def test_it_names_nobody(rng, pictures):
    with pytest.raises(ArgumentError, match="no classes to be of; expected embed"):
        small(rng).predict(pictures)


def test_wrong_networks_are_refused(rng):
    with pytest.raises(ArgumentError, match="`dimension` has the value 1"):
        FaceCNN(dimension=1, rng=rng)
    with pytest.raises(ArgumentError, match="CosineHead: argument `rng` has no generator"):
        CosineHead(4, 3)


def test_cosine_head_gives_cosines(engine, rng):
    head = CosineHead(4, 3, rng=rng)
    x = rng.normal(size=(5, 4))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    w = engine.asnumpy(head.weight)
    w = w / np.linalg.norm(w, axis=1, keepdims=True)
    np.testing.assert_allclose(engine.asnumpy(head(engine.array(x))), x @ w.T, atol=1e-5)


def test_saved_and_loaded_on_every_engine(rng, tmp_path, pictures):
    model = small(rng, "numpy")
    model(model.E.array(model.prepare(pictures)), rng)  # moves the running statistics
    save(model, tmp_path / "faces", {"recipe": "a test", "data": "none", "figures": {}})
    for name in lepton_ref.engines.installed():
        again = CNN.load_model("faces", path=tmp_path, engine=name)
        assert isinstance(again, FaceCNN) and again.E.name == name
        np.testing.assert_allclose(again.embed(pictures), model.embed(pictures), atol=1e-4)


@pytest.mark.parametrize("loss", ["contrastive", "triplet", "arcface"])
def test_engines_stay_together_through_training(loss, pictures):
    vectors = {}
    for name in lepton_ref.engines.installed():
        model, history = train_embedding(
            pictures, [1, 1, 2, 2, 3, 3], loss, epochs=2, rng=np.random.default_rng(2),
            batch_size=6, width=2, dimension=5, engine=name,
        )  # fmt: skip
        vectors[name] = model.embed(pictures)
        assert np.isfinite(history["train_loss"]).all()
    for name in vectors:
        np.testing.assert_allclose(vectors[name], vectors["numpy"], atol=2e-3)


def test_all_losses_start_from_the_same_weights(pictures):
    """With a rate of zero nothing moves but the running statistics: the same batches for all."""
    states = []
    for loss in ("contrastive", "triplet", "arcface"):
        model, _ = train_embedding(
            pictures, [1, 1, 2, 2, 3, 3], loss, epochs=1, rng=np.random.default_rng(2),
            batch_size=6, width=2, dimension=5, learning_rate=0.0, engine="numpy",
        )  # fmt: skip
        states.append(model.state())
    for state in states[1:]:
        for name, array in state.items():
            np.testing.assert_array_equal(array, states[0][name])


def test_batches_are_varied_as_asked(pictures):
    """What is handed in sees every batch, prepared, and its generator."""
    seen = []

    def keep(x, rng):
        seen.append((x.shape, float(rng.random())))
        return x

    options = {"epochs": 2, "batch_size": 3, "width": 2, "dimension": 5, "engine": "numpy"}
    train_embedding(pictures, [1, 1, 2, 2, 3, 3], rng=np.random.default_rng(2), augment=keep,
                    **options)  # fmt: skip
    assert [shape for shape, _ in seen] == [(3, 1, 56, 46)] * 4
    assert len({drawn for _, drawn in seen}) == 4


@pytest.mark.parametrize(
    ("subjects", "loss", "message"),
    [
        ([1, 1, 2, 2, 3, 3], "softmax", "one of contrastive, triplet, arcface"),
        ([1, 1, 2], "arcface", r"shape \(3,\)"),
        ([1.0] * 6, "arcface", "dtype float64"),
        ([4] * 6, "arcface", "1 people; expected at least two"),
    ],
)
def test_wrong_trainings_are_refused(rng, pictures, subjects, loss, message):
    with pytest.raises(ArgumentError, match=message):
        train_embedding(pictures, subjects, loss, rng=rng)


# -------------------------------------------------------------------- the shipped model


@pytest.fixture(scope="module")
def data():
    return load_or_skip("orl-faces")


def test_the_documents_listing_runs_as_printed(data):
    """D0 §3.3, the lines up to the features, word for word but for the package's name."""
    image_data = data.images[0]
    listing = """
import numpy as np
from lepton_ref import CNN
model = CNN.load_model('face_recognition_model')
input_image = np.array([image_data])
features = model.extract_features(input_image)
"""
    names = {"image_data": image_data}
    exec(listing, names)
    assert isinstance(names["model"], FaceCNN)
    assert names["features"].shape == (1, names["model"].dimension)


def test_the_shipped_model_is_what_its_description_says(data):
    """Weights of at most a megabyte, people named by number, the figure of its file reached."""
    assert find("face_recognition_model").stat().st_size <= 1_000_000
    model = CNN.load_model("face_recognition_model")
    about = model.description
    assert about["data"]["sha256"] == data.sha256
    assert not set(about["data"]["people"]) & set(about["figures"]["people"])
    assert len(about["data"]["people"]) == 28 and len(about["figures"]["people"]) == 8
    rows = np.isin(data.subjects, about["figures"]["people"])
    pairs = all_pairs(model.embed(data.images[rows]), data.subjects[rows])
    assert abs(equal_error_rate(pairs.curve) - about["figures"]["eer"]) < 0.002
    assert equal_error_rate(pairs.curve) <= 0.08


def test_three_engines_give_the_same_embeddings(data):
    """The same file on every engine: all 400 faces within 1e-4."""
    found = {
        name: CNN.load_model("face_recognition_model", engine=name).embed(data.images)
        for name in lepton_ref.engines.installed()
    }
    for name, vectors in found.items():
        assert np.abs(vectors - found["numpy"]).max() < 1e-4, name


def test_full_results_are_those_the_page_speaks_of():
    """Five divisions of people: far below the pixels; the published 3.33 % is not reached."""
    found = json.loads((RESULTS / "faces.full.torch.json").read_text())["records"]
    assert found["eer"] <= found["pixel_eer"] / 2
    # The page says so in bold; whoever passes the bar has to change that sentence.
    assert found["eer_low"] < 0.0333 < found["eer"] < found["eer_high"]
    assert found["enrolled_eer"] < found["eer"] and found["contrastive_eer"] > found["arcface_eer"]
    for with_strangers, without in (("eer", "cosine_eer"), ("arcface_cohort_eer", "arcface_eer"),
                                    ("pixel_cohort_eer", "centred_eer")):  # fmt: skip
        assert found[with_strangers] < found[without]


def test_the_listing_of_the_gallery_runs(tmp_path, monkeypatch):
    faces = load_or_skip("orl-faces")
    names = {"image_data": faces.images[0]}
    monkeypatch.chdir(tmp_path)
    for code in listing("vision/faces", "extract_features", "gallery.forget"):
        exec(compile(code, "faces.md", "exec"), names)
    assert (tmp_path / "people.gallery").exists() and "王小明" not in names["gallery"]
