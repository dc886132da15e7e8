"""A job of several stages, submitted by tests: argv[1] names them, the rest is as for every job."""

import sys

from jobs.line import run_stages

if __name__ == "__main__":
    sys.exit(run_stages(*sys.argv[1].split(","), argv=sys.argv[2:]))
