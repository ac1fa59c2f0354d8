"""Occlusion and LIME on the page explain/perturbation: equations, parities, refusals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lepton_ref.explain import lime, occlusion
from lepton_ref.explain.gradients.boxes import black_box
from lepton_ref.explain.gradients.models import fashion_model, patient_model, review_model
from lepton_ref.explain.perturbation import (
    Game,
    cosine_distance,
    draw_masks,
    patches,
    proximity,
    ridge,
    windows,
)
from lepton_ref.framework.errors import ArgumentError
from tests.numeric import numerical_gradient


def plain(x):
    """Three outputs of pictures or rows, nowhere linear."""
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    rng = np.random.default_rng(5)
    first = rng.normal(size=(flat.shape[1], 12)) / np.sqrt(flat.shape[1])
    return np.tanh(flat @ first) @ rng.normal(size=(12, 3))


@pytest.mark.equation("perturbation-windows")
@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [((7,), (3,), (2,)), ((1, 9, 8), (1, 4, 3), (1, 3, 3)), ((2, 6, 5), (1, 2, 5), (1, 2, 9))],
)
def test_windows_are_counted_and_cover_all(shape, window, stride, prove):
    """Slid by hand until the end is reached; each entry lies in one at least."""
    many = 1
    for S, w, s in zip(shape, window, stride):
        start, count = 0, 1
        while start + w < S:
            start, count = start + s, count + 1
        many *= count
    masks = windows(shape, window, stride)
    closed = np.prod([math.ceil((S - w) / s) + 1 for S, w, s in zip(shape, window, stride)])
    prove(float(len(masks)), float(many), oracle="count", tol=0)
    prove(float(closed), float(many), oracle="count", tol=0)
    assert masks.any(axis=0).all() and len(np.unique(masks.reshape(len(masks), -1), axis=0)) == many


@pytest.mark.equation("perturbation-linear")
def test_windows_of_a_linear_model_add_up(engine, rng, prove):
    from lepton_ref.framework.layers import Dense, Flatten, Sequential

    layer = Sequential(Flatten(), Dense(40, 3, rng=rng)).astype("float64")
    x, b = rng.normal(size=(2, 1, 8, 5)), rng.normal(size=(1, 8, 5))
    found = occlusion(layer, x, [2, 1], window=(1, 3, 2), baseline=b)
    f = black_box(layer)
    fall = (f(x) - f(np.broadcast_to(b, x.shape)))[[0, 1], [2, 1]]
    # Each window's fall stands on all its entries: count each once.
    corners = found.values[:, 0, ::3, ::2].sum(axis=(1, 2))
    prove(corners, fall, oracle="closed form", tol=1e-9)


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (5, 3), (7, 7), (1, 1)])
def test_parity_with_captum_on_the_fashion_network(window, stride):
    captum = pytest.importorskip("captum.attr")
    torch = pytest.importorskip("torch")
    fashion = fashion_model("torch")
    x = fashion.x[: 1 if window == 1 else 3]
    ours = occlusion(fashion, x, window=window, stride=stride, baseline=fashion.black)
    with torch.no_grad():
        peer = captum.Occlusion(fashion).attribute(
            torch.tensor(x), sliding_window_shapes=(1, window, window), strides=(1, stride, stride),
            baselines=fashion.black, target=torch.tensor(ours.target), perturbations_per_eval=100,
        )  # fmt: skip
    assert np.abs(ours.values - peer.numpy()).max() <= 1e-5
    assert np.abs(ours.values).max() > 0.1


def test_engines_agree(engine):
    fashion, numpy = fashion_model(engine), fashion_model("numpy")
    given = {"window": 7, "baseline": numpy.black}
    a, b = occlusion(fashion, fashion.x[:2], **given), occlusion(numpy, numpy.x[:2], **given)
    assert np.array_equal(a.target, b.target)
    assert np.abs(a.values - b.values).max() < 1e-4


def test_occlusion_of_words_and_of_tables(rng):
    """A word's vector falls as one; a column alone is a window of 1."""
    x = rng.normal(size=(2, 5, 3))
    found = occlusion(plain, x, 1, window=(1, 3))
    for t in range(5):
        covered = x.copy()
        covered[:, t] = 0
        assert np.allclose(found.values[:, t, 0], (plain(x) - plain(covered))[:, 1])
        assert np.allclose(found.values[:, t], found.values[:, t, :1])
    table = rng.normal(size=(2, 4))
    alone = occlusion(plain, table, 0)
    covered = table.copy()
    covered[:, 2] = 0
    assert np.allclose(alone.values[:, 2], (plain(table) - plain(covered))[:, 0])


