"""The equations of the page recsys/factorization, and its loops against other people's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.factorization import (
    Entries,
    ExplicitALS,
    ImplicitALS,
    biased_epoch,
    conjugate_gradient,
    fold_in,
    implicit_loss,
    implicit_step,
    normal_equations,
    ridge_step,
    svdpp_epoch,
)
from tests.numeric import numerical_gradient

U, I, K = 9, 7, 3


@pytest.fixture
def table(rng):
    """Ratings 1 to 5 of about half the pairs; user 4 has none, item 2 neither."""
    known = rng.random((U, I)) < 0.5
    known[4], known[:, 2] = False, False
    users, items = np.nonzero(known)
    values = rng.integers(1, 6, len(users)).astype(float)
    return Ratings.of(users, items, values, scale=(1, 5), user_ids=range(U), item_ids=range(I))


def drawn(rng):
    return {
        "bu": rng.normal(size=U),
        "bi": rng.normal(size=I),
        "P": rng.normal(size=(U, K)),
        "Q": rng.normal(size=(I, K)),
        "Y": rng.normal(size=(I, K)),
    }


MEAN, LR, REG_BIAS, REG = 3.4, 0.03, 0.05, 0.2


def loss_of_rating(p, u, i, r, mine=None):
    """Error, charge for size; with ``mine``, of SVD++."""
    z = p["P"][u].copy()
    charge = REG * (p["P"][u] @ p["P"][u] + p["Q"][i] @ p["Q"][i])
    if mine is not None:
        for j in mine:
            z += p["Y"][j] / np.sqrt(len(mine))
            charge += REG * p["Y"][j] @ p["Y"][j]
    e = r - (MEAN + p["bu"][u] + p["bi"][i] + p["Q"][i] @ z)
    return e * e + REG_BIAS * (p["bu"][u] ** 2 + p["bi"][i] ** 2) + charge


# --- descent -------------------------------------------------------------------------------


@pytest.mark.equation("factorization-gradients", "factorization-sgd")
@pytest.mark.parametrize("way", ["compiled", "python"])
def test_a_step_of_descent(rng, prove, way):
    """One rating: the step is −η/2 times the gradient by finite differences."""
    p = drawn(rng)
    u, i, r = 5, 3, 4.5
    numeric = numerical_gradient(lambda q: loss_of_rating(q, u, i, r), p)
    e = r - (MEAN + p["bu"][u] + p["bi"][i] + p["P"][u] @ p["Q"][i])
    said = {name: np.zeros_like(a) for name, a in p.items()}
    said["bu"][u] = -2 * (e - REG_BIAS * p["bu"][u])
    said["bi"][i] = -2 * (e - REG_BIAS * p["bi"][i])
    said["P"][u] = -2 * (e * p["Q"][i] - REG * p["P"][u])
    said["Q"][i] = -2 * (e * p["P"][u] - REG * p["Q"][i])
    said.pop("Y"), numeric.pop("Y")
    prove(said, numeric, oracle="finite differences", label="factorization-gradients", tol=1e-7)
    after = {name: a.copy() for name, a in p.items()}
    epoch = biased_epoch if way == "compiled" else biased_epoch.python
    state = [after[name] for name in ("bu", "bi", "P", "Q")]
    rating = np.array([u]), np.array([i]), np.array([r])
    total = epoch(*rating, MEAN, *state, LR, REG_BIAS, REG)
    assert total == pytest.approx(e * e)
    moved = {name: (after[name] - p[name]) / (-LR / 2) for name in said}
    prove(moved, numeric, oracle="finite differences", label="factorization-sgd", tol=1e-7)


def surprise_of(ratings):
    """The ratings as a training set of Surprise, which numbers from 0 in order of appearance."""
    pytest.importorskip("surprise")
    import pandas
    from surprise import Dataset, Reader

    columns = {"u": ratings.users, "i": ratings.items, "r": ratings.values}
    loaded = Dataset.load_from_df(pandas.DataFrame(columns), Reader(rating_scale=(1, 5)))
    return loaded.build_full_trainset()


def in_its_order(trainset):
    """Users, items and values, as its ``all_ratings`` gives them: user by user."""
    rows = list(trainset.all_ratings())
    users, items, values = (np.array([row[c] for row in rows]) for c in range(3))
    return users.astype(np.int64), items.astype(np.int64), values.astype(np.float64)


def many(rng, users=60, items=40, density=0.3):
    known = rng.random((users, items)) < density
    u, i = np.nonzero(known)
    return Ratings.of(u, i, rng.integers(1, 6, len(u)).astype(float), scale=(1, 5))


@pytest.mark.equation("factorization-sgd")
def test_epochs_are_those_of_surprise(rng, prove):
    trainset = surprise_of(many(rng))
    from surprise import SVD

    theirs = SVD(n_factors=8, n_epochs=3, random_state=5, lr_all=0.01, reg_all=0.04).fit(trainset)
    users, items, values = in_its_order(trainset)
    state = np.random.RandomState(5)
    P = state.normal(0, 0.1, (trainset.n_users, 8))
    Q = state.normal(0, 0.1, (trainset.n_items, 8))
    bu, bi = np.zeros(trainset.n_users), np.zeros(trainset.n_items)
    for _ in range(3):
        biased_epoch(users, items, values, trainset.global_mean, bu, bi, P, Q, 0.01, 0.04, 0.04)
    ours, wanted = {"bu": bu, "bi": bi, "P": P, "Q": Q}, {}
    wanted = {"bu": theirs.bu, "bi": theirs.bi, "P": theirs.pu, "Q": theirs.qi}
    prove(ours, wanted, oracle="Surprise", tol=1e-10)


@pytest.mark.equation("svdpp-gradients", "svdpp-sum", "svdpp-lazy")
def test_svdpp_against_an_update_after_every_rating(rng, table, prove):
    """Every y_j moved after every rating, the gradient by finite differences."""
    m = table.matrix()
    start = drawn(rng)
    want = {name: a.copy() for name, a in start.items()}
    order = np.array([6, 0, 4, 2])
    total = 0.0
    for u in order:
        mine = m.indices[m.indptr[u] : m.indptr[u + 1]]
        for i, r in zip(mine, m.data[m.indptr[u] : m.indptr[u + 1]]):
            root = np.sqrt(len(mine))
            z = want["P"][u] + sum(want["Y"][j] for j in mine) / root
            e = r - (MEAN + want["bu"][u] + want["bi"][i] + want["Q"][i] @ z)
            total += e * e
            said = {name: np.zeros_like(a) for name, a in want.items()}
            said["bu"][u] = -2 * (e - REG_BIAS * want["bu"][u])
            said["bi"][i] = -2 * (e - REG_BIAS * want["bi"][i])
            said["P"][u] = -2 * (e * want["Q"][i] - REG * want["P"][u])
            said["Q"][i] = -2 * (e * z - REG * want["Q"][i])
            for j in mine:
                said["Y"][j] = -2 * (e / root * want["Q"][i] - REG * want["Y"][j])
            if u == 6:
                numeric = numerical_gradient(lambda p, i=i, r=r, mine=mine, u=u:
                                             loss_of_rating(p, u, i, r, mine), want)  # fmt: skip
                prove(said, numeric, oracle="finite differences", label="svdpp-gradients", tol=1e-7)
            for name, gradient in said.items():
                want[name] -= LR / 2 * gradient
    for epoch in (svdpp_epoch, svdpp_epoch.python):
        got = {name: a.copy() for name, a in start.items()}
        days, bd = np.zeros(len(table), np.int64), np.zeros(1)
        found = epoch(
            order, m.indptr.astype(np.int64), m.indices.astype(np.int64), days, m.data, MEAN,
            got["bu"], got["bi"], bd, got["P"], got["Q"], got["Y"], LR, 0.0, REG_BIAS, 0.0, REG,
        )  # fmt: skip
        assert found == pytest.approx(total) and not bd.any()
        for label in ("svdpp-sum", "svdpp-lazy"):
            prove(got, want, oracle="update after every rating", label=label, tol=1e-12)


@pytest.mark.equation("svdpp-lazy")
def test_svdpp_epochs_are_those_of_surprise(rng, prove):
    trainset = surprise_of(many(rng))
    from surprise import SVDpp

    rates = {"lr_all": 0.01, "reg_all": 0.04, "random_state": 5}
    theirs = SVDpp(n_factors=6, n_epochs=2, **rates).fit(trainset)
    users, items, values = in_its_order(trainset)
    state = np.random.RandomState(5)
    P = state.normal(0, 0.1, (trainset.n_users, 6))
    Q = state.normal(0, 0.1, (trainset.n_items, 6))
    Y = state.normal(0, 0.1, (trainset.n_items, 6))
    bu, bi = np.zeros(trainset.n_users), np.zeros(trainset.n_items)
    order = users[np.sort(np.unique(users, return_index=True)[1])]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(users))])
    assert (order == np.arange(trainset.n_users)).all()
    days, bd = np.zeros(len(users), np.int64), np.zeros(1)
    for _ in range(2):
        svdpp_epoch(order, indptr, items, days, values, trainset.global_mean, bu, bi, bd, P, Q, Y,
                    0.01, 0.0, 0.04, 0.0, 0.04)  # fmt: skip
    wanted = {"bu": theirs.bu, "bi": theirs.bi, "P": theirs.pu, "Q": theirs.qi, "Y": theirs.yj}
    prove({"bu": bu, "bi": bi, "P": P, "Q": Q, "Y": Y}, wanted, oracle="Surprise", tol=1e-10)


# --- least squares -------------------------------------------------------------------------


@pytest.mark.equation("als-step")
@pytest.mark.parametrize("weighted", [True, False])
def test_a_half_step_is_ridge_regression(rng, table, prove, weighted):
    linear = pytest.importorskip("sklearn.linear_model")
    Y, X = rng.normal(size=(I, K)), rng.normal(size=(U, K))
    ridge_step(Entries.of(table.matrix()), Y, X, 0.3, weighted)
    want = np.zeros_like(X)
    for u in range(U):
        mine = table.users == u
        if mine.any():
            alpha = 0.3 * (mine.sum() if weighted else 1)
            model = linear.Ridge(alpha=alpha, fit_intercept=False, solver="cholesky")
            want[u] = model.fit(Y[table.items[mine]], table.values[mine]).coef_
    prove(X, want, oracle="scikit-learn's Ridge", tol=1e-10)
    assert not X[4].any()


@pytest.mark.equation("als-bias", "als-fold-in")
def test_bias_and_factors_of_a_user_are_the_minimum(rng, table, prove):
    """The gradient of the user's whole loss vanishes there, by finite differences' formula."""
    bi, Q = rng.normal(size=I), rng.normal(size=(I, K))
    b, p = fold_in(Entries.of(table.matrix()), bi, Q, MEAN, 0.3)
    from scipy.optimize import minimize

    want = np.zeros((U, 1 + K))
    for u in range(U):
        rows = np.flatnonzero(table.users == u)

        def loss(x, rows=rows):
            i = table.items[rows]
            e = table.values[rows] - MEAN - bi[i] - x[0] - Q[i] @ x[1:]
            return e @ e + 0.3 * len(rows) * x @ x

        if len(rows):
            want[u] = minimize(loss, np.zeros(1 + K), tol=1e-14).x
    found = np.column_stack([b, p])
    prove(found, want, oracle="scipy's minimize", label="als-bias", tol=1e-6)
    closed = np.zeros_like(want)
    for u in range(U):
        i = table.items[table.users == u]
        if len(i):
            D = np.column_stack([np.ones(len(i)), Q[i]])
            left = table.values[table.users == u] - MEAN - bi[i]
            closed[u] = np.linalg.inv(D.T @ D + 0.3 * len(i) * np.eye(1 + K)) @ D.T @ left
    prove(found, closed, oracle="closed form", label="als-fold-in", tol=1e-10)


@pytest.mark.equation("als-fold-in")
def test_folding_in_gives_what_training_left(table, prove):
    model = ExplicitALS(factors=K, iterations=4, reg=0.1).fit(table)
    user = Entries.of(table.matrix()[[3]])
    b, p = fold_in(user, model.item_bias, model.item_factors, model.mean, 0.1)
    found = np.concatenate([b, p[0]])
    trained = np.concatenate([[model.user_bias[3]], model.user_factors[3]])
    prove(found, trained, oracle="ALS of the whole table", tol=1e-12)


def test_no_iteration_raises_the_loss_of_the_ratings(table):
    def loss(m):
        e = m.predict(table.users, table.items, clip=False) - table.values
        n_u = np.bincount(table.users, minlength=U)
        n_i = np.bincount(table.items, minlength=I)
        size = n_u @ (m.user_bias**2 + (m.user_factors**2).sum(1))
        return e @ e + 0.05 * (size + n_i @ (m.item_bias**2 + (m.item_factors**2).sum(1)))

    losses = [loss(ExplicitALS(factors=2, iterations=t, reg=0.05).fit(table)) for t in range(1, 9)]
    assert all(b <= a for a, b in zip(losses, losses[1:])) and losses[-1] < 0.99 * losses[0]


# --- implicit feedback ---------------------------------------------------------------------


def counts_of(rng, m, n, density=0.2):
    """Quarters from 0.25 to 2: exact in float32, which implicit reads confidences in."""
    return csr_matrix((rng.random((m, n)) < density) * rng.integers(1, 9, (m, n)) / 4)


def dense_step(extra, Y, reg):
    """With the whole diagonal of confidences, one user after another."""
    C, p = 1 + extra.toarray(), (extra.toarray() > 0).astype(float)
    eye = reg * np.eye(Y.shape[1])
    return np.stack([np.linalg.inv(Y.T @ np.diag(c) @ Y + eye) @ Y.T @ np.diag(c) @ q
                     for c, q in zip(C, p)])  # fmt: skip


@pytest.mark.equation("implicit-step", "implicit-trick")
def test_the_implicit_half_step(rng, prove):
    extra, Y, reg = counts_of(rng, 20, 31), rng.normal(size=(31, 5)), 0.7
    X = np.empty((20, 5))
    implicit_step(Entries.of(extra), Y, X, reg)
    prove(X, dense_step(extra, Y, reg), oracle="all confidences", label="implicit-step", tol=1e-10)
    u = int(np.argmax(np.diff(extra.indptr)))
    C = np.diag(1 + extra.toarray()[u])
    mine = extra.indices[extra.indptr[u] : extra.indptr[u + 1]]
    trick = Y.T @ Y + sum(extra[u, i] * np.outer(Y[i], Y[i]) for i in mine)
    prove(trick, Y.T @ C @ Y, oracle="all confidences", label="implicit-trick", tol=1e-12)


def theirs(extra):
    """Confidences as implicit wants them, for its float64 solvers."""
    return csr_matrix((1 + extra.data.astype(np.float32), extra.indices, extra.indptr), extra.shape)


@pytest.mark.equation("implicit-step")
def test_the_half_step_is_that_of_implicit(rng, prove):
    als = pytest.importorskip("implicit.cpu._als")
    extra, Y = counts_of(rng, 80, 60), rng.normal(size=(60, 16))
    ours, wanted = np.empty((80, 16)), np.zeros((80, 16))
    implicit_step(Entries.of(extra), Y, ours, 0.3)
    als.least_squares(theirs(extra), wanted, Y, 0.3, num_threads=1)
    prove(ours, wanted, oracle="implicit", tol=1e-10)


@pytest.mark.equation("implicit-cg-product")
def test_the_first_step_goes_as_far_as_the_whole_matrix_says(rng, prove):
    """From zero: x = (r·r / r·A r) r with r = Yᵀ C p, and A made entry by entry."""
    extra, Y, reg = counts_of(rng, 9, 31).toarray(), rng.normal(size=(31, 5)), 0.7
    found, wanted = np.zeros((9, 5)), np.zeros((9, 5))
    implicit_step(Entries.of(csr_matrix(extra)), Y, found, reg, cg_steps=1)
    for u in range(9):
        A = reg * np.eye(5) + sum((1 + extra[u, i]) * np.outer(Y[i], Y[i]) for i in range(31))
        r = sum((1 + extra[u, i]) * Y[i] for i in range(31) if extra[u, i] > 0)
        wanted[u] = (r @ r) / (r @ A @ r) * r
    prove(found, wanted, oracle="the whole matrix", tol=1e-10)


@pytest.mark.equation("implicit-cg-step")
@pytest.mark.parametrize("steps", [1, 3])
def test_conjugate_gradients(rng, prove, steps):
    """Against implicit's, and, with all steps, against the exact solution."""
    als = pytest.importorskip("implicit.cpu._als")
    extra, Y = counts_of(rng, 80, 60), rng.normal(size=(60, 16))
    first, reg = rng.normal(size=(80, 16)), 0.25  # exact in float32, as implicit takes it
    ours, wanted = first.copy(), first.copy()
    implicit_step(Entries.of(extra), Y, ours, reg, cg_steps=steps)
    als.least_squares_cg(theirs(extra), wanted, Y, reg, num_threads=1, cg_steps=steps)
    prove(ours, wanted, oracle="implicit", tol=1e-10)


