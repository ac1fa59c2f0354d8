"""Skip-gram with negative sampling: its loss, its gradients, what it converges to, bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.optimizers import Adam
from lepton_ref.text.tokens import (
    NoiseDistribution,
    SkipGram,
    Vocabulary,
    clean,
    keep_probability,
    nearest,
    skip_gram_pairs,
    tokenize,
    train_skip_gram,
)
from tests.numeric import numerical_gradient

sigmoid = lambda s: 1 / (1 + np.exp(-s))


@pytest.fixture
def small(rng):
    """Vectors, pairs and noise of five words in three dimensions, in float64."""
    center, context = rng.normal(size=(2, 5, 3))
    pairs = np.array([1, 4, 1, 2]), np.array([3, 0, 3, 1])
    return center, context, *pairs, rng.integers(0, 5, (4, 2))


def by_hand(center, context, centers, contexts, noise, negatives):
    """Minus the logarithm of the likelihood of all answers, pair by pair."""
    total = 0.0
    for c, o, drawn in zip(centers, contexts, noise):
        total -= np.log(sigmoid(context[o] @ center[c]))
        for k in drawn:
            total -= negatives / len(drawn) * np.log(1 - sigmoid(context[k] @ center[c]))
    return total / len(centers)


def on(engine, center, context):
    model = SkipGram(5, 3, rng=np.random.default_rng(0)).astype("float64")
    model.load_state({"center": center, "context": context})
    return model


@pytest.mark.equation("tokens-sgns-loss")
@pytest.mark.parametrize("shared", [False, True])
def test_loss(engine, small, prove, shared):
    center, context, centers, contexts, noise = small
    noise = np.tile(noise[:1], (4, 1)) if shared else noise
    model = on(engine, center, context)
    given = engine.array(noise[0] if shared else noise)
    found = model(engine.array(centers), contexts=engine.array(contexts), noise=given, negatives=2)
    wanted = by_hand(center, context, centers, contexts, noise, 2)
    prove(engine.asnumpy(found), wanted, oracle="likelihood", tol=1e-10)


@pytest.mark.equation("tokens-sgns-gradient")
@pytest.mark.parametrize("shared", [False, True])
def test_gradients(engine, small, prove, shared):
    """The engine's gradients against the formula in loops, and the formula against differences."""
    center, context, centers, contexts, noise = small
    noise = np.tile(noise[:1], (4, 1)) if shared else noise
    model = on(engine, center, context)
    given = engine.array(noise[0] if shared else noise)

    def loss(params):
        return model.apply(
            params, engine.array(centers), contexts=engine.array(contexts), noise=given, negatives=2
        )

    _, grads = engine.value_and_grad(loss)(model.parameters())
    dv, du = np.zeros_like(center), np.zeros_like(context)
    for c, o, drawn in zip(centers, contexts, noise):
        words = [(o, sigmoid(context[o] @ center[c]) - 1)]
        words += [(k, sigmoid(context[k] @ center[c])) for k in drawn]
        for word, ds in words:
            dv[c] += ds * context[word] / 4
            du[word] += ds * center[c] / 4
    found = {name: engine.asnumpy(g) for name, g in grads.items()}
    prove(found, {"center": dv, "context": du}, oracle="loops", tol=1e-10)
    numeric = numerical_gradient(
        lambda p: by_hand(p["center"], p["context"], centers, contexts, noise, 2),
        {"center": center, "context": context},
    )
    prove(found, numeric, tol=1e-6)


@pytest.mark.equation("tokens-sgns-shared")
def test_shared_noise_has_the_same_mean(rng, prove):
    """All 4² draws of two words, weighted by their probability, through the model's own loss."""
    engine = lepton_ref.engine("numpy")
    noise = NoiseDistribution(np.array([0, 1, 5, 2, 8]))
    model = on(engine, *rng.normal(size=(2, 5, 3)))
    centers, contexts = np.array([1, 4, 2]), np.array([3, 0, 3])
    mean = 0.0
    for drawn in itertools.product(range(5), repeat=2):
        loss = model(centers, contexts=contexts, noise=np.array(drawn), negatives=6)
        mean += np.prod(noise.probability[list(drawn)]) * float(engine.asnumpy(loss))
    wanted = 0.0
    for c, o in zip(centers, contexts):
        v, u = engine.asnumpy(model.center), engine.asnumpy(model.context)
        against = sum(q * np.log1p(np.exp(u[w] @ v[c])) for w, q in enumerate(noise.probability))
        wanted += (np.log1p(np.exp(-u[o] @ v[c])) + 6 * against) / 3
    prove(mean, wanted, oracle="expectation", tol=1e-10)


