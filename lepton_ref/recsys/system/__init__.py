"""Page ``recsys/system``: the documents' listing, and a recommender from end to end."""

from lepton_ref.recsys.system.behaviour import read_behaviour

__all__ = ["read_behaviour"]
