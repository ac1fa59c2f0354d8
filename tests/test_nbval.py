"""The comparison of stored outputs: exact, but for numbers where a cell allows a distance."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"

_spec = importlib.util.spec_from_file_location("comparison", NOTEBOOKS / "conftest.py")
assert _spec and _spec.loader
comparison = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(comparison)


@pytest.mark.parametrize(
    ("fresh", "stored", "atol", "equal"),
    [
        ("accuracy 0.871", "accuracy 0.869", 0.01, True),
        ("accuracy 0.871", "accuracy 0.850", 0.01, False),
        ("accuracy 0.871", "precision 0.871", 0.01, False),
        ("accuracy 0.871", "accuracy 0.871 0.871", 0.01, False),
        ("[ 0.01 -1.  ]", "[-0.01 -1.  ]", 0.05, True),
        ("loss 0.45", "loss 0.44", 0.01, True),
        ("loss 0.4501", "loss 0.44", 0.01, False),
        ("loss 1e-3", "loss 1.2e-3", 0.001, True),
        ("loss nan", "loss 0.1", 10.0, False),
        ("loss inf", "loss inf", 0.0, True),
        ("a\nb", "a b", 1.0, False),
        ("conv2d", "conv3d", 5.0, False),
        ("12 of 100", "13 of 100", 1.0, True),
        ("12 of 100", "14 of 100", 1.0, False),
    ],
)
def test_words_exactly_numbers_within(fresh: str, stored: str, atol: float, equal: bool) -> None:
    assert comparison.close(fresh, stored, atol) is equal


def test_a_relative_tolerance_scales_with_the_stored_number() -> None:
    assert comparison.close("1010 rows", "1000 rows", 0.0, 0.01)
    assert not comparison.close("1011 rows", "1000 rows", 0.0, 0.01)


CELLS: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    # name: (source, stored output, metadata, passes)
    "exact": ("print(0.87)", "0.87\n", {}, True),
    "untagged": ("print(0.870)", "0.871\n", {}, False),
    "within": ("print('acc', 0.87)", "acc 0.871\n", {"lepton": {"atol": 0.01}}, True),
    "beyond": ("print('acc', 0.89)", "acc 0.871\n", {"lepton": {"atol": 0.01}}, False),
    "word": ("print('auc', 0.87)", "acc 0.87\n", {"lepton": {"atol": 0.01}}, False),
    "silent": ("None", "acc 0.87\n", {"lepton": {"atol": 0.01}}, False),
    "more": ("print(1); display(1)", "1\n", {"lepton": {"atol": 0.01}}, False),
    "address": ("print('<at 0x7f00deadbeef>')", "<at 0x7f00aaaaaaaa>\n", {}, True),
    "progress": (
        "print('run: 100%|####| 5/5 [00:01<00:00]')",
        "run: 100%|##  | 5/5 [00:09<00:00]\n",
        {},
        True,
    ),
    "error": ("1 / 0", "1\n", {}, False),
}


@pytest.fixture
def validated(pytester: pytest.Pytester):
    """Runs nbval, in a process of its own, on one notebook with these cells."""
    folder = pytester.mkdir("notebooks")
    for name in ("conftest.py", "nbval.cfg"):
        shutil.copy(NOTEBOOKS / name, folder / name)

    def run(cells: dict[str, tuple[str, str, dict[str, Any], bool]]) -> pytest.RunResult:
        notebook = nbformat.v4.new_notebook()
        for count, (source, stored, metadata, _) in enumerate(cells.values(), 1):
            output = nbformat.v4.new_output("stream", name="stdout", text=stored)
            cell = nbformat.v4.new_code_cell(source, execution_count=count, outputs=[output])
            cell.metadata.update(metadata)
            notebook.cells.append(cell)
        nbformat.write(notebook, folder / "page.ipynb")
        return pytester.runpytest_subprocess("--nbval", "--nbval-current-env", "-v", "notebooks")

    return run


@pytest.mark.notebook
def test_nbval_on_a_notebook_of_every_kind_of_cell(validated) -> None:
    result = validated(CELLS)
    for i, (name, (*_, passes)) in enumerate(CELLS.items()):
        wanted = "PASSED" if passes else "FAILED"
        assert any(f"Cell {i} {wanted}" in line for line in result.outlines), name
    result.assert_outcomes(
        passed=sum(passes for *_, passes in CELLS.values()),
        failed=sum(not passes for *_, passes in CELLS.values()),
    )


@pytest.mark.notebook
def test_the_stored_result_record_is_compared_as_well(validated) -> None:
    display = "display({{'application/papermill.record/text/plain': '{}'}}, raw=True)"
    tag = {"lepton": {"atol": 0.01}}
    result = validated({"a": (display.format("0.9"), "0.9\n", tag, False)})
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Missing output fields*"])


@pytest.mark.notebook
def test_a_tolerance_that_allows_everything_is_refused(validated) -> None:
    result = validated({"a": ("1", "1\n", {"lepton": {"atol": -1}}, False)})
    assert result.ret == pytest.ExitCode.USAGE_ERROR
