"""Verification measured: pairs, error curves, thresholds, people drawn again, 1:N."""

from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import det_curve as sklearn_det
from sklearn.metrics import roc_curve as sklearn_roc
from sklearn.metrics.pairwise import cosine_similarity as sklearn_cosine

from lepton_ref.framework.errors import ArgumentError
from lepton_ref.vision.faces.identification import Search, search
from lepton_ref.vision.faces.resampling import (
    draw_people,
    identity_intervals,
    pair_components,
    pair_mean_variance,
    pair_weights,
    threshold_intervals,
)
from lepton_ref.vision.faces.verification import (
    all_pairs,
    choose_threshold,
    cosine_similarity,
    equal_error_point,
    equal_error_rate,
    error_curve,
    operating_point,
    pairs_from_similarity,
    probit,
    rates_at,
    tar_at_far,
    unit_vectors,
)


def people(rng, count=8, pictures=5, size=6, noise=1.0):
    """Embeddings that scatter about a centre of each person, and whose they are."""
    centres = rng.normal(size=(count, size))
    subjects = np.repeat(np.arange(10, 10 + count), pictures)
    return centres[subjects - 10] + noise * rng.normal(size=(len(subjects), size)), subjects


def test_cosine_equals_scikit_learn(rng):
    a, b = rng.normal(size=(7, 5)) * 1e-3, rng.normal(size=(4, 5)) * 1e6
    np.testing.assert_allclose(cosine_similarity(a, b), sklearn_cosine(a, b), atol=1e-14)
    np.testing.assert_allclose(cosine_similarity(a), sklearn_cosine(a), atol=1e-14)
    assert cosine_similarity(a).max() <= 1.0  # no arccos of 1 + rounding


def test_lengths_at_the_ends_of_the_floating_point_numbers():
    """A square that overflows or vanishes would make a cosine of NaN or 0."""
    x = np.array([[3e200, 4e200], [3e-200, 4e-200], [3.0, 4.0]])
    np.testing.assert_allclose(unit_vectors(x), [[0.6, 0.8]] * 3, rtol=1e-15)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.array([[1.0, 2.0], [0.0, 0.0]]), "only zeros in row 1; expected vectors with a"),
        (np.array([[1.0, np.nan]]), "NaN or infinity in row 0"),
        (np.array([[1.0, 0.0], [np.inf, 1.0]]), "NaN or infinity in row 1"),
        (np.ones(3), r"shape \(3,\) and dtype float64; expected numbers \(N, D\)"),
        (np.array([["a"]]), "dtype <U1"),
    ],
)
def test_vectors_without_a_direction_are_refused(vectors, message):
    with pytest.raises(ArgumentError, match=message):
        cosine_similarity(vectors)


def test_vectors_of_two_models_are_refused():
    with pytest.raises(ArgumentError, match="`b` has 3 columns; expected 2"):
        cosine_similarity(np.ones((1, 2)), np.ones((1, 3)))


def test_all_pairs_counts_each_pair_once(rng):
    x, who = people(rng, count=4, pictures=3)
    pairs = all_pairs(x, who)
    expected = {
        (i, j): (float(sklearn_cosine(x[[i]], x[[j]])[0, 0]), who[i] == who[j])
        for i, j in itertools.combinations(range(12), 2)
    }
    assert len(pairs.scores) == 66 and int(pairs.genuine.sum()) == 4 * 3
    for score, same, i, j in zip(
        pairs.scores, pairs.genuine, pairs.first, pairs.second, strict=True
    ):
        assert expected[i, j][0] == pytest.approx(score, abs=1e-14)
        assert expected.pop((i, j))[1] == same
    assert not expected


