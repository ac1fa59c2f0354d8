"""Factor models beside implicit and Surprise on MovieLens 100K, in one process.

Both sides get the same data, the same starting values and the same number of threads; their results
are compared before anything is timed. Rounds alternate, the shortest time of each counts. It is no
row of the registry in ``benchmarks/rows.py``: that one measures operators against torch on an
environment with nothing but NumPy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from lepton_ref.recsys.evaluation import Ratings, movielens
from lepton_ref.recsys.factorization import Entries, ImplicitALS, biased_epoch, implicit_step

Case = tuple[Callable[[], Any], Callable[[], Any], float]  # ours, theirs, what they differ by


def implicit_iteration(ratings: Ratings, factors: int, cg_steps: int | None, threads: int) -> Case:
    """One iteration, users and then items, from the same factors; float64."""
    from implicit.cpu import _als
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    X0 = 0.1 * rng.standard_normal((ratings.n_users, factors))
    Y0 = 0.1 * rng.standard_normal((ratings.n_items, factors))
    extra = ratings.matrix()
    by_user, by_item = Entries.of(extra), Entries.of(extra.T.tocsr())
    X, Y, X_theirs, Y_theirs = X0.copy(), Y0.copy(), X0.copy(), Y0.copy()
    c_users = csr_matrix(
        (1 + extra.data.astype(np.float32), extra.indices, extra.indptr), extra.shape
    )
    c_items = c_users.T.tocsr()
    reg = 0.5  # exact in float32, as implicit's second solver takes it

    def ours() -> None:
        X[:], Y[:] = X0, Y0
        implicit_step(by_user, Y, X, reg, cg_steps)
        implicit_step(by_item, X, Y, reg, cg_steps)

    def theirs() -> None:
        X_theirs[:], Y_theirs[:] = X0, Y0
        for c, to, fixed in ((c_users, X_theirs, Y_theirs), (c_items, Y_theirs, X_theirs)):
            if cg_steps is None:
                _als.least_squares(c, to, fixed, reg, num_threads=threads)
            else:
                _als.least_squares_cg(c, to, fixed, reg, num_threads=threads, cg_steps=cg_steps)

    ours()
    theirs()
    return ours, theirs, float(np.abs(Y - Y_theirs).max() / np.abs(Y).max())


def descent_epochs(ratings: Ratings, factors: int, epochs: int = 5) -> Case:
    """Some epochs of biased factors as Surprise makes them, in its order."""
    from surprise import SVD, Dataset, Reader

    columns = (ratings.users.tolist(), ratings.items.tolist(), ratings.values.tolist())
    rows = [(u, i, r, None) for u, i, r in zip(*columns)]
    data = Dataset(Reader(rating_scale=ratings.scale)).construct_trainset(rows)
    table = list(data.all_ratings())
    users, items = (np.array([row[c] for row in table], np.int64) for c in (0, 1))
    values = np.array([row[2] for row in table], np.float64)
    found: dict[str, Any] = {}

    def ours() -> None:
        state = np.random.RandomState(0)
        P = state.normal(0, 0.1, (data.n_users, factors))
        Q = state.normal(0, 0.1, (data.n_items, factors))
        bu, bi = np.zeros(data.n_users), np.zeros(data.n_items)
        for _ in range(epochs):
            biased_epoch(users, items, values, data.global_mean, bu, bi, P, Q, 0.005, 0.02, 0.02)
        found["ours"] = Q

    def theirs() -> None:
        found["theirs"] = SVD(n_factors=factors, n_epochs=epochs, random_state=0).fit(data).qi

    ours()
    theirs()
    return ours, theirs, float(np.abs(found["ours"] - found["theirs"]).max())


def lists_for_all(ratings: Ratings, factors: int, dtype: str, threads: int) -> Case:
    """The best 10 unseen items of every user; differ by the share of places that do."""
    from implicit.als import AlternatingLeastSquares

    model = ImplicitALS(factors=factors, iterations=3, dtype=dtype).fit(ratings)
    peer = AlternatingLeastSquares(factors=factors, dtype=np.dtype(dtype), num_threads=threads)
    peer.user_factors, peer.item_factors = model.user_factors, model.item_factors
    everybody, seen = np.arange(ratings.n_users), ratings.matrix()

    def ours() -> np.ndarray:
        return model.recommend(k=10)

    def theirs() -> np.ndarray:
        return peer.recommend(everybody, seen, N=10)[0]

    return ours, theirs, float(np.mean(ours() != theirs()))


def cases(
    ratings: Ratings, threads: int
) -> dict[str, tuple[Callable[[], Case], float | None, float]]:
    """Each comparison, its bar if it has one, and by how much the results may differ."""
    r, t = ratings, threads
    return {
        "exact ALS, 64 factors": (lambda: implicit_iteration(r, 64, None, t), 1.5, 1e-10),
        "exact ALS, 32 factors": (lambda: implicit_iteration(r, 32, None, t), 1.5, 1e-10),
        "ALS by 3 steps of CG, 64 factors": (lambda: implicit_iteration(r, 64, 3, t), None, 1e-10),
        "descent, 100 factors, 5 epochs": (lambda: descent_epochs(r, 100), 1.2, 1e-10),
        "top 10 for all, float32": (lambda: lists_for_all(r, 64, "float32", t), 1.5, 1e-3),
        "top 10 for all, float64": (lambda: lists_for_all(r, 64, "float64", t), 1.5, 1e-3),
    }  # fmt: skip


def measure(threads: int, rounds: int = 7) -> dict[str, dict[str, Any]]:
    """Milliseconds of both, their ratio, and how far the results are apart, by case."""
    table = {}
    for name, (make, bar, tolerance) in cases(movielens(), threads).items():
        ours, theirs, gap = make()
        assert gap <= tolerance, f"{name}: the results differ by {gap}"
        mine, other = [], []
        for _ in range(rounds):
            mine.append(timed(ours))
            with threadpool_limits(1, "blas"):  # implicit has threads of its own, and asks for this
                other.append(timed(theirs))
        ms, peer = 1e3 * min(mine), 1e3 * min(other)
        table[name] = {
            "peer": "Surprise" if name.startswith("descent") else "implicit",
            "ours_ms": round(ms, 1), "peer_ms": round(peer, 1), "ratio": round(ms / peer, 2),
            "bar": bar, "difference": gap,
        }  # fmt: skip
    return table


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
