"""The model that attends, in the ranking of the page explain/evaluation."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import numpy as np
import pytest

from lepton_ref.explain import gradient_x_input, saliency
from lepton_ref.explain.attention import (
    LSTMReader,
    WordModel,
    attention_rollout,
    attention_to_vectors,
    attention_weights,
    training,
    transformer_reader,
)
from lepton_ref.explain.attention.training import accuracy, film_reviews
from lepton_ref.explain.evaluation import evaluate, player_values
from lepton_ref.explain.evaluation.tasks import sentence_task
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.attention.classifier import AttentionClassifier

ROOT = Path(__file__).resolve().parents[2]


def reader(rng, engine=None, layers=2, dtype="float64"):
    return AttentionClassifier(20, 3, 6, layers, 2, rng=rng, engine=engine).astype(dtype)


def sentences(rng):
    ids = rng.integers(1, 20, size=(3, 7))
    return np.where(np.arange(7) < np.array([7, 4, 2])[:, None], ids, 0)


@pytest.mark.parametrize("rolled", [False, True])
def test_attention_of_vectors_is_that_of_their_words(engine, rng, rolled):
    model, ids = reader(rng, engine), sentences(rng)
    words = WordModel(model, ids)
    found = attention_to_vectors(words, words.vectors, rolled=rolled)
    theirs = (attention_rollout if rolled else attention_weights)(model, ids)
    np.testing.assert_allclose(found.summed().values, theirs.values, atol=1e-12)
    np.testing.assert_array_equal(found.values, found.values[:, :, :1].repeat(6, axis=2))
    np.testing.assert_array_equal(found.target, theirs.target)
    logits = engine.asnumpy(model(engine.array(ids)))
    centred = logits - logits.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found.outputs, centred[np.arange(3), found.target], atol=1e-12)
    assert found.method == theirs.method


def test_attention_follows_the_vectors_not_the_words(rng):
    """Else the sanity check, which leaves the vectors as they are, would judge another input."""
    words = WordModel(reader(rng), sentences(rng))
    here = attention_to_vectors(words, words.vectors).values
    there = attention_to_vectors(words, words.vectors[::-1].copy()).values
    assert np.abs(here - there).max() > 1e-3
    np.testing.assert_allclose(there.sum(axis=(1, 2)), 1)


def test_weights_that_are_held_come_back(engine, rng):
    model, ids = reader(rng, engine), sentences(rng)
    held = rng.random(ids.shape) * (ids != 0)
    words = WordModel(model, ids, held)
    found = words.attend(engine.array(words.vectors, "float64"))
    np.testing.assert_allclose(engine.asnumpy(found.pooling), held)
    assert len(found.layers) == 2
    free = engine.asnumpy(WordModel(model, ids)(engine.array(words.vectors, "float64")))
    assert np.abs(engine.asnumpy(found.logits) - free).max() > 1e-3


def test_what_attention_of_vectors_refuses(rng):
    model, ids = reader(rng), sentences(rng)
    words = WordModel(model, ids)
    with pytest.raises(ArgumentError, match="a WordModel"):
        attention_to_vectors(model, words.vectors)
    with pytest.raises(ArgumentError, match=r"\(3, 7, D\)"):
        attention_to_vectors(words, words.vectors[:2])
    with pytest.raises(ArgumentError, match="NaN|finite"):
        attention_to_vectors(words, words.vectors * np.nan)
    with pytest.raises(ArgumentError, match="argument `target`"):
        attention_to_vectors(words, words.vectors, 3)
    for other in (reader(rng, layers=0), LSTMReader(20, 3, 6, 5, rng=rng).astype("float64")):
        box = WordModel(other, ids)
        assert attention_to_vectors(box, box.vectors).values.shape == box.vectors.shape
        with pytest.raises(ArgumentError, match="without blocks of self-attention"):
            attention_to_vectors(box, box.vectors, rolled=True)


@pytest.mark.equation("rank-blind-direction")
def test_a_transformer_does_not_see_what_is_added_to_all_coordinates(engine, rng, prove):
    """So the gradient of a word sums to zero; against the sizes that are summed."""
    words = WordModel(reader(rng, engine), sentences(rng))
    x = words.vectors
    found = saliency(words, x, 1, engine=engine).values
    shift = rng.normal(size=(3, 7, 1)) * (words.ids != 0)[:, :, None]
    before, after = (engine.asnumpy(words(engine.array(v, "float64"))) for v in (x, x + shift))
    assert np.abs(shift).max() > 1
    prove(after, before, oracle="the vectors without it", tol=1e-9)
    sums = np.abs(found.sum(axis=2))
    assert np.abs(found).sum(axis=2).max() > 1e-3
    assert sums.max() <= 1e-12 * np.abs(found).sum(axis=2).max()
    assert np.abs(gradient_x_input(words, x, 1, engine=engine).values.sum(axis=2)).max() > 1e-3


@pytest.fixture(scope="module")
def task():
    return sentence_task(12, "numpy", samples=60)


def test_the_reader_is_one_for_all_engines(engine, task):
    film, mine = task.extras["film"], transformer_reader(0, engine, num_layers=1)
    assert accuracy(mine, film.test_ids, film.test_labels) > 0.7
    theirs = task.weights.state()
    for name, array in mine.state().items():
        np.testing.assert_array_equal(array, theirs[name])


def test_the_reader_is_the_transformer_that_readers_see_trained():
    """The notebook shows the recipe; the ranking calls the package's. They are one."""
    notebook = nbformat.read(ROOT / "notebooks" / "explain" / "attention.ipynb", as_version=4)
    (cell,) = [c.source for c in notebook.cells if "def trained(" in c.source]
    body = ast.parse(cell).body
    recipe = [n for n in body if isinstance(n, ast.FunctionDef) and n.name == "trained"]
    film = film_reviews(0, 3000)
    seen = {
        "np": np, "training": training, "LSTMReader": LSTMReader,
        "AttentionClassifier": AttentionClassifier, "num_words": len(film.vocabulary),
        "fit_on": (film.train_ids, film.train_labels),
    }  # fmt: skip
    exec(compile(ast.Module(recipe, []), "attention.ipynb", "exec"), seen)
    theirs = seen["trained"]("transformer", 0).state()
    mine = transformer_reader(0, "numpy").state()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        np.testing.assert_array_equal(array, theirs[name])


