"""The runner behind `make results`, on a notebook made here."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from benchmarks import results

PARAMETERS = 'engine = "numpy"\ndevice = "cpu"\nseed = 0\nprofile = "quick"'
RECORD = """\
from lepton_ref.framework.evaluation import record
record("score", {"quick": 0.5, "full": 0.9}[profile])
record("seed_used", seed)
assert engine != "broken"
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    cells = [nbformat.v4.new_code_cell(PARAMETERS), nbformat.v4.new_code_cell(RECORD)]
    cells[0].metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    (tmp_path / "notebooks/toy").mkdir(parents=True)
    nbformat.write(notebook, tmp_path / "notebooks/toy/page.ipynb")
    return tmp_path


@pytest.mark.notebook
def test_a_run_leaves_its_records(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    assert results.main(["toy/page", "--seed", "3"], book) == 0
    kept = json.loads((book / "book/results/toy/page.full.numpy.json").read_text())
    assert kept["records"] == {"score": 0.9, "seed_used": 3}
    assert kept["parameters"]["profile"] == "full"
    assert kept["environment"]["numpy"]
    assert str(book) not in json.dumps(kept)


@pytest.mark.notebook
def test_a_failing_page_leaves_nothing_and_the_others_go_on(book: Path, capsys) -> None:
    assert results.main(["toy/page", "--engine", "broken", "numpy"], book) == 1
    assert [path.name for path in (book / "book/results/toy").iterdir()] == ["page.full.numpy.json"]
    assert "failed" in capsys.readouterr().err


def test_an_unknown_page_is_named(book: Path, capsys) -> None:
    assert results.main(["toy/pgae"], book) == 1
    assert "no notebook toy/pgae; there are: toy/page" in capsys.readouterr().err
