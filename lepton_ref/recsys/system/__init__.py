"""Page ``recsys/system``: the documents' listing, and a recommender from end to end."""

from lepton_ref.recsys.system.blend import best_weight, blended_error, merge_top_k
from lepton_ref.recsys.system.recommender import Recommendation, RecommenderSystem

__all__ = [
    "Recommendation", "RecommenderSystem", "best_weight", "blended_error", "merge_top_k",
]  # fmt: skip
