"""Checkpoints: all that the next step depends on, in one file that is whole or not there.

A training step is a function of the state alone, s' = F(s) (eq. training-state). A checkpoint
holds s: weights and buffers, the optimizer's slots and step count, the generator's state, the
place inside the epoch, the callbacks' memory, and the history. The file is safetensors with a
JSON description in its header; nothing in it is ever executed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError, ModelFileError
from lepton_ref.framework.files import write_atomic
from lepton_ref.framework.models.format import file_digest, read_header
from lepton_ref.framework.training.callbacks import Callback
from lepton_ref.framework.training.checks import check_count

FORMAT = "lepton-checkpoint"
VERSION = 1


class Checkpoint:
    """Where and how often to save a run; where to resume it from.

    Parameters
    ----------
    path : str or Path
        One file, replaced in place by each save: ``"runs/mlp.checkpoint"``.
    every_epochs : int
        Save after each so many epochs (and after the last).
    every_steps : int, optional
        Save inside the epochs too, after each so many steps.
    resume : bool
        Continue from the file when it exists. With False, start afresh and overwrite it.

    Notes
    -----
    A save writes a temporary file beside ``path``, forces it to the disk and renames it, and a
    rename happens wholly or not at all: a process killed at any moment leaves the previous
    checkpoint whole. On Ctrl-C or SIGTERM :func:`fit` finishes its step, saves, and only then
    stops.
    """

    def __init__(
        self,
        path: str | Path,
        every_epochs: int = 1,
        every_steps: int | None = None,
        resume: bool = True,
    ) -> None:
        self.path = Path(path)
        self.every_epochs = check_count("Checkpoint", "every_epochs", every_epochs)
        self.every_steps = every_steps
        if every_steps is not None:
            check_count("Checkpoint", "every_steps", every_steps)
        self.resume = resume

    def prepare(self) -> None:
        """Make sure that the folder takes files; sweep up what killed processes left there.

        Raises
        ------
        ArgumentError
            When the path is a folder or its folder cannot be made or written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_dir():
                raise IsADirectoryError("it is a folder")
            if not os.access(self.path.parent, os.W_OK):
                raise PermissionError("its folder is not writable")
        except OSError as error:
            raise ArgumentError(
                "Checkpoint", "path", f"the value {str(self.path)!r}: {error}", "a writable file"
            ) from error
        for leftover in self.path.parent.glob(f".{self.path.name}.*.part"):
            leftover.unlink(missing_ok=True)

    def write(self, arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> None:
        """Save arrays and description under :attr:`path`, atomically."""
        write_atomic(self.path, pack(arrays, description))
        _force_folder(self.path.parent)

    def read(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What :meth:`write` saved.

        Raises
        ------
        ModelFileError
            When the file is truncated, altered, or no checkpoint.
        """
        return unpack(self.path.read_bytes(), str(self.path))


_calls = itertools.count(1)


def automatic(callbacks: Sequence[Callback]) -> Checkpoint | None:
    """The checkpoint of a call of ``fit`` that names none, in a run that may be moved.

    A sweep sets ``LEPTON_CHECKPOINTS`` to a folder that it carries from one attempt at a run to
    the next. The n-th call of ``fit`` in the notebook saves there as ``fit-n.checkpoint``, and
    the next attempt, which runs the same code, finds it under the same number.

    Returns
    -------
    Checkpoint or None
        None outside a sweep, and with a callback that keeps no state of its own: it would
        remember only the steps after the resumption.
    """
    number = next(_calls)
    folder = os.environ.get("LEPTON_CHECKPOINTS")
    if not folder or any(type(callback).state is Callback.state for callback in callbacks):
        return None
    return Checkpoint(Path(folder) / f"fit-{number}.checkpoint")


def pack(arrays: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> bytes:
    """The file's bytes: safetensors, with the description and a digest in its header."""
    from safetensors.numpy import save

    plain = {name: np.ascontiguousarray(a).reshape(np.shape(a)) for name, a in arrays.items()}
    text = json.dumps(description, default=_to_json)
    header = {
        "format": FORMAT, "version": str(VERSION), "description": text,
        "sha256": file_digest(text, plain),
    }  # fmt: skip
    return save(plain, header)


def unpack(content: bytes, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The inverse of :func:`pack`; refuses whatever it did not make."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    header = read_header(content, name).get("__metadata__")
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ModelFileError(f"{name}: a safetensors file, but not a checkpoint of a training run")
    if header.get("version") != str(VERSION):
        raise ModelFileError(
            f"{name}: a checkpoint of format {header.get('version')}; this package reads {VERSION}"
        )
    try:
        arrays = load(content)
    except (SafetensorError, ValueError) as error:
        raise ModelFileError(
            f"{name}: truncated or damaged ({error}); delete it to start afresh"
        ) from error
    if header.get("sha256") != file_digest(header.get("description", ""), arrays):
        raise ModelFileError(f"{name}: altered since it was written (its digest does not match)")
    return arrays, json.loads(header["description"], object_hook=_from_json)


def _force_folder(folder: Path) -> None:
    """Bring the folder to the disk, so that the new name survives a power cut (POSIX)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def fingerprint(arrays: tuple[np.ndarray, ...]) -> str:
    """A digest of the training data, so that a run is not resumed on other rows."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _to_json(value: Any) -> Any:
    """Arrays inside a generator's state (MT19937, Philox) and NumPy's numbers."""
    if isinstance(value, np.ndarray):
        return {"__array__": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no place in a checkpoint's description")


def _from_json(value: dict[str, Any]) -> Any:
    if "__array__" in value:
        return np.array(value["__array__"], dtype=value["dtype"])
    return value
