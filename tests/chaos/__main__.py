"""`make chaos SEED=1 [STRIKES=30]`: the line is struck again and again, and must end as if it had not.

Mills a small embedded web twice: once in peace, once while drivers and workers are killed, the disk
is filled, the web goes away and files are damaged, at points that the seed chooses. After every
strike the run is continued as a user would. At the end the release must have the same bytes, and
each failure on the way must have been told in one line that says what to do.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import Campaign, Settings
from tests.chaos.folder import mount, unmount
from tests.chaos.report import render


def main() -> int:
    """Strike; the exit status: 0 when the run stood it, 1 when not, 2 when it could not be tried."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--strikes", type=int, default=30)
    parser.add_argument("--pages", type=int, default=120, help="of the embedded web")
    parser.add_argument("--minutes", type=float, default=120, help="give up after so long")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end what was started
    folder = Path(tempfile.mkdtemp(prefix="pairmill-chaos-"))
    disk = folder / "disk"
    if not mount(disk):
        shutil.rmtree(folder)
        if os.geteuid() != 0 and "PAIRMILL_CHAOS_INSIDE" not in os.environ:
            return _in_own_namespace()
        print("chaos: needs to mount a small file system, to fill it; run as root", file=sys.stderr)
        return 2
    try:
        campaign = Campaign(
            folder, disk, Settings(args.seed, args.strikes, args.pages, args.minutes)
        )
        verdict = campaign.run()
        text = render(campaign, verdict)
        print(text)
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(text + "\n")
        return 0 if verdict.is_good else 1
    finally:
        unmount(disk)
        shutil.rmtree(folder, ignore_errors=True)


def _in_own_namespace() -> int:
    """Try again where an ordinary user may mount."""
    again = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-m", "tests.chaos"]
    environment = os.environ | {"PAIRMILL_CHAOS_INSIDE": "1"}
    try:
        return subprocess.run([*again, *sys.argv[1:]], env=environment).returncode
    except FileNotFoundError:
        print("chaos: needs to mount a small file system, to fill it; run as root", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
