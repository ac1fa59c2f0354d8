"""Halves of a batch at the same time: threads for operators that work image by image.

NumPy lets go of Python's lock while it computes, so two threads that work on two halves of a
batch keep two cores busy, also in the copies and sums that BLAS knows nothing of. BLAS has
threads of its own; while the halves run it is told to use one for each, so that as many cores
work as BLAS was allowed (``OMP_NUM_THREADS`` and the like hold here too).
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

T = TypeVar("T")

#: Work below this many elementary operations is done at once: threads would cost more.
WORTHWHILE = 2**20

_CUTS_NARROW_PRODUCTS_WELL = (0, 3, 29)

_pool: ThreadPoolExecutor | None = None
_busy = threading.Lock()


class _Blas(NamedTuple):
    """What can be asked of NumPy's BLAS and told to it."""

    get: Callable[[], int]
    tell: Callable[[int], None]
    version: tuple[int, ...]


@functools.cache
def _blas() -> _Blas | None:
    """NumPy's BLAS, when it is an OpenBLAS that can be told its number of threads."""
    for module in ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath"):
        try:
            library = ctypes.CDLL(importlib.import_module(module).__file__ or "")
        except (ImportError, OSError):
            continue
        for pattern in ("scipy_openblas_{}64_", "openblas_{}64_", "openblas_{}"):
            names = (
                pattern.format(n) for n in ("get_num_threads", "set_num_threads", "get_config")
            )
            get, tell, config = (getattr(library, name, None) for name in names)
            if get is None or tell is None or config is None:
                continue
            get.argtypes, get.restype = [], ctypes.c_int
            tell.argtypes, tell.restype = [ctypes.c_int], None
            config.argtypes, config.restype = [], ctypes.c_char_p
            numbers = re.search(rb"OpenBLAS (\d+)\.(\d+)\.(\d+)", config())
            return _Blas(get, tell, tuple(map(int, numbers.groups())) if numbers else ())
    return None


def threads() -> int:
    """How many threads :func:`over_batch` uses: as many as BLAS may, one if that is unknown."""
    blas = _blas()
    return blas.get() if blas else 1


def over_batch(work: Callable[[slice], T], n: int, operations: float) -> list[T]:
    """Run ``work`` on slices that cut ``range(n)`` into equal parts, one part for each thread.

    Parameters
    ----------
    work : callable
        Takes a slice of the batch; must not touch what belongs to another slice.
    n : int
        Size of the batch.
    operations : float
        Rough number of elementary operations of the whole.

    Returns
    -------
    list
        What ``work`` returned, in the order of the slices; their number depends on the number
        of threads. An empty batch gives one empty slice.
    """
    parts = min(threads(), n)
    if parts < 2 or operations < WORTHWHILE or not _busy.acquire(blocking=False):
        return [work(slice(0, n))]
    try:
        cuts = [k * n // parts for k in range(parts + 1)]
        return _side_by_side(work, [slice(a, b) for a, b in zip(cuts, cuts[1:])])
    finally:
        _busy.release()


def _side_by_side(work: Callable[[slice], T], slices: list[slice]) -> list[T]:
    global _pool
    blas = _blas()
    assert blas is not None
    if _pool is None or _pool._max_workers < len(slices) - 1:
        _pool = ThreadPoolExecutor(len(slices) - 1, "lepton")
    before = blas.get()
    blas.tell(1)
    try:
        others = [_pool.submit(work, s) for s in slices[1:]]
        try:
            first = work(slices[0])
        finally:
            wait(others)
        return [first, *(future.result() for future in others)]
    finally:
        blas.tell(before)


@contextmanager
def narrow_products() -> Iterator[None]:
    """For a loop over products with few columns, as in the time steps of a recurrent network.

    OpenBLAS before 0.3.29 cuts them badly for its threads (on two cores a product of
    (512, 256) with (256, 64) takes up to 1.5 times as long as on one): there, one thread.
    """
    blas = _blas()
    if blas is None or blas.version >= _CUTS_NARROW_PRODUCTS_WELL:
        yield
        return
    before = blas.get()
    blas.tell(1)
    try:
        yield
    finally:
        blas.tell(before)


def _after_fork() -> None:
    """A child process has none of its parent's threads."""
    global _pool, _busy
    _pool, _busy = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
