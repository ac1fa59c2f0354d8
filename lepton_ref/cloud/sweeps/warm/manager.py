"""A kernel manager for nbclient and papermill, with kernels that are forked or started anew."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
import uuid
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from queue import Empty
from typing import Any

import zmq.asyncio
from jupyter_client import AsyncKernelClient, AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning import LocalProvisioner

from lepton_ref.cloud.sweeps.warm import folders
from lepton_ref.cloud.sweeps.warm.parent import zygote
from lepton_ref.cloud.sweeps.warm.provisioner import WarmProvisioner
from lepton_ref.framework.errors import ArgumentError

#: What is imported before the fork unless told otherwise (of these, what is installed).
PRELOAD = ("numpy", "matplotlib", "lepton_ref")

#: What nbclient adds to the command line of an IPython kernel.
_ARGUMENTS = ("--HistoryManager.hist_file=:memory:",)
_CHANNELS = ("_shell_channel", "_iopub_channel", "_stdin_channel", "_control_channel")


class Client(AsyncKernelClient):
    """A client that takes no longer than the kernel does."""

    def start_channels(
        self,
        shell: bool = True,
        iopub: bool = True,
        stdin: bool = True,
        hb: bool = False,
        control: bool = True,
    ) -> None:
        """As its base class, without the thread that listens to the heart.

        The manager knows at once when the process ends.
        """
        super().start_channels(shell=shell, iopub=iopub, stdin=stdin, hb=hb, control=control)

    def stop_channels(self) -> None:
        """Close what was opened; the base class first opens what was not."""
        for name in (*_CHANNELS, "_hb_channel"):
            channel = getattr(self, name)
            if channel is not None and channel.is_alive():
                channel.stop()

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers and its outputs arrive.

        Both are seen from one request: its reply, and the ``idle`` that ends it among the
        outputs. The base class waits another 0.2 s, to see that no output follows.
        """
        until = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            asked = self.kernel_info()
            reply = await self._answer(self.shell_channel, asked, "kernel_info_reply", 1.0)
            if reply is not None:
                self._handle_kernel_info_reply(reply)
                if await self._answer(self.iopub_channel, asked, "status", 0.2):
                    return
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
            if time.monotonic() > until:
                raise RuntimeError(f"Kernel didn't respond in {timeout:g} seconds")

    async def _answer(self, channel: Any, asked: str, kind: str, timeout: float) -> Any:
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            try:
                message = await channel.get_msg(timeout=left)
            except Empty:
                return None
            ended = message["content"].get("execution_state") in (None, "idle")
            if message["parent_header"].get("msg_id") != asked:
                continue
            if message["msg_type"] == kind and ended:
                return message
        return None


