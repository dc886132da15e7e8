"""What of a run is done, running or missing, with rates and time left. Starts no Spark."""

import sys

from jobs.line import tell_status

if __name__ == "__main__":
    sys.exit(tell_status())
