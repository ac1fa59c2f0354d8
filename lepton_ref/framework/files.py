"""Writing files so that nothing existing is ever lost."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` under `path`: readers see the old file or the new one, never a part.

    The bytes go to a temporary file in the same folder, are forced to the disk, and the file
    is renamed, which happens wholly or not at all. A failure leaves what was there before.

    Raises
    ------
    OSError
        The folder cannot be made, or the disk is full or read-only.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_by_way_of(path.with_name(f".{path.name}.{secrets.token_hex(4)}.part"), path, content)


def write_by_way_of(part: Path, path: Path, content: bytes) -> None:
    """The same through the temporary file `part`, new and in the folder of `path`, which exists.

    Raises
    ------
    OSError
        As :func:`write_atomic`; nothing is left of `part`.
    """
    try:
        with open(part, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
