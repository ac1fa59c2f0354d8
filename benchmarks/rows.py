"""What a row of the table is: one task, and how each library does it.

A bench file must import in an environment that holds only NumPy: it imports a library inside
the function that uses it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
#: ``build(inputs)`` gives ``step``, one timed forward and backward pass, and ``result``,
#: what the last step computed, in the layout of the NumPy engine. A step first lets go of the
#: results of the one before, as a training loop does.
Build = Callable[[Arrays], tuple[Callable[[], Any], Callable[[], Arrays]]]

#: The library under test, on a current NumPy; everything is compared with its results.
OURS = "numpy"
#: The same on the NumPy that MXNet needs, whose matrix products are older.
OURS_BESIDE_MXNET = "numpy 1.26"

#: Peers that need a yet older NumPy.
OLD_PEERS = ("chainer", "numpy-ml")
#: Other libraries that compute with NumPy.
NUMPY_PEERS = ("autograd", *OLD_PEERS)
PEERS = (OURS, OURS_BESIDE_MXNET, "torch", "mxnet", *NUMPY_PEERS)

MODULES = (
    "benchmarks.vision.bench_convolution",
    "benchmarks.text.bench_lstm",
    "benchmarks.text.bench_attention",
    "benchmarks.framework.bench_layers",
    "benchmarks.framework.bench_training",
    "benchmarks.text.bench_transformer",
)


@dataclass
class Row:
    """One line of the table."""

    name: str
    group: str  # "operator" or "training step"
    bar: float | None  # the most that ours may take, as a multiple of torch
    inputs: Callable[[np.random.Generator], Arrays]
    note: str = ""
    peers: dict[str, Build] = field(default_factory=dict)

    def builder(self, peer: str) -> Build | None:
        """How ``peer`` does this task; None when it does not."""
        return self.peers.get(OURS if peer == OURS_BESIDE_MXNET else peer)

    def peer(self, name: str) -> Callable[[Build], Build]:
        """Decorator: how the library ``name`` does this task."""

        def register(build: Build) -> Build:
            self.peers[name] = build
            return build

        return register


def all_rows() -> list[Row]:
    """Every row of every bench file, in the order of the table."""
    return [row for module in MODULES for row in importlib.import_module(module).ROWS]


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Seeded float32 normal numbers, the same under every NumPy."""
    return (scale * rng.standard_normal(shape)).astype(np.float32)
