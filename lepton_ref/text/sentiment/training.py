"""Training a sentiment network, with everything that the documents list switched on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lepton_ref.framework.data import check_lengths
from lepton_ref.framework.losses import cross_entropy
from lepton_ref.framework.optimizers import Adam, cosine
from lepton_ref.framework.training import History, fit
from lepton_ref.text.sentiment.classifier import SentimentNetwork
from lepton_ref.text.sentiment.preparation import class_weights, word_dropout


def train(
    network: SentimentNetwork,
    documents: Sequence[Sequence[str]],
    labels: np.ndarray,
    epochs: int,
    learning_rate: float,
    rng: np.random.Generator,
    batch_size: int = 64,
    length: int | None = None,
    power: float = 0.5,
    word_rate: float = 0.1,
    l2: float = 0.0,
    progress: bool = False,
) -> History:
    """Adam on a cosine with warm-up, weighted classes, word dropout, clipped gradients.

    Parameters
    ----------
    network : SentimentNetwork
        Trained in place, from where it stands.
    documents : sequence of lists of str
        Preprocessed texts.
    labels : int array, shape (N,)
    epochs : int
    learning_rate : float
        At its peak, after a tenth of the steps.
    rng : numpy.random.Generator
    batch_size : int
    length : int, optional
        Words of each text to train on; default and most: the network's ``max_length``.
    power : float
        Of :func:`class_weights` (eq. sentiment-weighted-logits); 0 weighs all rows alike.
    word_rate : float
        Of :func:`word_dropout`.
    l2 : float
    progress : bool

    Returns
    -------
    History
    """
    check_lengths("train", documents=np.empty(len(documents)), labels=labels)
    x = network.encoder.encode(documents, length)
    steps = epochs * -(-len(x) // batch_size)
    return fit(
        network, cross_entropy, (x, labels, class_weights(labels, power)),
        Adam(cosine(learning_rate, steps, warmup=steps // 10), engine=network.E),
        epochs=epochs, rng=rng, batch_size=batch_size, l2=l2, clip_norm=1.0,
        augment=word_dropout(word_rate), progress=progress,
    )  # fmt: skip
