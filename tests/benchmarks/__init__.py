"""Benchmarks: one per stage; `python -m tests.benchmarks`."""
