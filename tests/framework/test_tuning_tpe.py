"""Proofs of the page framework/tuning: the Parzen estimator and its proposals."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest

from lepton_ref.framework.tuning import (
    Levels,
    Parzen,
    expected_improvement,
    grid,
    parzen,
    sample,
    setting_at,
    tpe_suggest,
    unit_point,
)
from tests.framework.tuning_tools import SPACE, optuna


@pytest.mark.equation("tuning-parzen")
def test_parzen_is_a_density(prove, rng):
    """It integrates to one over the square, however near its bells are to the edge."""
    estimate = parzen(rng.random((5, 2)) * [1.0, 0.1])
    nodes, weights = np.polynomial.legendre.leggauss(80)
    nodes, weights = (nodes + 1) / 2, weights / 2
    square = np.array(list(itertools.product(nodes, nodes)))
    mass = np.sum(np.outer(weights, weights).ravel() * estimate.density(square))
    prove(1.0, mass, oracle="numerical integration")


@pytest.mark.equation("tuning-parzen")
def test_parzen_far_from_the_edges_is_a_kernel_density_estimate(prove):
    """With equal, narrow widths and nothing cut off, SciPy's estimate."""
    from scipy.stats import gaussian_kde

    points = np.array([0.40, 0.47, 0.52, 0.61])
    kernel = gaussian_kde(points, bw_method=0.02 / points.std(ddof=1))
    narrow = Parzen(points[:, None], np.full((4, 1), 0.02))
    x = np.linspace(0.3, 0.7, 41)
    prove(narrow.density(x[:, None]), kernel(x), oracle="scipy.stats.gaussian_kde")


@pytest.mark.equation("tuning-parzen")
def test_parzen_bell_by_bell(prove):
    """Centres, widths and truncation written out with SciPy for three points."""
    from scipy.stats import truncnorm

    points, least = [0.9, 0.1, 0.3], 1 / 5
    widths = [max(0.6, 0.1), max(0.1, 0.2), max(0.2, 0.6)]
    bells = [*zip(points, np.maximum(widths, least)), (0.5, 1.0)]
    x = np.linspace(0, 1, 21)
    said = np.mean([truncnorm.pdf(x, -c / w, (1 - c) / w, c, w) for c, w in bells], axis=0)
    prove(
        parzen(np.array(points)[:, None]).density(x[:, None]), said, oracle="scipy.stats.truncnorm"
    )


@pytest.mark.equation("tuning-parzen")
@pytest.mark.parametrize("k", [0, 1, 6])
def test_parzen_is_optunas(prove, rng, k):
    library = optuna()
    from optuna.samplers._tpe.parzen_estimator import (
        _ParzenEstimator,
        _ParzenEstimatorParameters,
    )

    options = {
        "prior_weight": 1.0, "consider_magic_clip": True, "consider_endpoints": True,
        "weights": np.ones, "multivariate": True,
    }  # fmt: skip
    names = ["a", "b"]
    points, x = rng.random((k, 2)), rng.random((30, 2))
    theirs = _ParzenEstimator(
        {name: points[:, i] for i, name in enumerate(names)},
        {name: library.distributions.FloatDistribution(0.0, 1.0) for name in names},
        _ParzenEstimatorParameters(**options),
    )
    density = np.exp(theirs.log_pdf({name: x[:, i] for i, name in enumerate(names)}))
    prove(parzen(points).density(x), density, oracle="optuna")


def test_samples_follow_the_density(rng):
    """Kolmogorov's distance of 4,000 samples from the distribution function."""
    estimate = parzen(np.array([[0.02], [0.7], [0.75]]))
    drawn = np.sort(estimate.sample(4000, rng)[:, 0])
    assert drawn[0] >= 0 and drawn[-1] <= 1
    fine = np.linspace(0, 1, 20_001)
    function = np.cumsum(estimate.density(fine[:, None])) / 20_001
    distance = np.abs(np.interp(drawn, fine, function) - np.arange(1, 4001) / 4000).max()
    assert distance < 1.63 / math.sqrt(4000)  # one sample in a hundred lies farther off


def two_densities():
    from scipy.stats import norm

    return (lambda x: norm.pdf(x, 0.3, 0.1)), (lambda x: norm.pdf(x, 0.6, 0.3))


