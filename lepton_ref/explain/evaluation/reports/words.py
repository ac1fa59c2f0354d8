"""Numbers as a person says them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from lepton_ref.framework.errors import ArgumentError

_GRADES = (
    (0.40, "by far the most"),
    (0.20, "strongly"),
    (0.08, "clearly"),
    (0.03, "a little"),
    (0.0, "hardly"),
)


def times(p: float) -> str:
    """A probability as a frequency: 0.9 is "about 9 times out of 10".

    Between 0.05 and 0.95 in tenths, beyond in hundredths; nothing is ever certain or impossible.

    Raises
    ------
    ArgumentError
        For what is no probability.
    """
    if not 0 <= p <= 1:
        raise ArgumentError("times", "p", f"the value {p}", "a probability in [0, 1]")
    if p > 0.99:
        return "more than 99 times out of 100"
    if p < 0.01:
        return "less than once out of 100"
    base = 10 if 0.05 <= p <= 0.95 else 100
    count = min(max(round(p * base), 1), base - 1)
    return f"about {'once' if count == 1 else f'{count} times'} out of {base}"


def strength(share: float) -> str:
    """How much of all that spoke, for or against, this was: words for a share from 0 to 1."""
    return next(word for least, word in _GRADES if abs(share) >= least)


def listed(parts: Sequence[str], last: str = "and") -> str:
    """ "a, b and c"."""
    parts = list(parts)
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}"


def counted(parts: Iterable[str]) -> list[str]:
    """What occurs more than once is said once, with how often: “not” (twice)."""
    often = Counter(parts)
    return [
        p if n == 1 else f"{p} ({'twice' if n == 2 else f'{n} times'})" for p, n in often.items()
    ]


_MARKS = {
    ",": "comma", ".": "full stop", "!": "exclamation mark", "?": "question mark",
    ":": "colon", ";": "semicolon", "-": "hyphen", "–": "dash", "—": "dash", "(": "bracket",
    ")": "bracket", '"': "quotation mark", "“": "quotation mark", "”": "quotation mark",
    "'": "apostrophe", "/": "slash", "*": "asterisk", "&": "and sign", "$": "dollar sign",
    "%": "per cent sign",
}  # fmt: skip


def is_mark(token: str) -> bool:
    """Whether a token is punctuation or a sign: “,” and “:)”, and with one letter “:d” and “<3”."""
    return not token[:1].isalnum() and sum(c.isalnum() for c in token) <= 1


def token_name(token: str) -> str:
    """What a person calls a token: the word “good”, the comma, the dots “...”, the sign “:)”.

    A mark keeps its place among the evidence, under its own name. To leave it out would hide that
    the program leans on it, which is what a reader needs in order to distrust it; to call it a
    word would be wrong.
    """
    if not is_mark(token):
        return f"the word “{token}”"
    if token in _MARKS:
        return f"the {_MARKS[token]}"
    first = token[:1]
    if len(token) > 1 and first in _MARKS and set(token) == {first}:
        return f"the {'dot' if first == '.' else _MARKS[first]}s “{token}”"
    return f"the sign “{token}”"


def number(value: float, figures: int = 3) -> str:
    """Three figures that count: 0.0731, 25.4, 1,210; below a ten-thousandth "almost 0"."""
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        return "almost 0"
    if abs(value) >= 1000:
        return f"{value:,.{max(0, figures - len(str(int(abs(value)))))}f}"
    return f"{float(f'{value:.{figures}g}'):.{max(6, figures)}g}"


def apart(first: float, second: float) -> tuple[str, str]:
    """Two numbers with as many figures as it takes to tell them apart, three at least."""
    for figures in range(3, 18):
        said = number(first, figures), number(second, figures)
        if said[0] != said[1]:
            break
    return said


def rank(share: float) -> str:
    """Where a value stands among the others: "higher than 97 of 100"."""
    count = min(max(round(share * 100), 1), 99)
    if count >= 50:
        return f"higher than {count} of 100"
    return f"lower than {100 - count} of 100"


def title(name: str) -> str:
    """A title as a person says it: "Godfather, The" is "The Godfather"."""
    head, comma, article = name.rpartition(", ")
    if comma and article.lower() in {
        "the",
        "a",
        "an",
        "la",
        "le",
        "les",
        "il",
        "das",
        "der",
        "die",
    }:
        return f"{article} {head}"
    return name


_MEASURED = {
    "radius": "size of the cell nuclei",
    "texture": "unevenness of the grey in the cell nuclei",
    "perimeter": "length of the nuclei's outline",
    "area": "area of the cell nuclei",
    "smoothness": "small bumps in the nuclei's outline",
    "compactness": "how far the nuclei are from round",
    "concavity": "depth of the dents in the nuclei's outline",
    "concave points": "dented parts of the nuclei's outline",
    "symmetry": "lopsidedness of the cell nuclei",
    "fractal dimension": "raggedness of the nuclei's outline",
}
_HOW = {"mean": "on average", "error": "how uncertain its average is", "worst": "at the extremes"}


def measurement(name: str) -> str:
    """A column of the breast cancer data in plain words; other names come back as they are.

    "worst area" is "area of the cell nuclei, at the extremes": the mean of the three largest.
    """
    first, _, rest = name.partition(" ")
    if first in _HOW and rest in _MEASURED:
        return f"{_MEASURED[rest]}, {_HOW[first]}"
    most, _, last = name.rpartition(" ")
    if last in _HOW and most in _MEASURED:
        return f"{_MEASURED[most]}, {_HOW[last]}"
    return name