@pytest.mark.equation("implicit-cg-step")
def test_as_many_steps_as_factors_solve(rng, prove):
    extra, Y = counts_of(rng, 20, 31), rng.normal(size=(31, 5))
    exact, found = np.empty((20, 5)), np.zeros((20, 5))
    implicit_step(Entries.of(extra), Y, exact, 0.7)
    implicit_step(Entries.of(extra), Y, found, 0.7, cg_steps=5)
    prove(found, exact, oracle="exact solution", tol=1e-8)


@pytest.mark.equation("implicit-loss-fast")
def test_the_loss_of_all_pairs(rng, prove):
    extra = counts_of(rng, 20, 31)
    X, Y, reg = rng.normal(size=(20, 5)), rng.normal(size=(31, 5)), 0.7
    total = 0.0
    for u in range(20):
        for i in range(31):
            total += (1 + extra[u, i]) * ((extra[u, i] > 0) - X[u] @ Y[i]) ** 2
    total += reg * ((X * X).sum() + (Y * Y).sum())
    prove(implicit_loss(Entries.of(extra), X, Y, reg), total, oracle="all pairs", tol=1e-12)


@pytest.mark.equation("implicit-explain")
def test_an_explanation_adds_up_to_the_score(rng, prove):
    als = pytest.importorskip("implicit.als")
    extra = counts_of(rng, 30, 25)
    u, i = extra.nonzero()
    data = Ratings.of(u, i, extra.data / 2, user_ids=range(30), item_ids=range(25))
    model = ImplicitALS(factors=6, iterations=5, reg=0.4, alpha=2.0).fit(data)
    user, item = int(u[0]), 11
    items, parts = model.explain(user, item)
    assert set(items) == set(i[u == user])
    score = model.scores([user])[0, item]
    prove(parts.sum(), score, oracle="the score", tol=1e-10)
    peer = als.AlternatingLeastSquares(6, regularization=0.4, dtype=np.float64, num_threads=1)
    peer.user_factors, peer.item_factors = model.user_factors, model.item_factors
    total, contributions, _ = peer.explain(user, theirs(extra), item, N=len(items))
    prove(parts, np.array([part for _, part in contributions]), oracle="implicit", tol=1e-8)
    assert total == pytest.approx(score)


