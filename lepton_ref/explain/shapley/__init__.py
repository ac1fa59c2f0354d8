"""Shapley values: exact, by random orders, and by weighted least squares."""

from lepton_ref.explain.shapley.behaviour import RatedItems
from lepton_ref.explain.shapley.exact import (
    coalitions,
    dividends,
    exact_shapley,
    shapley_value,
    shapley_weights,
)
from lepton_ref.explain.shapley.kernel import (
    estimate,
    kernel_shap,
    kernel_weights,
    plan,
    solve_constrained,
)
from lepton_ref.explain.shapley.permutation import marginals, permutation_shapley

__all__ = [
    "RatedItems",
    "coalitions",
    "dividends",
    "estimate",
    "exact_shapley",
    "kernel_shap",
    "kernel_weights",
    "marginals",
    "permutation_shapley",
    "plan",
    "shapley_value",
    "shapley_weights",
    "solve_constrained",
]
