"""The equations of the page text/sentiment, each against a second, plainer way."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.data import k_fold
from lepton_ref.framework.evaluation import accuracy, precision_recall_f1
from lepton_ref.framework.losses import cross_entropy
from lepton_ref.framework.optimizers import SGD, Adam
from lepton_ref.framework.training import fit
from lepton_ref.text.sentiment import (
    RNN,
    Classifier,
    SentimentNetwork,
    backwards,
    class_weights,
    grade_classes,
    pair_rows,
    word_dropout,
)
from lepton_ref.text.sentiment.network import BUCKETS
from lepton_ref.text.sentiment.printed_log import can_print, least_loss, steps_per_epoch
from lepton_ref.text.tokens import Vocabulary, bag_of_words, distinct
from tests.numeric import numerical_gradient

WORDS = "bad bland fine good great not very".split()


def encoder(rng, engine=None, **options):
    settings = {"embedding_dim": 5, "hidden_size": 3, "dropout": 0.0} | options
    return RNN(WORDS, rng=rng, engine=engine, **settings)


# --- equations ---------------------------------------------------------------------------


@pytest.mark.equation("sentiment-weighted-recall")
def test_recall_weighted_by_support_is_accuracy(prove, rng):
    labels, answers = rng.integers(0, 3, 400), rng.integers(0, 3, 400)
    scores = precision_recall_f1(answers, labels)
    weighted = (scores.recall * scores.support).sum() / 400
    right = sum(int(a == b) for a, b in zip(answers.tolist(), labels.tolist()))
    prove(float(weighted), right / 400, oracle="count", tol=1e-12)


@pytest.mark.equation("sentiment-weighted-logits")
@pytest.mark.parametrize("power", [0.5, 1.0])
def test_best_logits_of_a_weighted_loss(engine, prove, power):
    """One kind of text, three answers: descend the weighted loss and compare with the formula."""
    counts = np.array([14, 3, 23])  # of this kind of text
    shares = np.array([0.37, 0.1, 0.53])  # of the classes among all texts
    labels = np.repeat([0, 1, 2], counts)
    weights = (shares**-power)[labels]
    z = engine.parameter(np.zeros((1, 3)), dtype="float64")
    ones = engine.array(np.ones((40, 1)), dtype="float64")
    y, w = engine.array(labels), engine.array(weights, dtype="float64")
    slope = engine.value_and_grad(lambda z: cross_entropy(ones @ z, y, w, engine=engine))
    for _ in range(2000):
        engine.assign(z, engine.array(engine.asnumpy(z) - engine.asnumpy(slope(z)[1]), "float64"))
    found = engine.asnumpy(z)[0]
    formula = np.log(counts / 40) - power * np.log(shares)
    prove(found - found.mean(), formula - formula.mean(), oracle="gradient descent", tol=1e-6)


def masked(rng, rows=3, steps=4, size=2):
    mask = np.arange(steps) < np.array([4, 1, 2])[:rows, None]
    return rng.normal(size=(rows, steps, size)) * mask[:, :, None], mask


@pytest.mark.equation("sentiment-mean-dh")
def test_gradient_of_the_mean_over_time(engine, rng, prove):
    states, mask = masked(rng)
    dy = rng.normal(size=(3, 2))
    model = encoder(rng, engine, hidden_size=2, pooling="mean", bidirectional=False)
    target = engine.array(dy, dtype="float64")

    def loss(h):
        return engine.sum(model._pool(h, [], None, mask)[0] * target)

    _, dh = engine.value_and_grad(loss)(engine.parameter(states, dtype="float64"))
    by_hand = np.zeros_like(states)
    for n, t in itertools.product(range(3), range(4)):
        if mask[n, t]:
            by_hand[n, t] = dy[n] / mask[n].sum()
    prove(engine.asnumpy(dh), by_hand, oracle="loops", tol=1e-12)


@pytest.mark.equation("sentiment-max-dh")
def test_gradient_of_the_maximum_over_time(engine, rng, prove):
    """Negative states everywhere: a padded zero would win if it were let in."""
    states, mask = masked(rng)
    states = -np.abs(states)
    dy = rng.normal(size=(3, 2))
    model = encoder(rng, engine, hidden_size=2, pooling="max", bidirectional=False)
    target = engine.array(dy, dtype="float64")

    def loss(h):
        return engine.sum(model._pool(h, [], None, mask)[0] * target)

    value, dh = engine.value_and_grad(loss)(engine.parameter(states, dtype="float64"))

    def plain(h):
        return sum(
            dy[n, j] * max(h[n, t, j] for t in range(4) if mask[n, t])
            for n in range(3)
            for j in range(2)
        )

    prove(float(value), plain(states), oracle="loops", tol=1e-12)
    prove(engine.asnumpy(dh), numerical_gradient(plain, states))


@pytest.mark.equation("sentiment-words")
def test_word_vectors_pooled_are_counts(engine, rng, prove):
    """The model's pooling against a bag of words times the table; order plays no part."""
    model = encoder(rng, engine, pooling="words").astype("float64")
    texts = [["good", "not", "good", "bad"], ["fine"], ["very", "zzz", "very"]]
    pooled = engine.asnumpy(model(engine.array(model.encode(texts))))
    counts = bag_of_words(texts, model.vocabulary).astype(float)
    table = engine.asnumpy(model.embedding.weight)
    by_counts = counts @ table / np.sqrt(counts.sum(axis=1, keepdims=True))
    prove(pooled, by_counts, oracle="bag of words", tol=1e-7)
    turned = engine.asnumpy(model(engine.array(model.encode([t[::-1] for t in texts]))))
    np.testing.assert_allclose(turned, pooled, rtol=1e-6)


