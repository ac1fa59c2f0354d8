"""Three engines behind one surface: NumPy (reference), MXNet and PyTorch.

``engine("torch")`` gives one; ``use("torch")`` makes it the one that layers, models and
losses take when none is named, until another ``use`` or, as a context manager, until the end
of the block. The environment variables ``LEPTON_ENGINE`` and ``LEPTON_DEVICE`` choose the
first one.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os

from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import EngineError

_CLASSES = {"numpy": "NumPyEngine", "mxnet": "MXNetEngine", "torch": "TorchEngine"}
_active: Engine | None = None

#: The names of all engines, installed or not.
NAMES = tuple(_CLASSES)


def installed() -> list[str]:
    """The engines whose library is installed here, the reference engine first."""
    return [name for name in NAMES if importlib.util.find_spec(name) is not None]


def _make(name: str, device: str) -> Engine:
    if name not in _CLASSES:
        close = difflib.get_close_matches(str(name), NAMES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise EngineError(f"unknown engine {name!r}; there are {', '.join(NAMES)}.{hint}")
    if device not in ("cpu", "gpu"):
        raise EngineError(f"unknown device {device!r}; there are 'cpu' and 'gpu'")
    if importlib.util.find_spec(name) is None:
        raise EngineError(
            f"engine {name!r} is not installed: pip install 'lepton-ref[{name}]'. "
            f"Installed here: {', '.join(installed())}"
        )
    module = importlib.import_module(f"lepton_ref.engines.{name}")
    return getattr(module, _CLASSES[name])(device)


def engine(name: str | None = None, device: str = "cpu") -> Engine:
    """The surface of one engine, without making it the active one.

    Parameters
    ----------
    name : {"numpy", "mxnet", "torch"}, optional
        Without it, the active engine.
    device : {"cpu", "gpu"}

    Raises
    ------
    EngineError
        For an unknown or absent engine, or a GPU that is not there.
    """
    global _active
    if name is not None:
        return _make(name, device)
    if _active is None:
        _active = _make(
            os.environ.get("LEPTON_ENGINE", "numpy"), os.environ.get("LEPTON_DEVICE", "cpu")
        )
    return _active


def use(name: str, device: str = "cpu") -> Engine:
    """Make an engine the active one.

    As a statement it holds until the next call; as ``with use(...) as E:`` until the end of
    the block. Parameters and errors as in :func:`engine`.
    """
    global _active
    chosen = _make(name, device)
    chosen._before, _active = _active, chosen
    return chosen


def _restore(before: Engine | None) -> None:
    global _active
    _active = before
