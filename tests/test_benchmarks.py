"""The benchmarks: every library computes the same numbers, and the table says what was measured."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from benchmarks import run, worker
from benchmarks.rows import OURS, OURS_BESIDE_MXNET, PEERS, all_rows

ROWS = all_rows()
HERE = ("torch", "autograd")  # peers that run in this process


def computed(row, peer, path):
    step, result = row.builder(peer)(row.inputs(np.random.default_rng(worker.SEED)))
    step()
    np.savez(path, **{k: np.asarray(v) for k, v in result().items()})


@pytest.mark.parametrize("peer", HERE)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.group}-{row.name}")
def test_peers_compute_what_ours_computes(row, peer, tmp_path):
    if row.builder(peer) is None or importlib.util.find_spec(peer) is None:
        pytest.skip(f"without {peer}")
    if peer == "autograd" and "32→64" in row.name:
        pytest.skip("takes seconds; the benchmark itself compares it")
    if peer == "autograd":
        pytest.importorskip("scipy")
    computed(row, OURS, tmp_path / "ours.npz")
    computed(row, peer, tmp_path / "theirs.npz")
    assert run.disagreement(tmp_path / "ours.npz", tmp_path / "theirs.npz") == ""


def test_every_row_is_ours_and_has_a_bar_and_a_unique_name():
    assert all(row.builder(OURS) is row.builder(OURS_BESIDE_MXNET) for row in ROWS)
    assert all(row.bar is not None and "torch" in row.peers for row in ROWS)
    assert all(set(row.peers) <= set(PEERS) for row in ROWS)
    assert len({(row.group, row.name) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    "theirs, why",
    [
        ({"y": np.ones(3)}, "results"),
        ({"y": np.ones(3), "dx": np.ones((2, 1))}, "shape"),
        ({"y": np.ones(3), "dx": np.array([1.0, 1.1])}, "dx differs"),
        ({"y": np.ones(3), "dx": np.array([1.0, np.nan])}, "dx differs"),
    ],
)
def test_a_peer_that_computes_something_else_is_found(theirs, why, tmp_path):
    np.savez(tmp_path / "a.npz", y=np.ones(3), dx=np.ones(2))
    np.savez(tmp_path / "b.npz", **theirs)
    assert why in run.disagreement(tmp_path / "a.npz", tmp_path / "b.npz")


def test_figures():
    ms = {OURS: 2.0, OURS_BESIDE_MXNET: 3.0, "torch": 1.6, "chainer": 5.0}
    found = run.figures(ms, bar=1.25)
    assert found["ratio_to_torch"] == 1.25 and found["within_bar"] is True
    assert found["ratio_to_torch_numpy_1.26"] == 1.88
    assert found["times_faster_than"] == {"chainer": 2.5}
    alone = run.figures({OURS: 2.0}, bar=1.0)
    assert alone["ratio_to_torch"] is None and alone["within_bar"] is None


def test_a_forced_blas_kernel_is_not_handed_on(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1024")
    found = run.environment(threads=2)
    assert "OPENBLAS_CORETYPE" not in found and "OPENBLAS_L2_SIZE" not in found
    assert found["OMP_NUM_THREADS"] == found["OPENBLAS_NUM_THREADS"] == "2"


def test_the_shortest_call_counts():
    seconds, calls = worker.measure(lambda: None, 0.01)
    assert calls > 1 and 0 <= seconds < 0.01
    assert worker.measure(lambda: None, 0.0)[1] == 1
