"""Stores to sweep into: a folder, memory, and S3, Azure, Google and OSS on this machine.

The servers start once a session on ports that the system chooses, and are reached through the
environment alone, as on a real machine, so that worker processes find them too. Where they
are not installed, their tests are skipped; ``LEPTON_REQUIRE_STORES=1`` makes that a failure.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import fsspec.config
import pytest

from tests.cloud.sweeps import servers

STORES = ("local", "memory", "s3", "azure", "gs", "oss")

#: What the stores read: a developer's own settings must not reach the tests, nor the tests them.
_PREFIXES = ("AWS_", "AZURE_", "OSS_", "GOOGLE_", "FSSPEC_", "STORAGE_EMULATOR_")
_KEPT = ("AWS_CA_BUNDLE",)


#: Files whose tests start servers, clusters or kernels; the leg on NumPy 2 leaves them out, since
#: nothing in them depends on NumPy.
_STARTING = {
    f"test_{name}.py"
    for name in (
        "deploy", "execution", "kubernetes", "kubernetes_manifest", "local", "ray",
        "ray_autoscaler", "ray_broker", "ray_faults", "storage", "storage_faults",
        "storage_folders", "storage_network", "stores_sweep", "warm", "warm_environment",
    )
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and item.path.name in _STARTING:
            item.add_marker(pytest.mark.processes)


def _serve(
    server: Callable[[], AbstractContextManager[dict[str, str]]],
) -> Iterator[dict[str, str]]:
    running = server()
    try:
        env = running.__enter__()
    except servers.Unavailable as reason:
        if os.environ.get("LEPTON_REQUIRE_STORES"):
            pytest.fail(f"LEPTON_REQUIRE_STORES is set, and {reason}")
        pytest.skip(str(reason))
    yield env
    running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[dict[str, str]]:
    """The environment that leads to moto."""
    yield from _serve(servers.moto)


@pytest.fixture(scope="session")
def azurite_server() -> Iterator[dict[str, str]]:
    """The environment that leads to Azurite."""
    yield from _serve(servers.azurite)


@pytest.fixture
def clean_env(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No settings of any cloud but those that the test makes, and no connection kept."""
    import adlfs
    import gcsfs
    import ossfs
    import s3fs

    for name in os.environ:
        if name.startswith(_PREFIXES) and name not in _KEPT:
            monkeypatch.delenv(name)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    systems = (
        s3fs.S3FileSystem,
        adlfs.AzureBlobFileSystem,
        ossfs.OSSFileSystem,
        gcsfs.GCSFileSystem,
    )
    for system in systems:
        system.clear_instance_cache()
    yield monkeypatch
    for system in systems:
        system.clear_instance_cache()


@pytest.fixture
def local_store(tmp_path: Path) -> str:
    """URL of a store on disk that does not exist yet."""
    return f"file://{tmp_path}/the store"


@pytest.fixture
def memory_store() -> Iterator[str]:
    """URL of an empty store in memory; emptied afterwards."""
    from fsspec.implementations.memory import MemoryFileSystem

    folder = f"lepton-{secrets.token_hex(6)}"
    yield f"memory://{folder}/sweep"
    for name in [name for name in MemoryFileSystem.store if name.startswith(f"/{folder}/")]:
        del MemoryFileSystem.store[name]


@pytest.fixture
def s3_store(moto_server: dict[str, str], clean_env: pytest.MonkeyPatch) -> str:
    """URL of an empty store in a fresh bucket; the environment leads there, also in workers."""
    import boto3

    for name, value in moto_server.items():
        clean_env.setenv(name, value)
    bucket = f"lepton-{secrets.token_hex(6)}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/some sweep"


@pytest.fixture
def azure_store(azurite_server: dict[str, str], clean_env: pytest.MonkeyPatch) -> str:
    """URL of an empty store in a fresh container; the environment leads there, also in workers."""
    from azure.storage.blob import BlobServiceClient

    for name, value in azurite_server.items():
        clean_env.setenv(name, value)
    container = f"lepton-{secrets.token_hex(6)}"
    connection = azurite_server["AZURE_STORAGE_CONNECTION_STRING"]
    with BlobServiceClient.from_connection_string(connection) as service:
        service.create_container(container)
    return f"abfs://{container}/some sweep"


@pytest.fixture(scope="session")
def gs_server() -> Iterator[dict[str, str]]:
    """The environment that leads to the emulator of Google Cloud Storage."""
    yield from _serve(servers.google)


@pytest.fixture(scope="session")
def oss_server() -> Iterator[dict[str, str]]:
    """The environment that leads to what stands for Alibaba OSS."""
    yield from _serve(servers.oss)


@pytest.fixture
def gs_store(gs_server: dict[str, str], clean_env: pytest.MonkeyPatch) -> str:
    """URL of an empty store in a fresh bucket of the emulator."""
    import gcsfs.core

    # With an emulator gcsfs still asks for credentials; these are fsspec's own settings.
    clean_env.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    clean_env.setitem(fsspec.config.conf, "gcs", {"token": "anon"})
    for name, value in gs_server.items():
        clean_env.setenv(name, value)
    bucket = f"lepton-{secrets.token_hex(6)}"
    gcsfs.core.GCSFileSystem(project="lepton").mkdir(bucket)
    return f"gs://{bucket}/some sweep"


@pytest.fixture
def oss_store(oss_server: dict[str, str], clean_env: pytest.MonkeyPatch) -> str:
    """URL of an empty store in a fresh bucket of what stands for OSS."""
    import oss2

    for name, value in oss_server.items():
        clean_env.setenv(name, value)
    bucket = f"lepton-{secrets.token_hex(6)}"
    auth = oss2.Auth(oss_server["OSS_ACCESS_KEY_ID"], oss_server["OSS_ACCESS_KEY_SECRET"])
    oss2.Bucket(auth, oss_server["OSS_ENDPOINT"], bucket).create_bucket()
    return f"oss://{bucket}/some sweep"


@pytest.fixture(params=STORES)
def any_store(request: pytest.FixtureRequest) -> str:
    """URL of each kind of store in turn."""
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture(params=["local", "s3", "azure"])
def shared_store(request: pytest.FixtureRequest) -> str:
    """URL of each kind of store that other processes reach too."""
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture(params=["s3", "azure", "gs", "oss"])
def cloud_store(request: pytest.FixtureRequest) -> str:
    """URL of each kind of store that a service keeps."""
    return request.getfixturevalue(f"{request.param}_store")


@pytest.fixture
def wide(monkeypatch) -> None:
    """Consoles that do not break lines."""
    from rich.console import Console

    from lepton_ref.cloud.sweeps import commands

    for name in ("console", "errors"):
        monkeypatch.setattr(commands, name, Console(width=500, stderr=name == "errors"))


@pytest.fixture
def played(monkeypatch):
    """A sweep whose runs are only arithmetic; the backend, for what it was asked."""
    from lepton_ref.cloud.sweeps import launch
    from tests.cloud.sweeps.sweep_tools import Played

    backend = Played()
    monkeypatch.setattr(launch, "make_backend", lambda plan: backend)
    return backend
