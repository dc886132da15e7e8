"""Hold the images against a list of what they were."""

import sys

from jobs.line import verify_against

if __name__ == "__main__":
    sys.exit(verify_against())
