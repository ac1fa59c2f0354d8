"""The attention layers as layers: refusals, weights that come out, saving, engines; the tasks."""

from __future__ import annotations

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import (
    AdditiveAttention,
    AttentionPooling,
    TransformerBlock,
    TransformerEncoder,
    build,
    describe,
    sinusoidal_positions,
)
from lepton_ref.framework.layers.attention import masked_softmax
from lepton_ref.framework.models import load_model, save
from lepton_ref.framework.optimizers import Adam
from lepton_ref.text.attention.classifier import AttentionClassifier
from lepton_ref.text.attention.tasks import Recaller, Reverser, associative_recall, reversal
from tests.framework.layer_tools import f64
from tests.numeric import relative_error

MASK = np.array([[True] * 5, [True] * 2 + [False] * 3, [False] * 5])
IDS = np.array([[3, 1, 4, 1, 5], [2, 6, 0, 0, 0], [0, 0, 0, 0, 0]])


def classifier(rng, **options):
    return AttentionClassifier(
        8, 3, **{"embed_dim": 8, "num_heads": 2, "dropout": 0.0, **options}, rng=rng
    )


def gradient(engine, layer, loss):
    return engine.value_and_grad(loss)(layer.parameters())[1]


# --- weights come out -------------------------------------------------------------------------


def test_pooling_is_a_weighted_mean_of_what_counts(engine, rng):
    pool = AttentionPooling(4, 6, rng=rng).astype("float64")
    x = rng.normal(size=(3, 5, 4))
    y, weights = (engine.asnumpy(a) for a in pool(f64(engine, x), mask=engine.array(MASK)))
    state = pool.state()
    for n in range(3):
        kept = x[n][MASK[n]]
        z = np.tanh(kept @ state["key.weight"] + state["key.bias"]) @ state["score"][:, 0]
        a = np.exp(z) / np.exp(z).sum()
        np.testing.assert_allclose(weights[n][MASK[n]], a, rtol=1e-10)
        np.testing.assert_allclose(y[n], a @ kept, rtol=1e-10, atol=1e-12)
        assert not weights[n][~MASK[n]].any()
    assert not y[2].any()  # a row without a token


def test_masked_softmax_agrees_with_attention(engine, rng):
    """Scores that the operator would make, and the same rule for a row without any key."""
    q, k, v = (rng.normal(size=(3, 5, 4)) for _ in range(3))
    mask = MASK[:, None, :]
    _, weights = engine.attention(*(f64(engine, a) for a in (q, k, v)), engine.array(mask))
    scores = f64(engine, q @ k.swapaxes(1, 2) / 2)
    found = engine.asnumpy(masked_softmax(engine, scores, engine.array(mask)))
    np.testing.assert_allclose(found, engine.asnumpy(weights), rtol=1e-12, atol=1e-15)
    assert not found[2].any()


