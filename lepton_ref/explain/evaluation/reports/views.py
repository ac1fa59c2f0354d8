"""What a report says of a picture, a review, a patient, a recommendation: each in its own words.

A view turns numbers of players into evidence with names, the change that would have flipped the
decision into a sentence or a list, and everything into what the one picture shows.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lepton_ref.explain.evaluation.players import player_values, spread
from lepton_ref.explain.evaluation.reports.parts import (
    WHERE,
    Change,
    Evidence,
    Move,
    chosen,
    merged,
    needs,
)
from lepton_ref.explain.evaluation.reports.words import (
    apart,
    counted,
    is_mark,
    listed,
    measurement,
    number,
    rank,
    title,
    token_name,
)
from lepton_ref.explain.gradients.attribution import Attribution
from lepton_ref.framework.arguments import real_array
from lepton_ref.framework.errors import ArgumentError

#: The nine parts of a picture, row by row.
REGIONS = (
    "the upper left", "the upper centre", "the upper right", "the middle left", "the centre",
    "the middle right", "the lower left", "the lower centre", "the lower right",
)  # fmt: skip


@dataclass(frozen=True)
class ImageView:
    """A picture and the names of what it may show.

    Attributes
    ----------
    pixels : np.ndarray
        uint8 (H, W) as a person sees it, or (H, W, 3).
    classes : sequence of str
    players : np.ndarray, optional
        int64, of the shape of one example: the patches that belong together.
    subject : str
        What is shown: "picture of a piece of clothing".
    """

    pixels: np.ndarray
    classes: Sequence[str]
    players: np.ndarray | None = None
    subject: str = "a picture"
    kind: str = field(default="image", init=False)
    title: str = field(default="Why the program said what this picture shows", init=False)
    limits: str = field(
        default="It says which parts of the picture the program reacted to. It does not say that "
        "those parts are what a person would look at, and it says nothing of what was never "
        "in the picture.",
        init=False,
    )

    def decided(self, target: int) -> str:
        return f"The program says that this is: {chosen('ImageView', self.classes, target)}."

    def sure(self, times: str) -> str:
        return f"When the program is as sure as it is here, it is right {times}."

    def recorded(self, right: int, of: int) -> str:
        return (
            f"We checked this on {of} other pictures about which it was as sure: {right} of its "
            f"answers were right."
        )

    def evidence(self, found: Attribution, example: int) -> list[Evidence]:
        values = np.asarray(found.values[example])
        if values.ndim not in (2, 3):
            raise ArgumentError(
                WHERE, "view", f"an ImageView of values of shape {values.shape}",
                "one of a picture, (H, W) or (C, H, W)",
            )  # fmt: skip
        plane = values.sum(axis=0) if values.ndim == 3 else values
        h, w = plane.shape
        cell = (np.arange(h) * 3 // h)[:, None] * 3 + np.arange(w) * 3 // w
        values = np.bincount(cell.ravel(), plane.ravel(), 9)
        return merged([f"{name} of the picture" for name in REGIONS], values)

    def picture(self, found: Attribution, example: int) -> dict[str, Any]:
        values = np.asarray(found.values[example])
        if self.players is not None:
            whole = player_values(values[None], self.players)
            values = spread(whole, self.players, (1, *values.shape))[0]
        plane = values.sum(axis=0) if values.ndim == 3 else values
        shown = np.asarray(self.pixels)
        if shown.shape[:2] != plane.shape:
            raise ArgumentError(
                WHERE, "view", f"a picture of {shown.shape[:2]}", f"{plane.shape}, as explained"
            )
        plain = np.repeat(shown[:, :, None], 3, axis=2) if shown.ndim == 2 else shown
        return {
            "form": "picture",
            "plain": _png(plain.astype(np.uint8)),
            "marked": _png(_marked(plain, plane)),
        }

    def changed(self, found: Attribution, example: int) -> Change:
        gone = np.asarray(found.settings["changed"][example])
        instead = chosen("ImageView", self.classes, int(found.settings["decision"][example]))
        if self.players is None:
            return Change(
                f"With {len(gone)} of its pixels left blank it would have said: {instead}."
            )
        players = np.asarray(self.players)
        masks = [players == piece for piece in gone]
        flat = [mask.any(axis=0) if mask.ndim == 3 else mask for mask in masks]
        # Each square lies where its middle does, whatever other regions it reaches into.
        middles = [(np.argwhere(mask).mean(axis=0) + 0.5) / mask.shape for mask in flat]
        counts = np.bincount(np.floor(3 * np.array(middles)).astype(int) @ [3, 1], minlength=9)
        where = [REGIONS[i] for i in np.argsort(-counts, kind="stable")[:3] if counts[i]]
        share = 100 * np.any(flat, axis=0).mean()
        return Change(
            f"With {'one small square' if len(gone) == 1 else f'{len(gone)} small squares'} "
            f"left blank (about {max(1, round(share))} % of the picture, at {listed(where)}) it "
            f"would have said: {instead}."
        )


def _marked(plain: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """The picture, paler, with blue over what spoke for and orange over what spoke against."""
    most = np.abs(plane).max()
    weight = np.abs(plane)[:, :, None] / most if most > 0 else np.zeros((*plane.shape, 1))
    colour = np.where(plane[:, :, None] > 0, [11, 98, 168], [214, 96, 0])
    ground = 0.6 * plain + 0.4 * 255
    return np.rint(ground * (1 - weight) + colour * weight).astype(np.uint8)


def _png(pixels: np.ndarray) -> str:
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@dataclass(frozen=True)
class ReviewView:
    """A text in words, and what it may be.

    Attributes
    ----------
    words : sequence of str
        As the model read them, one for each player.
    classes : sequence of str
    """

    words: Sequence[str]
    classes: Sequence[str]
    kind: str = field(default="review", init=False)
    title: str = field(default="Why the program read this review as it did", init=False)
    limits: str = field(
        default="It says which words the program reacted to. The program counts on words and their "
        "neighbours, and a comma is a word to it like any other; it does not understand the text, "
        "and irony may fool it.",
        init=False,
    )

    def decided(self, target: int) -> str:
        name = chosen("ReviewView", self.classes, target)
        return f"The program says that this review is: {name}."

    def sure(self, times: str) -> str:
        return f"When the program is as sure as it is here, it is right {times}."

    def recorded(self, right: int, of: int) -> str:
        return (
            f"We checked this on {of} other reviews about which it was as sure: {right} of its "
            f"answers were right."
        )

    def _values(self, found: Attribution, example: int) -> np.ndarray:
        values = np.asarray(found.values[example])
        values = values.sum(axis=-1) if values.ndim == 2 else values
        if len(values) < len(self.words) or values[len(self.words) :].any():
            needs("ReviewView", "words", len(self.words), len(values))
        return values[: len(self.words)]

    def evidence(self, found: Attribution, example: int) -> list[Evidence]:
        return merged([token_name(w) for w in self.words], self._values(found, example))

    def picture(self, found: Attribution, example: int) -> dict[str, Any]:
        values = self._values(found, example)
        most = np.abs(values).max() or 1.0
        marks = [(w, float(v / most)) for w, v in zip(self.words, values)]
        return {"form": "words", "words": marks}

    def changed(self, found: Attribution, example: int) -> Change:
        gone = np.asarray(found.settings["changed"][example])
        tokens = [self.words[i] for i in gone]
        names = counted(f"“{w}”" for w in tokens if not is_mark(w))
        kind = "word" if len(names) == 1 else "words"
        parts = [f"without the {kind} {listed(names)}"] if names else []
        if marks := counted(token_name(w) for w in tokens if is_mark(w)):
            parts.append(f"without {listed(marks)}")
        instead = chosen("ReviewView", self.classes, int(found.settings["decision"][example]))
        said = " and ".join(parts)
        return Change(f"{said[0].upper()}{said[1:]} it would have said: {instead}.")


@dataclass(frozen=True)
class PatientView:
    """Measurements of one person, beside those of others.

    Attributes
    ----------
    names : sequence of str
        Of the measurements; those of the breast cancer data are put in plain words.
    measured : np.ndarray
        float64 (F,), in their units.
    others : np.ndarray
        float64 (B, F), of the people that the program learned from.
    classes : sequence of str
    to_units : callable, optional
        From what the model reads, (1, F), to units; for the change that is reported.
    units : sequence of str, optional
        What each is measured in, "" where it is a bare number. The breast cancer data name none.
    """

    names: Sequence[str]
    measured: np.ndarray
    others: np.ndarray
    classes: Sequence[str]
    to_units: Any = None
    units: Sequence[str] = ()
    kind: str = field(default="patient", init=False)
    title: str = field(default="Why the program judged these measurements as it did", init=False)
    limits: str = field(
        default="It says which measurements the program reacted to, not what caused them, and "
        "changing a number would not heal anybody. It is no diagnosis: a physician who knows "
        "the patient makes that.",
        init=False,
    )

    def __post_init__(self) -> None:
        if len(self.units):
            needs("PatientView", "units", len(self.units), len(self.names))
        measured = real_array("PatientView", "measured", self.measured)
        others = real_array("PatientView", "others", self.others)
        if measured.shape != (len(self.names),) or not np.isfinite(measured).all():
            raise ArgumentError(
                "PatientView", "measured", f"shape {measured.shape}, "
                f"{int((~np.isfinite(measured)).sum())} entries not finite",
                f"({len(self.names)},), a finite number for each name",
            )  # fmt: skip
        if others.ndim != 2 or not len(others) or others.shape[1] != len(measured):
            raise ArgumentError(
                "PatientView", "others", f"shape {others.shape}",
                f"(B, {len(measured)}), at least one row",
            )  # fmt: skip

    def _in_units(self, i: int, said: str) -> str:
        return f"{said} {self.units[i]}".rstrip() if len(self.units) else said

    def decided(self, target: int) -> str:
        name = chosen("PatientView", self.classes, target)
        return f"The program says that this tumour is: {name}."

    def sure(self, times: str) -> str:
        return f"When the program is as sure as it is here, it is right {times}."

    def recorded(self, right: int, of: int) -> str:
        return (
            f"We checked this on {of} other patients about whom it was most nearly as sure: "
            f"{right} of its answers were right."
        )

    def evidence(self, found: Attribution, example: int) -> list[Evidence]:
        values = np.asarray(found.values[example])
        needs("PatientView", "names", len(self.names), len(values))
        standing = np.mean(np.asarray(self.others) < np.asarray(self.measured), axis=0)
        return merged(
            [
                f"{measurement(name)}: {self._in_units(i, number(float(m)))} "
                f"({rank(float(s))} patients)"
                for i, (name, m, s) in enumerate(zip(self.names, self.measured, standing))
            ],
            values,
        )

    def picture(self, found: Attribution, example: int) -> dict[str, Any]:
        return {"form": "bars"}

    def changed(self, found: Attribution, example: int) -> Change:
        where = np.asarray(found.settings["changed"][example])
        point = np.asarray(found.settings["counterfactual"][example], np.float64)
        if self.to_units is not None:
            point = np.asarray(self.to_units(point[None]))[0]
        moves = []
        for i in where:
            told = apart(float(self.measured[i]), float(point[i]))
            moves.append(Move(measurement(self.names[i]), *(self._in_units(i, n) for n in told)))
        instead = chosen("PatientView", self.classes, int(found.settings["decision"][example]))
        what = "this one number" if len(moves) == 1 else f"these {len(moves)} numbers"
        rest = ", and all others as they are," if len(moves) < len(self.names) else ""
        return Change(f"With {what} changed{rest} it would have said: {instead}.", tuple(moves))


@dataclass(frozen=True)
class RecommendationView:
    """What a person rated, and what is suggested to them.

    Attributes
    ----------
    items : sequence of str
        Titles of what was rated, one for each player.
    ratings : sequence of float
        Stars; 0 says that it was not rated.
    suggested : str
        Title of the suggestion.
    titles : sequence of str
        Of all outputs of the model, for what would have been suggested instead.
    most : int
        The highest rating.
    """

    items: Sequence[str]
    ratings: Sequence[float]
    suggested: str
    titles: Sequence[str] = ()
    most: int = 5
    kind: str = field(default="recommendation", init=False)
    title: str = field(default="Why this is suggested to you", init=False)
    limits: str = field(
        default="It says which of your ratings led to this suggestion. It rests on what people "
        "with ratings like yours liked, and knows nothing else about you.",
        init=False,
    )

    def decided(self, target: int) -> str:
        return f"The program suggests: {title(self.suggested)}."

    def sure(self, times: str) -> str:
        return (
            f"Of things about which the program is as sure as it is here, people then gave four "
            f"stars or five {times}."
        )

    def recorded(self, right: int, of: int) -> str:
        return (
            f"We checked this on {of} other ratings that the program did not know: {right} of "
            f"these guesses were right."
        )

    def evidence(self, found: Attribution, example: int) -> list[Evidence]:
        values = np.asarray(found.values[example])
        needs("RecommendationView", "titles", len(self.items), len(values))
        needs("RecommendationView", "ratings", len(self.ratings), len(values))
        named = [
            f"that you gave {stars:g} of {self.most} stars to “{title(name)}”"
            if stars
            else f"that you know “{title(name)}”"
            for name, stars in zip(self.items, self.ratings)
        ]
        return merged(named, values)

    def picture(self, found: Attribution, example: int) -> dict[str, Any]:
        return {"form": "bars"}

    def changed(self, found: Attribution, example: int) -> Change:
        gone = [f"“{title(self.items[i])}”" for i in np.asarray(found.settings["changed"][example])]
        instead = int(found.settings["decision"][example])
        other = f"“{title(self.titles[instead])}”" if len(self.titles) else "something else"
        return Change(f"Had you not rated {listed(gone)}, {other} would have been suggested first.")
