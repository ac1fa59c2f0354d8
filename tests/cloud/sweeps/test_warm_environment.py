"""Warm kernels: their environment, their folders, and what is refused."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import lepton_ref
from lepton_ref.cloud.sweeps.warm import (
    ZygoteError,
    close_all,
    folders,
    kernel_manager,
    needed,
    parent,
    prepare,
)
from tests.cloud.sweeps.warm_runs import (
    WHO,
    execute,
    gone,
    ready,
    said,
    the_zygote,
)


@pytest.fixture(scope="module", autouse=True)
def _no_zygote_stays():
    yield
    close_all()


def test_a_run_gets_its_variables_and_the_zygote_does_not():
    env = {"SWEEP_SECRET": "pa$HOME{x}\u00e9", "HOME_OF_NOTHING": None}
    cell = "import json, os; print(json.dumps([os.environ.get('SWEEP_SECRET'), os.getppid()]))"
    value, zygote = said(cell, env=env)
    assert value == env["SWEEP_SECRET"]
    assert b"SWEEP_SECRET" not in Path(f"/proc/{zygote}/environ").read_bytes()
    assert said(cell) == [None, zygote]


def test_a_variable_that_is_read_once_takes_another_zygote(monkeypatch):
    monkeypatch.setenv("ONLY_HERE", "1")
    cell = (
        "import json, os, sys\n"
        "print(json.dumps([os.getppid(), sys.flags.hash_randomization, hash('a'),"
        " os.environ.get('ONLY_HERE')]))"
    )
    runs = [
        said(cell, preload=(), env={"PYTHONHASHSEED": seed, "ONLY_HERE": None})
        for seed in ("0", "0", "1")
    ]
    assert runs[0] == runs[1]
    assert runs[2][0] != runs[0][0] and runs[2][2] != runs[0][2]
    assert runs[0][3] is None
    assert gone(runs[0][0]), "an idle zygote stays"


def test_prepare_starts_the_zygote_that_the_run_takes():
    close_all()
    prepare(preload=())
    early = the_zygote().pid
    assert said(WHO, preload=())[3] == early


def test_needed_names_what_the_cells_import():
    cells = ["import numpy as np\nprint('import matplotlib')", "from lepton_ref.text import lstm"]
    assert needed(cells) == ("numpy", "lepton_ref")
    assert needed(["  import matplotlib.pyplot as plt"]) == ("matplotlib",)


# ---------------------------------------------------------------- bad input


def test_a_module_that_starts_threads_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "restless.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZygoteError, match="'restless': it starts threads"):
        execute("1", preload=("restless",), env={"PYTHONPATH": str(tmp_path)})
    assert said("import json; print(json.dumps(2))") == 2


def test_a_module_that_cannot_be_imported_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZygoteError, match="cannot import 'broken': ZeroDivisionError"):
        execute("1", preload=("broken",), env={"PYTHONPATH": str(tmp_path)})


def test_a_module_that_is_not_installed_and_a_folder_that_is_not_there():
    with pytest.raises(lepton_ref.ArgumentError, match="preload.*no_such_module"):
        kernel_manager(preload=("no_such_module",))
    with pytest.raises(lepton_ref.ArgumentError, match="cwd.*/no/such/folder"):
        kernel_manager(cwd="/no/such/folder")


def test_a_folder_that_vanishes_before_the_start(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    manager = kernel_manager(preload=(), cwd=folder)
    folder.rmdir()
    with pytest.raises(ZygoteError, match="cwd.*gone"):
        asyncio.run(manager.start_kernel())


def test_a_bad_option_of_the_kernel_is_an_error_at_the_start():
    manager = kernel_manager(preload=())
    with pytest.raises(ZygoteError, match="did not start"):
        asyncio.run(manager.start_kernel(extra_arguments=["--HistoryManager.enabled=perhaps"]))
    assert not manager.has_kernel


def test_a_python_that_is_not_there():
    with pytest.raises(ZygoteError, match="cannot start /no/such/python"):
        parent.Zygote((), dict(os.environ), executable="/no/such/python")


def test_a_kernel_that_does_not_start_in_time_is_an_error():
    manager = kernel_manager(preload=())
    close_all()
    manager.provisioner.start_timeout = 0.0
    with pytest.raises(ZygoteError, match="within 0 s"):
        asyncio.run(manager.start_kernel())


def test_a_forked_owner_has_no_zygote():
    said(WHO)
    child = os.fork()
    if child == 0:
        os._exit(len(parent._zygotes))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert said("import json; print(json.dumps(3))") == 3


def test_a_long_folder_for_temporary_files_is_not_used_for_sockets(tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    folder = folders.private_folder()
    assert folder.parent == Path("/tmp")
    assert len(os.fsencode(folder / "1234567" / "k-1")) < 100
    folders.remove(folder)
    assert not folder.exists()


def test_folders_whose_owner_was_killed_are_removed_and_no_others(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="f-", dir="/tmp") as here:
        monkeypatch.setattr("tempfile.tempdir", here)
        mine = folders.private_folder()
        code = (
            "import os, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
            "from lepton_ref.cloud.sweeps.warm import folders\n"
            "print(folders.private_folder(), flush=True); input()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, here],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdout is not None
            theirs = Path(other.stdout.readline().strip())
            folders.remove(folders.private_folder())
            assert theirs.exists() and mine.exists()
            other.kill()
        folders.remove(folders.private_folder())
        assert mine.exists() and not theirs.exists()
        folders.remove(mine)


def test_a_kernel_of_another_process_cannot_be_taken_over():
    manager = kernel_manager(preload=())
    with pytest.raises(ZygoteError, match="another process"):
        asyncio.run(manager.provisioner.load_provisioner_info({}))
    assert asyncio.run(manager.provisioner.wait()) == 0


def test_a_client_of_a_kernel_that_dies_at_once():
    async def scenario():
        manager, client = await ready(preload=())
        os.kill(manager.provisioner.pid, signal.SIGKILL)
        try:
            with pytest.raises(RuntimeError, match="died before"):
                await client.wait_for_ready(timeout=60)
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)

    asyncio.run(scenario())
