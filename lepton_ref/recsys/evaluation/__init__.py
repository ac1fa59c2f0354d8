"""Page ``recsys/evaluation``: ratings, how they are split, and how recommendations are judged."""

from lepton_ref.recsys.evaluation.accuracy import mae, rmse
from lepton_ref.recsys.evaluation.baselines import BiasBaseline, ItemMean, Popularity, Random
from lepton_ref.recsys.evaluation.behaviour import ItemScores, of_several, read_behaviour
from lepton_ref.recsys.evaluation.beyond import (
    coverage,
    diversity,
    effective_items,
    novelty,
    time_leak,
)
from lepton_ref.recsys.evaluation.interactions import Ratings, movielens
from lepton_ref.recsys.evaluation.ranker import Ranker
from lepton_ref.recsys.evaluation.ranking import (
    RankingReport,
    chance_ndcg,
    paired_difference,
    ranking_report,
)
from lepton_ref.recsys.evaluation.sampled import (
    Ranks,
    corrected_metric,
    hit_at,
    item_ranks,
    ndcg_at,
    rank_chances,
    sampled_ranks,
    user_auc,
)
from lepton_ref.recsys.evaluation.selection import standardised, top_k
from lepton_ref.recsys.evaluation.splits import (
    folds,
    item_split,
    leave_one_out,
    random_split,
    stratified_split,
    temporal_split,
)

__all__ = [
    "BiasBaseline", "ItemMean", "ItemScores", "Popularity", "Random", "Ranker", "RankingReport",
    "Ranks", "Ratings",
    "chance_ndcg", "corrected_metric", "coverage", "diversity", "effective_items", "folds",
    "hit_at", "item_ranks", "item_split", "leave_one_out", "mae", "movielens", "ndcg_at", "novelty",
    "of_several", "paired_difference", "random_split", "rank_chances", "ranking_report",
    "read_behaviour", "rmse", "sampled_ranks", "standardised", "stratified_split",
    "temporal_split", "time_leak", "top_k", "user_auc",
]  # fmt: skip
