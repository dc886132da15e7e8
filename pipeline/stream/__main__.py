"""python -m pipeline.stream select <release> <condition> <view file>: choose by metadata."""

import argparse
import sys
import time

from pipeline.core.errors import PairmillError
from pipeline.stream import views


def main(argv: list[str] | None = None) -> int:
    """Run the command line; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.stream")
    commands = parser.add_subparsers(dest="command", required=True)
    choose = commands.add_parser(
        "select", help="write a view of the samples that fulfil a condition"
    )
    choose.add_argument("release", help="folder or URL of the release")
    choose.add_argument("condition", help='SQL over the sample tables, e.g. "width >= 512"')
    choose.add_argument("view", help="file or URL to write")
    args = parser.parse_args(argv)
    started = time.monotonic()
    try:
        view = views.select(args.release, args.condition)
        views.save(view, args.view)
    except PairmillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    share = view.samples / max(view.manifest.samples, 1)
    print(
        f"{args.view}: {view.samples:,} of {view.manifest.samples:,} samples ({share:.1%}), "
        f"view {view.id[:16]}, {time.monotonic() - started:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
