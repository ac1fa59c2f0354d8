"""Data sets of ratings: their entries, and how bytes become arrays."""

from __future__ import annotations

import re

import numpy as np

from lepton_ref.datasets.entries import Entry, Member
from lepton_ref.datasets.text_loaders import Loaded, decode, strings
from lepton_ref.framework.errors import DataError

GENRES = (
    *("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary"),
    *("Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi"),
    *("Thriller", "War", "Western"),
)
_COUNTS = {"ratings": 100_000, "films": 1_682, "people": 943}

MOVIELENS_100K = Entry(
    name="movielens-100k",
    title="MovieLens 100K: 100,000 ratings of 1,682 films by 943 people, 1997 to 1998",
    source="recbole",
    version="1.2.1",
    members=(
        Member(
            "recbole/dataset_example/ml-100k/ml-100k.inter",
            "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
            1_979_230,
        ),
        Member(
            "recbole/dataset_example/ml-100k/ml-100k.item",
            "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
            66_632,
        ),
        Member(
            "recbole/dataset_example/ml-100k/ml-100k.user",
            "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
            22_697,
        ),
    ),
    licence="research use; redistribution not permitted (GroupLens), so fetched, never shipped",
    citation=(
        "Harper, Konstan (2015). The MovieLens Datasets: History and Context. ACM Transactions on "
        "Interactive Intelligent Systems 5(4)"
    ),
    arrays={
        "users": "int64 (100000,), who rated, 1 to 943",
        "items": "int64 (100000,), which film, 1 to 1682",
        "ratings": "int64 (100000,), 1 to 5 stars",
        "times": "int64 (100000,), seconds since 1970",
        "item_ids": "int64 (1682,), numbers of the films",
        "titles": "str (1682,), their titles without the year",
        "years": "int64 (1682,), years of release, 0 where unknown",
        "genres": "bool (1682, 18), which genres a film has; the classes are their names",
        "user_ids": "int64 (943,), numbers of the people",
        "ages": "int64 (943,), years",
        "occupations": "str (943,), as they chose from a list",
    },
    archive="recbole-1.2.1-py3-none-any.whl",
    archive_sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    archive_size=2_130_151,
)

RATINGS = (MOVIELENS_100K,)


def _table(content: bytes, where: str, names: str, count: str) -> list[list[str]]:
    """Lines of a tab-separated file below its header ``name:type``."""
    lines = decode(content, where).rstrip("\n").split("\n")
    header = [cell.partition(":")[0] for cell in lines[0].split("\t")]
    if header != names.split():
        raise DataError(f"{where}: the columns are {header}, expected {names}")
    table = [line.split("\t") for line in lines[1:]]
    for number, row in enumerate(table, 2):
        if len(row) != len(header):
            raise DataError(f"{where}: line {number} has {len(row)} columns, not {len(header)}")
    if len(table) != _COUNTS[count]:
        raise DataError(f"{where}: {len(table)} {count}, expected {_COUNTS[count]}")
    return table


def _integers(column: list[str], where: str, name: str) -> np.ndarray:
    try:
        return np.array([int(float(cell)) for cell in column], np.int64)
    except ValueError as error:
        raise DataError(f"{where}: {name} that is no number ({error})") from None


def movielens_100k(contents: list[bytes], files: list[str]) -> Loaded:
    """Three tables: ratings, films with their genres, people. Films and people by their number."""
    names = "user_id item_id rating timestamp"
    table = _table(contents[0], files[0], names, "ratings")
    columns = [
        _integers(list(c), files[0], n) for c, n in zip(zip(*table), names.split(), strict=True)
    ]
    arrays = dict(zip(("users", "items", "ratings", "times"), columns, strict=True))
    if not set(np.unique(arrays["ratings"])) <= {1, 2, 3, 4, 5}:
        raise DataError(f"{files[0]}: ratings other than 1 to 5")

    names = "item_id movie_title release_year class"
    films = sorted(_table(contents[1], files[1], names, "films"), key=lambda row: int(row[0]))
    # One title kept its year, and a note stands in the year's column.
    dated = [re.fullmatch(r"(.+) \((\d{4})\)", row[1]) for row in films]
    titles = [found[1] if found else row[1] for found, row in zip(dated, films)]
    years = [found[2] if found else row[2] for found, row in zip(dated, films)]
    years = [year if year.isdigit() else "0" for year in years]
    kinds = [set(row[3].split(" ")) for row in films]
    arrays["item_ids"] = _integers([row[0] for row in films], files[1], "item_id")
    arrays["titles"] = strings(titles)
    arrays["years"] = _integers(years, files[1], "release_year")
    arrays["genres"] = np.array([[genre in kind for genre in GENRES] for kind in kinds])

    names = "user_id age gender occupation zip_code"
    people = sorted(_table(contents[2], files[2], names, "people"), key=lambda row: int(row[0]))
    arrays["user_ids"] = _integers([row[0] for row in people], files[2], "user_id")
    arrays["ages"] = _integers([row[1] for row in people], files[2], "age")
    arrays["occupations"] = strings([row[3] for row in people])
    for column, ids in (("users", "user_ids"), ("items", "item_ids")):
        if not np.isin(arrays[column], arrays[ids]).all():
            raise DataError(f"{files[0]}: {column} that are not among the {ids}")
    return arrays, GENRES
