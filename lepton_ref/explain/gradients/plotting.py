"""How an attribution draws itself: bars, a picture under its map, or coloured words."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError

if TYPE_CHECKING:
    from lepton_ref.explain.gradients.attribution import Attribution

MAP = "RdBu_r"  # red for, blue against; also told apart by readers who see no red or no green
CHARACTER = 7.2  # points of a line of coloured words that a character takes, gaps included


def plot(
    attribution: Attribution,
    example: int = 0,
    names: Sequence[str] | None = None,
    ax: Any = None,
    top: int | None = None,
) -> Any:
    """Draw one example on ``ax``; see :meth:`Attribution.plot`."""
    import matplotlib.pyplot as plt

    where, n = "Attribution.plot", len(attribution.values)
    if isinstance(example, bool) or not isinstance(example, (int, np.integer)):
        raise ArgumentError(where, "example", f"type {type(example).__name__}", "a whole number")
    if not 0 <= example < n:
        raise ArgumentError(where, "example", f"the value {example}", f"0..{n - 1}")
    values, x = attribution.values[example], attribution.x[example]
    if top is not None:
        whole(where, top=top)
    if names is not None and not hasattr(names, "__len__"):
        raise ArgumentError(where, "names", f"type {type(names).__name__}", "a list of names")
    flat = values.ndim == 1
    few = len(names) < len(values) if names is not None and flat else False
    words = flat and x.ndim > 1
    # Of a padded text only the words themselves are shown.
    if names is not None and flat and (len(names) > len(values) or (few and not words)):
        raise ArgumentError(where, "names", f"{len(names)} names", f"{len(values)}")
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
    if words and names is not None:
        _words(ax, values, list(names))
    elif flat:
        _bars(ax, values, attribution.standard_error, example, names, top)
    elif values.ndim in (2, 3):
        _picture(ax, values, x)
    else:
        raise ArgumentError(where, "values", f"shape {values.shape}", "1 to 3 axes an example")
    return ax


def scale(values: np.ndarray) -> float:
    """What full colour stands for: the 99.5th percentile of |values|, at least something."""
    size = np.abs(values)
    return float(np.percentile(size, 99.5)) or float(size.max()) or 1.0


def _bars(ax, values, errors, example, names, top):
    order = np.argsort(-np.abs(values), kind="stable")[:top]
    labels = [str(i) if names is None else names[i] for i in order]
    import matplotlib as mpl

    colours = mpl.colormaps[MAP]([0.85 if values[i] > 0 else 0.15 for i in order])
    spread = None if errors is None else errors[example][order]
    ax.barh(np.arange(len(order)), values[order], xerr=spread, color=colours)
    ax.set_yticks(np.arange(len(order)), labels)
    ax.invert_yaxis()
    ax.axvline(0, color="0.4", linewidth=0.8)
    ax.set_xlabel("attribution")


def _picture(ax, values, x):
    import matplotlib as mpl

    if values.ndim == 3:
        values = values.sum(axis=0)
    picture = x.mean(axis=0) if x.ndim == 3 else x
    limit = scale(values)
    signed = np.clip(values / limit, -1, 1)
    over = mpl.colormaps[MAP]((signed + 1) / 2)  # (H, W, 4)
    over[..., 3] = np.sqrt(np.abs(signed))
    extent = (-0.5, picture.shape[1] - 0.5, picture.shape[0] - 0.5, -0.5)
    ax.imshow(picture, cmap="gray_r", alpha=0.35, extent=extent)
    ax.imshow(over, extent=extent, interpolation="nearest")
    ax.set_axis_off()


def _characters(ax):
    """How many characters a line over the axes holds, whatever margins a layout will leave."""
    place = ax.get_subplotspec()
    share = ax.get_position().width if place is None else 1 / place.get_gridspec().ncols
    return max(20, int(72 * share * ax.figure.get_figwidth() / CHARACTER))


def _words(ax, values, words):
    import matplotlib as mpl

    limit, width = scale(values[: len(words)]), _characters(ax)
    lines = textwrap.wrap(
        " ".join("x" * max(len(w), 1) for w in words), width, break_long_words=False
    ) or [""]
    shown = iter(range(len(words)))
    for row, line in enumerate(lines):
        column = 0
        for part in line.split(" "):
            i = next(shown)
            tint = float(np.clip(values[i] / limit, -1, 1))
            colour = mpl.colormaps[MAP]((0.8 * tint + 1) / 2)
            ax.text(
                column, row, words[i], family="monospace", fontsize=9, va="center",
                color="white" if abs(tint) > 0.75 else "black",
                bbox={"facecolor": colour, "edgecolor": "none", "boxstyle": "square,pad=0.15"},
            )  # fmt: skip
            column += len(part) + 1
    ax.set_xlim(-1, width + 1)
    ax.set_ylim(len(lines) - 0.3, -0.7)
    ax.set_axis_off()
