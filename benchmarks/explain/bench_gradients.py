"""Integrated Gradients of one 28×28 picture beside Captum: 64 steps, one process.

The shipped Fashion-MNIST network and a torch module with the same weights; the same midpoints; on
our side the outputs at both ends and the control of the sum are part of the time. Rounds alternate
and the shortest time of each counts; the attributions are compared before anything is timed. It is
no row of the registry in ``benchmarks/rows.py``: that one measures operators.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lepton_ref import explain
from lepton_ref.explain.gradients import fashion_model

BARS = {"torch": 1.2, "numpy": 2.5}
STEPS, TARGET, TOLERANCE = 64, 9, 1e-5


def torch_copy(state: dict[str, np.ndarray]) -> Any:
    """The network of the page vision/classification as a torch module."""
    import torch
    from torch import nn

    copy = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    for i, path in {0: "features.0", 3: "features.3", 7: "features.8", 9: "head"}.items():
        weight = torch.tensor(state[f"{path}.weight"])
        copy[i].weight.data = weight if i < 7 else weight.T.contiguous()
        copy[i].bias.data = torch.tensor(state[f"{path}.bias"])
    return copy.eval()


def tasks() -> dict[str, Callable[[], np.ndarray]]:
    """What is timed, by name; each returns the attributions."""
    import torch
    from captum.attr import IntegratedGradients

    models = {name: fashion_model(name) for name in BARS}
    copy = torch_copy(models["numpy"].model.state())
    picture, black = models["numpy"].x[:1], models["numpy"].black
    method, tensor = IntegratedGradients(copy), torch.tensor(picture)

    def captum() -> np.ndarray:
        found = method.attribute(tensor, black, TARGET, n_steps=STEPS, method="riemann_middle")
        return found.detach().numpy()

    def ours(name: str, control: bool = True) -> np.ndarray:
        return explain.integrated_gradients(
            models[name], picture, TARGET, baseline=black, steps=STEPS, control=control
        ).values

    for name in BARS:
        theirs = captum()
        error = np.abs(ours(name, control=False) - theirs).max() / np.abs(theirs).max()
        if error > TOLERANCE:
            raise AssertionError(f"{name} differs from Captum by {error:.1e} of the largest")
    return {"captum": captum, **{name: lambda name=name: ours(name) for name in BARS}}


def measure(rounds: int = 15) -> dict[str, dict[str, Any]]:
    """Milliseconds of ours and of Captum's and their ratio, by engine."""
    timed, best = tasks(), {}
    for _ in range(rounds):
        for name, task in timed.items():
            task()  # the engine before leaves another's threads spinning
            start = time.perf_counter()
            task()
            best[name] = min(best.get(name, np.inf), time.perf_counter() - start)
    return {
        f"Integrated Gradients, {STEPS} steps, {name}": {
            "peer": "Captum", "ours_ms": round(1e3 * best[name], 2),
            "peer_ms": round(1e3 * best["captum"], 2),
            "ratio": round(best[name] / best["captum"], 2), "bar": bar,
        }
        for name, bar in BARS.items()
    }  # fmt: skip
