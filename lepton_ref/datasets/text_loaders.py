"""From verified bytes to texts and their labels: one small function per data set.

Texts come as object arrays of ``str``, so that a long review does not widen every other.
"""

from __future__ import annotations

import csv
import io
import re

import numpy as np

from lepton_ref.datasets.idx import decompress
from lepton_ref.framework.errors import DataError

Arrays = dict[str, np.ndarray]
Loaded = tuple[Arrays, tuple[str, ...]]

QUESTION_CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
QUESTIONS = 5_452  # the last lines of the file; those before them are other people's questions


def decode(content: bytes, where: str) -> str:
    """UTF-8 text of a file.

    Raises
    ------
    DataError
        Some byte is not UTF-8; the message says which.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte {error.start} is {content[error.start]:#04x}, not UTF-8 text"
        ) from None


def strings(items: list[str]) -> np.ndarray:
    """Object array (N,) of the strings."""
    out = np.empty(len(items), object)
    out[:] = items
    return out


def rows(content: bytes, where: str, columns: int) -> list[list[str]]:
    """Lines of a gzipped, tab-separated file, each split into its columns."""
    lines = decode(decompress(content, where), where).split("\n")
    table = [line.split("\t") for line in lines if line]
    for number, row in enumerate(table, 1):
        if len(row) != columns:
            raise DataError(f"{where}: line {number} has {len(row)} columns, expected {columns}")
    return table


def _graded(content: bytes, where: str) -> tuple[list[str], Arrays]:
    """Rows id, mean grade, text, below one line of names."""
    table = rows(content, where, 3)[1:]
    try:
        grades = np.array([float(row[1]) for row in table])
    except ValueError as error:
        raise DataError(f"{where}: a grade is no number ({error})") from None
    if not len(table) or not np.all(np.abs(grades) <= 4):
        raise DataError(f"{where}: expected grades from -4 to 4")
    arrays = {"texts": strings([row[2] for row in table]), "grades": grades}
    return [row[0] for row in table], arrays


def graded(contents: list[bytes], files: list[str]) -> Loaded:
    """Sentences with the mean of their grades."""
    return _graded(contents[0], files[0])[1], ()


def graded_reviews(contents: list[bytes], files: list[str]) -> Loaded:
    """The same with ids ``review_sentence``, so that a review can be kept in one part; and VADER's
    score of each sentence, one a line."""
    ids, arrays = _graded(contents[0], files[0])
    if not all(re.fullmatch(r"\d+_\d+", name) for name in ids):
        raise DataError(f"{files[0]}: expected ids of the form review_sentence, such as 12_3")
    arrays["reviews"] = np.array([int(name.split("_")[0]) for name in ids], np.int64)
    scores = rows(contents[1], files[1], 1)
    if len(scores) != len(ids):
        raise DataError(f"{files[1]}: {len(scores)} scores for {len(ids)} sentences")
    arrays["vader"] = np.array([float(row[0]) for row in scores])
    return arrays, ()


def fine_foods(contents: list[bytes], files: list[str]) -> Loaded:
    """Rows label, product, review: a training and a test part."""
    arrays: Arrays = {}
    for part, content, where in zip(("train", "test"), contents, files, strict=True):
        table = rows(content, where, 3)
        if not all(row[0] in ("0", "1") for row in table):
            raise DataError(f"{where}: expected the label 0 or 1 at the start of each line")
        arrays[f"{part}_texts"] = strings([row[2] for row in table])
        arrays[f"{part}_labels"] = np.array([int(row[0]) for row in table], np.int64)
        arrays[f"{part}_products"] = strings([row[1] for row in table])
    return arrays, ("other", "great")


def zh_reviews(contents: list[bytes], files: list[str]) -> Loaded:
    """Two files, one review a line, as they are: the negative ones first."""
    parts = [
        decode(decompress(content, where), where).rstrip("\n").split("\n")
        for content, where in zip(contents, files, strict=True)
    ]
    labels = np.repeat([0, 1], [len(part) for part in parts]).astype(np.int64)
    return {"texts": strings(parts[0] + parts[1]), "labels": labels}, ("negative", "positive")


def sms_spam(contents: list[bytes], files: list[str]) -> Loaded:
    """CSV whose quotation marks swallowed some messages together with their labels.

    4,837 rows; a text that holds a line ``ham<tab>...`` or ``spam<tab>...`` is several messages.
    """
    text = decode(decompress(contents[0], files[0]), files[0])
    texts: list[str] = []
    labels: list[int] = []
    for number, row in enumerate(csv.reader(io.StringIO(text))):
        if len(row) != 3 or (number and row[1] not in ("0", "1")):
            raise DataError(f"{files[0]}: row {number} is not an id, the label 0 or 1, and a text")
        if number:
            first, *others = re.split(r"\n(ham|spam)\t", row[2])
            texts += [first, *others[1::2]]
            labels += [int(row[1]), *(int(name == "spam") for name in others[::2])]
    return {"texts": strings(texts), "labels": np.array(labels, np.int64)}, ("ham", "spam")


def trec(contents: list[bytes], files: list[str]) -> Loaded:
    """The last 5,452 lines ``KIND:finer question``."""
    lines = decode(contents[0], files[0]).rstrip("\n").split("\n")[-QUESTIONS:]
    pairs = [line.partition(" ") for line in lines]
    fine = [name for name, _, _ in pairs]
    coarse = [name.partition(":")[0] for name in fine]
    if set(coarse) != set(QUESTION_CLASSES):
        raise DataError(f"{files[0]}: expected the kinds {', '.join(QUESTION_CLASSES)}")
    names = sorted(set(fine))
    arrays = {
        "texts": strings([question for _, _, question in pairs]),
        "labels": np.array([QUESTION_CLASSES.index(name) for name in coarse], np.int64),
        "fine_labels": np.array([names.index(name) for name in fine], np.int64),
        "fine_classes": strings(names),
    }
    return arrays, QUESTION_CLASSES
