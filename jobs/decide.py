"""Apply the bounds and choose survivors, write the `decisions` table."""

import sys

from jobs.line import run_stages

if __name__ == "__main__":
    sys.exit(run_stages("decide"))
