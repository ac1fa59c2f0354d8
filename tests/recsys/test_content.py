"""The models of the page recsys/content: equations, exact explanations, new items, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.content import (
    ContentBased,
    ContentRatings,
    Hybrid,
    ItemProfiles,
    movie_profiles,
    rocchio,
    tf_idf,
    title_words,
)
from lepton_ref.recsys.evaluation import (
    BiasBaseline,
    Popularity,
    Random,
    Ratings,
    folds,
    item_split,
    movielens,
    ranking_report,
    rmse,
    stratified_split,
    top_k,
)
from tests.data import load_or_skip

U, I = 9, 14  # noqa: E741 (the page's names)


def some_profiles(seed=0):
    rng = np.random.default_rng(seed)
    kinds, words = list("abcde"), list("uvwxyz")
    parts = {
        "kind": [list(rng.choice(kinds, rng.integers(1, 4), replace=False)) for _ in range(I)],
        "word": [list(rng.choice(words, rng.integers(0, 4))) for _ in range(I)],
    }
    return ItemProfiles.of(parts, {"kind": 2.0, "word": 0.5})


def some_ratings(seed=0):
    """User 8 and the items 12 and 13 have no rating."""
    rng = np.random.default_rng(seed)
    given = rng.random((U, I)) < 0.5
    given[8], given[:, 12:] = False, False
    users, items = np.nonzero(given)
    order = rng.permutation(len(users))  # rows of a file come in any order
    values = rng.integers(1, 6, len(users)).astype(float)
    return Ratings.of(
        users[order], items[order], values,
        scale=(1, 5), user_ids=range(U), item_ids=range(I),
    )  # fmt: skip


# --- profiles ----------------------------------------------------------------------------


@pytest.mark.equation("content-tfidf")
def test_tf_idf(prove):
    """scikit-learn's, whose formula it is, and by hand for one term."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    documents = [["a", "b", "a"], ["b"], [], ["c", "b", "d"], ["d", "d"]]
    found, terms = tf_idf(documents)
    theirs = TfidfVectorizer(analyzer=list).fit_transform(documents).toarray()
    prove(found.toarray(), theirs, oracle="scikit-learn", tol=1e-12)
    assert terms == ["a", "b", "c", "d"] and not found[2].toarray().any()
    a, b = 2 * (1 + np.log(6 / 2)), 1 + np.log(6 / 4)
    assert found[0, 0] == pytest.approx(a / np.hypot(a, b))
    kept, terms = tf_idf(documents, min_count=2)
    assert terms == ["b", "d"] and kept.shape == (5, 2)
    assert tf_idf([["x"], ["y"]], 2)[0].shape == (2, 0)


@pytest.mark.equation("content-blocks")
def test_inner_products_are_means_of_cosines(prove):
    from sklearn.metrics.pairwise import cosine_similarity

    profiles = some_profiles()
    x = profiles.matrix.toarray()
    kinds = np.array([name.startswith("kind:") for name in profiles.features])
    wanted = 0.8 * cosine_similarity(x[:, kinds]) + 0.2 * cosine_similarity(x[:, ~kinds])
    prove(x @ x.T, wanted, oracle="scikit-learn", tol=1e-12)
    assert "14 items, 11 features" in repr(profiles)


def test_title_words():
    assert title_words("Postino, Il") == ["postino"]
    assert title_words("Mr. Holland's Opus") == ["mr", "holland's", "opus"]
    assert title_words("Die Hard 2") == ["die", "hard", "2"] and title_words("???") == []


def test_similar_items():
    profiles = ItemProfiles.of({"kind": [["a"], ["b"], ["a"], ["a", "b"], ["c"]]})
    assert profiles.similar(0, 3).tolist()[0] == 2
    assert 0 not in profiles.similar(0, 5).tolist()[:4] and profiles.similar(0, 5)[4] == -1


