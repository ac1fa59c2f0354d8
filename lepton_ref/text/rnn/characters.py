"""A language model of characters, trained by truncated back-propagation through time.

Source: Graves (2013), *Generating Sequences With Recurrent Neural Networks*; Mikolov et al.
(2010), *Recurrent neural network based language model*.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import GRU, LSTM, Dense, Embedding, Layer, RNNLayer
from lepton_ref.framework.layers.feedforward import positive
from lepton_ref.framework.losses import cross_entropy
from lepton_ref.framework.optimizers import Optimizer, clip_by_norm, global_norm

CELLS: dict[str, Any] = {"rnn": RNNLayer, "lstm": LSTM, "gru": GRU}


class CharacterModel(Layer):
    """Scores of the next character: embedding, recurrent layer, dense layer.

    Parameters
    ----------
    num_characters : int
    hidden_size : int
    embed_dim : int
    cell : {"rnn", "lstm", "gru"}
    rng : numpy.random.Generator
    engine : str or Engine, optional

    Raises
    ------
    ArgumentError
        For an unknown cell or a size below 1.
    """

    def __init__(
        self,
        num_characters: int,
        hidden_size: int = 128,
        embed_dim: int = 32,
        cell: str = "rnn",
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        if cell not in CELLS:
            raise ArgumentError(
                "CharacterModel", "cell", f"the value {cell!r}", f"one of {', '.join(CELLS)}"
            )
        positive("CharacterModel", num_characters=num_characters)
        self.num_characters = num_characters
        self.embed = Embedding(num_characters, embed_dim, rng=rng, engine=self.E)
        self.cell = CELLS[cell](embed_dim, hidden_size, rng=rng, engine=self.E)
        self.head = Dense(hidden_size, num_characters, rng=rng, engine=self.E)

    def forward(
        self, x: Any, rng: np.random.Generator | None = None, state: Any = None
    ) -> tuple[Any, list[Any]]:
        """Logits (N, T, characters) after each of the characters ``x`` (N, T), and the state."""
        outputs, last = self.cell(self.embed(x), rng, state=state)
        return self.head(outputs), last


def streams(ids: Sequence[int] | np.ndarray, batch_size: int) -> np.ndarray:
    """One long text as ``batch_size`` texts side by side, shape (batch_size, L).

    Row n goes on where row n − 1 ends, so that a state may be carried along each row. What is
    left over at the end is dropped.

    Raises
    ------
    ArgumentError
        When the text is too short for two characters in each row.
    """
    ids = np.asarray(ids, np.int64)
    length = len(ids) // max(batch_size, 1)
    if batch_size < 1 or length < 2:
        raise ArgumentError(
            "streams", "batch_size", f"the value {batch_size} for {len(ids)} characters",
            "at least 1, and 2 characters for each row",
        )  # fmt: skip
    return ids[: batch_size * length].reshape(batch_size, length)


def windows(rows: np.ndarray, num_steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of characters and their successors, ``num_steps`` at a time, in order."""
    if num_steps < 1:
        raise ArgumentError("windows", "num_steps", f"the value {num_steps}", "at least 1")
    for begin in range(0, rows.shape[1] - 1, num_steps):
        end = min(begin + num_steps, rows.shape[1] - 1)
        yield rows[:, begin:end], rows[:, begin + 1 : end + 1]


class Trained(NamedTuple):
    """What one run left: the loss of each step, and its gradient's norm before clipping."""

    losses: np.ndarray
    norms: np.ndarray


def train(
    model: CharacterModel,
    rows: np.ndarray,
    optimizer: Optimizer,
    num_steps: int,
    steps: int,
    max_norm: float | None = None,
) -> Trained:
    """Truncated back-propagation: the state goes on from window to window, the gradient does not.

    Parameters
    ----------
    model : CharacterModel
        Changed in place.
    rows : integer array, shape (N, L)
        As :func:`streams` makes them. When a pass ends before ``steps``, the next begins with a
        fresh state.
    optimizer : Optimizer
    num_steps : int
        Length of a window: how far a gradient reaches back (eq. rnn-truncated).
    steps : int
        Updates.
    max_norm : float, optional
        Clip the gradient to this norm (eq. optimizers-clip).

    Returns
    -------
    Trained
        The run ends early where a loss is not finite.
    """
    E, params = model.E, model.parameters()

    def loss(params: dict[str, Any], x: Any, y: Any, state: Any) -> tuple[Any, Any]:
        logits, last = model.apply(params, x, state=state)
        return cross_entropy(logits, y, engine=E), last

    gradient = E.value_and_grad(loss, has_aux=True)
    losses: list[float] = []
    norms: list[float] = []
    while len(losses) < steps:
        state = None
        for x, y in windows(rows, num_steps):
            (value, state), grads = gradient(params, E.array(x), E.array(y), state)
            if max_norm is None:
                norm = global_norm(grads)
            else:
                grads, norm = clip_by_norm(grads, max_norm)
            losses.append(float(value))
            norms.append(norm)
            if not (math.isfinite(losses[-1]) and math.isfinite(norm)):
                return Trained(np.array(losses), np.array(norms))
            optimizer.step(params, grads)
            if len(losses) == steps:
                break
    return Trained(np.array(losses), np.array(norms))


