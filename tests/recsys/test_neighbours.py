"""The page recsys/neighbours: each similarity, the shrinkage, baselines, predictions, reasons."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from scipy import integrate, optimize, stats
from scipy.sparse import csr_matrix, random_array

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.neighbours import (
    NearestNeighbours,
    centred,
    common_sums,
    from_sums,
    nearest,
    prior_strength,
    shrink,
    similarities,
    similarity_blocks,
)
from lepton_ref.recsys.neighbours import ratings as ratings_module
from lepton_ref.recsys.neighbours import similarity as similarity_module


def table(rng, rows=13, columns=17, share=0.5):
    """Ratings from 1 to 5, half of them missing; one row and one column without any."""
    there = rng.random((rows, columns)) < share
    there[3], there[:, 5] = False, False
    return there * rng.integers(1, 6, (rows, columns)).astype(float)


def ratings(rng, users=17, items=13, share=0.5, step=1.0):
    x = table(rng, items, users, share).T
    u, i = np.nonzero(x)
    values = x[u, i] if step == 1 else np.clip(x[u, i] + step * rng.normal(size=len(u)), 1, 5)
    return Ratings.of(
        u, i, values, scale=(1, 5), user_ids=np.arange(users), item_ids=np.arange(items)
    )


def pairs(x, found, least=1):
    """(our similarity, a, b) of every pair of rows with ``least`` common columns."""
    for i, j in itertools.combinations(range(len(x)), 2):
        both = (x[i] != 0) & (x[j] != 0)
        if both.sum() >= least:
            yield found[i, j], x[i, both], x[j, both]


def columns_of(rows):
    return [np.array(column) for column in zip(*rows)]


# --- similarities ------------------------------------------------------------------------


@pytest.mark.equation("neighbours-cauchy")
def test_cosine_is_a_distance_of_directions_and_never_above_one(rng, prove):
    x = table(rng) * rng.normal(size=(13, 17))
    found = similarities(csr_matrix(x))
    rows = [
        (2 - 2 * s, np.sum((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2))
        for s, a, b in pairs(x, found)
    ]
    ours, wanted = columns_of(rows)
    prove(ours, wanted, oracle="distances", tol=1e-12)
    for kind in ("cosine", "pearson", "msd"):
        every = similarities(csr_matrix(table(rng)), kind)
        assert np.abs(every).max() <= 1 and (every == every.T).all()


@pytest.mark.equation("neighbours-pearson")
def test_pearson(rng, prove):
    x = table(rng)
    found = similarities(csr_matrix(x), "pearson")
    rows = [
        (s, stats.pearsonr(a, b).statistic)
        for s, a, b in pairs(x, found, 3)
        if np.ptp(a) and np.ptp(b)
    ]
    prove(*columns_of(rows), oracle="scipy", tol=1e-10)
    constant = [s for s, a, b in pairs(x, found) if not (np.ptp(a) and np.ptp(b))]
    assert len(constant) > 3 and not any(constant)


@pytest.mark.equation("neighbours-centred")
def test_adjusted_cosine(rng, prove):
    """Sarwar's formula in loops over common users; scikit-learn's cosine of the centred rows."""
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x = table(rng)
    mean = np.array([c[c != 0].mean() if c.any() else 0.0 for c in x.T])
    rows, found = centred(csr_matrix(x)), None
    found = similarities(rows)
    wanted = []
    for i, j in itertools.combinations(range(13), 2):
        above = left = right = 0.0
        for u in range(17):
            if x[i, u] and x[j, u]:
                above += (x[i, u] - mean[u]) * (x[j, u] - mean[u])
                left += (x[i, u] - mean[u]) ** 2
                right += (x[j, u] - mean[u]) ** 2
        wanted.append(above / np.sqrt(left * right) if left * right else 0.0)
    ours = [found[i, j] for i, j in itertools.combinations(range(13), 2)]
    prove(np.array(ours), np.array(wanted), oracle="loops", tol=1e-10)
    whole = similarities(rows, over="all")
    theirs = pairwise.cosine_similarity(rows)
    np.fill_diagonal(theirs, 1)
    prove(whole, theirs, oracle="scikit-learn", tol=1e-10)


@pytest.mark.equation("neighbours-msd")
def test_mean_squared_difference(rng, prove):
    x = table(rng)
    found = similarities(csr_matrix(x), "msd")
    rows = [(s, 1 / (1 + np.mean((a - b) ** 2))) for s, a, b in pairs(x, found)]
    prove(*columns_of(rows), oracle="loops", tol=1e-12)


def test_cosine_over_all_raters_is_scikit_learns(rng):
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    x = csr_matrix(table(rng, 60, 90, 0.2))
    wanted = pairwise.cosine_similarity(x)
    np.fill_diagonal(wanted, 1)
    np.testing.assert_allclose(similarities(x, over="all"), wanted, atol=1e-10)


@pytest.mark.equation("neighbours-products", "neighbours-work")
@pytest.mark.parametrize("products", [False, True])
def test_sums_over_common_raters(rng, prove, products):
    """The compiled pass and scipy's products, against loops over pairs of rows."""
    x = table(rng)
    wanted = np.zeros((5, 13, 6))
    for i, j in itertools.product(range(5), range(13)):
        both = (x[i + 4] != 0) & (x[j] != 0)
        a, b = x[i + 4, both], x[j, both]
        wanted[i, j] = len(a), a @ b, a @ a, b @ b, a.sum(), b.sum()
    found = common_sums(csr_matrix(x), 4, 9, products=products)
    name = "scipy and loops" if products else "loops"
    prove(found, wanted, oracle=name, label="neighbours-products", tol=1e-14)
    assert common_sums(csr_matrix(x), 0, 5, means=False, products=products).shape == (5, 13, 4)
    every = common_sums(csr_matrix(x), 0, 13, products=products)[..., 0]
    squares = sum(int((column != 0).sum()) ** 2 for column in x.T)
    prove(float(every.sum()), float(squares), oracle="count", label="neighbours-work", tol=0)


