"""Two towers: a network for users, one for items, and a dot product between their heights.

Source: Covington, Adams and Sargin (2016), *Deep neural networks for YouTube recommendations*;
Yi, Yang, Hong, Cheng, Heldt, Kumthekar, Zhao, Wei and Chi (2019), *Sampling-bias-corrected neural
modeling for large corpus item recommendations*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import host
from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.data import batches
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Dense, Layer
from lepton_ref.framework.optimizers import Adam
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.evaluation.ranker import Ranker
from lepton_ref.recsys.neural.training import minimise

NEVER = -1e9  # a logit that a softmax gives no weight


def in_batch_softmax(
    user: Any, item: Any, items: np.ndarray, log_q: Any, temperature: float, E: Engine
) -> Any:
    """Cross-entropy of each user's own item among the items of the batch (eq. neural-logq).

    S_ab = u_a · v_b / τ − ln q_b, and the loss is the mean of −ln softmax(S_a)_a. Where item b is
    that of row a once more, it is left out: it is no wrong answer.

    Parameters
    ----------
    user, item : arrays, shape (B, F)
        Row a of both belong together.
    items : int array, shape (B,)
        Their numbers.
    log_q : float array, shape (B,)
        ln of the probability with which each item comes into a batch; zeros for no correction.
    temperature : float
        τ.
    E : Engine
    """
    surface: Any = E
    numbers = np.asarray(host(items))
    again = (numbers[:, None] == numbers) & ~np.eye(len(numbers), dtype=bool)
    logits = surface.matmul(user, surface.transpose(item)) * (1.0 / temperature)
    hidden = surface.array(np.where(again, NEVER, 0.0), str(user.dtype).split(".")[-1])
    logits = logits - surface.reshape(log_q, (1, len(numbers))) + hidden
    return surface.cross_entropy(logits, surface.array(np.arange(len(numbers))))


class Tower(Layer):
    """An embedding by number, plus a dense layer on features: n rows -> (n, F).

    Parameters
    ----------
    n : int
        Users, or items.
    num_factors : int
        F.
    features : array, shape (n, C), optional
        What is known beside the number; a buffer, not trained.
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Attributes
    ----------
    embedding : array, shape (n, F)
    """

    embedding: Any
    features: Any

    def __init__(
        self,
        n: int,
        num_factors: int,
        features: np.ndarray | None = None,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        if rng is None:
            raise ArgumentError("Tower", "rng", "no value", "a numpy.random.Generator")
        self.add_parameter("embedding", rng.normal(0, 0.1, (n, num_factors)))
        self.known = features is not None
        if features is not None:
            self.add_buffer("features", features)
            self.dense = Dense(int(features.shape[1]), num_factors, rng=rng, engine=self.E)

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Vectors of the users or items ``x`` (N,): (N, F)."""
        h = self.E.take(self.embedding, x)
        return h + self.dense(self.E.take(self.features, x)) if self.known else h


class Towers(Layer):
    """Both towers; their rows meet in a dot product alone, so items can be indexed."""

    def __init__(self, user: Tower, item: Tower) -> None:
        super().__init__(user.E)
        self.user, self.item = user, item

    def forward(self, x: Any, rng: np.random.Generator | None = None, items: Any = None) -> Any:
        """Vectors of users ``x`` (N,) and of ``items`` (M,): (N, F), (M, F)."""
        return self.user(x), self.item(items)


class TwoTowers(Ranker):
    """Two towers trained with the softmax over the items of each batch.

    Parameters
    ----------
    num_factors, epochs, batch_size : int
    lr, weight_decay : float
        Of Adam; the decay is a penalty on all parameters.
    temperature : float
        τ > 0.
    correct : bool
        Subtract ln q of each item: popular items are in every batch, and would be punished for it.
    user_features, item_features : array, optional
        (n_users, C) and (n_items, C′). With features of items, an item that nobody has yet is
        scored by them; without, it comes last.
    seed : int
    engine : str or Engine, optional

    Attributes
    ----------
    network : Towers
    losses : list of float
        One per step.

    Raises
    ------
    ArgumentError
        For a hyper-parameter out of its domain.
    """

    network: Towers

    def __init__(
        self,
        num_factors: int = 32,
        epochs: int = 4,
        batch_size: int = 512,
        lr: float = 0.02,
        weight_decay: float = 1e-4,
        temperature: float = 1.0,
        correct: bool = True,
        user_features: np.ndarray | None = None,
        item_features: np.ndarray | None = None,
        seed: int = 0,
        engine: str | Engine | None = None,
    ) -> None:
        whole("TwoTowers", num_factors=num_factors, epochs=epochs, batch_size=batch_size)
        whole("TwoTowers", 0, seed=seed)
        number("TwoTowers", 0.0, lr=lr, temperature=temperature)
        number("TwoTowers", weight_decay=weight_decay)
        self.num_factors, self.epochs, self.batch_size = num_factors, epochs, batch_size
        self.lr, self.weight_decay, self.temperature = lr, weight_decay, temperature
        self.correct, self.seed, self.engine = bool(correct), seed, engine
        self.user_features, self.item_features = user_features, item_features
        self.knows_cold_items = item_features is not None

    def fit(self, train: Ratings) -> TwoTowers:
        """Learn from who has a row with what; the values of the ratings play no part.

        Raises
        ------
        ArgumentError
            For a table without rows, or features of another number of users or items.
        """
        rng = np.random.default_rng(self.seed)
        self._remember(train)
        users = _features("user_features", self.user_features, train.n_users)
        items = _features("item_features", self.item_features, train.n_items)
        user = Tower(train.n_users, self.num_factors, users, rng, self.engine)
        item = Tower(train.n_items, self.num_factors, items, rng, self.engine)
        self.network = network = Towers(user, item)
        E = network.E
        q = np.maximum(self.popularity, 1) / len(train)
        log_q = np.log(q) if self.correct else np.zeros(len(q))
        logs = log_q[train.items].astype(np.float32)

        def loss(params: dict[str, Any], whose: Any, which: Any, lq: Any) -> Any:
            u, v = network.apply(params, whose, items=which)
            return in_batch_softmax(u, v, which, lq, self.temperature, E)

        def steps() -> Any:
            for _ in range(self.epochs):
                yield from batches((train.users, train.items, logs), self.batch_size, rng)

        optimizer = Adam(self.lr, weight_decay=self.weight_decay, engine=E)
        self.losses = minimise(network, loss, steps(), optimizer)
        with E.no_grad():
            everyone, everything = np.arange(train.n_users), np.arange(train.n_items)
            found = network(E.array(everyone), items=E.array(everything))
            self._final = tuple(np.asarray(E.asnumpy(v), np.float64) for v in found)
        return self

    def _scores(self, users: np.ndarray) -> np.ndarray:
        u, v = self._final
        return u[users] @ v.T


def _features(argument: str, values: Any, n: int) -> np.ndarray | None:
    if values is None:
        return None
    found = np.asarray(values, np.float32)
    if found.ndim != 2 or len(found) != n or not np.isfinite(found).all():
        got = f"shape {found.shape}" if np.isfinite(found).all() else "NaN or infinity"
        raise ArgumentError("TwoTowers.fit", argument, got, f"finite numbers ({n}, C)")
    return found