@pytest.mark.equation("perturbation-cosine")
def test_distance_of_coalitions(rng, prove):
    from sklearn.metrics import pairwise_distances

    masks = rng.random((30, 7)) < 0.5
    masks[0] = True
    peer = pairwise_distances(masks.astype(float), masks[:1].astype(float), metric="cosine")
    prove(cosine_distance(masks), peer.ravel(), oracle="scikit-learn", tol=1e-12)
    assert cosine_distance(np.zeros((1, 7), bool))[0] == 1


@pytest.mark.equation("perturbation-ridge", "perturbation-centre")
@pytest.mark.parametrize("regularization", [0.0, 1.0, 20.0])
def test_the_weighted_ridge(regularization, rng, prove):
    """Against scikit-learn, and by the gradient of the objective, which vanishes."""
    from sklearn.linear_model import Ridge

    Z, y, w = rng.normal(size=(40, 5)), rng.normal(size=40), rng.uniform(0.01, 1, 40)
    line = ridge(Z, y, w, regularization)
    peer = Ridge(alpha=regularization).fit(Z, y, sample_weight=w)
    prove(line.slopes, peer.coef_, oracle="scikit-learn", tol=1e-9)
    prove(line.intercept, peer.intercept_, oracle="scikit-learn", tol=1e-9)
    assert abs(line.fit - peer.score(Z, y, sample_weight=w)) < 1e-9

    def objective(theta):
        return w @ (y - theta[0] - Z @ theta[1:]) ** 2 + regularization * theta[1:] @ theta[1:]

    best = np.append(line.intercept, line.slopes)
    assert np.abs(numerical_gradient(objective, best)).max() < 1e-7
    centred = (w @ y - w @ Z @ line.slopes) / w.sum()
    prove(line.intercept, centred, oracle="closed form", tol=1e-9)


@pytest.mark.equation("perturbation-leave-out")
def test_leaving_one_neighbour_out(rng, prove):
    """The formula, and the standard errors built of it, against solving again without each."""
    from sklearn.linear_model import Ridge

    Z, w, lam = rng.normal(size=(15, 3)), rng.uniform(0.1, 1, 15), 0.7
    y = np.sin(Z @ [1.0, 2, -1]) + Z[:, 0]
    line = ridge(Z, y, w, lam)
    centre, level = w @ Z / w.sum(), w @ y / w.sum()
    A = (Z - centre).T @ (w[:, None] * (Z - centre)) + lam * np.eye(3)
    moves, formula = [], []
    for m in range(15):
        keep = np.arange(15) != m
        again = Ridge(alpha=lam).fit(Z[keep], y[keep], sample_weight=w[keep])
        moves.append(line.slopes - again.coef_)
        z = Z[m] - centre
        e = y[m] - level - z @ line.slopes
        h = w[m] * (1 / w.sum() + z @ np.linalg.solve(A, z))
        formula.append(w[m] * e / (1 - h) * np.linalg.solve(A, z))
    prove(np.array(formula), np.array(moves), oracle="solved again", tol=1e-9)
    root = np.sqrt((np.array(moves) ** 2).sum(axis=0))
    prove(line.errors, root, oracle="solved again", tol=1e-9)


@pytest.mark.equation("perturbation-banzhaf")
def test_without_kernel_and_ridge_lime_is_the_banzhaf_value(rng, prove):
    """All coalitions once, so that nothing is left to chance; then by drawing."""
    masks = np.array(list(itertools.product([False, True], repeat=5)))
    v = rng.normal(size=32)
    line = ridge(masks.astype(float), v, np.ones(32), 0.0)
    means = [v[masks[:, i]].mean() - v[~masks[:, i]].mean() for i in range(5)]
    prove(line.slopes, np.array(means), oracle="means", tol=1e-10)
    added = np.zeros(5)
    index = {tuple(row): value for row, value in zip(masks.tolist(), v)}
    for i in range(5):
        for row in masks[~masks[:, i]].tolist():
            joined = [on or j == i for j, on in enumerate(row)]
            added[i] += (index[tuple(joined)] - index[tuple(row)]) / 16
    prove(line.slopes, added, oracle="sum over coalitions", tol=1e-10)
    x = rng.normal(size=(1, 5))
    found = lime(plain, x, 0, samples=20_000, kernel_width=1e6, regularization=0.0)
    game = Game(plain, x[0], 0, np.arange(5), np.zeros((1, 5)))
    all_of_them = game(masks)
    truth = [all_of_them[masks[:, i]].mean() - all_of_them[~masks[:, i]].mean() for i in range(5)]
    assert (np.abs(found.values[0] - truth) < 4 * found.standard_error[0]).all()


