"""Page explain/attention: the pooled mean, rollout, and what refuses to be explained."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lepton_ref
from lepton_ref import explain
from lepton_ref.explain.attention import (
    LSTMReader,
    WordModel,
    attention_rollout,
    attention_weights,
    erasure,
    kendall_agreement,
    null_variance,
    permuted_change,
    pooled,
    rollout,
    total_variation,
    uniform,
    uniform_change,
)
from lepton_ref.explain.attention.distances import softmax
from lepton_ref.explain.attention.interventions import centred, without_each_word
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.attention.classifier import AttentionClassifier
from lepton_ref.text.attention.tasks import Recaller
from lepton_ref.text.sentiment.network import turned
from lepton_ref.vision.classification import LeNet
from tests.numeric import numerical_gradient

KINDS = ("bag", "lstm", "transformer")


def reader(kind, rng, classes=3, engine=None, dtype="float64"):
    if kind == "lstm":
        model = LSTMReader(20, classes, 6, 5, rng=rng, engine=engine)
    else:
        layers = 0 if kind == "bag" else 2
        model = AttentionClassifier(20, classes, 6, layers, 2, rng=rng, engine=engine)
    return model.astype(dtype)


def sentences(rng, lengths=(7, 4, 2)):
    ids = rng.integers(1, 20, size=(len(lengths), 7))
    return np.where(np.arange(7) < np.array(lengths)[:, None], ids, 0)


# ------------------------------------------------------------------- the pooled mean


@pytest.mark.equation("heed-word-logits")
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_a_weighted_mean_of_word_logits(engine, rng, prove, kind):
    """The model's own logits against a loop over words, through its head one state at a time."""
    model, ids = reader(kind, rng), sentences(rng)
    whole = engine.asnumpy(model(engine.array(ids)))
    weights = attention_weights(model, ids).values
    said = WordModel(model, ids).word_logits()
    by_hand = np.zeros_like(whole)
    for n in range(len(ids)):
        for t in range(7):
            by_hand[n] += weights[n, t] * said[n, t]
    prove(whole, by_hand, oracle="loop", tol=1e-6)
    assert not weights[ids == 0].any()
    np.testing.assert_allclose(pooled(model, ids).predict(), softmax(whole), atol=1e-7)


@pytest.mark.equation("heed-erasure")
def test_erasure_in_a_bag_of_words(engine, rng, prove):
    """Words really deleted and the model run again, against weight times distance."""
    model, ids = reader("bag", rng), sentences(rng)
    found = erasure(model, ids, target=1)
    reviews = pooled(model, ids)
    z = np.einsum("nt,ntk->nk", reviews.weights, reviews.word_logits)
    a = reviews.weights[..., None]
    formula = (a / (1 - a) * (reviews.word_logits - z[:, None])) * reviews.mask[..., None]
    prove(found.values, centred(formula)[..., 1], oracle="words deleted", tol=1e-6)


@pytest.mark.equation("heed-frozen-gradient")
def test_gradient_times_input_with_attention_held(engine, rng, prove):
    model, ids = reader("bag", rng), sentences(rng)
    weights = attention_weights(model, ids).values
    held = WordModel(model, ids, weights)
    found = explain.gradient_x_input(held, held.vectors, target=2).summed().values
    bias = engine.asnumpy(model.head.bias)
    formula = weights[..., None] * (held.word_logits() - bias)
    prove(found, centred(formula)[..., 2], oracle="closed form", tol=1e-6)


@pytest.mark.equation("heed-score-gradient")
def test_gradient_of_the_scores(engine, rng, prove):
    g, u = rng.normal(size=(6, 3)), rng.normal(size=(1, 6))
    said = engine.array(g, dtype="float64")

    def logit(u):
        return engine.sum(engine.matmul(engine.softmax(u), said)[:, 1])

    _, du = engine.value_and_grad(logit)(engine.parameter(u, dtype="float64"))
    a = softmax(u)[0]
    prove(engine.asnumpy(du)[0], a * (g[:, 1] - a @ g[:, 1]), oracle="closed form")
    numeric = numerical_gradient(lambda u: (softmax(u)[0] @ g)[1], u)
    prove(engine.asnumpy(du), numeric, oracle="finite differences", tol=1e-7)


@pytest.mark.equation("heed-spread")
def test_the_range_of_word_logits_bounds_what_attention_can_do(rng, prove):
    """Random attentions stay below; all weight moved from the lowest to the highest reaches it."""
    d = rng.normal(size=9)
    for _ in range(200):
        a, other = rng.dirichlet(np.ones(9), size=2)
        moved = abs((a - other) @ d)
        assert moved <= np.ptp(d) * 0.5 * np.abs(a - other).sum() + 1e-12
    a = np.full(9, 1 / 9)
    other = a.copy()
    other[d.argmin()] -= 0.1
    other[d.argmax()] += 0.1
    prove((other - a) @ d, np.ptp(d) * 0.1, oracle="closed form")


