"""Secrets: named in a sweep, looked up inside the kernel, never stored.

A parameter reads ``"secret:API_KEY"``. The injected cell of the notebook then reads
``api_key = secret("API_KEY")``, so that neither the sweep, the store nor the executed notebook
holds the value. The worker looks the value up too, once the run is over, to make sure of that.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lepton_ref.cloud.sweeps.errors import SweepError
from lepton_ref.cloud.sweeps.parameters import SECRET

#: Shorter ones would be found by chance in any notebook.
SHORTEST = 4


def secret(name: str) -> str:
    """The value of a secret on this machine.

    Looked for in the environment variable ``LEPTON_SECRET_<name>``, in ``<name>`` itself, and
    in the file ``<name>`` of the folder that ``LEPTON_SECRETS`` names (where Kubernetes mounts
    them).

    Raises
    ------
    SweepError
        When it is nowhere, empty, or too short to be told from other text.
    """
    value = os.environ.get(f"LEPTON_SECRET_{name}") or os.environ.get(name)
    folder = os.environ.get("LEPTON_SECRETS")
    if not value and folder and name.isidentifier():
        file = Path(folder) / name
        value = file.read_text(encoding="utf-8").rstrip("\n") if file.is_file() else None
    if not value:
        raise SweepError(
            f"secret `{name}` is not set where the run executes; set the environment variable "
            f"LEPTON_SECRET_{name}, or LEPTON_SECRETS to a folder with a file of that name"
        )
    if len(value) < SHORTEST:
        raise SweepError(f"secret `{name}` is shorter than {SHORTEST} characters")
    return value


def named(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameters that are secrets, with the secret that each names."""
    return {
        key: value[len(SECRET) :]
        for key, value in parameters.items()
        if isinstance(value, str) and value.startswith(SECRET)
    }


def injected_source(source: str, secrets: Mapping[str, str]) -> str:
    """The injected cell, with a look-up where the name of a secret stood."""
    lines = [line for line in source.splitlines() if line.partition(" = ")[0] not in secrets]
    lines.append("from lepton_ref.cloud.sweeps import secret")
    lines += [f"{parameter} = secret({name!r})" for parameter, name in secrets.items()]
    return "\n".join(lines)


def forms(value: str) -> set[str]:
    """How a secret's value may stand in a notebook: plain, escaped, encoded."""
    raw = value.encode()
    once = json.dumps(value)[1:-1]
    found = {
        value, once, json.dumps(once)[1:-1], repr(value)[1:-1],
        urllib.parse.quote(value, safe=""), raw.hex(), value[::-1],
    }  # fmt: skip
    # Base64 of the value inside longer text, at each of the three alignments.
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw).decode().rstrip("=")
        inner = coded[(0, 2, 3)[shift] : len(coded) - 1]
        if len(inner) >= 2 * SHORTEST:
            found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return found


def leaked(text: str, names: Iterable[str]) -> list[str]:
    """Which of the secrets ``names`` stand in ``text``; one that is not set here cannot."""
    found = []
    for name in names:
        try:
            value = secret(name)
        except SweepError:
            continue
        if any(form in text for form in forms(value)):
            found.append(name)
    return found
