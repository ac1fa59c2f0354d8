"""The Sphinx extensions of the site: badges, records, source links, docstrings."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from tests.site.conftest import ROOT

pytest.importorskip("sphinx", reason="UNPROVEN here: Sphinx is not installed")
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import lepton_apidoc  # noqa: E402
import lepton_ledger  # noqa: E402
import lepton_records  # noqa: E402
import lepton_site  # noqa: E402
import lepton_sources  # noqa: E402

CONF = """
import sys
sys.path.insert(0, {ext!r})
extensions = ["myst_parser", "lepton_site", "lepton_sources", "lepton_ledger", "lepton_records"]
html_theme = "basic"
root_doc = "index"
numfig = math_numfig = True
numfig_secnum_depth = 1
myst_enable_extensions = ["dollarmath"]
"""
PAGE = """# A page

```{math}
:label: page-claim
a = b
```

```{math}
:label: page-name
:class: definition
c := d
```

It holds ({eq}`page-claim`), see {eq}`page-claim`.

{recorded}`ch/page:score|.2f` and {result}`ch/page:score@full-numpy|.1%`
"""
INDEX = "# Book\n\n```{toctree}\n:numbered:\n\nbook/ch/page\n```\n\n```{ledger}\n```\n"
PROOF = {
    "test": "tests/test_page.py::test_claim",
    "engine": "numpy",
    "oracle": "finite differences",
    "error": 3.1e-10,
    "tol": 1e-7,
}


def notebook(**records: object) -> str:
    """A notebook whose only cell recorded these values."""
    outputs = [
        {
            "output_type": "display_data",
            "data": {lepton_records.MIME: repr(value)},
            "metadata": {"scrapbook": {"name": name}},
        }
        for name, value in records.items()
    ]
    return json.dumps({"cells": [{"cell_type": "code", "outputs": outputs}]})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A book of one page with a proof, code, a notebook and a result."""
    files = {
        "conf.py": CONF.format(ext=str(ROOT / "book" / "_ext")),
        "index.md": INDEX,
        "book/ch/page.md": PAGE,
        "notebooks/ch/page.ipynb": notebook(score=0.875, curve=[0.1, 0.2], table={"a": 1}),
        "book/results/ch/page.full.numpy.json": json.dumps({"records": {"score": 0.91}}),
        "lepton_ref/ch/page.py": 'def f(a):\n    """B = A   (eq. page-claim)"""\n    return a\n',
        "tests/test_page.py": "import os\n\n\ndef test_claim():\n    pass\n",
        "book/ledger.json": json.dumps(
            {"equations": {"page-claim": {"proofs": [PROOF]}}, "environment": {"numpy": "1.26.4"}}
        ),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf8")
    return tmp_path


def build(project: Path, **environment: str) -> tuple[int, str, Path]:
    """Build the small book as the real one is built: -n -W."""
    out = project / "_build"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", "-E",
         "-b", "html", str(project), str(out)],
        capture_output=True, text=True, timeout=120, env={"PATH": "/usr/bin", **environment},
    )  # fmt: skip
    return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr), out


def test_a_proven_page_has_its_badges_and_numbers(project: Path) -> None:
    code, log, out = build(project)
    assert code == 0, log
    html = (out / "book/ch/page.html").read_text("utf8")
    assert "lepton-proven" in html and "numpy 3e-10" in html
    assert "lepton-definition" in html
    assert re.search(r"It holds \(<a[^>]*>1\.1</a>\), see <a[^>]*>\(1\.1\)</a>\.", html)
    assert "0.88" in html and "91.0%" in html
    assert 'href="../../source/tests/test_page.py.html#L-4"' in html
    assert 'href="../../source/lepton_ref/ch/page.py.html#L-1"' in html
    assert 'href="../../index.html#ledger-page-claim"' in html
    ledger = (out / "index.html").read_text("utf8")
    assert 'id="ledger-page-claim"' in ledger and "test_claim" in ledger
    assert "1 definitions" in ledger and "1 claims" in ledger
    assert 'id="L-4"' in (out / "source/tests/test_page.py.html").read_text("utf8")


