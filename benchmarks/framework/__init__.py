"""Benchmarks of the framework chapter."""
