"""What a sweep may rely on in every store, on each kind of store in turn."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import sys
from pathlib import Path

import pytest

from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.storage import MissingFile, Store, read_text_at
from tests.cloud.sweeps import servers

pytestmark = pytest.mark.xdist_group("stores")  # one worker starts the servers

ODD = "runs/1f/ä name, with #1 & 100%25 + more?.txt"


@pytest.fixture
def store(any_store: str) -> Store:
    return Store(any_store)


def in_another_process(function, *arguments, start="spawn"):
    """What ``function`` returns in a process of its own."""
    with multiprocessing.get_context(start).Pool(1) as pool:
        return pool.apply_async(function, arguments).get(120)


# ---- files


@pytest.mark.parametrize("content", [b"", b"\x00\xff\r\n", os.urandom(3_000_000)], ids=len)
def test_what_is_written_is_read_back(store: Store, content: bytes) -> None:
    store.write_bytes("runs/1f/notebook.ipynb", content)
    assert store.read_bytes("runs/1f/notebook.ipynb") == content
    store.write_bytes("runs/1f/notebook.ipynb", b"other")
    assert store.read_bytes("runs/1f/notebook.ipynb") == b"other"


def test_text_and_json(store: Store) -> None:
    store.write_text(ODD, "Lépton ∂L\n")
    store.write_json("sweep.json", {"lr": 0.1, "name": "∂", "none": None, "list": [1, "2"]})
    assert store.read_text(ODD) == "Lépton ∂L\n"
    assert store.read_json("sweep.json") == {"lr": 0.1, "name": "∂", "none": None, "list": [1, "2"]}
    assert store.list() == [ODD, "sweep.json"]


def test_a_file_is_read_by_its_url(store: Store) -> None:
    store.write_text("trial, 1.ipynb", "{}")
    assert read_text_at(store.url_of("trial, 1.ipynb")) == "{}"
    with pytest.raises(MissingFile, match=r"trial\.ipynb: cannot read: no such file"):
        read_text_at(store.url_of("trial.ipynb"))


def test_exists_is_true_of_files_only(store: Store) -> None:
    assert not store.exists("runs/1f/run.json")
    store.write_bytes("runs/1f/run.json", b"{}")
    assert store.exists("runs/1f/run.json")
    assert not store.exists("runs/1f")
    assert not store.exists("runs/1f/run")
    assert not store.exists("runs/1f/run.json/below")


def test_list_is_sorted_and_of_whole_folders(store: Store) -> None:
    assert store.list() == []
    assert store.list("runs") == []
    for path in ("runs/b/run.json", "runs/a/run.json", "runs/a/deep/er/x", "runsx/y", "z"):
        store.write_bytes(path, b"1")
    assert store.list("runs") == ["runs/a/deep/er/x", "runs/a/run.json", "runs/b/run.json"]
    assert store.list("runs/") == store.list("runs")
    assert store.list("runs/a/deep") == ["runs/a/deep/er/x"]
    assert store.list("z") == []  # a file is not a folder
    assert store.list("no/such") == []
    assert store.list() == [
        "runs/a/deep/er/x",
        "runs/a/run.json",
        "runs/b/run.json",
        "runsx/y",
        "z",
    ]


def test_list_does_not_look_outside_its_root(any_store: str) -> None:
    inner, beside, outer = (Store(any_store + tail) for tail in ("/in", "/in2", ""))
    for each in (inner, beside):
        each.write_bytes("a", b"1")
    assert inner.list() == ["a"]
    assert outer.list() == ["in/a", "in2/a"]


def test_move(store: Store) -> None:
    content = os.urandom(70_000)
    store.write_bytes("attempts/1f/0-ab/notebook.ipynb", content)
    store.write_bytes("runs/1f/notebook.ipynb", b"old")
    store.move("attempts/1f/0-ab/notebook.ipynb", "runs/1f/notebook.ipynb")
    assert store.read_bytes("runs/1f/notebook.ipynb") == content
    assert store.list() == ["runs/1f/notebook.ipynb"]
    store.move("runs/1f/notebook.ipynb", "runs/1f/notebook.ipynb")
    assert store.read_bytes("runs/1f/notebook.ipynb") == content
    with pytest.raises(MissingFile, match="cannot move: no such file in the store"):
        store.move("attempts/1f/0-ab/notebook.ipynb", "runs/1f/notebook.ipynb")
    assert store.read_bytes("runs/1f/notebook.ipynb") == content


def test_delete_takes_a_file_or_a_folder_and_no_neighbour(store: Store) -> None:
    for path in ("runs/a/1", "runs/a/b/2", "runs/ab/3", "runs/a.json"):
        store.write_bytes(path, b"1")
    store.delete("runs/a")
    assert store.list() == ["runs/a.json", "runs/ab/3"]
    store.delete("runs/a.json")
    store.delete("runs/a.json")
    store.delete("never/there/")
    assert store.list() == ["runs/ab/3"]


def test_missing_file(store: Store) -> None:
    store.write_bytes("here", b"1")
    with pytest.raises(MissingFile) as caught:
        store.read_bytes("runs/1f/run.json")
    assert isinstance(caught.value, StoreError) and isinstance(caught.value, FileNotFoundError)
    assert store.where("runs/1f/run.json") in str(caught.value)


def test_damaged_content(store: Store) -> None:
    store.write_bytes("run.json", b'{"id": ')
    with pytest.raises(StoreError, match=r"run\.json: is not JSON .* delete it"):
        store.read_json("run.json")
    store.write_bytes("text", b"\xff\xfe\xfa")
    with pytest.raises(StoreError, match="text: is not UTF-8"):
        store.read_text("text")
    with pytest.raises(StoreError, match="type str; expected bytes"):
        store.write_bytes("text", "text")  # type: ignore[arg-type]


def test_check_writable_leaves_nothing(store: Store) -> None:
    store.check_writable()
    assert store.list() == []
    store.write_bytes("a", b"1")
    store.check_writable()
    assert store.list() == ["a"]


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\\b", "a\0b", 3, "a/"]
)
def test_paths_stay_inside(memory_store: str, path) -> None:
    store = Store(memory_store)
    for method in (store.read_bytes, store.exists, store.url_of):
        with pytest.raises(StoreError if isinstance(path, str) else TypeError):
            method(path)
    with pytest.raises(StoreError, match="expected a relative path inside the store"):
        store.delete("../x")
    with pytest.raises(StoreError, match="expected a relative path"):
        store.delete("")  # not the whole store


def test_paths_as_people_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_store: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Store("out/a/../b").url == f"file://{tmp_path}/out/b"
    assert Store(Path("out")).url == f"file://{tmp_path}/out"
    assert Store("~/out/").url == f"file://{tmp_path}/home/out"
    assert Store(f"file://{tmp_path}/x y/").url == f"file://{tmp_path}/x y"
    assert Store("LOCAL:///x").url == "file:///x"
    assert Store("out").local_path("runs/a") == tmp_path / "out" / "runs" / "a"
    assert Store("out").local_path() == tmp_path / "out"
    assert Store("out").url_of("runs/a") == f"file://{tmp_path}/out/runs/a"
    assert not Store("out").local_only
    memory = Store(memory_store + "/")
    assert (memory.url, memory.local_only, memory.local_path("a")) == (memory_store, True, None)
    assert repr(memory) == f"Store('{memory_store}')"
    assert not (tmp_path / "out").exists()  # naming a store makes nothing


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "store has the value ''; expected a path, file://, s3://"),
        ("  ", "expected a path"),
        (None, "store has the value None"),
        (7, "store has the value 7"),
        ("a\0b", "expected a path"),
        ("s4://bucket/x", r"unknown protocol s4://. Did you mean s3://\?"),
        ("abfd://c/x", r"Did you mean abfs://\?"),
        ("azure://c/x", r"Did you mean az://\?"),
        ("https://host/x", "unknown protocol https://. Accepted: a path"),
        ("s3:/bucket/x", r"did you mean s3://bucket/x\?"),
        ("s3://", "names no bucket; expected s3://<bucket>/<path>"),
        ("abfs:///c/x", r"did you mean abfs://c/x\?"),
        ("abfs://", "names no container"),
        ("memory://", "names no folder"),
        ("s3://bucket/../x", "'.' and '..' mean nothing"),
        ("s3://AKIA:hunter22@bucket/x", r"s3://\*\*\*@bucket/x: a URL with credentials"),
        ("abfs://c/x?sv=1&sig=hunter22", r"c/x\?sv=1&sig=\*\*\*: a URL with credentials"),
    ],
)
def test_urls_that_name_no_store(url, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        Store(url)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "package"),
    [("s3://b/x", "s3fs"), ("az://b/x", "adlfs"), ("oss://b/x", "ossfs"), ("gs://b/x", "gcsfs")],
)
def test_a_package_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, url: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StoreError, match=rf"needs the package {package}.*pip install 'lepton-ref"):
        Store(url)


# ---- other processes


def listed(store: Store) -> list[str]:
    return store.list()


def written(url: str, path: str) -> str:
    Store(url, create=False).write_bytes(path, b"from elsewhere")
    return url


def test_another_process_sees_and_is_seen(shared_store: str) -> None:
    store = Store(shared_store)
    store.write_bytes("a/1", b"1")
    assert store.list() == ["a/1"]
    assert not store.exists("a/2")
    # By its URL alone: all else comes from the environment.
    in_another_process(written, store.url, "a/2")
    assert store.list() == ["a/1", "a/2"]  # nothing remembers the listing of before
    assert store.exists("a/2")
    assert store.read_bytes("a/2") == b"from elsewhere"
    # By pickle.
    assert in_another_process(listed, store) == ["a/1", "a/2"]


@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_a_connection_is_not_used_across_a_fork(
    kind: str, request: pytest.FixtureRequest
) -> None:
    store = Store(request.getfixturevalue(f"{kind}_store"))
    store.write_bytes("a", b"1")
    assert in_another_process(listed, store, start="fork") == ["a"]
    pid = os.fork()
    if pid == 0:  # with the very object of the parent
        status = 1
        try:
            status = 0 if store.list() == ["a"] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.list() == ["a"]


def test_options_travel_by_pickle_and_show_nowhere(
    s3_store: str, moto_server: dict[str, str], clean_env: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        clean_env.delenv(name)
    store = Store(
        s3_store,
        endpoint_url=moto_server["AWS_ENDPOINT_URL"],
        key="an-access-key",
        secret="hunter22-of-mine",
    )
    store.write_json("sweep.json", {"store": store.url})
    assert in_another_process(listed, pickle.loads(pickle.dumps(store))) == ["sweep.json"]
    for text in (repr(store), store.url, store.url_of("a"), store.read_text("sweep.json")):
        assert "hunter22" not in text and "an-access-key" not in text


def test_one_listing_asks_the_service_once(s3_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(s3_store)
    for index in range(4):
        store.write_bytes(f"runs/{index}/deep/run.json", b"{}")
    fs = store._files().fs
    asked = []
    iterate = fs._iterdir

    async def counted(*args, **kwargs):
        asked.append(args)
        async for info in iterate(*args, **kwargs):
            yield info

    monkeypatch.setattr(fs, "_iterdir", counted)
    assert len(store.list("runs")) == 4
    assert len(asked) == 1


# ---- writers that meet


def hammer(url: str, path: str, letter: bytes, times: int) -> None:
    store = Store(url)
    for _ in range(times):
        store.write_bytes(path, letter * 400_000)


def test_of_two_writers_one_wins_whole(shared_store: str) -> None:
    store = Store(shared_store)
    store.write_bytes("runs/1f/run.json", b"z" * 400_000)
    times = 40 if store.local_path() else 8
    spawn = multiprocessing.get_context("spawn")
    arguments = [(store.url, "runs/1f/run.json", letter, times) for letter in (b"a", b"b")]
    writers = [spawn.Process(target=hammer, args=each) for each in arguments]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        content = store.read_bytes("runs/1f/run.json")
        assert len(content) == 400_000 and len(set(content)) == 1
        seen.add(content[:1])
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    content = store.read_bytes("runs/1f/run.json")
    assert len(content) == 400_000 and content[:1] in (b"a", b"b") and len(set(content)) == 1
    assert seen & {b"a", b"b"}
    assert store.list() == ["runs/1f/run.json"]


def churn(url: str, times: int) -> None:
    store = Store(url)
    for index in range(times):
        path = f"attempts/1f/{os.getpid()}-{index}/notebook.ipynb"
        store.write_bytes(path, b"1")
        store.move(path, f"runs/{os.getpid()}-{index}/notebook.ipynb")


def test_folders_that_others_remove_meanwhile(local_store: str) -> None:
    """Moves prune empty folders while another process makes files in them."""
    Store(local_store).check_writable()
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=churn, args=(local_store, 200)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    store = Store(local_store)
    assert len(store.list("runs")) == 400
    assert not store.local_path("attempts").exists()  # type: ignore[union-attr]


# ---- the services that nobody here can ask


@pytest.mark.parametrize(
    ("url", "root", "module"),
    [
        ("gs://bucket/a b/c/", "bucket/a b/c", "gcsfs.core"),
        ("GCS://bucket//a", "bucket/a", "gcsfs.core"),
        ("oss://bucket/a/c", "bucket/a/c", "ossfs.core"),
        ("abfss://c@account.dfs.core.windows.net/a/b", "c/a/b", "adlfs.spec"),
    ],
)
def test_the_right_file_system_and_root(
    clean_env: pytest.MonkeyPatch, url: str, root: str, module: str
) -> None:
    clean_env.setenv("OSS_ENDPOINT", "http://127.0.0.1:9")
    clean_env.setenv("OSS_ACCESS_KEY_ID", "an-access-key")
    clean_env.setenv("OSS_ACCESS_KEY_SECRET", "hunter22-of-mine")
    clean_env.setenv("AZURE_STORAGE_ACCOUNT_KEY", "aHVudGVyMjI=")
    options = {"token": "anon"} if module.startswith("gcsfs") else {}
    store = Store(url, **options)
    files = store._files()
    assert type(files.fs).__module__ == module
    assert files.root == root
    assert re.fullmatch(r"(gs|oss|abfs)://[^/].*[^/]", store.url)
    assert Store(store.url, **options)._files().root == root
    if module == "adlfs.spec":
        assert files.fs.account_name == "account"
        assert files.fs.account_url == "https://account.blob.core.windows.net"
    if module == "ossfs.core":  # ossfs itself reads no keys from the environment
        assert files.fs._auth.credentials_provider.get_credentials().access_key_id == (
            "an-access-key"
        )


def test_oss_without_its_endpoint(clean_env: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="Set OSS_ENDPOINT"):
        Store("oss://bucket/x")


def test_servers_say_why_they_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(servers.Unavailable, match="needs node .* and npm"):
        servers.install_azurite()
    with pytest.raises(RuntimeError, match="does not listen:\nsorry"):
        with servers.listening([sys.executable, "-c", "print('sorry')"], {}, "Running on (.*)"):
            pass
