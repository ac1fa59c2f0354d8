"""The character model of the page text/rnn: perplexity, temperature, windows, training, samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.optimizers import SGD, Adam
from lepton_ref.text.rnn.characters import (
    CharacterModel,
    mean_nll,
    next_probabilities,
    ngram_nll,
    perplexity,
    sample,
    streams,
    train,
    windows,
)
from tests.numeric import relative_error


@pytest.mark.equation("rnn-perplexity")
def test_perplexity_is_a_geometric_mean(engine, rng, prove):
    """exp of the model's loss, against the product of 1/p over the text, one step at a time."""
    model = CharacterModel(7, hidden_size=5, embed_dim=3, rng=rng).astype("float64")
    ids = rng.integers(0, 7, 12)
    ours = perplexity(mean_nll(model, streams(ids, 1), num_steps=4))
    product, state = 1.0, None
    for now, then in zip(ids[:-1], ids[1:]):
        logits, state = model(engine.array(np.array([[now]])), state=state)
        z = engine.asnumpy(logits)[0, 0]
        product *= 1 / (math.exp(z[then]) / sum(math.exp(v) for v in z))
    prove(ours, product ** (1 / 11), oracle="product", tol=1e-10)
    prove(perplexity(math.log(64)), 64.0, oracle="closed form", tol=1e-12)


@pytest.mark.equation("rnn-temperature")
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_temperature_is_a_power(prove, rng, temperature):
    z = rng.normal(size=(3, 6))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    powers = np.array([[v ** (1 / temperature) for v in row] for row in p])
    expected = powers / powers.sum(axis=1, keepdims=True)
    prove(next_probabilities(z, temperature), expected, oracle="powers", tol=1e-12)


def test_streams_and_windows_cover_the_text_in_order():
    rows = streams(np.arange(23), 3)
    assert rows.tolist() == [list(range(7)), list(range(7, 14)), list(range(14, 21))]
    pieces = list(windows(rows, 4))
    assert [x.shape for x, _ in pieces] == [(3, 4), (3, 2)]
    assert np.array_equal(np.concatenate([x for x, _ in pieces], axis=1), rows[:, :-1])
    assert np.array_equal(np.concatenate([y for _, y in pieces], axis=1), rows[:, 1:])


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_it_learns_a_rhyme(engine, cell):
    """A text that repeats every 7 characters is predicted after a few steps."""
    rng = np.random.default_rng(0)
    ids = np.tile([0, 1, 2, 0, 3, 2, 1], 40)
    model = CharacterModel(4, hidden_size=16, embed_dim=8, cell=cell, rng=rng)
    before = mean_nll(model, streams(ids, 4))
    run = train(model, streams(ids, 4), Adam(0.03), num_steps=14, steps=60, max_norm=1.0)
    after = mean_nll(model, streams(ids, 4))
    assert len(run.losses) == len(run.norms) == 60
    assert before > 1.0 and after < 0.2
    drawn = sample(model, [0, 1, 2, 0, 3, 2, 1], 14, rng, temperature=0.1)
    assert drawn == [0, 1, 2, 0, 3, 2, 1] * 2


def test_the_state_is_carried_and_the_gradient_is_not(engine, rng):
    """Two windows trained with a rate of zero: losses of the whole, read in one piece."""
    model = CharacterModel(5, hidden_size=6, embed_dim=4, rng=rng)
    rows = streams(rng.integers(0, 5, 42), 2)
    run = train(model, rows, SGD(1e-12), num_steps=10, steps=2)
    whole = mean_nll(model, rows, num_steps=20)
    assert relative_error(run.losses.mean(), whole) < 1e-5
    assert run.norms.min() > 0


def test_a_run_that_explodes_ends_early(engine, rng):
    model = CharacterModel(5, hidden_size=6, embed_dim=4, rng=rng)
    model.E.assign(model.head.weight, model.E.array(np.full((6, 5), np.nan)))
    run = train(model, streams(rng.integers(0, 5, 42), 2), SGD(0.1), num_steps=5, steps=9)
    assert len(run.losses) == 1 and not np.isfinite(run.losses[0])


def test_counts_by_hand():
    """p(c | b) with the longer context mixed into the shorter."""
    train_ids, test_ids = np.array([0, 1, 0, 1, 2]), np.array([0, 1, 2])
    uniform = 1 / 3
    unigram = [(c + uniform) / 6 for c in (2, 2, 1)]
    assert ngram_nll(train_ids, test_ids, 1, 3) == pytest.approx(-np.log(unigram).mean())
    one = (2 + unigram[1]) / (2 + 1)  # 1 after 0: twice, and 0 is followed twice
    two = (1 + unigram[2]) / (2 + 1)  # 2 after 1: once, and 1 is followed twice
    assert ngram_nll(train_ids, test_ids, 2, 3) == pytest.approx(-np.log([one, two]).mean())


def test_counts_are_a_distribution(rng):
    train_ids = rng.integers(0, 4, 200)
    for n in (1, 2, 3):
        context = list(rng.integers(0, 4, n - 1))
        total = sum(
            math.exp(-ngram_nll(train_ids, np.array([*context, c]), n, 4)) for c in range(4)
        )
        assert total == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: CharacterModel(5, cell="cnn", rng=r), "`cell` has the value 'cnn'"),
        (lambda r: CharacterModel(0, rng=r), "num_characters"),
        (lambda r: streams([1, 2, 3], 2), "`batch_size` has the value 2 for 3 characters"),
        (lambda r: streams([1, 2, 3], 0), "at least 1"),
        (lambda r: list(windows(np.zeros((1, 5), int), 0)), "`num_steps` has the value 0"),
        (lambda r: ngram_nll(np.zeros(5), np.zeros(5), 6, 2), "`n` has the value 6"),
        (lambda r: next_probabilities(np.zeros(3), 0.0), "`temperature` has the value 0.0"),
        (lambda r: sample(CharacterModel(5, 4, 3, rng=r), [], 3, r), "`prompt` has no characters"),
    ],
)
def test_wrong_arguments_are_named(call, message, rng):
    with pytest.raises(ArgumentError, match=message):
        call(rng)


def test_a_character_beyond_the_alphabet_is_named(engine, rng):
    model = CharacterModel(5, hidden_size=4, embed_dim=3, rng=rng)
    with pytest.raises(ArgumentError, match="the value 5"):
        model(engine.array(np.array([[0, 5]])))
