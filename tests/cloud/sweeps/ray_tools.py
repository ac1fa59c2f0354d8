"""What the tests of the Ray backend share: attempts to inject, clusters of their own, a driver.

Clusters run in a process of their own (``python -m tests.cloud.sweeps.ray_tools``), since Ray
takes the process group and the signals of the process that starts it, and so that they end with
the test whatever happens to it. Only what was started here is ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from lepton_ref.cloud.sweeps.backends import ray_local
from lepton_ref.cloud.sweeps.runs import FINISHED, SYSTEM_FAULT, Outcome, Task

ROOT = Path(__file__).resolve().parents[3]
ATTEMPT = "tests.cloud.sweeps.ray_tools:attempt"
#: A run says on which node it is under way, and does not end while there is a file ``hold``.
SLEEPY = """\
import os, pathlib, time
folder = pathlib.Path({folder!r})
mark = folder / f"under-way-{{os.environ['RAY_RAYLET_PID']}}-{{x}}"
mark.touch()
time.sleep(0.3)
end = time.monotonic() + 60
while (folder / "hold").exists() and time.monotonic() < end:
    time.sleep(0.05)
mark.unlink()
print(x * x)"""


def sleepy_notebook(folder: Path) -> str:
    sources = [(["parameters"], "x = 0"), ([], SLEEPY.format(folder=str(folder)))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {
        "cells": [
            {
                "cell_type": "code",
                "execution_count": None,
                "id": f"cell-{i}",
                "metadata": {"tags": tags},
                "outputs": [],
                "source": source,
            }
            for i, (tags, source) in enumerate(sources)
        ],
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook)


def task(number: int, do: str = "value", notebook: str = "{}", **parameters: Any) -> Task:
    return Task(
        id=f"{number:020x}",
        attempt=0,
        notebook=notebook,
        name="n.ipynb",
        parameters={"do": do, **parameters},
    )


def attempt(task: Task) -> Outcome:
    """Executed on a node in place of a notebook: what ``do`` says."""
    given = task.parameters
    recorded: dict[str, Any] = {"pid": os.getpid(), "notebook": len(task.notebook)}
    status = FINISHED
    do = given["do"]
    if do == "exit":
        os._exit(3)
    if do == "sys.exit":
        sys.exit(4)
    if do == "killed":  # as by the kernel when memory runs out
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "raise":
        raise KeyError("no such thing")
    if do == "memory":
        raise MemoryError("cannot allocate 9 GB")
    if do == "unpicklable":
        recorded["value"] = threading.Lock()
    if do == "big":
        recorded["value"] = "x" * given["size"]
    if do == "environment":
        recorded["value"] = dict(os.environ)
        recorded["path"] = list(sys.path)
    if do == "sleep":
        time.sleep(given["seconds"])
    if do in ("save", "stubborn"):
        signal.signal(signal.SIGTERM, _told if do == "save" else signal.SIG_IGN)
        Path(given["mark"]).touch()
        try:
            time.sleep(60)  # one long wait, as for a kernel: only a real signal ends it
        except _Told:
            recorded["saved"] = True
            status = SYSTEM_FAULT
    return Outcome(task.id, task.attempt, given, status, recorded=recorded)


class _Told(Exception):
    pass


def _told(*_: object) -> None:
    raise _Told


def collect(backend: Any, count: int, within: float = 90.0) -> dict[str, Outcome]:
    """So many outcomes, by run; fails when one comes twice or not at all."""
    found: dict[str, Outcome] = {}
    end = time.monotonic() + within
    while len(found) < count and time.monotonic() < end:
        for outcome in backend.wait(1.0):
            assert outcome.id not in found, f"{outcome.id} came twice"
            found[outcome.id] = outcome
    assert len(found) == count, f"{len(found)} of {count} came back in {within:.0f} s"
    return found


def until(true: Callable[[], object], within: float, what: str) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, f"not in {within:.0f} s: {what}"
        time.sleep(0.1)


def descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def gone(processes: Sequence[psutil.Process]) -> bool:
    def there(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return not any(there(process) for process in processes)


def spare(folder: Path) -> str:
    """A folder for PYTHONPATH that spares each of Ray's processes seconds of imports."""
    (folder / "spared").mkdir()
    (folder / "spared" / "rfc3987_syntax.py").write_text("raise ImportError('left out')\n")
    return f"{folder / 'spared'}{os.pathsep}{ROOT}"


