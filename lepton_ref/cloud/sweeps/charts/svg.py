"""Scales, axes and marks of the report's drawings, as SVG that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from markupsafe import Markup, escape

from lepton_ref.cloud.sweeps.analysis import logarithmic, number

#: Drawn at the width of a telephone, so that letters keep their size there.
WIDTH, HEIGHT = 360.0, 236.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 26.0, 40.0
#: Up to so many dots each one tells its run; beyond, one path draws them all.
TELLING_DOTS = 300


def el(name: str, *body: str, **attributes: object) -> Markup:
    """An element; text and attributes are escaped, ``class_`` is ``class``, None is left out."""
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is not None:
            shown = px(value) if isinstance(value, float) else escape(value)
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{shown}"')
    parts.append(">")
    parts += [escape(part) for part in body]
    return Markup("".join([*parts, f"</{name}>"]))


def px(value: float) -> str:
    """A coordinate to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def short(text: str, most: int) -> str:
    """At most so many characters, with an ellipsis for the rest."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


class Scale:
    """From values to pixels, linear or logarithmic.

    Parameters
    ----------
    values : iterable of float
        What must fit.
    start, end : float
        Pixels of the lower and the upper end.
    log : bool, optional
        By default when the values are positive and span a factor of 100.
    """

    def __init__(
        self, values: Iterable[float], start: float, end: float, log: bool | None = None
    ) -> None:
        held = list(values) or [0.0, 1.0]
        self.log = logarithmic(held) if log is None else log
        self.start, self.end = start, end
        low, high = self._in(min(held)), self._in(max(held))
        if low == high:
            room = abs(low) * 0.1 or 1.0
        else:
            room = 0.06 * (high - low)
        self.low, self.high = low - room, high + room

    @classmethod
    def holding(
        cls, values: Sequence[float], intervals: Sequence[float], start: float, end: float
    ) -> Scale:
        """A scale for values and their intervals, which do not decide whether it is linear."""
        log = logarithmic(values)
        fits = [value for value in intervals if value > 0 or not log]
        return cls([*values, *fits], start, end, log)

    def _in(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def __call__(self, value: float) -> float:
        """Pixel of a value; what does not fit ends at the edge."""
        if self.log and value <= 0:
            return self.start
        share = (self._in(value) - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[tuple[float, str]]:
        """Round values with their pixels."""
        values = self._decades(about) if self.log else _round_values(self.low, self.high, about)
        return [(self(value), number(value)) for value in values]

    def _decades(self, about: int) -> list[float]:
        first, last = math.ceil(self.low), math.floor(self.high)
        whole = [10.0**k for k in range(first, last + 1)]
        return whole[:: math.ceil(len(whole) / (about + 1)) or 1]


def _round_values(low: float, high: float, about: int) -> list[float]:
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


class Dot(NamedTuple):
    """A run in a drawing: where, in which colour, and what it says when pointed at."""

    x: float
    y: float
    tells: str
    series: int = 0
    hollow: bool = False
    share: float | None = None  # of the way along the colour ramp, instead of a series

    @property
    def kind(self) -> str:
        """CSS class."""
        return f"dot s{self.series}" + (" hollow" if self.hollow else "")


def dots(held: Sequence[Dot]) -> list[Markup]:
    """The dots, each with its words where they are few enough to be pointed at."""
    if len(held) <= TELLING_DOTS:
        return [
            el("circle", el("title", dot.tells), cx=dot.x, cy=dot.y, r=3.4,
               class_="dot ramp" if dot.share is not None else dot.kind, style=ramp(dot.share))
            for dot in held
        ]  # fmt: skip
    groups: dict[tuple[str, str | None], list[str]] = {}
    for dot in held:
        # Ten steps of colour are plenty for dots that crowd.
        coarse = None if dot.share is None else round(dot.share, 1)
        key = "many ramp" if coarse is not None else "many " + dot.kind, ramp(coarse)
        groups.setdefault(key, []).append(f"M{px(dot.x)} {px(dot.y)}h0")
    return [el("path", d="".join(d), class_=k[0], style=k[1]) for k, d in groups.items()]


def ramp(share: float | None) -> str | None:
    """The style that picks a colour of the ramp, which differs in light and in dark."""
    return None if share is None else f"--t:{100 * share:.0f}%"


def line(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A line through points."""
    return el("path", d="M" + "L".join(f"{px(x)} {px(y)}" for x, y in points), class_=class_)


