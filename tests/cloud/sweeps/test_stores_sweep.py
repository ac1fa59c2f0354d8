"""A whole sweep on every kind of store: real workers, real kernels, resumption, table, report."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from lepton_ref.cloud.sweeps import runs
from lepton_ref.cloud.sweeps.backends.local import LocalBackend
from lepton_ref.cloud.sweeps.driver import run_sweep
from lepton_ref.cloud.sweeps.errors import StoreError
from lepton_ref.cloud.sweeps.launch import launch, report_again
from lepton_ref.cloud.sweeps.plan import open_sweep
from lepton_ref.cloud.sweeps.spec import Retries, SweepSpec
from lepton_ref.cloud.sweeps.storage import Store
from tests.cloud.sweeps.sweep_tools import CHECK, DECLARED, SCORE, notebook, written
from tests.cloud.sweeps.test_storage_faults import remove_container

pytestmark = [pytest.mark.xdist_group("stores"), pytest.mark.slow]

SECRETS = ("AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING")
#: Fails when it is told to; else records.
CELLS = (DECLARED, 'if mode == "wrong":\n    raise RuntimeError("made to fail")', SCORE, CHECK)


def swept(notebook_url: str, store: str, seeds: int, **more) -> tuple[int, str]:
    """Exit code and what was printed of a sweep over so many seeds."""
    said = io.StringIO()
    console = Console(file=said, width=500)
    spec = SweepSpec(notebook_url, store, grid={"seed": tuple(range(seeds))}, **more)
    code = launch(open_sweep(spec), console, console)
    return code, " ".join(said.getvalue().split())


@pytest.mark.parametrize("kind", ["local", "memory", "s3", "azure"])
def test_a_whole_sweep(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue(f"{kind}_store")
    store = Store(url)
    source = written(tmp_path, *CELLS)
    if store.local_path() is None:  # the notebook comes from there too
        inputs = Store(url + " inputs")
        inputs.write_text("trial.ipynb", notebook(*CELLS))
        source = inputs.url_of("trial.ipynb")

    code, said = swept(source, url, 3, workers=2)
    assert code == 0, said
    assert "3 of 3 runs are complete (3 attempts" in said

    # A run that is gone and one more seed: these two are executed, and no other.
    gone = next(path.split("/")[1] for path in store.list("runs"))
    store.delete(f"runs/{gone}")
    code, said = swept(source, url, 4, workers=1)
    assert code == 0, said
    assert "4 of 4 runs are complete (2 attempts" in said

    files = store.list()
    committed = [path.split("/")[1] for path in files if path.endswith("run.json")]
    assert len(committed) == len(set(committed)) == 4
    names = ("notebook.ipynb", "run.json")
    expected = {f"runs/{run}/{name}" for run in committed for name in names}
    expected |= {"sweep.json", "index.json", "results.parquet", "results.csv", "report.html"}
    assert expected <= set(files)
    rest = set(files) - expected
    assert not any(path.startswith(("attempts/", "failed/", "checkpoints/")) for path in rest), rest

    # The table, the executed notebooks and the report say the same.
    frame = pd.read_parquet(io.BytesIO(store.read_bytes("results.parquet")))
    assert sorted(frame["id"]) == sorted(committed)
    assert set(frame["status"]) == {runs.FINISHED}
    scores = frame.set_index("p.seed")["r.score"].astype(float)
    assert {int(seed): score for seed, score in scores.items()} == {
        seed: round(0.1 * (seed + 1), 6) for seed in range(4)
    }
    assert len(store.read_text("results.csv").splitlines()) == 5
    for run in committed:
        outcome = runs.Outcome.from_json(store.read_json(f"runs/{run}/run.json"))
        executed = json.loads(store.read_text(outcome.artifact))
        assert outcome.artifact == f"runs/{run}/notebook.ipynb"
        assert all(c["execution_count"] for c in executed["cells"] if c["cell_type"] == "code")
    page = store.read_text("report.html")
    assert page.startswith("<!DOCTYPE html>") and all(run in page for run in committed)

    # Again: nothing is executed and nothing written.
    before = {path: store.read_bytes(path) for path in files}
    code, said = swept(source, url, 4)
    assert code == 0 and "4 of 4 runs are complete (nothing was executed" in said
    assert {path: store.read_bytes(path) for path in store.list()} == before
    assert report_again(url) == 4

    # The credentials stand in no file.
    keys = [value for name, value in os.environ.items() if name in SECRETS]
    assert bool(keys) == (kind in ("s3", "azure"))
    keys = [re.sub(".*AccountKey=([^;]*).*", r"\1", key) for key in keys]
    for path in store.list():
        content = store.read_bytes(path)
        assert not any(key.encode() in content for key in keys), path


@pytest.mark.parametrize("kind", ["gs", "oss"])
def test_a_small_sweep_on_what_stands_for_a_service(
    kind: str, request: pytest.FixtureRequest, clean_env: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = request.getfixturevalue(f"{kind}_store")
    if kind == "gs":  # the emulator asks for no credentials; for the workers
        clean_env.setenv("FSSPEC_GS_TOKEN", "anon")
    code, said = swept(written(tmp_path, *CELLS), url, 2, workers=1)
    assert code == 0, said
    assert "2 of 2 runs are complete (2 attempts" in said
    frame = pd.read_parquet(io.BytesIO(Store(url).read_bytes("results.parquet")))
    assert frame["r.score"].astype(float).tolist() == [0.1, 0.2]
    assert len(Store(url).list("runs")) == 4
    code, said = swept(written(tmp_path, *CELLS), url, 2)
    assert code == 0 and "nothing was executed" in said


@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_failed_runs_are_kept_and_told(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue(f"{kind}_store")
    store, path = Store(url), written(tmp_path, *CELLS)
    code, said = swept(path, url, 1, parameters={"mode": "wrong"}, retries=Retries(0, 0))
    assert code == 1
    assert "RuntimeError: made to fail" in said
    (run,) = {name.split("/")[1] for name in store.list("failed")}
    assert store.list("failed") == [f"failed/{run}/0/notebook.ipynb", f"failed/{run}/0/run.json"]
    assert "made to fail" in store.read_text(f"failed/{run}/0/notebook.ipynb")
    assert store.list("runs") == []
    assert "made to fail" in store.read_text("report.html")


class Vanishing(LocalBackend):
    """Takes the bucket away when the first run has ended."""

    def __init__(self, store: Store) -> None:
        super().__init__(1)
        self.store: Store | None = store

    def wait(self, timeout: float) -> list[runs.Outcome]:
        ended = super().wait(timeout)
        if ended and self.store is not None:
            remove_container(self.store)
            self.store = None
        return ended


@pytest.mark.parametrize("kind", ["s3", "azure"])
def test_a_bucket_that_vanishes_ends_the_sweep(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue(f"{kind}_store")
    plan = open_sweep(SweepSpec(written(tmp_path, *CELLS), url, grid={"seed": (0, 1, 2, 3)}))
    backend, store = Vanishing(Store(url)), Store(url)
    # Its bucket must be empty to go: nothing but runs may lie there.
    store_write = store.write_json
    store.write_json = lambda path, value: path == "sweep.json" or store_write(path, value)  # type: ignore[method-assign,assignment,func-returns-value]
    with pytest.raises(StoreError, match="there is no such (bucket|container), or no longer"):
        run_sweep(plan, backend, store)
    assert backend.running() == 0