def test_profiles_of_films():
    data = load_or_skip("movielens-100k")
    profiles = movie_profiles(data)
    assert profiles.n_items == 1682 and movie_profiles().features == profiles.features
    found = {name.partition(":")[0] for name in profiles.features}
    assert found == {"genre", "title", "decade"}
    length = sparse.linalg.norm(profiles.matrix, axis=1)
    assert length.max() == pytest.approx(1) and np.median(length) > 0.8
    star_wars, empire = (
        int(np.argmax(data.titles == t)) for t in ("Star Wars", "Return of the Jedi")
    )
    genres = movie_profiles(data, {"genre": 1.0, "title": 0.0})
    assert all(name.startswith("genre:") for name in genres.features)
    assert empire in genres.similar(star_wars, 5)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: title_words(b"Alien"), "`title` has type bytes; expected a str"),
        (lambda: tf_idf(["alien"]), "a str among them; expected lists of terms"),
        (lambda: tf_idf([["a"]], 0), "`min_count` has the value 0"),
        (lambda: ItemProfiles.of({}), "`parts` has lengths {}"),
        (lambda: ItemProfiles.of({"a": [["x"]], "b": []}), "'b': 0.*one length"),
        (lambda: ItemProfiles.of({"a": [["x"]]}, {"a": 0}), "a positive number for each of a"),
        (lambda: ItemProfiles.of({"a": [["x"]]}, {"b": 1}), "`weights`.*each of a"),
        (lambda: some_profiles().similar(14), "`item` has numbers from 14 to 14"),
    ],
)
def test_profiles_refuse(call, match):
    with pytest.raises(ArgumentError, match=match):
        call()


# --- ranking -----------------------------------------------------------------------------


@pytest.mark.equation("content-rocchio")
def test_rocchio_is_the_best_direction(rng, prove):
    """SciPy looks for it on the sphere."""
    from scipy.optimize import minimize

    liked, disliked = rng.normal(size=(5, 4)) + 1, rng.normal(size=(3, 4))

    def gap(q):
        p = q / np.linalg.norm(q)
        return -((liked @ p).mean() - 0.4 * (disliked @ p).mean())

    searched = minimize(gap, np.ones(4), method="BFGS", options={"gtol": 1e-10}).x
    found = rocchio(liked, disliked, 0.4)
    prove(found, searched / np.linalg.norm(searched), oracle="SciPy's maximiser", tol=1e-5)
    np.testing.assert_allclose(rocchio(liked, disliked[:0]), rocchio(sparse.csr_matrix(liked)))
    assert not rocchio(np.zeros((2, 3))).any()


@pytest.mark.equation("content-ridge", "content-weights")
def test_ranking_is_a_ridge_regression(prove):
    from sklearn.linear_model import Ridge

    profiles, r = some_profiles(), some_ratings()
    model = ContentBased(profiles, 0.7).fit(r)
    x, y = profiles.matrix.toarray(), (r.matrix().toarray() > 0).astype(float)
    theirs = Ridge(alpha=0.7, fit_intercept=False, tol=1e-12).fit(x, y.T).coef_  # (U, D)
    found = np.stack([model.profile(u) for u in range(U)])
    prove(found, theirs, oracle="scikit-learn", label="content-ridge", tol=1e-8)
    scores = model.scores(range(8)), (theirs @ x.T)[:8]  # user 8 is a stranger
    prove(*scores, oracle="scikit-learn", label="content-ridge", tol=1e-8)
    K = x @ x.T
    other = K @ np.linalg.inv(K + 0.7 * np.eye(I))
    prove(model.weights, other, oracle="the other side", label="content-weights", tol=1e-10)


