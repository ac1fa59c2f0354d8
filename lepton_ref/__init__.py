"""Lepton: the reference implementation behind the book.

Every layer, model and loss is written once against a small surface of operators that three
engines implement: NumPy (the default), MXNet and PyTorch. ``import lepton_ref`` loads NumPy
and nothing else; the chapters ``framework``, ``vision``, ``text``, ``recsys``, ``explain``
and ``cloud`` load when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from lepton_ref import _startup  # noqa: F401  (before anything that loads NumPy)
from lepton_ref.engines import engine, use
from lepton_ref.framework.errors import (
    ArgumentError,
    DataError,
    EngineError,
    ModelFileError,
    NonFiniteError,
)

__version__ = "0.1.0"

_CHAPTERS = ("framework", "vision", "text", "recsys", "explain", "cloud", "datasets", "engines")

# name -> module that defines it; loaded at first use.
_LAZY = {
    "CNN": "lepton_ref.vision.classification",
    "RNN": "lepton_ref.text.sentiment",
    "Classifier": "lepton_ref.text.sentiment",
    "preprocess": "lepton_ref.text.sentiment",
    "CollaborativeFiltering": "lepton_ref.recsys.neighbours",
    "MatrixFactorization": "lepton_ref.recsys.factorization",
    "RecommenderSystem": "lepton_ref.recsys.system",
    "load_model": "lepton_ref.framework.models",
    "save": "lepton_ref.framework.models",
    "load": "lepton_ref.datasets",
    "record": "lepton_ref.framework.evaluation",
    "check": "lepton_ref.framework.evaluation",
    "report": "lepton_ref.framework.evaluation",
}

__all__ = [
    "ArgumentError",
    "DataError",
    "EngineError",
    "ModelFileError",
    "NonFiniteError",
    "engine",
    "use",
    *_LAZY,
    *_CHAPTERS,
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _CHAPTERS:
        return importlib.import_module(f"lepton_ref.{name}")
    raise AttributeError(f"module 'lepton_ref' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
