"""Data, from raw rows to batches: clean, de-duplicate, scale, augment, split.

Everything is NumPy on the CPU and takes its randomness from a generator, so the engines see
the same rows in the same order. Derivations: the book's page *Data*.
"""

from lepton_ref.framework.data.augment import random_erasing, random_flip, random_shift
from lepton_ref.framework.data.checks import (
    Cleaned,
    check_finite,
    check_labels,
    check_lengths,
    clean,
)
from lepton_ref.framework.data.duplicates import (
    connected,
    deduplicate,
    duplicate_groups,
    fingerprints,
    near_duplicates,
    normalise_content,
)
from lepton_ref.framework.data.features import cyclical, impute, one_hot, smooth_idf
from lepton_ref.framework.data.scaling import MinMax, Standardizer, merge, moments
from lepton_ref.framework.data.splits import (
    Split,
    batches,
    k_fold,
    largest_remainder,
    train_validation_test_split,
)

__all__ = [
    "Cleaned",
    "MinMax",
    "Split",
    "Standardizer",
    "batches",
    "check_finite",
    "check_labels",
    "check_lengths",
    "clean",
    "connected",
    "cyclical",
    "deduplicate",
    "duplicate_groups",
    "fingerprints",
    "impute",
    "k_fold",
    "largest_remainder",
    "merge",
    "moments",
    "near_duplicates",
    "normalise_content",
    "one_hot",
    "random_erasing",
    "random_flip",
    "random_shift",
    "smooth_idf",
    "train_validation_test_split",
]
