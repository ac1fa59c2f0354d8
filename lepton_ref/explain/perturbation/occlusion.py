"""Occlusion: cover one window after another, and see how far the output falls.

Source: Zeiler and Fergus (2014), *Visualizing and understanding convolutional networks*.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.explain.gradients.attribution import Attribution, at_target
from lepton_ref.explain.perturbation.coalitions import CHUNK, question
from lepton_ref.framework.errors import ArgumentError

WHERE = "occlusion"


def _sizes(argument: str, given: int | Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    """One whole number for each axis; a single one stands for the last axes of a picture."""
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        lead = shape[:-2] if len(shape) > 2 else ()
        given = (*lead, *(int(given),) * (len(shape) - len(lead)))
    sizes = tuple(given) if isinstance(given, Sequence) else (given,)
    whole = all(isinstance(s, (int, np.integer)) and not isinstance(s, bool) for s in sizes)
    if not whole or len(sizes) != len(shape) or min(sizes, default=0) < 1:
        expected = f"a whole number from 1, or {len(shape)} of them, for inputs {shape}"
        raise ArgumentError(WHERE, argument, f"the value {given!r}", expected)
    return sizes


def windows(
    shape: tuple[int, ...], window: int | Sequence[int], stride: int | Sequence[int] | None = None
) -> np.ndarray:
    """Where each window lies (eq. perturbation-windows): bool (W, *shape).

    Along an axis of length S the windows start at 0, s, 2s, …, ⌈(S − w)/s⌉ s; the last may reach
    over the edge.

    Parameters
    ----------
    shape : tuple of int
        Of one example.
    window : int or sequence of int
        Sizes along the axes; a single number is a square over the last two axes of a picture, with
        all its channels.
    stride : int or sequence of int, optional
        By default the window itself: no overlap, no gap.

    Raises
    ------
    ArgumentError
        For a window larger than the input, a stride larger than the window (entries would be
        skipped), or sizes that are no whole numbers.
    """
    size = _sizes("window", window, shape)
    step = size if stride is None else _sizes("stride", stride, shape)
    if any(w > S for w, S in zip(size, shape)):
        raise ArgumentError(WHERE, "window", f"sizes {size}", f"at most {shape}, the input's")
    # A window that fills its axis has one place, whatever the stride.
    if any(s > w and w < S for s, w, S in zip(step, size, shape)):
        raise ArgumentError(WHERE, "stride", f"sizes {step}", f"at most the window's, {size}")
    starts = [range(0, s * -(-(S - w) // s) + 1, s) for S, w, s in zip(shape, size, step)]
    out = np.zeros((int(np.prod([len(r) for r in starts])), *shape), bool)
    for mask, corner in zip(out, itertools.product(*starts)):
        mask[tuple(slice(c, c + w) for c, w in zip(corner, size))] = True
    return out


def occlusion(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    window: int | Sequence[int] = 1,
    stride: int | Sequence[int] | None = None,
    baseline: Any = None,
    batch_size: int = 256,
    engine: str | Engine | None = None,
    seed: int | None = None,
) -> Attribution:
    """How far the output falls when a window is covered, for each entry the mean of its windows.

    aᵢ = mean over windows w ∋ i of f(x) − f(x with w covered)   (eq. perturbation-occlusion)

    Parameters
    ----------
    model : Layer or function
        A black box; see :func:`lepton_ref.explain.gradients.black_box`.
    x : float array, shape (N, *shape)
    target : int or int array (N,), optional
        None: the model's own decision.
    window, stride : int or sequence of int
        See :func:`windows`. For a table 1; for words (T, D) ``(1, D)``; for pictures a number.
    baseline : number or array, shape (*shape) or (N, *shape), optional
        What covers; 0 by default.
    batch_size : int
        Inputs at a time. All windows of all examples are rows of one evaluation.
    engine : str or Engine, optional
    seed : None
        Nothing is drawn; accepted so that all explainers are called alike.

    Returns
    -------
    Attribution
        Without ``baseline_outputs``: overlapping windows and their interplay do not add up.

    Raises
    ------
    ArgumentError
        For windows that do not fit; otherwise as all explainers.
    """
    asked = question(
        WHERE, model, x, target, None, baseline, batch_size=batch_size, engine=engine
    )  # fmt: skip
    x, full = asked.x, asked.baseline
    masks = windows(x.shape[1:], window, stride)
    W, N, flat = len(masks), len(x), masks.reshape(len(masks), -1)
    # Rounding must be the same on both sides, so f(x) is what the explainer saw.
    before = at_target(asked.outputs, asked.target)  # (N,)
    # A window over what looks covered already changes nothing, and is not asked for.
    differs = (x != full).reshape(N, -1).astype(np.float32)
    whose, which = np.nonzero(differs @ flat.T.astype(np.float32))
    fall = np.zeros((N, W))
    step = max(asked.f.batch_size, CHUNK // flat.shape[1])
    for start in range(0, len(whose), step):
        i, w = whose[start : start + step], which[start : start + step]
        y = asked.f.of(np.where(masks[w], full[i], x[i]), i)
        fall[i, w] = before[i] - at_target(y, asked.target[i])
    values = (fall @ flat / flat.sum(axis=0)).reshape(x.shape)
    settings = {"windows": W, "window": window, "stride": stride}
    return Attribution(
        values, x, asked.target, before, WHERE, baseline=full, settings=settings
    )  # fmt: skip