def test_links_point_at_the_repository_when_it_is_known(project: Path) -> None:
    code, log, out = build(project, LEPTON_REPOSITORY_URL="https://github.com/some/where")
    assert code == 0, log
    html = (out / "book/ch/page.html").read_text("utf8")
    assert "https://github.com/some/where/blob/main/tests/test_page.py#L4" in html
    assert not (out / "source").exists()


def test_an_unproven_claim_fails_the_build(project: Path) -> None:
    (project / "book/ledger.json").write_text('{"equations": {}}')
    code, log, _ = build(project)
    assert code != 0
    assert "`page-claim` is claimed but not proven" in log and "page-name" not in log
    code, log, out = build(project, LEPTON_STRICT_LEDGER="0")
    assert code == 0, log
    assert "lepton-unproven" in (out / "book/ch/page.html").read_text("utf8")


def test_a_citation_of_no_equation_fails_the_build(project: Path) -> None:
    (project / "lepton_ref/ch/page.py").write_text('"""(eq. no-such)"""\n')
    code, log, _ = build(project)
    assert code != 0 and "cites equation `no-such`" in log


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("{recorded}`ch/page:absent`", "records curve, score, table"),
        ("{recorded}`ch/other:score`", "notebooks/ch/other.ipynb does not exist"),
        ("{result}`ch/page:score@full-torch`", "page.full.torch.json does not exist"),
        ("{recorded}`score`", "is not page:name"),
        ("{recorded}`ch/page:curve[7]`", "there is no \\[7\\]"),
    ],
)
def test_a_number_that_no_run_recorded_fails_the_build(
    project: Path, role: str, message: str
) -> None:
    (project / "book/ch/page.md").write_text(PAGE + "\n" + role + "\n")
    code, log, out = build(project)
    assert code != 0 and re.search(message, log), log
    assert "[not recorded]" in (out / "book/ch/page.html").read_text("utf8")


def test_a_complete_test_run_goes_before_the_committed_ledger(project: Path) -> None:
    fresh = {"equations": {"page-claim": {"proofs": [{**PROOF, "error": 5e-12}]}}}
    (project / "build").mkdir()
    (project / "build/ledger.json").write_text(json.dumps(fresh))
    got = lepton_ledger.read_ledger(project, {"page-claim"})
    assert got["equations"]["page-claim"]["proofs"][0]["error"] == 5e-12
    (project / "build/ledger.json").write_text('{"equations": {}}')
    got = lepton_ledger.read_ledger(project, {"page-claim"})
    assert got["equations"]["page-claim"]["proofs"][0]["error"] == 3.1e-10


def test_looking_up_parts_of_a_record(project: Path) -> None:
    assert lepton_records.look_up(project, "ch/page:curve[-1]|.1f")[:2] == (0.2, ".1f")
    assert lepton_records.look_up(project, "ch/page:table[a]")[0] == 1
    assert lepton_records.shown(60000, "") == "60\u202f000"
    assert lepton_records.shown(0.25, "") == "0.25"
    assert lepton_records.shown(True, "") == "True"


@pytest.mark.parametrize(
    ("error", "text"), [(3.1e-10, "3e-10"), (0.0, "0"), (2e-7, "2e-7"), (9.6e-8, "1e-7")]
)
def test_errors_read_short(error: float, text: str) -> None:
    assert lepton_ledger.show(error) == text


def test_the_worst_error_of_each_engine_counts() -> None:
    proofs = [
        {"engine": "torch", "error": 2e-7},
        {"engine": "numpy", "error": 1e-12},
        {"engine": "numpy", "error": 3e-10},
    ]
    text = lepton_ledger.engines_text(proofs)
    assert "".join(node.astext() for node in text) == "numpy 3e-10 · torch 2e-7"


