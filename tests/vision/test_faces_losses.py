"""The three losses of the page vision/faces: values, gradients, mining, refusals."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.vision.faces.losses import (
    angular_logits,
    arcface,
    contrastive,
    mine_triplets,
    triplet,
    unit,
)
from tests.numeric import numerical_gradient

WHO = np.array([3, 3, 7, 7, 7, 1])


@pytest.fixture
def vectors(rng):
    """Six unit vectors of three people, float64; no two axes of one length."""
    v = rng.normal(size=(6, 4))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def gradient(engine, loss, x):
    value, dx = engine.value_and_grad(loss)(engine.parameter(x, dtype="float64"))
    return float(engine.asnumpy(value)), engine.asnumpy(dx)


def pairs(x, who, margin):
    """Half mean squares over the pairs, by two loops."""
    genuine, impostor = [], []
    for i in range(len(x)):
        for j in range(i):
            distance = np.sqrt(((x[i] - x[j]) ** 2).sum())
            (genuine if who[i] == who[j] else impostor).append((i, j, distance))
    pull = np.mean([d**2 for *_, d in genuine]) / 2
    push = np.mean([max(0, margin - d) ** 2 for *_, d in impostor]) / 2
    return pull + push, genuine, impostor


@pytest.mark.equation("faces-unit-dv")
def test_gradient_of_a_direction(engine, rng, prove):
    """(dy − u (u·dy)) / ‖v‖, from the Jacobian of v/‖v‖ measured entry by entry."""
    v, dy = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    target = engine.array(dy, dtype="float64")
    _, dv = gradient(engine, lambda v: engine.sum(unit(v, engine) * target), v)
    length = np.linalg.norm(v, axis=1, keepdims=True)
    u = v / length
    prove(dv, (dy - u * (u * dy).sum(1, keepdims=True)) / length, oracle="closed form", tol=1e-9)
    measured = numerical_gradient(
        lambda v: float((v / np.sqrt((v * v).sum(1, keepdims=True)) * dy).sum()), v
    )
    prove(dv, measured, oracle="finite differences", tol=1e-7)


def test_a_vector_of_zeros_stays_one_and_gives_no_nan(engine):
    value, dv = gradient(engine, lambda v: engine.sum(unit(v, engine)), np.zeros((2, 3)))
    assert value == 0 and np.isfinite(dv).all()


@pytest.mark.equation("faces-contrastive")
def test_contrastive_is_a_mean_over_pairs(engine, vectors, prove):
    x = engine.array(vectors, dtype="float64")
    value = engine.asnumpy(contrastive(x, WHO, margin=1.3, engine=engine))
    prove(value, pairs(vectors, WHO, 1.3)[0], oracle="loops", tol=1e-6)


@pytest.mark.equation("faces-contrastive-genuine", "faces-contrastive-impostor")
def test_contrastive_gradient(engine, vectors, prove):
    """Each pair pulls or pushes along the line that joins it; written down pair by pair."""
    margin = 1.3
    _, dx = gradient(engine, lambda x: contrastive(x, WHO, margin, engine), vectors)
    _, genuine, impostor = pairs(vectors, WHO, margin)
    by_hand = np.zeros_like(vectors)
    for i, j, _ in genuine:
        force = (vectors[i] - vectors[j]) / len(genuine)
        by_hand[i] += force
        by_hand[j] -= force
    for i, j, d in impostor:
        force = -max(0, margin - d) * (vectors[i] - vectors[j]) / d / len(impostor)
        by_hand[i] += force
        by_hand[j] -= force
    active = [d < margin for *_, d in impostor]
    assert any(active) and not all(active)
    prove(dx, by_hand, oracle="closed form", tol=1e-6)
    measured = numerical_gradient(lambda x: pairs(x, WHO, margin)[0], vectors)
    prove(dx, measured, oracle="finite differences", tol=1e-6)


def test_contrastive_where_two_embeddings_are_equal(engine):
    """A distance of zero has no direction: the gradient is zero, not NaN."""
    same = np.tile([[0.6, 0.8]], (3, 1))
    value, dx = gradient(engine, lambda x: contrastive(x, np.array([0, 0, 1]), 1.0, engine), same)
    assert abs(value - 0.5) < 1e-5 and np.abs(dx).max() < 1e-9


@pytest.mark.equation("faces-triplet-grad")
@pytest.mark.parametrize("mining", ["all", "semi-hard", "hard"])
def test_triplet_gradient(engine, vectors, mining, prove):
    """2(n − p), 2(p − a), 2(a − n) for each active triplet, added up one by one."""
    margin = 0.9
    _, dx = gradient(engine, lambda x: triplet(x, WHO, margin, mining, engine), vectors)
    chosen = np.stack(mine_triplets(vectors, WHO, mining), axis=1)
    by_hand, active = np.zeros_like(vectors), 0
    for a, p, n in chosen:
        va, vp, vn = vectors[[a, p, n]]
        if ((va - vp) ** 2).sum() - ((va - vn) ** 2).sum() + margin > 0:
            active += 1
            by_hand[a] += 2 * (vn - vp)
            by_hand[p] += 2 * (vp - va)
            by_hand[n] += 2 * (va - vn)
    assert active
    prove(dx, by_hand / len(chosen), oracle="closed form", tol=1e-9)

    def loss(x):
        a, p, n = x[chosen.T]
        return float(np.maximum(0, ((a - p) ** 2 - (a - n) ** 2).sum(1) + margin).mean())

    prove(dx, numerical_gradient(loss, vectors), oracle="finite differences", tol=1e-6)


def test_mining_by_hand():
    """Points on a line, so that you can see who is near: person 0 at 0 and 2, others at 1, 3, 9."""
    x = np.array([[0.0], [2.0], [1.0], [3.0], [9.0]])
    who = np.array([0, 0, 1, 2, 3])
    listed = lambda mining: {tuple(int(i) for i in t) for t in zip(*mine_triplets(x, who, mining))}  # noqa: E731
    assert listed("all") == {(a, 1 - a, n) for a in (0, 1) for n in (2, 3, 4)}
    # From 0 the positive is at 2; the nearest farther one is at 3. From 2 it is at 9.
    assert listed("semi-hard") == {(0, 1, 3), (1, 0, 4)}
    assert {(a, p) for a, p, _ in listed("hard")} == {(0, 1), (1, 0)}
    assert (0, 1, 2) in listed("hard")
    closer = np.array([[0.0], [9.0], [1.0], [3.0]])  # no negative is farther than the positive
    assert set(zip(*mine_triplets(closer, who[:4], "semi-hard"))) >= {(0, 1, 3)}


@pytest.mark.parametrize("who", [np.zeros(6, int), np.arange(6)])
def test_a_batch_without_a_triplet_teaches_nothing(engine, vectors, who):
    one = gradient(engine, lambda x: contrastive(x, who[:1], engine=engine), vectors[:1])
    assert one[0] == 0 and not one[1].any()
    for mining in ("all", "semi-hard", "hard"):
        value, dx = gradient(
            engine, functools.partial(triplet, labels=who, mining=mining, engine=engine), vectors
        )
        assert value == 0 and not dx.any()


def logits_by_hand(cosines, who, margin, scale):
    angles = np.arccos(cosines)
    out = scale * np.cos(angles)
    for i, y in enumerate(who):
        theta = angles[i, y]
        if theta + margin <= math.pi:
            out[i, y] = scale * math.cos(theta + margin)
        else:
            out[i, y] = scale * (math.cos(theta) + math.cos(margin) - 1)
    return out


@pytest.mark.equation("faces-angle-sum", "faces-arcface")
def test_the_margin_is_added_to_the_angle(engine, rng, prove):
    """Through arccos and cos, as the formula is written; one angle lies beyond π − m."""
    cosines, who = rng.uniform(-0.8, 0.9, size=(5, 3)), np.array([0, 2, 1, 1, 0])
    cosines[4, 0] = -0.97
    given = engine.array(cosines, dtype="float64")
    found = engine.asnumpy(angular_logits(given, who, 0.4, 9.0, engine))
    prove(found, logits_by_hand(cosines, who, 0.4, 9.0), oracle="closed form", tol=1e-9)


@pytest.mark.equation("faces-arcface-grad")
def test_arcface_gradient(engine, rng, prove):
    """s (p − 1) sin(θ + m) / sin θ for the right class, s p for the others."""
    cosines, who = rng.uniform(-0.8, 0.9, size=(5, 3)), np.array([0, 2, 1, 1, 0])
    margin, scale = 0.4, 9.0
    _, dc = gradient(engine, lambda c: arcface(c, who, margin, scale, engine), cosines)
    z = logits_by_hand(cosines, who, margin, scale)
    p = np.exp(z - z.max(1, keepdims=True))
    by_hand = scale * p / p.sum(1, keepdims=True)
    for i, y in enumerate(who):
        theta = math.acos(cosines[i, y])
        by_hand[i, y] = (by_hand[i, y] - scale) * math.sin(theta + margin) / math.sin(theta)
    prove(dc, by_hand / 5, oracle="closed form", tol=1e-9)

    def loss(c):
        z = logits_by_hand(c, who, margin, scale)
        return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(5), who]))

    prove(dc, numerical_gradient(loss, cosines), oracle="finite differences", tol=1e-6)


def test_a_margin_of_zero_is_a_softmax(engine, rng):
    cosines = engine.array(rng.uniform(-1, 1, size=(4, 3)), dtype="float64")
    plain = engine.asnumpy(angular_logits(cosines, np.array([0, 1, 2, 0]), 0.0, 5.0, engine))
    np.testing.assert_allclose(plain, 5 * engine.asnumpy(cosines), atol=1e-12)


def test_the_logit_falls_with_the_angle_and_does_not_jump():
    """cos(θ + m) alone would rise again beyond π − m, and reward the worst angles."""
    theta = np.linspace(0.01, math.pi - 0.01, 2000)
    cosines = np.stack([np.cos(theta), np.zeros(2000)], axis=1)
    own = angular_logits(cosines, np.zeros(2000, int), 0.5, 1.0, "numpy")[:, 0]
    steps = np.diff(own)
    assert (steps < 0).all() and np.abs(steps).max() < 0.01
    assert np.diff(np.cos(theta + 0.5))[-1] > 0


def test_arcface_at_angles_of_zero_and_pi(engine):
    cosines = np.array([[1.0, -1.0], [-1.0, 1.0]])
    for who in ([0, 0], [1, 1]):
        value, dc = gradient(
            engine, lambda c, w=who: arcface(c, np.array(w), engine=engine), cosines
        )
        assert np.isfinite(value) and np.isfinite(dc).all()


GOOD = np.eye(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: contrastive(GOOD, [0, 1], engine="numpy"), r"`labels` has shape \(2,\)"),
        (lambda: contrastive(GOOD, [0.0, 1.0, 1.0], engine="numpy"), "dtype float64"),
        (lambda: contrastive(GOOD, [0, 1, 1], margin=2.5, engine="numpy"), r"in \(0, 2\]"),
        (lambda: triplet(GOOD, [0, 1, 1], margin=0, engine="numpy"), r"in \(0, 4\]"),
        (lambda: mine_triplets(GOOD, [0, 1, 1], "soft"), "one of all, semi-hard, hard"),
        (lambda: angular_logits(GOOD, [0, 1, 3], engine="numpy"), "values from 0 to 3"),
        (lambda: angular_logits(GOOD, [0, 1, 2], margin=2.0, engine="numpy"), "radians"),
        (lambda: angular_logits(GOOD, [0, 1, 2], scale=0.0, engine="numpy"), "`scale`"),
        (lambda: unit(np.ones(3), engine="numpy"), r"shape \(3,\)"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
