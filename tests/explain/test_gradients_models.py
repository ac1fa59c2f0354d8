"""The models to explain are those of the earlier chapters, on every engine."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_ref.explain.gradients import black_box, fashion_model, patient_model, review_model
from lepton_ref.explain.gradients.boxes import model_dtype, select
from lepton_ref.explain.gradients.models import ReviewModel, white_box
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.sentiment import RNN, Classifier, SentimentNetwork

TEXTS = [
    "this camera is great , i love it",
    "not worth the money . it broke after two days and nobody helps",
    "ok",
]


def test_reviews_cut_open_answer_as_the_whole_network(engine):
    """Embeddings with their mask against word numbers through the network that was trained."""
    review = review_model()
    ids = review.tokens(TEXTS)
    x = review.embed(ids)
    assert x.shape == (3, ids.shape[1], review.dim) and x.dtype == np.float32
    given = review.given(ids)
    found = black_box(given)(x)
    np.testing.assert_allclose(found, review.logits(TEXTS), atol=1e-5)
    assert [review.classes[k] for k in found[:2].argmax(axis=1)] == ["positive", "negative"]
    np.testing.assert_allclose(black_box(given, batch_size=2)(x), found, atol=1e-5)
    assert model_dtype(given, x) == "float32"
    # One text alone needs no mask; rows in another order take theirs along.
    alone = review.embed(review.tokens(TEXTS[0]))
    np.testing.assert_allclose(black_box(review)(alone), found[:1], atol=1e-5)
    np.testing.assert_allclose(black_box(select(given, [2, 0, 0]))(x[[2, 0, 0]]), found[[2, 0, 0]],
                               atol=1e-5)  # fmt: skip
    one = review.given(review.tokens(TEXTS[0]))
    assert select(one, [0, 0]) is one and black_box(one)(np.repeat(alone, 2, axis=0)).shape == (
        2,
        3,
    )


@pytest.mark.parametrize("pooling", [("last", "mean"), ("max",), ("words", "last", "pairs")])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_every_pooling_is_cut_open_alike(engine, rng, pooling, bidirectional):
    encoder = RNN(["good", "bad", "camera"], 5, 4, bidirectional, pooling, rng=rng)
    review = ReviewModel(SentimentNetwork(encoder, Classifier(encoder.out_features, rng=rng)))
    texts = ["good camera", "bad bad good camera camera", "bad"]
    found = black_box(review.given(review.tokens(texts)))(review.embed(review.tokens(texts)))
    np.testing.assert_allclose(found, review.logits(texts), atol=1e-5)


def test_both_words_of_a_pair_count_alike(engine):
    """The gradients of the two copies of each pair's vector are the same."""
    review = review_model()
    ids = review.tokens("not good at all")
    given = review.given(ids)
    _, grad = engine.value_and_grad(lambda x: engine.sum(given(x)[:, 2]))(
        engine.parameter(review.embed(ids))
    )
    pairs = engine.asnumpy(grad)[0, :, review.words_dim :].reshape(-1, 2, 8)
    np.testing.assert_allclose(pairs[:-1, 0], pairs[1:, 1], rtol=1e-5)
    assert np.abs(pairs[0, 0]).max() > 0 and not pairs[-1, 0].any() and not pairs[0, 1].any()


def test_reviews_refuse_what_is_no_review(rng):
    review = review_model("numpy")
    with pytest.raises(ArgumentError, match="no words: ' '; expected at least one word"):
        review.tokens([" "])
    with pytest.raises(ArgumentError, match=r"float64 \(1, 2\); expected int"):
        review.embed(np.zeros((1, 2)))
    given = review.given(review.tokens(TEXTS))
    with pytest.raises(ArgumentError, match=r"shape \(2, 13, 64\); expected \(3, 13, 64\)"):
        given(np.zeros((2, 13, 64)))
    with pytest.raises(ArgumentError, match=r"shape \(1, 3\); expected \(M, 13, 64\)"):
        select(review.given(review.tokens(TEXTS[1])), [0])(np.zeros((1, 3)))
    encoder = RNN(["good"], 3, 3, pooling=("attention",), rng=rng)
    with pytest.raises(ArgumentError, match="expected no pooling by attention"):
        ReviewModel(SentimentNetwork(encoder, Classifier(encoder.out_features, rng=rng)))


def test_patients_are_the_same_on_every_engine(engine):
    patients, reference = patient_model(), patient_model(engine="numpy")
    assert patients.E is engine
    assert patients.train_x.shape == (456, 30) and patients.test_x.shape == (113, 30)
    logits = black_box(patients)(patients.test_x)
    np.testing.assert_allclose(logits, black_box(reference)(patients.test_x), atol=1e-5)
    assert (logits.argmax(axis=1) == patients.test_y).mean() >= 0.96
    assert patients.classes == ("malignant", "benign") and len(patients.feature_names) == 30
    np.testing.assert_allclose(patients.train_x.mean(axis=0), 0, atol=1e-5)
    back = patients.scaler.inverse_transform(patients.test_x)
    assert 6 < back[:, 0].min() and back[:, 0].max() < 30, "the mean radius, in its unit"


def test_another_seed_trains_another_patient_model():
    first, second = patient_model(0, "numpy"), patient_model(1, "numpy")
    assert not np.array_equal(first.test_x, second.test_x)
    accuracy = (black_box(second)(second.test_x).argmax(axis=1) == second.test_y).mean()
    assert accuracy >= 0.93


def test_clothes_come_standardised(engine):
    fashion = fashion_model()
    assert fashion.x.shape == (10000, 1, 28, 28) and fashion.images.shape == (10000, 28, 28)
    assert fashion.E is engine and len(fashion.classes) == 10
    assert abs(float(fashion.x[fashion.images[:, None] == 0].max()) - fashion.black) < 1e-6
    found = black_box(fashion)(fashion.x[:200]).argmax(axis=1)
    assert (found == fashion.y[:200]).mean() > 0.9
    assert white_box(fashion) is fashion.model is white_box(fashion.model)
    with pytest.raises(ArgumentError, match="type function; expected a Layer"):
        white_box(lambda x: x)
