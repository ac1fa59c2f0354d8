"""What every layer is: arrays with names, a ``forward``, and how they are swapped for a gradient.

A layer holds its parameters as plain attributes. :meth:`Layer.apply` runs the same network
with other arrays in their place, which is how a gradient is taken::

    def loss(params):
        return E.cross_entropy(model.apply(params, x, rng), labels)

    value, grads = E.value_and_grad(loss)(model.parameters())
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError


class _ConstructorSignature:
    """The signature of a class that ``help`` and editors show: ``__new__`` would hide it."""

    def __get__(self, layer: Layer | None, cls: type[Layer]) -> inspect.Signature:
        if layer is not None:
            raise AttributeError("__signature__")  # a layer's own is that of __call__
        return _signature(cls)


class Layer:
    """Base of all layers and models.

    A subclass calls ``super().__init__(engine)``, makes its arrays with
    :meth:`add_parameter`, keeps inner layers as attributes (or in lists) and defines
    ``forward(x, rng=None)``. Parameters and layers are named by attribute path:
    ``"blocks.0.conv.weight"``.

    Parameters
    ----------
    engine : str or Engine, optional
        Without it, the active engine.

    Notes
    -----
    ``rng=None`` means inference: no dropout, running statistics. A
    ``numpy.random.Generator`` means training, and is the only source of randomness.
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    _parameter_names: tuple[str, ...] = ()
    _buffer_names: tuple[str, ...] = ()
    _observers: tuple[Callable[[Any], None], ...] = ()
    __signature__ = _ConstructorSignature()

    def __new__(cls, *args: Any, **kwargs: Any) -> Layer:
        layer = super().__new__(cls)
        layer._arguments = (args, kwargs)  # what config() reports
        return layer

    def __init__(self, engine: str | Engine | None = None) -> None:
        self.E: Any = engine if isinstance(engine, Engine) else lepton_ref.engine(engine)

    # --- running -------------------------------------------------------------------------

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Compute the layer's output; every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward(x, rng=None)")

    def __call__(self, x: Any, rng: np.random.Generator | None = None, **inputs: Any) -> Any:
        """Run :meth:`forward`; an error gains the path of the layer it came from."""
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise ArgumentError(
                type(self).__name__,
                "rng",
                f"type {type(rng).__name__}",
                "a numpy.random.Generator to train, or None",
            )
        try:
            y = self.forward(x, rng, **inputs)
        except ArgumentError as error:
            raise self._located(error) from error.__cause__
        for observer in self._observers:
            observer(y)
        return y

    def _located(self, error: ArgumentError) -> ArgumentError:
        """``error`` told from here: ``LeNet.conv1 (Conv2d) > conv2d: argument ...``."""
        origin, original = getattr(error, "origin", (self, error))
        path = next((path for path, layer in self.named_layers() if layer is origin), "")
        inside = f".{path} ({type(origin).__name__})" if path else ""
        located: Any = original.within(type(self).__name__ + inside)
        located.origin = (origin, original)
        return located.with_traceback(error.__traceback__)

    def apply(
        self,
        params: dict[str, Any],
        x: Any,
        rng: np.random.Generator | None = None,
        **inputs: Any,
    ) -> Any:
        """Run the network with ``params`` in the place of its own parameters.

        Parameters
        ----------
        params : dict of str to array
            Arrays by the names of :meth:`parameters`. Names that are left out keep the
            layer's own array, which then gets no gradient: that is how layers are frozen.
        x : array
        rng : numpy.random.Generator, optional
            Given in training only.
        **inputs
            Further inputs of ``forward``.

        Raises
        ------
        ArgumentError
            When ``params`` has a name that the network lacks.
        """
        slots = [
            (owner, name, params[path])
            for owner, name, path in self._slots("_parameter_names")
            if path in params
        ]
        if len(slots) != len(params):
            unknown = sorted(set(params) - set(self.parameters()))
            raise ArgumentError(
                f"{type(self).__name__}.apply", "params", f"the names {unknown}",
                f"names of parameters: {_some(self.parameters())}",
            )  # fmt: skip
        own = [owner[name] for owner, name, _ in slots]
        try:
            for owner, name, value in slots:
                owner[name] = value
            return self(x, rng, **inputs)
        finally:
            for (owner, name, _), value in zip(slots, own):
                owner[name] = value

    @contextmanager
    def observe(self, callback: Callable[[str, Layer, Any], None]) -> Iterator[None]:
        """Inside the block, call ``callback(path, layer, output)`` after every layer runs."""
        watched = [
            (layer, functools.partial(callback, path, layer)) for path, layer in self.named_layers()
        ]
        for layer, observer in watched:
            layer._observers = (*layer._observers, observer)
        try:
            yield
        finally:
            for layer, observer in watched:
                layer._observers = tuple(o for o in layer._observers if o is not observer)

    # --- what is inside ------------------------------------------------------------------

    def children(self) -> Iterator[tuple[str, Layer]]:
        """The layers directly inside this one, with their names."""
        for name, value in vars(self).items():
            if isinstance(value, Layer):
                yield name, value
            elif isinstance(value, (list, tuple)) and name[0] != "_":
                for i, item in enumerate(value):
                    if isinstance(item, Layer):
                        yield f"{name}.{i}", item

    def named_layers(self) -> Iterator[tuple[str, Layer]]:
        """This layer (path ``""``) and all layers inside it, each once, outer before inner."""
        seen: set[int] = set()

        def walk(layer: Layer, path: str) -> Iterator[tuple[str, Layer]]:
            if id(layer) in seen:
                return
            seen.add(id(layer))
            yield path, layer
            for name, child in layer.children():
                yield from walk(child, f"{path}.{name}" if path else name)

        return walk(self, "")

    def _slots(self, kind: str) -> list[tuple[dict[str, Any], str, str]]:
        """Where each array lives: the attributes it is in, its name there, its full name."""
        return [
            (vars(layer), name, f"{path}.{name}" if path else name)
            for path, layer in self.named_layers()
            for name in getattr(layer, kind)
        ]

    def add_parameter(self, name: str, value: np.ndarray) -> None:
        """Make ``self.<name>`` a trainable array that starts as ``value``."""
        setattr(self, name, self.E.parameter(value))
        self._parameter_names = (*self._parameter_names, name)

    def add_buffer(self, name: str, value: np.ndarray) -> None:
        """Make ``self.<name>`` an array that is saved but not trained."""
        setattr(self, name, self.E.array(value))
        self._buffer_names = (*self._buffer_names, name)

    def parameters(self) -> dict[str, Any]:
        """The trainable arrays by name. A layer used in two places appears once."""
        return {path: owner[name] for owner, name, path in self._slots("_parameter_names")}

    def buffers(self) -> dict[str, Any]:
        """The arrays that are saved but not trained, by name (running statistics)."""
        return {path: owner[name] for owner, name, path in self._slots("_buffer_names")}

    @property
    def num_parameters(self) -> int:
        """How many numbers are trained."""
        return sum(int(np.prod(tuple(p.shape))) for p in self.parameters().values())

    # --- saving and rebuilding -----------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers as NumPy arrays, by name."""
        arrays = {**self.parameters(), **self.buffers()}
        return {name: np.array(self.E.asnumpy(array)) for name, array in arrays.items()}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Overwrite all parameters and buffers with those of ``state``.

        Raises
        ------
        ArgumentError
            When a name is missing or unknown or a shape differs; nothing is changed then.
        """
        where, own = f"{type(self).__name__}.load_state", self.state()
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unknown:
            got = [f"no {_some(missing)}"] * bool(missing)
            got += [f"the unknown {_some(unknown)}"] * bool(unknown)
            raise ArgumentError(where, "state", " and ".join(got), f"exactly {_some(own)}")
        for name, array in own.items():
            if np.shape(state[name]) != array.shape:
                raise ArgumentError(
                    where, f"state[{name!r}]", f"shape {np.shape(state[name])}", f"{array.shape}"
                )
        for owner, name, path in self._slots("_parameter_names"):
            self.E.assign(owner[name], self.E.array(state[path], str(own[path].dtype)))
        for owner, name, path in self._slots("_buffer_names"):
            owner[name] = self.E.array(state[path], str(own[path].dtype))

    def astype(self, dtype: str) -> Layer:
        """Turn all parameters and buffers into ``dtype`` (``"float64"`` for proofs)."""
        for owner, name, _ in self._slots("_parameter_names"):
            owner[name] = self.E.parameter(self.E.asnumpy(owner[name]), dtype)
        for owner, name, _ in self._slots("_buffer_names"):
            owner[name] = self.E.array(self.E.asnumpy(owner[name]), dtype)
        return self

    def config(self) -> dict[str, Any]:
        """The arguments this layer was made with, as JSON can hold them.

        Inner layers become ``{"class": name, "config": {...}}``; ``rng`` and ``engine`` are
        left out. ``type(layer).from_config(layer.config(), rng)`` makes its like.

        Raises
        ------
        ArgumentError
            When an argument is of a type that JSON cannot hold.
        """
        where = f"{type(self).__name__}.config"
        return {name: _plain(where, name, value) for name, value in self._bound().items()}

    def _bound(self, defaults: bool = True) -> dict[str, Any]:
        args, kwargs = self._arguments
        bound = _signature(type(self)).bind(*args, **kwargs)
        if defaults:
            bound.apply_defaults()
        return {k: v for k, v in bound.arguments.items() if k not in ("rng", "engine")}

    @classmethod
    def from_config(
        cls,
        config: dict[str, Any],
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> Layer:
        """Make a layer from what :meth:`config` returned, with fresh weights from ``rng``."""
        positional: list[Any] = []
        named: dict[str, Any] = {}
        accepted = _signature(cls).parameters
        for name, parameter in accepted.items():
            if name == "rng":
                named["rng"] = rng
            elif name == "engine":
                named["engine"] = engine
            elif name in config and parameter.kind is parameter.VAR_POSITIONAL:
                positional = [_revive(value, rng, engine) for value in config[name]]
            elif name in config:
                named[name] = _revive(config[name], rng, engine)
        unknown = sorted(config.keys() - accepted.keys())
        if unknown:
            raise ArgumentError(
                f"{cls.__name__}.from_config", "config", f"the unknown {_some(unknown)}",
                f"arguments of {cls.__name__}",
            )  # fmt: skip
        return cls(*positional, **named)

    # --- showing -------------------------------------------------------------------------

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self, name: str = "", indent: str = "") -> list[str]:
        args = ", ".join(
            f"{key}={value!r}"
            for key, value in self._bound(defaults=False).items()
            if isinstance(value, (int, float, str)) or key in ("kernel_size", "stride", "padding")
        )
        head = indent + (f"{name}: " if name else "") + f"{type(self).__name__}({args})"
        arrays = ", ".join(f"{n} {tuple(getattr(self, n).shape)}" for n in self._parameter_names)
        if self.num_parameters:
            head += f"  {self.num_parameters:,} parameters" + (f": {arrays}" if arrays else "")
        lines = [head]
        for key, child in self.children():
            lines += child._lines(key, indent + "  ")
        return lines


def _signature(cls: type[Layer]) -> inspect.Signature:
    full = inspect.signature(cls.__init__)
    return full.replace(parameters=list(full.parameters.values())[1:])  # without self


#: The classes that a stored description may name; the ready-made layers are in it.
LAYER_CLASSES: dict[str, type[Layer]] = {}


def describe(layer: Layer) -> dict[str, Any]:
    """``{"class": name, "config": arguments}``: what :func:`build` makes a layer from."""
    return {"class": type(layer).__name__, "config": layer.config()}


def build(
    description: dict[str, Any],
    rng: np.random.Generator | None = None,
    engine: str | Engine | None = None,
) -> Layer:
    """Make the layer that ``description`` describes, with fresh weights from ``rng``.

    Raises
    ------
    ArgumentError
        For a class that is not in :data:`LAYER_CLASSES`.
    """
    name = description.get("class")
    if name not in LAYER_CLASSES:
        raise ArgumentError(
            "build", "description", f"the class {name!r}", f"one of {', '.join(LAYER_CLASSES)}"
        )
    return LAYER_CLASSES[name].from_config(description.get("config", {}), rng, engine)


def _plain(where: str, name: str, value: Any) -> Any:
    if isinstance(value, Layer):
        return describe(value)
    if isinstance(value, (list, tuple)):
        return [_plain(where, f"{name}[{i}]", item) for i, item in enumerate(value)]
    if isinstance(value, dict):
        return {str(k): _plain(where, f"{name}[{k!r}]", v) for k, v in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ArgumentError(
        where, name, f"type {type(value).__name__}", "numbers, strings, lists, dicts or layers"
    )


def _revive(value: Any, rng: np.random.Generator | None, engine: str | Engine | None) -> Any:
    if isinstance(value, dict) and set(value) == {"class", "config"}:
        return build(value, rng, engine)
    if isinstance(value, (list, tuple)):
        return [_revive(item, rng, engine) for item in value]
    return value


def _some(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:6]) + (f" ... ({len(names)} in all)" if len(names) > 6 else "")
