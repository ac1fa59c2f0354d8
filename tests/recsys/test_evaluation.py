"""The metrics of the page recsys/evaluation, each against loops and against a library's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import sparse, stats
from sklearn import metrics

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import (
    Ratings,
    chance_ndcg,
    corrected_metric,
    coverage,
    diversity,
    effective_items,
    hit_at,
    item_ranks,
    mae,
    ndcg_at,
    novelty,
    paired_difference,
    rank_chances,
    ranking_report,
    rmse,
    sampled_ranks,
    top_k,
    user_auc,
)
from lepton_ref.recsys.evaluation.selection import FEW, best_of_rows

U, I, K = 11, 37, 5  # noqa: E741 (the page's names)


def held_out(rng, share=0.2):
    """A test set in which user 4 has nothing, user 5 one item, user 6 more than K."""
    hit = rng.random((U, I)) < share
    hit[4], hit[5], hit[6] = False, np.arange(I) == 3, np.arange(I) < 12
    users, items = np.nonzero(hit)
    return Ratings.of(users, items, user_ids=range(U), item_ids=range(I)), hit


def lists(rng, k=K):
    return np.stack([rng.permutation(I)[:k] for _ in range(U)])


def discount(j):
    return 1 / math.log2(1 + j)


# --- errors of ratings -------------------------------------------------------------------


@pytest.mark.equation("receval-rmse", "receval-mae")
def test_errors_of_ratings(rng, prove):
    from surprise import Prediction, accuracy

    p, r = rng.normal(3, 1, 50), rng.integers(1, 6, 50).astype(float)
    square = math.sqrt(sum((a - b) ** 2 for a, b in zip(p, r)) / 50)
    absolute = sum(abs(a - b) for a, b in zip(p, r)) / 50
    prove(rmse(p, r), square, oracle="loops", label="receval-rmse", tol=1e-12)
    prove(mae(p, r), absolute, oracle="loops", label="receval-mae", tol=1e-12)
    theirs = [Prediction(0, 0, b, a, {}) for a, b in zip(p, r)]
    found = accuracy.rmse(theirs, verbose=False), accuracy.mae(theirs, verbose=False)
    prove(rmse(p, r), float(found[0]), oracle="Surprise", label="receval-rmse", tol=1e-12)
    prove(mae(p, r), float(found[1]), oracle="Surprise", label="receval-mae", tol=1e-12)


@pytest.mark.equation("receval-constant")
def test_the_best_constant(rng, prove):
    """Of all constants on a grid, none beats mean and median."""
    r = rng.integers(1, 6, 31).astype(float)
    grid = np.linspace(1, 5, 40_001)
    squares = [((c - r) ** 2).sum() for c in grid]
    absolutes = [np.abs(c - r).sum() for c in grid]
    best = grid[np.argmin(squares)], grid[np.argmin(absolutes)]
    prove(np.array([r.mean(), np.median(r)]), np.array(best), oracle="search", tol=1e-4)
    assert rmse(np.full(31, r.mean()), r) <= math.sqrt(min(squares) / 31) + 1e-12
    assert mae(np.full(31, np.median(r)), r) <= min(absolutes) / 31 + 1e-12


@pytest.mark.parametrize("function", [rmse, mae])
@pytest.mark.parametrize(
    ("p", "v", "match"),
    [
        ([], [], "not empty"),
        ([1, 2], [1], r"shape \(2,\) beside values of shape \(1,\)"),
        ([[1.0]], [[1.0]], "one row each"),
        ([1, float("nan")], [1, 2], "`predictions` has nan in row 1"),
        ([1, 2], [float("inf"), 2], "`values` has inf in row 0"),
    ],
)
def test_errors_refuse(function, p, v, match):
    with pytest.raises(ArgumentError, match=match):
        function(p, v)


# --- top k -------------------------------------------------------------------------------


def best_by_sorting(scores, k, left_out=None):
    out = np.full((len(scores), k), -1)
    for u, row in enumerate(scores):
        allowed = [
            i
            for i in range(len(row))
            if row[i] > -np.inf and (left_out is None or not left_out[u, i])
        ]
        order = sorted(allowed, key=lambda i: (-row[i], i))[:k]
        out[u, : len(order)] = order
    return out


@pytest.mark.parametrize("k", [1, 3, 10, I, I + 5, FEW, FEW + 1, 300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_top_k_is_a_sort(rng, k, dtype):
    """Scores with many ties, some never, some left out, a user with nothing left."""
    scores = np.round(rng.normal(size=(U, I)), 1).astype(dtype)
    scores[rng.random((U, I)) < 0.1] = -np.inf
    out = rng.random((U, I)) < 0.3
    out[3] = True
    found = top_k(scores, k, sparse.csr_matrix(out))
    assert found.dtype == np.int64 and found.shape == (U, k)
    np.testing.assert_array_equal(found, best_by_sorting(scores, k, out))
    np.testing.assert_array_equal(top_k(scores, k), best_by_sorting(scores, k))
    assert (found[3] == -1).all()


def test_both_versions_of_the_loop_agree(rng):
    scores, out = np.round(rng.normal(size=(U, I)), 1), sparse.csr_matrix(rng.random((U, I)) < 0.3)
    for k in (1, 7, 50):
        fast, slow = np.full((U, k), -1), np.full((U, k), -1)
        arguments = scores, out.indptr.astype(np.int64), out.indices.astype(np.int64), k
        assert best_of_rows(*arguments, fast, np.empty(k)) == -1
        assert best_of_rows.python(*arguments, slow, np.empty(k)) == -1
        np.testing.assert_array_equal(fast, slow)
    scores[2, 5] = np.nan
    arguments = scores, out.indptr.astype(np.int64), out.indices.astype(np.int64), 3
    for run in (best_of_rows, best_of_rows.python):
        assert run(*arguments, np.full((U, 3), -1), np.empty(3)) == 2 * I + 5


def test_left_out_are_stored_zeros_and_unsorted_rows():
    scores = np.arange(6.0)[None]
    zero = sparse.csr_matrix((np.zeros(2), ([0, 0], [5, 2])), shape=(1, 6))
    assert top_k(scores, 2, zero).tolist() == [[4, 3]]
    unsorted = sparse.csr_matrix((np.ones(3), np.array([5, 2, 5]), np.array([0, 3])), shape=(1, 6))
    assert top_k(scores, 3, unsorted).tolist() == [[4, 3, 1]]
    assert unsorted.indices.tolist() == [5, 2, 5], "the caller's matrix is not touched"
    assert top_k(np.zeros((0, 4)), 2).shape == (0, 2)


@pytest.mark.parametrize("k", [2, FEW + 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_top_k_refuses_scores(k, bad):
    scores = np.zeros((3, 4))
    scores[1, 2] = bad
    with pytest.raises(ArgumentError, match=f"{bad} in row 1, column 2"):
        top_k(scores, k)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((np.zeros(3), 1), r"`scores` has shape \(3,\)"),
        ((np.zeros((2, 3), int), 1), "dtype int64; expected"),
        ((np.zeros((2, 3)), 0), "`k` has the value 0"),
        ((np.zeros((2, 3)), True), "`k` has the value True"),
        ((np.zeros((2, 3)), 1.0), "`k` has the value 1.0"),
        ((np.zeros((2, 3)), 1, np.zeros((2, 3))), "`exclude` has type ndarray"),
        ((np.zeros((2, 3)), 1, sparse.csr_matrix((3, 3))), r"shape \(3, 3\)"),
    ],
)
def test_top_k_refuses(arguments, match):
    with pytest.raises(ArgumentError, match=match):
        top_k(*arguments)


# --- ranking -----------------------------------------------------------------------------

LABELS = [f"receval-{name}" for name in ("precision", "recall", "mrr", "map", "ndcg")]


def by_loops(shown, relevant, k):
    """All six of one user, as the page writes them."""
    h = [int(i in relevant) for i in shown[:k]]
    best = min(k, len(relevant))
    return {
        "precision": sum(h) / k,
        "recall": sum(h) / len(relevant),
        "ndcg": sum(h[j] * discount(j + 1) for j in range(k))
        / sum(discount(j + 1) for j in range(best)),
        "map": sum(h[j] * sum(h[: j + 1]) / (j + 1) for j in range(k)) / best,
        "mrr": max(h[j] / (j + 1) for j in range(k)),
        "hit_rate": float(any(h)),
    }


@pytest.mark.equation(*LABELS)
@pytest.mark.parametrize("k", [1, K, 12])
def test_ranking_against_loops(rng, prove, k):
    test, hit = held_out(rng)
    shown = lists(rng, 12)
    shown[2, 3:] = -1
    report = ranking_report(shown, test, k)
    wanted = {
        u: by_loops(shown[u], set(np.flatnonzero(hit[u])), k) for u in range(U) if hit[u].any()
    }
    assert report.users.tolist() == list(wanted) and report.skipped == 1 and report.k == k
    for name, found in report.per_user.items():
        values = np.array([w[name] for w in wanted.values()])
        if (label := f"receval-{name}") in LABELS:
            prove(found, values, oracle="loops", label=label, tol=1e-12)
        np.testing.assert_allclose(found, values, atol=1e-14)
        assert getattr(report, name) == pytest.approx(values.mean())


@pytest.mark.equation(*LABELS)
def test_ranking_against_scikit_learn(rng, prove):
    """Lists of all items, so that its metrics, which know no k, apply; and of K for nDCG."""
    test, hit = held_out(rng)
    scores = rng.normal(size=(U, I))
    some = hit.any(1)
    full, short = (
        ranking_report(top_k(scores, I), test, I),
        ranking_report(top_k(scores, K), test, K),
    )
    for k, report in ((I, full), (K, short)):
        theirs = metrics.ndcg_score(hit[some], scores[some], k=k)
        prove(report.ndcg, float(theirs), oracle="scikit-learn", label="receval-ndcg", tol=1e-12)
    theirs = metrics.label_ranking_average_precision_score(hit[some], scores[some])
    prove(full.map, float(theirs), oracle="scikit-learn", label="receval-map", tol=1e-12)
    first = [1 / metrics.coverage_error(top[None], s[None]) for top, s in zip(
        _only_best(hit[some], scores[some]), scores[some])]  # fmt: skip
    prove(full.mrr, float(np.mean(first)), oracle="scikit-learn", label="receval-mrr", tol=1e-12)
    said = np.zeros((U, I), bool)
    np.put_along_axis(said, top_k(scores, K), True, axis=1)
    for name, function in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
    ):
        theirs = function(hit[some], said[some], average="samples", zero_division=0)
        found = getattr(short, name)
        prove(found, float(theirs), oracle="scikit-learn", label=f"receval-{name}", tol=1e-12)
    alone = test.take(test.users == 5)  # one relevant item: a hit is a right answer among K
    at3 = ranking_report(top_k(scores, K), alone, K)
    classes = np.arange(I)
    wanted = metrics.top_k_accuracy_score([3], scores[[5]], k=K, labels=classes)
    assert at3.hit_rate == wanted and at3.skipped == U - 1


def _only_best(hit, scores):
    """Of each user's relevant items, the one with the highest score."""
    best = np.where(hit, scores, -np.inf).argmax(1)
    return np.arange(I) == best[:, None]


