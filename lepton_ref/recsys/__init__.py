"""Recommenders: neighbours, factors, content, ranking and networks, and how they are judged."""
