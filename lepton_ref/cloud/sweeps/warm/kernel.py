"""How a freshly forked child of the zygote becomes an IPython kernel.

In three steps, each of which does what it can for those that follow: the zygote prepares a
shell that nobody has used; a child binds it to sockets of its own, so that the zygote can have a
spare ready while a run executes; and when a run asks for it, the child takes over the run's
environment and folder.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ipykernel_launcher
from ipykernel.compiler import XCachingCompiler
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQInteractiveShell
from traitlets.config.loader import Config

from lepton_ref.cloud.sweeps.warm import process
from lepton_ref.cloud.sweeps.warm.wire import Wire

_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


class KernelApp(IPKernelApp):
    """IPython's kernel, begun before a fork and finished after it."""

    _prepared = False
    #: Environment variables that imports set, and those that this class sets for all kernels.
    imported: dict[str, str]
    added: dict[str, str]

    def prepare(self, arguments: list[str]) -> None:
        """Everything that needs no socket and no thread: configuration, profile, shell."""
        before = dict(os.environ)
        super(IPKernelApp, self).initialize(arguments)
        # The kernel asks for this class's only instance, and finds it made.
        ZMQInteractiveShell.instance(
            parent=self, profile_dir=self.profile_dir, compiler_class=XCachingCompiler
        )
        self._prepared = True
        self.added = {k: v for k, v in os.environ.items() if before.get(k) != v}

    def parse_command_line(self, argv: Any = None) -> None:
        if not self._prepared:
            super().parse_command_line(argv)

    def init_profile_dir(self) -> None:
        if not self._prepared:
            super().init_profile_dir()

    def init_config_files(self) -> None:
        if not self._prepared:
            super().init_config_files()

    def load_config_file(self, *args: Any, **kwargs: Any) -> None:
        if not self._prepared:
            super().load_config_file(*args, **kwargs)

    def init_kernel(self) -> None:
        super().init_kernel()
        shell = self.kernel.shell
        shell.parent = shell.kernel = self.kernel

    def init_code(self) -> None:
        """Run no startup files: they belong to a person's own sessions."""


def prepare(arguments: list[str], imported: dict[str, str]) -> KernelApp:
    """In the zygote: all of a kernel that can be had without a socket or a thread.

    Parameters
    ----------
    arguments : list of str
        Further arguments of the kernel's command line.
    imported : dict
        Environment variables that were set by what has been imported.
    """
    # 1 means: no thread that watches the parent. The system itself does, on Linux.
    parent = 1 if process.WATCHED_BY_SYSTEM else os.getpid()
    settings = {"HistoryManager": {"enabled": False}, "IPKernelApp": {"parent_handle": parent}}
    app = KernelApp.instance(config=Config(settings))
    app.prepare(arguments)
    app.imported = imported
    return app


def connection(directory: Path) -> dict[str, Any]:
    """Fresh connection details: sockets inside `directory`, and a key."""
    ports = {f"{channel}_port": number for number, channel in enumerate(_CHANNELS, start=1)}
    return {
        "transport": "ipc",
        "ip": str(directory / "k"),
        "key": secrets.token_hex(32),
        "signature_scheme": "hmac-sha256",
        **ports,
    }


def become(app: KernelApp, wire: Wire, directory: Path, details: dict[str, Any]) -> None:
    """Turn this process, just forked, into a kernel, and serve until it is shut down.

    Parameters
    ----------
    app : KernelApp
        What :func:`prepare` returned in the zygote.
    wire : Wire
        To the zygote. It hears ``ready`` when the kernel is bound, and answers with the run's
        ``env`` and ``cwd``.
    directory : Path
        Private folder of this kernel.
    details : dict
        What :func:`connection` returned.
    """
    os.setsid()
    process.die_with_parent(signal.SIGKILL)
    _own_streams(directory)
    _own_randomness()
    file = directory / "kernel.json"
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        json.dump(details, stream)
    app.connection_file = str(file)
    sys.argv = [ipykernel_launcher.__file__, "-f", str(file), *app.argv]
    before = dict(os.environ)
    app.initialize([])
    app.added.update({k: v for k, v in os.environ.items() if before.get(k) != v})
    wire.send({"ready": details})
    for message in wire.receive(timeout=None):  # none when the zygote has died
        _enter(app, message["env"], message["cwd"])
        wire.send({"started": True})
        wire.close()
        app.start()


def _own_streams(directory: Path) -> None:
    """Standard output and error into a file, until the kernel sends them to the notebook."""
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _own_randomness() -> None:
    """Seed anew from the system, as a new Python does: siblings must not draw alike."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def _enter(app: KernelApp, env: dict[str, str], cwd: str) -> None:
    """Take over the run's environment and folder, and what was derived from the zygote's."""
    os.environ.clear()
    os.environ.update({**app.imported, **env, **app.added})
    time.tzset()
    tempfile.tempdir = None
    os.chdir(cwd)
    shell = app.shell
    shell.starting_dir = os.getcwd()
    shell.history_manager.dir_hist[:] = [Path.cwd()]
    if env.get("JPY_SESSION_NAME"):
        shell.user_ns["__session__"] = env["JPY_SESSION_NAME"]
