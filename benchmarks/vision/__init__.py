"""Benchmarks of the vision chapter."""
