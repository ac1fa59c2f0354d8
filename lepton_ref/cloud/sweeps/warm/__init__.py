"""Kernels that are forked from a process which has imported the heavy modules.

Most of a short run is the start of its kernel: a new Python that imports NumPy, Matplotlib and
IPython. Here one parent process, the zygote, imports them once; it opens no socket and starts
no thread, and forks a kernel for each run. A run sees nothing of another: its kernel is a
process of its own that inherits only what the zygote had before any run.

:func:`kernel_manager` gives an ordinary ``AsyncKernelManager``, so nbclient and papermill take
such kernels as they take any other::

    manager = kernel_manager(cwd="/data/run-17")
    NotebookClient(notebook, km=manager, shutdown_kernel="immediate").execute(cleanup_kc=True)

=====================  ====================================================================
:mod:`~.manager`       the kernel manager and its client
:mod:`~.provisioner`   ``lepton-warm`` for Jupyter: starts, signals and ends one kernel
:mod:`~.parent`        the worker's side of its zygotes
:mod:`~.zygote`        the process that forks (``python -m``)
:mod:`~.kernel`        how its child becomes a kernel
:mod:`~.wire`          their messages
:mod:`~.folders`       where their sockets are
=====================  ====================================================================
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lepton_ref.cloud.sweeps.warm.manager import PRELOAD, kernel_manager, needed, prepare
    from lepton_ref.cloud.sweeps.warm.parent import ZygoteError, close_all

# name -> module that defines it: the zygote imports this package and none of them.
_LAZY = {
    "PRELOAD": "manager",
    "kernel_manager": "manager",
    "needed": "manager",
    "prepare": "manager",
    "ZygoteError": "parent",
    "close_all": "parent",
}

__all__ = ["PRELOAD", "ZygoteError", "close_all", "kernel_manager", "needed", "prepare"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
