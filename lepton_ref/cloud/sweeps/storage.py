"""Where a sweep keeps what it makes: a folder, S3, Azure, Alibaba OSS, Google or memory.

One small surface over fsspec with what a sweep must be able to trust: a file is there whole or
not at all, a listing is never an old one, network faults are tried again a bounded number of
times, and everything that cannot be mended is a :class:`StoreError` that says what to do.

``s3://`` is tested against moto and ``abfs://`` against Azurite, which are close to the services;
``gs://`` against an emulator, and ``oss://`` against moto behind a translation of the dialect,
which show less. None is tested against the service itself.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lepton_ref.cloud.sweeps import storage_faults as faults
from lepton_ref.cloud.sweeps import storage_folders
from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.storage_faults import MissingFile
from lepton_ref.cloud.sweeps.storage_local import LocalFiles
from lepton_ref.cloud.sweeps.storage_remote import RemoteFiles
from lepton_ref.cloud.sweeps.storage_url import SERVICES, checked_path, parsed_url

__all__ = ["MissingFile", "Store", "StoreError", "checked_path", "read_text_at"]

T = TypeVar("T")
# Inside the class, `list` is the method.
Paths = list[str]


class Store:
    """The files of one sweep, by path relative to a root.

    Parameters
    ----------
    url : str or Path
        A path, or ``file://``, ``s3://bucket/…``, ``abfs://container/…``,
        ``abfs://container@account.dfs.core.windows.net/…``, ``oss://bucket/…``,
        ``gs://bucket/…`` or ``memory://…``. Credentials never stand in it.
    create : bool
        Make the root folder of a local store at the first write. Workers pass ``False``: for
        them a folder that is not there was taken away. Buckets are never made.
    **options
        For the file system (``endpoint_url=…``), beyond what the environment and fsspec's
        configuration files say. They are in no file of the store and in no message.

    Attributes
    ----------
    url : str
        The root, always with protocol, without a slash at its end: ``Store(store.url)`` is the
        same store in another process.

    Raises
    ------
    StoreError
        Here and in every method, with the URL, the reason and what to do; `MissingFile`, which
        is also a `FileNotFoundError`, for a file that is not there.
    """

    def __init__(self, url: str | os.PathLike[str], *, create: bool = True, **options: Any) -> None:
        self.protocol, rest = parsed_url(url)
        self._service = SERVICES[self.protocol]
        self._options = options
        self._create = create
        if self.protocol == "file":
            self.url = f"file://{os.path.abspath(os.path.expanduser(rest))}"
        else:
            self.url = f"{self.protocol}://{rest.rstrip('/')}"
        self._files_of: tuple[int, LocalFiles | RemoteFiles] | None = None
        # A missing package is told now, and not in the middle of a sweep.
        root = self.local_path()
        # A folder that is there now must stay.
        self._seen = root is not None and os.path.isdir(root)

    def __repr__(self) -> str:
        return f"Store({self.where('')!r})"

    def __getstate__(self) -> dict[str, Any]:
        # The connection stays here; whoever opened a store elsewhere does not make it again.
        create = self._create and not self._seen
        return {"url": self.url, "create": create, "options": self._options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Store.__init__(self, state["url"], create=state["create"], **state["options"])

    @property
    def local_only(self) -> bool:
        """Whether this process alone sees the files."""
        return self.protocol == "memory"

    def local_path(self, path: str = "") -> Path | None:
        """Where a file lies on this machine's disk; `None` for stores that are elsewhere."""
        files = self._files()
        if not isinstance(files, LocalFiles):
            return None
        return files.root / checked_path(path) if path else files.root

    def url_of(self, path: str) -> str:
        """fsspec URL of a file of the store."""
        return f"{self.url}/{checked_path(path)}"

    def where(self, path: str) -> str:
        """A file as messages name it: without the protocol when it lies on this machine."""
        full = self.url_of(path) if path else self.url
        return faults.redact(full.removeprefix("file://"), self._options)

    def read_bytes(self, path: str) -> bytes:
        """Content of a file."""
        path = checked_path(path)
        return self._do("read", path, lambda files: files.read(path))

    def write_bytes(self, path: str, content: bytes) -> None:
        """Store a file whole, over what was there: temporary file and rename, or one put."""
        path = checked_path(path)
        if not isinstance(content, bytes):
            raise StoreError(
                f"{self.where(path)}: content has the type {type(content).__name__}; "
                "expected bytes (write_text and write_json store other things)"
            )
        self._open_root()
        self._do("write", path, lambda files: files.write(path, content))

    def read_text(self, path: str) -> str:
        """Content of a UTF-8 file."""
        try:
            return self.read_bytes(path).decode()
        except UnicodeDecodeError as error:
            raise StoreError(f"{self.where(path)}: is not UTF-8 text ({error})") from error

    def write_text(self, path: str, text: str) -> None:
        """Store text as UTF-8."""
        self.write_bytes(path, text.encode())

    def read_json(self, path: str) -> Any:
        """Content of a JSON file."""
        try:
            return json.loads(self.read_bytes(path))
        except ValueError as error:
            raise StoreError(
                f"{self.where(path)}: is not JSON ({error}). Something else wrote it: "
                "delete it, and what it describes is made again"
            ) from error

    def write_json(self, path: str, value: Any) -> None:
        """Store a value as JSON."""
        self.write_bytes(path, storage_folders.to_json(value))

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        path = checked_path(path)
        return self._do("look for", path, lambda files: files.is_file(path))

    def list(self, prefix: str = "") -> Paths:
        """Relative paths of all files below a folder, sorted, from one listing made now.

        A folder without files is empty, whether it exists or not.
        """
        prefix = checked_path(prefix.rstrip("/")) if prefix.strip("/") else ""
        found = self._do("list", prefix, lambda files: files.list(prefix))
        if not found and not self._present():
            raise StoreError(self._vanished("list", self.where(prefix)))
        inside = f"{prefix}/" if prefix else ""
        return sorted(path for path in found if path.startswith(inside))

    def move(self, src: str, dst: str) -> None:
        """Rename a file over whatever is at ``dst``; remotely: copy, then delete."""
        src, dst = checked_path(src), checked_path(dst)
        if src != dst:
            self._do("move", src, lambda files: files.move(src, dst))

    def delete(self, prefix: str) -> None:
        """Delete a file, or a folder and all below it; what is not there is no error."""
        prefix = checked_path(prefix.rstrip("/"))
        self._do("delete", prefix, lambda files: files.delete(prefix))

    def check_writable(self) -> None:
        """Write, read and delete a probe, making the root of a local store if need be."""
        self._open_root()
        probe, content = f".probe-{secrets.token_hex(8)}", b"lepton-ref"
        # Two attempts: someone waits at the terminal, and the address may be mistyped.
        self._do("write", "", lambda files: files.write(probe, content), attempts=2)
        if self._do("read", "", lambda files: files.read(probe)) != content:
            raise StoreError(f"{self.where('')}: reads back something else than was written")
        self._do("delete", "", lambda files: files.delete(probe))
        files = self._files()
        if isinstance(files, LocalFiles):
            files.sweep_parts()

    def upload_folder(self, local: str | os.PathLike[str], prefix: str) -> Paths:
        """Store a folder as a snapshot that replaces the one before, at one stroke.

        Only files that changed go up; a crash in the middle leaves the snapshot before. Links
        are left out. Every file is held in memory once.

        Returns
        -------
        list of str
            Relative paths of the files that went up.
        """
        return storage_folders.upload(self, Path(local), checked_path(prefix.rstrip("/")))

    def download_folder(self, prefix: str, local: str | os.PathLike[str]) -> Paths:
        """Bring back the snapshot of `upload_folder`; files that are the same stay.

        Other files of the local folder stay too. A store without that snapshot changes nothing.

        Returns
        -------
        list of str
            Relative paths of the files that were written.
        """
        return storage_folders.download(self, checked_path(prefix.rstrip("/")), Path(local))

    # ---- how

    def _files(self) -> LocalFiles | RemoteFiles:
        """The file system, opened once in each process: connections do not survive a fork."""
        if self._files_of is None or self._files_of[0] != os.getpid():
            if self.protocol == "file":
                files: LocalFiles | RemoteFiles = LocalFiles(Path(self.url.removeprefix("file://")))
            else:
                files = self._connected()
            self._files_of = (os.getpid(), files)
        return self._files_of[1]

    def _connected(self) -> RemoteFiles:
        package = self._service.package
        try:
            importlib.import_module("fsspec")
            if package:
                importlib.import_module(package)
        except ImportError as error:
            raise StoreError(
                f"{self.where('')}: {self.protocol}:// needs the package {package or 'fsspec'}, "
                f"which cannot be imported ({faults.reason(error)}). "
                "Install it: pip install 'lepton-ref[cloud]'"
            ) from error
        if self.protocol == "oss" and not (
            self._options.get("endpoint") or os.environ.get("OSS_ENDPOINT")
        ):
            raise StoreError(
                f"{self.where('')}: the address of the service is not known. Set OSS_ENDPOINT, "
                "for example to https://oss-cn-hangzhou.aliyuncs.com"
            )
        try:
            return RemoteFiles(self.protocol, self.url, self._options)
        except Exception as error:
            raise self._told("open", "", error) from error

    def _open_root(self) -> None:
        """Before a write: a local root is made, once and only where nobody has seen it before."""
        files = self._files()
        if not isinstance(files, LocalFiles):
            return
        try:
            if not files.present():
                if self._seen or not self._create:
                    raise FileNotFoundError(errno.ENOENT, "gone")
                files.create()
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(
                f"{self.where('')}: cannot be a store, for a file stands in its way. "
                "Give the path of a folder"
            ) from error
        except OSError as error:
            raise self._told("open", "", error) from error
        self._seen = True

    def _do(
        self,
        verb: str,
        path: str,
        act: Callable[[LocalFiles | RemoteFiles], T],
        attempts: int = len(faults.DELAYS) + 1,
    ) -> T:
        files = self._files()
        try:
            return faults.persist(lambda: act(files), min(attempts, self._service.attempts))
        except Exception as error:
            raise self._told(verb, path, error) from error

    def _present(self) -> bool:
        """Whether the root is there, or was never made."""
        files = self._files()
        try:
            present = files.present()
        except Exception:  # who may not look cannot say that it is gone
            return True
        if isinstance(files, LocalFiles):
            self._seen = self._seen or present
            return present or (self._create and not self._seen)
        return present

    def _told(self, verb: str, path: str, error: Exception) -> StoreError:
        """The error that the user reads."""
        if isinstance(error, StoreError):
            return error
        place = self.where(path)
        kind = faults.situation(error)
        why = faults.redact(faults.reason(error), self._options)
        if kind == faults.MISSING:
            if path and self._present():
                return MissingFile(f"{place}: cannot {verb}: no such file in the store")
            return StoreError(self._vanished(verb, place))
        if kind == faults.FULL:
            return StoreError(
                f"{place}: cannot {verb}: the disk is full or the quota used up ({why}). Nothing "
                "stored before is lost: make room and resume, or give another store"
            )
        if kind == faults.DENIED:
            return StoreError(
                f"{place}: cannot {verb}: permission denied ({why}). "
                + self._advice("Give a store that this user may write to")
            )
        if kind == faults.CREDENTIALS:
            return StoreError(
                f"{place}: cannot {verb}: no valid credentials ({why}). " + self._advice("")
            )
        if kind == faults.NETWORK and self.protocol != "file":
            return StoreError(
                f"{place}: cannot {verb}: the service did not answer, also not when asked again "
                f"({why}). Check the network and the endpoint, then resume"
            )
        return StoreError(f"{place}: cannot {verb}: {type(error).__name__}: {why}")

    def _vanished(self, verb: str, place: str) -> str:
        if self.protocol == "file":
            return (
                f"{place}: cannot {verb}: the folder {self.where('')} is gone; it was removed or "
                "its disk unmounted. Put it back, or give another store"
            )
        return (
            f"{place}: cannot {verb}: there is no such {self._service.container or 'store'}, or "
            "no longer. Make it with the tools of your provider, or give another store"
        )

    def _advice(self, otherwise: str) -> str:
        where = self._service.credentials
        return f"Credentials come from the environment: {where}" if where else otherwise


def read_text_at(url: str) -> str:
    """Text of one file at the URL of a store and a path in it, for inputs.

    Raises
    ------
    StoreError
        `MissingFile` when it is not there.
    """
    root, _, name = url.rpartition("/")
    return Store(root, create=False).read_text(name)