@pytest.mark.equation("receval-map", "receval-ndcg")
def test_ranking_against_implicit(rng, prove):
    """A made-up model that recommends what we say, judged by implicit's own loop."""
    from implicit.evaluation import ranking_metrics_at_k

    test, _ = held_out(rng)
    shown = lists(rng)

    class Says:
        def recommend(self, users, user_items, N, **options):
            return shown[users][:, :N].astype(np.int32), np.zeros((len(users), N), np.float32)

    matrix = test.matrix().astype(np.float32)
    theirs = ranking_metrics_at_k(Says(), matrix, matrix, K=K, show_progress=False, num_threads=1)
    report = ranking_report(shown, test, K)
    prove(report.map, theirs["map"], oracle="implicit", label="receval-map", tol=1e-6)
    prove(report.ndcg, theirs["ndcg"], oracle="implicit", label="receval-ndcg", tol=1e-6)


@pytest.mark.equation("receval-chance")
@pytest.mark.parametrize(("relevant", "n", "k"), [(2, 5, 3), (4, 6, 2), (1, 6, 6), (3, 5, 4)])
def test_chance_is_the_mean_over_all_orders(prove, relevant, n, k):
    found = [
        by_loops(order, set(range(relevant)), k)["ndcg"]
        for order in itertools.permutations(range(n))
    ]
    prove(chance_ndcg(relevant, n, k), float(np.mean(found)), oracle="all orders", tol=1e-12)