@pytest.mark.parametrize("solver", [normal_equations, conjugate_gradient])
def test_readable_and_compiled_agree(rng, solver):
    extra, Y = counts_of(rng, 12, 15), rng.normal(size=(15, 4))
    e = Entries.of(extra)
    base, scale = Y.T @ Y + np.eye(4), rng.uniform(0.5, 2, 12)
    fast = rng.normal(size=(12, 4))
    slow = fast.copy()
    steps = (2,) if solver is conjugate_gradient else ()
    solver(e.indptr, e.indices, e.values, 1 + e.values, base, scale, Y, fast, *steps)
    solver.python(e.indptr, e.indices, e.values, 1 + e.values, base, scale, Y, slow, *steps)
    np.testing.assert_allclose(fast, slow, rtol=1e-10)


@pytest.mark.parametrize("cg_steps", [None, 3])
@pytest.mark.parametrize("threads", [2, 5])
def test_any_number_of_threads_gives_the_same_bits(rng, monkeypatch, cg_steps, threads):
    from lepton_ref.framework import parallel

    dense = (rng.random((40, 30)) < 0.3) * rng.integers(1, 9, (40, 30)) / 4
    matrix = csr_matrix(dense * (np.arange(40) % 7 != 0)[:, None])  # with empty rows
    Y, X0 = rng.normal(size=(30, 4)), rng.normal(size=(40, 4))
    found = []
    for many in (1, threads):
        monkeypatch.setattr(parallel, "threads", lambda many=many: many)
        monkeypatch.setattr(parallel, "WORTHWHILE", 0)
        X = X0.copy()
        implicit_step(Entries.of(matrix), Y, X, 0.5, cg_steps)
        found.append(X)
    np.testing.assert_array_equal(*found)
    assert not found[0][::7].any()


def test_nothing_at_all_leaves_nothing():
    X = np.ones((3, 2))
    implicit_step(Entries.of(csr_matrix((3, 4))), np.ones((4, 2)), X, 0.5)
    assert not X.any()
