"""What to expect of a sweep before it runs: its time, its cost, its faults.

Source: Young (1974), *A first order approximation to the optimum checkpoint interval*; Daly
(2006), *A higher order estimate of the optimum checkpoint interval for restart dumps*.
"""

from __future__ import annotations

import math

from lepton_ref.framework.errors import ArgumentError


def makespan(runs: int, seconds: float, workers: int, start: float = 0.0) -> float:
    """Time of R equal runs on w workers, each run with a start of c.

    T = ⌈R / w⌉ (c + s)   (eq. sweeps-makespan)

    Parameters
    ----------
    runs, workers : int
    seconds, start : float
        Of the cells of one run, and of its kernel before them.

    Returns
    -------
    float
        Seconds.
    """
    _positive("makespan", runs=runs, workers=workers)
    _not_negative("makespan", seconds=seconds, start=start)
    return math.ceil(runs / workers) * (start + seconds)


def collision_bound(runs: float, bits: int) -> float:
    """Bound on the chance that two of n runs get one name of b bits.

    P ≤ n (n − 1) / 2^(b+1)   (eq. sweeps-collision)
    """
    _positive("collision_bound", runs=runs, bits=bits)
    return runs * (runs - 1) / 2.0 ** (bits + 1)


def expected_attempts(fault: float, budget: int) -> float:
    """Attempts at a run when each fails with chance q and at most k + 1 are made.

    E[A] = (1 − q^(k+1)) / (1 − q)   (eq. sweeps-attempts)
    """
    _chance("expected_attempts", fault)
    _not_negative("expected_attempts", budget=budget)
    return (1 - fault ** (budget + 1)) / (1 - fault)


def chance_of_success(fault: float, budget: int) -> float:
    """Chance that a run is complete within its budget of k further attempts.

    P = 1 − q^(k+1)   (eq. sweeps-success)
    """
    _chance("chance_of_success", fault)
    _not_negative("chance_of_success", budget=budget)
    return 1 - fault ** (budget + 1)


def time_without_checkpoints(seconds: float, rate: float, restart: float = 0.0) -> float:
    """Expected time of a run of s seconds on a machine that goes at rate λ, from zero each time.

    E[T] = (e^(λ s) − 1) (1/λ + r)   (eq. sweeps-preempted)

    Parameters
    ----------
    seconds : float
    rate : float
        Preemptions per second.
    restart : float
        Seconds from one machine to the next; no preemption then.
    """
    _not_negative("time_without_checkpoints", seconds=seconds, rate=rate, restart=restart)
    if rate == 0:
        return seconds
    return math.expm1(rate * seconds) * (1 / rate + restart)


def time_with_checkpoints(
    seconds: float, rate: float, interval: float, save: float = 0.0, restart: float = 0.0
) -> float:
    """The same with a checkpoint of δ seconds after each τ seconds of work.

    E[T] = (s / τ) (e^(λ(τ + δ)) − 1) (1/λ + r)   (eq. sweeps-checkpointed)

    ``seconds`` is taken to be a whole number of intervals.
    """
    _positive("time_with_checkpoints", interval=interval)
    _not_negative("time_with_checkpoints", save=save)
    return seconds / interval * time_without_checkpoints(interval + save, rate, restart)


def best_interval(rate: float, save: float) -> float:
    """The interval between checkpoints that costs least, to first order.

    τ* = √(2 δ / λ)   (eq. sweeps-young)
    """
    _positive("best_interval", rate=rate, save=save)
    return math.sqrt(2 * save / rate)


def _positive(where: str, **given: float) -> None:
    for name, value in given.items():
        if not value > 0 or not math.isfinite(value):
            raise ArgumentError(where, name, f"the value {value!r}", "a number above 0")


def _not_negative(where: str, **given: float) -> None:
    for name, value in given.items():
        if not value >= 0 or not math.isfinite(value):
            raise ArgumentError(where, name, f"the value {value!r}", "a number of 0 or more")


def _chance(where: str, fault: float) -> None:
    if not 0 <= fault < 1:
        raise ArgumentError(where, "fault", f"the value {fault!r}", "a number in [0, 1)")
