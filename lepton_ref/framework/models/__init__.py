"""Saved models: one file, no code in it, found by name, loaded on any engine.

    save(model, "models/mlp", {"recipe": "...", "data": data.sha256, "figures": {...}})
    model = load_model("mlp", path="models")

Derivations, and why not pickle: the book's page *Models*.
"""

from lepton_ref.framework.models.registry import MODELS, Model, register
from lepton_ref.framework.models.storage import (
    available,
    find,
    folders,
    load_model,
    read_description,
    save,
)

__all__ = [
    "MODELS",
    "Model",
    "available",
    "find",
    "folders",
    "load_model",
    "read_description",
    "register",
    "save",
]
