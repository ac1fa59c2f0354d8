"""Training an embedding with one of three losses, all on the same budget."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Sequential
from lepton_ref.framework.optimizers import AdamW, cosine
from lepton_ref.framework.training import History, fit
from lepton_ref.vision.faces.losses import arcface, contrastive, triplet
from lepton_ref.vision.faces.network import CosineHead, FaceCNN, prepare_faces, vary_faces

LOSSES: dict[str, Callable[..., Any]] = {
    "contrastive": contrastive,
    "triplet": triplet,
    "arcface": arcface,
}


class Trained(NamedTuple):
    """The network, without what was needed to train it, and the record of the training."""

    model: FaceCNN
    history: History


def train_embedding(
    images: Any,
    subjects: Any,
    loss: str = "arcface",
    *,
    epochs: int = 30,
    rng: np.random.Generator,
    batch_size: int = 56,
    learning_rate: float = 0.003,
    weight_decay: float = 0.02,
    width: int = 16,
    dimension: int = 64,
    dropout: float = 0.4,
    augment: Callable[[np.ndarray, np.random.Generator], np.ndarray] = vary_faces,
    engine: str | Engine | None = None,
    progress: bool = False,
) -> Trained:
    """Train a :class:`.network.FaceCNN` on pictures of known people.

    Every loss sees the same batches of pictures, varied anew each time, takes the same number of
    steps, and starts from the same weights for the same `rng`.

    Parameters
    ----------
    images : array
        As :func:`.network.prepare_faces` takes them.
    subjects : int array (N,)
        Who is on each picture; the numbers mean nothing but same or not.
    loss : {"arcface", "triplet", "contrastive"}
    epochs : int
        Passes over the pictures.
    rng : numpy.random.Generator
        Draws weights, batches, variations and dropout.
    batch_size : int
        A genuine pair needs two pictures of one person in a batch, so not too small.
    learning_rate : float
        Of AdamW, at the peak of a cosine.
    weight_decay, width, dimension, dropout
        See :class:`.AdamW` and :class:`.network.FaceCNN`.
    augment : callable (x, rng) -> x
        Varies each batch of prepared pictures; :func:`.network.vary_faces`, or a
        ``functools.partial`` of it with other settings.
    engine : str or Engine, optional
    progress : bool

    Returns
    -------
    Trained

    Raises
    ------
    ArgumentError
        For an unknown loss, labels that do not fit, fewer than two people, and what
        :func:`.network.prepare_faces` and :func:`.fit` refuse.
    """
    where = "train_embedding"
    if loss not in LOSSES:
        raise ArgumentError(where, "loss", f"the value {loss!r}", "one of " + ", ".join(LOSSES))
    x = prepare_faces(images)
    who = np.asarray(subjects)
    if who.shape != (len(x),) or who.dtype.kind not in "iu":
        raise ArgumentError(
            where, "subjects", f"shape {who.shape} and dtype {who.dtype}",
            f"one whole number for each of the {len(x)} pictures",
        )  # fmt: skip
    people, labels = np.unique(who, return_inverse=True)
    if len(people) < 2:
        raise ArgumentError(where, "subjects", f"{len(people)} people", "at least two")
    model = FaceCNN(width, dimension, dropout, rng=rng, engine=engine)
    network: Any = model
    if loss == "arcface":
        head = CosineHead(dimension, len(people), rng=np.random.default_rng(rng.integers(2**32)),
                          engine=model.E)  # fmt: skip
        network = Sequential(model, head, engine=model.E)
    else:
        rng.integers(2**32)  # so that what follows is the same draw for all losses
    steps = epochs * -(-len(x) // batch_size)
    optimizer = AdamW(
        cosine(learning_rate, steps, warmup=min(20, steps // 5)),
        weight_decay=weight_decay,
        engine=model.E,
    )
    history = fit(
        network, functools.partial(LOSSES[loss], engine=model.E), (x, labels), optimizer, epochs,
        rng=rng, batch_size=batch_size, augment=augment, progress=progress,
    )  # fmt: skip
    return Trained(model, history)
