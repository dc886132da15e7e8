"""Ask whether stored images are still as they were."""

import sys

from jobs.line import amend_download
from pipeline.stages.again import recheck

if __name__ == "__main__":
    sys.exit(amend_download(recheck))
