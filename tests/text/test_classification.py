"""The classifiers of the page text/classification: equations, answers, refusals."""

from __future__ import annotations

import time

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError, ModelFileError
from lepton_ref.framework.layers import Dense
from lepton_ref.framework.losses import cross_entropy
from lepton_ref.framework.models import save
from lepton_ref.framework.optimizers import SGD, Adam
from lepton_ref.framework.training import fit
from lepton_ref.text.classification import (
    TextClassifier,
    WordConvolution,
    best_threshold,
    squared_hinge,
    words,
)
from lepton_ref.text.tokens import Vocabulary, distinct
from tests.numeric import numerical_gradient

WORDS = "a b c d e f g h i j".split()
TEXTS = ["a b c", "b", "c d e f g h i j a b c d", "zebra d", "j j j a"]


def small(architecture="cnn", seed=1, **options):
    options = {"length": 8, "embed_dim": 6, "size": 5, **options}
    return TextClassifier(
        architecture, WORDS, ["x", "y", "z"], rng=np.random.default_rng(seed), **options
    )


# --- equations ---------------------------------------------------------------------------


def convolved(x, length, w, b):
    """The scores of all windows that touch a word, in five loops: (T', F)."""
    F, _, k, D = w.shape
    z = np.empty((length + k - 1, F))
    for t in range(length + k - 1):
        for i in range(F):
            z[t, i] = b[i]
            for j in range(k):
                if 0 <= t + j - k + 1 < length:
                    z[t, i] += sum(w[i, 0, j, d] * x[t + j - k + 1, d] for d in range(D))
    return z


@pytest.mark.equation("textcnn-window", "textcnn-max", "textcnn-dz")
def test_word_convolution(engine, rng, prove):
    """Loops over windows, filters and places; the gradient from the winners by hand."""
    lengths = [5, 1, 3]
    mask = np.arange(5) < np.array(lengths)[:, None]
    layer = WordConvolution(4, 3, 2, rng=rng).astype("float64")
    layer.load_state({"weight": layer.state()["weight"], "bias": np.array([0.4, 0.9, -0.2])})
    w, b = layer.state()["weight"], layer.state()["bias"]
    x, dy = rng.normal(size=(3, 5, 4)), rng.normal(size=(3, 3))
    z = [convolved(row, n, w, b) for row, n in zip(x, lengths)]
    wanted = np.stack([np.maximum(s, 0).max(0) for s in z])
    target = engine.array(dy, dtype="float64")

    def loss(p):
        return engine.sum(layer.apply(p["layer"], p["x"], mask=mask) * target)

    found = layer(engine.array(x, dtype="float64"), mask=mask)
    prove(engine.asnumpy(found), wanted, oracle="loops", label="textcnn-window", tol=1e-12)
    prove(engine.asnumpy(found), wanted, oracle="loops", label="textcnn-max", tol=1e-12)
    _, grads = engine.value_and_grad(loss)(
        {"x": engine.parameter(x, dtype="float64"), "layer": layer.parameters()}
    )
    dx, dw, db = np.zeros_like(x), np.zeros_like(w), np.zeros_like(b)
    for n, scores in enumerate(z):
        for i in range(3):
            t = int(scores[:, i].argmax())
            dz = dy[n, i] * (scores[t, i] > 0)
            db[i] += dz
            for j in range(2):
                if 0 <= t + j - 1 < lengths[n]:
                    dw[i, 0, j] += dz * x[n, t + j - 1]
                    dx[n, t + j - 1] += dz * w[i, 0, j]
    ours = {"x": grads["x"], **grads["layer"]}
    ours = {name: engine.asnumpy(g) for name, g in ours.items()}
    prove(ours, {"x": dx, "weight": dw, "bias": db}, oracle="loops", label="textcnn-dz", tol=1e-12)
    numeric = numerical_gradient(
        lambda p: sum(
            (np.maximum(convolved(row, n, p["w"], b), 0).max(0) * d).sum()
            for row, n, d in zip(p["x"], lengths, dy)
        ),
        {"x": x, "w": w},
    )
    prove({"x": ours["x"], "w": ours["weight"]}, numeric, label="textcnn-dz", tol=1e-6)


