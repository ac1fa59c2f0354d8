"""LightGCN: embeddings smoothed over the graph of who has what.

Source: He, Deng, Wang, Li, Zhang and Wang (2020), *LightGCN: simplifying and powering graph
convolution network for recommendation*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.arguments import number, whole
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import Layer
from lepton_ref.framework.optimizers import Adam
from lepton_ref.recsys.evaluation import Ratings
from lepton_ref.recsys.evaluation.ranker import Ranker
from lepton_ref.recsys.neural.training import minimise, triples

CELLS = 100_000_000  # entries of a dense adjacency, 400 MB in float32


def normalised(seen: Any) -> np.ndarray:
    """R̃ = D_u^−½ R D_i^−½ (eq. lightgcn-propagation), dense: float32 (n_users, n_items).

    Users and items without a row stay zero.

    Raises
    ------
    ArgumentError
        When it would hold more than a hundred million entries.
    """
    if seen.shape[0] * seen.shape[1] > CELLS:
        got = f"shape {seen.shape}"
        raise ArgumentError("LightGCN", "train", got, f"at most {CELLS:,} cells: it is dense here")
    R = (seen.toarray() != 0).astype(np.float64)
    du, di = np.sqrt(R.sum(1, keepdims=True)), np.sqrt(R.sum(0, keepdims=True))
    R = np.divide(R, du, out=np.zeros_like(R), where=du > 0)
    return np.divide(R, di, out=np.zeros_like(R), where=di > 0).astype(np.float32)


class Propagation(Layer):
    """Embeddings of users and items, averaged over their neighbourhoods.

    E⁽ᵏ⁺¹⁾ = Ã E⁽ᵏ⁾ with Ã = [[0, R̃], [R̃ᵀ, 0]], and the mean over k = 0 … K
    (eqs. lightgcn-propagation, lightgcn-mean). Nothing else: no weights, no activation.

    Parameters
    ----------
    adjacency : array, shape (n_users, n_items)
        R̃, from :func:`normalised`; a buffer, not trained.
    num_factors, num_layers : int
        F and K; with K = 0 it is a matrix factorisation.
    rng : numpy.random.Generator
        Embeddings start normal with standard deviation 0.1.
    engine : str or Engine, optional

    Attributes
    ----------
    users, items : array, shapes (n_users, F), (n_items, F)
    """

    users: Any
    items: Any
    adjacency: Any

    def __init__(
        self,
        adjacency: np.ndarray,
        num_factors: int = 64,
        num_layers: int = 2,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        whole("Propagation", num_factors=num_factors)
        whole("Propagation", 0, num_layers=num_layers)
        if rng is None:
            raise ArgumentError("Propagation", "rng", "no value", "a numpy.random.Generator")
        self.num_layers = num_layers
        self.add_buffer("adjacency", adjacency)
        for name, n in (("users", adjacency.shape[0]), ("items", adjacency.shape[1])):
            self.add_parameter(name, rng.normal(0, 0.1, (n, num_factors)))

    def forward(self, x: Any = None, rng: np.random.Generator | None = None) -> tuple[Any, Any]:
        """The propagated embeddings, (n_users, F) and (n_items, F). ``x`` is not used."""
        E, R = self.E, self.adjacency
        u, i = self.users, self.items
        sum_u, sum_i = u, i
        for _ in range(self.num_layers):
            u, i = E.matmul(R, i), E.matmul(E.transpose(R), u)
            sum_u, sum_i = sum_u + u, sum_i + i
        share = 1.0 / (self.num_layers + 1)
        return sum_u * share, sum_i * share

    def bpr(self, params: dict[str, Any], users: Any, items: Any, others: Any, reg: float) -> Any:
        """Mean of ln(1 + e^−x), plus λ/2 times the mean squares of the raw embeddings used.

        Parameters
        ----------
        users, items, others : int arrays, shape (B,)
        reg : float
            λ.
        """
        E = self.E
        u, i = self.apply(params, None)
        p, x = E.take(u, users), E.take(i, items) - E.take(i, others)
        fit = E.mean(E.softplus(-E.sum(p * x, axis=1)))
        raw = [
            E.take(params["users"], users), E.take(params["items"], items),
            E.take(params["items"], others),
        ]  # fmt: skip
        squares = sum(E.sum(e * e) for e in raw[1:]) + E.sum(raw[0] * raw[0])
        return fit + squares * (reg / 2 / int(users.shape[0]))


class LightGCN(Ranker):
    """LightGCN, trained on pairs as BPR is, in large batches.

    Parameters
    ----------
    num_factors, num_layers, epochs, batch_size : int
    lr : float
        Of Adam.
    reg : float
        λ.
    seed : int
    engine : str or Engine, optional

    Attributes
    ----------
    network : Propagation
    losses : list of float
        One per step.

    Raises
    ------
    ArgumentError
        For a hyper-parameter out of its domain.
    """

    network: Propagation

    def __init__(
        self,
        num_factors: int = 64,
        num_layers: int = 1,
        epochs: int = 12,
        batch_size: int = 8192,
        lr: float = 0.03,
        reg: float = 3e-3,
        seed: int = 0,
        engine: str | Engine | None = None,
    ) -> None:
        whole("LightGCN", num_factors=num_factors, epochs=epochs, batch_size=batch_size)
        whole("LightGCN", 0, num_layers=num_layers, seed=seed)
        number("LightGCN", 0.0, lr=lr)
        number("LightGCN", reg=reg)
        self.num_factors, self.num_layers, self.epochs = num_factors, num_layers, epochs
        self.batch_size, self.lr, self.reg, self.seed = batch_size, lr, reg, seed
        self.engine = engine

    def fit(self, train: Ratings) -> LightGCN:
        """Learn from who has a row with what; the values of the ratings play no part.

        Raises
        ------
        ArgumentError
            For a table without rows, or too large for a dense adjacency.
        """
        rng, seen = np.random.default_rng(self.seed), self._remember(train)
        network = Propagation(
            normalised(seen), self.num_factors, self.num_layers, rng, engine=self.engine
        )

        def loss(params: dict[str, Any], users: Any, items: Any, others: Any) -> Any:
            return network.bpr(params, users, items, others, self.reg)

        batches = triples(train, seen, self.epochs, self.batch_size, rng)
        self.losses = minimise(network, loss, batches, Adam(self.lr, engine=network.E))
        self.network, E = network, network.E
        with E.no_grad():
            self._final = tuple(np.asarray(E.asnumpy(e), np.float64) for e in network(None))
        return self

    def _scores(self, users: np.ndarray) -> np.ndarray:
        u, i = self._final
        return u[users] @ i.T
