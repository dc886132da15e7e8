"""Read archives, write the `pairs` table."""

import sys

from jobs.line import run_stages

if __name__ == "__main__":
    sys.exit(run_stages("extract"))
