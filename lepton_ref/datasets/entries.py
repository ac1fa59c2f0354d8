"""What the catalog says about one data set: an entry, and the files that it consists of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Member:
    """One file of a data set.

    Attributes
    ----------
    path : str
        Path inside the package (or inside ``files/<name>`` for a shipped data set).
    sha256 : str
        SHA-256 of the file as it lies there, in hexadecimal.
    size : int
        Its length in bytes.
    """

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Entry:
    """What the catalog knows about one data set.

    Attributes
    ----------
    name : str
        The name for :func:`lepton_ref.datasets.load`.
    title : str
        One line for people.
    source, version : str
        The package that bears the files and its exact version.
    members : tuple of Member
        The files inside.
    licence : str
        Licence of the data themselves.
    citation : str
        The paper or page to cite.
    arrays : dict
        Array name -> what it holds: dtype, shape and unit.
    shipped : bool
        Whether the files stand inside this package.
    archive, archive_sha256, archive_size : str, str, int
        File name, SHA-256 and bytes of the wheel or sdist (empty for a shipped data set).
    """

    name: str
    title: str
    source: str
    version: str
    members: tuple[Member, ...]
    licence: str
    citation: str
    arrays: dict[str, str]
    shipped: bool = False
    archive: str = ""
    archive_sha256: str = ""
    archive_size: int = 0

    @property
    def size(self) -> int:
        """Bytes of all members together."""
        return sum(member.size for member in self.members)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the members below the innermost folder that holds them all."""
        paths = [PurePosixPath(member.path) for member in self.members]
        common = next(
            folder for folder in paths[0].parents if all(p.is_relative_to(folder) for p in paths)
        )
        return tuple(str(path.relative_to(common)) for path in paths)
