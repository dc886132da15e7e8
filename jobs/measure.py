"""Measure every pair with every filter, write the `measures` table."""

import sys

from jobs.line import run_stages

if __name__ == "__main__":
    sys.exit(run_stages("measure"))
