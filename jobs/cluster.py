"""Search embeddings by cluster, write the `copies` and `semantics` tables."""

import sys

from jobs.line import run_stages

if __name__ == "__main__":
    sys.exit(run_stages("cluster"))
