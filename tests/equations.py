"""What the book claims: the labelled equations of its MyST sources."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^\s*(?P<fence>`{3,}|~{3,}|:{3,})\s*(?:\{(?P<name>[\w:+.-]+)\})?[^`]*$")
OPTION = re.compile(r"^\s*:(?P<key>[\w-]+):\s*(?P<value>.*?)\s*$")
YAML_OPTION = re.compile(r"^\s*(?P<key>[\w-]+):\s*(?P<value>.*?)\s*$")
DOLLARS = re.compile(r"\$\$\s*(?:\((?P<label>[^()\s]+)\))?\s*$")
RAW_LABEL = re.compile(r"\\label\s*\{([^}]*)\}")
CITATION = re.compile(r"\(eqs?\.\s+([^)]*)\)")  # (eq. label), (eqs. label, label and label)
LABEL = re.compile(r"(?<![\w-])[a-z][a-z0-9]*(?:-[a-z0-9]+)+(?![\w-])")

# Directives whose body is not parsed as Markdown: whatever stands in them is no equation.
VERBATIM = {
    "code", "code-block", "code-cell", "sourcecode", "literalinclude", "eval-rst", "raw",
    "mermaid", "prompt", "parsed-literal", "doctest", "testcode", "productionlist",
}  # fmt: skip


@dataclass(frozen=True)
class Equation:
    """One labelled equation of the book."""

    label: str
    page: str  # "vision/convolution"
    line: int
    kind: str  # "claim" or "definition"


class BookError(ValueError):
    """The sources of the book cannot be read as they stand."""


def equations_of_text(text: str, page: str) -> list[Equation]:
    """All labelled equations of one page, in order.

    Raises
    ------
    BookError
        For ``\\label{...}`` inside a formula (it would escape the ledger), an option
        without a value, or a fence that never closes.
    """
    lines = text.splitlines()
    found: list[Equation] = []
    open_fences: list[tuple[str, int]] = []
    dollars_at = 0  # line of an open $$ block, 0 = none
    i = 0
    while i < len(lines):
        line, number = lines[i], i + 1
        i += 1
        if dollars_at:
            _refuse_raw_label(line, page, number)
            if closing := DOLLARS.search(line):
                if closing["label"]:
                    found.append(Equation(closing["label"], page, dollars_at, "claim"))
                dollars_at = 0
            continue
        if line.startswith("%"):  # a MyST comment
            continue
        fence = FENCE.match(line)
        if fence and open_fences and _closes(line, open_fences[-1][0]):
            open_fences.pop()
        elif fence and fence["name"] == "math":
            body_start = i
            while i < len(lines) and not _closes(lines[i], fence["fence"]):
                _refuse_raw_label(lines[i], page, i + 1)
                i += 1
            if i == len(lines):
                raise BookError(f"book/{page}.md:{number}: this math block never closes")
            options = _options(lines[body_start:i])
            if "label" in options:
                if not options["label"]:
                    raise BookError(f"book/{page}.md:{number}: empty :label:")
                definition = "definition" in options.get("class", "").split()
                kind = "definition" if definition else "claim"
                found.append(Equation(options["label"], page, number, kind))
            i += 1
        elif fence and (fence["name"] is None and fence["fence"][0] != ":"):
            i = _skip(lines, i, fence["fence"], page, number)
        elif fence and fence["name"] in VERBATIM:
            i = _skip(lines, i, fence["fence"], page, number)
        elif fence and fence["name"]:
            open_fences.append((fence["fence"], number))
        elif line.strip().startswith("$$"):
            _refuse_raw_label(line, page, number)
            rest = line.strip()[2:]
            closing = DOLLARS.search(rest)
            if closing is None:
                dollars_at = number
            elif closing["label"]:
                found.append(Equation(closing["label"], page, number, "claim"))
        else:
            _refuse_raw_label(line, page, number)
    if open_fences:
        raise BookError(f"book/{page}.md:{open_fences[-1][1]}: this directive never closes")
    if dollars_at:
        raise BookError(f"book/{page}.md:{dollars_at}: this $$ block never closes")
    return found


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and set(stripped) == {fence[0]}


def _skip(lines: list[str], i: int, fence: str, page: str, number: int) -> int:
    while i < len(lines):
        if _closes(lines[i], fence):
            return i + 1
        i += 1
    raise BookError(f"book/{page}.md:{number}: this code block never closes")


def _options(body: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    if body and body[0].strip() == "---":
        for line in body[1:]:
            if line.strip() == "---":
                break
            if match := YAML_OPTION.match(line):
                options[match["key"]] = match["value"].strip("\"'")
        return options
    for line in body:
        match = OPTION.match(line)
        if match is None:
            break
        options[match["key"]] = match["value"]
    return options


def _refuse_raw_label(line: str, page: str, number: int) -> None:
    if match := RAW_LABEL.search(line):
        raise BookError(
            f"book/{page}.md:{number}: \\label{{{match[1]}}} would escape the ledger; "
            "write a {math} directive with :label:"
        )


def read_book(book: Path) -> list[Equation]:
    """The labelled equations of every page under `book`, sorted by page."""
    found: list[Equation] = []
    for path in sorted(book.rglob("*.md")):
        relative = path.relative_to(book)
        if any(part.startswith(("_", ".")) for part in relative.parts):
            continue
        text = path.read_text(encoding="utf-8")
        found += equations_of_text(text, relative.with_suffix("").as_posix())
    return found


def duplicates(equations: list[Equation]) -> dict[str, list[Equation]]:
    """Labels that occur more than once, with their places."""
    places: dict[str, list[Equation]] = {}
    for equation in equations:
        places.setdefault(equation.label, []).append(equation)
    return {label: found for label, found in places.items() if len(found) > 1}


def cited_equations(package: Path) -> dict[str, list[str]]:
    """Labels that the sources of a package cite as ``(eq. label)``, with their places."""
    cited: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for match in CITATION.finditer(text):
            number = text.count("\n", 0, match.start()) + 1
            for label in LABEL.findall(match[1]):
                place = f"{path.relative_to(package.parent)}:{number}"
                cited.setdefault(label, []).append(place)
    return cited
