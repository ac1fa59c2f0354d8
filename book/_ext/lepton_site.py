"""What the site needs beside Jupyter Book: buttons, offline assets, build facts.

Repository links come from the environment, so that a fork publishes its own:
``LEPTON_REPOSITORY_URL`` (or ``GITHUB_SERVER_URL`` and ``GITHUB_REPOSITORY``, as
GitHub Actions sets them) and ``LEPTON_REPOSITORY_BRANCH`` (default ``main``).
Without them a page offers its notebook as a download and a link into the
JupyterLab that ``make lab`` starts; nothing points at a host that may not exist.
"""

from __future__ import annotations

import functools
import gc
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pybtex.plugin
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx_proof.domain import ProofDomain

LAB_URL = "http://localhost:8888/lab/tree/"  # `make lab` serves the folder notebooks/
PACKAGES = (
    "jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "sphinx-proof", "sphinx-exercise",
    "sphinxcontrib-bibtex", "numpy", "mxnet", "torch", "matplotlib", "jupyterlab", "nbval",
    "papermill",
)  # fmt: skip


def repository_url() -> str | None:
    """The repository's URL without a trailing slash, or None when nobody told it."""
    url = os.environ.get("LEPTON_REPOSITORY_URL", "").strip().rstrip("/")
    if not url and os.environ.get("GITHUB_REPOSITORY"):
        server = os.environ.get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
        url = f"{server}/{os.environ['GITHUB_REPOSITORY']}"
    return url.removesuffix(".git") or None


def repository_branch() -> str:
    """The branch that source links point at."""
    return os.environ.get("LEPTON_REPOSITORY_BRANCH", "main")


