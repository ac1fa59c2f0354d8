"""One set of lines, in Python and compiled: the same sums."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lepton_ref.framework import compiled as module
from lepton_ref.framework.compiled import compiled


@compiled
def recurrence(x, rate):
    """A loop in which each step needs the one before."""
    state = 0.0
    out = np.empty_like(x)
    for t in range(len(x)):
        state += rate * (x[t] - state)
        out[t] = state
    return out


def test_the_compiled_loop_gives_the_sums_of_the_written_one(rng):
    x = rng.normal(size=1000)
    np.testing.assert_array_equal(recurrence(x, 0.1), recurrence.python(x, 0.1))


def test_numba_did_compile_it(rng):
    pytest.importorskip("numba")
    fresh = compiled(recurrence.python)
    fresh(rng.normal(size=3), 0.5)
    assert fresh._fast is not fresh.python and fresh._fast.signatures


def test_without_numba_the_written_loop_runs(rng, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    fresh = compiled(recurrence.python)
    x = rng.normal(size=5)
    np.testing.assert_array_equal(fresh(x, 0.5), recurrence.python(x, 0.5))
    assert fresh._fast is fresh.python


def test_it_keeps_name_and_docstring_and_loads_numba_only_when_called():
    assert recurrence.__name__ == "recurrence" and "each step" in recurrence.__doc__
    assert compiled(recurrence.python)._fast is None
    code = (
        "import sys; from lepton_ref.framework.compiled import compiled; compiled(abs); "
        "import lepton_ref.recsys.factorization; sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
