"""A trap for NaN and infinity: it names the first layer and the step that made one.

A NaN spreads: one layer makes it, every layer after it has it, and after the next update
all parameters hold it. By the time the loss prints ``nan`` the cause is gone. The trap looks
at each layer's output as it appears; and when a gradient is not finite, it runs the step
again with a probe before and after each layer to see where the gradient was still whole.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lepton_ref.engines.domain import dtype_name
from lepton_ref.framework.errors import NonFiniteError
from lepton_ref.framework.evaluation.inputs import host
from lepton_ref.framework.layers.base import Layer
from lepton_ref.framework.trees import flatten, map_tree


class TrappedError(NonFiniteError):
    """Where a NaN or an infinity came from.

    Attributes
    ----------
    step : int
        From 1.
    layer : str
        Path of the layer, ``""`` for the model itself or what is outside of it.
    phase : str
        ``"input"``, ``"parameter"``, ``"forward"``, ``"loss"`` or ``"backward"``.
    """

    def __init__(self, message: str, step: int = 0, layer: str = "", phase: str = "") -> None:
        super().__init__(message)
        self.step, self.layer, self.phase = step, layer, phase


@dataclass
class _Call:
    """One run of one layer inside a step."""

    path: str
    layer: Layer
    x: Any = None  # the input, if it is a floating array
    inside: bool = False  # whether other layers ran inside it
    probes: dict[str, list[Any]] = field(default_factory=dict)  # zeros like input and outputs

    @property
    def name(self) -> str:
        kind = type(self.layer).__name__
        return f"layer `{self.path}` ({kind})" if self.path else f"the model ({kind})"


class NonFiniteTrap:
    """Watch a model's steps; raise at the first NaN or infinity, naming its origin.

    ::

        trap = NonFiniteTrap(model)
        step = trap.value_and_grad(loss)          # in the place of E.value_and_grad(loss)
        value, grads = step(params)

    Parameters
    ----------
    model : Layer

    Notes
    -----
    A step costs one pass over the layers' outputs and the gradients. What is watched is the
    forward pass of `model` in whatever form it is called, ``model(x)`` or ``model.apply``.
    """

    def __init__(self, model: Layer) -> None:
        self.model = model
        self.step = 0
        self._calls: list[_Call] = []  # in order of their start
        self._open: list[_Call] = []  # running now, outermost first
        self._rng_state: Any = None

    # --- the step ------------------------------------------------------------------------

    def value_and_grad(self, function: Callable[..., Any], has_aux: bool = False) -> Callable:
        """As ``Engine.value_and_grad``, under watch; each call is one step.

        Raises
        ------
        TrappedError
            Naming the step, the layer, and whether its input, a parameter, its output, the
            loss or its gradient went first.
        """

        @functools.wraps(function)
        def run(params: Any, *args: Any, **kwargs: Any) -> Any:
            with self.watch():
                result, grads = self.model.E.value_and_grad(function, has_aux)(
                    params, *args, **kwargs
                )
            value = float(host(result[0] if has_aux else result))
            if not math.isfinite(value):
                raise self._error(
                    f"the loss is {value}, while every layer gave finite outputs", "", "loss"
                )
            if not all(_finite(g) for _, g in flatten(grads)[0]):

                def scalar(p: Any) -> Any:
                    found = function(p, *args, **kwargs)
                    return found[0] if has_aux else found

                raise self._locate(scalar, params)
            self._calls = []  # lets go of the activations
            return result, grads

        return run

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Check every layer's output inside the block, which counts as one step."""
        self.step += 1
        self._calls, self._open, self._rng_state = [], [], None
        with self._wrapped(self._checked):
            yield

    @contextmanager
    def _wrapped(self, wrap: Callable[[str, Layer, Callable[..., Any]], Any]) -> Iterator[None]:
        layers = list(self.model.named_layers())
        before = [vars(layer).get("forward") for _, layer in layers]
        try:
            for path, layer in layers:
                vars(layer)["forward"] = wrap(path, layer, layer.forward)
            yield
        finally:
            for (_, layer), forward in zip(layers, before, strict=True):
                if forward is None:
                    vars(layer).pop("forward", None)
                else:
                    vars(layer)["forward"] = forward

    # --- forward -------------------------------------------------------------------------

    def _checked(self, path: str, layer: Layer, forward: Callable[..., Any]) -> Any:
        def run(x: Any, rng: np.random.Generator | None = None, **inputs: Any) -> Any:
            if rng is not None and self._rng_state is None:
                self._rng_state = copy.deepcopy(rng.bit_generator.state)
            call = _Call(path, layer, x if _floating(x) else None)
            for outer in self._open:
                outer.inside = True
            self._calls.append(call)
            self._open.append(call)
            try:
                y = forward(x, rng, **inputs)
            finally:
                self._open.pop()
            for leaf in _outputs(y):
                if not _finite(leaf):
                    raise self._blame(call, leaf)
            call.probes = {
                "x": [_zeros(layer.E, x)] if call.x is not None else [],
                "y": [_zeros(layer.E, leaf) for leaf in _outputs(y)],
            }
            return y

        return run

    def _blame(self, call: _Call, output: Any) -> TrappedError:
        """An output is not finite: because of a parameter, the input, or the layer itself?"""
        for name in call.layer._parameter_names:
            parameter = getattr(call.layer, name)
            if not _finite(parameter):
                made = f"by the update after step {self.step - 1}" if self.step > 1 else "before"
                return self._error(
                    f"parameter `{name}` of {call.name} holds {_describe(parameter)}, made {made}",
                    call.path,
                    "parameter",
                )
        network = self._open[0] if self._open else call
        if network.x is not None and not _finite(network.x):
            return self._error(
                f"the input of the network holds {_describe(network.x)}: clean the data",
                network.path,
                "input",
            )
        if call.x is not None and not _finite(call.x):
            return self._error(
                f"the input of {call.name} holds {_describe(call.x)}, while every layer before "
                f"gave finite outputs: {self._open[-1].name} made it between its layers",
                self._open[-1].path,
                "forward",
            )
        own = " between or after its layers" if call.inside else ""
        return self._error(
            f"{call.name} made {_describe(output)} in its output{own}{_range(call.x)}",
            call.path,
            "forward",
        )

    def _error(self, message: str, layer: str, phase: str) -> TrappedError:
        return TrappedError(f"step {self.step}: {message}", self.step, layer, phase)

    # --- backward ------------------------------------------------------------------------

    def _locate(self, scalar: Callable[[Any], Any], params: Any) -> TrappedError:
        """Run the step again with probes (eq. evaluation-probe) and find the first bad layer."""
        calls = self._calls
        started = iter(range(len(calls)))
        active: list[dict[str, list[Any]]] = []

        def probed(path: str, layer: Layer, forward: Callable[..., Any]) -> Any:
            def run(x: Any, rng: np.random.Generator | None = None, **inputs: Any) -> Any:
                i = next(started)
                if i == 0 and rng is not None and self._rng_state is not None:
                    rng.bit_generator.state = self._rng_state  # the same dropout masks again
                for probe in active[i]["x"]:
                    x = layer.E.add(x, probe)
                y = forward(x, rng, **inputs)
                probes = iter(active[i]["y"])
                return map_tree(lambda a: layer.E.add(a, next(probes)) if _floating(a) else a, y)

            return run

        def function(nest: dict[str, Any]) -> Any:
            active[:] = nest["probes"]
            return scalar(nest["params"])

        with self._wrapped(probed):
            nest = {"params": params, "probes": [call.probes for call in calls]}
            _, grads = self.model.E.value_and_grad(function)(nest)
        for call, probe in zip(reversed(calls), reversed(grads["probes"])):
            # Reversed order of starting: nearest to the loss first, inner before outer.
            broken = self._broken(call, probe, grads["params"])
            if broken and all(_finite(g) for g in probe["y"]):
                own = " between or after its layers" if call.inside else ""
                return self._error(
                    f"backward: {call.name} made {broken}{own}, out of a finite gradient of its "
                    f"output{_range(call.x)}",
                    call.path,
                    "backward",
                )
        broken = next(_describe(g) for _, g in flatten(grads)[0] if not _finite(g))
        return self._error(
            f"backward: the loss function made {broken} in a gradient before any layer did",
            "",
            "backward",
        )

    @staticmethod
    def _broken(call: _Call, probe: dict[str, list[Any]], grads: Any) -> str:
        """What is not finite among the gradients that this call made."""
        for dx in probe["x"]:
            if not _finite(dx):
                return f"{_describe(dx)} in the gradient of its input"
        for name in call.layer._parameter_names:
            full = f"{call.path}.{name}" if call.path else name
            if isinstance(grads, dict) and full in grads and not _finite(grads[full]):
                return f"{_describe(grads[full])} in the gradient of `{name}`"
        return ""


