"""From features to the name of a class; and both models as the one network that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.inputs import probabilities
from lepton_ref.framework.layers import Dense, Layer
from lepton_ref.framework.models import load_model, register

if TYPE_CHECKING:
    from lepton_ref.text.sentiment.network import RNN


class Features(np.ndarray):
    """Features (N, F) or (F,) that remember which vocabulary they were made with."""

    vocabulary: str = ""

    def __array_finalize__(self, parent: Any) -> None:
        self.vocabulary = getattr(parent, "vocabulary", "")


@register
class Classifier(Layer):
    """Features to the name of a class: one dense layer.

    Parameters
    ----------
    in_features : int
        F.
    classes : sequence of str
        Their names, in the order of the labels.
    vocabulary : str
        Hash of the vocabulary whose features it was trained on; "" takes any.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Raises
    ------
    ArgumentError
        For fewer than two classes.
    """

    def __init__(
        self,
        in_features: int,
        classes: Sequence[str] = ("negative", "neutral", "positive"),
        vocabulary: str = "",
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        if len(classes) < 2:
            raise ArgumentError("Classifier", "classes", f"{len(classes)} names", "at least 2")
        self.in_features, self.classes, self.vocabulary = in_features, tuple(classes), vocabulary
        self.head = Dense(in_features, len(self.classes), rng=rng, engine=self.E)

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Logits: (N, F) -> (N, K)."""
        return self.head(x)

    def predict_proba(self, features: Any) -> np.ndarray:
        """Probability of each class: (N, F) -> (N, K), rows sum to 1; float64.

        Raises
        ------
        ArgumentError
            For another shape, values that are not finite, or features that a model with
            another vocabulary made.
        """
        where = "Classifier"
        theirs = getattr(features, "vocabulary", "")
        if theirs and self.vocabulary and theirs != self.vocabulary:
            raise ArgumentError(
                where, "features", f"features of the vocabulary {theirs[:12]}...",
                f"those of {self.vocabulary[:12]}..., which this classifier was trained with",
            )  # fmt: skip
        x = np.asarray(features)
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ArgumentError(where, "features", f"shape {x.shape}", f"(N, {self.in_features})")
        if x.dtype.kind != "f" or not np.isfinite(x).all():
            raise ArgumentError(where, "features", "entries that are no finite numbers", "floats")
        with self.E.no_grad():
            return probabilities(self.E.asnumpy(self(self.E.array(x))))

    def classify(self, features: Any) -> str | list[str]:
        """The name of the most probable class: one for (F,), a list for (N, F).

        Parameters and errors as in :meth:`predict_proba`.
        """
        single = np.ndim(features) == 1
        rows = features[None] if single and isinstance(features, np.ndarray) else features
        names = [self.classes[k] for k in self.predict_proba(rows).argmax(axis=1)]
        return names[0] if single else names

    @classmethod
    def load_model(
        cls, name: str, path: str | Path | None = None, engine: str | Engine | None = None
    ) -> Classifier:
        """A saved classifier by name; errors as in :meth:`RNN.load_model`."""
        return load_model(name, path=path, expected=cls, engine=engine)


class SentimentNetwork(Layer):
    """An RNN and a classifier on it, trained as one: word numbers (N, T) -> logits (N, K).

    Parameters
    ----------
    encoder : RNN
    classifier : Classifier
    """

    def __init__(self, encoder: RNN, classifier: Classifier) -> None:
        super().__init__(encoder.E)
        self.encoder, self.classifier = encoder, classifier

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Logits."""
        return self.classifier(self.encoder(x, rng), rng)

    def predict_proba(self, documents: Sequence[Sequence[str]]) -> np.ndarray:
        """Probability of each class for preprocessed texts: (N, K), rows sum to 1."""
        return self.classifier.predict_proba(self.encoder.extract_features(list(documents)))
