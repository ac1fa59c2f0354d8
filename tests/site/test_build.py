"""The site builds without a warning, in time, and holds every page of the book."""

from __future__ import annotations

import ast
import hashlib
import html
import importlib
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from traitlets import HasTraits

from tests.site.conftest import ROOT, Site

BOOK = ROOT / "book"
MATHJAX = BOOK / "_static" / "mathjax"


def toc_files() -> list[str]:
    """Every file of the table of contents, in order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))
    found = [toc["root"]]

    def visit(entries: list[dict]) -> None:
        for entry in entries:
            found.append(entry["file"])
            visit(entry.get("sections", []))

    for part in toc["parts"]:
        visit(part["chapters"])
    return found


def test_build_has_no_warning(site: Site) -> None:
    bad = [line for line in site.log.splitlines() if re.search(r"WARNING|ERROR|CRITICAL", line)]
    assert not bad, "\n".join(bad)
    assert site.returncode == 0, site.log[-3000:]


def test_build_takes_at_most_ninety_seconds(site: Site) -> None:
    assert site.seconds <= 90, f"the build took {site.seconds:.0f} s"


def test_every_page_and_notebook_is_in_the_toc() -> None:
    pages = [p for p in BOOK.rglob("*.md") if not any(x.startswith("_") for x in p.parts)]
    folder = ROOT / "notebooks"
    books = [p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    here = {p.relative_to(ROOT).with_suffix("").as_posix() for p in [*pages, *books]}
    listed = toc_files()
    assert here - set(listed) == set(), "not in _toc.yml"
    assert set(listed) - here == set(), "in _toc.yml, but there is no such file"
    assert len(listed) == len(set(listed))


def test_a_notebook_stands_below_its_page() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf8"))
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            for section in chapter.get("sections", []):
                if section["file"].startswith("notebooks/"):
                    name = section["file"].removeprefix("notebooks/")
                    assert chapter["file"] == f"book/{name}"


def test_every_public_module_is_in_the_reference(site: Site) -> None:
    modules = set()
    for path in (ROOT / "lepton_ref").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if "._" not in name and name.count(".") >= 2:
            modules.add(name)
    html = "".join(p.read_text("utf8") for p in (site.html / "book/api").glob("*.html"))
    missing = [name for name in sorted(modules) if f'id="module-{name}"' not in html]
    assert not missing


CLASS = re.compile(
    r'<dt class="sig sig-object py" id="([\w.]+)">\s*<em class="property">(?:<span[^>]*>)*'
    r"(?:class|exception)\b(.*?)</dt>",
    re.DOTALL,
)
ARGUMENT = re.compile(r'<em class="sig-param">(.*?)</em>', re.DOTALL)


def constructor(cls: type) -> list[inspect.Parameter]:
    """What a class is made from, as its own source says."""
    own = cls.__new__ if cls.__init__ is object.__init__ else cls.__init__
    if own is object.__new__ or getattr(cls, "_is_protocol", False):
        return []
    return list(inspect.signature(own).parameters.values())[1:]


def test_every_class_shows_what_it_is_made_from(site: Site) -> None:
    """Names and defaults of the constructor's parameters, none hidden behind ``*args``."""
    problems, seen = [], 0
    for page in sorted((site.html / "book/api").glob("*.html")):
        for path, signature in CLASS.findall(page.read_text("utf8")):
            module, _, name = path.rpartition(".")
            try:
                cls = getattr(importlib.import_module(module), name)
            except ImportError:  # an engine that is not installed
                continue
            if issubclass(cls, Exception) and "__init__" not in vars(cls):
                continue
            if issubclass(cls, (HasTraits, np.ndarray)):
                continue  # Jupyter's classes are made from their traits, arrays are views
            arguments = [
                html.unescape(re.sub(r"<[^>]+>", "", argument))
                for argument in ARGUMENT.findall(signature)
            ]
            shown = [argument for argument in arguments if argument not in {"*", "/"}]
            expected = constructor(cls)
            seen += bool(expected)
            names = [str(p.replace(annotation=p.empty, default=p.empty)) for p in expected]
            if [argument.partition("=")[0] for argument in shown] != names:
                problems.append(f"{path} shows {shown}, is made from {names}")
                continue
            for argument, parameter in zip(shown, expected, strict=True):
                default = argument.partition("=")[2]
                if bool(default) != (parameter.default is not parameter.empty):
                    problems.append(f"{path}: default of {argument}")
                elif isinstance(parameter.default, (bool, int, float, str, tuple)):
                    if constant(default, module) != parameter.default:
                        problems.append(f"{path}: {argument} is {parameter.default!r}")
                elif "<" in default:
                    problems.append(f"{path}: {argument} cannot be written")
    assert not problems, "\n".join(problems)
    assert seen > 40


def constant(text: str, module: str) -> object:
    """A default as it is written: a literal, or a name of the module (``signal.SIGINT``)."""
    try:
        return ast.literal_eval(text)
    except ValueError:
        found: object = importlib.import_module(module)
        for name in text.split("."):
            found = getattr(found, name)
        return found