def git(root: Path, *args: str) -> str | None:
    """Output of a git command in ``root``, or None outside a repository."""
    try:
        done = subprocess.run(
            ["git", *args], cwd=root, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def notebook_of(pagename: str, root: Path) -> str | None:
    """Path of the notebook that belongs to a page, relative to the repository."""
    name = re.sub(r"^book/", "notebooks/", pagename)
    path = f"{name}.ipynb"
    return path if name.startswith("notebooks/") and (root / path).is_file() else None


def open_in_links(notebook: str, download: str) -> list[tuple[str, str, str, str]]:
    """(text, icon, tooltip, URL) of every place where a notebook can be opened."""
    lab = LAB_URL + notebook.removeprefix("notebooks/")
    needs = "Needs make lab running, on port 8888"
    links = [("JupyterLab on this machine", "fas fa-flask", needs, lab)]
    url, branch = repository_url(), repository_branch()
    if url and (found := re.match(r"https://github\.com/([^/]+)/([^/]+)$", url)):
        org, repo = found.groups()
        links += [
            ("Colab", "fas fa-cloud", "Open in Google Colab",
             f"https://colab.research.google.com/github/{org}/{repo}/blob/{branch}/{notebook}"),
            ("Binder", "fas fa-rocket", "Open in Binder",
             f"https://mybinder.org/v2/gh/{org}/{repo}/{branch}?urlpath=lab/tree/{notebook}"),
        ]  # fmt: skip
    if url:
        source = f"{url}/blob/{branch}/{notebook}"
        links.append(("Repository", "fas fa-code-branch", "The notebook in its repository", source))
    links.append((".ipynb", "fas fa-download", "Download the notebook with its outputs", download))
    return links


def add_open_in(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Give every page that has a notebook an “open in” menu in its header."""
    root = Path(app.srcdir)
    notebook = notebook_of(pagename, root)
    if notebook is None or "header_buttons" not in context:
        return
    suffix = app.config.html_sourcelink_suffix
    download = f"{context['pathto']('_sources', 1)}/{notebook}{suffix}"
    buttons = [
        {"type": "link", "text": text, "icon": icon, "tooltip": tip, "url": url}
        for text, icon, tip, url in open_in_links(notebook, download)
    ]
    context["header_buttons"].insert(
        0,
        {
            "type": "group",
            "tooltip": "Open the notebook",
            "icon": "fas fa-rocket",
            "buttons": buttons,
            "label": "open-in",
        },
    )


def switch_off_thebe(app: Sphinx) -> None:
    """Unhook the live-code extension that Jupyter Book always loads: it names another host."""
    for listeners in app.events.listeners.values():
        listeners[:] = [x for x in listeners if not x.handler.__module__.startswith("sphinx_thebe")]


def build_facts(root: Path) -> list[tuple[str, str]]:
    """Commit, machine and versions that a build of the site ran with."""
    commit = git(root, "rev-parse", "HEAD") or os.environ.get("GITHUB_SHA") or "not a git checkout"
    date = git(root, "log", "-1", "--format=%cI")
    dirty = git(root, "status", "--porcelain", "--untracked-files=no")
    facts = [("Commit", commit + (" with uncommitted changes" if dirty else ""))]
    if date:
        facts.append(("Commit date", date))
    facts += [
        ("Python", platform.python_version()),
        ("Operating system", f"{platform.system()} {platform.machine()}"),
        ("Processors", str(os.cpu_count())),
    ]
    for name in PACKAGES:
        try:
            facts.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            facts.append((name, "not installed"))
    return facts


class BuildInfo(SphinxDirective):
    """``{build-info}``: a table of the commit, machine and versions of this build."""

    def run(self) -> list[nodes.Node]:
        facts = build_facts(Path(self.env.srcdir))
        return [table(["what", "value"], [[k, nodes.literal(v, v)] for k, v in facts])]


def table(header: list[str], rows: list[list[Any]], classes: tuple[str, ...] = ()) -> nodes.Node:
    """A docutils table in a container that scrolls sideways on a narrow screen.

    Cells are strings, inline nodes, or lists of block nodes.
    """
    group = nodes.tgroup(cols=len(header))
    group += [nodes.colspec(colwidth=1) for _ in header]

    def row(cells: list[Any]) -> nodes.row:
        line = nodes.row()
        for cell in cells:
            entry = nodes.entry()
            if isinstance(cell, list):
                entry += cell
            elif isinstance(cell, nodes.Node) and not isinstance(cell, nodes.Inline):
                entry += cell
            else:
                text = cell if isinstance(cell, nodes.Node) else nodes.Text(str(cell))
                entry += nodes.paragraph("", "", text)
            line += entry
        return line

    head = nodes.thead()
    head += row(header)
    body = nodes.tbody()
    body += [row(cells) for cells in rows]
    group += [head, body]
    result = nodes.table(classes=["lepton-table", *classes])
    result += group
    return result


class Proofs(ProofDomain):
    """The domain of theorems, whose list is merged by an event: the domain itself holds nothing."""

    def merge_domaindata(self, docnames: set[str], otherdata: dict[str, Any]) -> None:
        """Take over nothing."""


def work_in_parallel(app: Sphinx, config: Any) -> None:
    """Read and write pages in several processes; jupyter-book has no option for it.

    Two extensions do not say whether they can be read with. The one numbers sections once all
    pages are read, the other changes what LaTeX gets; neither keeps anything of a page.
    """
    for name in ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex"):
        if name in app.extensions:
            app.extensions[name].parallel_read_safe = True
    app.add_domain(Proofs, override=True)
    # More processes than cores: Sphinx deals pages out in batches, so that small ones even out.
    app.parallel = max(app.parallel, min(4 * (os.cpu_count() or 1), 16))


def deal_out(app: Sphinx, env: Any, docnames: list[str]) -> None:
    """Put neighbours into different batches (event ``env-before-read-docs``).

    The API pages stand side by side, and each takes as long to read as ten others.
    """
    hands = 8
    docnames[:] = [name for first in range(hands) for name in docnames[first::hands]]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    root = str(Path(app.srcdir))
    if root not in sys.path:
        sys.path.insert(0, root)
    # A build makes millions of nodes and drops few: looking for cycles among them costs a third.
    gc.set_threshold(500_000, 20, 100)
    # For every citation pybtex would read the entry points of all installed packages again.
    pybtex.plugin._load_entry_point = functools.cache(pybtex.plugin._load_entry_point)
    app.add_directive("build-info", BuildInfo)
    app.connect("config-inited", work_in_parallel)
    app.connect("env-before-read-docs", deal_out)
    app.connect("builder-inited", switch_off_thebe, priority=10)
    app.connect("html-page-context", add_open_in, priority=510)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
