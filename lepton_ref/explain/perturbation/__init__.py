"""Explanations of a black box: cover it, draw a plane through it, or change what it decides on."""

from lepton_ref.explain.perturbation.coalitions import Game, patches
from lepton_ref.explain.perturbation.counterfactual import counterfactual
from lepton_ref.explain.perturbation.least_squares import Line, ridge
from lepton_ref.explain.perturbation.lime import (
    cosine_distance,
    draw_masks,
    lime,
    proximity,
)
from lepton_ref.explain.perturbation.occlusion import occlusion, windows
from lepton_ref.explain.perturbation.search import deviations

__all__ = [
    "Game",
    "Line",
    "cosine_distance",
    "counterfactual",
    "deviations",
    "draw_masks",
    "lime",
    "occlusion",
    "patches",
    "proximity",
    "ridge",
    "windows",
]
