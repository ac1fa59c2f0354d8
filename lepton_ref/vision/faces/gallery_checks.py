"""What a gallery accepts as a name, a threshold, a time and a model."""

from __future__ import annotations

import datetime
import re
import unicodedata
from typing import Any

import numpy as np

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.vision.faces.gallery_file import fingerprint


def model_id(model: Any) -> str:
    """The fingerprint of a model, or the one that was given in its place."""
    if isinstance(model, str):
        if not re.fullmatch(r"[0-9a-f]{64}", model):
            raise ArgumentError(
                "Gallery", "model", f"the value {model!r}",
                "a model, or the 64 hexadecimal digits of its fingerprint",
            )  # fmt: skip
        return model
    return fingerprint(model)


def checked_threshold(where: str, threshold: Any) -> float:
    """A cosine that some pairs reach and others do not."""
    number = isinstance(threshold, float | int | np.floating) and not isinstance(threshold, bool)
    if not number or not -1 < threshold <= 1:
        raise ArgumentError(where, "threshold", f"the value {threshold!r}", "a cosine in (-1, 1]")
    return float(threshold)


def shown_name(where: str, name: Any) -> str:
    """The name as it is shown: composed, single spaces, nothing that no file could hold."""
    if not isinstance(name, str):
        raise ArgumentError(where, "name", f"type {type(name).__name__}", "a str")
    shown = " ".join(unicodedata.normalize("NFC", name).split())
    if not name_key(shown) or len(shown) > 200:
        raise ArgumentError(where, "name", f"{len(shown)} characters", "1 to 200 that can be seen")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Cn") for c in shown):
        raise ArgumentError(where, "name", f"the value {name!r}", "no control characters")
    return shown


def shown_consent(where: str, consent: Any) -> str:
    """A note that says something and that a file can hold."""
    halves = isinstance(consent, str) and any(unicodedata.category(c) == "Cs" for c in consent)
    if not isinstance(consent, str) or not consent.strip() or halves:
        raise ArgumentError(where, "consent", f"the value {consent!r}", "what was agreed to")
    return consent.strip()


def name_key(name: str) -> str:
    """What two spellings of one name share."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    seen = "".join(c for c in folded if unicodedata.category(c) != "Cf")  # zero-width and such
    return " ".join(seen.split())


def utc_time(where: str, when: Any) -> str:
    """A time in UTC, to the second; now when there is none."""
    if when is None:
        when = datetime.datetime.now(datetime.UTC)
    if not isinstance(when, datetime.datetime) or when.tzinfo is None:
        raise ArgumentError(where, "when", f"the value {when!r}", "a datetime with its time zone")
    return when.astimezone(datetime.UTC).isoformat(timespec="seconds")
