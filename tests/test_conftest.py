"""The run says which engines it proves, and stops when a demanded one is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lepton_ref.engines import installed

ROOT = Path(__file__).parent.parent


def collect(required: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "tests/test_conftest.py"]
    environment = os.environ | {"LEPTON_REQUIRE_ENGINES": required}
    environment.pop("PYTEST_ADDOPTS", None)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_demanded_engine_that_is_missing_stops_the_run() -> None:
    done = collect("numpy,caffe")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "caffe cannot be imported here, and LEPTON_REQUIRE_ENGINES" in done.stderr


def test_the_header_names_the_engines_that_run() -> None:
    done = collect(" ".join(installed()))
    assert done.returncode == 0
    found = ", ".join(f"{name} {metadata.version(name)}" for name in installed())
    assert f"lepton engines: {found}" in done.stdout


def test_the_fixture_makes_each_engine_the_active_one(engine) -> None:
    import lepton_ref

    assert lepton_ref.engine() is engine
