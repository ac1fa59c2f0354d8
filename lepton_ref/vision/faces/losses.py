"""What pulls one person's pictures together and pushes people apart: three losses.

All three work on unit vectors, where distance and cosine say the same, D² = 2 − 2 cos
(eq. faces-distance). Derivations: the page *vision/faces*.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import lepton_ref
from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import axes, dtype_name, floating
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.evaluation.inputs import host

EngineLike = str | Engine | None
MINING = ("all", "semi-hard", "hard")
FLOOR = 1e-12  # under every root, so that the gradient at a distance of zero is zero and not NaN


def _surface(engine: EngineLike) -> Any:
    return engine if isinstance(engine, Engine) else lepton_ref.engine(engine)


def unit(vectors: Any, engine: EngineLike = None) -> Any:
    """Each row divided by its length: u = v / ‖v‖ (eq. faces-unit).

    The gradient is (dy − u (u·dy)) / ‖v‖: what points along u is lost (eq. faces-unit-dv).

    Parameters
    ----------
    vectors : float array, shape (N, D)

    Returns
    -------
    array, shape (N, D)
        A row of zeros stays one.
    """
    E = _surface(engine)
    axes("unit", "vectors", vectors, "N, D")
    squared = E.sum(E.multiply(vectors, vectors), axis=1, keepdims=True)  # (N, 1)
    return E.divide(vectors, E.sqrt(squared + FLOOR))


def _batch(where: str, embeddings: Any, labels: Any) -> np.ndarray:
    n, _ = axes(where, "embeddings", embeddings, "N, D")
    floating(where, embeddings=embeddings)
    who = host(labels)
    if who.shape != (n,) or who.dtype.kind not in "iu":
        raise ArgumentError(
            where, "labels", f"shape {who.shape} and dtype {who.dtype}",
            f"one whole number for each of the {n} embeddings",
        )  # fmt: skip
    return who


def _squared_distances(E: Any, embeddings: Any, first: np.ndarray, second: np.ndarray) -> Any:
    """‖a − b‖² of the rows `first` and `second`: (P,). From differences, so never negative."""
    a = E.take(embeddings, E.array(first))
    b = E.take(embeddings, E.array(second))
    difference = E.subtract(a, b)  # (P, D)
    return E.sum(E.multiply(difference, difference), axis=1)


def contrastive(
    embeddings: Any, labels: Any, margin: float = 1.0, engine: EngineLike = None
) -> Any:
    """Draw genuine pairs together, push impostor pairs out to a distance (eq. faces-contrastive).

    L = ½ mean over genuine pairs of D² + ½ mean over impostor pairs of max(0, m − D)²

    The gradients are eq. faces-contrastive-genuine and eq. faces-contrastive-impostor.

    Parameters
    ----------
    embeddings : float array, shape (N, D)
        Unit vectors.
    labels : integer array, shape (N,)
        Whose picture each row is. All N(N − 1)/2 pairs of the batch are used.
    margin : float
        m, the distance beyond which an impostor pair counts nothing; on the unit sphere below 2.

    Returns
    -------
    scalar
        A kind of pair that the batch lacks adds nothing.

    Raises
    ------
    ArgumentError
        For labels that do not fit, or a margin outside (0, 2].

    Source: Hadsell, Chopra and LeCun (2006), *Dimensionality reduction by learning an invariant
    mapping*, equation 4.
    """
    where, E = "contrastive", _surface(engine)
    who = _batch(where, embeddings, labels)
    _between(where, "margin", margin, 2.0)
    if len(who) < 2:
        return E.sum(embeddings) * 0.0
    first, second = np.triu_indices(len(who), 1)
    genuine = who[first] == who[second]
    squared = _squared_distances(E, embeddings, first, second)  # (P,)
    short = E.relu(margin - E.sqrt(squared + FLOOR))
    half = 0.5 / max(1, int(genuine.sum())), 0.5 / max(1, int((~genuine).sum()))
    dtype = dtype_name(embeddings)
    pull = E.array(genuine * half[0], dtype)
    push = E.array(~genuine * half[1], dtype)
    return E.sum(pull * squared + push * short * short)


class Triplets(NamedTuple):
    """Rows of a batch: anchors, pictures of the same person, pictures of others; int64 (T,)."""

    anchor: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


def mine_triplets(embeddings: Any, labels: Any, mining: str = "semi-hard") -> Triplets:
    """Choose which triplets of a batch to learn from.

    Parameters
    ----------
    embeddings : float array, shape (N, D)
        NumPy, or an engine array; no gradient is recorded.
    labels : integer array, shape (N,)
    mining : {"all", "semi-hard", "hard"}
        ``"all"``: every (anchor, positive, negative). ``"semi-hard"``: for every (anchor,
        positive) the nearest negative that is farther than the positive, or the farthest
        negative when none is (Schroff et al. 2015, as TensorFlow Addons does it). ``"hard"``:
        for every anchor its farthest positive and its nearest negative (Hermans et al. 2017).

    Returns
    -------
    Triplets
        Empty when the batch has no genuine or no impostor pair.

    Raises
    ------
    ArgumentError
        For another `mining`, or labels that do not fit.
    """
    where = "mine_triplets"
    if mining not in MINING:
        raise ArgumentError(where, "mining", f"the value {mining!r}", "one of " + ", ".join(MINING))
    x = host(embeddings).astype(np.float64)
    who = _batch(where, x, labels)
    n = len(who)
    distance = ((x[:, None] - x[None]) ** 2).sum(axis=2)  # (N, N)
    other = who[:, None] != who[None]
    same = ~other & ~np.eye(n, dtype=bool)
    if not same.any() or not other.any():
        empty = np.zeros(0, np.int64)
        return Triplets(empty, empty, empty)
    if mining == "hard":
        anchor = np.flatnonzero(same.any(axis=1) & other.any(axis=1))
        positive = np.where(same, distance, -np.inf)[anchor].argmax(axis=1)
        negative = np.where(other, distance, np.inf)[anchor].argmin(axis=1)
        return Triplets(anchor, positive, negative)
    anchor, positive = np.nonzero(same)
    if mining == "all":
        pair, negative = np.nonzero(other[anchor])
        return Triplets(anchor[pair], positive[pair], negative)
    away = distance[anchor]  # (P, N)
    farther = other[anchor] & (away > distance[anchor, positive][:, None])
    nearest = np.where(farther, away, np.inf).argmin(axis=1)
    farthest = np.where(other[anchor], away, -np.inf).argmax(axis=1)
    return Triplets(anchor, positive, np.where(farther.any(axis=1), nearest, farthest))


def triplet(
    embeddings: Any,
    labels: Any,
    margin: float = 0.2,
    mining: str = "semi-hard",
    engine: EngineLike = None,
) -> Any:
    """The negative must be farther than the positive, by a margin (eq. faces-triplet).

    L = mean over the triplets of max(0, ‖a − p‖² − ‖a − n‖² + α)

    The gradient of an active triplet is eq. faces-triplet-grad.

    Parameters
    ----------
    embeddings : float array, shape (N, D)
        Unit vectors.
    labels : integer array, shape (N,)
    margin : float
        α, in units of squared distance; on the unit sphere below 4.
    mining : {"semi-hard", "hard", "all"}
        See :func:`mine_triplets`.

    Returns
    -------
    scalar
        0, with a gradient of 0, when the batch has no triplet.

    Source: Schroff, Kalenichenko and Philbin (2015), *FaceNet*, equation 2.
    """
    where, E = "triplet", _surface(engine)
    who = _batch(where, embeddings, labels)
    _between(where, "margin", margin, 4.0)
    chosen = mine_triplets(E.asnumpy(embeddings), who, mining)
    if not len(chosen.anchor):
        return E.sum(embeddings) * 0.0
    near = _squared_distances(E, embeddings, chosen.anchor, chosen.positive)
    far = _squared_distances(E, embeddings, chosen.anchor, chosen.negative)
    return E.mean(E.relu(E.subtract(near, far) + margin))


def angular_logits(
    cosines: Any, labels: Any, margin: float = 0.3, scale: float = 16.0, engine: EngineLike = None
) -> Any:
    """Scaled cosines, the angle to the right class made larger by a margin (eq. faces-arcface).

    z_j = s cos θ_j for the others, z_y = s cos(θ_y + m); beyond θ_y = π − m, where the cosine
    would rise again, z_y = s (cos θ_y + cos m − 1), which goes on falling.

    Parameters
    ----------
    cosines : float array, shape (N, K)
        cos θ_j of each embedding and each class.
    labels : integer array, shape (N,), in 0..K−1
    margin : float
        m, radians, 0 to π/2.
    scale : float
        s: cosines live in [−1, 1], and a softmax over so narrow a range cannot be sure.

    Returns
    -------
    array, shape (N, K)

    Source: Deng, Guo, Xue and Zafeiriou (2019), *ArcFace*, equation 3; the straight line is ours.
    """
    where, E = "angular_logits", _surface(engine)
    n, classes = axes(where, "cosines", cosines, "N, K")
    who = _batch(where, cosines, labels)
    if n and (who.min() < 0 or who.max() >= classes):
        raise ArgumentError(
            where, "labels", f"values from {who.min()} to {who.max()}", f"0 to {classes - 1}"
        )
    if not 0 <= margin < math.pi / 2:
        raise ArgumentError(where, "margin", f"the value {margin!r}", "radians in [0, pi/2)")
    if not scale > 0:
        raise ArgumentError(where, "scale", f"the value {scale!r}", "a positive number")
    own = E.pick(cosines, E.array(who))  # (N,)
    sine = E.sqrt(E.relu(1.0 - own * own) + FLOOR)
    turned = own * math.cos(margin) - sine * math.sin(margin)  # cos(θ + m)
    beyond = E.asnumpy(own) < -math.cos(margin)
    moved = E.where(E.array(beyond), own + (math.cos(margin) - 1.0), turned)
    onehot = E.array(np.eye(classes)[who], dtype_name(cosines))
    return (cosines + onehot * E.reshape(moved - own, (n, 1))) * scale


def arcface(
    cosines: Any, labels: Any, margin: float = 0.3, scale: float = 16.0, engine: EngineLike = None
) -> Any:
    """Cross-entropy of :func:`angular_logits`; the gradient is eq. faces-arcface-grad.

    Parameters and errors as there.

    Returns
    -------
    scalar
    """
    E = _surface(engine)
    return E.cross_entropy(angular_logits(cosines, labels, margin, scale, E), labels)


def _between(where: str, name: str, value: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ArgumentError(where, name, f"the value {value!r}", f"a number in (0, {most:g}]")
