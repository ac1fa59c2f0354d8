"""The ledger's own tests: what it must refuse is shown to fail."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.equations import BookError, cited_equations, duplicates, equations_of_text
from tests.ledger import Unproven, compare

PAGE = """# Page

```{math}
:label: page-claim
y = x
```

```{math}
:label: page-definition
:class: definition
z := x
```
"""

GOOD = """
import numpy as np, pytest
@pytest.mark.equation("page-claim")
def test_claim(prove):
    prove(np.array([1.0, 2.0]), np.array([1.0, 2.0 + 1.23456e-9]))
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """A small project with a book; returns a function that runs pytest in it."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they cost seconds a session
    pytester.makeini("[pytest]")

    def run(test: str, *options: str, page: str = PAGE):
        book = pytester.path / "book" / "vision"
        book.mkdir(parents=True, exist_ok=True)
        (book / "page.md").write_text(page, encoding="utf-8")
        pytester.makepyfile(test_page=test)
        return pytester.runpytest_inprocess("-p", "tests.ledger", *options)

    run.path = pytester.path  # type: ignore[attr-defined]
    return run


# --- reading the book ------------------------------------------------------------------


def labels(text: str) -> list[tuple[str, str]]:
    return [(e.label, e.kind) for e in equations_of_text(text, "page")]


def test_directives_dollars_and_definitions_are_found() -> None:
    text = PAGE + "\n$$ a = b $$ (one-line)\n\n$$\na = b\n$$ (three-lines)\n\n$$\nnone\n$$\n"
    assert labels(text) == [
        ("page-claim", "claim"),
        ("page-definition", "definition"),
        ("one-line", "claim"),
        ("three-lines", "claim"),
    ]


def test_options_as_yaml_and_with_colons() -> None:
    text = ":::{math}\n---\nlabel: in-yaml\nclass: definition\n---\nx\n:::\n"
    assert labels(text) == [("in-yaml", "definition")]


def test_equations_inside_other_directives_count() -> None:
    inner = "```{math}\n:label: nested\nx\n```\n"
    text = "````{prf:theorem} T\n:label: t\n" + inner + "````\n$$x$$ (after)\n"
    assert labels(text) == [("nested", "claim"), ("after", "claim")]


@pytest.mark.parametrize(
    "text",
    [
        "```python\n$$x$$ (no)\n```\n",
        "````md\n```{math}\n:label: no\nx\n```\n````\n",
        "```{code-block} md\n$$x$$ (no)\n```\n",
        "% $$x$$ (no)\n",
        "~~~\n$$x$$ (no)\n~~~\n",
        "```{math}\nx\n```\n",
        "Inline ```$$x$$ (no)``` code and $x$.\n",
    ],
)
def test_code_comments_and_unlabelled_blocks_do_not_count(text: str) -> None:
    assert labels(text) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```{math}\nx \\label{sneaky}\n```\n", "would escape the ledger"),
        ("$$\nx \\label{sneaky}\n$$\n", "would escape the ledger"),
        ("\\begin{equation}\\label{sneaky}\\end{equation}\n", "would escape the ledger"),
        ("```{math}\nx\n", "never closes"),
        ("```python\nx\n", "never closes"),
        ("````{note}\nx\n```\n", "never closes"),
        ("$$\nx\n", "never closes"),
        ("```{math}\n:label:\nx\n```\n", "empty :label:"),
    ],
)
def test_sources_that_would_hide_an_equation_are_refused(text: str, message: str) -> None:
    with pytest.raises(BookError, match=message):
        equations_of_text(text, "page")


def test_duplicates_are_named() -> None:
    twice = equations_of_text("$$x$$ (a)\n\n$$x$$ (a)\n\n$$x$$ (b)\n", "page")
    assert list(duplicates(twice)) == ["a"]


# --- what prove refuses ----------------------------------------------------------------

X = np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("analytic", "numeric", "message"),
    [
        (X, X, "comparison with itself"),
        (X, X[:], "comparison with itself"),
        (X[:2], X[1:], "comparison with itself"),
        ({"a": X, "b": X + 1}, {"a": X + 0, "b": X}, "comparison with itself"),
        (X, X * (1 + 1e-6), "relative error 1.00e-06 exceeds"),
        (np.zeros(3), np.zeros(3), "zero against zero"),
        (0.0, np.float64(0), "zero against zero"),
        (np.empty(0), np.empty(0), "empty arrays"),
        ([], (), "nothing to compare"),
        ({}, {}, "nothing to compare"),
        (np.array([1.0, np.nan]), np.array([1.0, np.nan]), "NaN or infinity"),
        (np.array([np.inf]), np.array([np.inf]), "NaN or infinity"),
        (X, X.reshape(1, 3) + 0, "shapes differ"),
        (X, 1.0, "shapes differ"),
        ({"a": X}, {"b": X + 0}, "differ in structure"),
        ((X,), (X + 0, X + 0), "differ in structure"),
        ("1", "2", "not numbers"),
        (None, 2.0, "not numbers"),
    ],
)
def test_refused(analytic, numeric, message: str) -> None:
    with pytest.raises(Unproven, match=message):
        compare(analytic, numeric, tol=1e-7)


def test_agreement_is_measured_over_all_leaves() -> None:
    a = {"w": X, "b": [np.float32(2.0), 3]}
    b = {"w": X * (1 + 2e-8), "b": [2.0, 3]}
    assert compare(a, b, tol=1e-7) == pytest.approx(2e-8, rel=1e-3)


@pytest.mark.parametrize("tol", [-1.0, 1.0, float("nan")])
def test_a_tolerance_that_tolerates_everything_is_refused(tol: float) -> None:
    with pytest.raises(Unproven, match="tol must lie"):
        compare(X, X + 1, tol)


# --- the plugin in a session -----------------------------------------------------------


def test_a_proof_is_recorded_with_two_digits(project) -> None:
    result = project(GOOD, "--ledger-update")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    for where in ("book", "build"):
        written = json.loads((project.path / where / "ledger.json").read_text(encoding="utf-8"))
        assert written["equations"] == {
            "page-claim": {
                "page": "vision/page",
                "kind": "claim",
                "proofs": [
                    {
                        "test": "test_page.py::test_claim",
                        "engine": "numpy",
                        "oracle": "finite differences",
                        "error": 6.2e-10,
                        "tol": 1e-7,
                    }
                ],
            },
            "page-definition": {"page": "vision/page", "kind": "definition", "proofs": []},
        }
        assert written["environment"]["numpy"] == np.__version__


def test_cases_of_one_test_are_one_proof_with_the_worst_error(project) -> None:
    test = """
    import numpy as np, pytest
    @pytest.mark.parametrize("e", [1e-9, 5e-9, 2e-9])
    @pytest.mark.equation("page-claim")
    def test_claim(prove, e):
        prove(np.ones(2), np.ones(2) + e, oracle="closed form", engine="torch")
    """
    result = project(test, "--ledger-update", "-p", "xdist", "-n", "2")
    assert result.ret == 0  # the records survive pytest-xdist
    written = json.loads((project.path / "book" / "ledger.json").read_text(encoding="utf-8"))
    (proof,) = written["equations"]["page-claim"]["proofs"]
    assert (proof["engine"], proof["oracle"], proof["error"]) == ("torch", "closed form", 5e-9)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def test_other(): pass", "page-claim: no passing proof"),
        (GOOD.replace("2.0 + 1", "3.0 + 1"), "page-claim: no passing proof"),
        (GOOD.replace("    prove(", "    pytest.skip()\n    prove("), "no passing proof"),
    ],
)
def test_an_unproven_claim_fails_the_session(project, body: str, message: str) -> None:
    result = project(body, "--ledger-update")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"LEDGER *{message}*"])
    assert not (project.path / "book" / "ledger.json").exists()
    assert project("def test_other(): pass").ret == 0  # without --ledger it is no concern


def test_a_duplicate_label_fails_the_session(project) -> None:
    result = project(GOOD, "--ledger-update", page=PAGE + "\n$$ x $$ (page-claim)\n")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["LEDGER page-claim: the label is used 2 times*"])


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (GOOD.replace("page-claim", "no-such"), "*names no labelled equation*"),
        (GOOD.replace('"page-claim"', ""), "*takes one or more labels*"),
        (GOOD.replace('"page-claim"', "3"), "*takes one or more labels*"),
        (GOOD.replace("(prove)", "()"), "*must use the fixture `prove`*"),
    ],
)
def test_a_mark_that_names_no_equation_is_a_collection_error(project, test, message) -> None:
    result = project(test)
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([message])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    prove(", "    (lambda *a: None)(", "*ended without proving page-claim*"),
        ('@pytest.mark.equation("page-claim")\n', "", "*mark the test with*"),
        ("e-9]))", 'e-9]), label="no-such")', "*`no-such` names no labelled equation*"),
    ],
)
def test_a_test_must_prove_what_it_is_marked_with(project, old, new, message) -> None:
    result = project(GOOD.replace(old, new))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([message])


def test_a_page_that_cannot_be_read_stops_the_run(project) -> None:
    result = project(GOOD, page="```{math}\nx\n")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*book/vision/page.md:1: this math block never closes"])


@pytest.mark.parametrize(
    ("test", "page", "message"),
    [
        (GOOD, PAGE + "\n```{math}\n:label: d\n:class: definition\nx\n```\n", "d: not in book/*"),
        (GOOD, PAGE.replace("page-definition", "other"), "page-definition: in book/ledger.json*"),
        (GOOD, PAGE.replace(":class: definition\n", ":class: definition big\n"), None),
        (GOOD.replace("test_claim", "test_new"), PAGE, "page-claim: *test_claim, which is gone*"),
        (GOOD + GOOD.replace("test_claim", "test_new"), PAGE, "*::test_new is not in book/*"),
    ],
)
def test_a_stale_committed_ledger_fails_the_session(project, test, page, message) -> None:
    assert project(GOOD, "--ledger").ret == pytest.ExitCode.TESTS_FAILED  # there is none
    assert project(GOOD, "--ledger-update").ret == 0
    assert project(GOOD, "--ledger").ret == 0
    result = project(test, "--ledger", page=page)
    if message is None:
        assert result.ret == 0
    else:
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines([f"LEDGER {message}"])


# --- what the code cites -----------------------------------------------------------------


def test_citations_in_the_sources_are_read(tmp_path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    source = '"""One (eq. page-one) and\n(eqs. page-two, page-x3 and page-four; Name, 1995)."""\n'
    (package / "module.py").write_text(source, encoding="utf-8")
    assert cited_equations(package) == {
        "page-one": ["package/module.py:1"],
        "page-two": ["package/module.py:2"],
        "page-x3": ["package/module.py:2"],
        "page-four": ["package/module.py:2"],
    }
