"""A store on this machine's disk: whole files or none, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from lepton_ref.framework.files import write_by_way_of

#: Names of files that are being written.
PART = re.compile(r"\.lepton-[0-9a-f]{16}\.part")

_DAY = 86_400


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside ``path``, flush to the disk, rename over it.

    A reader sees the old content or the new; so does whoever comes after a crash, a full disk or
    a power cut (which may undo the renames of its last seconds, but halves none). Of several
    writers the last to rename wins whole. The folder must exist.
    """
    # Not tempfile.mkstemp: its files are readable by their owner only, and a store is shared.
    part = path.with_name(f".lepton-{secrets.token_hex(8)}.part")
    write_by_way_of(part, path, content)


class LocalFiles:
    """Files below one folder, by relative path with slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def present(self) -> bool:
        """Whether the root is there."""
        return self.root.is_dir()

    def create(self) -> None:
        """Make the root."""
        self.root.mkdir(parents=True, exist_ok=True)

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        self._retrying(path, lambda target: write_atomically(target, content))

    def move(self, src: str, dst: str) -> None:
        source = self.root / src
        if not source.is_file():
            raise FileNotFoundError(source)
        self._retrying(dst, lambda target: os.replace(source, target))
        self._prune(source.parent)

    def is_file(self, path: str) -> bool:
        return (self.root / path).is_file()

    def list(self, prefix: str) -> list[str]:
        found = []
        for here, _, names in os.walk(self.root / prefix, onerror=_unless_missing):
            found += [Path(here, name) for name in names if not PART.fullmatch(name)]
        return [path.relative_to(self.root).as_posix() for path in found]

    def delete(self, prefix: str) -> None:
        target = self.root / prefix
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        self._prune(target.parent)

    def sweep_parts(self) -> None:
        """Remove what writers that were killed have left; a day is longer than any write."""
        for here, _, names in os.walk(self.root):
            for name in names:
                if PART.fullmatch(name):
                    with contextlib.suppress(OSError):
                        path = Path(here, name)
                        if time.time() - path.stat().st_mtime > _DAY:
                            path.unlink()

    def _retrying(self, path: str, act: Callable[[Path], None]) -> None:
        """Make the folders of ``path`` and act; another process may prune them in between."""
        target = self.root / path
        for attempt in range(20):
            try:
                self._folders(target.parent)
                return act(target)
            except FileNotFoundError:
                if attempt == 19 or not self.present():
                    raise

    def _folders(self, folder: Path) -> None:
        """Make folders below the root, but never the root: if that is gone, the store is gone."""
        if folder == self.root or folder.is_dir():
            return
        self._folders(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()

    def _prune(self, folder: Path) -> None:
        """Remove folders that have become empty."""
        with contextlib.suppress(OSError):
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
