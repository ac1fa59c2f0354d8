"""What the tests of framework/tuning share: a space, and Optuna as an oracle."""

from __future__ import annotations

import pytest

from lepton_ref.framework.tuning import Levels, Real

SPACE = {
    "lr": Real(1e-4, 1e-1, log=True),
    "dropout": Real(0.0, 0.5),
    "hidden_size": Levels((16, 32, 64)),
}


def optuna():
    """Optuna comes with the extra `cloud`; every equation has an oracle beside it."""
    found = pytest.importorskip("optuna")
    found.logging.set_verbosity(found.logging.ERROR)
    return found
