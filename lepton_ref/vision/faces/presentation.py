"""A photograph of a photograph: what a camera sees when somebody holds up a print or a screen."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError


def rephotograph(
    images: Any,
    rng: np.random.Generator,
    gamma: float = 1.3,
    moire: float = 0.04,
    noise: float = 0.02,
    border: int = 4,
) -> np.ndarray:
    """Simulate that a picture was shown on a screen and photographed there.

    The screen's curve, the lens's blur, the beat of two grids of pixels, the sensor's noise, and a
    strip of the screen's edge, in this order. It is a simulation: real ones differ, and a liveness
    detector that finds this one has not found those.

    Parameters
    ----------
    images : uint8 array (N, H, W)
    rng : numpy.random.Generator
    gamma : float
        Exponent of the brightness, 1 changes nothing.
    moire : float
        Amplitude of the stripes, of a full scale of 1.
    noise : float
        Standard deviation of the sensor's noise.
    border : int
        Width of the edge in pixels.

    Returns
    -------
    uint8 array (N, H, W)

    Raises
    ------
    ArgumentError
        For other pictures, or settings out of range.
    """
    where = "rephotograph"
    x = np.asarray(images)
    if x.ndim != 3 or x.dtype != np.uint8:
        raise ArgumentError(where, "images", f"{x.dtype} {x.shape}", "uint8 (N, H, W)")
    n, height, width = x.shape
    if not gamma > 0 or moire < 0 or noise < 0:
        given = f"gamma {gamma}, moire {moire}, noise {noise}"
        raise ArgumentError(where, "gamma, moire, noise", given, "gamma > 0, the others >= 0")
    if type(border) is not int or not 0 <= 2 * border < min(height, width):
        raise ArgumentError(where, "border", f"the value {border!r}", "less than half a side")
    light = (x / 255.0) ** gamma
    for axis in (1, 2):  # binomial weights 1 2 1, the smallest bell there is
        pad = [(0, 0), (0, 0), (0, 0)]
        pad[axis] = (1, 1)
        p = np.moveaxis(np.pad(light, pad, mode="edge"), axis, -1)
        light = np.moveaxis((p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]) / 4, -1, axis)
    row, column = np.indices((height, width))
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    light = light + moire * np.sin(2 * np.pi * (row / 7.3 + column / 5.1) + phase)
    light = light + noise * rng.normal(size=light.shape)
    if border:
        edge = np.ones((height, width), bool)
        edge[border:-border, border:-border] = False
        light[:, edge] = 0.08
    return np.round(255 * np.clip(light, 0, 1)).astype(np.uint8)
