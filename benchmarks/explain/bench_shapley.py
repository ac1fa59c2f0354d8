"""KernelSHAP beside ``shap`` on one picture of 28×28 pixels, in one process.

Both explain the same network with as many coalitions and no selection of features, once with 49
patches and once with all 784 pixels as players. That they estimate the same is checked first:
apart by no more than the error that ours states. Rounds alternate, the shortest time counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.explain.bench_perturbation import BARS
from benchmarks.peers import best_of

#: players on a side -> coalitions; for the pixels twice as many as there are players, and 2048.
CASES = {"49 patches": (4, 2146), "784 pixels": (1, 3616)}


def measure(rounds: int = 3) -> dict[str, dict[str, Any]]:
    """Milliseconds of each side and their ratios, by case and engine."""
    import shap
    import torch
    from shap.utils._legacy import DenseData

    from lepton_ref.explain import kernel_shap
    from lepton_ref.explain.gradients.models import fashion_model
    from lepton_ref.explain.perturbation import patches

    ours = {name: fashion_model(name) for name in BARS}
    network, x = ours["torch"], ours["torch"].x[:1]
    target = int(network.model.predict(network.images[:1])[0])

    def model(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            batch = torch.tensor(rows.reshape(-1, 1, 28, 28), dtype=torch.float32)
            return network(batch)[:, target].numpy().astype(np.float64)

    table = {}
    for case, (size, samples) in CASES.items():
        players = patches((1, 28, 28), size)
        many = int(players.max()) + 1
        groups = [np.flatnonzero(players.reshape(-1) == i) for i in range(many)]
        empty = np.full((1, 784), network.black)
        data = DenseData(empty, [f"p{i}" for i in range(many)], groups)

        def theirs(data: Any = data, samples: int = samples) -> np.ndarray:
            explainer = shap.KernelExplainer(model, data)
            return explainer.shap_values(
                x.reshape(1, -1), nsamples=samples, l1_reg=0, silent=True
            ).reshape(-1)

        calls: dict[str, Callable[[], Any]] = {
            name: lambda m=m, p=players, s=samples: kernel_shap(
                m, x, target, players=p, baseline=network.black, samples=s
            )
            for name, m in ours.items()
        }
        calls["shap"] = theirs
        found = calls["torch"]().settings
        values, error = found["player_values"][0], found["player_errors"][0]
        # A pixel of a picture's black border is no player for shap, as it equals the baseline.
        score = (values - theirs())[error > 0] / (np.sqrt(2) * error[error > 0])
        assert score.std() < 1.5, f"{case}: apart by {score.std():.2f} times the stated error"
        ms = best_of(calls, rounds)
        for name, bar in BARS.items():
            table[f"KernelSHAP, {case}, {samples} coalitions, {name}"] = {
                "peer": "shap", "ours_ms": round(ms[name], 1), "peer_ms": round(ms["shap"], 1),
                "ratio": round(ms[name] / ms["shap"], 2), "bar": bar,
                "difference": f"{score.std():.2f} stated errors",
            }  # fmt: skip
    return table
