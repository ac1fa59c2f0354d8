"""Occlusion beside Captum on one picture of 28×28 pixels, in one process.

Both explain the same network with the same weights; their maps are compared before anything is
timed. Captum is measured at its default and with as many windows at a time as suit it best. Rounds
alternate, the shortest time of each counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import best_of

BARS = {"torch": 1.0, "numpy": 2.5}
CASES = {"occlusion, 4×4 in steps of 2": (4, 2), "occlusion, 1×1": (1, 1)}
TOLERANCE = 1e-5
AT_ONCE = (64, 256, 784)


def measure(rounds: int = 7) -> dict[str, dict[str, Any]]:
    """Milliseconds of each side and their ratios, by case and engine."""
    import torch
    from captum.attr import Occlusion

    from lepton_ref.explain import occlusion
    from lepton_ref.explain.gradients.models import fashion_model

    ours = {name: fashion_model(name) for name in BARS}
    network, x = ours["torch"], ours["torch"].x[:1]
    target, peer = int(network.model.predict(network.images[:1])[0]), Occlusion(network)

    def captum(window: int, stride: int, at_once: int) -> Any:
        with torch.no_grad():
            return peer.attribute(
                torch.tensor(x), target=target, baselines=network.black,
                sliding_window_shapes=(1, window, window), strides=(1, stride, stride),
                perturbations_per_eval=at_once,
            )  # fmt: skip

    table = {}
    for case, (window, stride) in CASES.items():
        calls: dict[str, Callable[[], Any]] = {
            name: lambda model=model, w=window, s=stride: occlusion(
                model, x, target, window=w, stride=s, baseline=network.black
            )
            for name, model in ours.items()
        }
        for many in AT_ONCE:
            calls[f"captum, {many} at once"] = lambda w=window, s=stride, m=many: captum(w, s, m)
        calls["captum, default"] = lambda w=window, s=stride: captum(w, s, 1)
        map_of_theirs = calls["captum, default"]().numpy()
        gap = max(float(np.abs(calls[name]().values - map_of_theirs).max()) for name in ours)
        assert gap <= TOLERANCE, f"{case}: maps differ by {gap}"
        ms = best_of(calls, rounds)
        fastest = min(t for name, t in ms.items() if name.startswith("captum"))
        for name, bar in BARS.items():
            table[f"{case}, {name}"] = {
                "peer": "Captum", "ours_ms": round(ms[name], 2), "peer_ms": round(fastest, 2),
                "peer_default_ms": round(ms["captum, default"], 2),
                "ratio": round(ms[name] / fastest, 2), "bar": bar, "difference": gap,
            }  # fmt: skip
    return table
