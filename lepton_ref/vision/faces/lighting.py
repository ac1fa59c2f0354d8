"""A face as it would look in even light: a second view of every picture.

Source: Tan and Triggs (2010), *Enhanced local texture feature sets for face recognition under
difficult lighting conditions*, for the chain and for γ, α and τ. The widths of the two Gaussians
are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.arguments import rectangular
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.vision.images import gaussian_filter
from lepton_ref.vision.images.pictures import check_picture

GAMMA = 0.2  # of the power that lifts the shadows
FINE, COARSE = 2.0, 8.0  # deviations of the two Gaussians in pixels
ALPHA = 0.1  # of the mean that outliers hardly move
LIMIT = 10.0  # the largest absolute value that can come out


def even_light(images: Any) -> np.ndarray:
    """What is finer than the light, at one contrast for all (eq. faces-even-light).

    However strong the light, the answer is the same (eq. faces-light-gain).

    Parameters
    ----------
    images : array (N, H, W) or (H, W)
        Grey: uint8, or floats in [0, 1].

    Returns
    -------
    ndarray of the same shape, float64, in [0, 1]
        One half where nothing stands out; :func:`.prepare_faces` and :func:`.train_embedding`
        take it.

    Raises
    ------
    ArgumentError
        For another shape or dtype, values out of range or not finite, and a picture of one grey
        level.
    """
    where = "even_light"
    x = rectangular(where, "images", images)
    if x.ndim not in (2, 3) or not x.size:
        raise ArgumentError(where, "images", f"shape {x.shape}", "(H, W) or (N, H, W)")
    each = x if x.ndim == 3 else x[None]
    pictures = [check_picture(where, p, "images", colour=False) for p in each]
    lifted = [np.clip(p, 0, 1) ** GAMMA for p in pictures]
    d = np.stack([gaussian_filter(p, FINE) - gaussian_filter(p, COARSE) for p in lifted])
    flat = np.abs(d).max(axis=(1, 2)) < 1e-9
    if flat.any():
        got = f"one grey level in picture {int(flat.argmax())}"
        raise ArgumentError(where, "images", got, "a face")
    d /= _power_mean(np.abs(d))
    d /= _power_mean(np.minimum(np.abs(d), LIMIT))
    shown = (np.tanh(d / LIMIT) + 1) / 2
    return shown if x.ndim == 3 else shown[0]


def _power_mean(x: np.ndarray) -> np.ndarray:
    return np.mean(x**ALPHA, axis=(1, 2), keepdims=True) ** (1 / ALPHA)
