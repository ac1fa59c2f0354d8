"""Proofs of the page framework/optimizers: closed forms, and torch.optim step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.optimizers import (
    SGD,
    Adam,
    AdamW,
    Optimizer,
    clip_by_norm,
    constant,
    cosine,
    exponential_decay,
    global_norm,
    step_decay,
)

SPECTRUM = np.array([0.05, 0.3, 1.0, 5.0])  # curvatures h, condition number 100
KAPPA = SPECTRUM.max() / SPECTRUM.min()


def walk(optimizer, start, gradient, steps, engine=None):
    """The path (steps + 1, n) that an optimizer takes from `start`, in float64."""
    E = engine or lepton_ref.engine("numpy")
    params = {"theta": E.parameter(np.asarray(start), dtype="float64")}
    path = [np.array(E.asnumpy(params["theta"]))]
    for t in range(steps):
        g = E.array(np.asarray(gradient(path[-1], t)), dtype="float64")
        optimizer.step(params, {"theta": g})
        path.append(np.array(E.asnumpy(params["theta"])))
    return np.array(path)


def on_bowl(z, t):
    return SPECTRUM * z


def spectral_radius(lr, momentum, h=SPECTRUM, nesterov=False):
    """Largest |root| of the recurrence over the curvatures, from 2×2 companion matrices."""
    lr, momentum, h = np.broadcast_arrays(lr, momentum, h)
    a = (1 + momentum) * (1 - lr * h) if nesterov else 1 + momentum - lr * h
    b = momentum * (1 - lr * h) if nesterov else momentum
    companion = np.stack([np.stack([a, -b], -1), np.stack([np.ones_like(a), 0 * a], -1)], -2)
    return np.abs(np.linalg.eigvals(companion)).max(axis=(-1, -2))


# ------------------------------------------------------------------- gradient descent


@pytest.mark.equation("optimizers-gd", "optimizers-gd-rate")
def test_descent_on_a_bowl_is_a_power(engine, prove, rng):
    start, lr, steps = rng.standard_normal(4), 0.3, 20
    path = walk(SGD(lr), start, on_bowl, steps, engine)
    closed = (1 - lr * SPECTRUM) ** np.arange(steps + 1)[:, None] * start
    prove(path, closed, oracle="closed form", engine=engine.name)


@pytest.mark.equation("optimizers-gd-stable")
def test_speed_limit_of_descent(prove):
    """The largest stable rate, found by bisection on runs of the optimizer itself."""

    def diverges(lr):
        path = walk(SGD(lr), np.ones(4), on_bowl, 400)
        return np.abs(path[-1]).max() > 1.0

    low, high = 0.0, 2.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if diverges(middle) else (middle, high)
    prove(np.array(2 / SPECTRUM.max()), np.array(low), oracle="bisection on runs", tol=1e-6)
    assert np.abs(walk(SGD(-0.0), np.ones(4), on_bowl, 3) - 1).max() == 0  # rate 0 stays


@pytest.mark.equation("optimizers-gd-best")
def test_best_rate_of_descent(prove):
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda lr: np.abs(1 - lr * SPECTRUM).max(), bounds=(0, 1), method="bounded",
        options={"xatol": 1e-12},
    )
    analytic = np.array([2 / (SPECTRUM.min() + SPECTRUM.max()), (KAPPA - 1) / (KAPPA + 1)])
    prove(analytic, np.array([found.x, found.fun]), oracle="numerical minimum", tol=1e-6)
    path = walk(SGD(analytic[0]), np.ones(4), on_bowl, 600)
    measured = np.abs(path[600]).max() / np.abs(path[599]).max()
    prove(analytic[1], measured, oracle="measured on a run")


# --------------------------------------------------------------------------- momentum


@pytest.mark.equation("optimizers-momentum", "optimizers-momentum-heavy-ball")
def test_velocity_and_heavy_ball_are_one_path(engine, prove, rng):
    start, lr, mu = rng.standard_normal(4), 0.2, 0.8
    path = walk(SGD(lr, momentum=mu), start, on_bowl, 30, engine)
    heavy = [start, start - lr * SPECTRUM * start]
    for _ in range(29):
        now, before = heavy[-1], heavy[-2]
        heavy.append(now - lr * SPECTRUM * now + mu * (now - before))
    prove(path, np.array(heavy), oracle="heavy ball without a velocity", engine=engine.name)


@pytest.mark.equation("optimizers-momentum-terminal")
def test_terminal_velocity(engine, prove):
    mu, g = 0.9, np.array([0.7, -2.0])
    optimizer = SGD(0.1, momentum=mu)
    path = walk(optimizer, np.zeros(2), lambda z, t: g, 50, engine)
    velocity = -np.diff(path, axis=0) / 0.1
    t = np.arange(1, 51)[:, None]
    prove(velocity, (1 - mu**t) / (1 - mu) * g, oracle="closed form", engine=engine.name)


@pytest.mark.equation("optimizers-oscillator")
def test_small_steps_swing_like_a_spring(prove):
    """Runs with a step of δ, δ/2 and δ/4, extrapolated to δ = 0, against the formula."""
    h, gamma, start, tau = 3.0, 0.8, 1.5, 4.0

    def swing(delta):
        optimizer = SGD(delta**2, momentum=1 - gamma * delta)
        steps = round(tau / delta)
        return walk(optimizer, np.array([start]), lambda z, t: h * z, steps)[-1, 0]

    one, two, four = (swing(0.01 / k) for k in (1, 2, 4))
    first, second = 2 * two - one, 2 * four - two  # error of the order δ removed
    extrapolated = (4 * second - first) / 3  # and of the order δ²
    omega = math.sqrt(h - gamma**2 / 4)
    closed = math.cos(omega * tau) + gamma / (2 * omega) * math.sin(omega * tau)
    closed *= math.exp(-gamma * tau / 2) * start
    prove(np.array(closed), np.array(extrapolated), oracle="limit of runs", tol=1e-5)


@pytest.mark.equation("optimizers-momentum-rate")
@pytest.mark.parametrize("mu", [0.3, 0.7, 0.95])
def test_swinging_directions_share_one_rate(prove, mu):
    inside = np.linspace((1 - mu**0.5) ** 2, (1 + mu**0.5) ** 2, 13)[1:-1]
    rates = [spectral_radius(1.0, mu, np.array([h])) for h in inside]
    prove(np.full(11, mu**0.5), np.array(rates), oracle="eigenvalues of companion matrices")
    outside = [0.9 * (1 - mu**0.5) ** 2, 1.1 * (1 + mu**0.5) ** 2]
    assert all(spectral_radius(1.0, mu, np.array([h])) > mu**0.5 + 1e-3 for h in outside)
    # the two magnitudes, not their maximum alone, from a run: |z| / sqrt(mu)^t stays bounded
    path = walk(SGD(1.0, momentum=mu), np.ones(1), lambda z, t: inside[5] * z, 300)
    scaled = np.abs(path[:, 0]) / mu ** (np.arange(301) / 2)
    assert 0.1 < scaled[-50:].max() < 10


@pytest.mark.equation("optimizers-momentum-best")
def test_best_momentum(prove):
    """The formula beats every point of a fine grid around it, and a free minimum finds it."""
    from scipy.optimize import minimize

    root = (math.sqrt(KAPPA) - 1) / (math.sqrt(KAPPA) + 1)
    lr = 4 / (math.sqrt(SPECTRUM.min()) + math.sqrt(SPECTRUM.max())) ** 2
    found = minimize(
        lambda x: spectral_radius(x[0], x[1]) if 0 <= x[1] < 1 else 2.0, x0=[0.5, 0.5],
        method="Nelder-Mead", options={"xatol": 1e-13, "fatol": 1e-13, "maxiter": 4000},
    )
    # The minimum is a corner where two roots meet: the radius rises with the square root of
    # the distance, so it is known to half the digits of the position.
    prove(
        np.array([lr, root**2, root]), np.array([*found.x, found.fun]),
        oracle="numerical minimum", tol=1e-5,
    )
    mu = root**2
    path = walk(SGD(lr, momentum=mu), np.ones(4), on_bowl, 3000)
    # |z| ~ t·rate^t at the ends of the spectrum: take the power of t out before measuring.
    low, high = 400, 800
    measured = np.abs(path[high, 0]) / high / (np.abs(path[low, 0]) / low)
    prove(np.array(root), measured ** (1 / (high - low)), oracle="measured on a run", tol=1e-4)


# --------------------------------------------------------------------------- Nesterov


@pytest.mark.equation("optimizers-nesterov", "optimizers-nesterov-implemented")
def test_look_ahead_is_what_the_code_does(engine, prove, rng):
    """u-θ form with gradients taken ahead, on Rosenbrock, against the code's y-v form."""
    lr, mu = 1e-4, 0.9
    theta, u, looked = np.array([-1.2, 1.0]), np.zeros(2), []
    for _ in range(60):
        looked.append(theta + mu * u)
        u = mu * u - lr * rosenbrock(looked[-1])
        theta = theta + u
    path = walk(
        SGD(lr, momentum=mu, nesterov=True), [-1.2, 1.0], lambda z, t: rosenbrock(z), 59, engine
    )
    prove(path, np.array(looked), oracle="look-ahead form", engine=engine.name)


