"""Page explain/attention: distances, the adversary and its gradient, the farthest attention."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import HalfspaceIntersection, distance

from lepton_ref.explain.attention import (
    DiagnosticMLP,
    LSTMReader,
    Pooled,
    adversarial_attention,
    farthest_attention,
    jensen_shannon,
    pooled,
    total_variation,
    uniform,
)
from lepton_ref.explain.attention.adversary import adversary_loss, corner_divergence
from lepton_ref.explain.attention.distances import (
    jensen_shannon_on,
    kullback_leibler_on,
    softmax,
    total_variation_on,
)
from lepton_ref.explain.attention.training import (
    accuracy,
    film_reviews,
    flatten_attention,
    moved,
    train,
    train_adversary,
)
from lepton_ref.framework.errors import ArgumentError
from tests.numeric import numerical_gradient


def review(rng, steps=6, classes=2, count=1):
    said = rng.normal(size=(count, steps, classes)) * 2
    return Pooled(said, rng.dirichlet(np.ones(steps), count), np.ones((count, steps), bool))


# -------------------------------------------------------------------------- distances


@pytest.mark.equation("heed-jsd-bounds")
def test_bounds_of_the_divergence(rng, prove):
    p = rng.dirichlet(np.ones(5), 200)
    q = rng.dirichlet(np.full(5, 0.1), 200)
    found = jensen_shannon(p, q)
    assert (found > 0).all() and (found < np.log(2)).all()
    apart = jensen_shannon([0.3, 0.7, 0, 0], [0, 0, 0.9, 0.1])
    prove(apart, np.log(2), oracle="closed form", tol=1e-12)
    assert jensen_shannon(p, p).max() < 1e-15
    scipys = [distance.jensenshannon(a, b) ** 2 for a, b in zip(p, q)]
    prove(found, np.array(scipys), oracle="scipy", tol=1e-9)


@pytest.mark.equation("heed-jsd-gradient")
def test_gradient_of_the_divergence(engine, rng, prove):
    p, q = rng.dirichlet(np.ones(5), size=2)
    given = engine.array(p, dtype="float64")
    _, dq = engine.value_and_grad(lambda q: jensen_shannon_on(engine, given, q))(
        engine.parameter(q, dtype="float64")
    )
    prove(engine.asnumpy(dq), 0.5 * np.log(2 * q / (p + q)), oracle="closed form", tol=1e-8)

    def plain(q):
        m = (p + q) / 2
        return 0.5 * (p @ np.log(p / m) + q @ np.log(q / m))

    prove(engine.asnumpy(dq), numerical_gradient(plain, q), oracle="finite differences", tol=1e-7)


def test_zero_weights_have_finite_gradients(engine):
    p, q = np.array([0.0, 0.4, 0.6]), np.array([0.5, 0.5, 0.0])
    for first, second in ((p, q), (q, p)):
        given = engine.array(first)
        value, dq = engine.value_and_grad(
            lambda q, given=given: jensen_shannon_on(engine, given, q)
        )(engine.parameter(second))
        assert np.isfinite(engine.asnumpy(dq)).all()
        assert abs(float(value) - jensen_shannon(first, second)) < 1e-6


@pytest.mark.equation("heed-tvd-gradient")
@pytest.mark.parametrize("classes", [2, 4])
def test_gradient_of_the_total_variation(engine, rng, prove, classes):
    y, z = rng.dirichlet(np.ones(classes)), rng.normal(size=(1, classes))
    given = engine.array(y, dtype="float64")

    def apart(z):
        return engine.sum(total_variation_on(engine, engine.softmax(z), given))

    _, dz = engine.value_and_grad(apart)(engine.parameter(z, dtype="float64"))
    p = softmax(z)[0]
    sign = np.sign(p - y)
    formula = 0.5 * p * (sign - sign @ p)
    prove(engine.asnumpy(dz)[0], formula, oracle="closed form", tol=1e-10)
    numeric = numerical_gradient(lambda z: 0.5 * np.abs(softmax(z)[0] - y).sum(), z)
    prove(engine.asnumpy(dz), numeric, oracle="finite differences", tol=1e-7)
    if classes == 2:
        assert abs(float(apart(engine.array(z, dtype="float64"))) - abs(p[0] - y[0])) < 1e-12


def test_kullback_leibler(engine, rng):
    p, q = rng.dirichlet(np.ones(4), size=2)
    found = kullback_leibler_on(engine, *(engine.array(a, dtype="float64") for a in (p, q)))
    assert abs(float(found) - p @ np.log(p / q)) < 1e-9


# -------------------------------------------------------------------------- adversary


@pytest.mark.equation("heed-scores-gradient")
@pytest.mark.parametrize("epsilon", [1e-3, 0.9])  # the price is due, or it is not
def test_gradient_of_the_search(engine, rng, prove, epsilon):
    """The engine's gradient against the formula, written as loops, and against differences."""
    given, u, price = review(rng, 5, 3), rng.normal(size=(1, 1, 5)), 7.0
    said, weights, before = given.word_logits, given.weights, given.predict()
    on = [engine.array(a, dtype="float64") for a in (said, weights, before)]

    def loss(u):
        return adversary_loss(engine, u, *on, epsilon, price)

    _, du = engine.value_and_grad(loss)(engine.parameter(u, dtype="float64"))
    a, g = softmax(u)[0, 0], said[0]
    p = softmax(a @ g)
    apart = 0.5 * np.abs(p - before[0]).sum()
    sign = np.sign(p - before[0])
    dz = 0.5 * p * (sign - sign @ p) * (apart > epsilon) * price
    c = [dz @ g[t] - 0.5 * np.log(2 * a[t] / (a[t] + weights[0, t])) for t in range(5)]
    formula = np.array([a[t] * (c[t] - sum(a[s] * c[s] for s in range(5))) for t in range(5)])
    prove(engine.asnumpy(du)[0, 0], formula, oracle="closed form", tol=1e-7)

    def plain(u):
        a = softmax(u)[0, 0]
        moved = 0.5 * np.abs(softmax(a @ g) - before[0]).sum()
        return price * max(0, moved - epsilon) - jensen_shannon(a, weights[0])

    prove(engine.asnumpy(du), numerical_gradient(plain, u), oracle="finite differences", tol=1e-6)


