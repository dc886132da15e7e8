"""Embed pictures and captions, write the `embeddings` and `scores` tables."""

import sys

from jobs.line import run_stages

if __name__ == "__main__":
    sys.exit(run_stages("score"))
