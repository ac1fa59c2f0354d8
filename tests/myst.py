"""The directives of a MyST page: exercises, their solutions, and the code inside."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.equations import FENCE, OPTION, VERBATIM, _closes

BOOK = Path(__file__).resolve().parents[1] / "book"


@dataclass
class Directive:
    """One directive: ``name argument``, its options, its body, and where the body begins."""

    name: str
    argument: str
    line: int  # of the fence, from 1
    options: dict[str, str] = field(default_factory=dict)
    body: list[str] = field(default_factory=list)

    def code(self, language: str = "python") -> str:
        """The code blocks of a language in the body, at the line numbers of the page."""
        result: list[str] = []
        i = 0
        while i < len(self.body):
            line = self.body[i]
            i += 1
            fence = FENCE.match(line)
            if not fence or fence["fence"][0] == ":":
                continue
            info = line.strip().lstrip("`~").strip()
            start = i
            while i < len(self.body) and not _closes(self.body[i], fence["fence"]):
                i += 1
            if info in (language, f"{{code-block}} {language}"):
                result += [""] * (self.line + start - len(result))
                result += self.body[start:i]
            i += 1
        return "\n".join(result) + "\n" if result else ""


def directives(text: str, *names: str) -> list[Directive]:
    """All directives of these names on a page; those shown inside code blocks are none."""
    lines = text.splitlines()
    found: list[Directive] = []
    open_fences: list[str] = []  # of other directives, whose bodies are read as well
    i = 0
    while i < len(lines):
        fence = FENCE.match(lines[i])
        i += 1
        if not fence:
            continue
        if open_fences and _closes(lines[i - 1], open_fences[-1]):
            open_fences.pop()
            continue
        wanted = fence["name"] in names
        if not wanted and fence["fence"][0] != ":" and fence["name"] in (None, "math", *VERBATIM):
            while i < len(lines) and not _closes(lines[i], fence["fence"]):
                i += 1
            i += 1
        elif wanted:
            argument = lines[i - 1].split("}", 1)[1].strip()
            directive = Directive(fence["name"], argument, i)
            while i < len(lines) and not _closes(lines[i], fence["fence"]):
                directive.body.append(lines[i])
                i += 1
            i += 1
            for line in directive.body:
                if not (option := OPTION.match(line)):
                    break
                directive.options[option["key"]] = option["value"]
            found.append(directive)
        elif fence["name"]:
            open_fences.append(fence["fence"])
    return found


def pages(book: Path) -> list[Path]:
    """The Markdown pages of the book, without folders that begin with ``_`` or ``.``."""
    return [
        path
        for path in sorted(book.rglob("*.md"))
        if not any(part.startswith(("_", ".")) for part in path.relative_to(book).parts)
    ]


def listing(page: str, *begins: str) -> list[str]:
    """For each of these words the first Python listing of a page that holds it."""
    text = (BOOK / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    return [next(code for code in found if word in code) for word in begins]
