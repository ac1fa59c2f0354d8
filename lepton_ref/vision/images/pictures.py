"""What a picture is on this page, said once, and the one function that holds pictures to it.

A picture is grey, ``(H, W)``, or of three colours, ``(H, W, 3)``: rows count downwards, columns
to the right, colours are red, green, blue. Its values are floats from 0 (black) to 1, or uint8
from 0 to 255. Every function takes both and gives back float64 from 0 to 1;
:func:`as_uint8` is the way back.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError

#: Sums of weights that add up to 1 may pass 1 by rounding; that is no mistake of the caller.
ROUNDING = 1e-6

#: The bits of 1.0. Read as whole numbers, the floats from 0 to 1 are those up to here; negative
#: ones, infinity and NaN are larger. So one passage through the picture shows that all is well.
ONE = np.float64(1).view(np.uint64)

_FORMS = "(H, W) for grey or (H, W, 3) for red, green, blue"


def check_picture(
    where: str, picture: Any, argument: str = "picture", colour: bool | None = None
) -> np.ndarray:
    """A picture as float64 from 0 to 1, or an error that names what is wrong with it.

    Parameters
    ----------
    where, argument : str
        The function and its argument, for the message.
    picture : array_like
        uint8 from 0 to 255, or floats from 0 to 1; shape (H, W) or (H, W, 3).
    colour : bool, optional
        True demands three colours, False demands grey.

    Returns
    -------
    ndarray, float64, (H, W) or (H, W, 3)
        The picture itself when it is float64 already: not to be written to.

    Raises
    ------
    ArgumentError
        Another dtype; another shape, among them a channel axis of 1 or 4 or in front; no pixel;
        NaN or infinity; floats outside 0 to 1, as those are that hold 0 to 255.
    """
    try:
        pixels = np.asarray(picture)
    except ValueError:  # rows of different lengths
        raise ArgumentError(where, argument, "rows of different lengths", _FORMS) from None
    _check_shape(where, pixels, argument, colour)
    if pixels.dtype == np.uint8:
        return pixels / 255.0
    if not np.issubdtype(pixels.dtype, np.floating):
        advice = {"b": "; a mask becomes one by mask.astype(float)", "c": ""}.get(
            pixels.dtype.kind, "; divide by the largest value that is possible"
        )
        raise ArgumentError(
            where, argument, f"dtype {pixels.dtype}", f"uint8, 0 to 255, or floats, 0 to 1{advice}"
        )
    if pixels.dtype == np.float64 and pixels.view(np.uint64).max() <= ONE:
        return pixels
    low, high = pixels.min(), pixels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ArgumentError(where, argument, "NaN or infinity in it", "finite numbers, 0 to 1")
    if low < -ROUNDING or high > 1 + ROUNDING:
        advice = "; divide by 255" if low >= 0 and 1.5 < high <= 255 else "; clip or rescale"
        raise ArgumentError(
            where, argument, f"floats from {low:.4g} to {high:.4g}", f"floats from 0 to 1{advice}"
        )
    return pixels.astype(np.float64, copy=False)


def _check_shape(where: str, pixels: np.ndarray, argument: str, colour: bool | None) -> None:
    """Refuse what is not (H, W) or (H, W, 3) with pixels in it."""
    shape = pixels.shape
    expected = _FORMS
    if pixels.ndim == 3 and shape[2] == 4:
        expected += "; drop or blend the alpha channel, picture[..., :3]"
    elif pixels.ndim == 3 and shape[2] == 1:
        expected += "; drop the channel axis, picture[..., 0]"
    elif pixels.ndim == 3 and shape[0] == 3 and shape[2] != 3:
        expected += "; move the colours last, picture.transpose(1, 2, 0)"
    elif pixels.ndim == 4:
        expected += "; give one picture at a time"
    elif pixels.ndim == 2 or (pixels.ndim == 3 and shape[2] == 3):
        if pixels.size == 0:
            raise ArgumentError(where, argument, f"shape {shape}", "at least one pixel")
        if colour is True and pixels.ndim == 2:
            raise ArgumentError(where, argument, f"shape {shape}", "(H, W, 3): red, green, blue")
        if colour is False and pixels.ndim == 3:
            raise ArgumentError(
                where, argument, f"shape {shape}", "grey, (H, W); grey(picture) makes it"
            )
        return
    raise ArgumentError(where, argument, f"shape {shape}", expected)


def check_size(where: str, size: Any, argument: str = "size") -> int:
    """The side of a square window: an odd whole number, so that it has a middle."""
    if (
        isinstance(size, bool)
        or not isinstance(size, (int, np.integer))
        or size < 1
        or not size % 2
    ):
        raise ArgumentError(
            where, argument, f"the value {size!r}", "an odd whole number, 1 or more"
        )
    return int(size)


def check_numbers(where: str, argument: str, values: Any) -> np.ndarray:
    """Real numbers of any shape as float64; text, lists of different lengths and None are none."""
    try:
        found = np.asarray(values)
    except ValueError:
        found = np.array(None)
    if found.dtype.kind not in "biuf":
        raise ArgumentError(where, argument, f"type {type(values).__name__}", "real numbers")
    return found.astype(np.float64)


def check_real(where: str, argument: str, value: Any) -> float:
    """A finite number of either sign."""
    found = check_numbers(where, argument, value)
    if found.ndim or not np.isfinite(found):
        raise ArgumentError(where, argument, f"the value {value!r}", "a finite number")
    return float(found)


def as_float(picture: Any) -> np.ndarray:
    """The picture as float64 from 0 to 1; see :func:`check_picture` for what is refused.

    Examples
    --------
    >>> import numpy as np
    >>> as_float(np.array([[0, 51, 255]], np.uint8))
    array([[0. , 0.2, 1. ]])
    """
    return np.array(check_picture("as_float", picture))


def as_uint8(picture: Any) -> np.ndarray:
    """The picture as uint8 from 0 to 255, each value rounded to the nearest."""
    pixels = check_picture("as_uint8", picture)
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def mean_squared_error(picture: Any, reference: Any) -> float:
    """Mean over all pixels and colours of the squared difference of two pictures of one shape."""
    where = "mean_squared_error"
    a, b = check_picture(where, picture), check_picture(where, reference, "reference")
    if a.shape != b.shape:
        raise ArgumentError(where, "reference", f"shape {b.shape}", f"the picture's, {a.shape}")
    return float(np.mean((a - b) ** 2))


def psnr(picture: Any, reference: Any) -> float:
    """Peak signal-to-noise ratio in decibels, -10 lg of the mean squared error (eq. images-psnr).

    Infinite when the two are equal.
    """
    error = mean_squared_error(picture, reference)
    return float("inf") if error == 0 else float(-10 * np.log10(error))