@pytest.mark.parametrize("kind", ["cosine", "pearson", "msd"])
def test_compiled_loop_is_its_python(rng, kind, monkeypatch):
    x = csr_matrix(table(rng))
    fast = similarities(x, kind, shrinkage=3.0)
    slow = similarities(x, kind, shrinkage=3.0, products=True)
    np.testing.assert_allclose(fast, slow, atol=1e-13)
    python = similarity_module.pair_sums.python
    monkeypatch.setattr(similarity_module, "pair_sums", python)
    np.testing.assert_array_equal(similarities(x, kind, shrinkage=3.0), fast)


def test_a_rating_of_zero_is_a_rating():
    x = csr_matrix((np.array([0.0, 2.0, 1.0, 4.0]), np.array([0, 1, 0, 1]), np.array([0, 2, 4])))
    assert common_sums(x, 0, 2)[0, 1, 0] == 2
    assert np.isclose(similarities(x, "msd")[0, 1], 1 / (1 + (1 + 4) / 2))
    assert np.isclose(similarities(x, "pearson")[0, 1], 1)


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1.0, 1e8, 1e150])
def test_similarities_do_not_depend_on_the_unit(rng, scale):
    x = table(rng)
    found = similarities(csr_matrix(x * scale))
    np.testing.assert_allclose(found, similarities(csr_matrix(x)), atol=1e-12)


def test_constant_ratings_correlate_with_nothing():
    """Also where rounding leaves a variance that is not exactly zero."""
    x = np.array([[0.1] * 7, [0.7] * 7, list(np.arange(7) / 3)])
    found = similarities(csr_matrix(x), "pearson")
    assert not found[np.triu_indices(3, 1)].any()
    base = similarities(csr_matrix((np.zeros(4), np.arange(4) % 2, np.array([0, 2, 4]))))
    assert base[0, 1] == 0 and np.isfinite(base).all()


