"""The process that imports the heavy modules once and forks a kernel for each run.

Started by :mod:`.parent` as ``python -m lepton_ref.cloud.sweeps.warm.zygote``, with one end of
a socket pair. It computes nothing, opens no other socket and has one thread, so that a fork
copies a process at rest. When its owner ends, it kills its kernels, removes their folder and
ends.

Messages from the owner: ``start`` (number of the kernel, ``env``, ``cwd`` and, after a restart,
the ``connection`` to take over) and ``signal`` (a kernel, ``number``). Messages to the owner:
``hello`` or ``refused`` at first, then ``started``, ``failed`` and ``ended``.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_ref.cloud.sweeps.warm import process
from lepton_ref.cloud.sweeps.warm.wire import Message, Wire

if TYPE_CHECKING:  # imported after the owner can be told why it fails
    from lepton_ref.cloud.sweeps.warm.kernel import KernelApp

#: What a notebook loads at its first use of a module, and a kernel's start of IPython.
_PARTS = {
    # Not `matplotlib_inline`: it ties itself to the shell that is there when it is imported.
    "matplotlib": ("matplotlib.pyplot", "matplotlib.backends.backend_agg"),
    "lepton_ref": (
        "lepton_ref.datasets",
        "lepton_ref.engines.numpy",
        "lepton_ref.framework.evaluation",
        "lepton_ref.framework.models",
        "lepton_ref.framework.training",
        "lepton_ref.vision.classification",
    ),
}
_KERNEL = (
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "IPython.utils.wildcard",
    "ipykernel.debugger",
    "pdb",
    "tornado.platform.asyncio",
    "lepton_ref.cloud.sweeps.warm.kernel",
)
_INLINE = "module://matplotlib_inline.backend_inline"
_TAIL = 4000  # bytes of what a kernel wrote that go with the news of its end


class Refused(Exception):
    """Why this process cannot be a zygote."""


def preload(modules: list[str]) -> dict[str, str]:
    """Import `modules` and what a kernel needs; check that none of them started a thread.

    Returns the environment variables that the imports set.
    """
    before = dict(os.environ)
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # no advice about debuggers
    inline = "MPLBACKEND" not in os.environ
    if inline:  # as in a kernel, which sets it before any cell imports Matplotlib
        os.environ["MPLBACKEND"] = _INLINE
    for module in (*_KERNEL, *modules):
        try:
            importlib.import_module(module)
            for part in _PARTS.get(module, ()):
                importlib.import_module(part)
        except Exception as error:
            reason = f"cannot import {module!r}: {type(error).__name__}: {error}"
            raise Refused(reason) from error
        if not _at_rest():
            raise Refused(
                f"cannot preload {module!r}: it starts threads, which a fork does not copy; "
                "leave it to the notebooks to import"
            )
    del os.environ["PYDEVD_DISABLE_FILE_VALIDATION"]
    if inline:
        del os.environ["MPLBACKEND"]
    return {name: value for name, value in os.environ.items() if name not in before}


def _at_rest(patience: float = 1.0) -> bool:
    """Whether this process has one thread only.

    OpenBLAS ends its threads before a fork and starts them again when they are needed, so a
    child that does nothing is enough to be rid of those.
    """
    if process.threads() > 1:
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    until = time.monotonic() + patience
    while process.threads() > 1:
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@dataclass
class Child:
    """A kernel, or a spare that will be one."""

    pid: int
    wire: Wire
    directory: Path
    details: Message | None = None  # connection, once the kernel is bound
    order: Message | None = None  # the owner's `start`, once there is one
    started: bool = False


@dataclass
class Birth:
    """What a new child needs to know to become a kernel."""

    wire: Wire
    directory: Path
    details: Message


class Born(Exception):
    """Raised in a new child: leaves the zygote's loop with a :class:`Birth`."""