def test_candidates_are_kept_apart(engine, rng):
    """With several candidates the objective counts each pair once, at 1 / C(C − 1)."""
    given, u = review(rng, 5, 2), rng.normal(size=(3, 1, 5))
    on = [engine.array(a, dtype="float64") for a in (given.word_logits, given.weights)]
    before = engine.array(given.predict(), dtype="float64")
    found = float(adversary_loss(engine, engine.array(u, dtype="float64"), *on, before, 0.1, 6.0))
    a = softmax(u)[:, 0]
    gain = sum(jensen_shannon(one, given.weights[0]) for one in a)
    pairs = sum(jensen_shannon(a[i], a[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    over = [
        max(0, total_variation(given.predict(one[None]), given.predict())[0] - 0.1) for one in a
    ]
    assert abs(found - (2.0 * sum(over) - gain - pairs / 6)) < 1e-8


@pytest.mark.equation("heed-freedom")
@pytest.mark.parametrize(("steps", "classes"), [(6, 2), (9, 4)])
def test_there_is_always_room(rng, prove, steps, classes):
    """T − K directions by the rank, and along one of them the prediction stands still."""
    given = review(rng, steps, classes)
    g = given.word_logits[0]
    equations = np.vstack([np.ones(steps), (g[:, :-1] - g[:, -1:]).T])
    _, sizes, directions = np.linalg.svd(equations)
    free = directions[(sizes > 1e-12).sum() :]
    assert len(free) == steps - classes
    delta = free[0] * 0.5 * given.weights.min() / np.abs(free[0]).max()
    other = given.weights + delta
    assert (other > 0).all() and np.abs(delta).max() > 1e-3
    prove(given.predict(other), given.predict(), oracle="null space", tol=1e-12)


@pytest.mark.equation("heed-corner", "heed-corner-value")
def test_the_farthest_attention_against_qhull(rng, prove):
    """All corners of the polytope by somebody else's geometry, the divergence at each."""
    for _ in range(5):
        given, epsilon = review(rng, 5), 0.02
        given = given._replace(word_logits=given.word_logits * 0.5)
        d = given.word_logits[0, :, 1] - given.word_logits[0, :, 0]
        p = given.predict()[0, 1]
        low, high = (np.log(x / (1 - x)) for x in (p - epsilon, p + epsilon))
        rows = [np.append(-np.eye(4)[t], 0.0) for t in range(4)]  # a_t >= 0, the last one left out
        rows.append(np.append(np.ones(4), -1.0))
        rows.append(np.append(-(d[:4] - d[4]), low - d[4]))
        rows.append(np.append(d[:4] - d[4], d[4] - high))
        inside = HalfspaceIntersection(np.array(rows), given.weights[0, :4])
        corners = np.maximum(np.unique(inside.intersections.round(12), axis=0), 0)
        corners = np.column_stack([corners, np.maximum(1 - corners.sum(axis=1), 0)])
        corners /= corners.sum(axis=1, keepdims=True)
        assert ((corners > 1e-9).sum(axis=1) <= 2).all()
        largest = max(jensen_shannon(corner, given.weights[0]) for corner in corners)
        found = farthest_attention(given, epsilon=epsilon)
        prove(found.divergence[0], largest, oracle="qhull", tol=1e-8)
        assert (found.weights > 1e-9).sum() <= 2 and found.change[0] <= epsilon + 1e-9


def test_divergence_at_a_corner(rng):
    a = rng.dirichlet(np.ones(6))
    for i, j, share in ((0, 3, 0.25), (5, 1, 0.9), (2, 2, 1.0)):
        other = np.zeros(6)
        other[i] += share
        other[j] += 1 - share
        found = corner_divergence(a, *(np.array([x]) for x in (i, j, share)))
        assert abs(found[0] - jensen_shannon(a, other)) < 1e-12


def test_the_search_stays_below_the_farthest_and_comes_near(engine, rng):
    given = review(rng, 8, count=12)
    given = given._replace(word_logits=given.word_logits * 0.5)
    found = adversarial_attention(given, epsilon=0.02, steps=200, engine=engine)
    exact = farthest_attention(given, epsilon=0.02)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)
    assert (found.change <= 0.02).all() and (found.divergence <= exact.divergence + 1e-9).all()
    np.testing.assert_allclose(found.divergence, jensen_shannon(found.weights, given.weights))
    assert np.median(found.divergence / exact.divergence) > 0.6
    again = adversarial_attention(given, epsilon=0.02, steps=200, engine=engine)
    assert np.array_equal(found.weights, again.weights)


def test_one_word_leaves_no_choice(rng):
    given = Pooled(np.array([[[0.0, 2.0], [0.0, 0.0]]]), np.array([[1.0, 0.0]]),
                   np.array([[True, False]]))  # fmt: skip
    for found in (
        adversarial_attention(given, steps=20, engine="numpy"),
        farthest_attention(given),
    ):
        assert found.divergence[0] == 0 and found.weights.tolist() == [[1.0, 0.0]]


def test_sure_predictions_have_open_ends():
    """p + ε beyond 1: any attention on the sure side is allowed."""
    said = np.array([[[0.0, 9.0], [0.0, 8.0], [0.0, 7.0]]])
    given = Pooled(said, np.array([[0.8, 0.1, 0.1]]), np.ones((1, 3), bool))
    found = farthest_attention(given, epsilon=0.01)
    assert found.weights.argmax() > 0 and found.weights.max() == 1 and found.change[0] < 0.01


# -------------------------------------------------------------------------- refusals


def test_refusals(rng):
    given = review(rng)
    for epsilon in (0.0, 1.0, 1, True, "a", np.nan):
        for function in (adversarial_attention, farthest_attention):
            with pytest.raises(ArgumentError, match="`epsilon` has the value .*; expected between"):
                function(given, epsilon=epsilon)
    with pytest.raises(ArgumentError, match="`steps` has the value 0; expected a whole number"):
        adversarial_attention(given, steps=0)
    with pytest.raises(ArgumentError, match="`candidates` has the value 1.5"):
        adversarial_attention(given, candidates=1.5)
    with pytest.raises(ArgumentError, match="`seed` has the value -1; expected a whole number"):
        adversarial_attention(given, seed=-1)
    with pytest.raises(ArgumentError, match="`strength` has the value 'a'; expected a finite"):
        adversarial_attention(given, strength="a")
    with pytest.raises(ArgumentError, match="3 classes; expected 2, or search"):
        farthest_attention(review(rng, 4, 3))
    with pytest.raises(ArgumentError, match="`q` has entries from -0.5, rows that sum to 1..1"):
        jensen_shannon([0.5, 0.5], [1.5, -0.5])
    with pytest.raises(ArgumentError, match="`p` has entries from nan"):
        total_variation([np.nan, 1.0], [0.5, 0.5])
    for apart in (jensen_shannon, total_variation):
        with pytest.raises(ArgumentError, match=r"`q` has shape \(4,\); .*broadcasts with \(2,\)"):
            apart([0.5, 0.5], [0.25] * 4)
    with pytest.raises(ArgumentError, match=r"`p` has shape \(\)"):
        jensen_shannon(1.0, [1.0])
    with pytest.raises(ArgumentError, match="`divergence` has nan"):
        train_adversary(None, None, None, divergence=np.nan, epochs=1, lr=0.1, rng=rng)
    with pytest.raises(ArgumentError, match="`num_test` has 99999"):
        film_reviews(0, 99_999)


# ---------------------------------------------------------------- training, real reviews


@pytest.fixture(scope="module")
def reviews():
    return film_reviews(0)


def test_the_reviews(reviews):
    assert reviews.train_ids.shape == (len(reviews.train_labels), 28)
    assert len(reviews.test_ids) == 1000 and 9_000 < len(reviews.train_ids) < 10_000
    train_rows = {tuple(row) for row in reviews.train_ids.tolist()}
    leaked = sum(tuple(row) in train_rows for row in reviews.test_ids.tolist())
    assert leaked <= 2, "two sentences may differ in rare words alone"
    assert 0.4 < reviews.test_labels.mean() < 0.6
    assert len(reviews.words(0)) == (reviews.test_ids[0] != 0).sum()


def small(seed=0):
    return LSTMReader(7_000, 2, 8, 8, rng=np.random.default_rng(seed), engine="numpy")


def test_readers_learn_and_adversaries_look_elsewhere(reviews):
    """Two thousand sentences: better than chance; the adversary answers alike from elsewhere."""
    ids, labels = reviews.train_ids[:2000, :16], reviews.train_labels[:2000]
    base = small()
    train(base, (ids, labels), epochs=4, lr=0.01, rng=np.random.default_rng(0), batch_size=64)
    assert accuracy(base, ids, labels) > 0.8
    other = small(1)
    train_adversary(
        other, base, ids, divergence=0.05, epochs=4, lr=0.01, rng=np.random.default_rng(1),
        batch_size=64,
    )  # fmt: skip
    first, second = pooled(base, ids[:300]), pooled(other, ids[:300])
    alike = (first.predict().argmax(axis=1) == second.predict().argmax(axis=1)).mean()
    assert alike > 0.75
    assert np.median(jensen_shannon(first.weights, second.weights)) > 0.3


def test_frozen_attention_stays_uniform(reviews):
    ids, labels = reviews.train_ids[:256, :16], reviews.train_labels[:256]
    model = small()
    flatten_attention(model)
    before = model.state()
    train(model, (ids, labels), epochs=1, lr=0.01, rng=np.random.default_rng(0),
          frozen=("pooling",))  # fmt: skip
    after = pooled(model, ids[:20])
    np.testing.assert_allclose(after.weights, uniform(after.mask), atol=1e-7)
    for name, array in model.state().items():
        assert np.array_equal(array, before[name]) == name.startswith("pooling")


def test_a_guide_is_trained_with_its_weights(reviews):
    ids, labels = reviews.train_ids[:512, :16], reviews.train_labels[:512]
    first = np.zeros(ids.shape, np.float32)
    first[:, 0] = 1  # looks at the first word only
    model = DiagnosticMLP(7_000, 2, 8, 8, rng=np.random.default_rng(0), engine="numpy")
    train(model, (ids, labels, first), epochs=3, lr=0.02, rng=np.random.default_rng(0))
    swapped = ids.copy()
    swapped[:, 1:] = np.where(ids[:, 1:] != 0, 5, 0)
    assert accuracy(model, swapped, labels, first) == accuracy(model, ids, labels, first)
    assert 0.5 < accuracy(model, ids, labels, first) < 1


def test_a_guided_network_follows_its_guide(engine, rng):
    model = DiagnosticMLP(20, 2, 4, 5, rng=rng)
    ids = engine.array(np.array([[3, 4, 5]]))
    one = engine.asnumpy(model(ids, weights=np.array([[0.0, 1.0, 0.0]])))
    alone = engine.asnumpy(model(engine.array(np.array([[4]])), weights=np.array([[1.0]])))
    np.testing.assert_allclose(one, alone, atol=1e-6)
    own = engine.asnumpy(model(ids))
    assert own.shape == (1, 2) and np.abs(own - one).max() > 1e-4


def test_weights_move_to_another_engine(engine, rng):
    model = LSTMReader(30, 2, 4, 4, rng=rng, engine="numpy")
    ids = rng.integers(1, 30, size=(3, 5))
    there = moved(model, engine)
    assert there.E.name == engine.name
    found = engine.asnumpy(there(engine.array(ids)))
    np.testing.assert_allclose(found, model(ids), atol=1e-5)