@pytest.mark.equation("tokens-sgns-pmi")
def test_the_optimum_is_mutual_information_shifted(engine, rng, prove):
    """Free scores, the expected loss, and Newton's steps with gradients of the engine."""
    joint = rng.random((4, 4)) + 0.05
    joint /= joint.sum()
    p, q, negatives = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True) ** 0.75, 5
    q = q / q.sum()
    real = engine.array(joint, dtype="float64")
    false = engine.array(negatives * p * q, dtype="float64")

    def expected(scores):
        return engine.sum(real * engine.softplus(-scores) + false * engine.softplus(scores))

    scores = np.zeros((4, 4))
    for _ in range(30):
        _, slope = engine.value_and_grad(expected)(engine.parameter(scores, dtype="float64"))
        bend = (joint + negatives * p * q) * sigmoid(scores) * (1 - sigmoid(scores))
        scores = scores - engine.asnumpy(slope) / bend
    prove(scores, np.log(joint / (p * q)) - np.log(negatives), oracle="Newton", tol=1e-8)


@pytest.mark.equation("tokens-subsampling")
def test_thinned_counts_grow_with_the_square_root(rng, prove):
    """Words drawn one by one and dropped one by one, against √(t N n)."""
    counts = np.array([0, 0, 400_000, 90_000, 10_000])
    keep = keep_probability(counts, 1e-3)
    kept = [(rng.random(n) < k).sum() for n, k in zip(counts[2:], keep[2:])]
    prove(np.array(kept), np.sqrt(1e-3 * counts.sum() * counts[2:]), oracle="simulation", tol=0.03)
    rare = keep_probability(np.array([999_500, 500, 0]), 1e-3)
    assert rare[1] == 1 and rare[2] == 1


@pytest.mark.equation("tokens-window")
def test_near_words_are_used_more_often(rng, prove):
    """Pairs at each distance in a text of distinct words, against (m − d + 1) / m."""
    text = list(range(2, 20_002))
    centers, contexts = skip_gram_pairs([text], 4, rng)
    distance = np.abs(centers - contexts)
    found = [np.mean(distance == d) * len(distance) / (2 * len(text)) for d in (1, 2, 3, 4)]
    prove(np.array(found), np.array([4, 3, 2, 1]) / 4, oracle="simulation", tol=0.02)


@pytest.mark.equation("tokens-cosine")
def test_nearest_by_angle_is_nearest_by_distance_on_the_sphere(rng, prove):
    rows = rng.normal(size=(50, 6))
    found, cosines = nearest(rows, rows[7], 50)
    unit = rows / np.sqrt((rows**2).sum(1, keepdims=True))
    squares = ((unit[found] - unit[7]) ** 2).sum(1)
    prove(2 - 2 * cosines, squares, oracle="distances", tol=1e-12)
    assert found[0] == 7 and (np.diff(squares) > -1e-12).all()


def test_pairs_stay_inside_their_documents(rng):
    centers, contexts = skip_gram_pairs([[2, 3], [], [1, 4, 0, 5]], 1, rng)
    assert sorted(zip(centers, contexts)) == [(2, 3), (3, 2), (4, 5), (5, 4)]
    for nothing in ([], [[]], [[1, 1, 0]], [[2]]):
        assert len(skip_gram_pairs(nothing, 3, rng)[0]) == 0
    thinned = skip_gram_pairs([[2, 3, 2, 4]], 1, rng, keep=np.array([1, 1, 0, 1, 1]))
    assert sorted(zip(*thinned)) == [(3, 4), (4, 3)], "the text closes up"


