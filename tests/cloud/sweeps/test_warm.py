"""Warm kernels: forked, isolated from one another, gone with their owner."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient.exceptions import DeadKernelError

import lepton_ref
from lepton_ref.cloud.sweeps.warm import (
    close_all,
    kernel_manager,
)
from tests.cloud.sweeps.warm_runs import (
    POLLUTE,
    PROBE,
    WHO,
    eventually,
    execute,
    gone,
    listening,
    ready,
    said,
    the_zygote,
)


@pytest.fixture(scope="module", autouse=True)
def _no_zygote_stays():
    yield
    close_all()


# ---------------------------------------------------------------- nothing leaks


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """The state of a first run, of one that changes everything, of the next, and a cold one's."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two", "three", "four")]
    found = {
        "before": said(PROBE, cwd=folders[0]),
        "changed": said(POLLUTE, PROBE, cwd=folders[1]),
        "after": said(PROBE, cwd=folders[2]),
        "cold": said(PROBE, cwd=folders[3], warm=False),
    }
    for state, folder in zip(found.values(), folders):
        state["folder"] = [f.replace(str(folder), "<folder>") for f in state["folder"]]
    return found


ASPECTS = (
    "globals|builtins|modules|main|changed module|environment|folder|files|mask|path|arguments"
    "|style|figures|signals|blocked signals|engine|recorded|errors of numpy|printing|threads"
    "|filters|logging|recursion|history|outputs|magics"
).split("|")


@pytest.mark.parametrize("aspect", ASPECTS)
def test_what_a_run_changes_the_next_does_not_see(states, aspect):
    assert states["changed"][aspect] != states["before"][aspect], "the test changes nothing"
    assert states["after"][aspect] == states["before"][aspect]


def test_no_other_state_than_the_one_that_is_compared(states):
    assert set(states["before"]) == {*ASPECTS, "wake-up", "locale"}
    assert states["before"]["wake-up"] == states["after"]["wake-up"] == states["cold"]["wake-up"]


@pytest.mark.parametrize(
    "aspect", [a for a in ASPECTS if a not in ("modules", "environment", "threads", "arguments")]
)
def test_a_warm_kernel_begins_as_a_cold_one(states, aspect):
    warm, cold = (states[kind][aspect] for kind in ("before", "cold"))
    if aspect == "filters":  # of messages that have nothing in common, so their order is nothing
        warm, cold = sorted(warm), sorted(cold)
    assert warm == cold


def test_a_warm_kernel_has_the_environment_of_a_cold_one(states):
    # The first tells a cold kernel whom to watch; the second is set by the import of lepton_ref.
    own = {"JPY_PARENT_PID", "OPENBLAS_THREAD_TIMEOUT", "PYTEST_CURRENT_TEST"}
    warm, cold = (
        {k: v for k, v in states[kind]["environment"].items() if k not in own}
        for kind in ("before", "cold")
    )
    assert warm == cold


def test_runs_draw_different_random_numbers():
    draw = (
        "import json, random, uuid, numpy as np\n"
        "print(json.dumps([random.random(), np.random.rand(), np.random.default_rng().random(),"
        " str(uuid.uuid4())]))"
    )
    draws = [said(draw) for _ in range(3)]
    for numbers in zip(*draws):
        assert len(set(numbers)) == 3


# ---------------------------------------------------------------- processes


def test_each_run_is_a_process_that_leads_a_session():
    runs = [said(WHO) for _ in range(3)]
    assert len({pid for pid, *_ in runs}) == 3
    for pid, group, session, parent_pid in runs:
        assert pid == group == session
        assert parent_pid == the_zygote().pid


def test_a_cold_kernel_is_isolated_as_well():
    pid, group, session, _ = said(WHO, warm=False)
    assert pid == group == session != os.getpid()


def test_the_zygote_has_one_thread_and_listens_to_nobody():
    said(WHO, env={"OMP_NUM_THREADS": "2"})
    zygote = psutil.Process(the_zygote().pid)
    assert zygote.num_threads() == 1
    assert zygote.net_connections(kind="inet") == []
    assert listening(zygote.pid) == []


def test_the_check_for_listening_sockets_finds_one(tmp_path):
    import socket

    with socket.socket(socket.AF_UNIX) as local, socket.socket() as internet:
        for end, address in ((local, str(tmp_path / "s")), (internet, ("127.0.0.1", 0))):
            end.bind(address)
            end.listen()
        assert len(listening(os.getpid())) >= 2


