"""Find near-duplicate pictures, write the `neighbors` table."""

import sys

from jobs.line import run_stages

if __name__ == "__main__":
    sys.exit(run_stages("match"))
