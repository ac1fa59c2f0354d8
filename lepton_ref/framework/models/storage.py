"""Save a model; find one by its name and load it on any engine."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError, ModelFileError
from lepton_ref.framework.files import write_atomic
from lepton_ref.framework.models import format as file_format
from lepton_ref.framework.models.registry import Model, resolve

SUFFIX = ".safetensors"
SHIPPED = Path(lepton_ref.__file__).resolve().parent / "models_files"
RESERVED = ("class", "config", "package", "weights_sha256")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def save(model: Model, path: str | Path, description: Mapping[str, Any] | None = None) -> Path:
    """Write a model to one file, atomically.

    Parameters
    ----------
    model : Model
        A layer, or anything else with ``state()``, ``load_state()`` and ``config()`` whose
        class is registered.
    path : str or Path
        The file; ``.safetensors`` is appended when it has no suffix.
    description : mapping, optional
        Whatever JSON can hold. Customary: ``text`` (one line for people), ``recipe`` (how it
        was trained), ``data`` (``Dataset.sha256``), ``figures`` (recorded results).

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    ArgumentError
        Not a model, of an unregistered class, or a reserved key in the description.
    ModelFileError
        Weights that are not finite, a description that JSON cannot hold, or a place that
        cannot be written to. An existing file stays as it was.
    """
    cls = type(model).__name__
    if not isinstance(model, Model):
        raise ArgumentError("save", "model", f"type {cls}", "state(), load_state() and config()")
    try:
        registered = resolve(cls, "save")
    except ModelFileError:
        registered = None
    if registered is not type(model):
        raise ArgumentError(
            "save", "model", f"the unregistered class {cls}", "a class with `@register`"
        )
    given = dict(description or {})
    if taken := sorted(set(given) & set(RESERVED)):
        raise ArgumentError("save", "description", f"the key {taken[0]!r}", "other keys")
    state = model.state()
    full = given | {
        "class": cls,
        "config": model.config(),
        "package": f"lepton-ref {lepton_ref.__version__}",
        "weights_sha256": file_format.weights_digest(state),
    }
    content = file_format.pack(state, full)
    target = Path(path)
    if not target.suffix:
        target = target.with_name(target.name + SUFFIX)
    try:
        write_atomic(target, content)
    except OSError as error:
        raise ModelFileError(f"{target}: cannot be written: {error.strerror or error}") from None
    return target


def load_model(
    name: str,
    path: str | Path | None = None,
    expected: type | None = None,
    engine: str | Engine | None = None,
    sha256: str | None = None,
) -> Any:
    """Load a model by name.

    Parameters
    ----------
    name : str
        Name of the file without ``.safetensors``.
    path : str or Path, optional
        The file itself; or a folder that is searched before the folders of the environment
        variable ``LEPTON_MODELS`` and before the models that ship with the package.
    expected : type, optional
        Class that the model must be (or inherit from).
    engine : str or Engine, optional
        Engine to build it on; default: the active one. Files know no engine.
    sha256 : str, optional
        Refuse the file unless this is the SHA-256 of its bytes. The digest inside a file
        guards against accidents; one that you hold guards against people.

    Returns
    -------
    Model
        With ``model.description``, the file's description, attached.

    Raises
    ------
    ArgumentError
        A name that is no plain file name.
    ModelFileError
        No such model, or a file that is truncated, foreign, altered, of a newer format, of
        another class, or whose tensors do not fit; the message says which.
    """
    file = find(name, path)
    content = _read(file, sha256)
    arrays, description = file_format.unpack(content, str(file))
    return _build(arrays, description, str(file), expected, engine)


def read_description(name: str, path: str | Path | None = None) -> dict[str, Any]:
    """What a file says of itself: class, configuration, recipe, figures; no model is built.

    Parameters and errors as in :func:`load_model`.
    """
    file = find(name, path)
    _, description = file_format.unpack(_read(file, None), str(file))
    return description


def find(name: str, path: str | Path | None = None) -> Path:
    """The file that :func:`load_model` would read.

    Raises
    ------
    ArgumentError
        The name has a separator, a leading dot, or other signs of a path.
    ModelFileError
        There is no such file; the message lists where it was looked for and what is there.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
        raise ArgumentError(
            "load_model", "name", f"the value {name!r}",
            "a plain name of letters, digits, `_`, `-` and `.`; folders go into `path`",
        )  # fmt: skip
    if path is not None and not Path(path).is_dir():
        if not Path(path).is_file():
            raise ModelFileError(f"{path}: there is no such file or folder")
        return Path(path)
    places = folders(path)
    for folder in places:
        if (folder / (name + SUFFIX)).is_file():
            return folder / (name + SUFFIX)
    there = ", ".join(available(path)) or "none"
    looked = ", ".join(str(folder) for folder in places)
    raise ModelFileError(f"no model {name!r} in {looked}; models there: {there}")


def folders(path: str | Path | None = None) -> list[Path]:
    """Where models are looked for, in order."""
    listed = os.environ.get("LEPTON_MODELS", "").split(os.pathsep)
    given = [Path(path)] if path is not None else []
    return [*given, *(Path(item).expanduser() for item in listed if item), SHIPPED]


def available(path: str | Path | None = None) -> list[str]:
    """Names that :func:`load_model` finds, sorted."""
    found = {
        file.name.removesuffix(SUFFIX)
        for folder in folders(path)
        if folder.is_dir()
        for file in folder.glob("*" + SUFFIX)
    }
    return sorted(name for name in found if _NAME.fullmatch(name))


def _read(file: Path, sha256: str | None) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{file}: cannot be read: {error.strerror}") from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256.lower():
        raise ModelFileError(f"{file}: not the file you asked for: its SHA-256 is another")
    return content


def _build(
    arrays: dict[str, np.ndarray],
    description: dict[str, Any],
    where: str,
    expected: type | None,
    engine: str | Engine | None,
) -> Any:
    cls = resolve(description.get("class"), where)
    if expected is not None and not issubclass(cls, expected):
        raise ModelFileError(f"{where}: it holds a {cls.__name__}, expected a {expected.__name__}")
    config = description.get("config", {})
    try:
        if hasattr(cls, "from_config"):
            model = cls.from_config(config, rng=np.random.default_rng(0), engine=engine)
        else:
            model = cls(**config)
    except (ArgumentError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{where}: this version's {cls.__name__} cannot be built from the configuration "
            f"{json.dumps(config)[:200]}: {error}"
        ) from error
    if any(a.dtype == np.float64 for a in arrays.values()) and hasattr(model, "astype"):
        model.astype("float64")
    _fit(model.state(), arrays, where)
    model.load_state(arrays)
    model.description = description
    return model


def _fit(own: dict[str, np.ndarray], arrays: dict[str, np.ndarray], where: str) -> None:
    """Names, shapes and dtypes of the file are those of the model."""
    if missing := sorted(own.keys() - arrays.keys()):
        raise ModelFileError(f"{where}: tensors are missing: {', '.join(missing[:6])}")
    if extra := sorted(arrays.keys() - own.keys()):
        raise ModelFileError(f"{where}: tensors that the model lacks: {', '.join(extra[:6])}")
    for name, array in own.items():
        got = arrays[name]
        if got.shape != array.shape:
            raise ModelFileError(
                f"{where}: tensor {name} has shape {got.shape}, the model expects {array.shape}"
            )
        if got.dtype != array.dtype:
            raise ModelFileError(
                f"{where}: tensor {name} has dtype {got.dtype}, the model expects {array.dtype}"
            )