def rosenbrock(z):
    x, y = z
    return np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])


@pytest.mark.equation("optimizers-nesterov-recurrence")
def test_nesterov_recurrence(engine, prove, rng):
    lr, mu = 0.15, 0.85
    path = walk(SGD(lr, mu, nesterov=True), rng.standard_normal(4), on_bowl, 40, engine)
    shrink = 1 - lr * SPECTRUM
    said = (1 + mu) * shrink * path[1:-1] - mu * shrink * path[:-2]
    prove(said, path[2:], oracle="measured on a run", engine=engine.name)


@pytest.mark.equation("optimizers-nesterov-rate")
def test_nesterov_rate(prove):
    lr, mu = 1 / SPECTRUM.max(), (math.sqrt(KAPPA) - 1) / (math.sqrt(KAPPA) + 1)
    rate = 1 - 1 / math.sqrt(KAPPA)
    # A double root is known to half the digits in floating point.
    prove(
        np.array(rate), spectral_radius(lr, mu, nesterov=True),
        oracle="eigenvalues of companion matrices", tol=1e-6,
    )
    # With a double root r, z_t = (a + b t) r^t: check the whole run of the flattest direction.
    path = walk(SGD(lr, mu, nesterov=True), np.ones(4), on_bowl, 200)[:, 0]
    t = np.arange(201)
    b = path[1] / rate - 1
    prove((1 + b * t) * rate**t, path, oracle="measured on a run")