def bar(x: float, low: float, high: float, class_: str, across: bool = False) -> Markup:
    """An interval with its two ends; ``across`` lays it on its side."""
    if across:
        d = f"M{px(low)} {px(x)}H{px(high)}M{px(low)} {px(x - 4)}v8M{px(high)} {px(x - 4)}v8"
    else:
        d = f"M{px(x)} {px(low)}V{px(high)}M{px(x - 4)} {px(low)}h8M{px(x - 4)} {px(high)}h8"
    return el("path", d=d, class_=class_)


def text(x: float, y: float, content: str, class_: str = "", most: int = 40) -> Markup:
    """A label, shortened; the whole of it appears when pointed at."""
    cut = short(content, most)
    body: list[str] = [cut] if cut == content else [el("title", content), cut]
    return el("text", *body, x=x, y=y, class_=class_ or None)


@dataclass
class Canvas:
    """One drawing with its two axes."""

    width: float = WIDTH
    height: float = HEIGHT
    marks: list[Markup] = field(default_factory=list)

    @property
    def right(self) -> float:
        """Right edge of the plotted area."""
        return self.width - RIGHT

    @property
    def bottom(self) -> float:
        """Lower edge of the plotted area."""
        return self.height - BOTTOM

    def add(self, *marks: Markup) -> None:
        """Put marks on top."""
        self.marks.extend(marks)

    def x_axis(self, scale: Scale, name: str, grid: bool = False) -> None:
        """Ticks below, the name under them."""
        for at, words in spread(scale.ticks(), 42.0):
            if grid:
                self.add(el("path", d=f"M{px(at)} {px(TOP)}V{px(self.bottom)}", class_="grid"))
            else:
                self.add(el("path", d=f"M{px(at)} {px(self.bottom)}v4", class_="tick"))
            self.add(text(at, self.bottom + 16, words, "middle"))
        end = " (log)" if scale.log else ""
        middle = (scale.start + scale.end) / 2
        self.add(text(middle, self.height - 6, short(name, 40) + end, "name middle", 48))

    def y_axis(self, scale: Scale, name: str, left: float = LEFT) -> None:
        """Lines across with their values at the left; the name above, so that it reads level."""
        for at, words in scale.ticks(4):
            self.add(el("path", d=f"M{px(left)} {px(at)}H{px(self.right)}", class_="grid"))
            self.add(text(left - 6, at + 4, words, "end"))
        end = " (log)" if scale.log else ""
        self.add(text(4, 14, short(name, 42) + end, "name", 50))

    def svg(self, description: str) -> Markup:
        """The drawing, described in words for whoever cannot see it."""
        box = f"0 0 {px(self.width)} {px(self.height)}"
        style = f"max-width:{px(1.25 * self.width)}px"
        if self.width > WIDTH:  # scrolls where there is less room
            style += f";min-width:{px(0.85 * self.width)}px"
        return el("svg", *self.marks, viewBox=box, role="img", aria_label=description, style=style)


def spread(ticks: list[tuple[float, str]], apart: float) -> list[tuple[float, str]]:
    """The ticks without those whose labels would touch."""
    kept: list[tuple[float, str]] = []
    for at, words in ticks:
        if not kept or abs(at - kept[-1][0]) >= max(apart, 7.0 * len(words)):
            kept.append((at, words))
    return kept