@pytest.mark.equation("tuning-tpe-posterior", "tuning-tpe-ei")
def test_expected_improvement_by_integration(prove):
    """EI from its definition, with losses of a logistic law, at a dozen settings."""
    from scipy.integrate import quad
    from scipy.stats import logistic

    good, bad = two_densities()
    gamma = 0.2
    best = logistic.ppf(gamma)  # y*: a share gamma of the losses lies below
    x = np.linspace(0.05, 0.95, 12)

    def joint(y, at):  # p(x | y) p(y)
        return (good(at) if y < best else bad(at)) * logistic.pdf(y)

    improvement, chance = [], []
    for at in x:
        pieces = [quad(joint, a, b, args=(at,))[0] for a, b in ((-60, best), (best, 60))]
        gain = quad(lambda y, at=at: (best - y) * joint(y, at), -60, best)[0]
        improvement.append(gain / sum(pieces))
        chance.append(pieces[0] / sum(pieces))
    said = gamma * expected_improvement(good(x), bad(x), gamma)
    where = {"oracle": "numerical integration"}
    prove(said, np.array(chance), label="tuning-tpe-posterior", **where)
    gain = quad(lambda y: (best - y) * logistic.pdf(y), -60, best)[0] / gamma
    prove(said * gain, np.array(improvement), label="tuning-tpe-ei", **where)
    assert np.array_equal(np.argsort(said), np.argsort(good(x) / bad(x)))


def bowl(setting):
    return (math.log10(setting["lr"]) + 2.5) ** 2 + 40 * (setting["dropout"] - 0.1) ** 2


def searched(seed, n=40):
    rng, settings, losses = np.random.default_rng(seed), [], []
    for _ in range(n):
        settings.append(tpe_suggest(SPACE, settings, losses, rng))
        losses.append(bowl(settings[-1]))
    return losses


def test_tpe_closes_in_on_the_bottom_of_a_bowl():
    """Medians over 15 searches of 40: against random search, and late against early."""
    ours = np.array([searched(seed) for seed in range(15)])
    lucky = [min(map(bowl, sample(SPACE, 40, np.random.default_rng(s)))) for s in range(15)]
    assert np.median(ours.min(axis=1)) < np.median(lucky) / 2
    assert np.median(ours[:, -10:]) < np.median(ours[:, :6]) / 4


def test_tpe_suggests_what_a_hand_would(rng):
    """Best candidate by l/g of all that were drawn, with the same generator."""
    settings = sample(SPACE, 12, rng)
    losses = [bowl(s) for s in settings]
    said = tpe_suggest(SPACE, settings, losses, np.random.default_rng(5), gamma=0.25)
    points = np.array([unit_point(SPACE, s) for s in settings])[np.argsort(losses)]
    l, g = parzen(points[:3]), parzen(points[3:])
    drawn = [setting_at(SPACE, u) for u in l.sample(24, np.random.default_rng(5))]
    x = np.array([unit_point(SPACE, s) for s in drawn])
    assert said == drawn[np.argmax(l.density(x) / g.density(x))]


def test_tpe_tries_no_level_twice_and_puts_failures_last():
    space = {"a": Levels((1, 2, 3)), "b": Levels((1, 2))}
    rng, settings = np.random.default_rng(0), grid(space, {"a": 3, "b": 2})[:5]
    losses = [math.nan, 1.0, 2.0, math.inf, 0.5]
    for _ in range(10):
        assert tpe_suggest(space, settings, losses, rng, startup=1) == {"a": 3, "b": 2}
    again = tpe_suggest(space, [*settings, {"a": 3, "b": 2}], [*losses, 0.1], rng, startup=1)
    assert again in grid(space, {"a": 3, "b": 2})  # all are taken: one comes again


# -------------------------------------------------------------- the listing of the page


def test_the_listing_with_optuna_runs():
    library = optuna()
    page = Path(__file__).parents[2] / "book" / "framework" / "tuning.md"
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        if "import optuna" in block and "assert" not in block
    ]
    reported = []

    def train(lr, hidden_size, epochs):
        for epoch in range(1, epochs + 1):
            reported.append(epoch)
            yield epoch, (math.log10(lr) + 2) ** 2 + 1 / (epoch * hidden_size)

    names = {"train": train}
    exec(code, names)
    study = names["study"]
    states = {t.state for t in study.trials}
    assert {library.trial.TrialState.COMPLETE, library.trial.TrialState.PRUNED} <= states
    assert len(reported) < 8 * len(study.trials) and study.best_value < 1
