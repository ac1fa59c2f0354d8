"""What the functions of framework/tuning refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.tuning import (
    Levels,
    Real,
    best_of_n_probability,
    cost,
    draws_needed,
    expected_best,
    expected_distance,
    expected_improvement,
    expected_maximum,
    grid,
    hyperband_brackets,
    parzen,
    promote,
    rungs,
    safe_envelope,
    sample,
    selection_bias,
    setting_at,
    tpe_suggest,
    unit_point,
)
from tests.framework.tuning_tools import SPACE


def rng0():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Real(1, 1), "`high` has the value 1; expected above low"),
        (lambda: Real(0, 1, log=True), "`low` has the value 0; expected above 0"),
        (lambda: Real(math.nan, 1), "`low` has the value nan"),
        (lambda: Real(0, "1"), "`high` has the value '1'"),
        (lambda: Real(0, 1).unit(2), r"the value 2; expected a number in \[0, 1\]"),
        (lambda: Levels(()), "`values`"),
        (lambda: Levels(5), "`values` has 5"),
        (lambda: Levels((1, 2, 1)), "1 twice"),
        (lambda: Levels((1, 2)).unit(3), "one of 1, 2"),
        (lambda: sample({}, 3, rng0()), "`space` has no entry"),
        (lambda: sample([1], 3, rng0()), "`space` has type list"),
        (lambda: sample({"lr": (0, 1)}, 3, rng0()), r"`space\['lr'\]` has type tuple"),
        (lambda: sample(SPACE, 0, rng0()), "`n` has the value 0"),
        (lambda: sample(SPACE, 3, 0), "`rng` has type int"),
        (lambda: setting_at(SPACE, [0.5, 0.5]), r"`u` .* expected 3 numbers in \[0, 1\]"),
        (lambda: setting_at(SPACE, [0.5, 0.5, 1.5]), "`u`"),
        (lambda: unit_point(SPACE, {"lr": 0.1}), "`setting` has the names lr; expected lr, drop"),
        (lambda: grid(SPACE, 0), r"`sizes\['lr'\]` has the value 0"),
        (lambda: grid(SPACE, 4), r"`sizes\['hidden_size'\]` has the value 4; expected at most 3"),
        (lambda: grid(SPACE, {"lr": 2}), "`sizes` has the names lr"),
        (lambda: best_of_n_probability(0, 0.1), "`n`"),
        (lambda: best_of_n_probability(3, 1.0), "`top` has the value 1.0"),
        (lambda: draws_needed(1, 0.1), "`probability` has the value 1"),
        (lambda: draws_needed(0.9, True), "`top` has the value True"),
        (lambda: expected_distance(0), "`n`"),
        (lambda: expected_maximum(2.5), "`n` has the value 2.5"),
        (lambda: expected_maximum(2, -1), "`deviation`"),
        (lambda: expected_maximum(2, 1, 1.0), r"`correlation` .* expected a number in \[0, 1\)"),
        (lambda: selection_bias(0, 0.0), "`n`"),
        (lambda: selection_bias(2, math.inf), "`noise`"),
        (lambda: selection_bias(2, 1, -1), "`spread`"),
        (lambda: expected_best([1.0, 2.0], 3), "`n` has the value 3; expected at most the 2"),
        (lambda: expected_best([], 1), "`losses`"),
        (lambda: expected_best([math.nan], 1), "without NaN"),
        (lambda: parzen(np.zeros(3)), r"`points` has shape \(3,\)"),
        (lambda: parzen(np.full((2, 1), 1.5)), "`points`"),
        (lambda: expected_improvement(1.0, 1.0, 1.0), "`gamma` has the value 1.0"),
        (lambda: expected_improvement(0.0, 1.0, 0.5), "expected l > 0 and g >= 0"),
        (lambda: tpe_suggest(SPACE, [], [1.0], rng0()), "`losses` has 1 numbers"),
        (lambda: tpe_suggest(SPACE, [], [], None), "`rng`"),
        (lambda: tpe_suggest(SPACE, [], [], rng0(), gamma=0), "`gamma`"),
        (lambda: tpe_suggest(SPACE, [], [], rng0(), candidates=0), "`candidates`"),
        (lambda: tpe_suggest(SPACE, [], [], rng0(), startup=0), "`startup`"),
        (lambda: rungs(0, 1, 1), "`n`"),
        (lambda: rungs(3, 0, 1), "`resource`"),
        (lambda: rungs(3, 2, 1), "`largest` has the value 1; expected a whole number >= 2"),
        (lambda: rungs(3, 1, 9, 1), "`factor`"),
        (lambda: cost([]), "`schedule` has no rung"),
        (lambda: hyperband_brackets(0), "`largest`"),
        (lambda: hyperband_brackets(9, 1), "`factor`"),
        (lambda: promote(1.0, [], 1), "`factor`"),
        (lambda: safe_envelope([1.0], 1), "`losses`"),
        (lambda: safe_envelope([1.0, 2.0], 0), "`keep`"),
        (lambda: safe_envelope([1.0, 2.0], 2), "`keep` has the value 2; expected below 2"),
    ],
)  # fmt: skip
def test_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
