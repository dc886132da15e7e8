"""Ask again for images that failed for a reason that may have passed, and are due."""

import sys

from jobs.line import amend_download
from pipeline.stages.again import retry

if __name__ == "__main__":
    sys.exit(amend_download(retry))