@pytest.mark.equation("sentiment-hash")
@pytest.mark.parametrize(("buckets", "pairs"), [(3, 4), (5, 3), (2, 6)])
def test_chance_that_a_pair_has_its_row_to_itself(prove, buckets, pairs):
    """All ways to throw the pairs."""
    ways = list(itertools.product(range(buckets), repeat=pairs))
    alone = sum(way[0] not in way[1:] for way in ways) / len(ways)
    prove((1 - 1 / buckets) ** (pairs - 1), alone, oracle="enumeration", tol=1e-12)


def test_hashed_pairs_spread_like_chance(rng):
    ids = rng.integers(2, 5_000, (2_000, 21))
    rows, mask = pair_rows(ids)
    assert mask.all() and rows.min() >= 0 and rows.max() < BUCKETS
    n = len({(a, b) for line in ids.tolist() for a, b in zip(line, line[1:])})
    taken = len(np.unique(rows)) / BUCKETS
    assert abs(taken - (1 - math.exp(-n / BUCKETS))) < 0.01


def test_pairs_stop_where_a_text_stops():
    rows, mask = pair_rows(np.array([[3, 4, 5, 0], [3, 0, 0, 0]]))
    assert mask.tolist() == [[True, True, False], [False] * 3]
    assert pair_rows(np.array([[3]]))[1].tolist() == [[False]]
    assert rows[0, 0] == pair_rows(np.array([[9, 3, 4]]))[0][0, 1] != rows[0, 1]


def test_an_extended_network_says_the_same_of_the_old_words(rng):
    model = encoder(rng, pooling=("words", "pairs", "max"))
    texts = [["very", "good"], ["bad"]]
    more = model.extended([["shiny", "shiny", "good"], ["once"]], rng=rng, max_length=9)
    assert more.vocabulary.tokens == (*WORDS, "shiny") and more.max_length == 9
    np.testing.assert_allclose(
        more.extract_features(texts), model.extract_features(texts), atol=1e-6
    )
    assert np.abs(more.extract_features(["shiny"]) - model.extract_features(["shiny"])).max() > 1e-3


@pytest.mark.equation("sentiment-padding")
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention", "words", "pairs"])
def test_padding_changes_nothing(engine, rng, prove, pooling):
    """Each text alone, at its own length, against all together."""
    model = encoder(rng, engine, pooling=pooling).astype("float64")
    texts = [["very", "good"], ["bad"], "not very very good at all".split(), ["fine", "great"]]
    together = model(engine.array(model.encode(texts, length=11)))
    alone = [engine.asnumpy(model(engine.array(model.encode([text])))) for text in texts]
    prove(engine.asnumpy(together), np.concatenate(alone), oracle="one at a time", tol=1e-6)


@pytest.mark.equation("sentiment-loss-bound")
def test_a_wrong_answer_costs_at_least_ln_2(prove, rng):
    """No random answer beats the bound, and the best one at each accuracy reaches it."""
    logits = rng.normal(size=(20_000, 3)) * rng.exponential(2, size=(20_000, 1))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = rng.integers(0, 3, 20_000)
    losses, right = -np.log(p[np.arange(20_000), labels]), p.argmax(1) == labels
    assert losses[~right].min() >= math.log(2)
    for rows in np.split(np.arange(20_000), 400):
        assert losses[rows].mean() >= least_loss(right[rows].mean())
    e = 1e-12  # right answers that are sure, wrong ones by a hair
    best = np.array([[1 - 2 * e, e, e]] * 2 + [[0.5 - e, 0.5, e]])
    prove(float(-np.log(best[:, 0]).mean()), least_loss(2 / 3), oracle="closed form", tol=1e-9)