@pytest.mark.equation("content-limit")
def test_rocchio_is_the_limit(prove):
    """λ p for a huge λ, against a sum over the items of each user in a loop."""
    profiles, r = some_profiles(), some_ratings()
    x = profiles.matrix.toarray()
    sums = np.zeros((U, x.shape[1]))
    for u, i in zip(r.users, r.items):
        sums[u] += x[i]
    far = ContentBased(profiles, 1e8).fit(r)
    found = 1e8 * np.stack([far.profile(u) for u in range(U)])
    prove(found, sums, oracle="loops", tol=1e-6)
    limit = ContentBased(profiles, None).fit(r)
    np.testing.assert_allclose(limit.scores(range(8)), (sums @ x.T)[:8], atol=1e-12)


@pytest.mark.equation("content-because")
@pytest.mark.parametrize("regularization", [None, 0.5])
def test_contributions_add_up(prove, regularization):
    """By items and by features, against a regression solved without any weights of items."""
    profiles, r = some_profiles(), some_ratings()
    model = ContentBased(profiles, regularization).fit(r)
    x = profiles.matrix.toarray()
    for u, i in ((0, 3), (4, 13), (7, 0)):
        y = (r.matrix()[u].toarray()[0] > 0).astype(float)
        p = x.T @ y
        if regularization:
            p = np.linalg.lstsq(
                np.vstack([x, np.sqrt(0.5) * np.eye(x.shape[1])]), np.r_[y, np.zeros(x.shape[1])],
                rcond=None,
            )[0]  # fmt: skip
        why = model.because(u, i)
        prove(float(why.contributions.sum()), float(p @ x[i]), oracle="least squares", tol=1e-10)
        assert why.base == 0 and why.score == pytest.approx(model.scores([u])[0, i], abs=1e-12)
        assert sorted(why.items) == sorted(r.items[r.users == u])
        assert (np.diff(why.contributions) <= 0).all()
        assert (model.profile(u) * x[i]).sum() == pytest.approx(why.score)
    assert len(model.because(8, 0).items) == 0 and model.because(8, 0).score == 0


# --- ratings -----------------------------------------------------------------------------


@pytest.mark.equation("content-prior", "content-prior-g")
def test_turns_end_at_the_minimum(prove):
    """One loss over users, items and prior, minimised by SciPy."""
    from scipy.optimize import minimize

    profiles, r = some_profiles(), some_ratings()
    x, D = profiles.matrix.toarray(), profiles.matrix.shape[1]
    lu, li, lg = 3.0, 2.0, 0.5
    mu, rated = r.values.mean(), np.isin(np.arange(I), r.items)

    def loss(v):
        bu, bi, g = v[:U], v[U : U + I], v[U + I :]
        error = r.values - mu - bu[r.users] - bi[r.items]
        prior = ((bi - x @ g) ** 2)[rated].sum()
        return (error**2).sum() + lu * (bu**2).sum() + li * prior + lg * (g**2).sum()

    model = ContentRatings(profiles, lu, li, lg, None, epochs=2000).fit(r)
    best = minimize(loss, np.zeros(U + I + D), method="BFGS", options={"gtol": 1e-9}).x
    bi, g = best[U : U + I], best[U + I :]
    found = model.item_bias[rated]
    prove(found, bi[rated], oracle="SciPy's minimiser", label="content-prior", tol=1e-4)
    prove(model.prior, g, oracle="SciPy's minimiser", label="content-prior-g", tol=1e-4)
    np.testing.assert_allclose(model.item_bias[~rated], x[~rated] @ model.prior)
    i = int(r.items[0])  # and the formula of the page, for one item
    mine = r.values[r.items == i] - mu - model.user_bias[r.users[r.items == i]]
    n, expected = len(mine), x[i] @ model.prior
    mixed = n / (n + li) * mine.mean() + li / (n + li) * expected
    prove(
        float(model.item_bias[i]), float(mixed), oracle="by hand", label="content-prior", tol=1e-8
    )