# ------------------------------------------------------------------------------- Adam


def literal_adam(start, gradients, lr, betas, eps):
    """Algorithm 1 of Kingma and Ba, in the order in which they print it."""
    (b1, b2), theta, path = betas, start.copy(), [start.copy()]
    m, s = np.zeros_like(start), np.zeros_like(start)
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * g * g
        theta = theta - lr * (m / (1 - b1**t)) / (np.sqrt(s / (1 - b2**t)) + eps)
        path.append(theta)
    return np.array(path)


@pytest.mark.equation("optimizers-adam", "optimizers-adam-implemented")
def test_adam_is_the_published_algorithm(engine, prove, rng):
    start, gradients = rng.standard_normal(5), rng.standard_normal((40, 5))
    settings = {"lr": 0.5, "betas": (0.8, 0.95), "eps": 1e-3}
    path = walk(Adam(**settings), start, lambda z, t: gradients[t], 40, engine)
    prove(
        path, literal_adam(start, gradients, **settings),
        oracle="published algorithm", engine=engine.name,
    )


@pytest.mark.equation("optimizers-adam-unrolled")
def test_the_mean_unrolled(engine, prove, rng):
    gradients, beta1 = rng.standard_normal((25, 3)), 0.9
    adam = Adam()
    walk(adam, np.zeros(3), lambda z, t: gradients[t], 25, engine)
    weights = (1 - beta1) * beta1 ** np.arange(24, -1, -1)
    prove(adam.state()["mean/theta"], weights @ gradients, oracle="closed form", engine=engine.name)


