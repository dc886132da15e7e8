"""Spark jobs: one per stage, and the whole line."""
