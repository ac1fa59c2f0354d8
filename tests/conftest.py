"""Fixtures of every test: the engines that are installed, seeded randomness, proofs.

``LEPTON_REQUIRE_ENGINES=numpy,mxnet,torch`` makes the run fail at once when one of them
is missing; without it, what is installed is what gets proven, and the header says so.
"""

from __future__ import annotations

import os
from importlib import metadata

import numpy as np
import pytest

import lepton_ref
import lepton_ref.engines

pytest_plugins = ["pytester", "tests.ledger"]


def pytest_configure(config: pytest.Config) -> None:
    wanted = os.environ.get("LEPTON_REQUIRE_ENGINES", "").replace(",", " ").split()
    missing = [name for name in wanted if name not in lepton_ref.engines.installed()]
    if missing:
        raise pytest.UsageError(
            f"{', '.join(missing)} cannot be imported here, and LEPTON_REQUIRE_ENGINES (which "
            "`make ledger` sets to all three) asks for it; `make torch` brings PyTorch"
        )


def pytest_report_header() -> str:
    found = [f"{name} {metadata.version(name)}" for name in lepton_ref.engines.installed()]
    return "lepton engines: " + ", ".join(found)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        already = any(
            "engine" in str(mark.args[0]).replace(" ", "").split(",")
            for mark in metafunc.definition.iter_markers("parametrize")
        )
        if not already:
            metafunc.parametrize("engine", lepton_ref.engines.installed(), indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest):
    """Each installed engine in turn; also the active one while the test runs."""
    with lepton_ref.use(request.param) as chosen:
        yield chosen


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, fresh in each test."""
    return np.random.default_rng(20160801)
