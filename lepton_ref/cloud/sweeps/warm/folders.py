"""Private folders for the sockets of kernels, and the end of those that were left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "lepton-kernels-"
_LOCK = "lock"
_LONGEST = 50  # bytes of the folder's parent: a socket's path has 103 to 107, by the system
_held: dict[Path, int] = {}


def private_folder() -> Path:
    """A new folder that only this user can enter, with a name short enough for a socket.

    This process holds a lock in it, so that the folders of processes that were killed together
    with all who could tidy up are known for what they are, and removed.

    Raises
    ------
    OSError
        Where neither the folder for temporary files nor ``/tmp`` will do.
    """
    wanted = tempfile.gettempdir()
    parent = Path(wanted if len(os.fsencode(wanted)) <= _LONGEST else "/tmp")
    _remove_abandoned(parent)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))  # mode 0700
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        if _take(lock) and (folder / _LOCK).exists():
            _held[folder] = lock
            return folder
        os.close(lock)  # another process took it for abandoned, before the lock


def remove(folder: Path) -> None:
    """Remove a folder that :func:`private_folder` made, here or in another process."""
    shutil.rmtree(folder, ignore_errors=True)
    lock = _held.pop(folder, None)
    if lock is not None:
        os.close(lock)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        if folder in _held:
            continue
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:  # another user's, or one that is being made or removed
            continue
        if _take(lock):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
