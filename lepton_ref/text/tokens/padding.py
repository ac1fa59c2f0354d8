"""Rows of one length from sequences of many, the mask that says so, and a mean that heeds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import dtype_name
from lepton_ref.framework.errors import ArgumentError


def pad(
    sequences: Sequence[Sequence[int]], length: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of unequal length as one array, filled up on the right, and its mask.

    Parameters
    ----------
    sequences : sequence of sequences of int
    length : int, optional
        T: longer sequences are cut, shorter ones filled with 0. Without it, the longest (at
        least 1, so that there is always a column).

    Returns
    -------
    ids : ndarray int64, shape (N, T)
    mask : ndarray bool, shape (N, T)
        True where a token stands.
    """
    if length is not None and (not isinstance(length, (int, np.integer)) or length < 1):
        raise ArgumentError("pad", "length", f"the value {length!r}", "a whole number >= 1")
    sizes = np.array([len(s) for s in sequences], np.int64)
    width = int(length) if length is not None else max(int(sizes.max(initial=0)), 1)
    mask = np.arange(width) < np.minimum(sizes, width)[:, None]  # (N, T)
    ids = np.zeros((len(sizes), width), np.int64)
    for row, sequence in zip(ids, sequences):
        cut = sequence[:width]
        row[: len(cut)] = cut
    return ids, mask


def masked_mean(x: Any, mask: np.ndarray, engine: str | Engine | None = None) -> Any:
    """The mean of the vectors where a word stands, one for each row.

    h_n = Σ_t m_nt x_nt / Σ_t m_nt (eq. tokens-masked-mean), and so
    dx_nt = m_nt dh_n / Σ_t m_nt (eq. tokens-masked-mean-dx). A row without words gives zeros.

    Parameters
    ----------
    x : array of the engine, shape (N, T, D)
    mask : bool ndarray, shape (N, T)
    engine : str or Engine, optional

    Returns
    -------
    array, shape (N, D)
    """
    E: Any = engine if isinstance(engine, Engine) else lepton_ref.engine(engine)
    mask, shape = np.asarray(mask), tuple(x.shape)
    if len(shape) != 3 or mask.shape != shape[:2] or mask.dtype != bool:
        raise ArgumentError(
            "masked_mean", "mask", f"shape {mask.shape} and dtype {mask.dtype}",
            f"bool {shape[:2]}, one entry for each vector of `x`",
        )  # fmt: skip
    weights = mask / np.maximum(mask.sum(1, keepdims=True), 1)  # (N, T)
    return E.sum(x * E.array(weights[:, :, None], dtype_name(x)), axis=1)
