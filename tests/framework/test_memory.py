"""The memory policy: told where it can be, silent elsewhere, and switched off on request."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lepton_ref.framework import memory

FAULTS = """
import resource
import numpy as np
from lepton_ref.framework.memory import keep_freed_memory
if {told}:
    assert keep_freed_memory()
def step():
    kept = [np.ones(400_000, np.float32) for _ in range(20)]  # 32 MB
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(told: bool) -> int:
    script = FAULTS.format(told=told)
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return int(out.stdout)


def test_freed_memory_is_used_again():
    if not memory.keep_freed_memory():
        pytest.skip("another C library")
    assert faults(told=True) < 100 < faults(told=False)


@pytest.mark.parametrize("name", ["LEPTON_KEEP_MEMORY", "MALLOC_TRIM_THRESHOLD_"])
def test_the_environment_has_the_last_word(name, monkeypatch):
    monkeypatch.setenv(name, "0")
    assert memory.keep_freed_memory() is False


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_other_c_libraries_are_left_alone(error, monkeypatch):
    def missing(name):
        raise error("no mallopt here")

    monkeypatch.setattr(memory.ctypes, "CDLL", missing)
    assert memory.keep_freed_memory() is False