@pytest.mark.parametrize(
    ("similarity", "subjects", "message"),
    [
        (np.eye(3), [1, 1], r"shape \(3, 3\) and dtype float64; expected numbers \(2, 2\)"),
        (np.eye(3) + np.triu(np.ones((3, 3)), 1), [1, 1, 2], "two values for one pair"),
        (np.full((3, 3), np.nan), [1, 1, 2], "NaN or infinity"),
        (np.eye(3), [1, 2, 3], "no genuine pair; expected two people, and two pictures"),
        (np.eye(3), [1, 1, 1], "no impostor pair"),
        (np.eye(1), [1], "no impostor pair"),
        (np.eye(3), [1.0, 1.0, 2.0], "dtype float64; expected one whole number"),
        (np.eye(3), [[1], [1], [2]], r"shape \(3, 1\)"),
    ],
)
def test_sets_without_pairs_are_refused(similarity, subjects, message):
    with pytest.raises(ArgumentError, match=message):
        pairs_from_similarity(similarity, np.array(subjects))


@pytest.mark.parametrize("digits", [1, 15])  # one digit: many equal scores
def test_curve_equals_scikit_learn(rng, digits):
    x, who = people(rng)
    pairs = pairs_from_similarity(np.round(cosine_similarity(x), digits), who)
    curve = error_curve(pairs.scores, pairs.genuine)
    far, tar, t = sklearn_roc(pairs.genuine, pairs.scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_accept, far, atol=1e-15)
    np.testing.assert_allclose(curve.false_reject, 1 - tar, atol=1e-15)
    np.testing.assert_array_equal(curve.thresholds, t)
    # det_curve rejects at s < t as we do, and drops the points at both ends.
    fpr, fnr, t = sklearn_det(pairs.genuine, pairs.scores)
    at = np.searchsorted(-curve.thresholds, -t)
    np.testing.assert_allclose(curve.false_accept[at], fpr, atol=1e-15)
    np.testing.assert_allclose(curve.false_reject[at], fnr, atol=1e-15)


def test_equal_error_rate_by_hand():
    """Two genuine (0.9, 0.4) and three impostors (0.6, 0.3, 0.1).

    The threshold falls: (FAR, FRR) = (0, 1), (0, 1/2), (1/3, 1/2), (1/3, 0): the step from 1/2
    to 0 crosses FRR = FAR = 1/3.
    """
    scores = np.array([0.9, 0.4, 0.6, 0.3, 0.1])
    curve = error_curve(scores, np.array([1, 1, 0, 0, 0], bool))
    assert equal_error_rate(curve) == pytest.approx(1 / 3)
    # Both ends of the crossing step are near; FRR = 1/2 is closer to FAR = 1/3 than FRR = 0.
    point = equal_error_point(curve)
    assert point == pytest.approx((0.5, 1 / 3, 0.5, True))
    # A tie: one threshold cannot part the two, the polygon is crossed half-way.
    tie = error_curve(np.array([0.5, 0.5]), np.array([True, False]))
    assert equal_error_rate(tie) == 0.5


@pytest.mark.parametrize(("genuine", "eer"), [([0.9, 0.8], 0.0), ([0.1, 0.05], 1.0)])
def test_equal_error_rate_of_the_perfect_and_the_perverse(genuine, eer):
    scores = np.array([*genuine, 0.5, 0.2])
    curve = error_curve(scores, np.array([1, 1, 0, 0], bool))
    assert equal_error_rate(curve) == eer


def test_tar_at_far_is_the_best_that_any_threshold_reaches(rng):
    x, who = people(rng)
    pairs = all_pairs(x, who)
    impostor = pairs.scores[~pairs.genuine]
    for far in (0.0, 0.001, 0.01, 0.05, 0.3, 1.0):
        found = tar_at_far(pairs, far)
        rates = rates_at(pairs, found.threshold)
        assert (rates.false_accept, 1 - rates.false_reject) == pytest.approx(found[1:3])
        allowed = [t for t in pairs.scores if (impostor >= t).mean() <= far]
        reached = [(pairs.scores[pairs.genuine] >= t).mean() for t in allowed]
        assert found.true_accept == pytest.approx(max(reached, default=0.0))
        assert found.false_accept <= far
        assert found.resolved == (far >= 1 / len(impostor))


