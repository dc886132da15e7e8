"""python -m pipeline.shards verify <release>: exit status 0 when sound, 1 when damaged."""

import argparse
import sys

from pipeline.shards.verify import verify


def main(argv: list[str] | None = None) -> int:
    """Run the command line; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.shards")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("verify", help="re-read a release and check every hash and count")
    check.add_argument("release", help="folder or URL of the release")
    args = parser.parse_args(argv)
    problems = verify(args.release)
    for problem in problems:
        print(problem)
    print(f"{args.release}: {len(problems)} problems" if problems else f"{args.release}: sound")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
