"""k-fold cross-validation: each row is predicted once, by a model that has not seen it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ref.framework.data import k_fold
from lepton_ref.framework.optimizers import Optimizer
from lepton_ref.framework.training import checks
from lepton_ref.framework.training.callbacks import Callback
from lepton_ref.framework.training.history import History
from lepton_ref.framework.training.loop import Metric, evaluate, fit


@dataclass(frozen=True)
class CrossValidation:
    """What k models scored on the folds that they did not see.

    Attributes
    ----------
    scores : dict of str to np.ndarray (k,)
        ``"loss"`` and each metric, one figure per fold.
    sizes : np.ndarray int (k,)
        Rows in each fold.
    histories : list of History
    """

    scores: dict[str, np.ndarray]
    sizes: np.ndarray
    histories: list[History]

    def mean(self, name: str = "loss") -> float:
        """The estimate: the mean over all rows (eq. training-cross-validation)."""
        return float(np.average(self.scores[name], weights=self.sizes))

    def spread(self, name: str = "loss") -> float:
        """Standard deviation between the folds."""
        return float(np.std(self.scores[name], ddof=1))

    def standard_error(self, name: str = "loss") -> float:
        """Spread / √k. Too small: the folds' models share most of their rows."""
        return self.spread(name) / math.sqrt(len(self.sizes))


def cross_validate(
    build: Callable[[np.random.Generator], Any],
    loss: Callable[..., Any],
    data: Sequence[np.ndarray],
    optimizer: Callable[[], Optimizer],
    epochs: int,
    *,
    rng: np.random.Generator,
    k: int = 5,
    stratify: bool = False,
    groups: np.ndarray | None = None,
    metrics: Mapping[str, Metric] | None = None,
    callbacks: Callable[[], Sequence[Callback]] | None = None,
    **settings: Any,
) -> CrossValidation:
    """Train ``k`` models, each on k − 1 folds, and score each on the fold left out.

    Parameters
    ----------
    build : callable
        ``build(rng) -> model``, fresh weights each time.
    loss, data, epochs, metrics
        As for :func:`fit`.
    optimizer : callable
        ``optimizer() -> Optimizer``, a fresh one for each fold.
    rng : numpy.random.Generator
        Deals out the folds; each fold trains with a generator of its own.
    k : int
        Number of folds, 2 to the number of rows.
    stratify : bool
        Give every fold its share of each class; ``data[1]`` holds the classes.
    groups : np.ndarray int (N,), optional
        Rows of one group stay in one fold.
    callbacks : callable, optional
        ``callbacks() -> list``, fresh for each fold. A callback that stops early on the fold
        that scores the model makes the score too good: let it monitor the training loss.
    **settings
        Further arguments of :func:`fit`: ``batch_size``, ``l2``, ``progress`` …

    Returns
    -------
    CrossValidation
    """
    where = "cross_validate"
    checks.check_rng(where, rng)
    checks.check_count(where, "k", k, 2)
    model = build(np.random.default_rng(0))
    arrays = checks.as_arrays(where, "data", data, checks.check_model(where, model)[1])
    labels = arrays[1] if stratify else None
    folds = list(k_fold(len(arrays[0]), k, rng, labels=labels, groups=groups))
    scores: list[dict[str, float]] = []
    histories = []
    for (train, held_out), own in zip(folds, rng.spawn(k)):
        model = build(own)
        seen, unseen = (tuple(a[rows] for a in arrays) for rows in (train, held_out))
        histories.append(
            fit(
                model, loss, seen, optimizer(), epochs, rng=own, validation=unseen,
                metrics=metrics, callbacks=callbacks() if callbacks else (), **settings,
            )
        )  # fmt: skip
        scores.append(evaluate(model, loss, unseen, metrics))
    columns = {name: np.array([score[name] for score in scores]) for name in scores[0]}
    return CrossValidation(columns, np.array([len(rows) for _, rows in folds]), histories)