def test_a_rate_that_is_a_share_of_pairs_is_met_exactly():
    """3 of 10 impostors at FAR 0.3, and 1 of 10 at a rate that is a rounding below 0.1."""
    scores = np.r_[np.linspace(0.1, 1.0, 10), 0.85]
    genuine = np.r_[np.zeros(10, bool), True]
    point = operating_point(error_curve(scores, genuine), 0.3, 10)
    assert point.false_accept == pytest.approx(0.3) and point.true_accept == 1.0
    assert operating_point(error_curve(scores, genuine), 0.1, 10).resolved
    assert 1 - 0.9 < 0.1
    assert operating_point(error_curve(scores, genuine), 1 - 0.9, 10).false_accept == 0.1
    assert not operating_point(error_curve(scores, genuine), 0.09, 10).resolved


def test_threshold_lies_between_what_it_parts(rng):
    scores = np.array([0.9, 0.7, 0.3, 0.2])
    pairs_curve = error_curve(scores, np.array([1, 1, 0, 0], bool))
    assert operating_point(pairs_curve, 0.0, 2).threshold == pytest.approx(0.5)
    neighbours = np.array([np.nextafter(0.5, 1), 0.5])
    point = operating_point(error_curve(neighbours, np.array([True, False])), 0.0, 1)
    assert point.threshold == neighbours[0]
    perverse = error_curve(np.array([0.2, 0.5]), np.array([True, False]))
    assert operating_point(perverse, 0.0, 1).threshold > 0.5  # only above all that was seen
    assert operating_point(perverse, 1.0, 1).threshold == 0.2


def test_threshold_is_chosen_on_validation_and_applied_to_others(rng):
    validation = all_pairs(*people(rng, count=6, noise=0.7))
    test = all_pairs(*people(rng, count=9, noise=0.7))
    chosen = choose_threshold(validation)
    assert chosen == equal_error_point(validation.curve)
    assert abs(chosen.false_accept - (1 - chosen.true_accept)) < 0.05
    rates = rates_at(test, chosen.threshold)
    accepted = test.scores >= chosen.threshold
    assert rates.false_accept == accepted[~test.genuine].sum() / rates.impostor
    assert rates.false_reject == (~accepted)[test.genuine].sum() / rates.genuine
    assert choose_threshold(validation, far=0.01) == tar_at_far(validation, 0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c, p: operating_point(c, 1.5, 3), "`far` has the value 1.5; expected a rate"),
        (lambda c, p: operating_point(c, True, 3), "`far` has the value True"),
        (lambda c, p: operating_point(c, 0.1, 0), "`impostors` has the value 0"),
        (lambda c, p: rates_at(p, float("nan")), "the value nan; expected a number"),
        (lambda c, p: probit([0.5, 1.5]), "values outside 0 to 1"),
        (lambda c, p: error_curve(p.scores, np.ones(len(p.scores), bool)), "only the class 1"),
        (lambda c, p: identity_intervals(p, {}, np.random.default_rng(0)), "`statistics` has none"),
        (lambda c, p: identity_intervals([], {}, np.random.default_rng(0)), "no pairs; expected"),
        (lambda c, p: identity_intervals(p, {"e": equal_error_rate}, 3), "a numpy.random.Gen"),
        (
            lambda c, p: identity_intervals(p, {"e": lambda c: 7.0}, np.random.default_rng(0), 2),
            "e, which is no rate",
        ),
        (
            lambda c, p: threshold_intervals(p, [0.1, 0.2], np.random.default_rng(0)),
            "expected 1 numbers, one per fold",
        ),
        (
            lambda c, p: threshold_intervals(p, 0.1, np.random.default_rng(0), resamples=0),
            "`resamples` has the value 0",
        ),
        (
            lambda c, p: threshold_intervals(p, 0.1, np.random.default_rng(0), confidence=1.0),
            "`confidence` has the value 1.0",
        ),
        (lambda c, p: pair_mean_variance(1, 0.0, 1.0), "`people` has the value 1"),
    ],
)
def test_wrong_questions_are_refused(rng, call, message):
    pairs = all_pairs(*people(rng))
    with pytest.raises(ArgumentError, match=message):
        call(pairs.curve, pairs)


