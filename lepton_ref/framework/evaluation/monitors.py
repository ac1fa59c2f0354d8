"""Watching a network from inside: statistics of activations and gradients, layer by layer.

No engine-specific hooks: activations come from :meth:`Layer.observe`, gradients from the
dictionary that ``value_and_grad`` returns. Nothing here changes what the network computes.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.inputs import host
from lepton_ref.framework.layers.base import Layer
from lepton_ref.framework.trees import flatten


class Record:
    """Statistics by step and name; the base of both monitors.

    Attributes
    ----------
    steps : list of int
        The steps that were recorded, from 1.
    rows : list of dict
        One per recorded step: name -> statistic -> value.
    """

    def __init__(self, every: int = 1) -> None:
        if type(every) is not int or every < 1:
            raise ArgumentError(type(self).__name__, "every", f"the value {every!r}", "at least 1")
        self.every = every
        self.step = 0
        self.steps: list[int] = []
        self.rows: list[dict[str, dict[str, float]]] = []

    def names(self) -> list[str]:
        """Everything that was watched, in order of first appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def matrix(self, statistic: str) -> np.ndarray:
        """One statistic as an array (steps, names); NaN where a name was absent."""
        known = sorted({key for row in self.rows for stats in row.values() for key in stats})
        if statistic not in known:
            raise ArgumentError(
                type(self).__name__, "statistic", f"the value {statistic!r}", " or ".join(known)
            )
        missing = {statistic: np.nan}
        return np.array(
            [[row.get(name, missing)[statistic] for name in self.names()] for row in self.rows]
        )

    def series(self, name: str, statistic: str) -> np.ndarray:
        """One statistic of one name over the recorded steps."""
        if name not in self.names():
            known = ", ".join(self.names()) or "nothing yet"
            raise ArgumentError(type(self).__name__, "name", f"the value {name!r}", known)
        return self.matrix(statistic)[:, self.names().index(name)]

    def table(self) -> str:
        """The last recorded step as text, one line per name."""
        if not self.rows:
            return "nothing recorded"
        row = self.rows[-1]
        columns = list(next(iter(row.values())))
        width = max(len("step"), *(len(name) for name in row))
        lines = [f"{'step ' + str(self.steps[-1]):<{width}} " + _cells(columns)]
        for name, stats in row.items():
            lines.append(f"{name:<{width}} " + _cells([f"{stats[c]:.3g}" for c in columns]))
        return "\n".join(lines)


def _cells(words: list[str]) -> str:
    return " ".join(f"{word:>10}" for word in words)


class ActivationMonitor(Record):
    """Mean, spread and silence of every layer's output, while the block runs.

    ::

        with ActivationMonitor(model) as monitor:
            for x, labels in batches: ...          # train as ever
        monitor.series("3", "std")

    Parameters
    ----------
    model : Layer
    every : int
        Record each `every`-th run of the model.

    Notes
    -----
    Only layers that hold no other layers are watched; the model itself, if it is one. Of a
    layer that runs several times in one run of the model, the last run counts. Statistics:
    ``mean``, ``std``, ``max_abs``, ``zeros`` (share of entries that are 0) and ``dead``
    (share of units that are 0 for every row of the batch).
    """

    def __init__(self, model: Layer, every: int = 1) -> None:
        super().__init__(every)
        self.model = model
        self._now: dict[str, dict[str, float]] = {}
        self._open = ExitStack()

    def __enter__(self) -> ActivationMonitor:
        self._open.enter_context(self.model.observe(self._see))
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()
        self._now = {}

    def _see(self, path: str, layer: Layer, output: Any) -> None:
        watched = (self.step + 1) % self.every == 0
        if watched and next(layer.children(), None) is None:
            self._now[path or type(layer).__name__] = activation_statistics(output)
        if path == "":  # the model itself is done: the step is over
            self.step += 1
            if watched:
                self.steps.append(self.step)
                self.rows.append(self._now)
            self._now = {}


def activation_statistics(output: Any) -> dict[str, float]:
    """Statistics of one layer's output (its first array, if it returns several)."""
    while isinstance(output, (tuple, list)):
        output = output[0]
    y = host(output).astype(np.float64)
    if y.size == 0:
        return dict.fromkeys(("mean", "std", "max_abs", "zeros", "dead"), float("nan"))
    silent = y == 0
    return {
        "mean": float(y.mean()),
        "std": float(y.std()),
        "max_abs": float(np.abs(y).max()),
        "zeros": float(silent.mean()),
        "dead": float(silent.all(axis=0).mean()) if y.ndim else float(silent),
    }


class GradientMonitor(Record):
    """Size of every parameter's gradient, and of the step it asks for.

    ::

        value, grads = E.value_and_grad(loss)(params)
        monitor.record(grads, params)

    Statistics: ``norm`` (Euclidean), ``rms`` (norm / sqrt(entries)), ``max_abs``, ``zeros``
    (share of entries that are 0) and, with `params`, ``ratio`` (norm of the gradient over
    norm of the parameter).
    """

    def record(self, grads: Any, params: Any = None) -> None:
        """Record one step.

        Parameters
        ----------
        grads : dict of arrays, or nest of them
            As ``value_and_grad`` returns it.
        params : the same structure, optional
        """
        self.step += 1
        if self.step % self.every:
            return
        weights = None if params is None else [leaf for _, leaf in _named(params)]
        row = {}
        for i, (name, leaf) in enumerate(_named(grads)):
            row[name] = gradient_statistics(leaf, None if weights is None else weights[i])
        if not row:
            raise ArgumentError("GradientMonitor", "grads", "no arrays", "at least one")
        self.steps.append(self.step)
        self.rows.append(row)


def _named(tree: Any) -> list[tuple[str, Any]]:
    """The leaves by name: the key of a flat dictionary, the path in a nest."""
    if isinstance(tree, dict) and not any(
        isinstance(v, (dict, list, tuple)) for v in tree.values()
    ):
        return list(tree.items())
    return flatten(tree, "grads")[0]


def gradient_statistics(gradient: Any, parameter: Any = None) -> dict[str, float]:
    """Statistics of one gradient, in float64 so that squares do not overflow."""
    g = host(gradient).astype(np.float64)
    norm = float(np.sqrt(np.sum(g * g)))
    found = {
        "norm": norm,
        "rms": norm / max(1.0, g.size) ** 0.5,
        "max_abs": float(np.abs(g).max()) if g.size else 0.0,
        "zeros": float(np.mean(g == 0)) if g.size else float("nan"),
    }
    if parameter is not None:
        w = host(parameter).astype(np.float64)
        size = float(np.sqrt(np.sum(w * w)))
        found["ratio"] = norm / size if size > 0 else float("inf") if norm > 0 else 0.0
    return found