def test_support(rng):
    x = table(rng)
    count = (x != 0).astype(int) @ (x != 0).astype(int).T
    found = similarities(csr_matrix(x), min_support=5)
    off = ~np.eye(13, dtype=bool)
    assert ((found != 0) == (count >= 5))[off].all()


# --- blocks and what is kept -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cosine", "pearson", "msd"])
@pytest.mark.parametrize("memory", [1, 3000, 1 << 26])
def test_blocks_are_the_whole(rng, kind, memory):
    x = csr_matrix(table(rng))
    blocks = list(similarity_blocks(x, kind, memory=memory))
    assert (len(blocks) == 13) == (memory == 1) and (len(blocks) == 1) == (memory == 1 << 26)
    np.testing.assert_array_equal(np.concatenate([b for _, b in blocks]), similarities(x, kind))


@pytest.mark.equation("neighbours-kept")
@pytest.mark.parametrize("top", [1, 4])
def test_the_nearest_are_kept(rng, prove, top):
    x = csr_matrix(table(rng, 40, 60, 0.4) + 0.0)
    x = x[np.diff(x.indptr) > 0]  # every row has neighbours
    found, every = nearest(x, top=top, memory=4000), similarities(x)
    np.fill_diagonal(every, 0)
    for i, row in enumerate(found.toarray()):
        order = np.argsort(-every[i], kind="stable")[:top]
        assert set(np.flatnonzero(row)) == set(order)
        np.testing.assert_array_equal(row[order], every[i, order])
    size = sum(a.nbytes for a in (found.data, found.indices, found.indptr))
    prove(float(size), float(12 * top * 39 + 4 * 40), oracle="bytes", tol=0)


@pytest.mark.parametrize("top", [None, 1, 5])
@pytest.mark.parametrize("kind", ["cosine", "pearson", "msd", "all"])
def test_the_sparse_loop_keeps_what_the_blocks_keep(rng, kind, top, monkeypatch):
    """Touched pairs alone, against blocks of all pairs; and compiled, against its Python."""
    x = csr_matrix(table(rng, 30, 25, 0.4))
    options = {"kind": kind, "top": top, "shrinkage": 2.0, "min_support": 2}
    if kind == "all":
        options |= {"kind": "cosine", "over": "all"}
    fast = nearest(x, **options, memory=500)
    slow = nearest(x, **options, products=True)
    np.testing.assert_allclose(fast.toarray(), slow.toarray(), atol=1e-13)
    assert fast.has_sorted_indices and fast.nnz > 20
    python = similarity_module.nearest_rows.python
    monkeypatch.setattr(similarity_module, "nearest_rows", python)
    np.testing.assert_array_equal(nearest(x, **options).toarray(), fast.toarray())


def test_equal_similarities_keep_the_lower_number():
    x = csr_matrix(np.ones((5, 3)))
    np.testing.assert_array_equal(
        nearest(x, top=2).toarray() > 0,
        [[0, 1, 1, 0, 0], [1, 0, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]],
    )
    assert nearest(x, top=99).nnz == 20 and nearest(csr_matrix((0, 3))).shape == (0, 0)


