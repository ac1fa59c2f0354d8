"""Figures out of executed notebooks, for the gallery of a report.

A cell tagged ``report`` offers its PNG outputs; where no cell is tagged, the last figure of the
notebook is offered. The alternative text is the one that the book shows:
``{"mystnb": {"image": {"alt": "..."}}}`` in the cell's metadata.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

TAG = "report"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Figure:
    """One picture of one run.

    Attributes
    ----------
    run : str
        Identity of the run.
    slot : int
        Which of its notebook's chosen figures it is, from 0: equal slots of several runs are
        shown side by side.
    cell : int
        Index of its cell in the notebook, from 0.
    png : bytes
    alt : str
        Alternative text; ``""`` when the cell has none.
    width, height : int
        In pixels.
    """

    run: str
    slot: int
    cell: int
    png: bytes
    alt: str
    width: int
    height: int

    @property
    def source(self) -> str:
        """As a ``data:`` address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Limits:
    """What a gallery may hold, so that a report stays a file that one can mail.

    Attributes
    ----------
    figures : int
        In all; 0 for no gallery.
    each : int
        Of one notebook.
    picture_bytes, all_bytes : int
        Largest single picture, and of all together.
    """

    figures: int = 48
    each: int = 4
    picture_bytes: int = 1_000_000
    all_bytes: int = 8_000_000


@dataclass
class Gallery:
    """Chosen figures, in order, and how many the limits left out.

    Attributes
    ----------
    figures : list of Figure
    left_out : int
        Figures that were found and did not fit.
    unread : int
        Notebooks that were not opened any more, for there was no room.
    """

    figures: list[Figure] = field(default_factory=list)
    left_out: int = 0
    unread: int = 0


def figures_in(run: str, notebook: str) -> list[Figure]:
    """The figures that one executed notebook offers; none from text that is no notebook."""
    try:
        pictures = [
            (index, cell, output)
            for index, cell in enumerate(json.loads(notebook)["cells"])
            if cell.get("cell_type") == "code"
            for output in cell.get("outputs", ())
            if "image/png" in output.get("data", {})
        ]
        chosen = [one for one in pictures if TAG in one[1].get("metadata", {}).get("tags", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    found: list[Figure] = []
    for index, cell, output in chosen or pictures[-1:]:
        png = _png(output["data"]["image/png"])
        if png is not None:
            width, height = struct.unpack(">II", png[16:24])
            alt = _alt(cell.get("metadata", {}))
            found.append(Figure(run, len(found), index, png, alt, width, height))
    return found


def _png(data: Any) -> bytes | None:
    """The picture, if that is what it is: nothing else gets into the page."""
    try:
        text = data if isinstance(data, str) else "".join(data)
        png = base64.b64decode("".join(text.split()), validate=True)
    except (TypeError, ValueError, binascii.Error):
        return None
    return png if png.startswith(_SIGNATURE) and png[12:16] == b"IHDR" and len(png) > 33 else None


def _alt(metadata: dict[str, Any]) -> str:
    try:
        return str(metadata["mystnb"]["image"]["alt"])
    except (KeyError, TypeError):
        return ""


def collect(
    runs: Iterable[tuple[str, str]],
    read: Callable[[str], str | None],
    limits: Limits | None = None,
) -> Gallery:
    """Open notebooks one after the other until the gallery is full.

    Parameters
    ----------
    runs : iterable of (id, path)
        The runs in the order of their importance, each with the path of its executed notebook.
    read : callable
        Returns the text of the notebook at a path, or None when it is not there any more.
    limits : Limits, optional
    """
    limits = limits or Limits()
    gallery = Gallery()
    room = limits.all_bytes
    for run, path in runs:
        if len(gallery.figures) >= limits.figures or room <= 0:
            gallery.unread += 1
            continue
        offered = figures_in(run, read(path) or "")
        for figure in offered[: limits.each]:
            fits = len(figure.png) <= min(limits.picture_bytes, room)
            if not fits or len(gallery.figures) >= limits.figures:
                gallery.left_out += 1
                continue
            gallery.figures.append(figure)
            room -= len(figure.png)
        gallery.left_out += len(offered[limits.each :])
    return gallery
