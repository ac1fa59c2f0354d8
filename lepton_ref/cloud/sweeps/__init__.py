"""Sweeps: one notebook under many parameters, on one machine or on a cluster.

papermill executes, Ray distributes, Optuna proposes, fsspec stores. What this package adds is
that a sweep can be trusted: parameters are checked before anything starts, a run is known by
what it does and never executed twice, faults of machines and of notebooks have budgets of their
own, and every result ends in one table.
"""

from __future__ import annotations

import importlib
from typing import Any

# name -> module that defines it; loaded at first use, since papermill and pandas are heavy.
_LAZY = {
    "Limits": "runs",
    "Outcome": "runs",
    "Store": "storage",
    "SweepError": "errors",
    "SweepSpec": "spec",
    "StoreError": "errors",
    "attempt": "execution",
    "load_spec": "yaml_file",
    "open_sweep": "plan",
    "run_sweep": "driver",
    "secret": "secrets",
    "table": "results",
}
__all__ = [*_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
