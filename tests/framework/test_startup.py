"""What the package settles before NumPy is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRINT = "import os, lepton_ref; print(os.environ['OPENBLAS_THREAD_TIMEOUT'])"


@pytest.mark.parametrize("given, found", [(None, "20"), ("26", "26")])
def test_blas_threads_do_not_spin_for_long_unless_told_to(given, found):
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_THREAD_TIMEOUT"}
    if given is not None:
        environment["OPENBLAS_THREAD_TIMEOUT"] = given
    out = subprocess.run(
        [sys.executable, "-c", PRINT], env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == found


def test_it_comes_before_numpy():
    """The package's first import is the one that settles it."""
    script = (
        "import builtins, os, sys\n"
        "real = builtins.__import__\n"
        "def watch(name, *args, **kwargs):\n"
        "    if name == 'numpy' and 'numpy' not in sys.modules:\n"
        "        assert 'OPENBLAS_THREAD_TIMEOUT' in os.environ\n"
        "    return real(name, *args, **kwargs)\n"
        "builtins.__import__ = watch\n"
        "import lepton_ref\n"
        "assert 'numpy' in sys.modules\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_THREAD_TIMEOUT"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
