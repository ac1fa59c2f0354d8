"""Photometric correction: gamma, contrast, uneven light, the colour of the light.

Source: Buchsbaum (1980), *A spatial processor model for object colour perception*, for the grey
world.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.training.checks import check_strength
from lepton_ref.vision.images.denoising import check_deviation
from lepton_ref.vision.images.pictures import check_picture


def gamma(picture: Any, exponent: float, gain: float = 1.0) -> np.ndarray:
    """gain · x^exponent, cut at 1 (eq. images-gamma): below 1 it lightens the dark parts.

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
    exponent : float
        Above 0.
    gain : float
        0 or more.

    Returns
    -------
    ndarray, float64, shape of the picture
    """
    where = "gamma"
    x = check_picture(where, picture)
    exponent = check_deviation(where, "exponent", exponent)
    return np.clip(check_strength(where, "gain", gain) * np.clip(x, 0, 1) ** exponent, 0, 1)


def stretch(picture: Any, low: float | None = None, high: float | None = None) -> np.ndarray:
    """The values from ``low`` to ``high`` spread over 0 to 1, what lies beyond cut off.

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
    low, high : float, optional
        The picture's smallest and largest value when left out; a constant picture stays as it is.

    Returns
    -------
    ndarray, float64, shape of the picture
    """
    where = "stretch"
    x = check_picture(where, picture)
    a = float(x.min()) if low is None else check_strength(where, "low", low)
    b = float(x.max()) if high is None else check_strength(where, "high", high)
    if b <= a:
        if low is None and high is None:
            return np.array(x)
        raise ArgumentError(where, "high", f"the value {b:g}", f"more than low, {a:g}")
    return (np.clip(x, a, b) - a) / (b - a)


def flatten_light(picture: Any, light: Any) -> np.ndarray:
    """The picture under even light: x · mean(light) / light, cut at 1 (eq. images-flat-field).

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
    light : array_like, (H, W)
        How bright each place is lit: a photograph of a white sheet, or an estimate.

    Returns
    -------
    ndarray, float64, shape of the picture

    Raises
    ------
    ArgumentError
        Of another size than the picture, or somewhere no light at all.
    """
    where = "flatten_light"
    x, field = check_picture(where, picture), check_picture(where, light, "light", colour=False)
    if field.shape != x.shape[:2]:
        raise ArgumentError(where, "light", f"shape {field.shape}", f"the picture's, {x.shape[:2]}")
    if field.min() <= 0:
        raise ArgumentError(where, "light", "a place with the value 0", "values above 0")
    gain = field.mean() / field
    return np.clip(x * (gain if x.ndim == 2 else gain[..., None]), 0, 1)


def grey_world(picture: Any) -> np.ndarray:
    """White balance: one gain for each colour makes their means equal (eq. images-grey-world).

    Parameters
    ----------
    picture : array_like, (H, W, 3)
        Light, linear (:func:`~lepton_ref.vision.images.to_linear`).

    Returns
    -------
    ndarray, float64, (H, W, 3)
        What passes 1 is cut. A colour that is absent stays absent.
    """
    x = check_picture("grey_world", picture, colour=True)
    means = x.mean(axis=(0, 1))
    gains = np.divide(means.mean(), means, out=np.ones(3), where=means > 0)
    return np.clip(x * gains, 0, 1)