def test_few_people_are_too_few_for_an_interval(rng):
    with pytest.raises(ArgumentError, match="3 people; expected at least 4"):
        pair_components(all_pairs(*people(rng, count=3)), 0.5)
    pairs = all_pairs(*people(rng, count=2))
    with pytest.raises(ArgumentError, match="2 people in one of them; expected at least 3"):
        identity_intervals(pairs, {"eer": equal_error_rate}, rng)


def test_probit_is_the_inverse_of_the_normal_distribution():
    rates = np.array([[0.001, 0.02], [0.5, 0.9]])
    back = [NormalDist().cdf(z) for z in probit(rates).ravel()]
    np.testing.assert_allclose(back, rates.ravel(), rtol=1e-12)
    assert probit([0.0, 1.0]).tolist() == [-np.inf, np.inf]


def test_resampled_curve_is_that_of_the_pairs_written_out(rng):
    """Intervals from running sums of weights = intervals from resamples with every pair copied."""
    pairs = all_pairs(*people(rng, count=5, pictures=3))
    seed, resamples = 5, 40
    fast = identity_intervals(
        pairs, {"eer": equal_error_rate}, np.random.default_rng(seed), resamples, 0.8
    )["eer"]
    again, drawn = np.random.default_rng(seed), []
    while len(drawn) < resamples:
        m = draw_people(5, 1, again)[0]
        if (m > 0).sum() > 1:
            w = pair_weights(pairs, m)
            copied = error_curve(np.repeat(pairs.scores, w), np.repeat(pairs.genuine, w))
            drawn.append(equal_error_rate(copied))
    low, high = np.quantile(drawn, [0.1, 0.9])
    eer = equal_error_rate(pairs.curve)
    np.testing.assert_allclose(fast, [max(0, 2 * eer - high), 2 * eer - low], rtol=1e-12)


def test_threshold_intervals_agree_with_the_curve(rng):
    """Counts in blocks of people and running sums of pairs: one resample, one answer."""
    folds = [all_pairs(*people(rng, count=6)) for _ in range(2)]
    cuts = [0.2, 0.4]
    blocks = threshold_intervals(folds, cuts, np.random.default_rng(3), 300)
    for name, column in (("false_accept", 0), ("false_reject", 1)):
        total = np.zeros(300)
        draws = np.random.default_rng(3)
        for pairs, cut in zip(folds, cuts, strict=True):
            hit = (pairs.scores >= cut) if column == 0 else (pairs.scores < cut)
            kind = ~pairs.genuine if column == 0 else pairs.genuine
            for b, m in enumerate(draw_people(6, 300, draws)):
                assert (m > 0).sum() > 1, "with this seed no draw has to be repeated"
                w = pair_weights(pairs, m) * kind
                total[b] += (w * hit).sum() / w.sum() / 2
        np.testing.assert_allclose(blocks[name], np.quantile(total, [0.025, 0.975]), rtol=1e-12)


def test_people_drawn_again_cover_where_pairs_drawn_again_do_not(rng):
    """Over many worlds of one kind: the spread of FAR is that of people, not that of pairs."""
    count, pictures, cut = 25, 3, 0.45
    seen, by_people, by_pairs, by_formula = [], [], [], []
    for _ in range(150):
        pairs = all_pairs(*people(rng, count=count, pictures=pictures, noise=0.5))
        hits = (pairs.scores >= cut)[~pairs.genuine]
        seen.append(hits.mean())
        by_pairs.append(np.sqrt(hits.mean() * (1 - hits.mean()) / len(hits)))
        low, high = threshold_intervals(pairs, cut, rng, 200, confidence=0.6827)["false_accept"]
        by_people.append((high - low) / 2)
        by_formula.append(pair_components(pairs, cut).error)
    spread = np.std(seen)
    assert np.sqrt(np.mean(np.square(by_formula))) == pytest.approx(spread, rel=0.15)
    # What is peculiar to single pairs of people counts at most three times in the variance.
    assert spread < np.mean(by_people) < np.sqrt(3) * spread
    assert np.mean(by_pairs) < 0.6 * spread


