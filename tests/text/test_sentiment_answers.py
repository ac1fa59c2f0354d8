"""What users give the models of text/sentiment: whatever it is, an answer or a reason."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import lepton_ref
from lepton_ref.framework.errors import ArgumentError, DataError, ModelFileError
from lepton_ref.framework.layers import Dense
from lepton_ref.framework.losses import cross_entropy
from lepton_ref.framework.models import save
from lepton_ref.framework.optimizers import SGD
from lepton_ref.framework.training import fit
from lepton_ref.text.sentiment import (
    RNN,
    Classifier,
    SentimentNetwork,
    class_weights,
    grade_classes,
    preprocess,
    word_dropout,
)
from lepton_ref.text.sentiment.printed_log import (
    Entry,
    contradictions,
    least_loss,
    possible_rows,
    read_log,
    steps_per_epoch,
)
from lepton_ref.text.tokens import Vocabulary, distinct

SOURCE = """\
Epoch 1/10
40/40 [==============================] - 0s 3ms/step - loss: 0.8983 - accuracy: 0.7500
Epoch 4/10
40/40 [==============================] - 0s 3ms/step - loss: 0.2638 - accuracy: 0.8333
Epoch 10/10
40/40 [==============================] - 0s 3ms/step - loss: 0.0969 - accuracy: 1.0000
Test loss: 0.1280
Test accuracy: 0.6667
"""


@pytest.fixture(scope="module")
def shipped():
    return (
        RNN.load_model("sentiment_analysis_model"),
        Classifier.load_model("sentiment_classifier"),
    )


def small(words="bad good not", **options):
    settings = {"embedding_dim": 4, "hidden_size": 3, "rng": np.random.default_rng(0)} | options
    return RNN(words.split(), **settings)


# --- the documents' listing ------------------------------------------------------------------


def test_the_listing_of_the_documents_runs_as_printed():
    """D0 4.3 without its comments, `lepton` read as `lepton_ref`.

    It uses `Classifier` and `preprocess` without importing them; here they are imported.
    """
    listing = """