@pytest.mark.equation("textcnn-padding")
@pytest.mark.parametrize("architecture", ["cnn", "lstm", "mean"])
def test_padding_changes_no_answer(engine, prove, architecture):
    """Each text alone and unpadded, against all of them in one padded batch."""
    model = small(architecture).astype("float64")
    biased = {k: v + 0.7 * k.endswith("bias") for k, v in model.state().items()}
    model.load_state(biased)  # a window of nothing would match
    ids = model.prepare(TEXTS)
    together = engine.asnumpy(model(engine.array(ids)))
    wide = engine.asnumpy(model(engine.array(np.pad(ids, ((0, 0), (0, 9))))))
    alone = [engine.asnumpy(model(engine.array(row[row > 0][None])))[0] for row in ids]
    prove(together, np.stack(alone), oracle="one by one", tol=1e-12)
    np.testing.assert_allclose(wide, together, rtol=1e-12)


@pytest.mark.equation("textcnn-parameters")
@pytest.mark.parametrize(("V", "D", "F", "K"), [(12, 6, 5, 3), (40, 7, 3, 2)])
def test_parameter_count(prove, V, D, F, K):
    names = [f"w{i}" for i in range(V - 2)]
    model = TextClassifier(
        "cnn", names, [str(k) for k in range(K)], embed_dim=D, size=F, rng=np.random.default_rng(0)
    )
    convolutions = sum(F * k * D + F for k in (2, 3, 4))
    prove(float(model.num_parameters), float(V * D + convolutions + 3 * F * K + K),
          oracle="count", tol=0)  # fmt: skip


@pytest.mark.equation("textmean-linear")
def test_the_mean_model_is_linear_in_the_counts(engine, prove):
    """Logits from counted words and one matrix, in NumPy."""
    model = small("mean").astype("float64")
    state, ids = model.state(), model.prepare(TEXTS)
    per_word = state["embedding.weight"] @ state["head.weight"]  # (V, K)
    counts = np.stack([np.bincount(row[row > 0], minlength=12) for row in ids])
    wanted = counts / counts.sum(1, keepdims=True) @ per_word + state["head.bias"]
    prove(engine.asnumpy(model(engine.array(ids))), wanted, oracle="closed form", tol=1e-12)


