"""The formulas of the page against simulations, enumerations and other derivations."""

from __future__ import annotations

import heapq
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, optimize

from lepton_ref.cloud.sweeps import expectations as e
from lepton_ref.cloud.sweeps.identity import DIGITS
from lepton_ref.cloud.sweeps.prices import Price, estimate
from lepton_ref.framework.errors import ArgumentError


@pytest.mark.equation("sweeps-makespan")
@pytest.mark.parametrize(("runs", "workers"), [(1, 4), (7, 2), (64, 2), (10, 10), (11, 10)])
def test_makespan_is_that_of_a_queue(prove, runs: int, workers: int) -> None:
    free = [0.0] * workers
    for _ in range(runs):
        heapq.heappush(free, heapq.heappop(free) + 0.25 + 1.5)
    prove(e.makespan(runs, 1.5, workers, 0.25), max(free), oracle="simulated queue", tol=1e-12)


@pytest.mark.equation("sweeps-warm")
@pytest.mark.parametrize("seconds", [0.05, 1.0, 40.0])
def test_what_warm_starts_gain(prove, seconds: float) -> None:
    cold, warm, runs, workers = 1.1, 0.1, 240, 2
    gain = e.makespan(runs, seconds, workers, cold) / e.makespan(runs, seconds, workers, warm)
    prove(gain, 1 + (cold - warm) / (warm + seconds), oracle="closed form", tol=1e-12)


@pytest.mark.equation("sweeps-cost")
@pytest.mark.parametrize(("runs", "slots", "each"), [(10, 3, 2), (64, 16, 4), (5, 9, 1)])
def test_cost_is_what_the_bills_of_the_machines_come_to(prove, runs, slots, each) -> None:
    machine = Price(
        "m", "c", "r", float(each), 2**30, "", 0, 1.5, None, "EUR", "", None, 60.0, 300.0
    )
    seconds, start = 95.0, 180.0
    # One machine after the other: waves that it takes part in, then its bill by the minute.
    together = min(slots, runs)
    waves = sum(1 for _ in range(0, runs, together))
    bills = []
    for _ in range(0, together, each):
        up = start + waves * seconds
        minutes = 0
        while minutes * 60 < up:
            minutes += 1
        bills.append(max(minutes, 5) / 60 * 1.5)
    found = estimate(runs, seconds, machine, slots, startup_seconds=start)
    prove(found.cost, sum(bills), oracle="bill by bill", tol=1e-12)


@pytest.mark.equation("sweeps-collision")
@pytest.mark.parametrize(("runs", "bits"), [(5, 8), (30, 16), (200, 24)])
def test_collision_bound_holds_and_is_tight(prove, runs: int, bits: int) -> None:
    apart = Fraction(1)
    for k in range(runs):
        apart *= 1 - Fraction(k, 2**bits)
    exact, bound = float(1 - apart), e.collision_bound(runs, bits)
    assert exact <= bound
    # The union bound counts triple coincidences more than once: half the square, at most.
    prove(bound, exact, oracle="exact product", tol=0.51 * bound)


def test_a_million_runs_hardly_ever_share_a_name() -> None:
    assert e.collision_bound(1e6, 4 * DIGITS) < 1e-12


@pytest.mark.equation("sweeps-attempts", "sweeps-success")
@pytest.mark.parametrize(("fault", "budget"), [(0.0, 3), (0.2, 0), (0.3, 3), (0.9, 12)])
def test_attempts_and_success_by_enumeration(prove, fault: float, budget: int) -> None:
    """Every history: so many faults, then a success; or nothing but faults."""
    histories = [(k + 1, fault**k * (1 - fault), True) for k in range(budget + 1)]
    histories.append((budget + 1, fault ** (budget + 1), False))
    assert sum(p for _, p, _ in histories) == pytest.approx(1)
    mean = sum(n * p for n, p, _ in histories)
    good = sum(p for _, p, well in histories if well)
    label = {"oracle": "sum over all histories", "tol": 1e-12}
    prove(e.expected_attempts(fault, budget), mean, label="sweeps-attempts", **label)
    prove(e.chance_of_success(fault, budget), good, label="sweeps-success", **label)


def renewal(seconds: float, rate: float, restart: float) -> float:
    """E[T] from its own equation: survive, or lose what was done and begin again.

    E = e^(−λs) s + ∫₀ˢ λ e^(−λt) (t + r + E) dt, solved for E with the integral done numerically.
    """
    survive = np.exp(-rate * seconds)
    lost, _ = integrate.quad(lambda t: rate * np.exp(-rate * t) * (t + restart), 0, seconds)
    return (survive * seconds + lost) / survive


