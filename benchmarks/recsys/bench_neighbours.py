"""Neighbours beside Surprise: fit and predict one fold of MovieLens 100K, in one process.

Both libraries get the same rows in the same order. Rounds alternate, the shortest time of each
counts, and the predictions are compared before anything is timed. It is no row of the registry in
``benchmarks/rows.py``: that one measures operators against torch on an environment with nothing
but NumPy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lepton_ref.recsys.evaluation import Ratings, folds, movielens
from lepton_ref.recsys.neighbours import NearestNeighbours

BAR = 0.3
TOLERANCE = 1e-10
CASES: dict[str, dict[str, Any]] = {
    "nearest users, fit and predict": {"of": "users", "similarity": "msd", "shrinkage": 0.0},
    "nearest items, fit and predict": {"of": "items", "similarity": "pearson_baseline"},
}


def fold() -> tuple[Ratings, Ratings]:
    """The first of five folds; the training rows ordered by user and item, as ours keeps them."""
    train, test = folds(movielens(), 5, seed=0)[0]
    return train.take(np.lexsort((train.items, train.users))), test


def surprise_data(train: Ratings) -> Any:
    """The same rows as Surprise's training set."""
    from surprise import Dataset, Reader

    columns = (train.users.tolist(), train.items.tolist(), train.values.tolist())
    rows = [(u, i, r, None) for u, i, r in zip(*columns)]
    return Dataset(Reader(rating_scale=train.scale)).construct_trainset(rows)


def surprise_predictions(data: Any, test: Ratings, of: str, similarity: str) -> np.ndarray:
    """Fit and predict with Surprise's ``KNNBaseline``, its own defaults."""
    from surprise import KNNBaseline

    options = {"name": similarity, "user_based": of == "users"}
    model = KNNBaseline(sim_options=options, verbose=False).fit(data)
    pairs = list(zip(test.users.tolist(), test.items.tolist(), test.values.tolist()))
    return np.array([p.est for p in model.test(pairs)])


def measure(rounds: int = 3) -> dict[str, dict[str, Any]]:
    """Milliseconds of both, their ratio, and the largest difference of the predictions, by case."""
    train, test = fold()
    data, table = surprise_data(train), {}
    for name, options in CASES.items():
        of, similarity = options["of"], options["similarity"]

        def ours(options: dict[str, Any] = options) -> np.ndarray:
            return NearestNeighbours(**options).fit(train).predict(test.users, test.items)

        def theirs(of: str = of, similarity: str = similarity) -> np.ndarray:
            return surprise_predictions(data, test, of, similarity)

        gap = float(np.abs(ours() - theirs()).max())
        assert gap < TOLERANCE, f"{name}: predictions differ by {gap}"
        mine, other = [], []
        for _ in range(rounds):
            mine.append(timed(ours))
            other.append(timed(theirs))
        seconds, peer = min(mine), min(other)
        table[name] = {
            "peer": "Surprise", "ours_ms": round(1e3 * seconds, 1), "peer_ms": round(1e3 * peer, 1),
            "ratio": round(seconds / peer, 2), "bar": BAR, "difference": gap,
        }  # fmt: skip
    return table


def timed(call: Callable[[], Any]) -> float:
    before = time.perf_counter()
    call()
    return time.perf_counter() - before
