"""Page ``recsys/system``: the documents' listing, and a recommender from end to end."""

from lepton_ref.recsys.system.behaviour import ItemScores, of_several, read_behaviour
from lepton_ref.recsys.system.blend import best_weight, blended_error, merge_top_k, standardised
from lepton_ref.recsys.system.recommender import Recommendation, RecommenderSystem

__all__ = [
    "ItemScores", "Recommendation", "RecommenderSystem", "best_weight", "blended_error",
    "merge_top_k", "of_several", "read_behaviour", "standardised",
]  # fmt: skip
