"""One row per image with all its captions: write the `candidates` table."""

import sys

from jobs.line import run_stages

if __name__ == "__main__":
    sys.exit(run_stages("dedupe"))
