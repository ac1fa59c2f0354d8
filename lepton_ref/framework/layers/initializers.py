"""How weights start: random arrays whose variance keeps signals the same size.

Each function returns a float64 NumPy array made from a ``numpy.random.Generator``, so that
every engine starts from the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lepton_ref.framework.errors import ArgumentError


def glorot_uniform(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: float, fan_out: float
) -> np.ndarray:
    """Uniform in ±√(6 / (fan_in + fan_out)): variance 2 / (fan_in + fan_out).

    The compromise between what keeps the forward and what keeps the backward variance, for
    activations that are near the identity around zero (eq. layers-glorot-uniform).

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    fan_in, fan_out : float
        How many inputs one output sums, and how many outputs one input feeds.

    Source: Glorot and Bengio (2010), equation 16.
    """
    limit = np.sqrt(6.0 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, shape)


def kaiming_normal(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: float, fan_out: float = 0.0
) -> np.ndarray:
    """Normal with variance 2 / fan_in, for layers that a ReLU follows (eq. layers-kaiming).

    ``fan_out`` is not used; it is there so that initialisers have one signature.

    Source: He, Zhang, Ren and Sun (2015), equation 10.
    """
    return rng.normal(0.0, np.sqrt(2.0 / fan_in), shape)


def orthogonal(
    rng: np.random.Generator, shape: tuple[int, ...], fan_in: float = 0.0, fan_out: float = 0.0
) -> np.ndarray:
    """A random matrix with orthonormal rows or columns: it keeps the length of a vector.

    For the hidden-to-hidden matrix of a recurrent layer, which is applied once per time step.
    The fans are not used.

    Source: Saxe, McClelland and Ganguli (2014).
    """
    rows, columns = shape
    q, r = np.linalg.qr(rng.normal(size=(max(shape), min(shape))))
    q *= np.sign(np.diag(r))  # makes the distribution uniform over orthogonal matrices
    return q if rows >= columns else q.T


INITIALIZERS: dict[str, Callable[..., np.ndarray]] = {
    "glorot_uniform": glorot_uniform,
    "kaiming_normal": kaiming_normal,
    "orthogonal": orthogonal,
}


def initialize(
    where: str,
    initializer: str,
    rng: np.random.Generator | None,
    shape: tuple[int, ...],
    fan_in: float,
    fan_out: float,
) -> np.ndarray:
    """The array that the initialiser of this name makes.

    Raises
    ------
    ArgumentError
        Without a generator, or for a name that is no initialiser.
    """
    if initializer not in INITIALIZERS:
        raise ArgumentError(
            where, "initializer", f"the value {initializer!r}", f"one of {', '.join(INITIALIZERS)}"
        )
    return INITIALIZERS[initializer](generator(where, rng), shape, fan_in, fan_out)


def generator(where: str, rng: np.random.Generator | None) -> np.random.Generator:
    """``rng`` itself, or an error when it is no generator."""
    if not isinstance(rng, np.random.Generator):
        raise ArgumentError(
            where,
            "rng",
            f"type {type(rng).__name__}",
            "a numpy.random.Generator, which the random weights come from: "
            "rng=numpy.random.default_rng(seed)",
        )
    return rng