@pytest.mark.parametrize("kind", KINDS)
def test_the_white_box_is_the_model(engine, rng, kind):
    """From the word vectors on, the same answers; its gradient is that of differences, by word."""
    model, ids = reader(kind, rng), sentences(rng)
    box = WordModel(model, ids)
    answers = engine.asnumpy(box(engine.array(box.vectors, dtype="float64")))
    np.testing.assert_allclose(
        answers, centred(engine.asnumpy(model(engine.array(ids)))), atol=1e-6
    )

    def score(x):
        return engine.asnumpy(box(engine.array(x, dtype="float64")))[:, 0].sum()

    target = np.zeros(len(ids), int)
    found = explain.gradient_x_input(box, box.vectors, target).summed().values
    measured = np.zeros(ids.shape)
    for n, t in np.argwhere(ids != 0):
        along = np.zeros_like(box.vectors)
        along[n, t] = 1e-5 * box.vectors[n, t]  # along the word itself
        measured[n, t] = (score(box.vectors + along) - score(box.vectors - along)) / 2e-5
    np.testing.assert_allclose(found, measured, atol=1e-8)
    assert np.abs(measured).max() > 1e-3


def test_erasure_is_the_model_run_on_shorter_texts(engine, rng):
    """In every kind of model, word by word, each text cut and run by itself."""
    for kind in KINDS:
        model, ids = reader(kind, rng), sentences(rng)
        found = erasure(model, ids, target=0)
        for n, row in enumerate(ids):
            words = row[row != 0]
            whole = centred(engine.asnumpy(model(engine.array(words[None]))))[0, 0]
            for t in range(len(words)):
                rest = engine.array(np.delete(words, t)[None])
                fall = whole - centred(engine.asnumpy(model(rest)))[0, 0]
                assert abs(found.values[n, t] - fall) < 1e-6
        assert not found.values[ids == 0].any()


def test_words_taken_out():
    shorter, row, place = without_each_word(np.array([[5, 6, 7], [8, 9, 0]]))
    assert shorter.tolist() == [[6, 7, 0], [5, 7, 0], [5, 6, 0], [9, 0, 0], [8, 0, 0]]
    assert row.tolist() == [0, 0, 0, 1, 1] and place.tolist() == [0, 1, 2, 0, 1]


def test_a_state_of_the_reader_belongs_to_its_word(rng):
    """The LSTM that reads from the end is turned round again, and padding changes nothing."""
    model = reader("lstm", rng, engine="numpy")
    mask = np.array([[True] * 3 + [False]])
    turned_once = turned(model.E, np.arange(4.0).reshape(1, 4, 1), mask)
    assert turned_once[0, :, 0].tolist() == [2, 1, 0, 3]
    ids = np.array([[3, 4, 5, 0]])
    states = model.encode(model.embedding(ids), mask)[0]
    for t in range(3):  # alone, the backward LSTM reads 5, 4, 3 up to word t
        read = model.embedding(ids[:, t:3][:, ::-1])
        last, _ = model.backwards(read)
        np.testing.assert_allclose(states[t, 5:], last[0, -1], atol=1e-12)
    short = model(ids[:, :3])
    np.testing.assert_allclose(model(ids), short, atol=1e-12)


# --------------------------------------------------------------------------- rollout


def blocks(rng, count=3, steps=4, heads=2):
    return [softmax(rng.normal(size=(2, heads, steps, steps)) * 2) for _ in range(count)]


@pytest.mark.equation("rollout-rows")
@pytest.mark.parametrize("residual", [0.0, 0.3, 0.5, 1.0])
def test_rows_of_a_rollout_sum_to_one(rng, prove, residual):
    found = rollout(blocks(rng), residual)
    assert (found >= 0).all()
    prove(found.sum(axis=-1), np.ones((2, 4)), oracle="closed form", tol=1e-12)


@pytest.mark.equation("rollout-paths")
def test_a_rollout_is_a_mean_over_subsets_of_blocks(rng, prove):
    layers = blocks(rng)
    total = np.zeros((2, 4, 4))
    for walked in itertools.product([False, True], repeat=3):
        term = np.stack([np.eye(4)] * 2)
        for through, weights in zip(walked, layers):
            term = weights.mean(axis=1) @ term if through else term
        total += term / 2**3
    found = rollout(layers)
    prove(found, total, oracle="sum over subsets", tol=1e-12)
    assert (np.diagonal(found, axis1=1, axis2=2) >= 1 / 8).all()


