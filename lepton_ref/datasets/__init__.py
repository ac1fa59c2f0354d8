"""Real data, by name: ``load("fashion-mnist")``.

Every file is checked against the SHA-256 of the catalog and every header against the arrays
that the catalog announces before an array is returned. See :mod:`lepton_ref.datasets.catalog`
for what there is, :mod:`lepton_ref.datasets.fetch` for where it comes from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lepton_ref.datasets.catalog import CATALOG, Entry, Member, entry, names
from lepton_ref.datasets.fetch import cache_dir, read_members
from lepton_ref.datasets.loaders import LOADERS

__all__ = ["CATALOG", "Dataset", "Entry", "Member", "cache_dir", "entry", "load", "names"]


@dataclass(frozen=True, repr=False)
class Dataset:
    """Arrays of one data set, reached as attributes: ``data.train_images``.

    Attributes
    ----------
    entry : Entry
        The catalog's entry: source, licence, citation, and what each array holds.
    arrays : dict of np.ndarray
        The arrays by name.
    classes : tuple of str
        Names of the classes; ``classes[label]`` is the name of a label.
    """

    entry: Entry
    arrays: dict[str, np.ndarray]
    classes: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> np.ndarray:
        if name.startswith("_") or name == "arrays":  # not yet initialised, or a protocol
            raise AttributeError(name)
        if name not in self.arrays:
            known = ", ".join(self.arrays)
            raise AttributeError(f"{self.entry.name} has no array {name!r}; it has {known}")
        return self.arrays[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.arrays]

    @property
    def sha256(self) -> str:
        """One hash for the whole data set: SHA-256 over the hashes of its files, in order."""
        joined = "".join(member.sha256 for member in self.entry.members)
        return hashlib.sha256(joined.encode()).hexdigest()

    def __repr__(self) -> str:
        lines = [f"{self.entry.title} ({self.entry.licence})"]
        lines += [f"  {name}: {text}" for name, text in self.entry.arrays.items()]
        return "\n".join(lines)


def load(name: str, path: str | Path | None = None) -> Dataset:
    """Load a data set of the catalog.

    Parameters
    ----------
    name : str
        Its name, for example ``"fashion-mnist"``; :func:`names` lists all.
    path : str or Path, optional
        A folder with the original files, read instead of the package or the cache. They are
        checked in the same way.

    Returns
    -------
    Dataset
        Fresh arrays that you may write to. dtypes and shapes: ``load(name).entry.arrays``.

    Raises
    ------
    ArgumentError
        Unknown name.
    DataError
        A file is missing, cut short, corrupted, of another version, or cannot be fetched. The
        message names the file, what is wrong and what to do; no array is returned.
    """
    found = entry(name)
    contents = read_members(found, path)
    files = [f"{found.name}: {name}" for name in found.files]
    arrays, classes = LOADERS[name](contents, files)
    return Dataset(found, arrays, classes)
