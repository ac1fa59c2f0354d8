"""AutoRec: an autoencoder that fills the holes of an item's column of ratings.

Source: Sedhain, Menon, Sanner and Xie (2015), *AutoRec: autoencoders meet collaborative
filtering*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.data import batches
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Dense, Layer
from lepton_ref.framework.optimizers import Adam
from lepton_ref.recsys.evaluation import BiasBaseline, Ratings
from lepton_ref.recsys.evaluation.arguments import codes
from lepton_ref.recsys.evaluation.ranker import Ranker
from lepton_ref.recsys.neural.training import minimise


class Autoencoder(Layer):
    """h(r) = W σ(V r + c) + b: all entries of a row from those that are known (eq. neural-autorec).

    Parameters
    ----------
    in_features, hidden_size : int
    rng : numpy.random.Generator
    engine : str or Engine, optional
    """

    def __init__(
        self,
        in_features: int,
        hidden_size: int,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        self.encoder = Dense(in_features, hidden_size, rng=rng, engine=self.E)
        self.decoder = Dense(hidden_size, in_features, rng=rng, engine=self.E)

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Reconstructions, (N, in_features) -> the same."""
        return self.decoder(self.E.sigmoid(self.encoder(x)))


def masked_loss(network: Autoencoder, params: dict[str, Any], x: Any, mask: Any, reg: float) -> Any:
    """Mean over N rows of Σ over *known* entries of (x − h(x))², and λ/(2N) Σ of squared weights.

    An unknown entry is 0 on the way in and has no part in the loss, so no gradient starts from it
    (eqs. neural-autorec, neural-autorec-gradient).
    """
    E = network.E
    error = (network.apply(params, x) - x) * mask
    weights = [p for name, p in params.items() if name.endswith("weight")]
    squares = E.sum(weights[0] * weights[0]) + E.sum(weights[1] * weights[1])
    return (E.sum(error * error) + squares * (reg / 2)) * (1.0 / int(x.shape[0]))


class AutoRec(Ranker):
    """I-AutoRec: each item's ratings, less the mean and the biases, through a narrow layer.

    Parameters
    ----------
    hidden_size, epochs, batch_size : int
    lr, reg : float
        Of Adam; λ of the weights.
    clip : bool
        Bring predictions back into the scale of the ratings.
    seed : int
    engine : str or Engine, optional

    Attributes
    ----------
    network : Autoencoder
    losses : list of float
        One per step.

    Raises
    ------
    ArgumentError
        For a hyper-parameter out of its domain.
    """

    network: Autoencoder

    def __init__(
        self,
        hidden_size: int = 100,
        epochs: int = 30,
        batch_size: int = 256,
        lr: float = 0.006,
        reg: float = 60.0,
        clip: bool = True,
        seed: int = 0,
        engine: str | Engine | None = None,
    ) -> None:
        whole("AutoRec", hidden_size=hidden_size, epochs=epochs, batch_size=batch_size)
        whole("AutoRec", 0, seed=seed)
        number("AutoRec", 0.0, lr=lr)
        number("AutoRec", reg=reg)
        self.hidden_size, self.epochs, self.batch_size = hidden_size, epochs, batch_size
        self.lr, self.reg, self.clip, self.seed, self.engine = lr, reg, clip, seed, engine

    def fit(self, train: Ratings) -> AutoRec:
        """Learn from ratings."""
        rng, seen = np.random.default_rng(self.seed), self._remember(train)
        self.scale, self.mean = train.scale, float(train.values.mean())
        # Drawn to the mean of all, as if by five ratings more.
        base = BiasBaseline(reg_users=5.0, reg_items=5.0, epochs=1, clip=False).fit(train)
        self.item_bias, self.user_bias = base.item_bias, base.user_bias
        x = np.zeros((train.n_items, train.n_users), np.float32)
        left = train.values - self.mean - self.item_bias[train.items] - self.user_bias[train.users]
        x[train.items, train.users] = left
        mask = np.asarray(seen.T.toarray() != 0, np.float32)
        self.network = network = Autoencoder(train.n_users, self.hidden_size, rng, self.engine)

        def loss(params: dict[str, Any], rows: Any, known: Any) -> Any:
            return masked_loss(network, params, rows, known, self.reg * len(rows) / len(x))

        def steps() -> Any:
            for _ in range(self.epochs):
                yield from batches((x, mask), self.batch_size, rng)

        self.losses = minimise(network, loss, steps(), Adam(self.lr, engine=network.E))
        E = network.E
        with E.no_grad():
            self._filled = np.asarray(E.asnumpy(network(E.array(x))), np.float64).T  # (U, I)
        return self

    def _scores(self, users: np.ndarray) -> np.ndarray:
        return self.mean + self.user_bias[users][:, None] + self.item_bias + self._filled[users]

    def predict(self, users: Any, items: Any) -> np.ndarray:
        """Predicted ratings of pairs: float64 (n,).

        Raises
        ------
        ArgumentError
            Before ``fit``, for numbers out of range, or not as many users as items.
        """
        seen, u = self._asked("predict", users)
        i = codes("AutoRec.predict", "items", items, seen.shape[1])
        if u.shape != i.shape:
            raise ArgumentError("AutoRec.predict", "items", f"shape {i.shape}", f"{u.shape}")
        r = self.mean + self.user_bias[u] + self.item_bias[i]
        known = (np.diff(seen.indptr)[u] > 0) & (self.popularity[i] > 0)
        r = r + np.where(known, self._filled[u, i], 0.0)
        return np.clip(r, *self.scale) if self.clip and self.scale else r
