"""The whole line in one go: archives in, a release and its report out."""

import sys

from jobs.line import run_stages
from pipeline.stages.line import LINE

if __name__ == "__main__":
    sys.exit(run_stages(*(stage.name for stage in LINE)))
