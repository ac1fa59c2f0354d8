"""Loops that NumPy cannot express: written once in Python, compiled by numba where it is there.

The readable version and the fast one are the same lines, so one test over both compares what
numba made of them with what Python does.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any


class Compiled:
    """A function whose loops numba compiles at its first call.

    Attributes
    ----------
    python : callable
        The function as it is written: slow, steps through in a debugger, needs no numba.
    """

    def __init__(self, python: Callable[..., Any]) -> None:
        self.python = python
        self._fast: Callable[..., Any] | None = None
        functools.update_wrapper(self, python)

    def __call__(self, *args: Any) -> Any:
        if self._fast is None:
            self._fast = self._compile()
        return self._fast(*args)

    def _compile(self) -> Callable[..., Any]:
        if importlib.util.find_spec("numba") is None:
            return self.python
        import numba

        return numba.njit(cache=True, nogil=True)(self.python)


def compiled(function: Callable[..., Any]) -> Compiled:
    """Decorate a loop over arrays and numbers so that numba compiles it (to disk, once).

    Without numba (the extras ``recsys`` and ``vision``) the function runs as Python, about a
    hundred times slower.
    It may only use what numba knows: arrays, numbers, ranges, NumPy functions; no global state.
    Nothing is reordered (no ``fastmath``), so both versions give the same sums. The compiled one
    lets go of Python's lock, so that parts of an array can be worked on by several threads
    (:func:`lepton_ref.framework.parallel.over_batch`).

    Examples
    --------
    >>> @compiled
    ... def total(x):
    ...     s = 0.0
    ...     for value in x:
    ...         s += value
    ...     return s
    >>> import numpy as np
    >>> total(np.arange(4.0)) == total.python(np.arange(4.0)) == 6.0
    True
    """
    return Compiled(function)
