"""Checkpoints that a sweep gives to a call of `fit` which names none."""

from __future__ import annotations

import itertools
import signal

import numpy as np
import pytest

from lepton_ref.cloud.sweeps.preemption import MachineGoes
from lepton_ref.framework.layers import Dense, Dropout, ReLU, Sequential
from lepton_ref.framework.losses import cross_entropy
from lepton_ref.framework.optimizers import Adam
from lepton_ref.framework.training import Callback, EarlyStopping, checkpoints, fit


@pytest.fixture
def in_a_sweep(monkeypatch, tmp_path):
    """As in the kernel of a sweep: a folder, and calls of `fit` counted from 1."""
    monkeypatch.setenv("LEPTON_CHECKPOINTS", str(tmp_path))
    begin_again(monkeypatch)
    return tmp_path


def begin_again(monkeypatch) -> None:
    """As in the kernel of the next attempt."""
    monkeypatch.setattr(checkpoints, "_calls", itertools.count(1))


def run(callbacks=(), seed: int = 0, epochs: int = 3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 6)).astype("float32")
    y = rng.integers(0, 3, 40)
    model = Sequential(Dense(6, 8, rng=rng), ReLU(), Dropout(0.3), Dense(8, 3, rng=rng))
    history = fit(
        model, cross_entropy, (x, y), Adam(0.01), epochs, rng=rng, batch_size=8,
        validation=(x, y), callbacks=callbacks, progress=False,
    )  # fmt: skip
    return model.state(), history.losses


def test_outside_a_sweep_nothing_is_saved(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("LEPTON_CHECKPOINTS", raising=False)
    monkeypatch.chdir(tmp_path)
    run()
    assert not list(tmp_path.iterdir())


def test_a_terminated_run_goes_on_to_the_bit(in_a_sweep, monkeypatch) -> None:
    monkeypatch.delenv("LEPTON_CHECKPOINTS")
    whole, losses = run()
    monkeypatch.setenv("LEPTON_CHECKPOINTS", str(in_a_sweep))
    begin_again(monkeypatch)
    with pytest.raises(SystemExit) as caught:
        run([MachineGoes(2)])
    assert caught.value.code == 128 + signal.SIGTERM
    assert [path.name for path in in_a_sweep.iterdir()] == ["fit-1.checkpoint"]
    begin_again(monkeypatch)
    again, losses_again = run([MachineGoes(2)])
    assert losses_again == losses
    for name, array in whole.items():
        np.testing.assert_array_equal(again[name], array)


def test_each_call_has_its_own(in_a_sweep, monkeypatch) -> None:
    first, second = run(seed=0), run(seed=1)
    assert sorted(p.name for p in in_a_sweep.iterdir()) == ["fit-1.checkpoint", "fit-2.checkpoint"]
    begin_again(monkeypatch)
    # Both are found finished, each under its own number.
    for before, after in ((first, run(seed=0)), (second, run(seed=1))):
        assert before[1] == after[1]
        np.testing.assert_array_equal(before[0]["0.weight"], after[0]["0.weight"])


def test_a_callback_without_state_is_not_resumed_around(in_a_sweep) -> None:
    class Forgetful(Callback):
        def on_step(self, run) -> None:
            pass

    run([Forgetful()])
    assert not list(in_a_sweep.iterdir())
    run([EarlyStopping()])
    assert [path.name for path in in_a_sweep.iterdir()] == ["fit-2.checkpoint"]


def test_report_tells_a_column_after_each_epoch(monkeypatch) -> None:
    from lepton_ref.framework.training import Report, callbacks

    told: list[tuple[str, float, int]] = []
    monkeypatch.setattr(callbacks, "report", lambda *what: told.append(what))
    run([Report("validation_loss")])
    assert [(name, step) for name, _, step in told] == [("validation_loss", k) for k in (1, 2, 3)]
    assert told[0][1] > told[2][1] > 0


def test_report_of_a_column_that_is_not_there() -> None:
    from lepton_ref.framework.errors import ArgumentError
    from lepton_ref.framework.training import Report

    with pytest.raises(ArgumentError, match="`monitor` has the value 'loss'; expected one of"):
        run([Report("loss")])


@pytest.mark.parametrize(
    ("value", "step"), [(float("nan"), 0), ("high", 0), (1.0, -1), (1.0, True), (1.0, 0.5)]
)
def test_report_refuses_what_is_no_figure(value, step) -> None:
    from lepton_ref.framework.errors import ArgumentError
    from lepton_ref.framework.evaluation import report

    with pytest.raises(ArgumentError, match="argument `value`"):
        report("score", value, step)