def mean_nll(model: CharacterModel, rows: np.ndarray, num_steps: int = 100) -> float:
    """Mean −ln p of each next character, the state carried along the rows."""
    E, state, total, count = model.E, None, 0.0, 0
    with E.no_grad():
        for x, y in windows(rows, num_steps):
            logits, state = model(E.array(x), state=state)
            total += float(cross_entropy(logits, E.array(y), engine=E)) * y.size
            count += y.size
    return total / count


def perplexity(nll: float) -> float:
    """exp of the mean −ln p: among how many characters the model wavers (eq. rnn-perplexity)."""
    return math.exp(nll)


def ngram_nll(train_ids: np.ndarray, test_ids: np.ndarray, n: int, size: int) -> float:
    """Mean −ln p under counts of n characters in a row, the baseline that needs no network.

    p(c | the n − 1 before) = (count + p_{n−1}(c)) / (total + 1), mixed with the shorter context
    in that way down to the uniform distribution, so that nothing has probability 0.

    Parameters
    ----------
    train_ids, test_ids : integer array
    n : int
        1 looks at no context, 2 at one character.
    size : int
        Number of characters there are.
    """
    if n < 1 or n > 5:
        raise ArgumentError("ngram_nll", "n", f"the value {n}", "a whole number in 1..5")
    train_ids, test_ids = np.asarray(train_ids, np.int64), np.asarray(test_ids, np.int64)
    p = np.full(len(test_ids) - n + 1, 1 / size)
    for order in range(1, n + 1):

        def contexts(ids: np.ndarray, order: int = order) -> np.ndarray:
            code = np.zeros(len(ids) - order + 1, np.int64)
            for j in range(order - 1):
                code = code * size + ids[j : len(ids) - order + 1 + j]
            return code

        def count(codes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
            found, times = np.unique(codes, return_counts=True)
            at = np.minimum(np.searchsorted(found, wanted), len(found) - 1)
            return np.where(found[at] == wanted, times[at], 0)

        before, now = contexts(train_ids), contexts(test_ids)[n - order :]
        pairs = before * size + train_ids[order - 1 :]
        wanted = now * size + test_ids[n - 1 :]
        p = (count(pairs, wanted) + p) / (count(before, now) + 1)
    return float(-np.log(p).mean())


def next_probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """softmax(logits / temperature): p^(1/temperature), normalised (eq. rnn-temperature)."""
    if not temperature > 0:
        raise ArgumentError("sample", "temperature", f"the value {temperature}", "a number > 0")
    z = np.asarray(logits, np.float64) / temperature
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def sample(
    model: CharacterModel,
    prompt: Sequence[int],
    length: int,
    rng: np.random.Generator,
    temperature: float = 1.0,
) -> list[int]:
    """``length`` characters drawn one after the other behind ``prompt``.

    Each is drawn from the model's distribution and fed back. ``temperature`` below 1 makes the
    model surer of itself than it is, above 1 less sure.
    """
    if len(prompt) < 1:
        raise ArgumentError("sample", "prompt", "no characters", "at least one")
    E, state, drawn = model.E, None, []
    x = np.asarray(prompt, np.int64)[None]
    with E.no_grad():
        for _ in range(length):
            logits, state = model(E.array(x), state=state)
            p = next_probabilities(E.asnumpy(logits)[0, -1], temperature)
            drawn.append(int(np.searchsorted(p.cumsum(), rng.random() * (1 - 1e-12))))
            x = np.array([[drawn[-1]]])
    return drawn