def test_perfect_and_empty_lists(rng):
    test, hit = held_out(rng)
    best = ranking_report(top_k(hit.astype(float), K), test, K)
    assert best.ndcg == pytest.approx(1) == best.mrr == best.hit_rate
    assert best.map == pytest.approx(1)
    none = ranking_report(np.full((U, K), -1), test, K)
    assert all(getattr(none, name) == 0 for name in none.per_user)
    part = ranking_report(lists(rng)[[6, 2]], test, K, users=[6, 2])
    assert part.users.tolist() == [6, 2] and "at 5, 2 users (0 skipped): precision" in repr(part)
    with pytest.raises(AttributeError):
        _ = part.accuracy


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"k": 0}, "`k` has the value 0"),
        ({"k": K + 1}, r"`recommended` has shape \(11, 5\) .*\(U, 6\) or more"),
        ({"recommended": np.zeros((U, K))}, "dtype float64"),
        ({"recommended": np.zeros((U, K), int)}, "an item twice in row 0"),
        ({"recommended": np.arange(U * K).reshape(U, K)}, "numbers from 0 to 54; expected item"),
        ({"recommended": np.full((U, K), -2)}, "numbers from -2"),
        ({"recommended": np.zeros((3, K), int)}, "3 rows; expected 11, one for each user"),
        ({"users": [0, 1]}, r"`users` has shape \(2,\)"),
        ({"users": np.arange(U) + 1}, "numbers from 1 to 11; expected user numbers"),
        ({"test": "none"}, "no item of any of these users"),
    ],
)
def test_report_refuses(rng, change, match):
    test, _ = held_out(rng)
    if change.get("test"):
        change = {"test": test.take(np.arange(0))}
    with pytest.raises(ArgumentError, match=match):
        ranking_report(**{"recommended": lists(rng), "test": test, "k": K, **change})


