"""Players and coalitions: which pieces of an input stay, and what stands in for the others.

Every black box of the chapter asks the same question, f(some pieces of x, the rest absent). A
player is a piece: an entry, a patch of pixels, a word with its vector, a rated film. A coalition is
the set of players that stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.explain.gradients.attribution import (
    Attribution,
    at_target,
    check_explained,
    check_input,
)
from lepton_ref.explain.gradients.boxes import BlackBox, black_box
from lepton_ref.framework.arguments import rectangular, whole
from lepton_ref.framework.errors import ArgumentError

NOBODY = -1  # an entry of no player stays as it is
CHUNK = 1 << 22  # entries of the inputs that are built at a time


def patches(shape: tuple[int, ...], size: int) -> np.ndarray:
    """Square patches of a picture as players: int64, of the picture's shape.

    Parameters
    ----------
    shape : (H, W) or (C, H, W)
        All channels of a pixel belong to one player.
    size : int
        Side of a patch; those at the right and lower edges may be smaller.

    Raises
    ------
    ArgumentError
        For another number of axes, or a size below 1.
    """
    if len(shape) not in (2, 3):
        raise ArgumentError("patches", "shape", f"{tuple(shape)}", "(H, W) or (C, H, W)")
    whole("patches", size=size)
    rows, columns = np.arange(shape[-2]) // size, np.arange(shape[-1]) // size
    return np.broadcast_to(rows[:, None] * (columns[-1] + 1) + columns, shape).astype(np.int64)


def owners(where: str, players: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Whose each entry is, int64 (N, entries); every entry its own player when None.

    Parameters
    ----------
    players : int array or None
        Broadcast to ``shape[1:]``, or of the whole ``shape``; 0, 1, 2, … without a gap in each
        example, −1 for what always stays.
    shape : (N, *shape of one example)

    Raises
    ------
    ArgumentError
        For another shape or dtype, numbers below −1 or with gaps, an example without players.
    """
    n, size = shape[0], int(np.prod(shape[1:]))
    if players is None:
        return np.broadcast_to(np.arange(size), (n, size))
    found = rectangular(where, "players", players)
    if found.dtype.kind not in "iu":
        raise ArgumentError(where, "players", f"dtype {found.dtype}", "whole numbers")
    try:
        full = np.broadcast_to(found, shape if found.shape[:1] == shape[:1] else shape[1:])
    except ValueError:
        raise ArgumentError(
            where, "players", f"shape {found.shape}", f"what broadcasts to {tuple(shape[1:])}"
        ) from None
    rows = np.broadcast_to(full, shape).reshape(n, size).astype(np.int64)
    for row in rows[: 1 if full.shape == shape[1:] else n]:
        known = np.unique(row)
        known = known[known != NOBODY]
        if not len(known) or known[0] != 0 or known[-1] != len(known) - 1:
            seen = f"the numbers {known[0]}..{known[-1]}, {len(known)} of them" if len(known) else (
                "no player"
            )  # fmt: skip
            raise ArgumentError(where, "players", seen, "0, 1, 2, ... without a gap, -1 for nobody")
    return rows