@pytest.mark.equation("rollout-linear")
def test_rollout_is_the_gradient_of_a_network_that_only_mixes(engine, rng, prove):
    layers = [w[:1] for w in blocks(rng)]
    means = [engine.array(w.mean(axis=1)[0], dtype="float64") for w in layers]
    jacobian = np.zeros((4, 4))
    for t in range(4):

        def last(x, t=t):
            for mean in means:
                x = (x + engine.matmul(mean, x)) * 0.5
            return engine.sum(x[t])

        x = engine.parameter(rng.normal(size=(4, 1)), dtype="float64")
        jacobian[t] = engine.asnumpy(engine.value_and_grad(last)(x)[1])[:, 0]
    prove(jacobian, rollout(layers)[0], oracle="closed form", tol=1e-10)


@pytest.mark.equation("rollout-pooled")
def test_rolled_out_pooling(engine, rng, prove):
    """Against loops; sums to one; nothing goes to padding."""
    model, ids = reader("transformer", rng), sentences(rng)
    found = attention_rollout(model, ids)
    answer = model.attend(engine.array(ids))
    by_hand = np.zeros(ids.shape)
    for n in range(len(ids)):
        product = np.eye(7)
        for weights in answer.layers:
            mean = engine.asnumpy(weights)[n].mean(axis=0)
            product = (np.eye(7) + mean) / 2 @ product
        for s in range(7):
            by_hand[n, s] = sum(
                engine.asnumpy(answer.pooling)[n, t] * product[t, s] for t in range(7)
            )
    prove(found.values, by_hand, oracle="loop", tol=1e-6)
    np.testing.assert_allclose(found.values.sum(axis=1), 1, atol=1e-6)
    assert np.abs(found.values[ids == 0]).max() < 1e-12
    plain = attention_rollout(model, ids, residual=1.0).values
    np.testing.assert_allclose(plain, attention_weights(model, ids).values, atol=1e-7)


# -------------------------------------------------------------------------- agreement


@pytest.mark.equation("heed-kendall-null")
@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_variance_of_kendalls_tau(prove, n):
    """All orders of n numbers, pairs counted one by one."""
    taus = []
    for order in itertools.permutations(range(n)):
        signs = [np.sign(order[j] - order[i]) for i, j in itertools.combinations(range(n), 2)]
        taus.append(sum(signs) / (n * (n - 1) / 2))
    assert abs(np.mean(taus)) < 1e-12
    prove(null_variance(n), np.var(taus), oracle="all orders", tol=1e-12)
    assert round(np.sqrt(null_variance(20)), 2) == 0.16, "the page quotes it"


def test_agreement_counts_words_alone(rng):
    mask = np.arange(6) < np.array([6, 3, 1])[:, None]
    a = rng.random((3, 6))
    same = kendall_agreement(a, np.where(mask, 2 * a + 1, np.nan), mask, rng, 50)
    assert min(same.mean, *same.interval) > 1 - 1e-12
    assert np.isnan(same.taus[2]) and same.significant == 0.5  # three words prove nothing
    against = kendall_agreement(a, -a, mask, rng, 50)
    assert abs(against.mean + 1) < 1e-12


def test_uniform_and_permuted_attention(rng):
    model = reader("bag", rng, engine="numpy")
    reviews = pooled(model, sentences(rng, (7, 4, 1)))
    weights = uniform(reviews.mask)
    np.testing.assert_allclose(weights[1], [0.25] * 4 + [0] * 3)
    flat = reviews._replace(weights=weights)
    assert uniform_change(flat).max() == 0 and permuted_change(flat, rng, 5).max() < 1e-12
    moved = permuted_change(reviews, rng, 21)
    assert moved[0] > 1e-4 and moved[2] < 1e-12  # one word has one order
    assert uniform_change(reviews)[0] > 1e-4


# -------------------------------------------------------------------------- refusals


def test_the_map_is_the_same_whatever_is_asked(engine, rng):
    model, ids = reader("bag", rng), sentences(rng)
    maps = [attention_weights(model, ids, target=k) for k in range(3)]
    assert np.array_equal(maps[0].values, maps[2].values)
    logits = engine.asnumpy(model(engine.array(ids)))
    np.testing.assert_allclose(maps[2].outputs, logits[:, 2], atol=1e-6)
    assert attention_weights(model, ids).target.tolist() == logits.argmax(axis=1).tolist()
    assert maps[0].values.dtype == np.float64 and maps[0].x.shape == (3, 7, 6)


@pytest.mark.parametrize("explainer", [attention_weights, attention_rollout])
def test_a_model_without_attention_is_refused(rng, explainer):
    ids = sentences(rng)
    name = explainer.__name__
    lenet = LeNet(1, 8, 2, rng=rng)
    message = f"{name}: argument `model` has type LeNet, which has no attention; expected Attention"
    with pytest.raises(ArgumentError, match=message):
        explainer(lenet, ids)
    with pytest.raises(ArgumentError, match="type Recaller, which pools by no attention"):
        explainer(Recaller(20, 4, rng=rng), np.array([[1, 2, 3, 4, 1]]))


