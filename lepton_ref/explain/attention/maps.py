"""What a model attended to, as an attribution: the weights as they are, and rolled out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lepton_ref.engines.domain import dtype_name
from lepton_ref.explain.attention.models import LSTMReader
from lepton_ref.explain.gradients.attribution import (
    Attribution,
    at_target,
    check_input,
    check_outputs,
    check_target,
)
from lepton_ref.framework.arguments import number, real_array, rectangular
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.text.attention.classifier import Attended, AttentionClassifier

HAVE = "AttentionClassifier, LSTMReader, or a model whose attend(ids) returns an Attended"


def check_ids(where: str, model: Any, ids: Any) -> np.ndarray:
    """Rows of word numbers with padding (0) behind the words: int64 (N, T).

    Raises
    ------
    ArgumentError
        For another dtype or shape, a word the model has no row for, a row without a word, or
        padding before or between words.
    """
    rows = rectangular(where, "ids", ids, "rows of one length, 0 for padding")
    if rows.dtype.kind not in "iu":
        raise ArgumentError(where, "ids", f"dtype {rows.dtype}", "whole numbers, 0 for padding")
    if rows.ndim != 2 or not rows.size:
        raise ArgumentError(where, "ids", f"shape {rows.shape}", "(N, T), at least one word")
    known = getattr(model, "num_tokens", None)
    if rows.min() < 0 or (known is not None and rows.max() >= known):
        bad = int(rows.min() if rows.min() < 0 else rows.max())
        raise ArgumentError(where, "ids", f"the value {bad}", f"0..{(known or 0) - 1}")
    real = rows != 0
    if not real[:, 0].all():
        raise ArgumentError(
            where, "ids", f"no word at the start of row {int((~real[:, 0]).argmax())}",
            "rows that begin with a word",
        )  # fmt: skip
    if (real[:, 1:] & ~real[:, :-1]).any():
        raise ArgumentError(where, "ids", "padding between words", "padding behind the words only")
    return rows.astype(np.int64)


def attended(where: str, model: Any, ids: np.ndarray, batch_size: int = 256) -> Attended:
    """Logits, pooling weights and weights of the blocks, in NumPy, computed in batches.

    Raises
    ------
    ArgumentError
        For a model that attends to nothing.
    """
    if not callable(getattr(model, "attend", None)):
        raise ArgumentError(
            where, "model", f"type {type(model).__name__}, which has no attention", HAVE
        )
    E, parts = model.E, []
    with E.no_grad():
        for start in range(0, len(ids), batch_size):
            answer = model.attend(E.array(ids[start : start + batch_size]))
            if not isinstance(answer, Attended):
                raise ArgumentError(
                    where, "model", f"type {type(model).__name__}, which pools by no attention",
                    HAVE,
                )  # fmt: skip
            layers = [np.asarray(E.asnumpy(w), np.float64) for w in answer.layers]
            parts.append((E.asnumpy(answer.logits), E.asnumpy(answer.pooling), layers))
    logits, pooling = (np.concatenate([p[i] for p in parts]).astype(np.float64) for i in (0, 1))
    return Attended(logits, pooling, [np.concatenate(w) for w in zip(*(p[2] for p in parts))])


def word_vectors(model: Any, ids: np.ndarray) -> np.ndarray:
    """The embeddings of word numbers (N, T): (N, T, D)."""
    return model.E.asnumpy(model.embedding.weight)[ids]


def attention_weights(model: Any, ids: Any, target: Any = None) -> Attribution:
    """How much of the pooled vector each word provides (eq. heed-pooled).

    The weights say where the model took its vector from. They have no sign and do not depend on
    ``target``: the map that "explains" one class explains every other. Whether they say what
    mattered is what the page measures.

    Parameters
    ----------
    model : AttentionClassifier, LSTMReader, or what has such an ``attend``
    ids : int array, shape (N, T)
        Word numbers, 0 for padding behind the words.
    target : int or (N,) ints, optional
        Only names the output that the attribution quotes; by default the decision.

    Returns
    -------
    Attribution
        ``values`` (N, T): not negative, rows sum to 1, zero at padding. ``x``: the word vectors.

    Raises
    ------
    ArgumentError
        For a model without attention, wrong word numbers, or a target out of range.

    Source: Jain and Wallace (2019), *Attention is not explanation*, for the question; Wiegreffe
    and Pinter (2019), *Attention is not not explanation*, for the reply.
    """
    where = "attention_weights"
    return _attribution(where, model, ids, target, lambda found: found.pooling, {})


def rollout(layers: Sequence[Any], residual: float = 0.5) -> np.ndarray:
    """How much of each input every step holds after all blocks (eq. rollout-product).

    Parameters
    ----------
    layers : sequence of arrays, each (N, heads, T, T)
        Attention of the blocks, the lowest first; rows sum to 1.
    residual : float
        Share of the shortcut in each block, in [0, 1]: ½ as in the paper (eq. rollout-block).

    Returns
    -------
    float64 ndarray, shape (N, T, T)
        Row t: what step t is made of. Rows sum to 1 (eq. rollout-rows).

    Raises
    ------
    ArgumentError
        For no layers, rows that do not sum to 1, or a share outside [0, 1].

    Source: Abnar and Zuidema (2020), *Quantifying Attention Flow in Transformers*.
    """
    where = "rollout"
    number(where, residual=residual)
    if residual > 1:
        raise ArgumentError(where, "residual", f"the value {residual!r}", "in [0, 1]")
    if isinstance(layers, str) or not hasattr(layers, "__len__"):
        raise ArgumentError(
            where, "layers", f"type {type(layers).__name__}", "a list of arrays, one per block"
        )
    if not len(layers):
        raise ArgumentError(where, "layers", "no layers", "the attention of at least one block")
    product = None
    for level, weights in enumerate(layers):
        mean = real_array(where, f"layers[{level}]", weights)
        if mean.ndim != 4 or mean.shape[2] != mean.shape[3]:
            raise ArgumentError(
                where, f"layers[{level}]", f"shape {mean.shape}", "(N, heads, T, T)"
            )
        mean = mean.mean(axis=1)
        if product is not None and mean.shape != product.shape:
            n, steps = product.shape[:2]
            raise ArgumentError(
                where, f"layers[{level}]", f"attention of shape {weights.shape}",
                f"({n}, heads, {steps}, {steps}), as below",
            )  # fmt: skip
        if not (np.abs(mean.sum(axis=-1) - 1) <= 1e-4).all():
            raise ArgumentError(
                where, f"layers[{level}]", "rows that do not sum to 1", "weights of a softmax"
            )
        block = residual * np.eye(mean.shape[-1]) + (1 - residual) * mean
        product = block if product is None else block @ product
    assert product is not None
    return product


def attention_rollout(
    model: Any, ids: Any, target: Any = None, *, residual: float = 0.5
) -> Attribution:
    """The pooling's weights carried down through all blocks to the words (eq. rollout-pooled).

    Parameters
    ----------
    model : AttentionClassifier with ``num_layers`` of at least 1
    ids, target
        As in :func:`attention_weights`.
    residual : float
        As in :func:`rollout`.

    Returns
    -------
    Attribution
        ``values`` (N, T): not negative, rows sum to 1.

    Raises
    ------
    ArgumentError
        As :func:`attention_weights`, and for a model without self-attention.

    Source: Abnar and Zuidema (2020), *Quantifying Attention Flow in Transformers*.
    """
    where = "attention_rollout"

    def rolled(found: Attended) -> np.ndarray:
        return _rolled(where, model, found, residual)

    return _attribution(where, model, ids, target, rolled, {"residual": residual})


def _rolled(where: str, model: Any, found: Attended, residual: float) -> np.ndarray:
    if not found.layers:
        raise ArgumentError(
            where, "model", f"type {type(model).__name__} without blocks of self-attention",
            "an AttentionClassifier with num_layers >= 1, or attention_weights",
        )  # fmt: skip
    return np.einsum("nt,nts->ns", found.pooling, rollout(found.layers, residual))


def attention_to_vectors(
    model: WordModel, x: Any, target: Any = None, *, rolled: bool = False, residual: float = 0.5
) -> Attribution:
    """:func:`attention_weights` or :func:`attention_rollout` of word vectors, not of word numbers.

    So that attention can be judged beside explainers that are given vectors: a word's weight lies
    in equal parts on the entries of its vector.

    Parameters
    ----------
    model : WordModel
    x : float array, shape (N, T, D)
    target : int or (N,) ints, optional
    rolled : bool
        Whether the weights are carried down through the blocks.
    residual : float
        As in :func:`rollout`.

    Returns
    -------
    Attribution
        ``values`` (N, T, D), not negative, of each example with the sum 1.

    Raises
    ------
    ArgumentError
        For another model or shape, and as :func:`attention_rollout`.
    """
    where = "attention_rollout" if rolled else "attention_weights"
    if not isinstance(model, WordModel):
        raise ArgumentError(where, "model", f"type {type(model).__name__}", "a WordModel")
    x = check_input(where, x)
    if x.ndim != 3 or x.shape[:2] != model.ids.shape:
        n, t = model.ids.shape
        raise ArgumentError(where, "x", f"shape {x.shape}", f"({n}, {t}, D), like the model's ids")
    E = model.E
    with E.no_grad():
        answer = model.attend(E.array(x, model.dtype))
        logits, pooling, layers = (
            [np.asarray(E.asnumpy(a), np.float64) for a in arrays]
            for arrays in ([answer.logits], [answer.pooling], answer.layers)
        )
    found = Attended(logits[0], pooling[0], layers)
    weights = _rolled(where, model.model, found, residual) if rolled else found.pooling
    y = check_outputs(where, found.logits, len(x))
    chosen = check_target(where, target, y)
    values = np.repeat(weights[:, :, None] / x.shape[2], x.shape[2], axis=2)
    settings = {"residual": residual} if rolled else {}
    return Attribution(values, x, chosen, at_target(y, chosen), where, settings=settings)


def _attribution(
    where: str, model: Any, ids: Any, target: Any, reduce: Any, settings: dict[str, Any]
) -> Attribution:
    rows = check_ids(where, model, ids)
    found = attended(where, model, rows)
    if not np.isfinite(found.logits).all():
        raise ArgumentError(where, "model", "outputs that are not finite", "finite logits")
    chosen = check_target(where, target, found.logits)
    x, outputs = word_vectors(model, rows), at_target(found.logits, chosen)
    settings = {"words": (rows != 0).sum(axis=1), **settings}
    return Attribution(reduce(found), x, chosen, outputs, where, settings=settings)


class WordModel:
    """A model from its word vectors on: a white box for :func:`gradient_x_input` and others.

    Returns logits less their mean: a number added to all of them changes no prediction, so none
    of it should be explained.

    Parameters
    ----------
    model : AttentionClassifier or LSTMReader
    ids : int array, shape (N, T)
        Only their padding matters, and where ``vectors`` come from.
    weights : array, shape (N, T), optional
        Attention held at these values: then the gradient does not flow through it, as in Jain
        and Wallace (2019), algorithm 1.

    Attributes
    ----------
    vectors : ndarray, shape (N, T, D)
        What to explain.
    """

    def __init__(self, model: Any, ids: Any, weights: Any = None) -> None:
        where = "WordModel"
        if not isinstance(model, (AttentionClassifier, LSTMReader)):
            raise ArgumentError(
                where, "model", f"type {type(model).__name__}", "AttentionClassifier, LSTMReader"
            )
        self.model, self.E = model, model.E
        self.ids = check_ids(where, model, ids)
        if weights is not None and np.shape(weights) != self.ids.shape:
            raise ArgumentError(
                where, "weights", f"shape {np.shape(weights)}", f"{self.ids.shape}, that of `ids`"
            )
        self.weights = None if weights is None else np.asarray(weights)

    @property
    def dtype(self) -> str:
        return dtype_name(self.model.embedding.weight)

    @property
    def vectors(self) -> np.ndarray:
        return word_vectors(self.model, self.ids)

    @property
    def num_examples(self) -> int:
        return len(self.ids)

    def select(self, rows: Any) -> WordModel:
        """The same model for these rows of the batch."""
        weights = None if self.weights is None else self.weights[rows]
        return WordModel(self.model, self.ids[rows], weights)

    def states(self, vectors: Any) -> Any:
        """What is pooled: (N, T, D) -> (N, T, H)."""
        return self._encoded(vectors)[0]

    def _encoded(self, vectors: Any) -> tuple[Any, list[Any]]:
        mask = self.ids != 0
        if isinstance(self.model, LSTMReader):
            return self.model.encode(vectors, mask), []
        encoder = self.model.encoder
        return (vectors, []) if encoder is None else encoder(vectors, mask=mask)

    def attend(self, vectors: Any) -> Attended:
        """Centred logits of word vectors (N, T, D), together with every attention weight."""
        E, (states, layers) = self.E, self._encoded(vectors)
        if self.weights is None:
            pooled, weights = self.model.pooling(states, mask=self.ids != 0)
        else:
            n, t = self.ids.shape
            weights = E.array(self.weights, dtype_name(states))
            pooled = E.matmul(E.reshape(weights, (n, 1, t)), states)
            pooled = E.reshape(pooled, (n, int(states.shape[2])))
        logits = self.model.head(pooled)
        return Attended(logits - E.mean(logits, axis=1, keepdims=True), weights, layers)

    def __call__(self, vectors: Any) -> Any:
        """Centred logits: (N, T, D) -> (N, K)."""
        return self.attend(vectors).logits

    def word_logits(self, batch_size: int = 256) -> np.ndarray:
        """What each step would say alone, g_t = W^T h_t + b (eq. heed-word-logits): (N, T, K)."""
        E, parts = self.E, []
        with E.no_grad():
            for start in range(0, len(self.ids), batch_size):
                part = self.select(slice(start, start + batch_size))
                states = part.states(E.array(part.vectors, self.dtype))
                parts.append(np.asarray(E.asnumpy(self.model.head(states)), np.float64))
        return np.concatenate(parts)