def test_the_task_explains_what_the_reader_decides(task):
    ids, rows = task.extras["ids"], task.extras["rows"]
    lengths = (ids != 0).sum(axis=1)
    assert lengths.min() >= 8 and lengths.max() <= 20
    np.testing.assert_array_equal(ids, film_reviews(0, 3000).test_ids[rows][:, : ids.shape[1]])
    np.testing.assert_array_equal(task.target, task.weights(ids).argmax(axis=1))
    for name, explainer in task.explainers.items():
        found = explainer(task.model, task.x, task.target)
        given = player_values(found.values, task.players)
        np.testing.assert_array_equal(np.isfinite(given).sum(axis=1), lengths)
        if name.startswith("attention"):
            np.testing.assert_allclose(np.nansum(given, axis=1), 1, rtol=1e-5)


def test_attention_is_ranked_beside_the_others(task):
    trial = evaluate(task, steps=6, perturbations=24, sanity_examples=2, draws=2)
    by = {s.explainer: s for s in trial.scores}
    assert {"attention_weights", "attention_rollout", "random", "edge_detector"} <= set(by)
    for name in ("kernel_shap", "gradient_x_input", "integrated_gradients", "occlusion"):
        assert by[name].deletion.mean < by["attention_weights"].deletion.mean - 0.1
        assert by[name].beats(by["random"])
    assert by["attention_weights"].infidelity.mean > 0.2 > by["kernel_shap"].infidelity.mean
    assert abs(by["attention_weights"].signed) < 1 == by["edge_detector"].signed
