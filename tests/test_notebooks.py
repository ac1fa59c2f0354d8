"""Every notebook: its form, other engines and seeds, and bad parameters.

Whether the stored outputs are what a fresh run gives is nbval's question:
``pytest --nbval notebooks``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

import lepton_ref
from lepton_ref.engines import installed
from lepton_ref.framework.errors import ArgumentError, EngineError
from tests.myst import directives

ROOT = Path(__file__).parent.parent
LONGEST = "vision/classification"  # begun last, it would keep one worker waiting
NOTEBOOKS = sorted(
    (
        path.relative_to(ROOT / "notebooks").with_suffix("").as_posix()
        for path in (ROOT / "notebooks").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
    ),
    key=lambda page: (page != LONGEST, page),
)
DEFAULTS = {"engine": "numpy", "device": "cpu", "profile": "quick"}
OTHER_SEED = 1
QUICK_SECONDS = 300  # a hanging run is stopped; the budget proper is 60 s on 2 free cores
MARKERS = re.compile(r"NBVAL_|PYTEST_VALIDATE")
PRIVATE_PATH = re.compile(r"(?:/home|/root|/Users|/tmp|[A-Z]:\\Users)[/\\]\w")

each_notebook = pytest.mark.parametrize("page", NOTEBOOKS)


def read(page: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{page}.ipynb", as_version=4)


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def parameters(page: str) -> dict[str, Any]:
    """The defaults of the parameters cell."""
    found = {}
    for node in ast.parse(read(page).cells[1].source).body:
        assert isinstance(node, ast.Assign) and len(node.targets) == 1, ast.unparse(node)
        (target,) = node.targets
        assert isinstance(target, ast.Name)
        found[target.id] = ast.literal_eval(node.value)
    return found


def calls(cell: nbformat.NotebookNode, name: str) -> list[ast.Call]:
    return [
        node
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == name
    ]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


# --- form ------------------------------------------------------------------------------


@each_notebook
def test_first_three_cells_and_the_last(page: str) -> None:
    cells = read(page).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    for words in ("do|you will", "learn", "need"):
        assert re.search(rf"\b({words})\b", cells[0].source, re.I), f"cell 1 does not say: {words}"
    assert cells[1].cell_type == "code" and "parameters" in tags(cells[1])
    for line in cells[1].source.splitlines():
        assert not line.strip() or "#" in line, f"a parameter without a comment: {line}"
    given = parameters(page)
    assert {name: given.get(name) for name in DEFAULTS} == DEFAULTS
    assert type(given["seed"]) is int
    (call,) = calls(cells[2], "check_parameters")
    declared = {keyword.arg for keyword in call.keywords} - {"profiles"}
    assert declared == set(given), "check_parameters must be told every parameter, and no other"
    assert cells[-1].cell_type == "code" and calls(cells[-1], "check"), "the last cell checks"


@each_notebook
def test_stored_outputs_are_whole_and_clean(page: str) -> None:
    notebook = read(page)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert notebook.metadata.get("kernelspec", {}).get("name") == "python3"
    for cell in code:
        assert "execution" not in cell.metadata, "stored timings change at every run"
        for output in cell.outputs:
            assert output.output_type != "error" or "raises-exception" in tags(cell)
            assert output.get("name") != "stderr", f"stderr: {output.get('text')}"
            text = str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", ""))
            assert not PRIVATE_PATH.search(text), f"a path of one machine: {text}"
            if any(kind.startswith("image/") for kind in output.get("data", {})):
                alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
                assert len(alt) > 10, f"a picture without alternative text: {cell.source[:80]}"


@each_notebook
def test_nothing_but_pictures_escapes_comparison(page: str) -> None:
    for cell in read(page).cells:
        if cell.cell_type != "code":
            continue
        skipping = {"nbval-skip", "nbval-ignore-output", "skip-execution"} & set(tags(cell))
        assert not MARKERS.search(cell.source), "say it with a tag of the cell"
        assert "nbval-skip" not in skipping and "skip-execution" not in skipping
        if skipping:
            kinds = {kind for out in cell.outputs for kind in out.get("data", {"stream": ""})}
            assert any(kind.startswith("image/") for kind in kinds)
            assert kinds <= {"image/png", "image/svg+xml", "text/plain"}


@each_notebook
def test_four_doors(page: str) -> None:
    chapter, name = page.split("/")
    assert (ROOT / "book" / f"{page}.md").is_file()
    code = ROOT / "lepton_ref" / page
    assert code.with_suffix(".py").is_file() or (code / "__init__.py").is_file()
    proofs = ROOT / "tests" / chapter
    assert list(proofs.glob(f"test_{name}.py")) + list(proofs.glob(f"{name}/test_*.py"))


@each_notebook
def test_prose_links_here_and_has_three_exercises(page: str) -> None:
    text = (ROOT / "book" / f"{page}.md").read_text(encoding="utf-8")
    assert f"/notebooks/{page}" in text, "the page does not link to its notebook"
    assert len(directives(text, "exercise")) >= 3


# --- other engines and seeds -------------------------------------------------------------

OTHERS = [name for name in installed() if name != "numpy"] or ["numpy"]
# What a notebook says of its parameter `engine` where it computes the same on all of them.
NO_PART = "plays no part"


def others(page: str) -> list[str]:
    """The engines to run it on beside the default; one where the engine changes nothing."""
    (line,) = [x for x in read(page).cells[1].source.splitlines() if x.startswith("engine")]
    return OTHERS[:1] if NO_PART in line else OTHERS


def run(page: str, folder: Path, **given: Any) -> nbformat.NotebookNode:
    import papermill

    source = ROOT / "notebooks" / f"{page}.ipynb"
    return papermill.execute_notebook(
        source,
        folder / "out.ipynb",
        parameters=given,
        cwd=source.parent,
        kernel_name="python3",
        progress_bar=False,
        execution_timeout=QUICK_SECONDS,
    )


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel of this environment, whatever else the user has; one thread for each of two."""
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("page", "other"), [(page, other) for page in NOTEBOOKS for other in others(page)]
)
def test_runs_with_another_engine_and_seed(page: str, other: str, tmp_path, kernels) -> None:
    done = run(page, tmp_path, engine=other, seed=OTHER_SEED)
    assert all(cell.execution_count for cell in done.cells if cell.cell_type == "code")
    assert [c for c in done.cells if "injected-parameters" in tags(c)], "not parametrised"


