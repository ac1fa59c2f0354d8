"""Attention: the operator, its masks, what it costs, and small models whose weights can be read.

The layers (additive and multi-head attention, pooling, the Transformer encoder) are in
:mod:`lepton_ref.framework.layers`, since every chapter may use them.
"""

from lepton_ref.text.attention.cost import BlockCost, transformer_block_cost
from lepton_ref.text.attention.scaled_dot_product import attention

__all__ = ["BlockCost", "attention", "transformer_block_cost"]
