"""Proofs of the page framework/tuning: successive halving, Hyperband, ASHA."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lepton_ref.framework.tuning import (
    Rung,
    cost,
    hyperband_brackets,
    promote,
    rungs,
    safe_envelope,
    successive_halving,
)
from tests.framework.tuning_tools import optuna


def test_the_schedule():
    assert rungs(27, 1, 9) == [(27, 1), (9, 3), (3, 9)]
    assert rungs(5, 2, 100, 2) == [(5, 2), (2, 4), (1, 8)]
    assert rungs(1, 4, 4) == [Rung(1, 4)]


@pytest.mark.equation("tuning-halving-budget", "tuning-halving-resumed")
@pytest.mark.parametrize(("n", "factor", "steps"), [(27, 3, 2), (32, 2, 3), (64, 4, 3)])
def test_budget_counted_epoch_by_epoch(prove, n, factor, steps):
    """Run it, and count what `evaluate` is asked for, from scratch and going on."""
    r, scratch, resumed, done = 2, 0, 0, dict.fromkeys(range(n), 0)

    def evaluate(i, resource):
        nonlocal scratch, resumed
        scratch, resumed = scratch + resource, resumed + resource - done[i]
        done[i] = resource
        return float(i)

    successive_halving(evaluate, n, r, r * factor**steps, factor)
    where = {"oracle": "epochs counted"}
    prove(n * r * (steps + 1.0), float(scratch), label="tuning-halving-budget", **where)
    said = n * r * (1 + steps * (1 - 1 / factor))
    prove(said, float(resumed), label="tuning-halving-resumed", **where)
    schedule = rungs(n, r, r * factor**steps, factor)
    assert (cost(schedule), cost(schedule, resume=True)) == (scratch, resumed)


def test_rounding_never_costs_more():
    for n, factor, steps in itertools.product(range(1, 60), (2, 3, 4), range(4)):
        schedule = rungs(n, 3, 3 * factor**steps, factor)
        assert cost(schedule) <= n * 3 * (steps + 1)
        assert cost(schedule, resume=True) <= cost(schedule)


def curves(finals, envelope):
    """The worst intermediate losses for setting 0: it looks bad, all others look good."""
    return np.where(np.arange(len(finals)) == 0, finals + envelope, finals - envelope)


@pytest.mark.equation("tuning-halving-survival")
@pytest.mark.parametrize(("n", "factor"), [(9, 3), (12, 4), (20, 2)])
def test_how_wrong_a_rung_may_be(prove, rng, n, factor):
    """Bisect the envelope at which an adversary gets the best setting dropped."""
    finals = np.sort(rng.random(n))
    keep = n // factor

    def dropped(envelope):
        shown = curves(finals, envelope)
        done = successive_halving(lambda i, r: shown[i], n, 1, factor, factor)
        return 0 not in done.numbers[1]

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if dropped(middle) else (middle, high)
    prove(safe_envelope(finals, keep), high, oracle="adversary, by bisection")


def test_within_the_envelope_nobody_can_drop_the_best(rng):
    """Random curves within bounds that shrink from rung to rung: 300 runs, none lost."""
    schedule = rungs(27, 1, 9)
    for _ in range(300):
        finals = np.sort(rng.random(27))
        bounds = {}
        left = np.arange(27)  # who is left is unknown beforehand: the worst case is the best few
        for rung, after in itertools.pairwise(schedule):
            bounds[rung.resource] = 0.999 * safe_envelope(finals[left[: rung.size]], after.size)
        bounds[schedule[-1].resource] = 0.999 * (finals[1] - finals[0]) / 2
        order = rng.permutation(27)

        def evaluate(i, r, finals=finals, bounds=bounds, order=order):
            return finals[order[i]] + bounds[r] * rng.uniform(-1, 1)

        assert order[successive_halving(evaluate, 27, 1, 9).best] == 0


def test_a_late_bloomer_is_lost():
    """It is last after one epoch and first after nine."""

    def loss(i, epochs):
        return 1.0 / epochs**2 if i == 8 else 0.5 + 0.01 * i - 0.01 * epochs

    late = successive_halving(loss, 9, 1, 9)
    assert loss(8, 9) == min(loss(i, 9) for i in range(9)) and late.best == 0
    assert successive_halving(loss, 9, 9, 9).best == 8


def test_failures_lose_and_ties_keep_their_order():
    shown = [math.nan, math.inf, 2.0, 1.0, 1.0, -math.inf]
    done = successive_halving(lambda i, r: shown[i], 6, 1, 3, 2)
    assert done.numbers[1].tolist() == [5, 3, 4] and done.best == 5
    assert [len(x) for x in done.losses] == [6, 3]
    assert successive_halving(lambda i, r: math.nan, 3, 1, 1).best == 0


@pytest.mark.equation("tuning-hyperband")
def test_the_published_brackets(prove):
    """Table 1 of Li et al. (2018): R = 81, factor 3, from s = 4 to s = 0."""
    published = [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(34, 3), (11, 9), (3, 27), (1, 81)],
        [(15, 9), (5, 27), (1, 81)],
        [(8, 27), (2, 81)],
        [(5, 81)],
    ]
    brackets = hyperband_brackets(81)
    assert brackets == published
    prove(
        [float(b[0].size) for b in brackets], [81.0, 34.0, 15.0, 8.0, 5.0], oracle="Li et al. 2018"
    )


@pytest.mark.equation("tuning-hyperband")
def test_brackets_share_the_budget_equally(prove):
    """The least n whose bracket, all rungs in full, uses at least (s_max + 1) R."""
    for largest, factor in ((8, 2), (81, 3), (64, 4)):
        most = round(math.log(largest, factor))
        found = []
        for s in range(most, -1, -1):
            n = 1
            while n * (s + 1) * largest < (most + 1) * largest * factor**s:
                n += 1
            found.append(float(n))
        said = [float(b[0].size) for b in hyperband_brackets(largest, factor)]
        prove(said, found, oracle="search for the least n")


@pytest.mark.equation("tuning-hyperband")
def test_brackets_are_optunas(prove):
    library = optuna()
    for largest, factor in ((81, 3), (16, 2), (50, 4)):
        theirs = library.pruners.HyperbandPruner(1, largest, factor)
        theirs._try_initialization(library.create_study())
        sizes = [float(b[0].size) for b in hyperband_brackets(largest, factor)]
        prove(sizes, [float(n) for n in theirs._trial_allocation_budgets], oracle="optuna")


def test_whole_logarithms_are_whole():
    assert len(hyperband_brackets(243)) == 6  # floor(log(243, 3)) is 4 in floating point
    assert hyperband_brackets(1) == [[(1, 1)]]
    assert [b[0].resource for b in hyperband_brackets(50, 4)] == [3, 12, 50]
    assert [cost(b) for b in hyperband_brackets(8, 2)] == [32] * 4


def test_promotion_counts_the_setting_itself():
    assert promote(2.0, [1, 4, 5, 6, 7], 3)  # the second of six: two places
    assert not promote(3.0, [1, 2, 4, 5, 6], 3)  # the third of six
    assert not promote(2.0, [1, 4, 5, 6], 3)  # the second of five: one place
    assert promote(1.0, [], 3) and promote(1.0, [2.0], 3) and not promote(3.0, [2.0], 3)
    assert not promote(math.nan, [], 3)


@pytest.mark.parametrize("factor", [2, 3])
def test_promotion_is_optunas(rng, factor):
    """120 settings report after each epoch; Optuna's pruner and ours stop the same ones."""
    library = optuna()
    pruner = library.pruners.SuccessiveHalvingPruner(1, factor)
    study = library.create_study(pruner=pruner)
    seen: dict[int, list[float]] = {}
    stopped = []
    for _ in range(120):
        trial, ours = study.ask(), True
        losses = rng.random(9)
        losses[0] = math.nan if rng.random() < 0.05 else losses[0]
        for epoch, loss in enumerate(losses, 1):
            trial.report(loss, epoch)
            if round(math.log(epoch, factor), 9) % 1 == 0:  # a rung: 1, c, c², ...
                ours = promote(loss, seen.setdefault(epoch, []), factor)
                if not math.isnan(loss):
                    seen[epoch].append(loss)
            assert trial.should_prune() is not ours
            if not ours:
                break
        stopped.append(epoch)
        state = library.trial.TrialState.COMPLETE if ours else library.trial.TrialState.PRUNED
        study.tell(trial, loss if ours else None, state=state)
    assert len(set(stopped)) >= 3
