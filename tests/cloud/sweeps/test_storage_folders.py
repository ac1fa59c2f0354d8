"""Checkpoints: snapshots that are whole, cheap to renew, and cannot lead out of their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.storage import Store

pytestmark = pytest.mark.xdist_group("stores")

PREFIX = "checkpoints/1f"


@pytest.fixture
def store(any_store: str) -> Store:
    return Store(any_store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "here"
    made.mkdir()
    (made / "last.safetensors").write_bytes(b"weights 1")
    (made / "state").mkdir()
    (made / "state" / "ö 1.json").write_bytes(b"{}")
    (made / "empty").write_bytes(b"")
    return made


def contents(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_folder_goes_and_comes_back(store: Store, folder: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    assert store.download_folder(PREFIX, there) == []
    assert not there.exists()
    names = ["empty", "last.safetensors", "state/ö 1.json"]
    assert store.upload_folder(folder, PREFIX) == names
    assert store.download_folder(PREFIX, there) == names
    assert contents(there) == contents(folder)


def test_only_what_changed_travels(store: Store, folder: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    store.upload_folder(folder, PREFIX)
    store.download_folder(PREFIX, there)
    assert store.upload_folder(folder, PREFIX + "/") == []
    assert store.download_folder(PREFIX + "/", there) == []
    (folder / "last.safetensors").write_bytes(b"weights 2")  # as long as before
    os.utime(folder / "last.safetensors", (1, 1))  # and not newer
    (folder / "empty").unlink()
    assert store.upload_folder(folder, PREFIX) == ["last.safetensors"]
    assert len(store.list(PREFIX)) == 3  # two files and the manifest: nothing old is kept
    (there / "own").write_bytes(b"mine")
    assert store.download_folder(PREFIX, there) == ["last.safetensors"]
    assert contents(there)["last.safetensors"] == b"weights 2"
    assert contents(there)["own"] == b"mine"


def test_the_same_content_goes_up_once_per_name(memory_store: str, folder: Path) -> None:
    store = Store(memory_store)
    (folder / "copy").write_bytes(b"weights 1")
    store.upload_folder(folder, PREFIX)
    os.replace(folder / "copy", folder / "moved")
    assert store.upload_folder(folder, PREFIX) == ["moved"]
    assert store.upload_folder(folder, PREFIX) == []


@pytest.mark.parametrize("step", range(4))
def test_an_upload_that_is_cut_off_changes_nothing(
    store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    store.upload_folder(folder, PREFIX)
    before = contents(folder)
    for path in list(folder.rglob("*")):
        if path.is_file():
            path.write_bytes(b"second " + path.name.encode())
    written = []
    write = store.write_bytes

    def until_preempted(path: str, content: bytes) -> None:
        if len(written) == step:  # three files, and then the manifest
            raise KeyboardInterrupt
        write(path, content)
        written.append(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "write_bytes", until_preempted)
        store.upload_folder(folder, PREFIX)
    assert len(written) == step
    Store(store.url).download_folder(PREFIX, tmp_path / "there")
    assert contents(tmp_path / "there") == before
    assert store.upload_folder(folder, PREFIX)
    assert store.upload_folder(folder, PREFIX) == []


def test_files_that_training_removes_meanwhile(
    memory_store: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def rotated(path: Path) -> bytes:
        if path.name == "last.safetensors":
            path.unlink()
        return read(path)

    store = Store(memory_store)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", rotated)
        assert store.upload_folder(folder, PREFIX) == ["empty", "state/ö 1.json"]
    store.download_folder(PREFIX, tmp_path / "there")
    assert contents(tmp_path / "there") == contents(folder)


def test_links_and_half_written_files_stay_behind(
    memory_store: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_bytes(b"secret")
    (folder / "link").symlink_to(tmp_path / "private" / "key")
    (folder / "linked").symlink_to(tmp_path / "private")
    (folder / ".lepton-0123456789abcdef.part").write_bytes(b"half")
    store = Store(memory_store)
    assert store.upload_folder(folder, PREFIX) == ["empty", "last.safetensors", "state/ö 1.json"]
    assert not any(b"secret" in store.read_bytes(path) for path in store.list())


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "a/../../evil", "a//b", "..\\evil", "", "out/evil"]
)
def test_a_manifest_that_leads_out(memory_store: str, tmp_path: Path, name: str) -> None:
    store = Store(memory_store)
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "out").symlink_to(outside)
    store.write_bytes(f"{PREFIX}/x", b"evil")
    entry = {"stored": "x", "sha256": "0" * 64, "size": 4}
    store.write_json(f"{PREFIX}/manifest.json", {"files": {name: entry}})
    with pytest.raises(StoreError, match="outside|expected a relative path inside"):
        store.download_folder(PREFIX, inside)
    entry["stored"] = "../../sweep.json"
    store.write_json(f"{PREFIX}/manifest.json", {"files": {"fine": entry}})
    with pytest.raises(StoreError, match="expected a relative path inside"):
        store.download_folder(PREFIX, inside)
    assert sorted(tmp_path.rglob("*")) == sorted([inside, outside, inside / "out"])


def test_damage_is_found(memory_store: str, folder: Path, tmp_path: Path) -> None:
    store = Store(memory_store)
    store.upload_folder(folder, PREFIX)
    (damaged,) = (path for path in store.list(PREFIX) if "safetensors" in path)
    store.write_bytes(damaged, b"weights X")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "last.safetensors").write_bytes(b"weights 0")
    with pytest.raises(StoreError, match=r"last\.safetensors is damaged .* Delete the folder"):
        store.download_folder(PREFIX, tmp_path / "there")
    assert (tmp_path / "there" / "last.safetensors").read_bytes() == b"weights 0"
    for content in (b"[]", b'{"files": [1]}', b'{"files": {"a": {}}}', b'{"files": {"a": 1}}'):
        store.write_bytes(f"{PREFIX}/manifest.json", content)
        with pytest.raises(StoreError, match="not the manifest of a folder of checkpoints"):
            store.download_folder(PREFIX, tmp_path / "there")
    store.write_bytes(f"{PREFIX}/manifest.json", b'{"fil')
    with pytest.raises(StoreError, match="is not JSON"):
        store.upload_folder(folder, PREFIX)


def test_folders_that_are_none(memory_store: str, folder: Path) -> None:
    store = Store(memory_store)
    for path in (folder / "nowhere", folder / "empty"):
        with pytest.raises(StoreError, match="is not a folder on this machine"):
            store.upload_folder(path, PREFIX)
    with pytest.raises(StoreError, match="expected a relative path"):
        store.upload_folder(folder, "../x")