@pytest.mark.parametrize("neighbours", ["coins", "sizes"])
def test_the_stated_error_is_the_error(neighbours, rng):
    """Over 100 seeds the slopes scatter as widely as each run says."""
    x = rng.normal(size=(1, 8)) * 2
    runs = [lime(plain, x, 1, samples=300, neighbours=neighbours, seed=s) for s in range(100)]
    slopes = np.array([run.values[0] for run in runs])
    stated = np.array([run.standard_error[0] for run in runs]).mean(axis=0)
    assert np.abs(slopes.std(axis=0, ddof=1) / stated - 1).max() < 0.3


def test_draws_of_coalitions(rng):
    coins = draw_masks(10, 4000, "coins", rng)
    assert coins[0].all() and abs(coins[1:].mean() - 0.5) < 0.01
    sizes = draw_masks(10, 4000, "sizes", rng)
    counted = np.bincount((~sizes[1:]).sum(axis=1), minlength=11)
    assert sizes[0].all() and counted[0] == 0 and counted[1:].min() > 330
    assert np.allclose(proximity(np.array([0, 0.25]), 0.25), [1, np.exp(-0.5)])


def close(ours, peer, error):
    """Two runs of as many neighbours differ by √2 stated errors, no more and no less."""
    scores = (ours - peer) / (math.sqrt(2) * error)
    assert 0.6 < scores.std() < 1.4 and np.abs(scores).max() < 4


def test_within_the_stated_error_of_the_library_on_a_picture():
    library = pytest.importorskip("lime.lime_image")
    fashion = fashion_model("numpy")
    f, players = black_box(fashion), patches((1, 28, 28), 4)
    # Clothes that fill the picture: a shirt has a slope in most of the 49 patches.
    x = fashion.x[1:2]
    ours = lime(fashion, x, players=players, baseline=fashion.black, samples=800)
    target = int(ours.target[0])
    peer = library.LimeImageExplainer(random_state=1).explain_instance(
        np.repeat(x[0, 0][:, :, None].astype(np.float64), 3, axis=2),
        lambda z: f(z[:, None, :, :, 0].astype(np.float32)),
        labels=(target,), top_labels=None, hide_color=fashion.black, num_samples=800,
        batch_size=200, segmentation_fn=lambda image: players[0],
    )  # fmt: skip
    slopes = np.array([value for _, value in sorted(peer.local_exp[target])])
    close(ours.settings["player_values"][0], slopes, ours.settings["player_errors"][0])


def test_within_the_stated_error_of_the_library_on_a_review():
    library = pytest.importorskip("lime.lime_text")
    review = review_model("numpy")
    text = "The taste is bitter and stale but the price was good and it arrived early."
    ids = review.tokens(text)
    x, players = review.embed(ids), np.arange(ids.shape[1])[:, None]
    ours = lime(review.given(ids), x, players=players, neighbours="sizes", samples=800)
    game = Game(
        black_box(review.given(ids)), x[0], int(ours.target[0]),
        np.broadcast_to(players, x.shape[1:]).reshape(-1), np.zeros_like(x),
    )  # fmt: skip

    def classifier(texts):
        kept = [[f"w{i}w" in text for i in range(ids.shape[1])] for text in texts]
        return np.repeat(game(np.array(kept))[:, None], 2, axis=1)

    peer = library.LimeTextExplainer(random_state=1).explain_instance(
        " ".join(f"w{i}w" for i in range(ids.shape[1])), classifier,
        labels=(1,), num_features=100, num_samples=800,
    )  # fmt: skip
    slopes = np.array([value for _, value in sorted(peer.local_exp[1])])
    close(ours.settings["player_values"][0], slopes, ours.settings["player_errors"][0])