@pytest.mark.equation("content-taste")
def test_taste_is_kernel_ridge(prove):
    """scikit-learn's, user by user; and primal ridge from the normal equations."""
    from sklearn.kernel_ridge import KernelRidge

    profiles, r = some_profiles(), some_ratings()
    model = ContentRatings(profiles, reg_taste=0.8, clip=False).fit(r)
    x = profiles.matrix.toarray()
    base = model.mean + model.user_bias[:, None] + model.item_bias
    every = np.repeat(np.arange(U), I), np.tile(np.arange(I), U)
    found = model.predict(*every).reshape(U, I) - base
    wanted, primal = np.zeros((U, I)), np.zeros((U, I))
    for u in range(U - 1):
        mine = r.users == u
        left = r.values[mine] - base[u, r.items[mine]]
        wanted[u] = KernelRidge(alpha=0.8).fit(x[r.items[mine]], left).predict(x)
        z = x[r.items[mine]]
        primal[u] = x @ np.linalg.solve(z.T @ z + 0.8 * np.eye(x.shape[1]), z.T @ left)
    prove(found, wanted, oracle="scikit-learn", tol=1e-9)
    prove(found, primal, oracle="normal equations", tol=1e-9)
    np.testing.assert_allclose(model.scores(), found + base, atol=1e-12)
    why = model.because(3, 13)
    assert why.score == pytest.approx(model.predict([3], [13])[0], abs=1e-12)
    assert why.base == pytest.approx(base[3, 13])
    assert why.base + why.contributions.sum() == pytest.approx(why.score, abs=1e-12)


def test_strangers():
    """A new user gets the mean and the item's bias; a new item, what content says of it."""
    profiles, r = some_profiles(), some_ratings()
    model = ContentRatings(profiles).fit(r)
    expected = model.mean + model.item_bias[3]
    assert model.predict([8], [3])[0] == pytest.approx(np.clip(expected, 1, 5))
    assert model.item_bias[12] != 0 and model.item_bias[12] != model.item_bias[13]
    assert model.predict([], []).shape == (0,)
    ranked = ContentBased(profiles).fit(r).recommend(k=I)
    assert {12, 13} <= set(ranked[0].tolist())
    often = np.bincount(r.items, minlength=I)
    assert ranked[8].tolist() == np.lexsort((np.arange(I), -often)).tolist()  # the most popular
    values = ContentRatings(profiles, clip=True).fit(r).predict(np.arange(U), np.full(U, 2))
    assert values.min() >= 1 and values.max() <= 5


# --- hybrid ------------------------------------------------------------------------------


class Scaled(Popularity):
    def __init__(self, c, d):
        super().__init__()
        self.c, self.d = c, d

    def _scores(self, users):
        return self.c * super()._scores(users) + self.d


