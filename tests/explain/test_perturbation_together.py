"""Examples that are explained together are asked in full batches, and get what each gets alone."""

import numpy as np
import pytest

from lepton_ref.explain import exact_shapley, kernel_shap, lime, occlusion, permutation_shapley
from lepton_ref.explain.gradients import review_model
from lepton_ref.explain.perturbation.coalitions import question

LENGTHS = np.array([5, 2, 4, 3])


class OfLengths:
    """Knows how long each row is, notes what it was asked, and mixes what it reads."""

    def __init__(self, lengths, seen):
        self.lengths, self.seen = lengths, seen

    def select(self, rows):
        return OfLengths(self.lengths[rows], self.seen)

    def __call__(self, x):
        assert len(x) == len(self.lengths), "each row must come with its own length"
        self.seen.append(len(x))
        real = x * (np.arange(x.shape[1]) < self.lengths[:, None])
        total = real.sum(axis=1)
        return np.stack([np.tanh(total) + self.lengths, total**2 - real.max(axis=1)], axis=1)


def batch():
    x = np.random.default_rng(0).normal(size=(4, 5))
    players = np.where(np.arange(5) < LENGTHS[:, None], np.arange(5), -1)
    return x, players, np.array([0, 1, 1, 0])


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_games_asked_together_answer_as_each_alone(batch_size):
    x, players, target = batch()
    seen = []
    model = OfLengths(LENGTHS, seen)
    asked = question("t", model, x, target, players, 0.3, batch_size=batch_size)
    rng = np.random.default_rng(1)
    masks = [rng.random((m, g.players)) < 0.5 for m, g in zip((6, 0, 9, 4), asked.games)]
    seen.clear()
    found = asked.values(masks)
    assert seen == [min(batch_size, 19 - i) for i in range(0, 19, batch_size)]
    for one, game, rows in zip(found, asked.games, masks):
        np.testing.assert_array_equal(one, game(rows) if len(rows) else np.zeros(0))
    assert asked.ends() == [game.ends() for game in asked.games]


@pytest.mark.parametrize("batch_size", [2, 256])
def test_a_background_is_averaged_of_each_game_apart(batch_size):
    x, _, target = batch()
    background = np.random.default_rng(2).normal(size=(3, 5))
    model = OfLengths(LENGTHS, [])
    asked = question("t", model, x, target, background=background, batch_size=batch_size)
    masks = [np.random.default_rng(i).random((5, 5)) < 0.5 for i in range(4)]
    for one, game, rows in zip(asked.values(masks), asked.games, masks):
        np.testing.assert_allclose(one, game(rows), rtol=1e-14)


def test_outputs_that_are_not_finite_are_refused():
    def model(x):
        return np.where(x.sum(axis=1) == 0, np.nan, x.sum(axis=1))

    asked = question("t", model, np.ones((2, 3)), None)
    with pytest.raises(ValueError, match="not finite where players are absent"):
        asked.ends()


@pytest.mark.parametrize(
    "explainer, settings",
    [
        (exact_shapley, {}), (occlusion, {}), (kernel_shap, {"samples": 2000}),
        (permutation_shapley, {"permutations": 4000}), (lime, {"samples": 20_000}),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)  # fmt: skip
def test_together_and_alone_agree(explainer, settings):
    x, players, target = batch()
    more = {} if explainer is occlusion else {"players": players}
    model = OfLengths(LENGTHS, [])
    together = explainer(model, x, target, **more, **settings)
    for i in range(4):
        own = {} if explainer is occlusion else {"players": players[i]}
        alone = explainer(model.select([i]), x[i : i + 1], target[i : i + 1], **own, **settings)
        # Those that draw go on drawing: example i has other numbers than alone.
        loose = explainer in (permutation_shapley, lime)
        tolerance = 0.1 if loose else 1e-12
        np.testing.assert_allclose(together.values[i], alone.values[0], atol=tolerance)
        assert np.abs(alone.values).max() > 0.2


def test_few_calls_serve_many_examples():
    x = np.random.default_rng(0).normal(size=(20, 6))
    for explainer, most in ((lime, 9), (kernel_shap, 7), (occlusion, 2)):
        seen = []

        def model(rows, seen=seen):
            seen.append(len(rows))
            return np.tanh(rows.sum(axis=1))

        settings = {} if explainer is occlusion else {"samples": 100}
        explainer(model, x, 0, **settings)
        assert len(seen) <= most
        assert max(seen) <= 256


def test_a_covered_window_is_not_asked_for():
    x = np.zeros((2, 4))
    x[0, 1], x[1, [0, 3]] = 2.0, 1.0
    seen = []

    def model(rows):
        seen.append(rows.copy())
        return rows @ np.arange(1.0, 5.0)

    found = occlusion(model, x, 0)
    assert [len(rows) for rows in seen] == [2, 3]
    np.testing.assert_allclose(found.values, x * np.arange(1.0, 5.0))


def test_padding_behind_the_longest_text_is_not_read(engine):
    review = review_model(engine)
    ids = review.tokens(["good food, I like it", "bad"])
    x, short = review.embed(ids), review.given(ids)
    wide = np.concatenate([ids, np.zeros((2, 30), ids.dtype)], axis=1)
    E = review.E
    with E.no_grad():
        y = np.asarray(E.asnumpy(short(E.array(x))))
    padded = np.random.default_rng(0).normal(size=(2, wide.shape[1], review.dim))
    padded = padded.astype(np.float32)
    padded[:, : x.shape[1]] = x

    def total(batch):
        return E.sum(review.given(wide)(batch))

    value, gradient = E.value_and_grad(total)(E.array(padded))
    assert float(E.asnumpy(value)) == pytest.approx(y.sum(), rel=1e-5)
    gradient = np.asarray(E.asnumpy(gradient))
    assert gradient.shape == padded.shape
    assert (gradient[:, x.shape[1] :] == 0).all() and (gradient[1, 1:] == 0).all()
    assert np.abs(gradient[:, : x.shape[1]]).max() > 0