def test_within_the_stated_error_of_the_library_on_patients():
    library = pytest.importorskip("lime.lime_tabular")
    patients = patient_model(engine="numpy")
    x, f = patients.test_x[:1], black_box(patients)
    ours = lime(patients, x, training=patients.train_x, samples=2000)
    target = int(ours.target[0])
    peer = library.LimeTabularExplainer(
        patients.train_x.astype(np.float64), mode="regression", discretize_continuous=False,
        feature_selection="none", random_state=1,
    ).explain_instance(
        x[0].astype(np.float64), lambda z: f(z.astype(np.float32))[:, target], num_samples=2000
    )  # fmt: skip
    slopes = np.array([value for _, value in sorted(peer.local_exp[1])])
    close(ours.settings["coefficients"][0], slopes, ours.settings["coefficient_errors"][0])
    here = (x[0] - patients.train_x.mean(axis=0)) / patients.train_x.std(axis=0)
    assert np.allclose(ours.values[0], ours.settings["coefficients"][0] * here, atol=1e-6)


def test_lime_repeats_by_seed_and_fits_a_plane_exactly(rng):
    x = rng.normal(size=(2, 6))
    w = rng.normal(size=6)
    exact = lime(lambda z: z @ w, x, samples=50, regularization=0.0)
    assert np.allclose(exact.values, w * x) and np.allclose(exact.settings["fit"], 1)
    assert exact.standard_error.max() < 1e-8
    first, again, other = (lime(plain, x, 0, samples=50, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)


@pytest.mark.parametrize("explain", [occlusion, lime])
def test_bad_input_is_refused(explain, rng):
    x = rng.normal(size=(2, 6))
    bad = x.copy()
    bad[0, 1] = np.inf
    for change, match in (
        ({"x": bad}, "inf"), ({"x": x[:0]}, "at least one example"), ({"target": 3}, r"0\.\.2"),
        ({"target": -1}, r"0\.\.2"), ({"baseline": np.zeros(5)}, r"baseline.*shape \(5,\)"),
        ({"baseline": np.full(6, np.nan)}, "nan"), ({"x": np.ones((2, 6), int)}, "dtype int64"),
    ):  # fmt: skip
        given = {"x": x, **change}
        with pytest.raises(ArgumentError, match=match):
            explain(plain, given.pop("x"), **given)
    with pytest.warns(UserWarning, match="equals its baseline"):
        found = explain(plain, np.ones((1, 6)), 0, baseline=1.0)
    assert np.abs(found.values).max() < 1e-12
    # A model that answers the same whatever it sees: nothing to explain, and no error of it.
    flat = explain(lambda z: np.full((len(z), 2), 3.0), x, 1)
    assert np.abs(flat.values).max() < 1e-12


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"window": 7}, r"window.*at most \(6,\)"),
        ({"window": 0}, "whole number from 1"),
        ({"window": (1, 1)}, "or 1 of them"),
        ({"window": 2.0}, "whole number"),
        ({"window": 2, "stride": 3}, r"stride.*at most the window's"),
    ],
)
def test_windows_that_do_not_fit_are_refused(given, match, rng):
    with pytest.raises(ArgumentError, match=match):
        occlusion(plain, rng.normal(size=(1, 6)), **given)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"samples": 1}, ">= 2"),
        ({"seed": -1}, "`seed` has the value -1; expected a whole number >= 0"),
        ({"samples": 5, "regularization": 0.0}, "more samples, or a regularization > 0"),
        ({"regularization": -1.0}, ">= 0"),
        ({"kernel_width": 0.0}, "> 0"),
        ({"neighbours": "all"}, "one of coins, sizes"),
        ({"players": [0, 0, 1, 1, 3, 3]}, "without a gap"),
        ({"training": np.ones((4, 6))}, "does not vary"),
        ({"training": np.ones((4, 5))}, r"training.*shape \(4, 5\)"),
        ({"training": np.eye(6), "baseline": 0.0}, "only one of them"),
    ],
)
def test_what_lime_cannot_do_is_refused(given, match, rng):
    with pytest.raises(ArgumentError, match=match):
        lime(plain, rng.normal(size=(1, 6)), **given)


def test_patches_cover_a_picture():
    players = patches((3, 10, 9), 4)
    assert players.shape == (3, 10, 9) and players.max() == 8
    assert (players[0] == players[2]).all() and players[0, 3, 3] == 0 and players[0, 4, 3] == 3
    for shape, size, match in (((5,), 2, r"\(H, W\)"), ((5, 5), 0, ">= 1")):
        with pytest.raises(ArgumentError, match=match):
            patches(shape, size)