def svm(rng):
    svm = pytest.importorskip("sklearn.svm")
    x = rng.normal(size=(60, 5))
    y = np.where(x @ rng.normal(size=5) + 0.8 * rng.normal(size=60) > 0, 1, -1)
    found = svm.LinearSVC(C=0.7, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(x, y)
    return x, y, found.coef_[0]


@pytest.mark.equation("hinge-loss", "hinge-gradient")
def test_squared_hinge(rng, prove):
    scores, labels = rng.normal(size=20) * 2, rng.choice([-1, 1], 20)
    value, gradient = squared_hinge(scores, labels)
    by_hand = sum(max(0.0, 1 - y * s) ** 2 for y, s in zip(labels, scores))
    prove(value, by_hand, oracle="loop", label="hinge-loss", tol=1e-12)
    numeric = numerical_gradient(
        lambda s: sum(max(0.0, 1 - y * v) ** 2 for y, v in zip(labels, s)), scores
    )
    prove(gradient, numeric, label="hinge-gradient", tol=1e-6)


@pytest.mark.equation("hinge-support")
def test_the_svm_is_a_sum_of_its_support_vectors(rng, prove):
    """scikit-learn's weights, against the sum over the rows that are short of the margin."""
    x, y, w = svm(rng)
    _, ds = squared_hinge(x @ w, y)
    prove(-0.7 * ds @ x, w, oracle="scikit-learn", tol=1e-4)
    assert 0 < (ds != 0).sum() < 60, "some rows are not support vectors"


@pytest.mark.equation("spam-threshold")
@pytest.mark.parametrize("ratio", [1.0, 9.0, 99.0])
def test_the_cheapest_threshold(prove, ratio):
    """Every threshold tried, on calibrated probabilities: none costs less than 1 − 1/(1 + r)."""
    p = (np.arange(1000) + 0.5) / 1000  # each probability once; of these p are spam
    tried = np.linspace(0, 1, 2001)
    cost = [(ratio * (1 - p[p > t]).sum() + p[p <= t].sum()) for t in tried]
    lowest = tried[np.flatnonzero(np.isclose(cost, min(cost)))]
    prove(best_threshold(ratio), lowest.mean(), oracle="all thresholds", tol=1e-3)


# --- training and answers ----------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["cnn", "lstm", "mean"])
def test_engines_agree_before_and_after_two_steps(architecture):
    labels, before, after = np.array([0, 1, 2, 1, 0]), {}, {}
    for name in lepton_ref.engines.installed():
        model = small(architecture, engine=name)
        before[name] = model.predict_proba(TEXTS)
        fit(
            model, cross_entropy, (model.prepare(TEXTS), labels), SGD(0.5, engine=model.E),
            epochs=1, rng=np.random.default_rng(2), batch_size=3, progress=False,
        )  # fmt: skip
        after[name] = model.predict_proba(TEXTS)
    for name in before:
        np.testing.assert_allclose(before[name], before["numpy"], atol=1e-5)
        np.testing.assert_allclose(after[name], after["numpy"], atol=1e-4)
    assert np.abs(after["numpy"] - before["numpy"]).max() > 1e-3


@pytest.mark.parametrize("architecture", ["cnn", "lstm", "mean"])
def test_learns_real_messages(architecture):
    """A thousand messages, three epochs: far above the share of ham on messages never seen."""
    data = lepton_ref.load("sms-spam")
    kept = distinct(data.texts)[:1500]
    texts, labels = data.texts[kept], data.labels[kept]
    vocabulary = Vocabulary.build([words(t) for t in texts[:1000]], min_count=2)
    rng = np.random.default_rng(0)
    model = TextClassifier(
        architecture, vocabulary, data.classes, length=30, embed_dim=16, size=16, rng=rng
    )
    fit(
        model, cross_entropy, (model.prepare(texts[:1000]), labels[:1000]), Adam(0.02), epochs=3,
        rng=rng, batch_size=50, progress=False,
    )  # fmt: skip
    accuracy = (model.predict(texts[1000:]) == labels[1000:]).mean()
    assert accuracy > 0.93 > (labels[1000:] == 0).mean() + 0.02


@pytest.mark.parametrize("architecture", ["cnn", "lstm", "mean"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "zxqv wvut",
        "word " * 20_000,
        "a" * 100_000,
        "good 很好 хорошо 😀",
        "👨‍👩‍👧😀",
        "\x00\ufffd",
    ],
)
def test_odd_texts_get_an_answer(architecture, text):
    """Empty, unknown, endless, mixed, pictures, bytes that meant nothing: probabilities."""
    if "很" in text:
        pytest.importorskip("jieba")
    began = time.thread_time()
    p = small(architecture).predict_proba([text])
    assert p.shape == (1, 3) and np.isfinite(p).all() and np.isclose(p.sum(), 1)
    assert time.thread_time() - began < 8


def test_texts_without_known_words_are_one_unknown_word():
    model = small()
    assert model.prepare(["", "zebra", "a"])[:, 0].tolist() == [1, 1, 2]
    p = model.predict_proba(["", "zebra"])
    np.testing.assert_allclose(p[0], p[1])


def test_answers():
    model = small()
    p = model.predict_proba(TEXTS)
    assert model.predict(TEXTS).tolist() == p.argmax(1).tolist()
    assert model.extract_features(TEXTS).shape == (5, 15)
    assert small("lstm").extract_features(TEXTS).shape == (5, 5)
    assert model.predict([]).shape == (0,) and model.extract_features([]).shape == (0, 15)
    assert model.prepare(np.array(TEXTS, object)).shape == (5, 8)
    np.testing.assert_array_equal(model.prepare([words(t) for t in TEXTS]), model.prepare(TEXTS))
    many = TEXTS * 120
    np.testing.assert_allclose(model.predict_proba(many)[-5:], p, atol=1e-6)


def test_words_hide_numbers_and_addresses():
    assert words("Call 0800 555-1234 or http://x.y/z?1 by 10:30!!") == [
        "call", "0000", "000", "-", "0000", "or", "url", "by", "00:00", "!!",
    ]  # fmt: skip


# --- saving ------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["cnn", "lstm", "mean"])
def test_saved_and_loaded_with_its_vocabulary(architecture, tmp_path):
    model = small(architecture, engine="numpy")
    save(model, tmp_path / "small", {"recipe": "a test", "data": "none", "figures": {}})
    for name in lepton_ref.engines.installed():
        again = TextClassifier.load_model("small", path=tmp_path, engine=name)
        assert again.vocabulary == model.vocabulary and again.classes == model.classes
        np.testing.assert_allclose(
            again.predict_proba(TEXTS), model.predict_proba(TEXTS), atol=1e-5
        )


def test_weights_of_another_vocabulary_are_refused(tmp_path):
    """As many words or not: a table of another size does not load; the words are in the file."""
    other = TextClassifier(
        "cnn", ["one", "two"], ["x", "y", "z"], length=8, embed_dim=6, size=5,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    with pytest.raises(
        ArgumentError, match=r"embedding.weight.*shape \(4, 6\); expected \(12, 6\)"
    ):
        small().load_state(other.state())
    save(
        Dense(2, 3, rng=np.random.default_rng(0)), tmp_path / "dense", {"recipe": "a", "data": "b"}
    )
    with pytest.raises(ModelFileError, match="Dense"):
        TextClassifier.load_model("dense", path=tmp_path)


# --- refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small("transformer"), "the value 'transformer'; expected one of cnn, lstm, mean"),
        (lambda: TextClassifier("cnn", WORDS, ["x"]), "expected at least 2 names"),
        (lambda: TextClassifier("cnn", WORDS, "ham"), "expected at least 2 names"),
        (lambda: TextClassifier("cnn", WORDS, ["x", "y"]), "`rng` has type NoneType"),
        (lambda: small(length=0), "`length` has the value 0"),
        (lambda: small(embed_dim=0), "`embed_dim` has the value 0"),
        (lambda: small(dropout=1.0), "`rate` has the value 1.0"),
        (lambda: small().predict("a text"), r"type str; expected a list of texts: \[text\]"),
        (lambda: small().predict([b"bytes"]), "type bytes; expected a str; decode it"),
        (lambda: small().predict([None]), "type NoneType"),
        (lambda: small().predict([("a", "b")]), "type tuple; expected a str"),
        (lambda: small().predict(["caf\udce9"]), "half a surrogate pair"),
        (lambda: small().prepare_labels([0, 3]), "the label 3; expected whole numbers in 0..2"),
        (lambda: small().prepare_labels([0, -1]), "the label -1"),
        (lambda: small().prepare_labels([0.5]), "dtype float64; expected integers"),
        (lambda: small().prepare_labels([[0]]), r"shape \(1, 1\)"),
        (lambda: squared_hinge(np.zeros(2), np.array([0, 1])), "each -1 or 1"),
        (lambda: best_threshold(0), "the value 0; expected a positive number"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_labels_are_checked_and_kept():
    assert small().prepare_labels(np.array([2, 0], np.int8)).dtype == np.int64
    assert small().prepare_labels(np.array([], int)).shape == (0,)


def test_word_numbers_out_of_range_name_the_layer():
    model = small()
    with pytest.raises(ArgumentError, match=r"TextClassifier.embedding.*the value 12"):
        model(model.E.array(np.array([[12]])))
