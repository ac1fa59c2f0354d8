"""Benchmarks of the text chapter."""
