"""The IDX format of MNIST and Fashion-MNIST, read with every field checked.

A file is a 4-byte magic number (two zero bytes, a type code, the number of axes), one
big-endian 32-bit length per axis, then the entries row by row. Nothing in it is executed.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from lepton_ref.framework.errors import DataError

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def parse_idx(content: bytes, where: str) -> np.ndarray:
    """Array of an uncompressed IDX file.

    Parameters
    ----------
    content : bytes
        The whole file.
    where : str
        Name of the file, for the messages.

    Returns
    -------
    np.ndarray
        dtype and shape as the header says, in native byte order; a copy that owns its memory.

    Raises
    ------
    DataError
        The header is no IDX header, or the length of the file is not what it announces.
    """
    if len(content) < 4:
        raise DataError(f"{where}: {len(content)} bytes, too short for an IDX header (4 bytes)")
    zero, code, ndim = struct.unpack(">HBB", content[:4])
    if zero != 0 or code not in _DTYPES or ndim == 0:
        raise DataError(
            f"{where}: starts with bytes {content[:4].hex(' ')}, not an IDX file "
            "(expected 00 00, a type code 08..0e, the number of axes)"
        )
    start = 4 + 4 * ndim
    if len(content) < start:
        raise DataError(f"{where}: the header announces {ndim} axes but ends before their lengths")
    shape = struct.unpack(f">{ndim}I", content[4:start])
    dtype = np.dtype(_DTYPES[code])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise DataError(
            f"{where}: the header announces shape {shape}, that is {expected} bytes, "
            f"but the file has {len(content)}"
        )
    flat = np.frombuffer(content, dtype, offset=start)
    return flat.reshape(shape).astype(dtype.newbyteorder("="))


def decompress(compressed: bytes, where: str) -> bytes:
    """Content of a gzip file held in memory, with its CRC-32 and length checked.

    Raises
    ------
    DataError
        Not gzip, cut short, or the content does not match the CRC.
    """
    try:
        return gzip.decompress(compressed)
    except EOFError:
        raise DataError(f"{where}: the gzip stream ends too early, the file is cut short") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{where}: not a whole gzip file ({error})") from None


def read_idx(path: str | Path) -> np.ndarray:
    """Array of an IDX file, gzipped (``.gz``) or not.

    Raises
    ------
    DataError
        The file is missing, unreadable, not gzip, cut short, or not IDX.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if path.suffix == ".gz":
        content = decompress(content, str(path))
    return parse_idx(content, str(path))
