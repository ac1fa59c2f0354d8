"""What makes two runs the same run."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import lepton_ref

#: Hexadecimal digits of an identity: 80 bits, so that a million runs collide with odds of 4e-13.
DIGITS = 20


def identity(code: str, parameters: Mapping[str, Any], lock: str, version: str) -> str:
    """The name of a run: a digest of everything that its results may depend on.

    Parameters
    ----------
    code : str
        Digest of the notebook's code cells (:func:`.notebooks.code_digest`).
    parameters : mapping
        All parameters, defaults included, in any order. A secret counts by its name.
    lock : str
        Digest of the installed versions (:func:`lock_digest`).
    version : str
        Of this package.

    Returns
    -------
    str
        20 hexadecimal digits.
    """
    parts = {
        "code": code,
        "parameters": dict(sorted(parameters.items())),
        "lock": lock,
        "version": version,
    }
    text = json.dumps(parts, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


@functools.cache
def lock_digest(path: str | None = None) -> str:
    """SHA-256 of the lock: ``path``, else the clone's, else of the versions installed here."""
    found = Path(path) if path else _lock_of_the_clone()
    if found is not None:
        lines = [line.strip() for line in found.read_text(encoding="utf-8").splitlines()]
        text = "\n".join(line for line in lines if line and not line.startswith("#"))
    else:
        text = "\n".join(sorted({f"{d.name}=={d.version}" for d in metadata.distributions()}))
    return hashlib.sha256(text.encode()).hexdigest()


def _lock_of_the_clone() -> Path | None:
    """``requirements.lock`` beside the package, when it runs from a clone."""
    beside = Path(lepton_ref.__file__).parent.parent / "requirements.lock"
    return beside if beside.is_file() else None
