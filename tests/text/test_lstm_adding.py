"""The adding problem of the page text/lstm: the task, the baseline, the models."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.optimizers import Adam
from lepton_ref.text.lstm.adding import BASELINE, LastState, adding_problem, learn
from tests.numeric import relative_error


@pytest.mark.parametrize("T", [2, 3, 10])
def test_the_task(rng, T):
    """Two marks, one in each half, and the sum of the numbers beside them."""
    x, target = adding_problem(200, T, rng)
    assert x.shape == (200, T, 2) and target.shape == (200, 1)
    assert x.dtype == target.dtype == np.float32
    marks = x[:, :, 1]
    assert set(np.unique(marks)) <= {0.0, 1.0}
    assert (marks[:, : T // 2].sum(axis=1) == 1).all()
    assert (marks[:, T // 2 :].sum(axis=1) == 1).all()
    assert (marks.sum(axis=0) > 0).all()  # every step is marked now and then
    by_hand = [sum(v for v, mark in row if mark) for row in x.astype(float)]
    np.testing.assert_allclose(target[:, 0], by_hand, rtol=1e-6)


@pytest.mark.equation("lstm-adding-baseline")
def test_the_best_answer_that_does_not_read(prove):
    """All sums on a fine grid of both numbers, and all constants around the mean."""
    u = (np.arange(1000) + 0.5) / 1000
    sums = u[:, None] + u
    errors = {a: ((sums - a) ** 2).mean() for a in np.linspace(0.9, 1.1, 41)}
    assert min(errors, key=errors.get) == pytest.approx(1)
    prove(BASELINE, min(errors.values()), oracle="grid", tol=1e-5)


def test_it_learns_short_sums(engine):
    """Eight steps: far below the baseline after a hundred updates, and it stops when told."""
    rng = np.random.default_rng(0)
    model = LastState(2, 16, "lstm", longest=8, rng=rng)
    run = learn(model, 8, Adam(0.03), 150, rng, batch_size=32, enough=0.01)
    assert run.test_error < 0.03 < BASELINE
    assert len(run.losses) < 150 or run.losses[-25:].mean() < 0.03


def test_a_run_that_is_not_finite_ends_early(engine, rng):
    model = LastState(2, 4, "rnn", rng=rng)
    engine.assign(model.head.weight, engine.array(np.full((4, 1), np.nan)))
    assert len(learn(model, 4, Adam(0.01), 10, rng, batch_size=2).losses) == 1


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_masked_row_is_answered_as_if_alone(engine, rng, cell):
    model = LastState(2, 4, cell, outputs=3, rng=rng)
    x, _ = adding_problem(3, 6, rng)
    mask = np.arange(6) < np.array([[2], [6], [4]])
    y = engine.asnumpy(model(engine.array(x), mask=mask))
    alone = engine.asnumpy(model(engine.array(x[:1, :2])))
    assert y.shape == (3, 3) and relative_error(y[:1], alone) < 1e-5


def test_long_memories_from_the_start(rng):
    model = LastState(2, 40, "lstm", longest=100, rng=rng, engine="numpy")
    forget = model.cell.b_0[40:80]
    assert forget.min() >= 0 and np.log(30) < forget.max() <= np.log(99)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: adding_problem(0, 5, r), "the values 0, 5"),
        (lambda r: adding_problem(5, 1, r), "T >= 2"),
        (lambda r: LastState(2, 4, "cnn", rng=r), "`cell` has the value 'cnn'"),
        (lambda r: LastState(2, 4, "rnn", longest=9, rng=r), "`longest` goes with lstm"),
        (lambda r: LastState(2, 4, "lstm", longest=2, rng=r), "`longest` has the value 2"),
    ],
)
def test_wrong_arguments_are_named(rng, call, message):
    with pytest.raises(ArgumentError, match=message):
        call(rng)