OWNER = """
import asyncio, json, sys
from lepton_ref.cloud.sweeps.warm import kernel_manager, parent
async def main():
    manager = kernel_manager(preload=(), warm=sys.argv[1] == "warm")
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(60)
    client.execute("import subprocess, time\\nsubprocess.Popen(['sleep', '600'])\\ntime.sleep(600)")
    await asyncio.sleep(1)
    zygotes = list(parent._zygotes.values())
    print(json.dumps({"zygote": zygotes[0].pid if zygotes else None,
        "pid": getattr(manager.provisioner, "pid"), "folder": manager.ip}), flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["warm", "cold"])
def test_killing_the_owner_ends_its_zygote_and_kernels(kind):
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, kind], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        found = json.loads(owner.stdout.readline())
        family = psutil.Process(owner.pid).children(recursive=True)
        owner.kill()
    pids = {child.pid for child in family}
    assert {found["pid"], found["zygote"]} - {None} <= pids
    if kind == "warm":  # the kernel, its `sleep`, the zygote and a spare
        assert len(pids) == 4
        assert eventually(lambda: not Path(found["folder"]).parent.parent.exists())
    else:
        pids = {found["pid"]}
    assert eventually(lambda: all(gone(pid) for pid in pids))


def test_what_a_run_started_ends_with_it():
    pid = said("import json, subprocess\nprint(json.dumps(subprocess.Popen(['sleep', '600']).pid))")
    assert eventually(lambda: gone(pid))


@pytest.mark.parametrize(
    "death",
    ["os._exit(3)", "ctypes.string_at(0)", "os.kill(os.getpid(), 9)", "os.kill(os.getppid(), 9)"],
    ids=["exit", "segmentation fault", "killed", "zygote killed"],
)
def test_the_death_of_a_kernel_is_noticed_and_the_next_run_works(death):
    with pytest.raises(DeadKernelError):
        execute(f"import ctypes, os, time\n{death}\ntime.sleep(600)")
    assert said("import json; print(json.dumps(1))") == 1


def test_a_dead_zygote_takes_its_folder_along_and_is_replaced():
    said(WHO)
    first = the_zygote()
    folder = first._root
    os.kill(first.pid, signal.SIGKILL)
    assert eventually(lambda: not first.alive)
    assert not folder.exists()
    assert said(WHO)[3] == the_zygote().pid != first.pid


# ---------------------------------------------------------------- Jupyter's protocol


@pytest.mark.parametrize("warm", [True, False])
def test_an_interrupt_raises_in_the_cell_and_the_kernel_goes_on(warm):
    async def scenario():
        manager, client = await ready(warm=warm)
        cell = "print('begun', flush=True)\nimport time\ntime.sleep(600)"
        client.execute(cell, stop_on_error=False)  # else the kernel refuses what follows
        while True:
            message = await client.get_iopub_msg(timeout=60)
            if message["msg_type"] == "stream":
                break
        await manager.interrupt_kernel()
        first = await client.get_shell_msg(timeout=60)
        second = await client.execute("1", reply=True, timeout=60)
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        return first["content"]["ename"], second["content"]["status"]

    assert asyncio.run(scenario()) == ("KeyboardInterrupt", "ok")


def test_a_polite_shutdown_and_a_restart():
    async def scenario():
        manager, client = await ready()
        first = manager.provisioner.pid
        client.execute("x = 1")
        await manager.restart_kernel(now=True)
        await client.wait_for_ready(timeout=60)  # over the sockets it was connected to
        assert manager.provisioner.pid != first
        reply = await client.execute("x", reply=True, timeout=60)
        assert reply["content"]["ename"] == "NameError"
        folder = Path(manager.ip).parent
        assert stat.S_IMODE(folder.stat().st_mode) & 0o777 == 0o700
        assert stat.S_IMODE(Path(manager.connection_file).stat().st_mode) == 0o600
        info = await manager.provisioner.get_provisioner_info()
        assert info["pid"] == info["pgid"] == manager.provisioner.pid
        assert manager.resolve_path("/") == "/"
        assert manager.resolve_path("no-such-file") is None
        client.stop_channels()
        await manager.shutdown_kernel()  # asks the kernel to end
        assert not manager.has_kernel
        assert await manager.provisioner.poll() == 0
        return folder

    assert not asyncio.run(scenario()).exists()


def test_cold_kernels_remove_their_folder():
    async def scenario():
        manager, client = await ready(warm=False)
        folder = Path(manager.ip).parent
        assert stat.S_IMODE(folder.stat().st_mode) & 0o777 == 0o700
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        return folder

    assert not asyncio.run(scenario()).exists()


# ---------------------------------------------------------------- what runs in them

SHOWN = (
    "import matplotlib.pyplot as plt, numpy as np, lepton_ref",
    "lepton_ref.record('accuracy', 0.875)\nprint(np.linspace(0, 1, 3))",
    "plt.plot([1, 3, 2])\nplt.title('ABC')",
    "fig, ax = plt.subplots()\nax.imshow(np.eye(3))\nplt.show()",
    "a = np.random.default_rng(3).normal(size=(300, 300))\nfloat((a @ a.T).sum())",
    "lepton_ref.check({'accuracy': ('>=', 0.5)})",
)


def test_outputs_are_those_of_a_cold_kernel_to_the_byte():
    warm, cold = (execute(*SHOWN, warm=kind) for kind in (True, False))
    assert any("image/png" in output.get("data", {}) for output in warm[2])
    assert any("image/png" in output.get("data", {}) for output in warm[3])
    assert json.dumps(warm[2]).replace(_address(warm[2]), "") == json.dumps(cold[2]).replace(
        _address(cold[2]), ""
    )
    for index in (0, 1, 3, 4, 5):
        assert warm[index] == cold[index]


def _address(outputs) -> str:
    """Where an object lies that a cell shows as ``<... at 0x7f...>``, if one does."""
    text = json.dumps(outputs)
    return text.partition(" at ")[2].partition(">")[0]


@pytest.mark.parametrize("name", lepton_ref.engines.installed())
def test_every_engine_works_after_the_fork(name):
    cell = (
        "import json, numpy as np, lepton_ref\n"
        f"with lepton_ref.use({name!r}) as E:\n"
        "    a = np.arange(6, dtype='float32').reshape(2, 3)\n"
        "    loss = lambda w: E.sum(E.matmul(E.array(a), w)) if hasattr(E, 'matmul') else"
        " E.sum(E.array(a) @ w)\n"
        "    value, grads = E.value_and_grad(loss)(E.parameter(np.ones((3, 2), 'float32')))\n"
        "    g = grads[0] if isinstance(grads, (list, tuple)) else grads\n"
        "    print(json.dumps([float(E.asnumpy(value)), E.asnumpy(g).tolist()]))"
    )
    assert said(cell) == [30.0, [[3.0, 3.0], [5.0, 5.0], [7.0, 7.0]]]


def test_threads_of_blas_and_of_the_operators_survive_the_fork():
    cell = (
        "import json, numpy as np\n"
        "from lepton_ref.framework import parallel\n"
        "a = np.ones((600, 600))\n"
        "parts = parallel.over_batch(lambda s: float((a[s] @ a).sum()), 600, 2.0**30)\n"
        "print(json.dumps([parallel.threads(), sum(parts), float((a @ a).sum())]))"
    )
    env = {name: None for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS")}
    count, *sums = said(cell, env={**env, "OMP_NUM_THREADS": "2"})
    assert count == min(2, os.cpu_count() or 1)
    assert sums == [600.0**3, 600.0**3]


def test_papermill_takes_the_manager(tmp_path):
    papermill = pytest.importorskip("papermill")
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines

    class Warm(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, manager=None, **kwargs):
            client = PapermillNotebookClient(nb_man, km=manager, shutdown_kernel="immediate")
            with client.setup_kernel(cleanup_kc=True):
                client.papermill_execute_cells()

    papermill_engines.register("warm-in-test", Warm)
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell("print(seed)"),
        ],
        metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "P"}},
    )
    manager = kernel_manager(cwd=tmp_path)
    found = papermill.execute_notebook(
        notebook,
        str(tmp_path / "out.ipynb"),
        parameters={"seed": 7},
        engine_name="warm-in-test",
        kernel_name="python3",
        progress_bar=False,
        manager=manager,
    )
    assert found.cells[-1].outputs[0]["text"] == "7\n"
    assert not manager.has_kernel


def test_warm_starts_are_faster():
    said(WHO)
    times = []
    for warm in (True, True, True, False):
        begun = time.perf_counter()
        said(WHO, warm=warm)
        times.append(time.perf_counter() - begun)
    assert min(times[:3]) < times[3] / 2
