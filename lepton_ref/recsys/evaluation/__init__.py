"""Page ``recsys/evaluation``: ratings, how they are split, and how recommendations are judged."""

from lepton_ref.recsys.evaluation.accuracy import mae, rmse
from lepton_ref.recsys.evaluation.interactions import Ratings, movielens
from lepton_ref.recsys.evaluation.ranking import RankingReport, ranking_report
from lepton_ref.recsys.evaluation.selection import top_k
from lepton_ref.recsys.evaluation.splits import (
    folds,
    leave_one_out,
    random_split,
    stratified_split,
    temporal_split,
)

__all__ = [
    "RankingReport",
    "Ratings",
    "folds",
    "leave_one_out",
    "mae",
    "movielens",
    "random_split",
    "ranking_report",
    "rmse",
    "stratified_split",
    "temporal_split",
    "top_k",
]