class Zygote:
    """The loop: orders from the owner, news from the children."""

    def __init__(self, owner: Wire, owner_pid: int, root: Path) -> None:
        self._owner, self._owner_pid, self._root = owner, owner_pid, root
        self._children: dict[int, Child] = {}
        self._spare: Child | None = None
        self._forked = 0
        self._ending = False
        self._selector = selectors.DefaultSelector()
        self._handlers = {
            number: signal.getsignal(number)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
        }

    def listen(self) -> None:
        """Take the signals, and be told when the owner ends."""
        self._woken, wake = socket.socketpair()
        self._wake = wake
        for end in (self._woken, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake the loop
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.die_with_parent(signal.SIGUSR1)
        self._selector.register(self._owner, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def _end(self, *_: Any) -> None:
        self._ending = True

    def serve(self) -> None:
        """Until the owner ends. Raises `Born` in each child."""
        # The signal of the owner's end may be that of one thread of it: look whose child I am.
        while not (self._ending or self._owner.closed or os.getppid() != self._owner_pid):
            for key, _ in self._selector.select(timeout=5.0):
                if key.fileobj is self._owner:
                    for order in self._owner.receive():
                        self._obey(order)
                elif key.fileobj is self._woken:
                    self._woken.recv(4096)
                elif isinstance(key.data, Child):
                    self._hear(key.data)
            self._reap()

    def close(self) -> None:
        """Kill the kernels and remove their folder."""
        for pid in self._children:
            _kill_group(pid, signal.SIGKILL)
        while self._children:
            self._children.pop(os.waitpid(-1, 0)[0], None)
        shutil.rmtree(self._root, ignore_errors=True)

    # ------------------------------------------------------------------ the owner's orders

    def _obey(self, order: Message) -> None:
        if "start" in order:
            self._start(order)
        elif "signal" in order:
            for child in self._children.values():
                if child.order is not None and child.order["start"] == order["signal"]:
                    _kill_group(child.pid, order["number"])

    def _start(self, order: Message) -> None:
        child, self._spare = self._spare, None
        if child is not None and order["connection"]:
            child, self._spare = None, child
        try:
            child = child or self._fork(order["connection"])
        except OSError as error:
            self._owner.send({"failed": order["start"], "reason": f"cannot fork: {error}"})
            return
        child.order = order
        if child.details is not None:
            self._send_in(child)

    def _send_in(self, child: Child) -> None:
        """Give a kernel that is ready its run."""
        assert child.order is not None
        child.wire.send({"env": child.order["env"], "cwd": child.order["cwd"]})

    # ------------------------------------------------------------------ children

    def _fork(self, details: Message | None = None) -> Child:
        from lepton_ref.cloud.sweeps.warm import kernel

        if not _at_rest(patience=0.0):
            raise OSError(f"this process has {process.threads()} threads")
        self._forked += 1
        directory = Path(details["ip"]).parent if details else self._root / str(self._forked)
        directory.mkdir(mode=0o700, exist_ok=True)
        mine, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            mine.close()
            self._let_go()
            details = details or kernel.connection(directory)
            raise Born(Birth(Wire(theirs), directory, details))
        theirs.close()
        child = Child(pid, Wire(mine), directory)
        self._children[pid] = child
        self._selector.register(child.wire, selectors.EVENT_READ, child)
        return child

    def _let_go(self) -> None:
        """In a new child: drop the zygote's signals and files."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for child in self._children.values():
            child.wire.close()
        self._selector.close()
        for end in (self._woken, self._wake):
            end.close()
        self._owner.close()
        self._children.clear()
        gc.enable()

    def _hear(self, child: Child) -> None:
        for news in child.wire.receive():
            if "ready" in news:
                child.details = news["ready"]
                if child.order is not None:
                    self._send_in(child)
            elif "started" in news:
                child.started = True
                assert child.order is not None
                self._owner.send(
                    {
                        "started": child.order["start"],
                        "pid": child.pid,
                        "connection": child.details,
                        "file": str(child.directory / "kernel.json"),
                    }
                )
                self._make_spare()
            elif "failed" in news and child.order is not None:
                self._owner.send({"failed": child.order["start"], "reason": news["failed"]})
        if child.wire.closed:
            self._selector.unregister(child.wire)
            child.wire.close()

    def _make_spare(self) -> None:
        """Have the next kernel ready while this one works."""
        if self._spare is None:
            try:
                self._spare = self._fork()
            except OSError:
                pass  # the next start tries again, and says so

    def _reap(self) -> None:
        while self._children:
            # Look first and wait afterwards: until then the number stands for no other process.
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            _kill_group(ended.si_pid, signal.SIGKILL)  # what the kernel itself had started
            _, status = os.waitpid(ended.si_pid, 0)
            child = self._children.pop(ended.si_pid, None)
            if child is not None:
                self._bury(child, os.waitstatus_to_exitcode(status))

    def _bury(self, child: Child, code: int) -> None:
        if self._spare is child:
            self._spare = None
        if not child.wire.closed:
            self._hear(child)
        if child.wire.fileno() >= 0:
            self._selector.unregister(child.wire)
            child.wire.close()
        if child.order is not None:
            said = _tail(child.directory / "log")
            self._owner.send({"ended": child.order["start"], "code": code, "said": said})
        shutil.rmtree(child.directory, ignore_errors=True)


def _kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        # A child that is not yet the leader of its group.
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
            return stream.read().decode(errors="replace").strip()
    except OSError:
        return ""


def main() -> None:
    """Serve the owner; or, in a child, be a kernel."""
    number, owner_pid, root, modules, arguments = sys.argv[1:]
    if sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]  # IPython puts the kernel's own folder there
    owner = Wire(socket.socket(fileno=int(number)))
    try:
        imported = preload(json.loads(modules))
        app = _prepare(json.loads(arguments), imported)
    except Refused as error:
        owner.send({"refused": str(error)})
        return
    zygote = Zygote(owner, int(owner_pid), Path(root))
    zygote.listen()
    owner.send({"hello": os.getpid()})
    try:
        zygote.serve()
    except Born as born:
        birth: Birth = born.args[0]
    else:
        zygote.close()
        return
    del zygote, owner
    _live(app, birth)


def _prepare(arguments: list[str], imported: dict[str, str]) -> KernelApp:
    from lepton_ref.cloud.sweeps.warm import kernel

    app = kernel.prepare(arguments, imported)
    if not _at_rest():
        raise Refused("IPython starts threads when it makes a shell")
    # What is there now is never garbage: do not visit it in each kernel, which would copy it.
    gc.collect()
    gc.freeze()
    gc.disable()
    return app


def _live(app: KernelApp, birth: Birth) -> None:
    from lepton_ref.cloud.sweeps.warm import kernel

    try:
        kernel.become(app, birth.wire, birth.directory, birth.details)
    except BaseException:
        birth.wire.send({"failed": traceback.format_exc()})
        raise


if __name__ == "__main__":
    main()