@pytest.mark.equation("sentiment-steps")
@pytest.mark.parametrize(("rows", "size"), [(3, 32), (33, 32), (64, 32), (1, 1), (1279, 32)])
def test_steps_of_an_epoch(prove, rng, rows, size):
    """Counted in a run of the loop itself."""
    x, y = rng.integers(2, 9, size=(rows, 1)), rng.integers(0, 2, rows)
    start = encoder(rng, "numpy", bidirectional=False)
    network = SentimentNetwork(start, Classifier(start.out_features, "ab", rng=rng))
    history = fit(network, cross_entropy, (x, y), SGD(0.1), 1, rng=rng, batch_size=size,
                  progress=False)  # fmt: skip
    prove(float(steps_per_epoch(rows, size)), float(len(history.losses)), oracle="count", tol=0)
    steps = len(history.losses)
    assert size * (steps - 1) < rows <= size * steps


@pytest.mark.equation("sentiment-leak")
@pytest.mark.parametrize(("copies", "k"), [(2, 5), (3, 4), (5, 2)])
def test_chance_that_a_copy_is_in_the_training_part(prove, copies, k):
    """All ways to deal the copies out to the folds."""
    ways = list(itertools.product(range(k), repeat=copies))
    leaked = sum(any(fold != way[0] for fold in way[1:]) for way in ways)
    prove(1 - k ** -(copies - 1.0), leaked / len(ways), oracle="enumeration", tol=1e-12)


# --- the network ---------------------------------------------------------------------------


def test_backwards_reads_each_text_from_its_own_end():
    ids = np.array([[3, 4, 5, 0], [6, 0, 0, 0], [0, 0, 0, 0], [2, 3, 4, 5]])
    expected = [[5, 4, 3, 0], [6, 0, 0, 0], [0, 0, 0, 0], [5, 4, 3, 2]]
    assert backwards(ids, ids != 0).tolist() == expected


def test_engines_agree_before_and_after_two_steps(rng):
    ids = np.where(np.arange(6) < rng.integers(1, 7, (8, 1)), rng.integers(1, 9, (8, 6)), 0)
    labels, weights = rng.integers(0, 3, 8), rng.random(8).astype(np.float32)
    before, after = {}, {}
    for name in lepton_ref.engines.installed():
        own = np.random.default_rng(1)
        start = encoder(
            own, name, pooling=("last", "mean", "max", "attention", "words", "pairs"), dropout=0.3
        )
        network = SentimentNetwork(start, Classifier(start.out_features, rng=own, engine=name))
        before[name] = network.E.asnumpy(network(network.E.array(ids)))
        fit(
            network, cross_entropy, (ids, labels, weights), SGD(0.1, engine=network.E), epochs=2,
            rng=np.random.default_rng(2), augment=word_dropout(0.2), progress=False,
        )  # fmt: skip
        after[name] = network.E.asnumpy(network(network.E.array(ids)))
    for name in before:
        np.testing.assert_allclose(before[name], before["numpy"], atol=1e-5)
        np.testing.assert_allclose(after[name], after["numpy"], atol=1e-4)
    assert np.abs(after["numpy"] - before["numpy"]).max() > 1e-3


def test_order_matters_to_the_network_and_not_to_its_embedding(rng):
    model = encoder(rng)
    first, second = model.extract_features([["not", "good"], ["good", "not"]])
    assert np.abs(first - second).max() > 1e-3


def test_the_network_learns_what_not_does(rng):
    """A bag of words cannot: the four texts hold each word equally often in both classes."""
    texts = [["not", "good", "bad"], ["not", "bad", "good"], ["good", "not", "bad"],
             ["bad", "not", "good"]]  # fmt: skip
    labels = np.array([0, 1, 1, 0])  # what stands behind "not" is denied
    start = encoder(rng, hidden_size=8)
    network = SentimentNetwork(start, Classifier(start.out_features, "ab", rng=rng))
    fit(network, cross_entropy, (start.encode(texts), labels), Adam(0.02), epochs=60, rng=rng,
        progress=False)  # fmt: skip
    assert network.predict_proba(texts).argmax(1).tolist() == labels.tolist()


