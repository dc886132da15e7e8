"""Remove what a list names from releases: masked at once, purged from the next version.

python -m jobs.takedown RELEASE... --list LIST [--out OUT] [--registry REGISTRY]
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Sequence

import fsspec

from pipeline.core import release
from pipeline.core.errors import InputError
from pipeline.core.run import guarded
from pipeline.core.storage import Store
from pipeline.match import registry
from pipeline.shards import removal
from pipeline.shards.publish import owned
from pipeline.stages import takedown


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status (see `guarded`)."""
    parser = argparse.ArgumentParser(prog="python -m jobs.takedown")
    parser.add_argument("releases", nargs="+", metavar="RELEASE", help="folder or URL")
    parser.add_argument("--list", required=True, help="what to remove; see pipeline/shards/removal")
    parser.add_argument("--out", help="folder of the next version, without what is removed")
    parser.add_argument("--registry", help="folder of the registry that later crawls are held to")
    args = parser.parse_args(argv)
    if args.out and len(args.releases) > 1:
        parser.error("--out is for one release: purge them one after the other")
    return guarded(lambda: _take_down(args))


def _take_down(args: argparse.Namespace) -> None:
    removals = removal.read(args.list)
    if args.registry and not registry.is_registry(args.registry):
        raise InputError(f"no registry at REGISTRY = {args.registry}; `make register` makes one")
    similar = takedown.similar_images(args.registry or "", removals)
    with fsspec.open(args.list, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    findings = [takedown.find(url, removals, similar) for url in args.releases]
    for finding in findings:
        takedown.mask(finding)
    if args.registry:
        print(f"later crawls keep to {takedown.remember(args.registry, removals)}")
    for finding in findings:
        rules = ", ".join(f"{n:,} by {rule}" for rule, n in finding.rules.items()) or "none"
        print(f"{finding.url}: {len(finding.keys):,} samples masked ({rules})")
        new = None
        # Earlier tombstones are purged too, so that there may be work without a finding.
        if args.out and finding.affected:
            with owned(args.out):
                new = takedown.purge(finding, args.out)
            print(
                f"{args.out}: {new.samples:,} samples; {len(finding.affected):,} of "
                f"{len(finding.gone):,} shards written again, the others shared"
            )
        elif args.out:
            print(f"{args.out}: not written, for there is nothing to remove")
        told = takedown.receipt(finding, len(removals), digest, new)
        where = Store(args.registry or finding.url)
        now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = f"{now}-{finding.manifest.id[:8]}-{digest[:8]}.json"
        folder = takedown.RECEIPTS if args.registry else release.TAKEDOWNS
        where.write_json(f"{folder}/{name}", told)
        print(f"receipt: {where.path(folder, name)}")


if __name__ == "__main__":
    sys.exit(main())