from lepton_ref import Classifier, preprocess
from lepton_ref import RNN
model = RNN.load_model('sentiment_analysis_model')
input_text = 'This is a great day!'
processed_text = preprocess(input_text)
features = model.extract_features(processed_text)
classifier = Classifier.load_model('sentiment_classifier')
emotion = classifier.classify(features)
"""
    names: dict = {}
    exec(listing, names)
    assert names["emotion"] == "positive"
    assert names["features"].shape == (names["model"].out_features,)


def test_the_shipped_model_tells_good_from_bad(shipped):
    model, classifier = shipped
    texts = [
        "I love this product", "This product is terrible", "works great, highly recommended",
        "what a waste of money, it broke after two days", "the best camera i ever owned",
        "poor quality and awful support",
    ]  # fmt: skip
    answers = classifier.classify(model.extract_features(preprocess(texts)))
    assert answers == ["positive", "negative"] * 3


def test_the_shipped_model_says_where_it_comes_from(shipped):
    for model in shipped:
        told = model.description
        assert "notebooks/text/sentiment.ipynb" in told["recipe"]
        assert told["data"]["amazon-sentences"] == lepton_ref.load("amazon-sentences").sha256
        assert told["figures"]["cross_validated_macro_f1"] > 0.5
    assert shipped[1].vocabulary == shipped[0].vocabulary.sha256
    folder = Path(lepton_ref.__file__).parent / "models_files"
    assert sum(f.stat().st_size for f in folder.glob("sentiment_*")) < 9_000_000


# --- bad input: an answer or a reason --------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "", "   \n\t ", "qzxv wqqk", "\U0001f600\U0001f44d\U0001f3fd \u2764\ufe0f", "!!!", "<br/>",
        "\u8fd9\u4e2a product \u5f88\u597d \u043e\u0447\u0435\u043d\u044c good \U0001f600",
        "\u200b\u202e", "a" * 100_000, "good " * 20_000, "\u597d" * 3_000, "\x00\x01",
    ],
)  # fmt: skip
def test_whatever_text_gets_an_answer(shipped, text):
    model, classifier = shipped
    features = model.extract_features(preprocess(text, language="en"))
    assert features.shape == (model.out_features,) and np.isfinite(features).all()
    assert classifier.classify(features) in ("negative", "neutral", "positive")


def test_a_text_of_100_000_characters_is_read_from_its_start(shipped):
    model, _ = shipped
    words = preprocess("this is great . " * 6_250)
    assert len(words) == 25_000
    start = model.extract_features(words[: model.max_length])
    np.testing.assert_allclose(model.extract_features(words), start, atol=1e-6)


def test_no_words_and_unknown_words_are_two_things():
    model = small()
    nothing, unknown, known = model.extract_features([[], ["zzz"], ["good"]])
    assert np.abs(nothing - unknown).max() > 1e-3 < np.abs(unknown - known).max()
    np.testing.assert_allclose(unknown, model.extract_features(["qqq"]), atol=1e-6)
    assert (nothing == 0).all(), "what an LSTM holds before the first word"


def test_emoji_and_scripts_can_be_words():
    tokens = preprocess("Great \U0001f600 \u8d28\u91cf\u5f88\u597d!!!")
    assert "\U0001f600" in tokens and "great" in tokens and any("\u597d" in t for t in tokens)
    model = small(" ".join(tokens))
    assert 1 not in model.encode([tokens])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gut f\u00fcr mich".encode("latin-1"), "type bytes.*decode it with its encoding"),
        (b"good".decode("ascii") + "\udcfc", "half a surrogate pair"),
        (None, "type NoneType"),
        (3.5, "type float"),
        (["good", None], "type NoneType"),
    ],
)
def test_what_is_no_text_is_refused(text, message):
    with pytest.raises(ArgumentError, match=message):
        preprocess(text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("good", "type str; expected what preprocess"),
        (b"good", "type bytes"),
        ([["good"], "bad"], "texts and words mixed"),
        ([["good"], [3]], "texts and words mixed"),
    ],
)
def test_what_was_not_preprocessed_is_refused(words, message):
    with pytest.raises(ArgumentError, match=message):
        small().extract_features(words)


def test_no_texts_give_no_features():
    model = small()
    assert model.extract_features(np.empty((0, 0), object)).shape == (model.out_features,)
    assert Classifier(6, rng=np.random.default_rng(0)).classify(np.zeros((0, 6))) == []


@pytest.mark.parametrize("label", [-1, 3])
def test_label_out_of_range_is_refused_before_training(label):
    start = small()
    network = SentimentNetwork(start, Classifier(start.out_features, rng=np.random.default_rng(0)))
    before = network.state()
    x, y = start.encode([["good"], ["bad"]]), np.array([0, label])
    with pytest.raises(DataError, match=f"the first is {label} at index .*outputs for 0..2"):
        fit(network, cross_entropy, (x, y), SGD(0.1), 1, rng=np.random.default_rng(0))
    assert all(np.array_equal(before[k], v) for k, v in network.state().items())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grade_classes([0.0, 4.5]), "the value 4.5; expected grades from -4 to 4"),
        (lambda: grade_classes([np.nan]), "the value nan"),
        (lambda: grade_classes([1.0], threshold=0.0), "`threshold` has the value 0.0"),
        (lambda: distinct(["a", "b"], np.array([1])), "1 labels; expected 2"),
        (lambda: class_weights(np.array([0, 1]), 2.0), "`power` has the value 2.0"),
        (lambda: class_weights(np.array([0, -1])), "from -1; expected whole numbers from 0"),
        (lambda: word_dropout(1.0), "`rate` has the value 1.0"),
        (lambda: small(pooling="sum"), "some of last, mean, max, attention"),
        (lambda: small(pooling=()), "`pooling` has"),
        (lambda: small(max_length=0), "`max_length` has the value 0"),
        (lambda: Classifier(3, ["one"]), "1 names; expected at least 2"),
        (lambda: small().attention_weights(["good"]), "pooling by attention"),
        (lambda: small(pooling="attention").attention_weights([["good"]]), "1 texts; expected one"),
        (lambda: small()(np.array([1, 2])), r"shape \(2,\); expected \(N, T\)"),
        (lambda: steps_per_epoch(0, 32), "0 and 32"),
        (lambda: least_loss(1.5), "the value 1.5"),
    ],
)
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((2, 7)), r"shape \(2, 7\); expected \(N, 6\)"),
        (np.zeros((1, 2, 6)), "shape"),
        (np.full((1, 6), np.nan), "no finite numbers"),
        (np.zeros((1, 6), int), "no finite numbers"),
    ],
)
def test_wrong_features_are_refused(features, message):
    with pytest.raises(ArgumentError, match=message):
        Classifier(6, rng=np.random.default_rng(0)).classify(features)


# --- another vocabulary ------------------------------------------------------------------------


def test_features_of_another_vocabulary_are_refused():
    model, other = small(), small("not good bad")
    classifier = Classifier(
        model.out_features, vocabulary=model.vocabulary.sha256, rng=np.random.default_rng(0)
    )
    classifier.classify(model.extract_features(["good"]))
    classifier.classify(np.asarray(model.extract_features(["good"])))  # untold, not checked
    with pytest.raises(ArgumentError, match="which this classifier was trained with"):
        classifier.classify(other.extract_features(["good"]))


def test_arrays_of_another_vocabulary_are_refused():
    model, other = small(), small("not good bad")
    before = model.state()
    with pytest.raises(ArgumentError, match="row i of the embedding would stand for another word"):
        model.load_state(other.state())
    assert all(np.array_equal(before[k], v) for k, v in model.state().items())
    twin = small(rng=np.random.default_rng(9))
    twin.load_state(before)
    np.testing.assert_array_equal(twin.extract_features(["good"]), model.extract_features(["good"]))


def test_a_model_saved_with_another_vocabulary_is_refused(tmp_path):
    model = small()
    save(model, tmp_path / "small", {"recipe": "a test"})
    mine = Vocabulary(["not", "good", "bad"])
    with pytest.raises(ArgumentError, match=re.escape("the one that small was saved with")):
        RNN.load_model("small", path=tmp_path, vocabulary=mine)
    again = RNN.load_model("small", path=tmp_path, vocabulary=Vocabulary(["bad", "good", "not"]))
    assert again.vocabulary == model.vocabulary


def test_a_model_of_another_class_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    save(Dense(2, 3, rng=rng), tmp_path / "dense", {"recipe": "a test"})
    save(small(), tmp_path / "rnn", {"recipe": "a test"})
    with pytest.raises(ModelFileError, match="Dense"):
        RNN.load_model("dense", path=tmp_path)
    with pytest.raises(ModelFileError, match="RNN"):
        Classifier.load_model("rnn", path=tmp_path)


@pytest.mark.parametrize("pooling", [("last",), ("max", "attention")])
def test_saved_and_loaded_on_every_engine(tmp_path, pooling):
    model = small(pooling=pooling, engine="numpy")
    classifier = Classifier(
        model.out_features, "ab", model.vocabulary.sha256, np.random.default_rng(1), "numpy"
    )
    save(model, tmp_path / "m", {"recipe": "a test"})
    save(classifier, tmp_path / "c", {"recipe": "a test"})
    texts = [["good", "bad"], [], ["not", "good", "zzz"]]
    for name in lepton_ref.engines.installed():
        again = RNN.load_model("m", path=tmp_path, engine=name)
        assert again.E.name == name and again.pooling == pooling
        features = again.extract_features(texts)
        np.testing.assert_allclose(features, model.extract_features(texts), atol=1e-5)
        head = Classifier.load_model("c", path=tmp_path, engine=name)
        assert head.classes == ("a", "b")
        np.testing.assert_allclose(
            head.predict_proba(features), classifier.predict_proba(features), atol=1e-5
        )


# --- the printed log -----------------------------------------------------------------------------


def test_the_printed_log_contradicts_itself():
    log = read_log(SOURCE)
    assert log[0] == Entry(40, 0.8983, 0.75) and log[-1] == Entry(0, 0.128, 0.6667)
    told = contradictions(log, rows=3, batch_size=32, test_rows=2)
    assert [sentence.split(";")[0] for sentence in told] == [
        "40 steps an epoch",
        "accuracy 0.7500 in an epoch",
        "accuracy 0.8333 in an epoch",
        "accuracy 0.6667 in the test",
        "loss 0.1280 at accuracy 0.6667 in the test",
    ]


def test_which_numbers_of_rows_could_have_printed_it():
    shares = [entry.accuracy for entry in read_log(SOURCE) if entry.steps]
    assert min(possible_rows(shares, range(1, 100))) == 12
    assert possible_rows(shares, range(1249, 1281)) == [1260, 1272]
    last = [Entry(0, 0.1280, 0.6667)]
    assert all(contradictions(last, 3, 32, n) for n in range(1, 200)), "on any number of rows"


def test_an_honest_log_is_not_accused():
    assert contradictions([Entry(1, 1.09, 0.3333), Entry(0, 0.5, 0.5)], 3, 32, 2) == []
