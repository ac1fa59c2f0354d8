"""The errors of sweeps, each naming what was wrong and what is accepted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SweepError(ValueError):
    """A sweep that cannot start as it was described: found before anything runs."""


class StoreError(OSError):
    """A store that cannot be reached, read or written; the message says what to do."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean `lr`?``, or nothing when no known name is close."""
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" Did you mean `{close[0]}`?" if close else ""
