"""Page ``recsys/content``: items that are like what you liked, by what they are."""

from lepton_ref.recsys.content.models import (
    Because,
    ContentBased,
    ContentRatings,
    Hybrid,
    rocchio,
)
from lepton_ref.recsys.content.profiles import (
    ItemProfiles,
    movie_profiles,
    tf_idf,
    title_words,
)

__all__ = [
    "Because",
    "ContentBased",
    "ContentRatings",
    "Hybrid",
    "ItemProfiles",
    "movie_profiles",
    "rocchio",
    "tf_idf",
    "title_words",
]
