"""Photographs: four that anybody may pass on, and how a PNG file becomes an array."""

from __future__ import annotations

import io

import numpy as np

from lepton_ref.datasets.entries import Entry, Member
from lepton_ref.framework.errors import DataError

Loaded = tuple[dict[str, np.ndarray], tuple[str, ...]]

SHAPES = {
    "camera": (512, 512),
    "chelsea": (300, 451, 3),
    "coffee": (400, 600, 3),
    "coins": (303, 384),
}

PHOTOGRAPHS = (
    Entry(
        name="photographs",
        title="Four photographs: a man with a camera, a cat, a cup of coffee, old coins",
        source="scikit-image",
        version="0.26.0",
        members=(
            Member(
                "camera.png",
                "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
                139_512,
            ),
            Member(
                "chelsea.png",
                "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
                240_512,
            ),
            Member(
                "coffee.png",
                "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
                466_706,
            ),
            Member(
                "coins.png",
                "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
                75_825,
            ),
        ),
        licence="CC0 (camera, chelsea, coffee); no known copyright restrictions (coins)",
        citation=(
            "Lav Varshney (camera); Stefan van der Walt (chelsea); Rachel Michetti, courtesy of "
            "Pikolo Espresso Bar (coffee); Brooklyn Museum Collection (coins). Collected by van "
            "der Walt et al. (2014). scikit-image: image processing in Python. PeerJ 2:e453"
        ),
        arrays={
            "camera": "uint8 (512, 512), grey level 0 (black) to 255",
            "chelsea": "uint8 (300, 451, 3), red, green and blue, 0 to 255, sRGB",
            "coffee": "uint8 (400, 600, 3), red, green and blue, 0 to 255, sRGB",
            "coins": "uint8 (303, 384), grey level 0 (black) to 255",
        },
        shipped=True,
    ),
)


def parse_png(content: bytes, where: str) -> np.ndarray:
    """Read one PNG picture, as it is stored.

    Parameters
    ----------
    content : bytes
        Of a PNG file of 8 bits a channel, grey or colour.
    where : str
        The file, for errors.

    Returns
    -------
    ndarray, shape (H, W) or (H, W, 3), uint8

    Raises
    ------
    DataError
        Pillow is not installed, the bytes are no picture, or it has another kind of pixels.
    """
    try:
        from PIL import Image
    except ImportError:
        raise DataError(
            f"{where}: reading a PNG file takes Pillow, which is not installed; "
            "`pip install pillow` (matplotlib brings it, too)"
        ) from None
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            mode, pixels = picture.mode, np.array(picture)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{where}: cannot be read as a PNG picture ({error})") from None
    if mode not in ("L", "RGB"):
        raise DataError(f"{where}: a picture of mode {mode}, expected L (grey) or RGB")
    return pixels


def photographs(contents: list[bytes], files: list[str]) -> Loaded:
    """Four PNG files -> uint8 pictures by name."""
    arrays = {}
    for (name, shape), content, file in zip(SHAPES.items(), contents, files, strict=True):
        arrays[name] = parse_png(content, file)
        if arrays[name].shape != shape:
            raise DataError(f"{file}: a picture of {arrays[name].shape}, expected {shape}")
    return arrays, ()
