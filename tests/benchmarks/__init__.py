"""Benchmarks: one workload per process, one JSON object per workload in build/bench/."""