def test_no_title_in_the_reference_keeps_its_asterisks(site: Site) -> None:
    for page in sorted((site.html / "book/api").glob("*.html")):
        text = re.sub(r"<(pre|code)\b.*?</\1>", "", page.read_text("utf8"), flags=re.DOTALL)
        found = re.findall(r"(?<![\w*])\*[A-Z][^*\n]{3,}\*", re.sub(r"<[^>]+>", "", text))
        assert not found, f"{page.name}: {found}"
        assert "<strong>Source</strong>" not in text, page.name


def test_bibliography_keys_are_unique() -> None:
    keys = re.findall(r"^@\w+\{([^,\s]+),", (BOOK / "references.bib").read_text("utf8"), re.M)
    assert keys and len(keys) == len(set(keys))


def test_mathjax_is_the_unmodified_release() -> None:
    listed = {}
    for line in (MATHJAX / "SHA256SUMS").read_text("utf8").splitlines():
        digest, name = line.split()
        listed[(MATHJAX / name).resolve()] = digest
    files = {p.resolve() for p in MATHJAX.rglob("*") if p.is_file()}
    assert files - set(listed) <= {MATHJAX / "SHA256SUMS", MATHJAX / "README.txt"}
    for path, digest in listed.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, path
    assert sum(p.stat().st_size for p in files) < 3_000_000


LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["'](?:https?:)?//"""
    r"""|<link\b[^>]*\bhref=["'](?:https?:)?//(?=[^>]*)"""
)


def test_no_page_loads_from_another_host(site: Site) -> None:
    for path in site.html.rglob("*.html"):
        found = LOADED.search(path.read_text("utf8"))
        assert not found, f"{path.relative_to(site.html)}: {found and found[0]}"


def test_no_stylesheet_loads_from_another_host(site: Site) -> None:
    for path in site.html.rglob("*.css"):
        text = path.read_text("utf8", errors="replace")
        assert not re.search(r"""(@import\s+|url\()\s*["']?(https?:)?//""", text), path


def test_local_links_lead_somewhere(site: Site) -> None:
    ids: dict[Path, set[str]] = {}
    pages = [*site.html.glob("book/**/*.html"), *site.html.glob("notebooks/**/*.html")]
    for page in pages:
        text = page.read_text("utf8")
        for href in re.findall(r'<a\b[^>]*\bhref="([^"]+)"', text):
            if re.match(r"[a-z]+:", href) or href == "#":
                continue
            file, _, anchor = href.partition("#")
            target = (page.parent / file.partition("?")[0]).resolve() if file else page
            assert target.is_file(), f"{page.relative_to(site.html)}: {href}"
            if anchor and target.suffix == ".html":
                if target not in ids:
                    ids[target] = set(re.findall(r'\bid="([^"]+)"', target.read_text("utf8")))
                assert anchor in ids[target], f"{page.relative_to(site.html)}: {href}"


def test_nothing_is_left_unrecorded_or_unproven(site: Site) -> None:
    for path in site.html.glob("book/**/*.html"):
        text = path.read_text("utf8")
        assert "[not recorded]" not in text, path
        assert not re.search(r"\{(recorded|result)\}`", text), f"{path}: a quote not rendered"
        assert 'class="lepton-badge lepton-unproven"' not in text, path


def test_no_sentence_becomes_a_list() -> None:
    """A line that happens to begin with `1.` ends its paragraph and starts a list."""
    texts = {path.relative_to(ROOT): path.read_text("utf8") for path in BOOK.rglob("*.md")}
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        cells = json.loads(path.read_text("utf8"))["cells"]
        words = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
        texts[path.relative_to(ROOT)] = "\n\n".join(words)
    for path, text in texts.items():
        outside = re.sub(r"^(`{3,}).*?^\1", "", text, flags=re.S | re.M)
        for before, line in zip(outside.split("\n"), outside.split("\n")[1:]):
            if re.match(r"(1[.)]|[-*+]) ", line) and before.strip():
                assert re.match(r"\s*(\d+[.)]|[-*+:|]) |  ", before), f"{path}: {before} / {line}"


def test_make_lab_serves_the_folder_that_the_buttons_expect() -> None:
    assert "--ServerApp.root_dir=notebooks" in (ROOT / "Makefile").read_text("utf8")


def test_every_notebook_can_be_opened_and_downloaded(site: Site) -> None:
    notebooks = [name for name in toc_files() if name.startswith("notebooks/")]
    if not notebooks:
        pytest.skip("no notebook yet")
    for name in notebooks:
        assert (site.html / "_sources" / f"{name}.ipynb").is_file()
        for page in (name, name.replace("notebooks/", "book/", 1)):
            text = (site.html / f"{page}.html").read_text("utf8")
            lab = name.removeprefix("notebooks/")
            assert f"http://localhost:8888/lab/tree/{lab}.ipynb" in text
            assert f"_sources/{name}.ipynb" in text