@pytest.mark.equation("optimizers-adam-bias")
@pytest.mark.parametrize("steps", [1, 3, 30])
def test_the_bias_is_a_geometric_sum(engine, prove, steps):
    """Averages of gradients that never change: both hold the share 1 − βᵗ of the truth."""
    g, adam = np.array([3.0, -0.5]), Adam(betas=(0.9, 0.99))
    walk(adam, np.zeros(2), lambda z, t: g, steps, engine)
    state = adam.state()
    prove(
        ((1 - 0.9**steps) * g, (1 - 0.99**steps) * g**2),
        (state["mean/theta"], state["square/theta"]),
        oracle="measured on a run", engine=engine.name,
    )
    total = sum((1 - 0.9) * 0.9 ** (steps - i) for i in range(1, steps + 1))
    prove(np.array(1 - 0.9**steps), np.array(total), oracle="sum term by term")


@pytest.mark.equation("optimizers-adam-first")
def test_first_step_of_adam(engine, prove):
    g, lr, eps = np.array([1e6, -1e-3, 2.0]), 0.01, 1e-4
    path = walk(Adam(lr, eps=eps), np.zeros(3), lambda z, t: g, 1, engine)
    prove(path[1], -lr * g / (np.abs(g) + eps), oracle="closed form", engine=engine.name)
    np.testing.assert_allclose(path[1] / -lr, np.sign(g), rtol=0.1)


@pytest.mark.equation("optimizers-adam-scale")
def test_adam_does_not_notice_the_units(engine, prove, rng):
    gradients, rho = rng.standard_normal((30, 3)), 1e4
    start = rng.standard_normal(3)
    one = walk(Adam(0.01, eps=1e-5), start, lambda z, t: gradients[t], 30, engine)
    other = walk(
        Adam(0.01, eps=rho * 1e-5), start, lambda z, t: rho * gradients[t], 30, engine
    )
    prove(one, other, oracle="run in other units", engine=engine.name)


# ----------------------------------------------------------------------- weight decay


@pytest.mark.equation("optimizers-decay-sgd")
def test_for_descent_penalty_and_decay_are_one(engine, prove, rng):
    start, lr, strength = rng.standard_normal(4), 0.1, 0.3
    path = walk(SGD(lr, weight_decay=strength), start, on_bowl, 25, engine)
    shrunk = [start]
    for _ in range(25):
        shrunk.append((1 - lr * strength) * shrunk[-1] - lr * SPECTRUM * shrunk[-1])
    prove(path, np.array(shrunk), oracle="decoupled decay", engine=engine.name)


@pytest.mark.equation("optimizers-adam-l2")
def test_for_adam_the_penalty_loses_its_size(engine, prove):
    g, start = np.array([0.5, 0.0, -3.0]), np.array([2.0, 1.0, 1.0])
    lr, eps, moved = 0.01, 1e-8, []
    for strength in (0.01, 1.0):
        path = walk(
            Adam(lr, eps=eps, weight_decay=strength), start, lambda z, t: g, 1, engine
        )
        total = g + strength * start
        prove(
            path[1], start - lr * total / (np.abs(total) + eps),
            oracle="closed form", engine=engine.name,
        )
        moved.append(path[1])
    np.testing.assert_allclose(*moved, atol=1e-6)  # a hundred times the penalty: the same step


