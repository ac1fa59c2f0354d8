"""Learning-rate schedules: the rate as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.optimizers.checks import require_count, require_number


@dataclass(frozen=True)
class Schedule:
    """A learning rate as a function of the step, which can say what it is.

    Called with the number of steps already taken: ``schedule(0)`` is the first step's rate.
    """

    name: str
    settings: Mapping[str, float]
    rule: Callable[[int], float] = field(repr=False, compare=False)

    def __call__(self, step: int) -> float:
        return self.rule(step)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.settings.items())})"


def constant(lr: float) -> Schedule:
    """The same rate at every step."""
    require_number("constant", "lr", lr, 0.0)
    return Schedule("constant", {"lr": lr}, lambda step: lr)


def step_decay(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """Multiply the rate by ``factor`` after each ``every`` steps (eq. optimizers-step-decay)."""
    require_number("step_decay", "lr", lr, 0.0)
    require_count("step_decay", "every", every, 1)
    require_number("step_decay", "factor", factor, 0.0)
    settings = {"lr": lr, "every": every, "factor": factor}
    return Schedule("step_decay", settings, lambda step: lr * factor ** (step // every))


def exponential_decay(lr: float, factor: float) -> Schedule:
    """Multiply the rate by ``factor`` at every step."""
    require_number("exponential_decay", "lr", lr, 0.0)
    require_number("exponential_decay", "factor", factor, 0.0)
    return Schedule(
        "exponential_decay", {"lr": lr, "factor": factor}, lambda step: lr * factor**step
    )


def cosine(lr: float, steps: int, warmup: int = 0, final: float = 0.0) -> Schedule:
    """Rise in a line for ``warmup`` steps, then fall along half a cosine to ``final``.

    After ``steps`` steps the rate stays at ``final`` (eq. optimizers-cosine). Source:
    Loshchilov and Hutter, *SGDR*, 2017, equation 5, without restarts.
    """
    require_number("cosine", "lr", lr, 0.0)
    require_count("cosine", "steps", steps, 1)
    require_count("cosine", "warmup", warmup, 0)
    require_number("cosine", "final", final, 0.0)
    if warmup >= steps:
        raise ArgumentError("cosine", "warmup", f"the value {warmup}", f"fewer than steps={steps}")

    def rule(step: int) -> float:
        if step < warmup:
            return lr * (step + 1) / warmup
        share = min(1.0, (step - warmup) / (steps - warmup))
        return final + 0.5 * (lr - final) * (1.0 + math.cos(math.pi * share))

    settings = {"lr": lr, "steps": steps, "warmup": warmup, "final": final}
    return Schedule("cosine", settings, rule)
