"""From light to numbers and back: sensor noise, the sRGB curve, grey.

Source: IEC 61966-2-1 (1999), the sRGB colour space; Janesick (2001), *Scientific Charge-Coupled
Devices*, for the line of variance over mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.training.checks import check_rng, check_strength
from lepton_ref.vision.images.denoising import check_deviation
from lepton_ref.vision.images.pictures import check_picture

#: Shares of red, green and blue in a grey level that is made from encoded values.
GREY_WEIGHTS = (0.2125, 0.7154, 0.0721)
#: Shares of red, green and blue light in luminance (Y of CIE XYZ under D65).
LUMINANCE_WEIGHTS = (0.212671, 0.715160, 0.072169)


def sense(
    picture: Any,
    full_well: float = 1000.0,
    read_noise: float = 0.0,
    rng: np.random.Generator | None = None,
    clip: bool = True,
) -> np.ndarray:
    """What a sensor makes of a picture: electrons that are counted, and a noisy counter.

    The electrons of a pixel are Poisson with mean ``full_well`` times the picture. The variance
    of the result is x / full_well + read_noise² (eq. images-shot-noise).

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)
        The light, linear: 1 fills a pixel.
    full_well : float
        Electrons that fill a pixel; ``numpy.inf`` leaves the noise of counting out.
    read_noise : float
        Deviation of the normal noise of reading, in the units of the picture.
    rng : numpy.random.Generator, optional
        Default: ``numpy.random.default_rng(0)``.
    clip : bool
        Whether what falls outside 0 to 1 is cut, as a sensor does it.

    Returns
    -------
    ndarray, float64, shape of the picture
    """
    where = "sense"
    x = check_picture(where, picture)
    if full_well != np.inf:
        full_well = check_deviation(where, "full_well", full_well)
    deviation = check_strength(where, "read_noise", read_noise)
    rng = np.random.default_rng(0) if rng is None else check_rng(where, rng)
    if full_well != np.inf:
        x = rng.poisson(np.clip(x, 0, 1) * full_well) / full_well
    if deviation:
        x = x + rng.normal(0.0, deviation, x.shape)
    return np.clip(x, 0, 1) if clip else np.array(x)


def to_linear(picture: Any) -> np.ndarray:
    """Light, from the encoded values that an sRGB file holds (eq. images-srgb).

    Parameters
    ----------
    picture : array_like, (H, W) or (H, W, 3)

    Returns
    -------
    ndarray, float64, shape of the picture
        0 to 1, proportional to the light.
    """
    x = check_picture("to_linear", picture)
    return np.where(x <= 0.04045, x / 12.92, ((np.maximum(x, 0.04045) + 0.055) / 1.055) ** 2.4)


def to_srgb(picture: Any) -> np.ndarray:
    """Encoded values from light: the inverse of :func:`to_linear`."""
    x = check_picture("to_srgb", picture)
    low = 0.0031308
    return np.where(x <= low, 12.92 * x, 1.055 * np.maximum(x, low) ** (1 / 2.4) - 0.055)


def grey(picture: Any) -> np.ndarray:
    """Weighted mean of the encoded red, green and blue, (H, W, 3) -> (H, W).

    Fast and usual; of light it is only nearly the brightness, see :func:`luminance`.
    """
    return check_picture("grey", picture, colour=True) @ np.array(GREY_WEIGHTS)


def luminance(picture: Any) -> np.ndarray:
    """Brightness of the light of an sRGB picture, (H, W, 3) -> (H, W) (eq. images-luminance)."""
    x = check_picture("luminance", picture, colour=True)
    return to_linear(x) @ np.array(LUMINANCE_WEIGHTS)
