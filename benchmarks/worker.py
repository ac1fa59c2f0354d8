"""One library in one process: ``python -m benchmarks.worker PEER``.

Reads one JSON command a line and answers each with one JSON line. Each peer gets a process of
its own because the thread pools of two libraries in one process disturb one another.
"""

from __future__ import annotations

import collections
import collections.abc
import gc
import importlib.metadata
import json
import os
import platform
import sys
import time
import traceback
from typing import Any

if sys.argv[1:2] in (["numpy"], ["numpy 1.26"]):
    import lepton_ref  # noqa: F401  (before NumPy: it settles how long BLAS threads spin)

import numpy as np

from benchmarks.rows import OURS, OURS_BESIDE_MXNET, all_rows

SEED = 2016


def open_library(peer: str) -> dict[str, str]:
    """Import the peer, two threads, and say which version it is."""
    threads = int(os.environ["OMP_NUM_THREADS"])
    package = peer
    if peer in (OURS, OURS_BESIDE_MXNET):
        import lepton_ref.engines.numpy  # noqa: F401

        package = "numpy"
    elif peer == "torch":
        import torch

        torch.set_num_threads(threads)
    elif peer == "mxnet":
        if not hasattr(np, "bool"):
            np.bool = bool  # type: ignore[attr-defined]
        import mxnet

        mxnet.npx.set_np()
    elif peer == "autograd":
        import autograd.scipy.signal  # noqa: F401
    elif peer == "chainer":
        import chainer

        chainer.print_runtime_info = None
    elif peer == "numpy-ml":  # written for Python 3.9 and older
        for name in ("Hashable", "Iterable", "Mapping", "Sequence", "Callable"):
            setattr(collections, name, getattr(collections.abc, name))
        import numpy_ml.neural_nets.layers  # noqa: F401
    version = importlib.metadata.version(package)
    return {"version": version, "numpy": np.__version__, "blas": blas_kernel()}


def blas_kernel() -> str:
    """Which kernel the matrix products of NumPy run on, where that can be told."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown"
    found = [i for i in threadpool_info() if i["user_api"] == "blas"]
    ours = [i for i in found if "numpy.libs" in i["filepath"]] or found
    if not ours:
        return "unknown"
    info = ours[0]
    return f"{info['internal_api']} {info['version']} {info.get('architecture', '')}".strip()


def measure(step: Any, seconds: float) -> tuple[float, int]:
    """The shortest of as many calls as fit in ``seconds`` (at least one), and how many."""
    gc.collect()
    gc.disable()
    try:
        step()  # warm
        best, calls, started = float("inf"), 0, time.perf_counter()
        while calls == 0 or time.perf_counter() - started < seconds:
            before = time.perf_counter()
            step()
            best = min(best, time.perf_counter() - before)
            calls += 1
    finally:
        gc.enable()
    return best, calls


def serve(peer: str, answer: Any) -> None:
    rows = all_rows()
    ready: dict[int, Any] = {}
    try:
        answer({"ok": True, **open_library(peer), "python": platform.python_version()})
    except Exception as error:
        answer({"ok": False, "reason": f"{type(error).__name__}: {error}"})
        return
    for line in sys.stdin:
        command = json.loads(line)
        index = command["row"]
        try:
            if command["do"] == "prepare":
                build = rows[index].builder(peer)
                assert build is not None
                step, result = build(rows[index].inputs(np.random.default_rng(SEED)))
                step()
                np.savez(command["path"], **{k: np.asarray(v) for k, v in result().items()})
                ready[index] = step
                answer({"ok": True})
            elif command["do"] == "forget":
                ready.pop(index, None)
                answer({"ok": True})
            else:
                seconds, calls = measure(ready[index], command["seconds"])
                answer({"ok": True, "ms": seconds * 1e3, "calls": calls})
        except Exception as error:
            traceback.print_exc()
            answer({"ok": False, "reason": f"{type(error).__name__}: {error}"})


def main() -> None:
    # Libraries print where they like; answers go to the pipe that standard output was.
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    serve(sys.argv[1], answer)


if __name__ == "__main__":
    main()
