"""Object stores on this machine, for the tests: S3 by moto, Azure Blob Storage by Azurite.

``python -m tests.cloud.sweeps.servers`` installs Azurite into build/azurite beforehand.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
AZURITE = ROOT / "build" / "azurite"
_PINNED = ROOT / "tests" / "cloud" / "azurite"
_MAIN = AZURITE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
_FILES = ("package.json", "package-lock.json", ".npmrc")


class Unavailable(RuntimeError):
    """A server that is not installed on this machine, and why."""


def install_azurite() -> Path:
    """Azurite as the lock pins it, installed on first use; returns its main script."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Unavailable(
            "Azurite needs node (18 or newer) and npm, which were not found: "
            "install them, on Debian and Ubuntu with `apt install nodejs npm`"
        )
    AZURITE.mkdir(parents=True, exist_ok=True)
    with open(AZURITE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several pytest workers may come at once
        ready = AZURITE / ".ready"
        wanted = (_PINNED / "package-lock.json").read_text()
        if not (ready.is_file() and ready.read_text() == wanted and _MAIN.is_file()):
            ready.unlink(missing_ok=True)
            for name in _FILES:
                shutil.copyfile(_PINNED / name, AZURITE / name)
            done = subprocess.run(
                [npm, "ci"], cwd=AZURITE, capture_output=True, text=True, timeout=600
            )
            if done.returncode != 0:
                raise Unavailable(f"npm ci failed in {AZURITE}:\n{done.stdout}{done.stderr}")
            ready.write_text(wanted)
    return _MAIN


@contextlib.contextmanager
def listening(command: list[str], env: dict[str, str], pattern: str) -> Iterator[str]:
    """A server of one process: the part of its output that ``pattern`` captures, its address."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with open(log, "wb") as output:
            server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **env},
            )
        try:
            deadline = time.monotonic() + 120
            while (found := re.search(pattern, log.read_text(errors="replace"))) is None:
                if server.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{' '.join(command)} does not listen:\n{said}")
                time.sleep(0.05)
            yield found[1]
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@contextlib.contextmanager
def moto() -> Iterator[dict[str, str]]:
    """An S3; yields the environment with which every AWS library finds it."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with listening(command, {}, r"Running on (http://127\.0\.0\.1:\d+)") as address:
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": f"id-{secrets.token_hex(8)}",
            "AWS_SECRET_ACCESS_KEY": f"secret-{secrets.token_hex(8)}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


@contextlib.contextmanager
def azurite() -> Iterator[dict[str, str]]:
    """A Blob Storage; yields the environment with which adlfs finds it."""
    main = install_azurite()
    account, key = "lepton", base64.b64encode(secrets.token_bytes(32)).decode()
    command = ["node", str(main), "--blobHost", "127.0.0.1", "--blobPort", "0", "--silent"]
    command += ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck"]
    pattern = r"successfully listens on (http://127\.0\.0\.1:\d+)"
    with listening(command, {"AZURITE_ACCOUNTS": f"{account}:{key}"}, pattern) as address:
        yield {"AZURE_STORAGE_CONNECTION_STRING": connection_string(address, account, key)}


@contextlib.contextmanager
def google() -> Iterator[dict[str, str]]:
    """The emulator of Google Cloud Storage; yields the environment that leads there."""
    if importlib.util.find_spec("gcp_storage_emulator") is None:
        raise Unavailable("the package gcp-storage-emulator is not installed")
    with _emulated("gs") as address:
        yield {"STORAGE_EMULATOR_HOST": address}


@contextlib.contextmanager
def oss() -> Iterator[dict[str, str]]:
    """What stands for Alibaba OSS; yields the environment that leads there."""
    with _emulated("oss") as address:
        yield {
            "OSS_ENDPOINT": address,
            "OSS_ACCESS_KEY_ID": f"id-{secrets.token_hex(8)}",
            "OSS_ACCESS_KEY_SECRET": f"secret-{secrets.token_hex(8)}",
        }


def _emulated(kind: str) -> contextlib.AbstractContextManager[str]:
    command = [sys.executable, "-m", "tests.cloud.sweeps.emulators", kind]
    pattern = r"Running on (http://127\.0\.0\.1:\d+)"
    return listening(command, {"PYTHONPATH": str(ROOT)}, pattern)


def connection_string(address: str, account: str, key: str) -> str:
    """As Azure's tools write it."""
    return (
        f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};"
        f"BlobEndpoint={address}/{account};"
    )


if __name__ == "__main__":
    try:
        print(install_azurite())
    except Unavailable as reason:
        sys.exit(str(reason))
