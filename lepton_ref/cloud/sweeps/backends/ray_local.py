"""The Ray cluster that a backend makes for itself on this machine: private, small, quiet."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_MIB = 2**20


def private_folder() -> Path:
    """For this user alone, with a short path: the sockets of Ray may not exceed 107 characters."""
    base = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="lr-", dir=base if len(base) <= 20 else "/tmp"))


def arguments(folder: Path, cpus: int) -> dict[str, Any]:
    """For `ray.init`. Its addresses are left to Ray: a mixture with 127.0.0.1 hangs."""
    return {
        "address": "local",
        "num_cpus": cpus,
        # Holds notebooks and results while they travel; more goes to disk.
        "object_store_memory": 256 * _MIB,
        "include_dashboard": False,
        "_temp_dir": str(folder / "ray"),
    }


def environment(folder: Path, given: Mapping[str, str]) -> dict[str, str]:
    """For the cluster's processes: ``given``, a token of its own, no other cluster's address.

    Left to itself Ray writes one token for all clusters to ``~/.ray``, readable for everybody.
    """
    found = {k: v for k, v in given.items() if k not in ("RAY_ADDRESS", "RAY_AUTH_TOKEN")}
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    found |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    if importlib.util.find_spec("rfc3987_syntax"):
        # jsonschema, which Ray imports in each of its processes, imports this when it is there
        # (JupyterLab wants it): parsers that take seconds to build, for a check that nobody
        # asks for. The runs themselves get their environment back in :mod:`.ray_attempt`.
        spared = folder / "spared"
        spared.mkdir()
        (spared / "rfc3987_syntax.py").write_text("raise ImportError('left out')\n")
        paths = [str(spared), found.get("PYTHONPATH", "")]
        found["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
        found["LEPTON_RAY_SPARED"] = str(spared)
    return found


def remove(folder: Path) -> None:
    """Take the folder away; Ray's last processes still write for a moment after it let them go."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
