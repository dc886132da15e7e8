"""Fetch the images politely and safely, write the `images` table and raw tars."""

import sys

from jobs.line import run_stages

if __name__ == "__main__":
    sys.exit(run_stages("download"))