@pytest.mark.equation("content-hybrid")
def test_units_do_not_matter(prove):
    """Against z-scores of SciPy, with a model whose scores are in other units."""
    from scipy.stats import zscore

    profiles, r = some_profiles(), some_ratings()
    content = ContentBased(profiles)
    found = Hybrid([Scaled(1000.0, -7.0), content], [3, 1]).fit(r).scores()[:8]
    popular = Popularity().fit(r).scores()[:8]
    wanted = 0.75 * zscore(popular, axis=1) + 0.25 * zscore(content.scores()[:8], axis=1)
    prove(found, wanted, oracle="SciPy", tol=1e-10)
    alone = Hybrid([Popularity(), content], [1, 0]).fit(r)
    np.testing.assert_array_equal(alone.recommend(), Popularity().fit(r).recommend())
    stranger = Hybrid([Popularity(), content], [1, 1]).fit(r).recommend([8], k=3)
    np.testing.assert_array_equal(stranger, Popularity().fit(r).recommend([8], k=3))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda p, r: ContentBased("films"), "`profiles` has type str"),
        (lambda p, r: ContentBased(p, 0), "`regularization` has the value 0"),
        (lambda p, r: ContentBased(p, True), "`regularization` has the value True"),
        (lambda p, r: ContentRatings(p, reg_taste=-1), "`reg_taste` has the value -1"),
        (lambda p, r: ContentRatings(p, epochs=0), "`epochs` has the value 0"),
        (lambda p, r: ContentRatings(p, reg_prior=float("inf")), "`reg_prior` has the value inf"),
        (lambda p, r: ContentBased(p).fit(Ratings.of([1], [1])), "1 items; expected 14"),
        (lambda p, r: ContentRatings(p).fit(Ratings.of([1], [1])), "1 items; expected 14"),
        (lambda p, r: ContentBased(p).recommend(), "no training set yet"),
        (lambda p, r: ContentBased(p).fit(r).because(9, 0), "`users` has numbers from 9 to 9"),
        (lambda p, r: ContentBased(p).fit(r).because(0, 14), "`item` has numbers from 14 to 14"),
        (lambda p, r: ContentRatings(p).fit(r).because(0, -1), "`item` has numbers from -1"),
        (lambda p, r: ContentRatings(p).fit(r).predict([0, 1], [1]), r"`items` has shape \(1,\)"),
        (lambda p, r: ContentRatings(p).fit(r).predict([0], [99]), "`items` has numbers from 99"),
        (lambda p, r: rocchio(np.zeros((0, 3))), "`liked` has no rows"),
        (lambda p, r: rocchio(np.ones((1, 3)), np.ones((1, 2))), "2 features; expected 3"),
        (lambda p, r: rocchio(np.ones((1, 3)), gamma=-1), "`gamma` has the value -1"),
        (lambda p, r: Hybrid([], []), "for 0 models"),
        (lambda p, r: Hybrid([Random()], [0]), "one above 0"),
        (lambda p, r: Hybrid([Random()], [1, 2]), "for 1 models"),
        (lambda p, r: Hybrid([Random()], [float("nan")]), "a number from 0 for each"),
    ],
)
def test_refusals(call, match):
    with pytest.raises(ArgumentError, match=match):
        call(some_profiles(), some_ratings())


# --- MovieLens ---------------------------------------------------------------------------


def test_figures_on_movielens():
    """The regression is far ahead of the sum, and new films are not ranked by luck."""
    data = load_or_skip("movielens-100k")
    whole, profiles = movielens(data), movie_profiles(data)
    train, test = stratified_split(whole)
    fitted, summed = (
        ranking_report(ContentBased(profiles, strength).fit(train).recommend(), test)
        for strength in (10.0, None)
    )
    assert fitted.ndcg > 0.12 > 0.06 > summed.ndcg
    train, test = item_split(whole)
    known = np.isin(np.arange(whole.n_items), train.items)
    found = {}
    for name, model in (("content", ContentBased(profiles)), ("random", Random())):
        scores = model.fit(train).scores()
        scores[:, known] = -np.inf
        found[name] = ranking_report(top_k(scores, 10), test).ndcg
    assert found["content"] > 2 * found["random"]


def test_ratings_on_movielens():
    """One fold: content is worth 0.02 of RMSE."""
    data = load_or_skip("movielens-100k")
    train, test = folds(movielens(data))[0]
    asked = test.users, test.items
    plain = rmse(BiasBaseline().fit(train).predict(*asked), test.values)
    told = rmse(ContentRatings(movie_profiles(data)).fit(train).predict(*asked), test.values)
    assert told < plain - 0.018


@pytest.mark.parametrize("model", [ContentBased, ContentRatings])
def test_a_list_longer_than_what_is_left_ends_early(model):
    r = some_ratings()
    everything = Ratings.of(
        [*r.users, *([8] * I)], [*r.items, *range(I)], [*r.values, *([3.0] * I)],
        scale=(1, 5), user_ids=np.arange(U), item_ids=np.arange(I),
    )  # fmt: skip
    lists = model(some_profiles()).fit(everything).recommend(k=I + 3)
    assert lists.shape == (U, I + 3) and (lists[8] == -1).all() and (lists[:, -3:] == -1).all()
