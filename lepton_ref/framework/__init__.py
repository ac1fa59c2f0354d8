"""Chapter *Framework*: the tape, layers, losses, optimisers, data, training, models."""