def test_noise_is_drawn_as_often_as_it_says(rng):
    noise = NoiseDistribution(np.array([0, 0, 1, 16, 81]))
    np.testing.assert_allclose(noise.probability, np.array([0, 0, 1, 8, 27]) / 36)
    drawn = np.bincount(noise.draw(rng, 40_000), minlength=5) / 40_000
    np.testing.assert_allclose(drawn, noise.probability, atol=0.01)
    assert NoiseDistribution(np.array([2, 0]), power=0).probability.tolist() == [1, 0]


def test_engines_agree_after_training(rng):
    """The same pairs, the same noise: three engines end at the same vectors."""
    documents = [rng.integers(2, 12, 30).tolist() for _ in range(4)]
    ends = {}
    for name in lepton_ref.engines.installed():
        model = SkipGram(12, 4, rng=np.random.default_rng(1), engine=name)
        train_skip_gram(
            model, documents, Adam(0.01, engine=model.E), 2, rng=np.random.default_rng(2),
            shared=8, batch_size=64,
        )  # fmt: skip
        ends[name] = model.vectors
    for name, vectors in ends.items():
        np.testing.assert_allclose(vectors, ends["numpy"], atol=1e-4, err_msg=name)


def test_words_that_share_neighbours_come_near_each_other(engine):
    """Real reviews, one minute of thought less: coffee is nearer to tea than to dog."""
    texts = [clean(t) for t in lepton_ref.load("fine-foods").train_texts]
    chosen = [t for t in texts if any(w in t.lower() for w in ("coffee", "tea", "dog"))][:700]
    documents = [tokenize(t, "en") for t in chosen]
    v = Vocabulary.build(documents, max_size=600)
    model = SkipGram(len(v), 16, rng=np.random.default_rng(0))
    history = train_skip_gram(
        model, [v.encode(d) for d in documents], Adam(0.02), 2, rng=np.random.default_rng(0),
        batch_size=1024,
    )  # fmt: skip
    assert np.mean(history.losses[-20:]) < 0.85 * np.mean(history.losses[:5])
    vectors = model.vectors
    cosine = lambda a, b: vectors[v[a]] @ vectors[v[b]]
    assert cosine("coffee", "tea") > cosine("coffee", "dog")
    assert cosine("dog", "dogs") > cosine("dog", "coffee")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: SkipGram(0, 3, rng=r), "`vocabulary_size` has the value 0"),
        (lambda r: SkipGram(5, 3), "`rng` has no value"),
        (lambda r: skip_gram_pairs([[2, 3]], 0, r), "`window` has the value 0"),
        (lambda r: keep_probability(np.ones(3), 0), "`threshold` has the value 0"),
        (lambda r: NoiseDistribution(np.zeros(3)), "sum 0.0"),
        (lambda r: NoiseDistribution(np.array([1, -1])), "counts >= 0"),
        (lambda r: nearest(np.ones((3, 2)), np.ones(3)), r"shape \(3,\); expected \(2,\)"),
        (lambda r: train(r, [[2, 5]]), "the word 5; expected numbers in 0..4"),
        (lambda r: train(r, [[2, -1]]), "the word -1"),
        (lambda r: train(r, [[1, 0, 1]]), "no known word"),
        (lambda r: train(r, [[2], [3]]), "no two words side by side"),
        (lambda r: train(r, [[2, 3]], epochs=0), "`epochs` has the value 0"),
        (lambda r: train(r, [[2, 3]], shared=0), "`shared` has the value 0"),
    ],
)
def test_wrong_arguments_are_refused(rng, call, message):
    with pytest.raises(ArgumentError, match=message):
        call(rng)


def train(rng, documents, epochs=1, **settings):
    model = SkipGram(5, 2, rng=rng)
    train_skip_gram(model, documents, Adam(0.1), epochs, rng=rng, **settings)


def test_vectors_have_length_one(rng):
    model = SkipGram(4, 3, rng=rng)
    state = model.state()
    state["center"][2] = 0
    model.load_state(state)
    np.testing.assert_allclose(np.linalg.norm(model.vectors, axis=1), [1, 1, 0, 1], rtol=1e-6)
