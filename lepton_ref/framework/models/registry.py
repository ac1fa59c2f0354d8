"""Which classes a model file may name: those that were registered, and no others.

A file names its class by a string. Turning strings into classes is where a loader becomes a
way to run anything, so the string is looked up in a table and never imported or evaluated.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from lepton_ref.framework.errors import ArgumentError, ModelFileError
from lepton_ref.framework.layers import LAYER_CLASSES, Layer


@runtime_checkable
class Model(Protocol):
    """What can be saved: anything that hands out its arrays and its constructor's arguments."""

    def state(self) -> dict[str, np.ndarray]:
        """Copies of all arrays by name."""

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Overwrite all arrays."""

    def config(self) -> dict[str, Any]:
        """Constructor arguments, as JSON can hold them."""


MODELS: dict[str, type] = {}

# Models of this package -> the module that registers them, imported when a file names them.
HOMES = {
    "CNN": "lepton_ref.vision.classification",
    "AttentionClassifier": "lepton_ref.text.attention.classifier",
    "Classifier": "lepton_ref.text.sentiment.classifier",
    "FaceCNN": "lepton_ref.vision.faces.network",
    "CollaborativeFiltering": "lepton_ref.recsys.neighbours.interests",
    "MatrixFactorization": "lepton_ref.recsys.factorization.public",
    "RNN": "lepton_ref.text.sentiment.network",
    "TextClassifier": "lepton_ref.text.classification",
}

T = TypeVar("T", bound=type)


def register(cls: T) -> T:
    """Class decorator: files may name this class.

    Raises
    ------
    ArgumentError
        The class cannot be saved, or another class of another module has its name.
    """
    missing = [name for name in ("state", "load_state", "config") if not hasattr(cls, name)]
    if missing:
        raise ArgumentError(
            "register", "cls", f"no {', '.join(missing)}", "state(), load_state() and config()"
        )
    name = cls.__name__
    known = MODELS.get(name) or LAYER_CLASSES.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (
        cls.__module__,
        cls.__qualname__,
    ):
        raise ArgumentError(
            "register", "cls", f"the name {name}", f"a name that {known.__module__} does not use"
        )
    MODELS[name] = cls
    if issubclass(cls, Layer):  # it may also stand inside another model's configuration
        LAYER_CLASSES[name] = cls
    return cls


def resolve(name: Any, where: str) -> type:
    """The registered class of this name; the plain layers are registered too.

    Raises
    ------
    ModelFileError
        No such class is registered.
    """
    if isinstance(name, str) and name in HOMES and name not in MODELS:
        importlib.import_module(HOMES[name])
    found = MODELS.get(name) or LAYER_CLASSES.get(name) if isinstance(name, str) else None
    if found is None:
        raise ModelFileError(
            f"{where}: it holds a {name}, and no class of that name is registered; import the "
            "module that defines it first, with `@register` on the class"
        )
    return found
