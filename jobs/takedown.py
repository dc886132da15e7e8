"""Remove what a list names from releases: masked at once, purged from the next version.

python -m jobs.takedown RELEASE... --list LIST [--out OUT] [--registry REGISTRY]
python -m jobs.takedown --dataset DATASET --list LIST [--purge]
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence

import fsspec

from pipeline.core.claim import claimed
from pipeline.core.errors import InputError
from pipeline.core.run import guarded
from pipeline.core.storage import Store
from pipeline.match import registry
from pipeline.shards import removal
from pipeline.stages import grow, takedown
from pipeline.stages.takedown import Done


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status (see `guarded`)."""
    parser = argparse.ArgumentParser(prog="python -m jobs.takedown")
    parser.add_argument("releases", nargs="*", metavar="RELEASE", help="folder or URL")
    parser.add_argument("--list", required=True, help="what to remove; see pipeline/shards/removal")
    parser.add_argument("--out", default="", help="folder of the next version, without all that")
    parser.add_argument(
        "--registry", default="", help="folder of the registry that later crawls are held to"
    )
    parser.add_argument(
        "--dataset", help="that `make grow` grows: all its versions, and its registry"
    )
    parser.add_argument("--purge", action="store_true", help="publish its next version now")
    args = parser.parse_args(argv)
    if args.dataset and (args.releases or args.out or args.registry):
        parser.error("--dataset says which releases and registry, and where the next version goes")
    if not (args.dataset or args.releases):
        parser.error("name a RELEASE, or --dataset")
    if args.purge and not args.dataset:
        parser.error("--purge is of a --dataset; the next version of a release goes to --out")
    if args.out and len(args.releases) > 1:
        parser.error("--out is for one release: purge them one after the other")
    return guarded(lambda: _take_down(args))


def _take_down(args: argparse.Namespace) -> None:
    removals = removal.read(args.list)
    releases, held = args.releases, args.registry
    if args.dataset:
        dataset = grow.load(Store(args.dataset))
        releases, held = dataset.versions, dataset.registry
        if not releases:
            raise InputError(f"{args.dataset} is no dataset: it has no version")
    if held and not registry.is_registry(held):
        raise InputError(f"no registry at REGISTRY = {held}; `make register` makes one")
    with fsspec.open(args.list, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    done = takedown.take_down(
        releases, held, "taken down", removals, out=args.out, list_sha256=digest
    )
    tell(done, args.out)
    if held:
        print(f"later crawls keep to what {held} remembers")
    if args.purge:
        publish_without(args.dataset)


def tell(done: Sequence[Done], out: str = "") -> None:
    """Say what was done to each release."""
    for finding, new, receipt in done:
        rules = ", ".join(f"{len(keys):,} by {rule}" for rule, keys in finding.rules.items())
        print(f"{finding.url}: {len(finding.keys):,} samples masked ({rules or 'none'})")
        if new is not None:
            print(
                f"{out}: {new.samples:,} samples; {len(finding.affected):,} of "
                f"{len(finding.gone):,} shards written again, the others shared"
            )
        elif out:
            print(f"{out}: not written, for there is nothing to remove")
        print(f"receipt: {receipt}")


def publish_without(folder: str) -> None:
    """Publish the next version of a dataset, without what is masked in the last one."""
    store = Store(folder)
    with claimed(store):
        before = grow.load(store)
        now = grow.publish_version(before, f"removal-{len(before.steps) + 1}")
    step = now.steps[-1]
    if now.version == before.version:
        print(f"{now.version}: nothing is masked in it, so that it stays the last version")
        return
    print(f"{now.version}: {step.samples:,} samples, {step.removed:,} removed")


if __name__ == "__main__":
    sys.exit(main())
