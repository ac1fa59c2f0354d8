"""Memory of freed arrays, kept for the next ones.

A training step makes and frees the same large arrays again and again. The GNU C library hands
such memory back to the system and asks for it anew, page by page; in a small network that can
take longer than the arithmetic. :func:`keep_freed_memory` has it kept instead: the process
stays as large as it once was.
"""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # <malloc.h>
_KEPT = 2**30  # bytes that may lie free
_LARGEST = 2**25  # larger arrays still come straight from the system


def keep_freed_memory() -> bool:
    """Tell the C library to keep up to 1 GiB of freed memory, arrays of 32 MiB at most.

    ``LEPTON_KEEP_MEMORY=0`` in the environment, or the C library's own ``MALLOC_`` settings
    there, leave everything as it was.

    Returns
    -------
    bool
        Whether it was told; False where the C library is another one.
    """
    own = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    if os.environ.get("LEPTON_KEEP_MEMORY") == "0" or any(name in os.environ for name in own):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    kept = mallopt(_TRIM_THRESHOLD, ctypes.c_int(_KEPT))
    large = mallopt(_MMAP_THRESHOLD, ctypes.c_int(_LARGEST))
    return bool(kept and large)
