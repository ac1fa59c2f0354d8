"""Full disks, lost stores, refusals and killed writers: what the user is told."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lepton_ref.cloud.sweeps import storage_faults as faults
from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.storage import MissingFile, Store
from tests.cloud.sweeps import servers
from tests.cloud.sweeps.test_storage import hammer

pytestmark = pytest.mark.xdist_group("stores")


# ---- full disk


@pytest.fixture
def tiny_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with room for 256 KiB: a file system of its own where this user may mount one,
    else a disk that refuses to keep large files when they are flushed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    mounted = shutil.which("mount") and subprocess.run(command, capture_output=True).returncode == 0
    if not mounted:
        fsync = os.fsync

        def flush(handle: int) -> None:
            if os.fstat(handle).st_size > 200_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(handle)

        monkeypatch.setattr(os, "fsync", flush)
    yield disk
    if mounted:
        subprocess.run(["umount", str(disk)], check=True)


def test_full_disk(tiny_disk: Path) -> None:
    store = Store(tiny_disk / "sweep")
    store.write_bytes("runs/1f/notebook.ipynb", b"a" * 100_000)
    for path in ("runs/1f/notebook.ipynb", "runs/2e/notebook.ipynb"):
        with pytest.raises(StoreError, match="the disk is full .* make room and resume") as caught:
            store.write_bytes(path, b"b" * 400_000)
        assert str(tiny_disk / "sweep" / path) in str(caught.value)
    assert store.read_bytes("runs/1f/notebook.ipynb") == b"a" * 100_000
    files = [path for path in tiny_disk.rglob("*") if path.is_file()]
    assert files == [tiny_disk / "sweep/runs/1f/notebook.ipynb"]  # and no half-written one
    store.write_bytes("runs/2e/notebook.ipynb", b"b" * 50_000)
    store.check_writable()
    assert store.list("runs") == ["runs/1f/notebook.ipynb", "runs/2e/notebook.ipynb"]


# ---- the store goes away


def test_a_folder_that_is_taken_away(local_store: str) -> None:
    store = Store(local_store)
    root = store.local_path()
    assert root is not None
    store.write_bytes("a", b"1")
    worker = Store(store.url, create=False)
    shutil.rmtree(root)
    for each in (store, worker):
        for act in (
            lambda s: s.write_bytes("runs/1f/run.json", b"{}"),
            lambda s: s.read_bytes("a"),
            lambda s: s.list(),
            lambda s: s.list("runs"),
            lambda s: s.move("a", "b"),
            lambda s: s.check_writable(),
            lambda s: s.upload_folder(root.parent, "checkpoints/1f"),
        ):
            with pytest.raises(StoreError, match=r"the folder .* is gone") as caught:
                act(each)
            assert not isinstance(caught.value, MissingFile)
    assert not root.exists()  # nobody made an empty one in its place


def test_a_worker_does_not_make_the_folder(local_store: str) -> None:
    with pytest.raises(StoreError, match="is gone"):
        Store(local_store, create=False).write_bytes("a", b"1")
    fresh = Store(local_store)
    assert fresh.list() == []
    with pytest.raises(MissingFile):
        fresh.read_bytes("a")
    fresh.write_bytes("a", b"1")


def remove_container(store: Store) -> None:
    """Take the bucket away, as its owner would."""
    store.delete("runs")
    fs, container = store._files().fs, store._files().root.split("/")[0]
    if store.protocol == "oss":
        fs._get_bucket(container).delete_bucket()
    else:
        fs.rmdir(container)
    fs.invalidate_cache()


def test_a_bucket_that_is_taken_away(cloud_store: str) -> None:
    store = Store(cloud_store)
    store.write_bytes("runs/1f/run.json", b"{}")
    remove_container(store)
    word = "container" if cloud_store.startswith("abfs") else "bucket"
    for act in (
        lambda: store.write_bytes("runs/1f/run.json", b"{}"),
        lambda: store.read_bytes("runs/1f/run.json"),
        lambda: store.list("runs"),
        lambda: store.move("runs/1f/run.json", "b"),
        store.check_writable,
    ):
        with pytest.raises(StoreError, match=f"there is no such {word}, or no longer") as caught:
            act()
        assert not isinstance(caught.value, MissingFile)
        assert store.url in str(caught.value)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    for path in ("taken", "taken/below"):
        with pytest.raises(StoreError, match="a file stands in its way"):
            Store(tmp_path / path).check_writable()
    assert (tmp_path / "taken").read_text() == "mine"
    store = Store(tmp_path / "out")
    store.write_bytes("runs/a", b"1")
    with pytest.raises(StoreError, match=r"out/runs: cannot write: IsADirectoryError"):
        store.write_bytes("runs", b"1")
    with pytest.raises(StoreError, match=r"runs/a/b: cannot write"):
        store.write_bytes("runs/a/b", b"1")
    assert store.list() == ["runs/a"]


# ---- not allowed


def as_nobody(url: str) -> dict[str, str]:
    """What a user without rights is told."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    told = {}
    for name in ("check_writable", "write", "read", "list", "delete"):
        store = Store(url)
        try:
            if name == "check_writable":
                store.check_writable()
            elif name == "write":
                store.write_bytes("a", b"2")
            elif name == "read":
                store.read_bytes("secret")
            elif name == "list":
                store.list("closed")
            else:
                store.delete("a")
            told[name] = "nothing"
        except StoreError as error:
            told[name] = str(error)
    return told


