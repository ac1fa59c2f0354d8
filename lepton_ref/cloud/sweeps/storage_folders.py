"""Folders of checkpoints, carried to a store and back as snapshots.

A machine may be taken away in the middle of an upload, so a folder is never changed file by
file: the contents go up under names that carry their hash, beside those of the snapshot before;
one small manifest, written last, switches from the old snapshot to the new; what neither names
is then deleted. Whoever downloads sees the one or the other, and never a mixture of both.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.storage_faults import MissingFile
from lepton_ref.cloud.sweeps.storage_local import PART, write_atomically
from lepton_ref.cloud.sweeps.storage_url import checked_path

if TYPE_CHECKING:
    from lepton_ref.cloud.sweeps.storage import Store

MANIFEST = "manifest.json"


def upload(store: Store, folder: Path, prefix: str) -> list[str]:
    """See :meth:`.storage.Store.upload_folder`."""
    if not folder.is_dir():
        raise StoreError(f"upload_folder: {folder} is not a folder on this machine")
    before = _manifest(store, prefix)
    uploaded = {entry["stored"] for entry in before.values()}
    after: dict[str, dict[str, Any]] = {}
    changed = []
    for path in sorted(_regular_files(folder)):
        name = path.relative_to(folder).as_posix()
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # training rotates its checkpoints meanwhile
            continue
        digest = hashlib.sha256(content).hexdigest()
        stored = f"{name}.{digest[:16]}"
        after[name] = {"stored": stored, "sha256": digest, "size": len(content)}
        if stored not in uploaded:
            store.write_bytes(f"{prefix}/{stored}", content)
            uploaded.add(stored)
            changed.append(name)
    if after != before:
        store.write_json(f"{prefix}/{MANIFEST}", {"files": after})
        for stored in {entry["stored"] for entry in before.values()}:
            if stored not in {entry["stored"] for entry in after.values()}:
                store.delete(f"{prefix}/{stored}")
    return changed


def download(store: Store, prefix: str, folder: Path) -> list[str]:
    """See :meth:`.storage.Store.download_folder`."""
    changed = []
    for name, entry in sorted(_manifest(store, prefix).items()):
        target = _inside(folder, name)
        if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == entry["sha256"]:
            continue
        content = store.read_bytes(f"{prefix}/{entry['stored']}")
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise StoreError(
                f"{store.where(prefix)}: {name} is damaged (its SHA-256 is not that of the "
                "manifest). Delete the folder; the run then starts from its beginning"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content)
        changed.append(name)
    return changed


def _manifest(store: Store, prefix: str) -> dict[str, dict[str, Any]]:
    try:
        files = store.read_json(f"{prefix}/{MANIFEST}")["files"]
        return {
            str(name): {
                "stored": str(entry["stored"]),
                "sha256": str(entry["sha256"]),
                "size": int(entry["size"]),
            }
            for name, entry in files.items()
        }
    except MissingFile:
        return {}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(
            f"{store.where(f'{prefix}/{MANIFEST}')}: not the manifest of a folder of "
            "checkpoints. Delete the folder; the run then starts from its beginning"
        ) from error


def _regular_files(folder: Path) -> list[Path]:
    """Files of a folder; links are left alone, for they may lead out of it."""
    found = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not Path(here, name).is_symlink()]
        paths = (Path(here, name) for name in names if not PART.fullmatch(name))
        found += [path for path in paths if path.is_file() and not path.is_symlink()]
    return found


def _inside(folder: Path, name: str) -> Path:
    """Where ``name`` goes, which must be inside ``folder`` (also when links lie on the way)."""
    target = folder / checked_path(name)
    if not target.resolve().is_relative_to(folder.resolve()):
        raise StoreError(
            f"{name!r} would be written outside {folder}: nothing was written. "
            "Someone changed the store; do not resume from it"
        )
    return target


def to_json(value: Any) -> bytes:
    """JSON as the store's files hold it: readable with any editor."""
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