def test_the_classifier_returns_every_weight(engine, rng):
    model = classifier(rng, num_layers=2)
    logits, pooling, layers = model.attend(engine.array(IDS))
    pooling, layers = engine.asnumpy(pooling), [engine.asnumpy(w) for w in layers]
    assert pooling.shape == (3, 5) and [w.shape for w in layers] == [(3, 2, 5, 5)] * 2
    np.testing.assert_allclose(pooling.sum(axis=1), [1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(layers[1][:2].sum(axis=-1), 1, atol=1e-5)
    assert not layers[0][1, :, :, 2:].any()
    answered = engine.asnumpy(model(engine.array(IDS)))
    np.testing.assert_allclose(answered, engine.asnumpy(logits), rtol=1e-6)
    np.testing.assert_allclose(answered[2], model.state()["head.bias"], atol=1e-6)


@pytest.mark.parametrize("num_layers", [0, 1])
def test_padding_does_not_change_the_answer_or_the_gradient(engine, rng, num_layers):
    model = classifier(rng, num_layers=num_layers).astype("float64")
    labels = engine.array(np.array([2]))
    answers, grads = [], []
    for ids in (IDS[1:2], IDS[1:2, :2]):
        ids = engine.array(ids)
        answers.append(engine.asnumpy(model(ids)))
        loss = lambda p, ids=ids: engine.cross_entropy(model.apply(p, ids), labels)
        grads.append(gradient(engine, model, loss))
    assert relative_error(*answers) < 1e-12
    for name in grads[0]:
        found, alone = (engine.asnumpy(g[name]) for g in grads)
        assert np.abs(found - alone).max() < 1e-12, name
    padding_row = engine.asnumpy(grads[0]["embedding.weight"])[0]
    assert not padding_row.any()


def test_a_bag_of_words_does_not_see_the_order_and_an_encoder_does(engine, rng):
    ids = np.array([[3, 1, 4, 7, 5]])
    turned = ids[:, ::-1].copy()
    for options, same in (({"num_layers": 0}, True), ({"positions": False}, True), ({}, False)):
        model = classifier(rng, **options).astype("float64")
        a, b = (engine.asnumpy(model(engine.array(i))) for i in (ids, turned))
        assert (relative_error(a, b) < 1e-10) is same


def test_a_causal_encoder_heeds_padding_that_comes_first(engine, rng):
    """Padding on the left is seen by no later step; without positions the rest is as alone."""
    encoder = TransformerEncoder(4, 2, 2, causal=True, positions=False, rng=rng).astype("float64")
    x, kept = rng.normal(size=(1, 5, 4)), np.array([[False, False, True, True, True]])
    whole, weights = encoder(f64(engine, x), mask=engine.array(kept))
    alone, _ = encoder(f64(engine, x[:, 2:]))
    assert relative_error(engine.asnumpy(whole)[:, 2:], alone) < 1e-12
    seen = engine.asnumpy(weights[0])[0, 0] > 0
    assert np.array_equal(seen, np.tril(np.ones((5, 5), bool)) & kept)


def test_dropout_comes_from_the_generator_alone(engine, rng):
    encoder = TransformerEncoder(4, 2, 2, dropout=0.3, rng=rng)
    x = engine.array(rng.normal(size=(2, 3, 4)))
    run = lambda seed: engine.asnumpy(encoder(x, np.random.default_rng(seed))[0])
    assert np.array_equal(run(1), run(1)) and not np.array_equal(run(1), run(2))
    plain = engine.asnumpy(encoder(x)[0])
    assert np.array_equal(plain, engine.asnumpy(encoder(x)[0]))


# --- saved, loaded, rebuilt -------------------------------------------------------------------


def test_a_saved_classifier_answers_the_same_on_every_engine(engine, rng, tmp_path):
    with lepton_ref.use("numpy"):
        model = classifier(rng, num_layers=2)
        expected = model.attend(IDS)
        path = save(model, tmp_path / "questions")
    loaded = load_model("questions", path=path, engine=engine)
    assert isinstance(loaded, AttentionClassifier) and loaded.encoder.blocks[1].norm == "pre"
    logits, pooling, layers = loaded.attend(engine.array(IDS))
    assert relative_error(logits, expected.logits) < 1e-5
    assert relative_error(pooling, expected.pooling) < 1e-5
    assert relative_error(layers[1], expected.layers[1]) < 1e-5


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_an_encoder_can_be_saved_and_rebuilt(rng, tmp_path, norm):
    encoder = TransformerEncoder(4, 2, 2, 6, norm=norm, causal=True, rng=rng)
    x = rng.normal(size=(1, 3, 4)).astype(np.float32)
    loaded = load_model("encoder", path=save(encoder, tmp_path / "encoder"))
    assert np.array_equal(loaded(x)[0], encoder(x)[0])
    twin = build(describe(encoder), np.random.default_rng(3))
    assert twin.num_parameters == encoder.num_parameters and twin.blocks[0].causal


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: TransformerBlock(4, 2, norm="both", rng=r), "`norm` has the value 'both'"),
        (lambda r: TransformerBlock(4, 3, rng=r), "a divisor of embed_dim = 4"),
        (lambda r: TransformerBlock(4, 2, 0, rng=r), "`hidden_size` has the value 0"),
        (lambda r: TransformerBlock(4, 2, dropout=1.0, rng=r), "`rate` has the value 1.0"),
        (lambda r: TransformerEncoder(5, 1, rng=r), "an even number, or positions=False"),
        (lambda r: TransformerEncoder(4, 2, 0, rng=r), "`num_layers` has the value 0"),
        (lambda r: AdditiveAttention(4, 0, 3, rng=r), "`key_dim` has the value 0"),
        (lambda r: AttentionPooling(4, 0, rng=r), "`hidden_size` has the value 0"),
        (lambda r: classifier(r, num_layers=-1), "`num_layers` has the value -1"),
        (lambda r: Recaller(5, kind="loud", rng=r), "'additive', 'dot'"),
        (lambda r: sinusoidal_positions(3, 5), "an even number"),
        (lambda r: associative_recall(r, 2, 6, 5), r"`num_pairs` has the value 6; expected 1..5"),
    ],
)
def test_wrong_sizes_are_refused(rng, make, message):
    with pytest.raises(ArgumentError, match=message):
        make(rng)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((2, 3)), "dtype float32; expected bool, True where a token counts"),
        (np.ones((3, 3), bool), r"shape \(3, 3\); expected \(2, 3\), \(N, T\) of `x`"),
        ([[True] * 3] * 2, "`mask` has list; expected bool"),
    ],
)
def test_wrong_masks_are_refused(engine, rng, mask, message):
    x = engine.array(rng.normal(size=(2, 3, 4)))
    given = mask if isinstance(mask, list) else engine.array(mask)
    layers = [
        AdditiveAttention(4, 4, 3, rng=rng), AttentionPooling(4, 3, rng=rng),
        TransformerBlock(4, 2, rng=rng), TransformerEncoder(4, 2, rng=rng),
    ]  # fmt: skip
    for layer in layers:
        with pytest.raises(ArgumentError, match=message):
            layer(x, mask=given)