def test_the_error_rate_of_few_people_flatters_and_the_interval_moves_back(rng):
    """Five folds of eight people against what the same kind of people have in thousands of pairs.

    The EER picks its threshold on eight people at a time. The middle of the interval is nearer to
    the truth than the estimate itself.
    """
    truth = np.mean(
        [equal_error_rate(all_pairs(*people(rng, 120, 8, noise=0.8)).curve) for _ in range(3)]
    )
    seen, middle = [], []
    for _ in range(40):
        folds = [all_pairs(*people(rng, 8, 8, noise=0.8)) for _ in range(5)]
        seen.append(np.mean([equal_error_rate(pairs.curve) for pairs in folds]))
        middle.append(np.mean(identity_intervals(folds, {"e": equal_error_rate}, rng, 40)["e"]))
    flattery = truth - np.mean(seen)
    assert flattery > 0
    assert abs(truth - np.mean(middle)) < flattery
    assert np.mean(middle) > np.mean(seen)


def brute_search(templates, owners, probes, truth):
    """Ranks of known probes and best scores, one probe at a time."""
    ranks, best = [], []
    for probe, person in zip(probes, truth, strict=True):
        of = {
            k: max(float(sklearn_cosine([probe], [t])[0, 0]) for t in templates[owners == k])
            for k in sorted(set(owners.tolist()))
        }
        best.append(max(of.values()))
        if person in of:
            ranks.append(1 + sum(s >= of[person] for k, s in of.items() if k != person))
    return np.array(ranks), np.array(best)


def test_search_equals_one_probe_at_a_time(rng):
    x, who = people(rng, count=7, pictures=6, noise=1.2)
    template = (np.arange(len(x)) % 3 == 0) & (who < 15)  # two people are strangers
    shuffled = rng.permutation(np.flatnonzero(template))
    found = search(x[shuffled], who[shuffled], x[~template], who[~template])
    ranks, best = brute_search(x[shuffled], who[shuffled], x[~template], who[~template])
    np.testing.assert_array_equal(found.ranks, ranks)
    cmc = found.cmc()
    np.testing.assert_allclose(cmc, [(ranks <= r).mean() for r in range(1, 6)])
    assert cmc[-1] == 1.0 and found.rank1() == cmc[0] < 1.0
    low, high = found.rank1_interval(rng, 300)
    assert low < found.rank1() < high
    stranger = ~found.known
    assert stranger.sum() == 12
    for far in (0.0, 0.25, 0.5, 1.0):
        point = found.detection_at_far(far)
        passed = best >= point.threshold
        assert point.false_alarm == passed[stranger].mean() <= far
        assert point.detection == ((ranks == 1) & passed[~stranger]).mean()
        assert point.resolved == (far >= 1 / 12)
    assert found.detection_at_far(1.0).detection == found.rank1()


def test_a_tie_counts_against_the_right_person():
    tied = Search(np.array([[0.5, 0.5], [0.2, 0.7]]), np.array([1, 2]), np.array([1, 2]))
    assert tied.ranks.tolist() == [2, 1] and tied.rank1() == 0.5


def test_searches_that_say_nothing_are_refused(rng):
    x, who = people(rng, count=3, pictures=2)
    everybody = search(x, who, x, who)
    with pytest.raises(ArgumentError, match="one kind of probe only; expected people of the"):
        everybody.detection_at(0.5)
    with pytest.raises(ArgumentError, match="nobody unknown; expected some strangers"):
        everybody.detection_at_far(0.1)
    with pytest.raises(ArgumentError, match="the value 2; expected a rate"):
        everybody.detection_at_far(2)
    with pytest.raises(ArgumentError, match="strangers only"):
        search(x, who, x, who + 100).cmc()
    with pytest.raises(ArgumentError, match="has 5 rows; expected 6"):
        search(x, who[:5], x, who)
