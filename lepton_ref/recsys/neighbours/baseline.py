"""What a rating owes to its user and its item alone: the mean and two biases.

Source: Koren (2010), *Factor in the neighbors: scalable and accurate collaborative filtering*,
section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.neighbours.similarity import number, whole


@dataclass(frozen=True)
class Baselines:
    """b_ui = μ + b_u + b_i (eq. neighbours-baseline).

    Attributes
    ----------
    mean : float
        μ, the mean of all ratings.
    users, items : np.ndarray
        float64 (n_users,) and (n_items,): the biases; 0 for those without a rating.
    """

    mean: float
    users: np.ndarray
    items: np.ndarray

    def of(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """The baselines of these pairs, float64 (n,)."""
        return self.mean + self.users[users] + self.items[items]


def baselines(
    train: Ratings, reg_user: float = 15.0, reg_item: float = 10.0, epochs: int = 10
) -> Baselines:
    """Mean and biases, by turns in closed form.

    Each epoch first sets b_i = Σ (r − μ − b_u)/(λ_i + n_i), then the same for the users
    (eqs. neighbours-bias-item, neighbours-bias-user).

    Parameters
    ----------
    train : Ratings
    reg_user, reg_item : float
        λ_u and λ_i: as if so many more ratings said 0.
    epochs : int
        Turns.

    Raises
    ------
    ArgumentError
        No ratings, a negative regularisation.
    """
    where = "baselines"
    number(where, "reg_user", reg_user, 0.0)
    number(where, "reg_item", reg_item, 0.0)
    whole(where, "epochs", epochs)
    if not len(train):
        raise ArgumentError(where, "train", "no ratings", "at least one")
    u, i, mean = train.users, train.items, float(np.mean(train.values))
    left, n_u, n_i = train.values - mean, train.n_users, train.n_items
    weight_u = _inverse(np.bincount(u, minlength=n_u) + reg_user)
    weight_i = _inverse(np.bincount(i, minlength=n_i) + reg_item)
    of_users, of_items = np.zeros(n_u), np.zeros(n_i)
    for _ in range(epochs):
        of_items = np.bincount(i, left - of_users[u], minlength=n_i) * weight_i
        of_users = np.bincount(u, left - of_items[i], minlength=n_u) * weight_u
    return Baselines(mean, of_users, of_items)


def _inverse(x: np.ndarray) -> np.ndarray:
    return np.divide(1.0, x, out=np.zeros_like(x, dtype=np.float64), where=x > 0)