@pytest.mark.equation("optimizers-adamw", "optimizers-adamw-shrink")
def test_adamw_shrinks_apart_from_the_gradient(engine, prove, rng):
    start, gradients = rng.standard_normal(3), rng.standard_normal((20, 3))
    lr, strength, eps = 0.05, 0.4, 1e-8
    path = walk(
        AdamW(lr, weight_decay=strength), start, lambda z, t: gradients[t], 20, engine
    )
    steps = np.diff(literal_adam(start, gradients, lr, (0.9, 0.999), eps), axis=0)
    expected = [start]
    for step in steps:  # Adam's own steps do not depend on where the weights are
        expected.append((1 - lr * strength) * expected[-1] + step)
    prove(
        path, np.array(expected), label="optimizers-adamw",
        oracle="decay and Adam's steps, apart", engine=engine.name,
    )
    still = walk(AdamW(lr, weight_decay=strength), start, lambda z, t: 0 * z, 20, engine)
    closed = (1 - lr * strength) ** np.arange(21)[:, None] * start
    marched = walk(Adam(lr, weight_decay=strength), start, lambda z, t: 0 * z, 1, engine)
    said = start - lr * strength * start / (strength * np.abs(start) + eps)
    prove(
        (still, marched[1]), (closed, said), label="optimizers-adamw-shrink",
        oracle="closed form", engine=engine.name,
    )


# -------------------------------------------------------------------------- schedules


@pytest.mark.equation("optimizers-noise-floor")
def test_noise_floor(prove):
    """Exact variance of a run: the sum of its squared responses to one unit of noise each."""
    h, lr, sigma, steps = 2.0, 0.3, 0.7, 400
    pulse = walk(SGD(lr), [0.0], lambda z, t: h * z + (sigma if t == 0 else 0.0), steps)[1:, 0]
    floor = lr * sigma**2 / (h * (2 - lr * h))
    assert math.isclose(floor, lr**2 * sigma**2 / (1 - (1 - lr * h) ** 2))
    prove(np.array(floor), np.sum(pulse**2), oracle="responses of a run")


@pytest.mark.equation("optimizers-step-decay")
def test_step_decay(prove):
    schedule = step_decay(0.8, every=5, factor=0.3)
    looped, rate = [], 0.8
    for t in range(23):
        if t and t % 5 == 0:
            rate *= 0.3
        looped.append(rate)
    prove(np.array([schedule(t) for t in range(23)]), np.array(looped), oracle="drop by drop")


@pytest.mark.equation("optimizers-cosine")
def test_cosine(prove):
    schedule = cosine(0.5, steps=60, warmup=10, final=0.02)
    rates = np.array([schedule(t) for t in range(61)])
    prove(rates[:10], np.linspace(0.05, 0.5, 10), oracle="straight line")
    # cos obeys c(t+1) = 2 cos(π/50) c(t) − c(t−1): the curve without a cosine of t
    wave = [1.0, math.cos(math.pi / 50)]
    for _ in range(49):
        wave.append(2 * wave[1] * wave[-1] - wave[-2])
    prove(rates[10:], 0.02 + 0.24 * (1 + np.array(wave)), oracle="recurrence of the cosine")
    assert rates[10] == 0.5 and schedule(1000) == 0.02 and rates[-1] == pytest.approx(0.02)


@pytest.mark.equation("optimizers-step-decay", "optimizers-cosine")
def test_schedules_against_torch(prove):
    torch = pytest.importorskip("torch")

    def rates_of(make, steps):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
        schedule, rates = make(optimizer), []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return np.array(rates)

    S = torch.optim.lr_scheduler
    pairs = {
        "optimizers-step-decay": (step_decay(0.4, 7, 0.5), lambda o: S.StepLR(o, 7, 0.5)),
        "optimizers-cosine": (
            cosine(0.4, 30, final=0.1), lambda o: S.CosineAnnealingLR(o, 30, eta_min=0.1)
        ),
    }
    for label, (ours, theirs) in pairs.items():
        mine = np.array([ours(t) for t in range(31)])
        prove(mine, rates_of(theirs, 31), oracle="torch", label=label)
    decay = exponential_decay(0.4, 0.9)
    np.testing.assert_allclose(
        [decay(t) for t in range(20)], rates_of(lambda o: S.ExponentialLR(o, 0.9), 20)
    )
    assert constant(0.3)(7) == 0.3