class Manager(AsyncKernelManager):
    """Manages one kernel of the running Python environment, for one run."""

    def __init__(self, env: Mapping[str, str | None], cwd: str | None, **traits: Any) -> None:
        super().__init__(transport="ipc", kernel_id=str(uuid.uuid4()), **traits)
        self._env, self._cwd = dict(env), cwd
        self._spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python",
            language="python",
        )
        self.client_factory = Client

    @property
    def kernel_spec(self) -> KernelSpec:
        """Of this Python; nothing needs to be installed for Jupyter to find."""
        return self._spec

    def client(self, **options: Any) -> AsyncKernelClient:
        """A client in the manager's own ZeroMQ context: it takes none of its own."""
        return super().client(**{"context": self.context, **options})

    def whole_env(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The kernel's environment: `base` (this process's unless given) and what was set."""
        whole = {**(os.environ if base is None else base), **self._env}
        return {name: value for name, value in whole.items() if value is not None}

    async def start_kernel(self, **options: Any) -> None:
        options["env"] = self.whole_env(options.get("env"))
        options.setdefault("cwd", self._cwd)
        await super().start_kernel(**options)

    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        """End the kernel; with `now`, kill it, and that is all: nobody will ask it again."""
        if not now or restart:
            await super().shutdown_kernel(now=now, restart=restart)
            return
        self.shutting_down = True
        if self.provisioner is not None and self.provisioner.has_process:
            await self.provisioner.kill()
            await self.provisioner.wait()
        await self.cleanup_resources()


class ColdManager(Manager):
    """The same with a Python of its own for each kernel."""

    def __init__(self, env: Mapping[str, str | None], cwd: str | None, **traits: Any) -> None:
        folder = folders.private_folder()
        super().__init__(
            env, cwd, connection_file=str(folder / "kernel.json"), ip=str(folder / "k"), **traits
        )
        self._remove = weakref.finalize(self, folders.remove, folder)

    async def cleanup_resources(self, restart: bool = False) -> None:
        await super().cleanup_resources(restart=restart)
        if not restart:
            self._remove()


_context: zmq.asyncio.Context | None = None


def _shared_context() -> zmq.asyncio.Context:
    """One for all managers of this process: each would start two threads."""
    global _context
    if _context is None or _context.closed:
        _context = zmq.asyncio.Context()
    return _context


def _forget() -> None:
    global _context
    _context = None


os.register_at_fork(after_in_child=_forget)


def kernel_manager(
    preload: tuple[str, ...] = PRELOAD,
    env: Mapping[str, str | None] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    warm: bool = True,
) -> AsyncKernelManager:
    """A manager of one kernel of this Python environment, not yet started.

    Parameters
    ----------
    preload : tuple of str
        Modules that a warm kernel finds imported.
    env : mapping, optional
        Variables of the kernel on top of this process's; None as a value removes one.
    cwd : path, optional
        Folder that the kernel starts in; this process's own unless given.
    warm : bool
        Fork the kernel from this process's zygote, which is started when there is none. Where
        the system cannot fork, kernels are cold.

    Returns
    -------
    AsyncKernelManager
        Its kernel leads a process group and session of its own, ends when this process does,
        and talks over sockets in a folder that only this user can enter and that goes with it.

    Raises
    ------
    ArgumentError
        For a module that is not installed or a folder that is not there.
    """
    where = None if cwd is None else os.path.abspath(cwd)
    if where is not None and not Path(where).is_dir():
        raise ArgumentError("kernel_manager", "cwd", f"the value {cwd!r}", "an existing folder")
    shared = {"context": _shared_context()}
    if not warm or not hasattr(os, "fork"):
        manager: Manager = ColdManager(env or {}, where, **shared)
        manager.provisioner = LocalProvisioner(
            kernel_id=manager.kernel_id, kernel_spec=manager.kernel_spec, parent=manager
        )
        return manager
    manager = Manager(env or {}, where, **shared)
    manager.provisioner = WarmProvisioner(
        kernel_id=manager.kernel_id,
        kernel_spec=manager.kernel_spec,
        parent=manager,
        preload=_installed(preload),
    )
    return manager


def prepare(
    preload: tuple[str, ...] = PRELOAD, env: Mapping[str, str | None] | None = None
) -> None:
    """Start the zygote now and go on: it imports while the worker does something else.

    Takes the `preload` and `env` that :func:`kernel_manager` will be given.
    """
    if hasattr(os, "fork"):
        whole = Manager(env or {}, None, context=_shared_context()).whole_env()
        zygote(tuple(_installed(preload)), whole, _ARGUMENTS)


def needed(sources: Iterable[str]) -> tuple[str, ...]:
    """Those of `PRELOAD` that these cells import: no use in importing more."""
    names: set[str] = set()
    for source in sources:
        names.update(re.findall(r"^\s*(?:import|from)\s+(\w+)", source, re.MULTILINE))
    return tuple(name for name in PRELOAD if name in names)


def _installed(preload: tuple[str, ...]) -> list[str]:
    found = []
    for name in preload:
        if isinstance(name, str) and importlib.util.find_spec(name.partition(".")[0]):
            found.append(name)
        elif name not in PRELOAD:
            raise ArgumentError(
                "kernel_manager", "preload", f"the module {name!r}", "modules that are installed"
            )
    return found
