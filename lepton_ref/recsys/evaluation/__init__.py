"""Page ``recsys/evaluation``: ratings, how they are split, and how recommendations are judged."""

from lepton_ref.recsys.evaluation.interactions import Ratings, movielens

__all__ = ["Ratings", "movielens"]
