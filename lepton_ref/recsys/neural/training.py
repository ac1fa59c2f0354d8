"""What the networks of the page share: one loop, and mini-batches with negatives drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import lepton_ref
from lepton_ref.framework.data import batches
from lepton_ref.framework.layers import Layer
from lepton_ref.framework.optimizers import Optimizer
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.ranking.loops import unseen_items


def minimise(
    network: Layer,
    loss: Callable[..., Any],
    steps: Iterable[tuple[np.ndarray, ...]],
    optimizer: Optimizer,
) -> list[float]:
    """Take one optimizer step for each mini-batch; the network's parameters move in place.

    Parameters
    ----------
    network : Layer
    loss : callable
        ``loss(params, *arrays) -> scalar``, the arrays on the network's engine.
    steps : iterable of tuples of arrays
        The mini-batches, in order.
    optimizer : Optimizer

    Returns
    -------
    list of float
        The loss of each step, before it.
    """
    E, params, losses = network.E, network.parameters(), []
    gradient = E.value_and_grad(loss)
    with lepton_ref.use(E.name, E.device):
        for rows in steps:
            value, grads = gradient(params, *(E.array(a) for a in rows))
            optimizer.step(params, grads)
            losses.append(float(value))
    return losses


def labelled_pairs(
    train: Ratings, seen: Any, epochs: int, batch_size: int, negatives: int,
    rng: np.random.Generator,
) -> Iterator[tuple[np.ndarray, ...]]:  # fmt: skip
    """Users, items and labels: each training row, and as many unseen items as ``negatives``.

    They are drawn anew in each epoch, and shuffled.
    """
    for _ in range(epochs):
        users = np.tile(train.users, 1 + negatives)
        others = unseen_items(seen, users[len(train) :], rng)
        items = np.concatenate([train.items, others])
        labels = (np.arange(len(users)) < len(train)).astype(np.float32)
        yield from batches((users, items, labels), batch_size, rng)


def triples(
    train: Ratings, seen: Any, epochs: int, batch_size: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, ...]]:
    """Users, items they have and items they have not, for the loss of BPR (eq. bpr-loss)."""
    for _ in range(epochs):
        order = rng.permutation(len(train))
        users, items = train.users[order], train.items[order]
        others = unseen_items(seen, users, rng)
        yield from batches((users, items, others), batch_size)
