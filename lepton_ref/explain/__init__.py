"""Explanations: gradients, perturbation, Shapley values, attention, and whether they are true."""

from __future__ import annotations

import importlib
from typing import Any

# name -> page that defines it; loaded at first use.
_PAGES: dict[str, tuple[str, ...]] = {
    "gradients": (
        "Attribution",
        "saliency",
        "gradient_x_input",
        "smoothgrad",
        "integrated_gradients",
        "deeplift",
        "guided_backpropagation",
        "grad_cam",
    ),
    "perturbation": ("occlusion", "lime", "counterfactual"),
    "shapley": ("exact_shapley", "permutation_shapley", "kernel_shap"),
    "attention": ("attention_weights", "attention_rollout"),
    "evaluation": (
        "deletion_curve",
        "insertion_curve",
        "infidelity",
        "max_sensitivity",
        "randomisation_test",
        "edge_detector",
        "random_attribution",
        "report",
        "ImageView",
        "ReviewView",
        "PatientView",
        "RecommendationView",
    ),
}
_LAZY = {name: page for page, names in _PAGES.items() for name in names}

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"lepton_ref.explain.{_LAZY[name]}"), name)
    if name in _PAGES:
        return importlib.import_module(f"lepton_ref.explain.{name}")
    raise AttributeError(f"module 'lepton_ref.explain' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_LAZY) | set(_PAGES))