def test_a_folder_without_permission() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "store")
        store = Store(root)
        for path in ("a", "secret", "closed/b"):
            store.write_bytes(path, b"1")
        os.chmod(folder, 0o755)
        os.chmod(root / "secret", 0)
        os.chmod(root / "closed", 0)
        os.chmod(root, 0o555)
        # Forked: nobody need not be able to read this environment.
        with multiprocessing.get_context("fork").Pool(1) as pool:
            told = pool.apply_async(as_nobody, (store.url,)).get(60)
            inside = pool.apply_async(as_nobody, (f"{store.url}/closed/deeper",)).get(60)
        os.chmod(root, 0o755)
        os.chmod(root / "closed", 0o755)
        for text in told.values():
            assert "permission denied (Permission denied). Give a store that this user" in text
        assert "permission denied" in inside["check_writable"]
        assert store.read_bytes("a") == b"1"


def test_azure_with_a_wrong_key(
    azure_store: str, azurite_server: dict[str, str], clean_env: pytest.MonkeyPatch
) -> None:
    right = azurite_server["AZURE_STORAGE_CONNECTION_STRING"]
    address = right.split("BlobEndpoint=")[1].rsplit("/", 1)[0]
    wrong = "aHVudGVyMjJodW50ZXIyMmh1bnRlcjIy"
    clean_env.setenv(
        "AZURE_STORAGE_CONNECTION_STRING", servers.connection_string(address, "lepton", wrong)
    )
    with pytest.raises(StoreError, match="AZURE_STORAGE_CONNECTION_STRING") as caught:
        Store(azure_store, use_listings_cache=False, max_concurrency=3).check_writable()
    assert "cannot write" in str(caught.value)
    assert wrong not in str(caught.value)


def test_s3_without_credentials(s3_store: str, clean_env: pytest.MonkeyPatch) -> None:
    clean_env.delenv("AWS_ACCESS_KEY_ID")
    clean_env.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match="no valid credentials .* AWS_PROFILE"):
        Store(s3_store).check_writable()


def test_azure_without_credentials(clean_env: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="no valid credentials .* AZURE_STORAGE_ACCOUNT_NAME"):
        Store("abfs://container/x")


# ---- what is what


def provoked(make) -> BaseException:
    try:
        make()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def s3_error(code: str, status: int) -> BaseException:
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    answer = {"Error": {"Code": code, "Message": "said"}}
    answer["ResponseMetadata"] = {"HTTPStatusCode": status}
    return translate_boto_error(ClientError(answer, "PutObject"))


def azure_error(status: int) -> BaseException:
    from azure.core.exceptions import HttpResponseError

    error = HttpResponseError("said")
    error.status_code = status
    return error


def oss_error(status: int) -> BaseException:
    from oss2.exceptions import ServerError
    from ossfs.exceptions import translate_oss_error

    return translate_oss_error(ServerError(status, {}, b"", {}))


