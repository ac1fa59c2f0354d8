"""Text: recurrent networks and attention, and the sequence models built from them."""
