"""What a gallery answers."""

from __future__ import annotations

from typing import NamedTuple


class Candidate(NamedTuple):
    """A person of the gallery, and the best score over the person's templates."""

    name: str
    score: float


class Verification(NamedTuple):
    """Is this the person whom it claims to be?"""

    accepted: bool
    score: float
    threshold: float


class Match(NamedTuple):
    """Who is this?

    Attributes
    ----------
    name : str or None
        The best candidate if that one passes the threshold; None: nobody who is enrolled.
    score : float
        Of the best candidate; −∞ when the gallery is empty.
    candidates : tuple of Candidate
        The best ones, passing or not, best first.
    """

    name: str | None
    score: float
    candidates: tuple[Candidate, ...]


class Enrolment(NamedTuple):
    """What was stored.

    Attributes
    ----------
    name : str
    templates : int
        How many the person has now.
    resembles : Candidate or None
        Somebody *else* who would be taken for one of the new pictures. Look before you go on:
        one person under two names, or two people whom this model cannot tell apart.
    """

    name: str
    templates: int
    resembles: Candidate | None
