"""What the answer does when the attention is replaced, or a word is left out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lepton_ref.explain.attention.distances import softmax, total_variation
from lepton_ref.explain.attention.maps import WordModel, attended, check_ids, word_vectors
from lepton_ref.explain.gradients.attribution import Attribution, at_target, check_target
from lepton_ref.framework.arguments import whole
from lepton_ref.framework.errors import ArgumentError


class Pooled(NamedTuple):
    """The last step of a model on some reviews: everything that its attention decides."""

    word_logits: np.ndarray  #: (N, T, K), what each step would say alone
    weights: np.ndarray  #: (N, T), its attention
    mask: np.ndarray  #: bool (N, T), True at words

    def predict(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Probabilities (N, K) with this attention or the model's (eq. heed-word-logits)."""
        a = self.weights if weights is None else weights
        return softmax(np.einsum("nt,ntk->nk", a, self.word_logits))


def pooled(model: Any, ids: Any) -> Pooled:
    """Word logits and attention of a reader; errors as in :func:`.attention_weights`."""
    rows = check_ids("pooled", model, ids)
    found = attended("pooled", model, rows)
    return Pooled(WordModel(model, rows).word_logits(), found.pooling, rows != 0)


def uniform(mask: np.ndarray) -> np.ndarray:
    """The same weight for each word: (N, T), rows sum to 1."""
    return mask / mask.sum(axis=1, keepdims=True)


def uniform_change(reviews: Pooled) -> np.ndarray:
    """How far the prediction moves when every word weighs the same: TVD (N,)."""
    return total_variation(reviews.predict(), reviews.predict(uniform(reviews.mask)))


def permuted_change(reviews: Pooled, rng: np.random.Generator, repeats: int = 100) -> np.ndarray:
    """Median move of the prediction (TVD) over random orders of the same weights: (N,).

    Source: Jain and Wallace (2019), algorithm 2.
    """
    whole("permuted_change", repeats=repeats)
    before, mask = reviews.predict(), reviews.mask
    moves = np.empty((repeats, len(mask)))
    for i in range(repeats):
        order = np.where(mask, rng.random(mask.shape), 2.0).argsort(axis=1)  # padding stays last
        moves[i] = total_variation(
            before, reviews.predict(np.take_along_axis(reviews.weights, order, axis=1))
        )
    return np.median(moves, axis=0)


def without_each_word(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every row once for each of its words, that word taken out and the rest moved up.

    Returns
    -------
    shorter : int64 array, shape (M, T)
    row, place : int64 arrays, shape (M,)
        Which word of which row is missing.
    """
    row, place = np.nonzero(ids != 0)
    padded = np.pad(ids, ((0, 0), (0, 1)))
    steps = np.arange(ids.shape[1])
    return padded[row[:, None], steps + (steps >= place[:, None])], row, place


def erasure(model: Any, ids: Any, target: Any = None, *, batch_size: int = 512) -> Attribution:
    """By how much the target's score falls when one word is taken out, for each word.

    The score is the logit less the mean of all logits. The word is really deleted: what follows
    moves up, and the attention is shared among the others.

    Parameters
    ----------
    model : AttentionClassifier or LSTMReader
    ids : int array, shape (N, T)
        Rows of at least two words.
    target : int or (N,) ints, optional
    batch_size : int

    Returns
    -------
    Attribution
        ``values`` (N, T): positive where a word spoke for the target; ``baseline_outputs`` None.

    Raises
    ------
    ArgumentError
        As :func:`.attention_weights`, and for a row of a single word.
    """
    where = "erasure"
    rows = check_ids(where, model, ids)
    if (rows != 0).sum(axis=1).min() < 2:
        raise ArgumentError(where, "ids", "a row of one word", "two words or more in each row")
    logits = attended(where, model, rows).logits
    chosen = check_target(where, target, logits)
    shorter, row, place = without_each_word(rows)
    changed = attended(where, model, shorter, batch_size).logits
    values = np.zeros(rows.shape)
    score = at_target(centred(logits), chosen)
    values[row, place] = score[row] - at_target(centred(changed), chosen[row])
    return Attribution(values, word_vectors(model, rows), chosen, score, where)


def centred(logits: np.ndarray) -> np.ndarray:
    """Logits less their mean: what a prediction can depend on."""
    return logits - logits.mean(axis=-1, keepdims=True)