def test_a_schedule_drives_the_steps(engine):
    rates = step_decay(1.0, every=2, factor=0.5)
    optimizer = SGD(rates)
    path = walk(optimizer, [0.0], lambda z, t: np.array([1.0]), 5, engine)
    np.testing.assert_allclose(-np.diff(path[:, 0]), [1.0, 1.0, 0.5, 0.5, 0.25])
    assert optimizer.learning_rate == 0.25 and optimizer.steps == 5
    assert optimizer.settings()["lr"] == "step_decay(lr=1.0, every=2, factor=0.5)"


# --------------------------------------------------------------------------- clipping


@pytest.mark.equation("optimizers-clip")
def test_clipping_is_the_projection(engine, prove, rng):
    from scipy.optimize import minimize

    g = {"a": rng.standard_normal((2, 2)), "b": rng.standard_normal(3)}
    flat = np.concatenate([g["a"].ravel(), g["b"]])
    for radius in (0.5, 10.0):
        nearest = minimize(
            lambda u: 0.5 * np.sum((u - flat) ** 2), x0=0.1 * rng.standard_normal(7),
            jac=lambda u: u - flat, method="SLSQP", options={"ftol": 1e-15, "maxiter": 500},
            constraints={
                "type": "ineq", "fun": lambda u, r=radius: r * r - u @ u, "jac": lambda u: -2 * u
            },
        ).x
        arrays = {k: engine.array(v, dtype="float64") for k, v in g.items()}
        clipped, norm = clip_by_norm(arrays, radius)
        got = np.concatenate([engine.asnumpy(clipped[k]).ravel() for k in "ab"])
        prove(got, nearest, oracle="numerical minimum", engine=engine.name, tol=1e-6)
        assert norm == pytest.approx(np.linalg.norm(flat))
        np.testing.assert_array_equal(engine.asnumpy(arrays["b"]), g["b"])  # not changed


@pytest.mark.equation("optimizers-clip")
def test_clipping_against_torch(prove, rng):
    torch = pytest.importorskip("torch")
    g = {"a": rng.standard_normal((3, 2)), "b": rng.standard_normal(4)}
    leaves = [torch.zeros(v.shape, dtype=torch.float64, requires_grad=True) for v in g.values()]
    for leaf, v in zip(leaves, g.values(), strict=True):
        leaf.grad = torch.tensor(v)
    torch.nn.utils.clip_grad_norm_(leaves, 0.7)  # adds 1e-6 to the norm
    clipped, _ = clip_by_norm(g, 0.7)
    prove([clipped["a"], clipped["b"]], [leaf.grad for leaf in leaves], oracle="torch", tol=1e-5)


def test_norms_beyond_float32(engine):
    big = {"a": engine.array(np.full(4, 1e30)), "b": engine.array(np.zeros((0, 2)))}
    assert global_norm(big) == pytest.approx(2e30, rel=1e-5)
    clipped, norm = clip_by_norm(big, 1.0)
    np.testing.assert_allclose(engine.asnumpy(clipped["a"]), 0.5, rtol=1e-5)
    assert global_norm({"a": engine.array(np.full(4, 1e-30))}) == pytest.approx(2e-30, rel=1e-5)
    assert global_norm({"a": engine.array(np.zeros(3))}) == 0.0
    broken = {"a": engine.array(np.array([np.nan, 1.0]))}
    returned, norm = clip_by_norm(broken, 1.0)
    assert math.isnan(norm) and engine.asnumpy(returned["a"])[1] == 1.0


# ------------------------------------------------------------- torch, step by step


TORCH_CASES = {
    "optimizers-gd": (lambda: SGD(0.05), lambda o, p: o.SGD(p, 0.05)),
    "optimizers-decay-sgd": (
        lambda: SGD(0.05, weight_decay=0.1), lambda o, p: o.SGD(p, 0.05, weight_decay=0.1)
    ),
    "optimizers-momentum": (
        lambda: SGD(0.05, momentum=0.9, weight_decay=0.01),
        lambda o, p: o.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
    ),
    "optimizers-nesterov-implemented": (
        lambda: SGD(0.05, 0.9, nesterov=True), lambda o, p: o.SGD(p, 0.05, 0.9, nesterov=True)
    ),
    "optimizers-adam": (
        lambda: Adam(0.02, (0.85, 0.99), 1e-6), lambda o, p: o.Adam(p, 0.02, (0.85, 0.99), 1e-6)
    ),
    "optimizers-adam-l2": (
        lambda: Adam(0.02, weight_decay=0.1), lambda o, p: o.Adam(p, 0.02, weight_decay=0.1)
    ),
    "optimizers-adamw": (
        lambda: AdamW(0.02, weight_decay=0.1), lambda o, p: o.AdamW(p, 0.02, weight_decay=0.1)
    ),
}  # fmt: skip