# --- AUC and sampled metrics -------------------------------------------------------------


@pytest.mark.equation("receval-auc")
def test_auc_of_users(rng, prove):
    """With ties and seen items: pairs counted one by one, and the area under sklearn's curve."""
    test, hit = held_out(rng)
    scores = np.round(rng.normal(size=(U, I)), 1)
    seen = (rng.random((U, I)) < 0.3) & ~hit
    loops, areas = [], []
    for u in np.flatnonzero(hit.any(1)):
        mine, rest = scores[u, hit[u]], scores[u, ~hit[u] & ~seen[u]]
        loops.append(np.mean([(a > b) + 0.5 * (a == b) for a in mine for b in rest]))
        areas.append(metrics.roc_auc_score(hit[u][~seen[u]], scores[u][~seen[u]]))
    found = user_auc(scores, test, sparse.csr_matrix(seen))
    prove(found, np.array(loops), oracle="loops", tol=1e-12)
    prove(found, np.array(areas), oracle="scikit-learn", tol=1e-12)
    assert user_auc(hit.astype(float), test).min() == 1


@pytest.mark.equation("receval-sampled-rank", "receval-sampled-auc", "receval-sampled-mrr")
@pytest.mark.parametrize(("n", "m"), [(7, 3), (6, 6), (8, 1)])
def test_sampled_ranks_against_all_samples(prove, n, m):
    """Every sample there is, counted."""
    chances = rank_chances(n, m)
    for a in range(n + 1):
        above = [sum(i < a for i in drawn) for drawn in itertools.combinations(range(n), m)]
        counted = np.bincount(above, minlength=m + 1) / len(above)
        prove(chances[a], counted, oracle="count", label="receval-sampled-rank", tol=1e-12)
        linear = float(np.mean([1 - x / m for x in above]))
        closed = 1 - a / n
        if closed:
            prove(closed, linear, oracle="count", label="receval-sampled-auc", tol=1e-12)
        inverse = float(np.mean([1 / (x + 1) for x in above]))
        missed = math.comb(n - a, m + 1) / math.comb(n + 1, m + 1)
        closed = (n + 1) / (m + 1) / (a + 1) * (1 - missed)
        prove(closed, inverse, oracle="count", label="receval-sampled-mrr", tol=1e-12)


