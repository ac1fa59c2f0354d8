"""A classifier of token sequences whose attention weights come out with its answer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lepton_ref.engines.base import Engine
from lepton_ref.framework.errors import ArgumentError
from lepton_ref.framework.layers import (
    AttentionPooling,
    Dense,
    Dropout,
    Embedding,
    Layer,
    TransformerEncoder,
)
from lepton_ref.framework.models import register


class Attended(NamedTuple):
    """An answer and all weights that led to it."""

    logits: Any  #: (N, K)
    pooling: Any  #: (N, T), how much each token counts in the pooled vector
    layers: list[Any]  #: per block (N, heads, T, T), who attends to whom


@register
class AttentionClassifier(Layer):
    """Embedding, an optional Transformer encoder, attention pooling, one dense layer.

    Token 0 is padding and is masked everywhere; a row of padding alone gets the bias as logits.

    Parameters
    ----------
    num_tokens : int
        Size of the vocabulary, padding included.
    num_classes : int
    embed_dim : int
    num_layers : int
        Blocks of the encoder; 0 pools the embeddings themselves, as a bag of words.
    num_heads : int
    hidden_size : int, optional
        Of the blocks' networks; twice ``embed_dim`` without it.
    dropout : float
    positions : bool
        Whether the encoder is told the order of the tokens.
    rng : numpy.random.Generator
    engine : str or Engine, optional
    """

    def __init__(
        self,
        num_tokens: int,
        num_classes: int,
        embed_dim: int = 64,
        num_layers: int = 1,
        num_heads: int = 4,
        hidden_size: int | None = None,
        dropout: float = 0.1,
        positions: bool = True,
        rng: np.random.Generator | None = None,
        engine: str | Engine | None = None,
    ) -> None:
        super().__init__(engine)
        if not isinstance(num_layers, int) or num_layers < 0:
            raise ArgumentError(
                "AttentionClassifier", "num_layers", f"the value {num_layers!r}",
                "a whole number >= 0",
            )  # fmt: skip
        made: dict[str, Any] = {"rng": rng, "engine": self.E}
        self.num_tokens = num_tokens
        self.embedding = Embedding(num_tokens, embed_dim, **made)
        self.encoder = None
        if num_layers:
            hidden_size = 2 * embed_dim if hidden_size is None else hidden_size
            self.encoder = TransformerEncoder(
                embed_dim, num_heads, num_layers, hidden_size, dropout, positions=positions, **made
            )
        self.pooling = AttentionPooling(embed_dim, embed_dim, **made)
        self.dropout = Dropout(dropout, engine=self.E)
        self.head = Dense(embed_dim, num_classes, **made)

    def attend(self, ids: Any, rng: np.random.Generator | None = None) -> Attended:
        """Logits of token ids (N, T) together with every attention weight."""
        where = "attention_classifier"
        if len(ids.shape) != 2:
            raise ArgumentError(where, "ids", f"shape {tuple(ids.shape)}", "2 axes (N, T)")
        mask = self.E.asnumpy(ids) != 0
        x, layers = self.embedding(ids), []
        if self.encoder is not None:
            x, layers = self.encoder(x, rng, mask=mask)
        pooled, weights = self.pooling(x, rng, mask=mask)
        return Attended(self.head(self.dropout(pooled, rng)), weights, layers)

    def forward(self, ids: Any, rng: np.random.Generator | None = None) -> Any:
        """Logits (N, K) of token ids (N, T); 0 is padding."""
        return self.attend(ids, rng).logits
