"""What the tests of warm kernels run: notebooks, a probe of a kernel's state, processes."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from typing import Any

import nbformat
import psutil
from nbclient import NotebookClient

from lepton_ref.cloud.sweeps.warm import kernel_manager, parent


def execute(*cells: str, **options: Any) -> list[list[dict[str, Any]]]:
    """Run cells in a kernel of their own; the outputs of each."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    manager = kernel_manager(**options)
    NotebookClient(notebook, km=manager, shutdown_kernel="immediate", timeout=120).execute(
        cleanup_kc=True
    )
    return [cell.outputs for cell in notebook.cells]


def said(*cells: str, **options: Any) -> Any:
    """What the last cell printed, as JSON."""
    *_, last = execute(*cells, **options)
    text = "".join(output["text"] for output in last if output.get("name") == "stdout")
    return json.loads(text)


#: Prints the kernel's process, group, session and parent.
WHO = "import json, os; print(json.dumps([os.getpid(), os.getpgid(0), os.getsid(0), os.getppid()]))"


async def ready(**options: Any) -> tuple[Any, Any]:
    """A kernel that has started, and a client of it."""
    manager = kernel_manager(**options)
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=60)
    return manager, client


def the_zygote() -> parent.Zygote:
    """The one that this process has, when it has one."""
    (found,) = (z for z in parent._zygotes.values() if z.alive)
    return found


def eventually(done: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it comes true; not how fast: the machine may be busy."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def listening(pid: int) -> list[str]:
    """The sockets of a process that wait for others to connect, of the internet or local."""
    mine = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed them
            mine.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    found = []
    for table, state, inode, waiting in (
        ("tcp", 3, 9, "0A"),
        ("tcp6", 3, 9, "0A"),
        ("unix", 3, 6, "00010000"),
    ):
        with open(f"/proc/{pid}/net/{table}") as lines:
            for line in list(lines)[1:]:
                row = line.split()
                if row[state] == waiting and f"socket:[{row[inode]}]" in mine:
                    found.append(f"{table} {line.strip()}")
    return found


#: Prints what a kernel's state is, without changing it.
PROBE = """
import json, locale, logging, os, signal, sys, threading, warnings
import matplotlib, matplotlib.pyplot as plt, numpy as np
import lepton_ref, lepton_ref.engines
from lepton_ref.framework.evaluation import recording
_mask = os.umask(0); os.umask(_mask)
print(json.dumps({
    "globals": sorted(n for n in globals() if not n.startswith("_")),
    "builtins": sorted(vars(__import__("builtins"))),
    "modules": sorted(sys.modules),
    "main": sorted(n for n in vars(sys.modules["__main__"]) if not n.startswith("_")),
    "changed module": [hasattr(np, "leak"), hasattr(lepton_ref, "leak"), hasattr(json, "leak")],
    "environment": dict(os.environ),
    "folder": [os.getcwd(), str(_dh), get_ipython().starting_dir],
    "files": sorted(os.listdir()),
    "mask": _mask,
    "path": sys.path,
    "arguments": len(sys.argv),
    "style": {k: str(v) for k, v in matplotlib.rcParams.items()},
    "figures": plt.get_fignums(),
    "signals": {str(s): str(signal.getsignal(s)).split(" at 0x")[0] for s in (
        signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2,
        signal.SIGPIPE, signal.SIGALRM)},
    "blocked signals": sorted(int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "wake-up": signal.set_wakeup_fd(-1),
    "engine": str(type(lepton_ref.engines._active)),
    "recorded": recording.recorded,
    "errors of numpy": np.geterr(),
    "printing": {k: str(v) for k, v in np.get_printoptions().items()},
    "threads": sorted(t.name for t in threading.enumerate() if not t.name.startswith("Thread-")),
    "filters": [str(f[:3]) for f in warnings.filters],
    "logging": [logging.root.level, len(logging.root.handlers)],
    "locale": locale.setlocale(locale.LC_NUMERIC),
    "recursion": sys.getrecursionlimit(),
    "history": len(In), "outputs": len(Out),
    "magics": "leak" in get_ipython().magics_manager.magics["line"],
}, default=str))
"""

#: Changes all of it.
POLLUTE = """
import builtins, json, locale, logging, os, signal, sys, threading, time, types, warnings
import matplotlib, matplotlib.pyplot as plt, numpy as np, lepton_ref
leak = 1
builtins.leak = 1
sys.modules["leak"] = types.ModuleType("leak")
sys.modules["__main__"].leak_of_main = 1
np.leak = lepton_ref.leak = json.leak = 1
os.environ["LEAK"] = "1"
del os.environ["PATH"]
open("leak.txt", "w").write("leak")
os.makedirs("inner", exist_ok=True)
os.chdir("inner")
open("leak.txt", "w").write("leak")
_dh.append("leak")
os.umask(0o077)
sys.path.insert(0, "/leak")
sys.argv.append("leak")
matplotlib.rcParams["figure.figsize"] = (1, 1)
%config InlineBackend.close_figures = False
plt.figure()
for _s in (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1):
    signal.signal(_s, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
lepton_ref.use("numpy")
lepton_ref.record("leak", 1)
np.seterr(all="raise")
np.set_printoptions(precision=2)
np.random.seed(7)
threading.Thread(target=time.sleep, args=(600,), name="leak", daemon=True).start()
warnings.simplefilter("error")
logging.basicConfig(level=1)
sys.setrecursionlimit(4321)
get_ipython().register_magic_function(lambda line: None, magic_name="leak")
1
"""