def test_attention_says_how_much_each_word_counts(rng):
    model = encoder(rng, pooling=("max", "attention"))
    weights = model.attention_weights(["not", "very", "good"])
    assert weights.shape == (3,) and abs(weights.sum() - 1) < 1e-6


def test_where_attention_weighs_both_directions_speak_of_the_same_word(engine, rng):
    model = encoder(rng, pooling=("attention",), hidden_size=5, engine=engine)
    texts = [["not", "very", "good", "bad"], ["good", "bad"]]
    ids = model.encode(texts)
    states = engine.asnumpy(model._states(engine.array(ids), None)[0])
    for row, words in enumerate(texts):
        for t in range(len(words)):
            alone = model.encode([words[t:][::-1]])  # read from the end up to this word
            vectors = model.embedding(engine.array(alone))
            seen, _ = model.lstms[1](vectors, mask=engine.array(alone != 0))
            np.testing.assert_allclose(
                states[row, t, 5:], engine.asnumpy(seen)[0, -1], rtol=1e-5, atol=1e-6
            )


def test_batches_do_not_change_features(rng):
    model = encoder(rng, pooling=("last", "max"))
    texts = [["good"] * n for n in range(1, 8)]
    whole = model.extract_features(texts)
    np.testing.assert_allclose(model.extract_features(texts, batch_size=2), whole, atol=1e-6)


# --- preparation ---------------------------------------------------------------------------


def test_classes_from_grades():
    grades = [-4, -0.2, -0.19, 0, 0.19, 0.2, 4]
    assert grade_classes(grades).tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert grade_classes(grades, threshold=0.5).tolist() == [0, 1, 1, 1, 1, 1, 2]


def test_chinese_reviews_hold_each_text_about_twice():
    data = lepton_ref.load("zh-reviews")
    kept = distinct(data.texts, data.labels)
    assert 17_000 < len(kept) < 17_411
    assert len(set(data.texts[kept])) == len(kept)


def test_weights_give_each_class_the_same_say(rng):
    labels = rng.choice(3, p=[0.3, 0.1, 0.6], size=500)
    weights = class_weights(labels)
    sums = [weights[labels == k].sum() for k in range(3)]
    np.testing.assert_allclose(sums, 500 / 3, rtol=1e-5)
    assert class_weights(labels, 0.0).tolist() == [1.0] * 500


def test_word_dropout_spares_padding(rng):
    ids = np.where(np.arange(50) < 30, 5, 0) * np.ones((400, 1), int)
    out = word_dropout(0.25)(ids, rng)
    assert set(np.unique(out)) == {0, 1, 5} and (out[:, 30:] == 0).all()
    assert abs((out == 1).sum() / (400 * 30) - 0.25) < 0.02


def test_folds_by_review_never_part_a_review(rng):
    """Sentences of one review stay together, so that no fold learns from its neighbours."""
    data = lepton_ref.load("amazon-sentences")
    for train, held_out in k_fold(3708, 5, rng, groups=data.reviews):
        assert not set(data.reviews[train]) & set(data.reviews[held_out])


def test_a_network_learns_real_reviews(engine):
    """Six hundred Chinese characters' worth of reviews are too few to be good, and enough to
    be better than chance."""
    data = lepton_ref.load("zh-reviews")
    rows = np.r_[0:300, 18_576:18_876]
    texts = [list(text[:40]) for text in data.texts[rows]]
    labels = data.labels[rows]
    own = np.random.default_rng(0)
    vocabulary = Vocabulary.build(texts, min_count=3)
    start = RNN(vocabulary, 16, 12, rng=own, dropout=0.0)
    network = SentimentNetwork(start, Classifier(start.out_features, data.classes, rng=own))
    odd = np.arange(600) % 2 == 1
    fit(
        network, cross_entropy, (start.encode(texts, 40)[odd], labels[odd]), Adam(0.01), epochs=4,
        rng=own, batch_size=30, progress=False,
    )  # fmt: skip
    said = network.predict_proba([t for t, o in zip(texts, odd) if not o])
    assert accuracy(said, labels[~odd]) > 0.62


# --- the printed log -----------------------------------------------------------------------


def test_shares_that_three_rows_can_print():
    printable = [a / 10_000 for a in range(10_001) if can_print(a / 10_000, 3)]
    assert printable == [0.0, 0.3333, 0.6667, 1.0]
    assert not can_print(0.6667, 2) and can_print(0.5, 2)
