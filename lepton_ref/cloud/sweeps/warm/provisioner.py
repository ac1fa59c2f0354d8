"""Jupyter's way to start, signal and end a kernel, for kernels that are forked."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerBase
from traitlets import Float, List, Unicode

from lepton_ref.cloud.sweeps.warm.parent import Started, Zygote, ZygoteError, zygote

_PATIENCE = 5.0  # seconds for a killed kernel to be gone


class WarmProvisioner(KernelProvisionerBase):
    """Forks a kernel from this process's zygote.

    Named ``lepton-warm`` among Jupyter's kernel provisioners, so that a kernel specification
    can ask for it::

        "metadata": {"kernel_provisioner": {"provisioner_name": "lepton-warm",
                                            "config": {"preload": ["numpy"]}}}
    """

    preload = List(Unicode(), help="Modules to import before the first fork.").tag(config=True)
    start_timeout = Float(60.0, help="Seconds for a kernel to start.").tag(config=True)

    connection_info: KernelConnectionInfo
    _zygote: Zygote | None = None
    _started: Started | None = None
    _cwd: str = ""

    @property
    def has_process(self) -> bool:
        return self._started is not None

    @property
    def pid(self) -> int | None:
        """Process of the kernel; also the number of its group and session."""
        return self._started.pid if self._started else None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        command = [*self.kernel_spec.argv, *kwargs.pop("extra_arguments", [])]
        return await super().pre_launch(cmd=command, **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        self._cwd = os.path.abspath(kwargs.get("cwd") or os.getcwd())
        if not os.path.isdir(self._cwd):
            raise ZygoteError(f"cwd: got {self._cwd!r}, accepted is an existing folder")
        executable = sys.executable if cmd[0].startswith("python") else cmd[0]
        arguments = tuple(cmd[cmd.index("{connection_file}") + 1 :])
        self._zygote = zygote(tuple(self.preload), kwargs["env"], arguments, executable)
        # A restarted kernel takes over the sockets that clients are connected to.
        again = {k: _text(v) for k, v in self.connection_info.items()} or None
        self._started = await self._zygote.start_kernel(
            kwargs["env"], self._cwd, again, self.start_timeout
        )
        found = dict(self._started.connection)
        found["key"] = found["key"].encode()
        self.connection_info = found
        if self.parent is not None:
            self.parent.connection_file = self._started.file
            self.parent.load_connection_info(found)
        return self.connection_info

    async def poll(self) -> int | None:
        if self._zygote is None or self._started is None:
            return 0
        return self._zygote.poll(self._started.number)

    async def wait(self) -> int | None:
        if self._zygote is None or self._started is None:
            return 0
        code = await self._zygote.ended(self._started.number)
        self._started = None
        return code

    async def send_signal(self, signum: int) -> None:
        if self._zygote is not None and self._started is not None:
            self._zygote.send_signal(self._started.number, signum)

    async def kill(self, restart: bool = False) -> None:
        await self.send_signal(signal.SIGKILL)
        if self._zygote is not None and self._started is not None:
            await self._zygote.ended(self._started.number, _PATIENCE)

    async def terminate(self, restart: bool = False) -> None:
        await self.send_signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:
        """The zygote removes the folder of a kernel that ended."""
        if not restart:
            self.connection_info = {}

    async def get_provisioner_info(self) -> dict[str, Any]:
        return {**await super().get_provisioner_info(), "pid": self.pid, "pgid": self.pid}

    async def load_provisioner_info(self, provisioner_info: dict[str, Any]) -> None:
        """Refused: only the process that started the zygote can reach its kernels."""
        raise ZygoteError("a warm kernel cannot be taken over by another process")

    def resolve_path(self, path: str) -> str | None:
        found = Path(self._cwd, Path(path).expanduser())
        return found.resolve().as_posix() if found.exists() else None


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
