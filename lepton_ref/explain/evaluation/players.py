"""Players: the pieces of an input that are taken away together, and what each was given.

A pixel, a patch of pixels, a word with its whole vector, a feature, a rated film. All measures of
the page count in players, so that methods that speak of pixels, of patches and of words can be
compared on equal terms.
"""

from __future__ import annotations

import numpy as np

from lepton_ref.explain.perturbation.coalitions import NOBODY, owners, patches
from lepton_ref.framework.arguments import real_array

__all__ = ["NOBODY", "counts", "owners", "patches", "player_values", "spread", "words"]


def words(mask: np.ndarray, dim: int) -> np.ndarray:
    """Each real word with its whole vector as a player: int64 (N, T, dim); padding is nobody's.

    Parameters
    ----------
    mask : bool array, shape (N, T)
        True where there is a word.
    dim : int
        Length of a word's vector.
    """
    real = np.asarray(mask, bool)
    index = np.where(real, np.cumsum(real, axis=1) - 1, NOBODY)
    return np.repeat(index[:, :, None], dim, axis=2)


def counts(players: np.ndarray) -> np.ndarray:
    """Number of players of each example, int64 (N,), of rows as :func:`owners` gives them."""
    return players.max(axis=1) + 1


def player_values(values: np.ndarray, players: np.ndarray | None = None) -> np.ndarray:
    """What each player was given: the sum over its entries, float64 (N, P).

    Parameters
    ----------
    values : array, shape (N, *shape)
        Of an :class:`~lepton_ref.explain.gradients.Attribution`.
    players : int array, of the shape of one example or of all, optional
        Without it every entry is a player.

    Returns
    -------
    ndarray
        NaN where an example has fewer than P players.

    Raises
    ------
    ArgumentError
        As in :func:`owners`.
    """
    values = real_array("player_values", "values", values)
    rows = owners("player_values", players, values.shape)
    n, many = len(rows), counts(rows)
    width = int(many.max())
    flat = values.reshape(n, -1)
    real = rows >= 0
    slot = (np.arange(n)[:, None] * width + rows)[real]
    summed = np.bincount(slot, flat[real], n * width).reshape(n, width)
    return np.where(np.arange(width) < many[:, None], summed, np.nan)


def spread(
    of_players: np.ndarray, players: np.ndarray | None, shape: tuple[int, ...]
) -> np.ndarray:
    """A number of each player written on all its entries; 0 where nobody is: (N, *shape)."""
    rows = owners("spread", players, shape)
    taken = np.take_along_axis(np.asarray(of_players), np.maximum(rows, 0), axis=1)
    return np.where(rows >= 0, taken, 0).reshape(shape)
