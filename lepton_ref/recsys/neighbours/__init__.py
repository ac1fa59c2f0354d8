"""Page ``recsys/neighbours``: people like you liked this, and this is like what you liked."""

from lepton_ref.recsys.neighbours.interests import CollaborativeFiltering
from lepton_ref.recsys.neighbours.ratings import Because, NearestNeighbours
from lepton_ref.recsys.neighbours.similarity import (
    centred,
    common_sums,
    from_sums,
    nearest,
    prior_strength,
    shrink,
    similarities,
    similarity_blocks,
)

__all__ = [
    "Because",
    "CollaborativeFiltering",
    "NearestNeighbours",
    "centred",
    "common_sums",
    "from_sums",
    "nearest",
    "prior_strength",
    "shrink",
    "similarities",
    "similarity_blocks",
]