def test_drawn_ranks_have_these_chances(rng):
    test, _ = held_out(rng)
    ranks = item_ranks(rng.normal(size=(U, I)), test)
    drawn = np.stack([sampled_ranks(ranks, 10, seed=s) for s in range(2000)])
    assert np.array_equal(drawn[3], sampled_ranks(ranks, 10, seed=3)) and drawn.min() == 1
    for row in (0, 7, 20):
        n, a = int(ranks.others[row]), int(ranks.above[row])
        expected = 1 + 10 * a / n
        spread = stats.hypergeom(n, a, 10).std() / math.sqrt(2000)
        assert abs(drawn[:, row].mean() - expected) < 4 * spread + 1e-12  # four standard errors


@pytest.mark.equation("receval-corrected")
@pytest.mark.parametrize("variance", [0.05, 1.0])
def test_corrected_metric_minimises(rng, prove, variance):
    """The objective written out with expectations, minimised by SciPy."""
    from scipy.optimize import minimize

    n, m = 12, 4
    f, A = ndcg_at(3)(np.arange(1, n + 2)), rank_chances(n, m)

    def objective(v):
        total = 0.0
        for a in range(n + 1):
            mean = sum(A[a, x] * v[x] for x in range(m + 1))
            total += (mean - f[a]) ** 2
            total += variance * sum(A[a, x] * (v[x] - mean) ** 2 for x in range(m + 1))
        return total

    found = corrected_metric(ndcg_at(3), n, m, variance)
    searched = minimize(objective, np.zeros(m + 1), method="BFGS", options={"gtol": 1e-9}).x
    prove(found, searched, oracle="SciPy's minimiser", tol=1e-5)
    assert all(objective(found) <= objective(found + rng.normal(0, 0.1, m + 1)) for _ in range(50))


def test_a_sample_of_all_is_no_sample():
    """m = n: the sampled rank is the rank, and nothing has to be put right."""
    np.testing.assert_allclose(rank_chances(9, 9), np.eye(10), atol=1e-12)
    np.testing.assert_allclose(
        corrected_metric(hit_at(2), 9, 9, 0.5), hit_at(2)(np.arange(1, 11)), atol=1e-12
    )


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda t: item_ranks(np.zeros((2, 2)), t), r"`scores` has shape \(2, 2\)"),
        (lambda t: item_ranks(np.full((U, I), np.nan), t), "`scores` has NaN"),
        (lambda t: item_ranks(np.zeros((U, I)), t, sparse.csr_matrix((1, I))), r"shape \(1, 37\)"),
        (lambda t: item_ranks(np.zeros((U, I)), t, sparse.csr_matrix(np.ones((U, I)))), "nothing"),
        (lambda t: item_ranks(np.zeros((U, I)), t.take(np.arange(0))), "no rows"),
        (lambda t: sampled_ranks(item_ranks(np.zeros((U, I)), t), 0), "`m` has the value 0"),
        (lambda t: sampled_ranks(item_ranks(np.zeros((U, I)), t), 40), "from 1 to 25"),
        (lambda t: rank_chances(3, 4), "m = 4 of 3 others"),
        (lambda t: corrected_metric(hit_at(1), 5, 2, 0.0), "above 0, at most 1"),
        (lambda t: chance_ndcg(0, 5), "0 relevant of 5"),
        (lambda t: chance_ndcg(2, 5, 6), "k = 6"),
    ],
)
def test_ranks_refuse(rng, call, match):
    with pytest.raises(ArgumentError, match=match):
        call(held_out(rng)[0])


# --- beyond accuracy ---------------------------------------------------------------------