@pytest.mark.equation(*TORCH_CASES)
def test_step_by_step_against_torch(engine, prove, rng):
    """Forty steps of a small regression, all parameters after every step, in float64."""
    torch = pytest.importorskip("torch")
    x, y = rng.standard_normal((16, 3)), rng.standard_normal((16, 2))
    begin = {"w": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)}
    for label, (make_ours, make_theirs) in TORCH_CASES.items():
        ours = {k: engine.parameter(v, dtype="float64") for k, v in begin.items()}
        theirs = {k: torch.tensor(v, requires_grad=True) for k, v in begin.items()}
        mine, other = make_ours(), make_theirs(torch.optim, list(theirs.values()))
        path, expected = [], []
        for _ in range(40):
            w, b = (engine.asnumpy(ours[k]) for k in "wb")
            residual = np.tanh(x @ w + b) - y
            slope = residual * (1 - np.tanh(x @ w + b) ** 2) / 16
            grads = {"w": x.T @ slope, "b": slope.sum(axis=0)}
            mine.step(ours, {k: engine.array(v, dtype="float64") for k, v in grads.items()})
            other.zero_grad()
            loss = 0.5 / 16 * ((torch.tanh(torch.tensor(x) @ theirs["w"] + theirs["b"])
                                - torch.tensor(y)) ** 2).sum()
            loss.backward()
            other.step()
            path.append({k: np.array(engine.asnumpy(v)) for k, v in ours.items()})
            expected.append({k: v.detach().numpy().copy() for k, v in theirs.items()})
        prove(path, expected, oracle="torch", engine=engine.name, label=label, tol=1e-9)


# -------------------------------------------------------------------- state, bad input


