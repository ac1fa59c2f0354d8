"""What a Transformer block costs: multiplications and memory, counted from its sizes."""

from __future__ import annotations

from typing import NamedTuple


class BlockCost(NamedTuple):
    """Multiply-adds of one forward pass, and bytes that must be kept for the backward pass."""

    projections: int
    pairs: int
    network: int
    weights_bytes: int

    @property
    def forward_multiply_adds(self) -> int:
        """All three together; the backward pass takes twice as many."""
        return self.projections + self.pairs + self.network


def transformer_block_cost(
    batch_size: int,
    num_steps: int,
    embed_dim: int,
    num_heads: int,
    hidden_size: int | None = None,
) -> BlockCost:
    """Count the matrix products of a block (eq. attention-cost).

    Parameters
    ----------
    batch_size, num_steps, embed_dim, num_heads : int
    hidden_size : int, optional
        Four times ``embed_dim`` without it.

    Returns
    -------
    BlockCost
        ``projections``: queries, keys, values and output; ``pairs``: scores and weighted means;
        ``network``: the two dense layers; ``weights_bytes``: the attention weights in float32
        (eq. attention-memory).
    """
    hidden_size = 4 * embed_dim if hidden_size is None else hidden_size
    tokens = batch_size * num_steps
    return BlockCost(
        projections=4 * tokens * embed_dim**2,
        pairs=2 * tokens * num_steps * embed_dim,
        network=2 * tokens * embed_dim * hidden_size,
        weights_bytes=4 * tokens * num_steps * num_heads,
    )