def test_memory_is_bounded_by_the_block_and_by_what_is_kept(rng):
    """All pairs of 4,000 rows would be 128 MB; a block of 2 MB and 10 neighbours stay below 12."""
    x = random_array((4000, 3000), density=0.004, format="csr", rng=np.random.default_rng(1))
    x = csr_matrix(x)
    nearest(x[:50], top=3)  # compiled before
    assert len(list(similarity_blocks(x[:400], memory=2 << 20))) > 1
    tracemalloc.start()
    found = nearest(x, top=10, memory=2 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.nnz > 30_000 and peak < 12 << 20


# --- shrinkage ---------------------------------------------------------------------------


@pytest.mark.equation("neighbours-noise")
@pytest.mark.parametrize("n", [2, 3, 5, 6])
def test_variance_of_the_correlation_of_unrelated_ratings(rng, prove, n):
    """Every pairing there is of n ratings with n others, and the mean of the squares."""
    a, b = rng.normal(size=n), rng.exponential(size=n)
    rho = [np.corrcoef(a, b[list(p)])[0, 1] for p in itertools.permutations(range(n))]
    assert abs(np.mean(rho)) < 1e-12
    prove(1 / (n - 1), np.mean(np.square(rho)), oracle="all permutations", tol=1e-10)


@pytest.mark.equation("neighbours-noise-signs")
@pytest.mark.parametrize("n", [1, 2, 4])
def test_variance_of_the_cosine_of_unrelated_residuals(rng, prove, n):
    """Every pairing and every choice of signs."""
    a, b = rng.normal(size=n), rng.exponential(size=n)
    rows = [
        (a, np.array(signs) * b[list(p)])
        for p in itertools.permutations(range(n))
        for signs in itertools.product([-1, 1], repeat=n)
    ]
    squares = [(x @ y) ** 2 / (x @ x * (y @ y)) for x, y in rows]
    prove(1 / n, np.mean(squares), oracle="all pairings and signs", tol=1e-10)


@pytest.mark.equation("neighbours-shrunk")
@pytest.mark.parametrize(("n", "strength"), [(2, 100.0), (30, 25.0), (400, 4.0)])
def test_shrinking_is_a_posterior_mean(prove, n, strength):
    """Prior times likelihood, integrated over a grid of correlations."""
    measured = np.array([-0.8, 0.05, 0.4])
    rho = np.linspace(-12, 12, 400_001)
    ours = shrink(measured, np.full(3, n), strength)
    wanted = []
    for m in measured:
        log = stats.norm.logpdf(rho, 0, strength**-0.5) + stats.norm.logpdf(m, rho, (n - 1) ** -0.5)
        weight = np.exp(log - log.max())
        wanted.append(integrate.trapezoid(weight * rho, rho) / integrate.trapezoid(weight, rho))
    prove(ours, np.array(wanted), oracle="integration", tol=1e-8)


@pytest.mark.equation("neighbours-empirical")
@pytest.mark.parametrize("tau", [0.1, 0.3])
def test_the_prior_is_found_from_the_correlations(prove, tau):
    """A million drawn from the model: the estimate has a standard error below one per cent."""
    rng = np.random.default_rng(7)
    n = rng.integers(2, 60, 1_000_000)
    measured = tau * rng.normal(size=n.size) + rng.normal(size=n.size) / np.sqrt(n - 1)
    prove(prior_strength(measured, n), tau**-2, oracle="simulation", tol=0.03)
    less = tau * rng.normal(size=n.size) + rng.normal(size=n.size) / np.sqrt(n)
    prove(prior_strength(less, n, lost=0), tau**-2, oracle="simulation", tol=0.03)


def test_no_prior_where_there_is_only_noise():
    assert prior_strength(np.zeros(5), np.full(5, 9)) == np.inf
    np.testing.assert_array_equal(shrink(np.ones(2), np.array([0, 1]), 10.0), [0, 0])
    with pytest.raises(ArgumentError, match="no pair with 2 or more"):
        prior_strength(np.ones(2), np.ones(2))
    with pytest.raises(ArgumentError, match="`lost` has the value 2"):
        prior_strength(np.ones(2), np.ones(2), lost=2)


# --- predictions -------------------------------------------------------------------------


def by_hand(model, train, u, i):
    """Baseline, and the weighted residuals of the k nearest, in plain loops."""
    base, left = model.baseline, dict(zip(zip(train.users, train.items), train.values))
    x = csr_matrix(model.similarities).toarray()
    near = []
    for (v, j), value in sorted(left.items()):
        mine, other = (i, j) if model.of == "items" else (u, v)
        if (v == u if model.of == "items" else j == i) and x[mine, other] > 0:
            residual = value - base.mean - base.user_bias[v] - base.item_bias[j]
            near.append((x[mine, other], residual))
    near.sort(key=lambda pair: -pair[0])
    near = near[: model.k]
    added = sum(s * e for s, e in near) / (model.damping + sum(s for s, _ in near)) if near else 0
    return base.mean + base.user_bias[u] + base.item_bias[i] + added, near


@pytest.mark.equation("neighbours-prediction", "neighbours-argmin", "neighbours-because")
@pytest.mark.parametrize("of", ["items", "users"])
@pytest.mark.parametrize("damping", [0.0, 0.7])
def test_predictions(rng, prove, of, damping):
    train = ratings(rng)
    model = NearestNeighbours(of=of, k=3, shrinkage=2.0, damping=damping, clip=False).fit(train)
    u, i = (x.ravel() for x in np.indices((train.n_users, train.n_items)))
    ours = model.predict(u, i)
    hand = [by_hand(model, train, *pair) for pair in zip(u, i)]
    wanted = np.array([value for value, _ in hand])
    prove(ours, wanted, oracle="loops", label="neighbours-prediction", tol=1e-12)

    def cost(x, near):
        return damping * x**2 + sum(s * (e - x) ** 2 for s, e in near)

    some = [q for q, (_, near) in enumerate(hand) if near][:40]
    best = [optimize.minimize_scalar(cost, args=(hand[q][1],), tol=1e-12).x for q in some]
    added = ours[some] - model.baseline.predict(u[some], i[some])
    prove(added, np.array(best), oracle="scipy", label="neighbours-argmin", tol=1e-5)

    why = [model.because(int(u[q]), int(i[q])) for q in range(len(u))]
    sums = np.array([w.baseline + w.contributions.sum() for w in why])
    prove(sums, ours, oracle="prediction", label="neighbours-because", tol=1e-12)
    for w, (value, near) in zip(why, hand):
        assert len(w.neighbours) == len(near) <= 3 and np.isclose(w.prediction, value)
        np.testing.assert_allclose(np.sort(w.similarities), np.sort([s for s, _ in near]))
        assert (np.diff(np.abs(w.contributions)) <= 0).all()


def test_because_names_ratings_that_were_given(rng):
    train = ratings(rng)
    x = train.matrix().toarray()
    for of in ("items", "users"):
        model = NearestNeighbours(of=of, shrinkage=1.0).fit(train)
        why = model.because(2, 7)
        given = x[2, why.neighbours] if of == "items" else x[why.neighbours, 7]
        assert len(given) and (given > 0).all()
        np.testing.assert_allclose(why.ratings, given)


def test_compiled_prediction_is_its_python(rng, monkeypatch):
    model = NearestNeighbours(k=2, shrinkage=1.0, damping=0.1).fit(ratings(rng, 30, 25))
    fast = model.scores()
    monkeypatch.setattr(ratings_module, "_weighted", ratings_module._weighted.python)
    np.testing.assert_array_equal(model.scores(), fast)


def test_of_equally_near_the_first_ones_count():
    """Three neighbours of one similarity, two asked for: those with the lower numbers."""
    x = np.array([[0, 1.0, 2, 5], [3, 3, 3, 3], [4, 4, 4, 4]])
    u, i = np.nonzero(x)
    train = Ratings.of(u, i, x[u, i], scale=(1, 5), user_ids=range(3), item_ids=range(4))
    model = NearestNeighbours(similarity="msd", k=2, shrinkage=0.0, min_support=2).fit(train)
    assert (model.similarities[0].toarray()[0, 1:] == 1).all()
    why = model.because(0, 0)
    assert sorted(why.neighbours) == [1, 2]
    assert np.isclose(model._raw(np.array([0]), np.array([0]))[0], why.prediction)


def test_shapes_of_the_sums_formulas():
    with np.errstate(all="raise"):
        for kind in ("cosine", "pearson", "msd"):
            assert not from_sums(kind, np.zeros((2, 3, 6))).any()
