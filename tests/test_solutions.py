"""Each exercise has a solution, and the code of each solution runs and tests its claim."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest

import lepton_ref
from tests.myst import Directive, directives, pages

BOOK = Path(__file__).parent.parent / "book"
SECONDS = 3.0


def solutions() -> list[pytest.ParameterSet]:
    return [
        pytest.param(path, solution, id=f"{path.relative_to(BOOK)}:{solution.argument}")
        for path in pages(BOOK)
        for solution in directives(path.read_text(encoding="utf-8"), "solution")
    ]


@pytest.mark.parametrize(("path", "solution"), solutions())
def test_solution_runs(path: Path, solution: Directive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(BOOK.parent)
    code = solution.code()
    tree = ast.parse(code, filename=str(path))
    asserted = [n.test for n in ast.walk(tree) if isinstance(n, ast.Assert)]
    assert asserted, f"the solution of {solution.argument} holds no assert"
    assert not any(isinstance(test, ast.Constant) for test in asserted), "an assert of a constant"
    began = time.thread_time()
    with lepton_ref.use("numpy"):
        exec(compile(tree, str(path), "exec"), {"__name__": f"solution of {solution.argument}"})
    spent = time.thread_time() - began
    assert spent < SECONDS, f"{spent:.1f} s; a solution takes at most {SECONDS:.0f} s"


@pytest.mark.parametrize("path", pages(BOOK), ids=lambda path: str(path.relative_to(BOOK)))
def test_each_exercise_has_one_solution(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    exercises = [d.options.get("label") for d in directives(text, "exercise")]
    solved = [d.argument for d in directives(text, "solution")]
    assert None not in exercises, "an exercise has no :label:"
    assert sorted(exercises) == sorted(solved)  # type: ignore[type-var]


# --- the reading of pages, on a page made for it -----------------------------------------

PAGE = """\
# Page

````{exercise} Title
:label: ex-page-1
Show $x$.
````

`````{solution} ex-page-1
:label: sol-page-1
:class: dropdown
Because:
```python
x = 1
```
and so:
```{code-block} python
assert x == 2
```
```text
assert nothing
```
`````

````md
```{solution} not-this
```
````
"""


def test_directives_are_read_with_options_and_code() -> None:
    (exercise,) = directives(PAGE, "exercise")
    (solution,) = directives(PAGE, "solution")
    assert (exercise.argument, exercise.options["label"]) == ("Title", "ex-page-1")
    assert (solution.argument, solution.options["class"]) == ("ex-page-1", "dropdown")
    code = solution.code()
    assert code.split() == ["x", "=", "1", "assert", "x", "==", "2"]
    for number, line in enumerate(code.splitlines(), 1):  # tracebacks show the page's lines
        assert line in ("", PAGE.splitlines()[number - 1])


def test_a_wrong_solution_fails() -> None:
    (solution,) = directives(PAGE, "solution")
    with pytest.raises(AssertionError):
        exec(solution.code(), {})
