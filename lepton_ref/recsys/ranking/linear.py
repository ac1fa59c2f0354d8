"""EASE: every item a weighted sum of the others, in closed form.

Source: Steck (2019), *Embarrassingly shallow autoencoders for sparse data*.
"""

from __future__ import annotations

import numpy as np

from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.evaluation.arguments import codes
from lepton_ref.recsys.evaluation.ranker import Ranker


def ease_weights(gram: np.ndarray, reg: float) -> tuple[np.ndarray, np.ndarray]:
    """The best matrix with a zero diagonal, and what forbidding the diagonal costs.

    With P = (XᵀX + λI)⁻¹: B_ij = −P_ij / P_jj off the diagonal (eq. ease-solution), and the
    multipliers γ_j = 1 / P_jj − λ (eq. ease-multipliers).

    Parameters
    ----------
    gram : array, shape (I, I)
        XᵀX: how many users have both items.
    reg : float
        λ > 0.

    Returns
    -------
    weights : np.ndarray
        float64 (I, I).
    multipliers : np.ndarray
        float64 (I,).

    Raises
    ------
    ArgumentError
        For a ``gram`` that is not square or a ``reg`` that is not positive.
    """
    G = np.array(gram, np.float64)
    if G.ndim != 2 or G.shape[0] != G.shape[1]:
        raise ArgumentError("ease_weights", "gram", f"shape {G.shape}", "(I, I)")
    number("ease_weights", 0.0, reg=reg)
    G[np.diag_indices_from(G)] += reg
    P = np.linalg.inv(G)
    diagonal = np.diag(P).copy()
    P /= -diagonal
    np.fill_diagonal(P, 0.0)
    return P, 1 / diagonal - reg


class EASE(Ranker):
    """A linear model of the items: a user's scores are the sum of the rows of what they have.

    The dense inverse costs memory I² and time I³, whatever the number of users.

    Parameters
    ----------
    reg : float
        λ > 0; the only choice there is.
    max_items : int
        Refuse more: 20,000 items need 3.2 GB for each of two matrices.

    Attributes
    ----------
    weights : np.ndarray
        B, float64 (n_items, n_items), zero on the diagonal.
    multipliers : np.ndarray
        γ, float64 (n_items,).

    Raises
    ------
    ArgumentError
        For a hyper-parameter out of its domain.
    """

    weights: np.ndarray
    multipliers: np.ndarray

    def __init__(self, reg: float = 400.0, max_items: int = 20_000) -> None:
        number("EASE", 0.0, reg=reg)
        whole("EASE", max_items=max_items)
        self.reg, self.max_items = float(reg), max_items

    def fit(self, train: Ratings) -> EASE:
        """Learn from who has a row with what; the values of the ratings play no part.

        Raises
        ------
        ArgumentError
            For more items than ``max_items``.
        """
        X = self._remember(train)
        if train.n_items > self.max_items:
            got = f"{train.n_items:,} items"
            expected = f"at most {self.max_items:,} (max_items): the model is dense"
            raise ArgumentError("EASE.fit", "train", got, expected)
        self.weights, self.multipliers = ease_weights((X.T @ X).toarray(), self.reg)
        return self

    def _scores(self, users: np.ndarray) -> np.ndarray:
        assert self.seen is not None
        return np.asarray(self.seen[users] @ self.weights)

    def because(self, user: int, item: int, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
        """What of a user's history speaks most for an item: the score is a sum over it.

        Returns
        -------
        items : np.ndarray
            int64 (at most k,), the strongest first.
        parts : np.ndarray
            float64, what each adds to the score.
        """
        seen, _ = self._asked("because", [user])
        codes("EASE.because", "item", [item], seen.shape[1])
        whole("EASE.because", k=k)
        had = seen[user].indices
        parts = self.weights[had, item]
        order = np.argsort(-parts, kind="stable")[:k]
        return had[order].astype(np.int64), parts[order]