MAKERS = [
    lambda: SGD(0.1), lambda: SGD(0.1, 0.9), lambda: SGD(0.1, 0.9, nesterov=True),
    lambda: Adam(0.1), lambda: AdamW(cosine(0.1, 40, 5)),
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
def test_state_resumes_to_the_bit(engine, make, rng):
    """Ten steps and ten more equal twenty, in float32, whichever process does the second half."""
    gradients = rng.standard_normal((20, 4)).astype(np.float32)

    def run(optimizer, params, steps):
        for t in steps:
            optimizer.step(params, {"theta": engine.array(gradients[t])})
        return np.array(engine.asnumpy(params["theta"]))

    start = np.arange(4, dtype=np.float32)
    straight = run(make(), {"theta": engine.parameter(start)}, range(20))
    first = make()
    half = run(first, {"theta": engine.parameter(start)}, range(10))
    second = make()
    second.load_state(first.state())
    assert set(second.state()) == set(first.state())  # before any step, too
    resumed = run(second, {"theta": engine.parameter(half)}, range(10, 20))
    np.testing.assert_array_equal(resumed, straight)
    assert first.state()["steps"] == 10 and second.steps == 20


def test_state_is_a_copy(engine):
    optimizer, params = SGD(0.1, 0.9), {"a": engine.parameter(np.ones(2))}
    optimizer.step(params, {"a": engine.array(np.ones(2))})
    state = optimizer.state()
    optimizer.step(params, {"a": engine.array(np.ones(2))})
    np.testing.assert_array_equal(state["velocity/a"], np.ones(2, np.float32))


def test_scalars_and_empty_arrays_are_parameters_too(engine):
    params = {"s": engine.parameter(np.array(2.0)), "e": engine.parameter(np.zeros((0, 3)))}
    grads = {"s": engine.array(np.array(1.0)), "e": engine.array(np.zeros((0, 3)))}
    for optimizer in (SGD(0.5), SGD(0.5, 0.9), Adam(0.5), AdamW(0.5)):
        before = float(engine.asnumpy(params["s"]))
        optimizer.step(params, grads)
        assert float(engine.asnumpy(params["s"])) < before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(-0.1), "SGD: argument `lr` has the value -0.1; expected a number >= 0"),
        (lambda: SGD("fast"), "argument `lr` has the value 'fast'"),
        (lambda: SGD(math.nan), "argument `lr` has the value nan"),
        (lambda: SGD(True), "argument `lr` has the value True"),
        (lambda: SGD(0.1, momentum=1.0), "`momentum` has the value 1.0; expected .* < 1"),
        (lambda: SGD(0.1, nesterov=True), "`nesterov` .* momentum > 0"),
        (lambda: SGD(0.1, weight_decay=-1), "SGD: argument `weight_decay`"),
        (lambda: Adam(betas=0.9), "Adam: argument `betas` .* a pair"),
        (lambda: Adam(betas=(0.9, 1.0)), r"`betas\[1\]` has the value 1.0"),
        (lambda: AdamW(eps=-1e-8), "AdamW: argument `eps`"),
        (lambda: cosine(0.1, steps=0), "cosine: argument `steps`"),
        (lambda: cosine(0.1, steps=10, warmup=10), "`warmup` .* fewer than steps=10"),
        (lambda: step_decay(0.1, every=2.5), "step_decay: argument `every`"),
        (lambda: exponential_decay(0.1, factor=-1), "exponential_decay: argument `factor`"),
        (lambda: constant(math.inf), "constant: argument `lr`"),
        (lambda: clip_by_norm({}, 0.0), "clip_by_norm: argument `max_norm` has the value 0.0"),
        (lambda: clip_by_norm({}, "1"), "clip_by_norm: argument `max_norm`"),
    ],
)
def test_wrong_numbers_are_refused(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_wrong_gradients_move_nothing(engine):
    params = {"a": engine.parameter(np.ones(2)), "b": engine.parameter(np.ones(3))}
    good = {"a": engine.array(np.ones(2)), "b": engine.array(np.ones(3))}
    optimizer = SGD(0.1, 0.9)
    for grads, message in [
        ({"a": good["a"]}, "`grads` has no entry 'b'"),
        (good | {"c": good["a"]}, "`params` has no entry 'c'"),
        (good | {"b": engine.array(np.ones(2))}, r"grads\['b'\]` has shape \(2,\)"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            optimizer.step(params, grads)
    np.testing.assert_array_equal(engine.asnumpy(params["a"]), 1.0)
    assert optimizer.steps == 0


def test_wrong_states_are_refused():
    optimizer = SGD(0.1, 0.9)
    for state, message in [
        ({}, "no entry 'steps'"),
        ({"steps": np.array(1), "mean/a": np.zeros(2)}, "entry 'mean/a'; expected slots: velocity"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            optimizer.load_state(state)
    with pytest.raises(ArgumentError, match="no square of 'a'"):
        Adam().load_state({"steps": np.array(1), "mean/a": np.zeros(2)})
    optimizer.load_state({"steps": np.array(1), "velocity/a": np.zeros(2)})
    with pytest.raises(ArgumentError, match=r"shape \(2,\) of the loaded state"):
        optimizer.step({"a": np.ones(3)}, {"a": np.ones(3)})


def test_a_schedule_that_leaves_the_numbers_is_named():
    optimizer = SGD(lambda step: 0.1 if step < 1 else math.nan)
    params, grads = {"a": np.ones(1)}, {"a": np.ones(1)}
    optimizer.step(params, grads)
    with pytest.raises(ArgumentError, match="`lr` has the value nan at step 1"):
        optimizer.step(params, grads)
    assert "lambda" in optimizer.settings()["lr"]


def test_the_base_has_no_rule():
    with pytest.raises(NotImplementedError):
        Optimizer(0.1).step({"a": np.ones(1)}, {"a": np.ones(1)})
