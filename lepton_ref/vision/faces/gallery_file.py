"""The bytes of a gallery: safetensors with a JSON description, checked whole and swapped whole.

Layout as in :mod:`lepton_ref.framework.models.format`: a length, a header in JSON, the tensors
``templates`` (T, D) float32 and ``owners`` (T,) int32. The header's metadata hold format and
version, a description (model, threshold, people) and a SHA-256 over that text and both tensors.
The digest tells accidents. It holds no secret, so it does not tell a forger.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.errors import DataError, ModelFileError
from lepton_ref.framework.files import write_by_way_of
from lepton_ref.framework.models.format import file_digest, read_header, serialize

FORMAT = "lepton-gallery"
VERSION = 1


class GalleryFileError(DataError):
    """A gallery file that is damaged, altered, foreign, missing, or of another model."""


class Person(NamedTuple):
    """Somebody who is enrolled: the name, what was consented to, and when, in UTC."""

    name: str
    consent: str
    enrolled: str


class Content(NamedTuple):
    """All that a gallery file holds.

    Attributes
    ----------
    model : str
        Fingerprint of the model that made the templates.
    threshold : float
    people : tuple of Person
    templates : float32 (T, D)
        Unit vectors, those of one person side by side.
    owners : int32 (T,)
        Index into `people` of each template; rises.
    """

    model: str
    threshold: float
    people: tuple[Person, ...]
    templates: np.ndarray
    owners: np.ndarray


def pack(content: Content) -> bytes:
    """The whole file; the same content gives the same bytes."""
    text = json.dumps(
        {
            "model": content.model,
            "threshold": content.threshold,
            "people": [person._asdict() for person in content.people],
        },
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
    )
    arrays = {"templates": content.templates, "owners": content.owners}
    metadata = {
        "format": FORMAT, "version": str(VERSION), "description": text,
        "sha256": file_digest(text, arrays),
    }  # fmt: skip
    return serialize(arrays, metadata)


def unpack(data: bytes, where: str) -> Content:
    """What a whole and unaltered file holds.

    Raises
    ------
    GalleryFileError
        The message names the file and what is wrong with it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        metadata = read_header(data, where).get("__metadata__")
    except ModelFileError as error:
        raise GalleryFileError(str(error)) from None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        found = metadata.get("format") if isinstance(metadata, dict) else None
        raise GalleryFileError(f"{where}: foreign: of format {found!r}, expected {FORMAT!r}")
    version = str(metadata.get("version", ""))
    if not version.isdecimal() or int(version) > VERSION:
        raise GalleryFileError(
            f"{where}: written in format {version!r}, this package reads up to {VERSION}; "
            "update lepton-ref"
        )
    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise GalleryFileError(f"{where}: truncated or damaged ({error})") from None
    text = metadata.get("description", "")
    if file_digest(text, arrays) != metadata.get("sha256"):
        raise GalleryFileError(
            f"{where}: altered since it was written: its SHA-256 is not the one it carries; "
            "take it from a backup"
        )
    return _content(text, arrays, where)


def _content(text: str, arrays: dict[str, np.ndarray], where: str) -> Content:
    """Description and tensors that fit each other: the digest alone would not say so."""
    try:
        description = json.loads(text)
        people = tuple(Person(**person) for person in description["people"])
        model, threshold = description["model"], float(description["threshold"])
        templates, owners = arrays["templates"], arrays["owners"]
    except (ValueError, KeyError, TypeError) as error:
        raise GalleryFileError(f"{where}: damaged: its description lacks {error}") from None
    fit = (
        all(isinstance(field, str) for person in people for field in person)
        and isinstance(model, str)
        and templates.dtype == np.float32
        and templates.ndim == 2
        and owners.shape == templates.shape[:1]
        and owners.dtype == np.int32
        and np.array_equal(np.unique(owners), np.arange(len(people)))
        and bool((np.diff(owners) >= 0).all())
        and bool(np.allclose((templates.astype(np.float64) ** 2).sum(axis=1), 1.0, atol=1e-4))
    )
    if not fit:
        raise GalleryFileError(
            f"{where}: damaged: people and templates do not fit, or a template has not length 1"
        )
    return Content(model, threshold, people, templates, owners)


def read(path: Path) -> tuple[Content, str]:
    """Content and SHA-256 of a file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise GalleryFileError(
            f"{path}: there is no such gallery; Gallery.create makes one"
        ) from None
    except OSError as error:
        raise GalleryFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    return unpack(data, str(path)), hashlib.sha256(data).hexdigest()


def replace(path: Path, content: Content) -> str:
    """Swap the file for one with this content, readable by its owner alone; returns its SHA-256.

    Raises
    ------
    GalleryFileError
        When the disk is full or read-only; the file that was there is still there.
    """
    data = pack(content)
    try:
        # The folder is closed to others (mode 700) before anything is written to it.
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            new = Path(folder) / "new"
            write_by_way_of(new.with_suffix(".part"), new, data)
            new.chmod(0o600)
            os.replace(new, path)
    except OSError as error:
        raise GalleryFileError(
            f"{path}: cannot be written, and stays as it was: {error.strerror or error}"
        ) from None
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One writer at a time, also among processes; what a killed writer left behind is removed.

    Left behind: a folder with templates in it, perhaps of somebody who is to be forgotten.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise GalleryFileError(
            f"{path}: cannot be written, and stays as it was: {error.strerror or error}"
        ) from None
    try:
        with contextlib.suppress(ImportError):  # there is no fcntl on Windows
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(lock)


def fingerprint(model: Any) -> str:
    """SHA-256 over class, configuration and weights of a model; the same on every engine.

    Raises
    ------
    ArgumentError
        When the object is no model.
    """
    from lepton_ref.framework.errors import ArgumentError
    from lepton_ref.framework.models import Model
    from lepton_ref.framework.models.format import weights_digest

    if not isinstance(model, Model):
        raise ArgumentError(
            "fingerprint", "model", f"type {type(model).__name__}",
            "a model with state() and config(), or its fingerprint",
        )  # fmt: skip
    config = json.dumps(model.config(), sort_keys=True)
    parts = f"{type(model).__name__}\0{config}\0{weights_digest(model.state())}"
    return hashlib.sha256(parts.encode()).hexdigest()
