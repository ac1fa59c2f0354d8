"""Tuning: hyper-parameter search by grid, at random, by TPE and by successive halving.

>>> space = {"lr": Real(1e-4, 1e-1, log=True), "hidden_size": Levels((32, 64, 128))}
>>> settings, losses = [], []
>>> for _ in range(20):
...     settings.append(tpe_suggest(space, settings, losses, rng))
...     losses.append(validation_loss(**settings[-1]))

Written to be read. A search on real machines is Optuna's work, which has the same methods.
"""

from lepton_ref.framework.tuning.chance import (
    best_of_n_probability,
    draws_needed,
    expected_best,
    expected_distance,
    expected_maximum,
    selection_bias,
)
from lepton_ref.framework.tuning.halving import (
    Halving,
    Rung,
    cost,
    hyperband_brackets,
    promote,
    rungs,
    safe_envelope,
    successive_halving,
)
from lepton_ref.framework.tuning.spaces import Levels, Real, grid, sample, setting_at, unit_point
from lepton_ref.framework.tuning.tpe import Parzen, expected_improvement, parzen, tpe_suggest

__all__ = [
    "Halving",
    "Levels",
    "Parzen",
    "Real",
    "Rung",
    "best_of_n_probability",
    "cost",
    "draws_needed",
    "expected_best",
    "expected_distance",
    "expected_improvement",
    "expected_maximum",
    "grid",
    "hyperband_brackets",
    "parzen",
    "promote",
    "rungs",
    "safe_envelope",
    "sample",
    "selection_bias",
    "setting_at",
    "successive_halving",
    "tpe_suggest",
    "unit_point",
]