@pytest.mark.equation("sweeps-preempted")
@pytest.mark.parametrize(
    ("seconds", "rate", "restart"), [(3600, 1 / 7200, 0), (600, 1e-3, 120), (100, 1e-3, 30)]
)
def test_time_without_checkpoints(prove, seconds, rate, restart) -> None:
    found = e.time_without_checkpoints(seconds, rate, restart)
    exact = renewal(seconds, rate, restart)
    prove(found, exact, oracle="renewal equation, integrated", tol=1e-9)
    rng = np.random.default_rng(0)
    drawn = np.zeros(20_000)
    open_runs = np.arange(drawn.size)
    while open_runs.size:
        until = rng.exponential(1 / rate, open_runs.size)
        failed = until < seconds
        drawn[open_runs] += np.where(failed, until + restart, seconds)
        open_runs = open_runs[failed]
    error = drawn.std() / drawn.size**0.5
    assert abs(drawn.mean() - found) < 5 * error + 1e-9


def test_a_machine_that_stays_costs_its_work() -> None:
    assert e.time_without_checkpoints(100.0, 0.0) == 100.0


@pytest.mark.equation("sweeps-checkpointed")
@pytest.mark.parametrize(("interval", "save"), [(60, 0), (300, 5), (1800, 30)])
def test_time_with_checkpoints_is_that_of_its_pieces(prove, interval, save) -> None:
    seconds, rate, restart = 3600, 1 / 1800, 90
    found = e.time_with_checkpoints(seconds, rate, interval, save, restart)
    pieces = [renewal(interval + save, rate, restart) for _ in range(seconds // interval)]
    prove(found, sum(pieces), oracle="renewal equation, piece by piece", tol=1e-9)


@pytest.mark.equation("sweeps-young")
@pytest.mark.parametrize(("rate", "save"), [(1e-6, 1.0), (1e-7, 10.0)])
def test_youngs_interval_is_nearly_the_best(prove, rate: float, save: float) -> None:
    """To first order in λτ, which is 1e-3 here; the exact minimum is a little below."""
    young = e.best_interval(rate, save)
    exact = optimize.minimize_scalar(
        lambda log_tau: e.time_with_checkpoints(1.0, rate, float(np.exp(log_tau)), save),
        bounds=(np.log(young) - 2, np.log(young) + 2),
        method="bounded",
        options={"xatol": 1e-9},
    )
    prove(young, float(np.exp(exact.x)), oracle="numerical minimum", tol=2e-3)


@pytest.mark.equation("sweeps-spot")
def test_when_spot_is_worth_it(prove) -> None:
    """Simulated bills: at the break-even discount both machines cost the same."""
    seconds, rate, interval, save, restart = 7200.0, 1 / 3600, 600.0, 5.0, 120.0
    rng, runs = np.random.default_rng(1), 20_000
    up = np.zeros(runs)
    for _ in range(round(seconds / interval)):
        unfinished = np.arange(runs)
        while unfinished.size:
            machine = rng.exponential(1 / rate, unfinished.size)
            lost = machine < interval + save
            up[unfinished] += np.where(lost, machine + restart, interval + save)
            unfinished = unfinished[lost]
    on_demand = 1.5 / 3600 * seconds
    break_even = on_demand / (1.5 / 3600 * up).mean()
    derived = seconds / e.time_with_checkpoints(seconds, rate, interval, save, restart)
    assert up.std() / up.mean() / runs**0.5 < 0.002  # a fifth of the tolerance
    prove(derived, break_even, oracle="simulated bills", tol=0.01)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: e.makespan(0, 1, 1), "runs"),
        (lambda: e.makespan(1, -1, 1), "seconds"),
        (lambda: e.collision_bound(2, 0), "bits"),
        (lambda: e.expected_attempts(1.0, 3), "fault"),
        (lambda: e.chance_of_success(0.5, -1), "budget"),
        (lambda: e.time_without_checkpoints(1, -1), "rate"),
        (lambda: e.time_with_checkpoints(1, 1, 0), "interval"),
        (lambda: e.best_interval(float("nan"), 1), "rate"),
    ],
)
def test_bad_numbers_are_refused_by_name(call, name: str) -> None:
    with pytest.raises(ArgumentError, match=f"argument `{name}`"):
        call()


def test_the_figures_in_the_running_text_are_those_of_the_formulas() -> None:
    page = Path(__file__).parents[2] / "book" / "cloud" / "sweeps.md"
    text = " ".join(page.read_text(encoding="utf-8").split())
    power = round(e.collision_bound(1e6, 80) * 1e13)
    hour, five = (e.time_without_checkpoints(h * 3600.0, 1 / 3600) for h in (1, 5))
    for said in (
        f"that is ${power} \\cdot 10^{{-13}}$",
        f"takes {e.expected_attempts(0.2, 3):.2f} attempts",
        f"with chance {e.chance_of_success(0.2, 3):.4f}",
        f"takes {hour / 3600:.1f} hours",
        f"takes {('', 'one', 'two', 'three', 'four', 'five', 'six')[round(five / 86400)]} days",
        f"belongs every {e.best_interval(1 / 3600, 1.0):.0f} seconds",
    ):
        assert said in text, said
    assert round(500 * (1 - e.chance_of_success(0.2, 3))) == 1, "one of 500 is still expected"
