"""Recommenders that know what items are: a ranking, ratings with a prior from content, a blend.

Sources: Rocchio (1971), *Relevance feedback in information retrieval*; Pazzani and Billsus (2007),
*Content-based recommendation systems*; Agarwal and Chen (2009), *Regression-based latent factor
models*, for the prior; Burke (2002), *Hybrid recommender systems*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.content.profiles import ItemProfiles
from lepton_ref.recsys.evaluation.arguments import codes
from lepton_ref.recsys.evaluation.baselines import Baseline, RatingBaseline
from lepton_ref.recsys.evaluation.interactions import Ratings
from lepton_ref.recsys.evaluation.ranker import Ranker
from lepton_ref.recsys.evaluation.selection import standardised

PAIRS = 4096  # rows of tastes spread out at a time


class Because(NamedTuple):
    """Why an item has its score: score = base + the sum of all contributions.

    ``items`` int64 (n,) is what the user has, largest contribution first; ``contributions``
    float64 (n,) what each of them adds.
    """

    score: float
    base: float
    items: np.ndarray
    contributions: np.ndarray


def rocchio(liked: Any, disliked: Any = None, gamma: float = 0.25) -> np.ndarray:
    """The unit vector that best tells what was liked from what was not: float64 (D,).

    (mean of liked − γ mean of disliked), brought to length 1 (eq. content-rocchio).

    Parameters
    ----------
    liked : array or sparse matrix, shape (n, D)
        At least one row.
    disliked : array or sparse matrix, shape (m, D), optional
    gamma : float
        From 0.

    Raises
    ------
    ArgumentError
        Nothing liked, another number of features, a negative γ.
    """
    from scipy.sparse import csr_matrix

    where = "rocchio"
    number(where, gamma=gamma)
    good = csr_matrix(liked, dtype=np.float64)
    if not good.shape[0]:
        raise ArgumentError(where, "liked", "no rows", "at least one")
    p = np.asarray(good.mean(0)).ravel()
    if disliked is not None:
        bad = csr_matrix(disliked, dtype=np.float64)
        if bad.shape[1] != good.shape[1]:
            got = f"{bad.shape[1]} features"
            raise ArgumentError(where, "disliked", got, f"{good.shape[1]}, like liked")
        if bad.shape[0]:
            p = p - gamma * np.asarray(bad.mean(0)).ravel()
    length = np.linalg.norm(p)
    return p / length if length > 0 else p


class ContentBased(Ranker):
    """Ranks items by a regression of what a user has on what the items are.

    p_u = (XᵀX + λI)⁻¹ Xᵀ y_u, with y 1 for what user u has and 0 for all else, and the score of
    item i is p_u · x_i (eq. content-ridge). The matrix is the same for everybody, so the scores of
    all users are one product, Y H (eq. content-weights). An item nobody has rated is scored like
    any other.

    Parameters
    ----------
    profiles : ItemProfiles
        In the order of the items of the training set.
    regularization : float or None
        λ > 0. None is the limit of a large λ, H = XXᵀ: the sum of similarities to what the user
        has, which is Rocchio's ranking (eq. content-limit).
    seed : int
        Nothing is drawn.

    Attributes
    ----------
    weights : np.ndarray
        H, float64 (n_items, n_items), symmetric: what having one item adds to another's score.
    """

    knows_cold_items = True

    def __init__(
        self, profiles: ItemProfiles, regularization: float | None = 10.0, seed: int = 0
    ) -> None:
        whole("ContentBased", 0, seed=seed)
        self.profiles, self.seed = _profiles("ContentBased", profiles), seed
        if regularization is not None:
            number("ContentBased", 0.0, regularization=regularization)
        self.regularization = regularization

    def fit(self, train: Ratings) -> ContentBased:
        """Learn from who has a row with what; the values of the ratings play no part.

        Raises
        ------
        ArgumentError
            No rows, or other items than those of the profiles.
        """
        self._remember(train)
        _same_items("ContentBased.fit", self.profiles, train)
        x = self.profiles.matrix.toarray()  # (I, D)
        if self.regularization is None:
            self.map = np.eye(x.shape[1])
        else:
            self.map = np.linalg.inv(x.T @ x + self.regularization * np.eye(x.shape[1]))
        self.weights = x @ self.map @ x.T
        return self

    def _scores(self, users: np.ndarray) -> np.ndarray:
        assert self.seen is not None
        return np.asarray(self.seen[users] @ self.weights)

    def profile(self, user: int) -> np.ndarray:
        """p_u, what a user looks for: float64 (D,), an entry for each feature."""
        seen, u = self._asked("profile", [user])
        total = np.asarray((seen[u] @ self.profiles.matrix).todense()).ravel()
        return self.map @ total

    def because(self, user: int, item: int) -> Because:
        """What each item that the user has adds to the score of an item (eq. content-because)."""
        seen, u = self._asked("because", [user])
        i = codes("ContentBased.because", "item", [item], seen.shape[1])
        mine = seen[u].indices.astype(np.int64)
        return _because(0.0, mine, self.weights[i[0], mine])


class ContentRatings(RatingBaseline):
    """Predicts ratings of items, old or new: a biased mean with a prior, and the user's taste.

    r̂ = μ + b_u + b_i + p_u · x_i. The bias of an item is drawn not to zero but to g · x_i, what
    items like it have (eq. content-prior), and stays there when nobody has rated it; the taste is
    a ridge regression of what is left on the profiles (eq. content-taste).

    Parameters
    ----------
    profiles : ItemProfiles
    reg_users, reg_items : float
        λ_u and λ_i of the biases.
    reg_prior : float
        λ_g of the prior's weights.
    reg_taste : float or None
        λ_p of each user's taste; None for no taste.
    epochs : int
        Turns over b_i, b_u and g.
    clip, seed
        As in :class:`~lepton_ref.recsys.evaluation.baselines.RatingBaseline`.

    Attributes
    ----------
    prior : np.ndarray
        g, float64 (D,).
    """

    def __init__(
        self,
        profiles: ItemProfiles,
        reg_users: float = 15.0,
        reg_items: float = 10.0,
        reg_prior: float = 10.0,
        reg_taste: float | None = 3.0,
        epochs: int = 15,
        clip: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(clip, seed)
        where = "ContentRatings"
        self.profiles = _profiles(where, profiles)
        number(where, 0.0, reg_users=reg_users, reg_items=reg_items, reg_prior=reg_prior)
        if reg_taste is not None:
            number(where, 0.0, reg_taste=reg_taste)
        whole(where, epochs=epochs)
        self.reg_users, self.reg_items, self.reg_prior = reg_users, reg_items, reg_prior
        self.reg_taste, self.epochs = reg_taste, epochs

    def _learn(self, train: Ratings) -> None:
        _same_items("ContentRatings.fit", self.profiles, train)
        u, i = train.users, train.items
        x = self.profiles.matrix.toarray()
        of_user, of_item = np.bincount(u, minlength=train.n_users), np.bincount(i, minlength=len(x))
        rated = of_item > 0
        self.mean = float(train.values.mean())
        residual = train.values - self.mean
        b_u, g = np.zeros(train.n_users), np.zeros(x.shape[1])
        b_i = np.zeros(len(x))
        # The same in every turn: g only looks at the items that somebody has rated.
        normal = x[rated].T @ x[rated] + self.reg_prior / self.reg_items * np.eye(x.shape[1])
        to_prior = np.linalg.solve(normal, x[rated].T)  # (D, rated)
        for _ in range(self.epochs):
            total = np.bincount(i, residual - b_u[u], minlength=len(x))
            b_i = (total + self.reg_items * (x @ g)) / (of_item + self.reg_items)
            total = np.bincount(u, residual - b_i[i], minlength=train.n_users)
            b_u = total / (of_user + self.reg_users)
            g = to_prior @ b_i[rated]
        b_i = np.where(rated, b_i, x @ g)
        self.user_bias, self.item_bias, self.prior = b_u, b_i, g
        self.alpha = self.seen.copy()
        self.alpha.data = self._taste(residual - b_u[u] - b_i[i], train)

    def _taste(self, left: np.ndarray, train: Ratings) -> np.ndarray:
        """α of each stored rating, α_u = (K_u + λ_p I)⁻¹ e_u, in the order of ``seen``."""
        from scipy.linalg import solve

        order = np.lexsort((train.items, train.users))
        left = left[order]
        if self.reg_taste is None:
            return np.zeros_like(left)
        x = self.profiles.matrix.toarray()  # products of its rows cost less than sparse ones
        for u in range(train.n_users):
            at = slice(self.seen.indptr[u], self.seen.indptr[u + 1])
            if at.start < at.stop:
                mine = x[self.seen.indices[at]]
                kernel = mine @ mine.T
                kernel[np.diag_indices(len(kernel))] += self.reg_taste
                left[at] = solve(kernel, left[at], assume_a="pos", overwrite_a=True)
        return left

    def predict(self, users: Any, items: Any) -> np.ndarray:
        """Predicted ratings of these pairs: float64 (n,)."""
        train, where = self._fitted("predict"), "ContentRatings.predict"
        u = codes(where, "users", users, train.n_users)
        i = codes(where, "items", items, train.n_items)
        if u.shape != i.shape:
            raise ArgumentError(where, "items", f"shape {i.shape}", f"{u.shape}, like users")
        who, row = np.unique(u, return_inverse=True)
        taste = (self.alpha[who] @ self.profiles.matrix).toarray()  # (users asked for, D): p_u
        row, x = row.reshape(-1), self.profiles.matrix
        match = np.zeros(len(u))
        for at in range(0, len(u), PAIRS):
            part = slice(at, at + PAIRS)
            match[part] = np.asarray(x[i[part]].multiply(taste[row[part]]).sum(1)).ravel()
        return self._clipped(self.mean + self.user_bias[u] + self.item_bias[i] + match)

    def _scores(self, users: np.ndarray) -> np.ndarray:
        taste = (self.alpha[users] @ self.profiles.matrix).toarray()
        match = self.profiles.matrix @ taste.T  # (I, U)
        return self.mean + self.user_bias[users][:, None] + self.item_bias + np.asarray(match).T

    def because(self, user: int, item: int) -> Because:
        """What each rated item adds to a prediction, before clipping; base is μ + b_u + b_i."""
        u = self._users("because", [user])
        i = codes("ContentRatings.because", "item", [item], self._fitted("because").n_items)
        base = float(self.mean + self.user_bias[u[0]] + self.item_bias[i[0]])
        mine = self.alpha[u].indices.astype(np.int64)
        x = self.profiles.matrix
        like = np.asarray((x[mine] @ x[i].T).todense()).ravel()
        return _because(base, mine, self.alpha[u].data * like)


class Hybrid(Baseline):
    """A weighted sum of the standardised scores of other models.

    For each user, each model's scores get mean 0 and deviation 1 over the items, so that units
    do not matter (eq. content-hybrid).

    Parameters
    ----------
    models : sequence
        With ``fit`` and ``scores``.
    weights : sequence of float
        One for each, not negative, not all zero; brought to sum 1.
    seed : int
        Nothing is drawn.
    """

    def __init__(self, models: Sequence[Any], weights: Sequence[float], seed: int = 0) -> None:
        super().__init__(seed)
        w = np.asarray(weights, np.float64)
        if not len(models) or w.shape != (len(models),) or not (w >= 0).all() or not w.sum() > 0:
            got = f"the value {list(weights)!r} for {len(models)} models"
            raise ArgumentError("Hybrid", "weights", got, "a number from 0 for each, one above 0")
        self.models, self.weights = tuple(models), w / w.sum()

    def _learn(self, train: Ratings) -> None:
        for model in self.models:
            model.fit(train)

    def _scores(self, users: np.ndarray) -> np.ndarray:
        total = np.zeros((len(users), self.seen.shape[1]))
        for weight, model in zip(self.weights, self.models, strict=True):
            if weight:
                total += weight * standardised(model.scores(users))
        return total


def _because(base: float, items: np.ndarray, contributions: np.ndarray) -> Because:
    order = np.argsort(-contributions, kind="stable")
    score = base + float(contributions.sum())
    return Because(score, base, items[order], contributions[order])


def _profiles(where: str, profiles: Any) -> ItemProfiles:
    if not isinstance(profiles, ItemProfiles):
        raise ArgumentError(where, "profiles", f"type {type(profiles).__name__}", "ItemProfiles")
    return profiles


def _same_items(where: str, profiles: ItemProfiles, train: Ratings) -> None:
    if profiles.n_items != train.n_items:
        got = f"{train.n_items} items"
        raise ArgumentError(where, "train", got, f"{profiles.n_items}, as profiles have")
