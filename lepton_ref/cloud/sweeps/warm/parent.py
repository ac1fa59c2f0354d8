"""A worker's side of its zygotes: starts them, orders kernels, hears of their end."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lepton_ref.cloud.sweeps.warm import folders
from lepton_ref.cloud.sweeps.warm.wire import Message, Wire

#: Variables that libraries read once, when they are loaded or when Python starts. Kernels that
#: differ in one of them need another zygote; all others are the run's own.
_READ_ONCE = re.compile(
    r"(PYTHON|COVERAGE_|LD_|MALLOC_|GLIBC_|OMP_|OPENBLAS_|GOTO_|MKL_|BLIS_|KMP_|VECLIB_|NUMEXPR_|NPY_"
    r"|MPL|MATPLOTLIB|IPYTHON|IPYKERNEL|JUPYTER|XDG_|LC_|MXNET_|TORCH_|PYTORCH_|CUDA_|NVIDIA_"
    r"|CONDA_).*|PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|VIRTUAL_ENV"
)
_PATIENCE = 5.0  # seconds for a killed process to be gone


class ZygoteError(RuntimeError):
    """A zygote that cannot start or has died, or a kernel that it could not start."""


@dataclass(frozen=True)
class Started:
    """A kernel that runs."""

    number: int
    pid: int
    connection: dict[str, Any]
    file: str


class Zygote:
    """One zygote and what is known of its kernels.

    Parameters
    ----------
    preload : tuple of str
        Modules to import before the first fork.
    env : mapping
        Environment of the kernels; the zygote itself gets only the variables that are read
        once, so no secret of a run stays in it.
    arguments : tuple of str
        Further arguments of the kernels' command line.
    executable : str
        The Python to run.
    """

    def __init__(
        self,
        preload: tuple[str, ...],
        env: Mapping[str, str],
        arguments: tuple[str, ...] = (),
        executable: str = sys.executable,
    ) -> None:
        self._numbers = itertools.count(1)
        self._news: dict[int, Message] = {}  # answers to `start`
        self._alive: dict[int, int] = {}  # kernel -> process
        self._codes: dict[int, int] = {}
        self._lock = threading.Lock()
        self._hello = False
        self._reason = ""
        self._root = folders.private_folder()
        mine, theirs = socket.socketpair()
        self._log = self._root / "zygote.log"
        try:
            with theirs, self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [executable, "-m", "lepton_ref.cloud.sweeps.warm.zygote"]
                    + [str(theirs.fileno()), str(os.getpid()), str(self._root)]
                    + [json.dumps(preload), json.dumps(arguments)],
                    env=read_once(env),
                    cwd=self._root,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # a Ctrl-C in the terminal is the owner's business
                )
        except OSError as error:
            mine.close()
            folders.remove(self._root)
            raise ZygoteError(f"cannot start {executable}: {error}") from error
        self._wire = Wire(mine)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can fork kernels, as far as is known by now."""
        self._hear()
        return not self._wire.closed

    @property
    def kernels(self) -> dict[int, int]:
        """Number and process of the kernels that run."""
        self._hear()
        return dict(self._alive)

    async def start_kernel(
        self,
        env: Mapping[str, str],
        cwd: str,
        connection: dict[str, Any] | None,
        timeout: float,
    ) -> Started:
        """Fork a kernel and wait until it is bound to its sockets.

        Raises
        ------
        ZygoteError
            With the reason, when the zygote refuses, has died, or does not answer in time.
        """
        number = next(self._numbers)
        order = {"start": number, "env": dict(env), "cwd": cwd, "connection": connection}
        self._wire.send(order)
        answered = await self._until(lambda: number in self._news or self._wire.closed, timeout)
        news = self._news.pop(number, None)
        if not answered:
            self.close()
            raise ZygoteError(f"the kernel did not start within {timeout:g} s")
        if news is None:
            raise ZygoteError(self._why())
        if "started" not in news:
            raise ZygoteError(f"the kernel did not start: {news['reason']}")
        return Started(number, news["pid"], news["connection"], news["file"])

    def send_signal(self, number: int, signum: int) -> None:
        """Signal the process group of a kernel; nothing when it has ended."""
        if self.poll(number) is None:
            self._wire.send({"signal": number, "number": int(signum)})

    def poll(self, number: int) -> int | None:
        """Exit code of a kernel, as `subprocess` has it; None while it runs."""
        self._hear()
        return self._codes.get(number)

    async def ended(self, number: int, timeout: float | None = None) -> int | None:
        """Wait for the end of a kernel: its exit code, None after `timeout` seconds."""
        await self._until(lambda: number in self._codes, timeout)
        return self._codes.get(number)

    def close(self) -> None:
        """End the zygote and its kernels, and remove their folder."""
        self._wire.close()
        self._bury()

    # ------------------------------------------------------------------

    async def _until(self, done: Callable[[], bool], timeout: float | None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        pause = 0.001
        while True:
            self._hear()
            if done():
                return True
            if until is not None and time.monotonic() > until:
                return False
            # A reader on the loop would be woken sooner, but several loops may wait here.
            await asyncio.sleep(pause)
            pause = min(1.2 * pause, 0.01)

    def _hear(self) -> None:
        with self._lock:
            if self._wire.fileno() < 0:
                return
            for news in self._wire.receive():
                if "started" in news:
                    self._news[news["started"]] = news
                    self._alive[news["started"]] = news["pid"]
                elif "failed" in news:
                    self._news[news["failed"]] = news
                elif "ended" in news:
                    self._ended(news)
                elif "refused" in news:
                    self._reason = news["refused"]
                elif "hello" in news:
                    self._hello = True
            if not self._wire.closed:
                return
            self._wire.close()
        self._bury()

    def _ended(self, news: Message) -> None:
        number = news["ended"]
        self._codes[number] = news["code"]
        if self._alive.pop(number, None) is None:  # it died on its way
            reason = f"its process ended with exit code {news['code']}. {news['said']}".strip()
            self._news.setdefault(number, {"failed": number, "reason": reason})

    def _bury(self) -> None:
        """After the end of the wire: nothing of this zygote stays."""
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for number, pid in self._alive.items():
            try:
                os.killpg(pid, signal.SIGKILL)  # the system has killed the kernel, not its group
            except (ProcessLookupError, PermissionError):
                pass
            self._codes[number] = -signal.SIGKILL
        self._alive.clear()
        self._reason = self._reason or self._last_words()
        folders.remove(self._root)

    def _last_words(self) -> str:
        try:
            return self._log.read_text(errors="replace").strip()[-2000:]
        except OSError:
            return ""

    def _why(self) -> str:
        when = "died" if self._hello else "did not start"
        code = self._process.returncode
        return (
            f"the process that warm kernels are forked from {when} (exit code {code})"
            + (f": {self._reason}" if self._reason else "")
            + ". The next kernel starts another; to do without, start cold kernels"
        )


def read_once(env: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment that a zygote has to be started with."""
    return {name: value for name, value in env.items() if _READ_ONCE.fullmatch(name)}


_Key = tuple[str, tuple[str, ...], tuple[str, ...], frozenset[tuple[str, str]]]
_zygotes: dict[_Key, Zygote] = {}


def zygote(
    preload: tuple[str, ...],
    env: Mapping[str, str],
    arguments: tuple[str, ...] = (),
    executable: str = sys.executable,
) -> Zygote:
    """The zygote of this process for such kernels, started when there is none that lives."""
    key = (executable, preload, arguments, frozenset(read_once(env).items()))
    found = _zygotes.get(key)
    if found is None or not found.alive:
        for other, idle in list(_zygotes.items()):
            if not idle.kernels:
                _zygotes.pop(other).close()
        found = _zygotes[key] = Zygote(preload, env, arguments, executable)
    return found


def close_all() -> None:
    """End all zygotes of this process, and their kernels."""
    while _zygotes:
        _zygotes.popitem()[1].close()


def _forget() -> None:
    """In a forked child: the zygotes are the parent's."""
    for found in _zygotes.values():
        found._wire.close()
    _zygotes.clear()


atexit.register(close_all)
os.register_at_fork(after_in_child=_forget)
