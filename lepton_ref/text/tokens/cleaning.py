"""Cleaning: what a text says stays, what carried it goes."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError

TAG = re.compile(r"</?[A-Za-z!][^<>]{0,2000}>")
URL = re.compile(r"(?:https?://|www\.)[!-~]+", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]")  # and the mark of a byte that meant nothing
INVISIBLE = re.compile(r"[\u00ad\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
SPACE = re.compile(r"\s+")
SURROGATE = re.compile(r"[\ud800-\udfff]")


def check_text(where: str, text: Any, argument: str = "text") -> str:
    """``text``, when it is a text that can be written down.

    Raises
    ------
    ArgumentError
        For bytes, for anything else that is no ``str``, and for half a surrogate pair, which
        is what bytes of another encoding become under ``errors="surrogateescape"``.
    """
    if isinstance(text, (bytes, bytearray, memoryview)):
        raise ArgumentError(
            where, argument, f"type {type(text).__name__}",
            'a str; decode it with its encoding first, as in text.decode("utf-8")',
        )  # fmt: skip
    if not isinstance(text, str):
        raise ArgumentError(where, argument, f"type {type(text).__name__}", "a str")
    if broken := SURROGATE.search(text):
        raise ArgumentError(
            where, argument, f"half a surrogate pair, U+{ord(broken[0]):04X}, at {broken.start()}",
            "text that was decoded with the encoding it was written in",
        )  # fmt: skip
    return str(text)


def clean(text: str) -> str:
    """The text without markup, addresses and control characters.

    HTML tags and addresses become spaces, entities (``&amp;``) what they stand for, characters
    that look alike one and the same (NFKC: full-width letters, ligatures, the Chinese space).
    Runs of white space become one space. Case, punctuation and emoji stay.

    Parameters
    ----------
    text : str

    Returns
    -------
    str

    Raises
    ------
    ArgumentError
        For bytes, other types and half surrogate pairs.
    """
    text = check_text("clean", text)
    text = html.unescape(TAG.sub(" ", text))
    text = unicodedata.normalize("NFKC", text)
    text = CONTROL.sub(" ", INVISIBLE.sub("", URL.sub(" ", text)))
    return SPACE.sub(" ", text).strip()


def distinct(texts: Sequence[str], labels: Any = None) -> np.ndarray:
    """Rows to keep: each text once, and none that stands in two classes.

    Texts are compared cleaned, in lower case and without white space. Of equal texts the first is
    kept; where their labels differ, none.

    Parameters
    ----------
    texts : sequence of str
    labels : int array, shape (N,), optional

    Returns
    -------
    int64 array
        Indices in rising order.

    Raises
    ------
    ArgumentError
        For another number of labels than texts.
    """
    if labels is not None and len(labels) != len(texts):
        raise ArgumentError("distinct", "labels", f"{len(labels)} labels", f"{len(texts)}")
    first: dict[str, int] = {}
    contradicted: set[str] = set()
    for i, text in enumerate(texts):
        key = "".join(clean(text).lower().split())
        known = first.setdefault(key, i)
        if labels is not None and labels[known] != labels[i]:
            contradicted.add(key)
    return np.array([i for key, i in first.items() if key not in contradicted], np.int64)