# --- bad parameters ----------------------------------------------------------------------


@pytest.mark.notebook
@each_notebook
def test_a_run_with_an_unknown_engine_stops_with_its_reason(page, tmp_path, kernels) -> None:
    from papermill.exceptions import PapermillExecutionError

    with pytest.raises(PapermillExecutionError) as caught:
        run(page, tmp_path, engine="nmupy")
    assert caught.value.ename == "EngineError"
    assert "unknown engine 'nmupy'" in caught.value.evalue
    assert caught.value.exec_count == 3, "cells ran before the engine was checked"


def third_cell(page: str, **given: Any) -> None:
    """Run the third cell with the defaults and `given`."""
    cells = read(page).cells
    namespace = parameters(page) | given
    code = compile(cells[2].source, f"{page}, cell 3", "exec")
    with lepton_ref.use("numpy"):
        exec(code, namespace)


@each_notebook
def test_defaults_and_the_full_profile_are_accepted(page: str) -> None:
    third_cell(page)
    third_cell(page, profile="full")


@each_notebook
def test_parameters_are_checked_before_any_work(page: str) -> None:
    body = ast.parse(read(page).cells[2].source).body
    first = next(node for node in body if not isinstance(node, ast.Import | ast.ImportFrom))
    assert isinstance(first, ast.Assign | ast.Expr), ast.unparse(first)
    call = first.value
    assert isinstance(call, ast.Call), ast.unparse(first)
    assert ast.unparse(call.func) == "check_parameters", ast.unparse(first)
    assert {k.arg for k in call.keywords} == set(parameters(page))


@each_notebook
def test_every_parameter_of_a_wrong_type_is_refused_by_name(page: str) -> None:
    for name in parameters(page):
        with pytest.raises(ArgumentError, match=f"argument `{name}`"):
            third_cell(page, **{name: ["wrong"]})


@each_notebook
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"profile": "qiuck"}, ArgumentError, "'quick' or 'full'"),
        ({"seed": -1}, ArgumentError, "argument `seed`"),
        ({"seed": "0"}, ArgumentError, "type int"),
        ({"engine": "caffe"}, EngineError, "unknown engine 'caffe'"),
        ({"device": "gpu"}, EngineError, "no device 'gpu'"),
        ({"device": "tpu"}, EngineError, "unknown device 'tpu'"),
    ],
)
def test_bad_values_are_refused(page: str, given, error, message: str) -> None:
    with pytest.raises(error, match=message):
        third_cell(page, **given)
