"""Page ``recsys/ranking``: models that learn an order of items, not ratings."""

from lepton_ref.recsys.evaluation.ranker import Ranker
from lepton_ref.recsys.ranking.factors import (
    BPR,
    WARP,
    bpr_loss,
    expected_estimate,
    warp_weights,
)
from lepton_ref.recsys.ranking.linear import EASE, ease_weights
from lepton_ref.recsys.ranking.loops import bpr_pass, unseen_items, warp_pass

__all__ = [
    "BPR", "EASE", "WARP", "Ranker", "bpr_loss", "bpr_pass", "ease_weights",
    "expected_estimate", "unseen_items", "warp_pass", "warp_weights",
]  # fmt: skip
