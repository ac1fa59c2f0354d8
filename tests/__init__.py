"""The proofs: every labelled equation of the book is proven in here."""