def _floating(x: Any) -> bool:
    return hasattr(x, "dtype") and dtype_name(x) in ("float32", "float64", "float16", "bfloat16")


def _outputs(y: Any) -> list[Any]:
    """The floating arrays of an output, in order."""
    return [leaf for _, leaf in flatten(y)[0] if _floating(leaf)]


def _zeros(E: Any, x: Any) -> Any:
    return E.parameter(np.zeros(tuple(x.shape)), dtype=dtype_name(x))


def _finite(x: Any) -> bool:
    """Whether all entries are finite; the extremes tell, without an array of booleans."""
    values = host(x)
    if values.size == 0:
        return True
    return bool(np.isfinite(values.min()) and np.isfinite(values.max()))


def _describe(x: Any) -> str:
    """``3 NaN (of 784 entries, the first at (0, 5))``."""
    values = host(x)
    tests: dict[str, Any] = {"NaN": np.isnan, "inf": np.isposinf, "-inf": np.isneginf}
    kinds = {kind: int(test(values).sum()) for kind, test in tests.items()}
    counted = " and ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    if values.ndim == 0:
        return counted
    first = np.argwhere(~np.isfinite(values))[0]
    where = ", ".join(str(i) for i in first) + ("," if len(first) == 1 else "")
    return f"{counted} (of {values.size} entries, the first at ({where}))"


def _range(x: Any) -> str:
    if x is None or not host(x).size:
        return ""
    return f"; its input was finite, from {host(x).min():.3g} to {host(x).max():.3g}"