def test_citations_find_the_innermost_definition(tmp_path: Path) -> None:
    path = tmp_path / "lepton_ref" / "m.py"
    path.parent.mkdir()
    path.write_text(
        '"""Module (eq. top-level)."""\n\n\nclass A:\n    def f(self):\n'
        '        """Two (eqs. one-a and one-b; Abel, 1826)."""\n'
    )
    found = lepton_sources.citations(tmp_path)
    assert set(found) == {"top-level", "one-a", "one-b"}
    assert found["one-a"][0].name == "A.f" and found["one-a"][0].line == 5
    assert found["top-level"][0].name == "lepton_ref.m"


def test_repository_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEPTON_REPOSITORY_URL", "GITHUB_REPOSITORY", "GITHUB_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    assert lepton_site.repository_url() is None
    monkeypatch.setenv("GITHUB_REPOSITORY", "some/where")
    assert lepton_site.repository_url() == "https://github.com/some/where"
    monkeypatch.setenv("LEPTON_REPOSITORY_URL", "https://example.org/x.git/")
    assert lepton_site.repository_url() == "https://example.org/x"


def test_open_in_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEPTON_REPOSITORY_URL", raising=False)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    links = lepton_site.open_in_links("notebooks/a/b.ipynb", "b.ipynb")
    assert [text for text, *_ in links] == ["JupyterLab on this machine", ".ipynb"]
    assert links[0][-1] == "http://localhost:8888/lab/tree/a/b.ipynb"
    monkeypatch.setenv("LEPTON_REPOSITORY_URL", "https://github.com/some/where")
    links = lepton_site.open_in_links("notebooks/a/b.ipynb", "b.ipynb")
    urls = {text: url for text, _, _, url in links}
    assert urls["Colab"].endswith("/github/some/where/blob/main/notebooks/a/b.ipynb")
    assert "lab/tree/notebooks/a/b.ipynb" in urls["Binder"]


def test_docstrings_become_safe_markup() -> None:
    text = [
        "Y = A * B for any `x_` and *args|kw.", "",
        "dA = dY Bᵀ", "dB = Aᵀ dY   (eq. matmul-vjp)", "",
        "    indented", "    block", "",
        "Parameters", "----------", "x : array, shape (N, *)", "    Any *number*,", "    *2.",
    ]  # fmt: skip
    got = lepton_apidoc.process(text)
    assert got[0] == r"Y = A \* B for any `x_` and \*args\|kw."
    assert got[2] == "| dA = dY Bᵀ"
    assert got[3] == "| dB = Aᵀ dY   (eq. :eqcite:`matmul-vjp`)"
    assert "::" in got and "    indented" in got
    assert got[-3:] == [r"x : array, shape (N, \*)", "    Any *number*,", r"    \*2."]


def test_a_source_ends_the_section_before_it() -> None:
    """Else it would be read as one more parameter, and the title would keep its asterisks."""
    text = ["Returns", "-------", "y : array", "", "Source: Abel (1826), *On a title", "of two*."]
    got = lepton_apidoc.process(text)
    assert got[2:] == ["y : array", "", "", "Source: Abel (1826), *On a title", "of two*."]


def test_a_signature_shows_what_one_can_write() -> None:
    @dataclasses.dataclass
    class Kept:
        rows: list = dataclasses.field(default_factory=list)
        text: str = ""

    class Shape(Protocol):
        pass

    def shown(what: str, obj: object, signature: str) -> tuple[str, str] | None:
        return lepton_apidoc.process_signature(None, what, "", obj, None, signature, None)

    assert shown("class", Kept, "(rows=<factory>, text='')") == ("(rows=[], text='')", None)
    assert shown("class", Shape, "(*args, **kwargs)") == ("", None)
    assert shown("function", len, "(x)") is None


def test_a_docstring_made_of_two_is_dedented() -> None:
    got = lepton_apidoc.process(["First.", "    Base.", "", "    Returns", "    -------", "    x"])
    assert got == ["First.", "Base.", "", "Returns", "-------", "x"]