def test_a_model_without_blocks_cannot_be_rolled_out(rng):
    for kind in ("bag", "lstm"):
        with pytest.raises(
            ArgumentError, match="without blocks of self-attention; expected an Att"
        ):
            attention_rollout(reader(kind, rng), sentences(rng))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.ones((2, 3)), "`ids` has dtype float64; expected whole numbers"),
        (np.ones(3, int), r"shape \(3,\); expected \(N, T\)"),
        (np.zeros((0, 3), int), r"shape \(0, 3\)"),
        (np.array([[1, 20]]), r"the value 20; expected 0..19"),
        (np.array([[1, -2]]), r"the value -2; expected 0..19"),
        (np.array([[1, 2], [0, 0]]), "no word at the start of row 1"),
        (np.array([[1, 0, 2]]), "padding between words"),
        ([[1, 2], [3]], "`ids` has rows of different lengths; expected rows of one length"),
    ],
)
def test_wrong_words_are_refused(rng, ids, message):
    with pytest.raises(ArgumentError, match=message):
        attention_weights(reader("bag", rng), ids)


def test_other_refusals(rng):
    model, ids = reader("bag", rng), sentences(rng)
    with pytest.raises(ArgumentError, match=r"`target` has the value 3; expected 0..2"):
        attention_weights(model, ids, target=3)
    with pytest.raises(ArgumentError, match="a row of one word"):
        erasure(model, np.array([[4, 0]]))
    with pytest.raises(ArgumentError, match=r"`weights` has shape \(2,\)"):
        WordModel(model, ids, np.ones(2))
    with pytest.raises(ArgumentError, match="type LeNet; expected AttentionClassifier, LSTMReader"):
        WordModel(LeNet(1, 8, 2, rng=rng), ids)
    with pytest.raises(ArgumentError, match="`residual` has the value 1.5"):
        rollout(blocks(rng), 1.5)
    with pytest.raises(ArgumentError, match="`residual` has the value 'half'"):
        rollout(blocks(rng), "half")
    with pytest.raises(ArgumentError, match="no layers"):
        rollout([])
    with pytest.raises(ArgumentError, match=r"layers\[0\]` has rows that do not sum to 1"):
        rollout([np.ones((1, 1, 3, 3))])
    with pytest.raises(ArgumentError, match=r"shape \(3, 3\)"):
        rollout([np.eye(3)])
    with pytest.raises(ArgumentError, match="`layers` has type str; expected a list of arrays"):
        rollout("abc")
    with pytest.raises(ArgumentError, match=r"`layers\[0\]` has dtype <U1; expected numbers"):
        rollout(["a"])
    with pytest.raises(ArgumentError, match="`p` has rows of different lengths"):
        total_variation([[0.5, 0.5], [1.0]], [1.0])
    with pytest.raises(ArgumentError, match="repeats"):
        permuted_change(pooled(model, ids), rng, 0)
    with pytest.raises(ArgumentError, match=r"`second` has shape \(2, 2\)"):
        kendall_agreement(np.ones((1, 2)), np.ones((2, 2)), np.ones((1, 2), bool), rng)
    with pytest.raises(ArgumentError, match="`first` has entries that are not finite"):
        kendall_agreement(np.full((1, 2), np.nan), np.ones((1, 2)), np.ones((1, 2), bool), rng)
    with pytest.raises(ArgumentError, match="no review of two ranked words"):
        kendall_agreement(np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 2), bool), rng)
    with pytest.raises(ArgumentError, match="num_words"):
        null_variance(1)
    with pytest.raises(ArgumentError, match=r"2 axes \(N, T\)"):
        reader("lstm", rng)(np.ones(3, int))


def test_a_broken_model_is_refused(rng):
    model, ids = reader("bag", rng, engine="numpy"), sentences(rng)
    model.E.assign(model.head.bias, np.full(3, np.nan))
    with pytest.raises(ArgumentError, match="outputs that are not finite"):
        attention_weights(model, ids)


def test_engines_agree(rng):
    """The same weights on every engine: maps, rollout, erasure and gradients."""
    ids, found = sentences(rng), {}
    for name in lepton_ref.engines.installed():
        values = []
        for kind in KINDS:
            model = reader(kind, np.random.default_rng(3), engine=name, dtype="float32")
            box = WordModel(model, ids)
            values += [attention_weights(model, ids).values, erasure(model, ids, 1).values]
            values.append(explain.gradient_x_input(box, box.vectors, 1).summed().values)
        values.append(attention_rollout(model, ids).values)
        found[name] = np.stack(values)
    for values in found.values():
        np.testing.assert_allclose(values, found["numpy"], atol=2e-5)