@contextlib.contextmanager
def unmeasured() -> Iterator[None]:
    """Processes that start meanwhile are not measured by coverage.

    It would measure all of Ray's, which then need longer to start than Ray waits for them.
    """
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("COV")}
    try:
        yield
    finally:
        os.environ |= kept


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


class Helper:
    """A process that holds a cluster, told what to do line by line; ended with all it started."""

    def __init__(self, arguments: Sequence[str], env: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                text=True,
            )

    def tell(self, line: str = "") -> dict[str, Any]:
        """Say a line, read the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if line:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        said = self.process.stdout.readline()
        assert said, "the cluster did not come up:\n" + self._log.read_text()[-4000:]
        return json.loads(said)

    def end(self) -> None:
        self.process.terminate()
        holder = psutil.Process(self.process.pid)
        end = time.monotonic() + 5
        while not gone([holder]) and time.monotonic() < end:
            time.sleep(0.1)
        # By its session: agents of nodes that were killed are nobody's children any more. The
        # holder is not reaped yet, so the number is still its own.
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(process.pid) == self.process.pid:
                    process.kill()
        self.process.wait()


@contextlib.contextmanager
def _room() -> Iterator[tuple[Path, dict[str, str]]]:
    """A private folder with a short path, and what processes of a cluster there need of env."""
    folder = ray_local.private_folder()
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    (folder / "r").mkdir()
    env = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_TMPDIR": str(folder / "r"),
        "PYTHONPATH": spare(folder),
        # As deploy/Containerfile has it: else a head now and then loses the server of a client.
        "GRPC_ENABLE_FORK_SUPPORT": "0",
    }
    try:
        yield folder, env
    finally:
        ray_local.remove(folder)


@contextlib.contextmanager
def two_nodes(head: int = 1, other: int = 2) -> Iterator[tuple[str, str, Helper, dict[str, str]]]:
    """A head and another node on this machine.

    Yields the address for its nodes, the one for elsewhere, the holder, and what a driver needs
    in its environment.
    """
    with _room() as (folder, env):
        module = "tests.cloud.sweeps.ray_tools"
        arguments = ["-m", module, "cluster", str(head), str(other)]
        holder = Helper(arguments, os.environ | env, folder / "log")
        try:
            said = holder.tell()
            yield said["address"], said["client"], holder, env
        finally:
            holder.end()


#: What `ray up` makes of a cluster file for Ray's fake provider, whose nodes are processes of
#: this machine; the example that Ray's own tool reads is missing from its wheel.
FAKE = {
    "cluster_name": "fake",
    "max_workers": 2,
    "upscaling_speed": 100.0,
    "idle_timeout_minutes": 0.1,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1, "object_store_memory": 100 * 2**20},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    },
    "head_node_type": "ray.head.default",
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "rsync_exclude": [],
    "rsync_filter": [],
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
}


@contextlib.contextmanager
def autoscaled() -> Iterator[tuple[str, dict[str, str]]]:
    """A head without CPUs under Ray's autoscaler, which adds up to two nodes: address and env.

    Not by Ray's `AutoscalingCluster`: that ends all the Ray processes of the machine first.
    """
    with _room() as (folder, env):
        import ray

        address = f"{ray.util.get_node_ip_address()}:{free_port()}"
        config = {**FAKE, "provider": {**FAKE["provider"], "gcs_address": address}}
        (folder / "fake.yaml").write_text(json.dumps(config))
        fake = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        arguments = ["-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=0"]
        arguments += [f"--port={address.split(':')[-1]}", "--include-dashboard=false"]
        arguments += [f"--object-store-memory={100 * 2**20}", "--disable-usage-stats"]
        arguments += [f"--autoscaling-config={folder / 'fake.yaml'}"]
        holder = Helper(arguments, os.environ | env | fake, folder / "log")
        try:
            until(lambda: _up(address, holder), 90, "the head answers")
            yield address, env
        except AssertionError:
            print((folder / "log").read_text()[-4000:])
            raise
        finally:
            holder.end()


def _up(address: str, holder: Helper) -> bool:
    assert holder.process.poll() is None, "the head has ended"
    # The head's raylet comes after its GCS; a driver needs both.
    return any(p.name() == "raylet" for p in descendants(holder.process.pid))


def _hold_cluster(head: int, other: int) -> None:
    """Hold a cluster of Ray's own test tools: ``kill`` and ``add`` its second node, or ``lose`` it.

    ``raylet`` asks for the process that is the second node.
    """
    from ray.cluster_utils import Cluster

    # Notice a lost node in seconds, not in a quarter of a minute.
    noticing = {
        "health_check_initial_delay_ms": 1000,
        "health_check_period_ms": 1000,
        "health_check_timeout_ms": 5000,
        "health_check_failure_threshold": 3,
    }
    memory = 100 * 2**20
    client = free_port()
    first = {
        "num_cpus": head,
        "include_dashboard": False,
        "object_store_memory": memory,
        "ray_client_server_port": client,
    }
    cluster = Cluster(initialize_head=True, head_node_args={**first, "_system_config": noticing})
    nodes = []

    def add() -> None:
        if other:
            nodes.append(cluster.add_node(num_cpus=other, object_store_memory=memory))

    def raylet(node: Any) -> int:
        return node.all_processes["raylet"][0].process.pid

    def say(**what: Any) -> None:
        print(json.dumps(what), flush=True)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the exit hook ends the nodes
    add()
    host = cluster.address.rsplit(":", 1)[0]
    say(address=cluster.address, client=f"ray://{host}:{client}")
    for line in sys.stdin:
        if line.strip() == "raylet":
            say(pid=raylet(nodes[-1]))
            continue
        if line.strip() == "kill":
            # Without its raylet a worker may still finish a short run, and its result arrives; a
            # machine that is lost takes all its processes along.
            node = nodes.pop()
            there = descendants(raylet(node))
            cluster.remove_node(node, allow_graceful=False)
            for process in there:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        elif line.strip() == "add":
            add()
        elif line.strip() == "lose":
            for process in descendants(os.getpid()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if process.name() in ("gcs_server", "raylet"):
                        process.kill()
        say(nodes=1 + len(nodes))
    cluster.shutdown()


def sweep(address: str, store: str, folder: Path, backend: Any = None, listener: Any = None) -> Any:
    """Forty runs of a notebook that takes 0.3 s, into a store."""
    from lepton_ref.cloud.sweeps.backends.ray import RayBackend
    from lepton_ref.cloud.sweeps.driver import run_sweep
    from lepton_ref.cloud.sweeps.plan import open_sweep
    from lepton_ref.cloud.sweeps.spec import Retries, SweepSpec
    from lepton_ref.cloud.sweeps.storage import Store

    notebook = folder / "sleepy.ipynb"
    if not notebook.exists():
        notebook.write_text(sleepy_notebook(folder))
    spec = SweepSpec(
        notebook=str(notebook),
        output=store,
        grid={"x": tuple(range(40))},
        backend="ray",
        address=address,
        retries=Retries(system=6),
    )
    backend = backend or RayBackend(address)
    return run_sweep(open_sweep(spec), backend, Store(store), listener)


if __name__ == "__main__":
    if sys.argv[1] == "cluster":
        _hold_cluster(int(sys.argv[2]), int(sys.argv[3]))
    else:
        sweep(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
