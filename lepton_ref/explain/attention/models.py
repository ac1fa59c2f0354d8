"""The readers that the page looks into: each ends in a weighted mean of what it made of words."""

from __future__ import annotations

from typing import Any

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.engines.domain import dtype_name
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import (
    LSTM,
    AttentionPooling,
    Dense,
    Dropout,
    Embedding,
    Layer,
)
from lepton_ref.text.attention.classifier import Attended
from lepton_ref.text.sentiment.network import turned


class LSTMReader(Layer):
    """Embedding, an LSTM in each direction, attention pooling over their states, one dense layer.

    The model of Jain and Wallace (2019), section 2. The state at step t joins what the two LSTMs
    say *at word t*, so that a weight belongs to a word and its surroundings. Token 0 is padding,
    and stands behind the words.

    Parameters
    ----------
    num_tokens : int
        Size of the vocabulary, padding included.
    num_classes : int
    embed_dim, hidden_size : int
        D, and H of each direction.
    dropout : float
        Of the word vectors and of the pooled vector, in training.
    rng : numpy.random.Generator
    engine : str or Engine, optional
    """

    def __init__(
        self,
        num_tokens: int,
        num_classes: int,
        embed_dim: int = 32,
        hidden_size: int = 32,
        dropout: float = 0.2,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        made: dict[str, Any] = {"rng": rng, "engine": self.E}
        self.num_tokens = num_tokens
        self.embedding = Embedding(num_tokens, embed_dim, **made)
        self.forwards = LSTM(embed_dim, hidden_size, **made)
        self.backwards = LSTM(embed_dim, hidden_size, **made)
        self.pooling = AttentionPooling(2 * hidden_size, 2 * hidden_size, **made)
        self.dropout = Dropout(dropout, engine=self.E)
        self.head = Dense(2 * hidden_size, num_classes, **made)

    def encode(self, vectors: Any, mask: np.ndarray) -> Any:
        """States (N, T, 2H) of word vectors (N, T, D)."""
        E = self.E
        ahead, _ = self.forwards(vectors, mask=E.array(mask))
        back, _ = self.backwards(turned(E, vectors, mask), mask=E.array(mask))
        return E.concat([ahead, turned(E, back, mask)], axis=2)

    def attend(self, ids: Any, rng: np.random.Generator | None = None) -> Attended:
        """Logits of token ids (N, T) together with the weights of the pooling."""
        if len(ids.shape) != 2:
            raise ArgumentError("lstm_reader", "ids", f"shape {tuple(ids.shape)}", "2 axes (N, T)")
        mask = self.E.asnumpy(ids) != 0
        states = self.encode(self.dropout(self.embedding(ids), rng), mask)
        pooled, weights = self.pooling(states, rng, mask=mask)
        return Attended(self.head(self.dropout(pooled, rng)), weights, [])

    def forward(self, x: Any, rng: np.random.Generator | None = None) -> Any:
        """Logits (N, K) of token ids (N, T); 0 is padding."""
        return self.attend(x, rng).logits


class DiagnosticMLP(Layer):
    """Reads each word by itself and takes the mean with weights that somebody else provides.

    Wiegreffe and Pinter (2019), section 3.4: without a context of its own it can use the weights
    of another model only as far as these say which *words* matter.

    Parameters
    ----------
    num_tokens, num_classes, embed_dim, hidden_size : int
    dropout : float
    rng : numpy.random.Generator
    engine : str or Engine, optional
    """

    def __init__(
        self,
        num_tokens: int,
        num_classes: int,
        embed_dim: int = 32,
        hidden_size: int = 32,
        dropout: float = 0.2,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        made: dict[str, Any] = {"rng": rng, "engine": self.E}
        self.num_tokens = num_tokens
        self.embedding = Embedding(num_tokens, embed_dim, **made)
        self.hidden = Dense(embed_dim, hidden_size, **made)
        self.pooling = AttentionPooling(hidden_size, hidden_size, **made)
        self.dropout = Dropout(dropout, engine=self.E)
        self.head = Dense(hidden_size, num_classes, **made)

    def forward(self, x: Any, rng: np.random.Generator | None = None, weights: Any = None) -> Any:
        """Logits (N, K) of token ids (N, T).

        Parameters
        ----------
        x : int array, shape (N, T)
        weights : array, shape (N, T), optional
            The guide. Without it the model's own attention, learned with the rest.
        """
        E = self.E
        n, t = (int(size) for size in x.shape)
        states = E.tanh(self.hidden(self.dropout(self.embedding(x), rng)))  # (N, T, H)
        if weights is None:
            pooled, _ = self.pooling(states, rng, mask=E.asnumpy(x) != 0)
        else:
            weights = E.array(np.asarray(weights), dtype_name(states))
            pooled = E.matmul(E.reshape(weights, (n, 1, t)), states)
            pooled = E.reshape(pooled, (n, int(states.shape[2])))
        return self.head(self.dropout(pooled, rng))
