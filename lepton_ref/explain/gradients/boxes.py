"""What is explained: a white box, a black box, and how each of them is asked.

A *white box* is called with an engine's array and can be differentiated; a *black box* is a
function of NumPy arrays, and :func:`black_box` makes one of a white box.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.framework.arguments import real_array, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Layer


class BlackBox:
    """A model as a function of NumPy arrays: (M, *shape) -> float64 (M, K) or (M,).

    Attributes
    ----------
    E : Engine or None
        None for a function that computes with NumPy arrays itself.
    """

    def __init__(self, model: Callable[[Any], Any], batch_size: int, E: Any) -> None:
        self.model, self.batch_size, self._engine = model, batch_size, E

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Outputs of all rows, computed ``batch_size`` at a time; nothing is recorded.

        A model of as many examples as there are rows is asked for each batch's own examples.
        """
        x = np.asarray(x)
        if self.batch_size < len(x) == getattr(self.model, "num_examples", None):
            return self.of(x, np.arange(len(x)))
        parts = [
            self._run(x[i : i + self.batch_size]) for i in range(0, max(len(x), 1), self.batch_size)
        ]
        return np.concatenate(parts)

    def _run(self, x: np.ndarray) -> np.ndarray:
        if self._engine is None:
            return _outputs(self.model(x), len(x))
        with self._engine.no_grad():
            y = self.model(self._engine.array(x, model_dtype(self.model, x)))
            return _outputs(self._engine.asnumpy(y), len(x))

    def of(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Outputs of versions of several examples: row i is one of the example ``rows[i]``."""
        if getattr(self.model, "select", None) is None:
            return self(x)
        step = self.batch_size  # each batch must know whose rows it holds
        parts = [slice(i, i + step) for i in range(0, max(len(x), 1), step)]
        return np.concatenate([self.select(rows[part])(x[part]) for part in parts])

    def select(self, rows: Any) -> BlackBox:
        """As :func:`select`."""
        return BlackBox(select(self.model, rows), self.batch_size, self._engine)


def black_box(model: Any, batch_size: int = 256, engine: str | Engine | None = None) -> BlackBox:
    """A model as a function of NumPy arrays, evaluated in batches without a gradient.

    Parameters
    ----------
    model : Layer, white box or function
        What has an attribute ``E`` runs on that engine, a ``torch.nn.Module`` on torch; a
        function with ``engine`` given runs on it; a function without is called with NumPy arrays.
    batch_size : int
        Rows at a time.
    engine : str or Engine, optional

    Returns
    -------
    BlackBox
        ndarray (M, *shape) -> float64 ndarray (M, K) or (M,).

    Raises
    ------
    ArgumentError
        For what cannot be called, a torch module in training mode, or a batch size below one;
        when called, for outputs that are not one row of numbers
        for each row of the input.
    """
    check_model("black_box", model, batch_size)
    if isinstance(model, BlackBox):
        return model
    own = _own_engine(model)
    if engine is not None:
        own = engine if isinstance(engine, Engine) else lepton_ref.engine(engine)
    return BlackBox(model, batch_size, own)


def _outputs(y: Any, n: int) -> np.ndarray:
    """What a model returned as float64, a row for each row of the input."""
    found = real_array("black_box", "model's outputs", y)
    if found.ndim not in (1, 2) or len(found) != n:
        got = f"outputs of shape {found.shape} for {n} rows"
        raise ArgumentError("black_box", "model", got, f"({n}, K) or ({n},)")
    return found


def _is_torch(model: Any) -> bool:
    """Whether it is a ``torch.nn.Module``, told without importing torch."""
    return any(
        c.__module__ == "torch.nn.modules.module" and c.__name__ == "Module"
        for c in type(model).__mro__
    )


def _own_engine(model: Any) -> Any:
    own = getattr(model, "E", None)
    return lepton_ref.engine("torch") if own is None and _is_torch(model) else own


def check_model(where: str, model: Any, batch_size: int = 1) -> None:
    """Refuse what cannot be called, what would answer otherwise the next time, and no rows.

    Raises
    ------
    ArgumentError
    """
    if not callable(model):
        raise ArgumentError(where, "model", f"type {type(model).__name__}", "a callable")
    if _is_torch(model):
        for part in model.modules():
            if part.training:
                got = f"a {type(part).__name__} in training mode"
                raise ArgumentError(where, "model", got, "a module after its eval()")
    whole(where, batch_size=batch_size)


def engine_of(model: Any, engine: str | Engine | None = None) -> Any:
    """The engine of a white box: the one given, its own, or the active one."""
    if engine is not None:
        return engine if isinstance(engine, Engine) else lepton_ref.engine(engine)
    own = _own_engine(model)
    return lepton_ref.engine() if own is None else own


def select(model: Any, rows: Any) -> Any:
    """The model for a batch whose row i is the example ``rows[i]``.

    Most models treat all rows alike and come back as they are. One that carries something for
    each example (the mask of a text) has a method ``select(rows)``; explainers that repeat,
    skip or reorder examples call this, so that each row meets its own mask.
    """
    method = getattr(model, "select", None)
    return model if method is None else method(np.asarray(rows))


def model_dtype(model: Any, x: np.ndarray) -> str:
    """The dtype a model computes in: that of its weights, or of ``x`` for a plain function."""
    said = getattr(model, "dtype", None)
    if isinstance(said, str):
        return said
    if isinstance(model, Layer):
        for array in model.parameters().values():
            return str(model.E.asnumpy(array).dtype)
    if _is_torch(model):
        for weights in model.parameters():
            return str(weights.dtype).removeprefix("torch.")
    return "float64" if np.asarray(x).dtype == np.float64 else "float32"
