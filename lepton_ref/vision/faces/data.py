"""Who is learned from, who sets the threshold, who is tested: people dealt out, not pictures.

A split of *pictures* would put the same person on both sides, and a network would be tested on
people that it knows. Verification is about people that nobody knew when the network was trained.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lepton_ref.framework.arguments import rectangular
from lepton_ref.framework.errors import ArgumentError


class IdentityFold(NamedTuple):
    """One division of the people, as sorted row numbers of their pictures.

    Attributes
    ----------
    train, validation, test : ndarray, int64
        Rows of the pictures; no person stands in two of them.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def identity_folds(
    subjects: Any, rng: np.random.Generator, folds: int = 5, validation: int = 4
) -> list[IdentityFold]:
    """Deal the people into `folds` parts; each part is the test of one division.

    Parameters
    ----------
    subjects : int array (N,)
        Whose picture each row is.
    rng : numpy.random.Generator
        Draws the order of the people.
    folds : int
        Number of divisions. Each person is tested in exactly one of them.
    validation : int
        How many people of each division are neither trained on nor tested; the threshold is
        chosen on them. They are taken from the part that is tested in the next division.

    Returns
    -------
    list of IdentityFold

    Raises
    ------
    ArgumentError
        When `subjects` is not one whole number per row, there are fewer people than folds, or
        too few are left to train on.
    """
    where = "identity_folds"
    subjects = rectangular(where, "subjects", subjects)
    if subjects.ndim != 1 or subjects.dtype.kind not in "iu":
        raise ArgumentError(
            where, "subjects", f"dtype {subjects.dtype} and shape {subjects.shape}",
            "one whole number for each picture",
        )  # fmt: skip
    people = np.unique(subjects)
    if len(people) < 2:
        raise ArgumentError(where, "subjects", f"{len(people)} people", "at least two")
    if type(folds) is not int or not 2 <= folds <= len(people):
        raise ArgumentError(where, "folds", f"the value {folds!r}", f"2 to {len(people)} people")
    smallest = len(people) // folds
    if type(validation) is not int or not 1 <= validation <= smallest:
        raise ArgumentError(
            where, "validation", f"the value {validation!r}",
            f"1 to {smallest} people, so that the part of one division has them",
        )  # fmt: skip
    if folds == 2 and len(people) - smallest - validation < 2:
        raise ArgumentError(where, "validation", f"the value {validation}", "two people to train")
    parts = np.array_split(rng.permutation(people), folds)
    divisions = []
    for i, tested in enumerate(parts):
        held = parts[(i + 1) % folds][:validation]
        trained = np.setdiff1d(people, np.concatenate([tested, held]))
        rows = (np.flatnonzero(np.isin(subjects, group)) for group in (trained, held, tested))
        divisions.append(IdentityFold(*rows))
    return divisions
