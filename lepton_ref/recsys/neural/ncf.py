"""Neural collaborative filtering: a learned function of two embeddings in place of their product.

Source: He, Liao, Zhang, Nie, Hu and Chua (2017), *Neural collaborative filtering*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Dense, Layer
from lepton_ref.framework.losses import binary_cross_entropy_with_logits
from lepton_ref.framework.optimizers import Adam
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.evaluation.ranker import Ranker
from lepton_ref.recsys.neural.training import labelled_pairs, minimise

PAIRS = 1 << 17  # pairs that the network scores at a time


class NeuMF(Layer):
    """Logit that a user has an item: a weighted product beside a multilayer perceptron.

    z = h · [p ⊙ q ; MLP([p′ ; q′])] (eq. neural-neumf). With h = (1, …, 1, 0, …, 0) it is a
    matrix factorisation.

    Parameters
    ----------
    n_users, n_items : int
    num_factors : int
        F, of the product; the perceptron has embeddings of its own, of half its first width.
    hidden : sequence of int
        Widths of the perceptron's layers.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    user, item : array, shapes (n_users, F), (n_items, F)
    deep_user, deep_item : array, shapes (n_users, hidden[0] // 2), (n_items, hidden[0] // 2)
    """

    user: Any
    item: Any
    deep_user: Any
    deep_item: Any

    def __init__(
        self,
        n_users: int,
        n_items: int,
        num_factors: int = 16,
        hidden: Sequence[int] = (32, 16),
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        whole("NeuMF", n_users=n_users, n_items=n_items, num_factors=num_factors)
        if not len(hidden) or any(type(h) is not int or h < 2 for h in hidden):
            raise ArgumentError("NeuMF", "hidden", f"the value {hidden!r}", "widths from 2")
        if rng is None:
            raise ArgumentError("NeuMF", "rng", "no value", "a numpy.random.Generator")
        self.n_users, self.n_items, half = n_users, n_items, hidden[0] // 2
        tables = {
            "user": (n_users, num_factors), "item": (n_items, num_factors),
            "deep_user": (n_users, half), "deep_item": (n_items, half),
        }  # fmt: skip
        for name, shape in tables.items():
            self.add_parameter(name, rng.normal(0, 0.05, shape))
        widths = (2 * half, *hidden)
        self.layers = [Dense(a, b, rng=rng, engine=self.E) for a, b in zip(widths, widths[1:])]
        self.head = Dense(num_factors + hidden[-1], 1, rng=rng, engine=self.E)

    def forward(self, x: Any, rng: np.random.Generator | None = None, items: Any = None) -> Any:
        """Logits (N,), *not* probabilities, of users ``x`` (N,) and ``items`` (N,)."""
        E = self.E
        product = E.take(self.user, x) * E.take(self.item, items)  # (N, F)
        h = E.concat([E.take(self.deep_user, x), E.take(self.deep_item, items)], axis=1)
        for layer in self.layers:
            h = E.relu(layer(h))
        z = self.head(E.concat([product, h], axis=1))  # (N, 1)
        return E.reshape(z, (int(x.shape[0]),))


def all_logits(network: NeuMF, users: np.ndarray) -> np.ndarray:
    """Logits of these users (U,) with every item, so many pairs at a time: float64 (U, n_items)."""
    E, n = network.E, network.n_items
    out = np.empty((len(users), n))
    step = max(1, PAIRS // n)
    with E.no_grad():
        for at in range(0, len(users), step):
            rows = np.repeat(users[at : at + step], n)
            items = np.tile(np.arange(n), len(rows) // n)
            z = network(E.array(rows), items=E.array(items))
            out[at : at + step] = E.asnumpy(z).reshape(-1, n)
    return out


class NeuralCF(Ranker):
    """NeuMF trained to tell training rows from unseen items, drawn anew in each epoch.

    The loss takes the logits themselves (eqs. neural-binary, neural-binary-gradient): a sigmoid
    before it would leave every probability above one half (eq. neural-twice).

    Parameters
    ----------
    num_factors : int
    hidden : sequence of int
    epochs, batch_size, negatives : int
        ``negatives`` unseen items for each training row.
    lr, weight_decay : float
        Of Adam; the decay is a penalty on all parameters.
    seed : int
    engine : str or Engine, optional

    Attributes
    ----------
    network : NeuMF
    losses : list of float
        One per step.

    Raises
    ------
    ArgumentError
        For a hyper-parameter out of its domain.
    """

    network: NeuMF

    def __init__(
        self,
        num_factors: int = 16,
        hidden: Sequence[int] = (32, 16),
        epochs: int = 5,
        batch_size: int = 4096,
        negatives: int = 4,
        lr: float = 0.02,
        weight_decay: float = 1e-5,
        seed: int = 0,
        engine: str | Engine | None = None,
    ) -> None:
        whole(
            "NeuralCF", num_factors=num_factors, epochs=epochs, batch_size=batch_size,
            negatives=negatives,
        )  # fmt: skip
        whole("NeuralCF", 0, seed=seed)
        number("NeuralCF", 0.0, lr=lr)
        number("NeuralCF", weight_decay=weight_decay)
        self.num_factors, self.hidden, self.epochs = num_factors, tuple(hidden), epochs
        self.batch_size, self.negatives, self.lr = batch_size, negatives, lr
        self.weight_decay, self.seed, self.engine = weight_decay, seed, engine

    def fit(self, train: Ratings) -> NeuralCF:
        """Learn from who has a row with what; the values of the ratings play no part."""
        rng, seen = np.random.default_rng(self.seed), self._remember(train)
        self.network = network = NeuMF(
            train.n_users, train.n_items, self.num_factors, self.hidden, rng, self.engine
        )

        def loss(params: dict[str, Any], users: Any, items: Any, labels: Any) -> Any:
            logits = network.apply(params, users, items=items)
            return binary_cross_entropy_with_logits(logits, labels, engine=network.E)

        steps = labelled_pairs(train, seen, self.epochs, self.batch_size, self.negatives, rng)
        optimizer = Adam(self.lr, weight_decay=self.weight_decay, engine=network.E)
        self.losses = minimise(network, loss, steps, optimizer)
        return self

    def _scores(self, users: np.ndarray) -> np.ndarray:
        return all_logits(self.network, users)
