"""Page *Sentiment*: is a review negative, neutral or positive? The documents' running example."""

from lepton_ref.text.sentiment.classifier import Classifier, Features, SentimentNetwork
from lepton_ref.text.sentiment.network import RNN, backwards, pair_rows
from lepton_ref.text.sentiment.preparation import (
    CLASSES,
    class_weights,
    grade_classes,
    preprocess,
    word_dropout,
)
from lepton_ref.text.sentiment.training import train

__all__ = [
    "CLASSES", "Classifier", "Features", "RNN", "SentimentNetwork", "backwards", "class_weights",
    "grade_classes", "pair_rows", "preprocess", "train", "word_dropout",
]  # fmt: skip
