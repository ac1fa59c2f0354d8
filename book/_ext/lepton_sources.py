"""Source pages of the site, and which code cites which equation.

Every module of ``lepton_ref`` and every test file becomes a page ``source/<path>.html``
with an anchor per line, so that a proof or an implementation can be opened without
network. When the repository's URL is known, links point there instead.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from lepton_site import repository_branch, repository_url
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx.application import Sphinx

LABEL = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")
CITATION = re.compile(
    rf"\(eqs?\.\s+({LABEL.pattern}(?:(?:,\s*|\s+and\s+|,\s+and\s+){LABEL.pattern})*)"
)
ANCHOR = re.compile(r'<a id="(L-\d+)" name="[^"]*"(?: href="[^"]*")?></a>')
FOLDERS = ("lepton_ref", "tests")


@dataclass(frozen=True)
class Definition:
    """A function, class or module: where it stands and which equations it cites."""

    path: str
    name: str
    line: int
    end: int


def module_name(path: str) -> str:
    """Dotted module of a path: ``lepton_ref/vision/__init__.py`` -> ``lepton_ref.vision``."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def _definitions(path: Path, relative: str, stamp: int) -> tuple[Definition, ...]:
    found: list[Definition] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                name = f"{prefix}.{child.name}" if prefix else child.name
                end = child.end_lineno or child.lineno
                found.append(Definition(relative, name, child.lineno, end))
                visit(child, name)
            else:
                visit(child, prefix)

    visit(ast.parse(path.read_text("utf8")), "")
    return tuple(found)


def definitions(root: Path, relative: str) -> tuple[Definition, ...]:
    """All functions and classes of a file, with qualified names and lines."""
    path = root / relative
    if not path.is_file():
        return ()
    return _definitions(path, relative, path.stat().st_mtime_ns)


def python_files(root: Path) -> list[str]:
    """Repository paths of every Python file that gets a source page."""
    files = [p for folder in FOLDERS for p in (root / folder).rglob("*.py")]
    return sorted(str(p.relative_to(root)) for p in files if "__pycache__" not in p.parts)


def cited_labels(text: str) -> Iterator[tuple[int, str]]:
    """(line number, label) of every ``(eq. a-b)`` or ``(eqs. a-b and c-d)`` in a text."""
    for match in CITATION.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        for label in LABEL.findall(match.group(1)):
            yield line, label


def citations(root: Path) -> dict[str, list[Definition]]:
    """Label -> the innermost definitions of ``lepton_ref`` whose text cites it."""
    result: dict[str, list[Definition]] = {}
    for relative in python_files(root):
        if not relative.startswith("lepton_ref/"):
            continue
        for line, label in cited_labels((root / relative).read_text("utf8")):
            inside = [d for d in definitions(root, relative) if d.line <= line <= d.end]
            module = Definition(relative, module_name(relative), 1, 1)
            owner = max(inside, key=lambda d: d.line, default=module)
            if owner not in result.setdefault(label, []):
                result[label].append(owner)
    return result


def find_test(root: Path, test_id: str) -> tuple[str, int]:
    """Path and line of a pytest id such as ``tests/a/test_b.py::test_c[numpy]``."""
    path, _, rest = test_id.partition("::")
    name = re.sub(r"\[.*", "", rest).replace("::", ".")
    for definition in definitions(root, path):
        if definition.name == name:
            return path, definition.line
    return path, 1


def source_uri(app: Sphinx, docname: str, path: str, line: int) -> str:
    """Link from a page to a line of source: the repository's, else the site's own page."""
    url = repository_url()
    if url:
        return f"{url}/blob/{repository_branch()}/{path}#L{line}"
    return f"{app.builder.get_relative_uri(docname, f'source/{path}')}#L-{line}"


def source_reference(app: Sphinx, docname: str, text: str, path: str, line: int) -> nodes.Node:
    """An inline link to a line of source."""
    uri = source_uri(app, docname, path, line)
    return nodes.reference("", "", nodes.literal("", text), refuri=uri, internal=True)


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{path} — Lepton</title>
<script>
  var kept = localStorage.getItem("theme");
  var system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.documentElement.dataset.theme = kept === "dark" || kept === "light" ? kept : system;
</script>
<link rel="icon" href="{top}_static/favicon.svg">
<link rel="stylesheet" href="{top}_static/pygments.css">
<link rel="stylesheet" href="{top}_static/source.css">
</head>
<body>
<header>
<a href="{top}book/index.html">Lepton</a> · <a href="{top}book/ledger.html">ledger</a>
</header>
<main><h1>{path}</h1>
{code}
</main>
</body>
</html>
"""


def write_source_page(source: Path, out: Path, relative: str) -> None:
    """The highlighted page of one Python file.

    Plain HTML instead of the theme's template: a hundred sidebars would cost more than
    the rest of the book.
    """
    formatter = HtmlFormatter(linenos="inline", lineanchors="L", wrapcode=True)
    code = highlight((source / relative).read_text("utf8"), PythonLexer(), formatter)
    target = out / "source" / f"{relative}.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    top = "../" * (relative.count("/") + 1)
    page = PAGE.format(path=relative, top=top, code=ANCHOR.sub(r'<a id="\1"></a>', code))
    target.write_text(page.replace("<pre>", '<pre tabindex="0">'), "utf8")


class SourcePages:
    """One page per Python file, written by a process of its own while Sphinx writes the rest."""

    def __init__(self) -> None:
        self.pool: ProcessPoolExecutor | None = None
        self.pages: list[Future[None]] = []

    def start(self, app: Sphinx) -> None:
        """Begin (event ``builder-inited``)."""
        if app.builder.format != "html" or repository_url():
            return
        source, out = Path(app.srcdir), Path(app.outdir)
        self.pool = ProcessPoolExecutor(1)
        self.pages = [
            self.pool.submit(write_source_page, source, out, relative)
            for relative in python_files(source)
        ]

    def finish(self, app: Sphinx, error: Exception | None) -> None:
        """Wait for the last one (event ``build-finished``)."""
        if self.pool is None:
            return
        self.pool.shutdown(cancel_futures=error is not None)
        if error is None:
            for page in self.pages:
                page.result()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    pages = SourcePages()
    app.connect("builder-inited", pages.start)
    app.connect("build-finished", pages.finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