def gs_error(status: int) -> BaseException:
    from gcsfs.retry import HttpError

    return HttpError({"code": status, "message": "said"})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: s3_error("AccessDenied", 403), faults.DENIED),
        (lambda: s3_error("NoSuchKey", 404), faults.MISSING),
        (lambda: s3_error("NoSuchBucket", 404), faults.MISSING),
        (lambda: s3_error("SlowDown", 503), faults.NETWORK),
        (lambda: s3_error("InternalError", 500), faults.NETWORK),
        (lambda: s3_error("ExpiredToken", 400), faults.DENIED),
        (lambda: azure_error(403), faults.DENIED),
        (lambda: azure_error(404), faults.MISSING),
        (lambda: azure_error(503), faults.NETWORK),
        (lambda: azure_error(429), faults.NETWORK),
        (lambda: azure_error(507), faults.FULL),
        (lambda: azure_error(400), faults.OTHER),
        (lambda: oss_error(403), faults.DENIED),
        (lambda: oss_error(500), faults.NETWORK),
        (lambda: gs_error(403), faults.DENIED),
        (lambda: gs_error(503), faults.NETWORK),
        (lambda: OSError(errno.EDQUOT, "quota"), faults.FULL),
        (lambda: OSError(errno.EROFS, "read-only"), faults.DENIED),
        (lambda: TimeoutError(), faults.NETWORK),
        (lambda: RuntimeError("odd"), faults.OTHER),
        (lambda: provoked(lambda: exec("try: 1/0\nfinally: open('/no/such')")), faults.MISSING),
    ],
)
def test_situations(make, expected: str) -> None:
    assert faults.situation(make()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at https://me:hunter22@host/x", "at https://***@host/x"),
        (
            "https://a.blob.core.windows.net/c?sv=2024&sig=hunter22%3D&se=x",
            "https://a.blob.core.windows.net/c?sv=2024&sig=***&se=x",
        ),
        ("AccountName=a;AccountKey=hunter22==;B=c", "AccountName=a;AccountKey=***;B=c"),
        ("?X-Amz-Signature=hunter22&a=b", "?X-Amz-Signature=***&a=b"),
        ("abfs://c@account.dfs.core.windows.net/x", "abfs://c@account.dfs.core.windows.net/x"),
        ("key the-key-of-mine and other-key", "key *** and ***"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_redact(text: str, expected: str) -> None:
    options = {"key": "the-key-of-mine", "client_kwargs": {"aws_secret_access_key": "other-key"}}
    assert faults.redact(text, options) == expected


def test_no_message_tells_a_secret(
    s3_store: str, clean_env: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean_env.setenv("AWS_SESSION_TOKEN", "token-hunter22")
    store = Store(s3_store, secret="option-hunter22", key="id-hunter22")

    def talkative(*_):
        raise RuntimeError(
            "POST https://u:pw-hunter22@host/?sig=sas-hunter22&x=1 with option-hunter22, "
            "id-hunter22 and token-hunter22\nsecond line: hunter22"
        )

    monkeypatch.setattr(store._files(), "write", talkative)
    with pytest.raises(StoreError) as caught:
        store.write_bytes("a", b"1")
    assert "cannot write: RuntimeError: POST https://***@host/" in str(caught.value)
    assert "hunter22" not in str(caught.value)


# ---- killed writers


def hang_before_the_rename(url: str, ready) -> None:
    def stuck(handle: int) -> None:
        ready.set()
        time.sleep(600)

    os.fsync = stuck
    Store(url).write_bytes("runs/1f/run.json", b"new" * 100_000)


def test_kill_in_the_middle_of_a_write(local_store: str) -> None:
    store = Store(local_store)
    store.write_bytes("runs/1f/run.json", b"old")
    root = store.local_path()
    assert root is not None
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    writer = context.Process(target=hang_before_the_rename, args=(store.url, ready))
    writer.start()
    assert ready.wait(60)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    left = [path for path in root.rglob("*") if path.name.endswith(".part")]
    assert len(left) == 1 and left[0].stat().st_size == 300_000  # killed in the middle indeed
    assert store.read_bytes("runs/1f/run.json") == b"old"
    assert store.list() == ["runs/1f/run.json"]
    store.check_writable()
    assert left[0].exists()  # it might be another writer's
    os.utime(left[0], (time.time() - 2 * 86_400,) * 2)
    store.check_writable()
    assert not left[0].exists()
    assert store.read_bytes("runs/1f/run.json") == b"old"


@pytest.mark.parametrize("kind", ["s3", "azure", "oss"])
def test_killed_uploads_leave_whole_files(kind: str, request: pytest.FixtureRequest) -> None:
    store = Store(request.getfixturevalue(f"{kind}_store"))
    store.write_bytes("run.json", b"z" * 400_000)
    spawn = multiprocessing.get_context("spawn")
    writer = spawn.Process(target=hammer, args=(store.url, "run.json", b"a", 100_000))
    writer.start()
    deadline = time.monotonic() + 60
    while store.read_bytes("run.json")[:1] == b"z" and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    assert store.read_bytes("run.json") == b"a" * 400_000
    assert store.list() == ["run.json"]