@dataclass
class Game:
    """v(S): the output for one input when the players of S stay (eq. perturbation-game).

    Averages over the rows of ``absent`` what stands in for the others.

    Attributes
    ----------
    f : callable
        (M, *shape) -> (M, K) or (M,).
    x : ndarray, shape (*shape)
    target : int
    owner : int64 ndarray, shape (entries,)
    absent : ndarray, shape (B, *shape)
    players : int
    """

    f: Callable[[np.ndarray], np.ndarray]
    x: np.ndarray
    target: int
    owner: np.ndarray
    absent: np.ndarray

    def __post_init__(self) -> None:
        self.players = int(self.owner.max()) + 1

    def inputs(self, masks: np.ndarray) -> np.ndarray:
        """What the model is shown: bool (M, players) -> (M, B, *shape)."""
        flat = self.absent.reshape(len(self.absent), -1)  # (B, E)
        stays = np.concatenate([masks, np.ones((len(masks), 1), bool)], axis=1)[:, self.owner]
        rows = np.where(stays[:, None], self.x.reshape(-1), flat)  # (M, B, E)
        return rows.reshape(*rows.shape[:2], *self.x.shape)

    def outputs(self, masks: np.ndarray) -> np.ndarray:
        """All outputs of the model, averaged over the background: float64 (M, K)."""
        step = max(1, CHUNK // self.absent.size)
        parts = []
        for start in range(0, max(len(masks), 1), step):
            rows = self.inputs(masks[start : start + step])
            y = _finite(self.f(rows.reshape(-1, *self.x.shape)))
            parts.append(y.reshape(*rows.shape[:2], -1).mean(axis=1))
        return np.concatenate(parts)

    def __call__(self, masks: np.ndarray) -> np.ndarray:
        """v of each coalition: bool (M, players) -> float64 (M,)."""
        return self.outputs(masks)[:, self.target]

    def ends(self) -> tuple[float, float]:
        """v(∅) and v(N)."""
        nobody, all_of_them = self(np.array([[False], [True]]).repeat(self.players, axis=1))
        return float(nobody), float(all_of_them)

    def of_those_that_matter(self) -> tuple[Game, np.ndarray]:
        """The same game without players that look absent when they are there.

        They change no coalition, so each is a null player (eq. shapley-null).

        Returns
        -------
        game : Game
        players : int64 ndarray
            The numbers of its players in this game.
        """
        flat = self.absent.reshape(len(self.absent), -1)
        differs = (flat != self.x.reshape(-1)).any(axis=0) & (self.owner != NOBODY)
        there = np.unique(self.owner[differs])
        if len(there) == self.players:
            return self, there
        number = np.full(self.players + 1, NOBODY)  # the last is NOBODY's own
        number[there] = np.arange(len(there))
        return Game(self.f, self.x, self.target, number[self.owner], self.absent), there

    def share(self, values: np.ndarray) -> np.ndarray:
        """Each player's number in equal parts on its entries; 0 where nobody is: (*shape)."""
        count = np.bincount(self.owner[self.owner != NOBODY], minlength=self.players)
        each = np.append(values / count, 0.0)
        return each[self.owner].reshape(self.x.shape)


def _finite(y: np.ndarray) -> np.ndarray:
    if not np.isfinite(y).all():
        raise ArgumentError(
            "Game", "model", "outputs that are not finite where players are absent",
            "finite numbers",
        )  # fmt: skip
    return y


@dataclass
class Question:
    """One call of a black-box explainer, checked: a game for each example."""

    where: str
    f: BlackBox
    x: np.ndarray  # (N, *shape)
    outputs: np.ndarray  # (N, K) or (N,)
    target: np.ndarray  # (N,)
    baseline: np.ndarray  # (N, *shape): what is absent, or the mean of the background
    games: list[Game]

    def values(
        self, masks: Sequence[np.ndarray], games: Sequence[Game] | None = None
    ) -> list[np.ndarray]:
        """v of the coalitions of all games, evaluated together in full batches.

        Small batches are slow: a network's operators cost about the same for two rows as for
        twenty.

        Parameters
        ----------
        masks : sequence of N bool arrays (M, players)
            The coalitions of each game.
        games : sequence of N Games, optional
            Of the same examples, instead of :attr:`games`.

        Returns
        -------
        list of N float64 arrays (M,)
        """
        games = self.games if games is None else games
        found = [np.empty(len(m)) for m in masks]
        # Texts of like length side by side: the model then reads little padding.
        order = sorted(range(len(games)), key=lambda i: self.games[i].players)
        whose = np.repeat(order, [len(masks[i]) for i in order])
        place = np.concatenate([np.arange(len(masks[i])) for i in order])
        absent = len(games[0].absent)
        step = max(1, self.f.batch_size // absent)
        for start in range(0, len(whose), step):
            rows, at = whose[start : start + step], place[start : start + step]
            present = dict.fromkeys(rows.tolist())
            x = np.concatenate([games[i].inputs(masks[i][at[rows == i]]) for i in present])
            y = _finite(self.f.of(x.reshape(-1, *self.x.shape[1:]), rows.repeat(absent)))
            v = at_target(y, self.target[rows].repeat(absent)).reshape(-1, absent).mean(axis=1)
            for i in present:
                found[i][at[rows == i]] = v[rows == i]
        return found

    def ends(self, games: Sequence[Game] | None = None) -> list[tuple[float, float]]:
        """v(∅) and v(N) of all games."""
        games = self.games if games is None else games
        both = np.array([[False], [True]])
        found = self.values([both.repeat(game.players, axis=1) for game in games], games)
        return [(float(nobody), float(everybody)) for nobody, everybody in found]

    def answer(
        self,
        players: list[np.ndarray],
        errors: list[np.ndarray] | None = None,
        nobody: list[float] | None = None,
        **more: Any,
    ) -> Attribution:
        """The numbers of the players as an attribution of the entries.

        Parameters
        ----------
        players, errors : list of N float64 arrays (players,)
        nobody : list of N floats
            v(∅), when the method speaks of the difference to it.
        more
            ``seed`` and ``settings``.
        """
        settings = dict(more.pop("settings", {}))
        settings["player_values"] = players
        settings["owner"] = np.stack([g.owner.reshape(g.x.shape) for g in self.games])
        if errors is not None:
            settings["player_errors"] = errors
        return Attribution(
            values=np.stack([g.share(p) for g, p in zip(self.games, players)]),
            x=self.x,
            target=self.target,
            outputs=at_target(self.outputs, self.target),
            method=self.where,
            baseline=self.baseline,
            baseline_outputs=None if nobody is None else np.array(nobody),
            standard_error=None
            if errors is None
            else np.stack([g.share(e) for g, e in zip(self.games, errors)]),
            settings=settings,
            **more,
        )


def question(
    where: str,
    model: Any,
    x: Any,
    target: Any,
    players: Any = None,
    baseline: Any = None,
    background: Any = None,
    batch_size: int = 256,
    engine: str | Engine | None = None,
) -> Question:
    """Check what a black-box explainer was given, and make a game of each example.

    Raises
    ------
    ArgumentError
        NaN, an empty batch, a target out of range, a baseline or background of another shape, both
        of them, players that do not fit.
    """
    f = black_box(model, batch_size, engine)
    x = check_input(where, x)
    if background is None:
        absent = None
    elif baseline is not None:
        raise ArgumentError(where, "background", "rows beside a baseline", "only one of them")
    else:
        absent = check_background(where, background, x.shape[1:]).astype(x.dtype)
        baseline = absent.mean(axis=0)
    x, y, chosen, full = check_explained(
        where, lambda rows: f.of(rows, np.arange(len(rows))), x, target, baseline
    )
    who = owners(where, players, x.shape)
    games = [
        Game(of_example(f, i), x[i], int(chosen[i]), who[i], full[i : i + 1] if absent is None
             else absent)
        for i in range(len(x))
    ]  # fmt: skip
    return Question(where, f, x, y, chosen, full, games)


def of_example(f: BlackBox, i: int) -> Callable[[np.ndarray], np.ndarray]:
    """The model for rows that are all versions of example ``i``."""
    return lambda rows: f.of(rows, np.full(len(rows), i))


def check_background(
    where: str, background: Any, shape: tuple[int, ...], argument: str = "background"
) -> np.ndarray:
    """Finite rows (B, *shape), at least one.

    Raises
    ------
    ArgumentError
    """
    rows = rectangular(where, argument, background)
    if rows.dtype.kind not in "fiu" or rows.shape[1:] != shape or not rows.size:
        expected = f"numbers (B, {', '.join(map(str, shape))}), at least one row"
        got = f"shape {rows.shape} and dtype {rows.dtype}"
        raise ArgumentError(where, argument, got, expected)
    if not np.isfinite(rows).all():
        raise ArgumentError(where, argument, "NaN or infinity", "finite numbers")
    return rows
