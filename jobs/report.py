"""Write statistics and the HTML report."""

import sys

from jobs.line import run_stages

if __name__ == "__main__":
    sys.exit(run_stages("report"))