@pytest.mark.equation(
    "receval-coverage", "receval-effective", "receval-novelty", "receval-diversity"
)
def test_beyond_accuracy(rng, prove):
    """Counted item by item and pair by pair; cosine from scikit-learn, entropy from SciPy."""
    shown = lists(rng)
    shown[:, 0] = 2
    shown = np.stack([np.r_[2, row[row != 2][: K - 1]] for row in shown])
    flat = shown.ravel().tolist()
    counts = {i: flat.count(i) for i in set(flat)}
    prove(coverage(shown, I), len(counts) / I, oracle="count", label="receval-coverage", tol=1e-12)
    entropy = stats.entropy(list(counts.values()), base=2)
    found = effective_items(shown, I)
    prove(found, float(2**entropy), oracle="SciPy", label="receval-effective", tol=1e-12)
    assert 1 < found < len(counts)
    train, hit = held_out(rng)
    surprise = [-math.log2(max(int(hit[:, i].sum()), 1) / len(train)) for i in flat]
    wanted = float(np.mean(surprise))
    prove(novelty(shown, train), wanted, oracle="loops", label="receval-novelty", tol=1e-12)
    x = rng.normal(size=(I, 4))
    cosine = metrics.pairwise.cosine_similarity(x)
    pairs = [
        1 - np.mean([cosine[i, j] for i, j in itertools.permutations(row, 2)]) for row in shown
    ]
    found = diversity(shown, x)
    prove(found, np.array(pairs), oracle="pairs", label="receval-diversity", tol=1e-12)


def test_limits_of_beyond_accuracy():
    same = np.tile(np.arange(3), (4, 1))
    assert effective_items(same, 9) == pytest.approx(3) and coverage(same, 9) == 3 / 9
    twins = np.ones((9, 2))
    assert diversity(same, twins) == pytest.approx(0)
    np.testing.assert_allclose(diversity(same, np.eye(9)), 1)
    np.testing.assert_allclose(diversity(same, np.zeros((9, 2))), 1)
    short = np.array([[1, -1, -1], [0, 1, -1]])
    found = diversity(short, sparse.csr_matrix(twins))
    assert np.isnan(found[0]) and found[1] == pytest.approx(0)


@pytest.mark.parametrize(
    ("shown", "match"),
    [
        (np.zeros((2, 2)), "dtype float64"),
        (np.array([1, 2]), r"shape \(2,\)"),
        (np.array([[1, 9]]), "numbers from 1 to 9; expected item numbers from 0 to 8"),
        (np.array([[-1, -1]]), "numbers from -1 to -1"),
        (np.zeros((0, 2), int), "nothing"),
    ],
)
def test_beyond_accuracy_refuses(shown, match):
    with pytest.raises(ArgumentError, match=match):
        coverage(shown, 9)


# --- how sure ----------------------------------------------------------------------------


@pytest.mark.equation("receval-bootstrap")
def test_variance_of_the_bootstrap_mean(rng, prove):
    """All 4⁴ ways to draw four users again."""
    g = rng.normal(size=4)
    means = [np.mean(drawn) for drawn in itertools.product(g, repeat=4)]
    closed = float(((g - g.mean()) ** 2).sum() / 4**2)
    prove(closed, float(np.var(means)), oracle="all draws", tol=1e-12)


@pytest.mark.equation("receval-paired")
def test_paired_difference(rng, prove):
    test, _ = held_out(rng, 0.4)
    good = rng.normal(size=(U, I)) + test.matrix().toarray()
    first = ranking_report(top_k(good, K), test, K)
    second = ranking_report(top_k(good + rng.normal(size=(U, I)), K), test, K)
    gap, (low, high) = paired_difference(first, second, "ndcg", rng, 4000)
    assert gap == pytest.approx(first.ndcg - second.ndcg) and low < gap < high
    a, b = first.per_user["ndcg"], second.per_user["ndcg"]
    spread = a.var() + b.var() - 2 * np.mean((a - a.mean()) * (b - b.mean()))
    prove(float(np.var(a - b)), float(spread), oracle="closed form", tol=1e-10)
    # The interval of a mean is about ±1.96 standard errors; ten users leave room for its shape.
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(spread / len(a)), rel=0.15)
    low, high = first.interval("ndcg", rng, 4000)
    assert low < first.ndcg < high
    assert (high - low) / 2 == pytest.approx(1.96 * math.sqrt(a.var() / len(a)), rel=0.15)
    with pytest.raises(ArgumentError, match="`metric` has the value 'auc'"):
        first.interval("auc", rng)
    with pytest.raises(ArgumentError, match="`metric` has the value 'auc'"):
        paired_difference(first, second, "auc", rng)
    other = ranking_report(top_k(good[:3], K), test, K, users=[0, 1, 2])
    with pytest.raises(ArgumentError, match="same users"):
        paired_difference(first, other, "ndcg", rng)