def test_wrong_inputs_are_refused(engine, rng):
    x = engine.array(rng.normal(size=(2, 3, 5)))
    layers = [
        AdditiveAttention(4, 4, 3, rng=rng), AttentionPooling(4, 3, rng=rng),
        TransformerBlock(4, 2, rng=rng), TransformerEncoder(4, 2, rng=rng),
    ]  # fmt: skip
    for layer in layers:
        with pytest.raises(ArgumentError, match=r"shape \(2, 3, 5\); expected \(N, T, 4\)"):
            layer(x)
    other = engine.array(rng.normal(size=(1, 3, 4)))
    with pytest.raises(ArgumentError, match="`memory` has 1 sequences; expected 2"):
        AdditiveAttention(5, 4, 3, rng=rng)(x, memory=other)
    model = classifier(rng)
    with pytest.raises(ArgumentError, match=r"2 axes \(N, T\)"):
        model(engine.array(np.array([1, 2])))
    with pytest.raises(ArgumentError, match=r"the value 8; expected whole numbers in 0\.\.7"):
        model(engine.array(np.array([[1, 8]])))


# --- the tasks with a known alignment -----------------------------------------------------------


def test_the_tasks_are_what_they_say(rng):
    x, y = reversal(rng, 5, 7, 4)
    assert all(y[n, t] == x[n, 6 - t] for n in range(5) for t in range(7))
    rows = associative_recall(rng, 50, 4, 9)
    for x, answer, place in zip(rows.x, rows.answers, rows.places):
        keys, values, asked = x[:4], x[4:8], x[8]
        assert len(set(keys)) == 4 and keys[place] == asked and values[place] == answer
    assert set(rows.places) == {0, 1, 2, 3}


def trained(engine, model, draw, steps, lr):
    optimizer, params = Adam(lr), model.parameters()
    step = engine.value_and_grad(lambda p, x, y: engine.cross_entropy(model.apply(p, x), y))
    for _ in range(steps):
        x, y = draw()
        optimizer.step(params, step(params, engine.array(x), engine.array(y))[1])
    return model


@pytest.mark.parametrize("kind", ["additive", "dot"])
def test_a_trained_look_up_attends_to_the_pair_it_answers_from(rng, kind):
    E = lepton_ref.engine("numpy")
    model = Recaller(8, 16, kind, rng=rng)
    trained(E, model, lambda: associative_recall(rng, 64, 3, 8)[:2], 150, 0.02)
    rows = associative_recall(rng, 300, 3, 8)
    logits, weights = model.attend(rows.x)
    assert (logits.argmax(axis=1) == rows.answers).mean() > 0.97
    assert (weights.argmax(axis=1) == rows.places).mean() > 0.97


def test_a_trained_reverser_attends_to_the_mirrored_place(rng):
    E = lepton_ref.engine("numpy")
    model = Reverser(5, 16, rng=rng)
    trained(E, model, lambda: reversal(rng, 64, 5, 5), 250, 0.01)
    x, y = reversal(rng, 300, 5, 5)
    logits, weights = model.attend(x)
    assert (logits.argmax(axis=-1) == y).mean() > 0.97
    assert (weights[:, 0].argmax(axis=-1) == np.arange(5)[::-1]).mean() > 0.97
