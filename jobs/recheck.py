"""Ask whether stored images are as they were; or whether those of a release may still be used.

spark-submit jobs/recheck.py --config CONFIG
spark-submit jobs/recheck.py --config CONFIG --release RELEASE [--registry REGISTRY] [--takedown]
spark-submit jobs/recheck.py --config CONFIG --dataset DATASET [--takedown] [--purge]
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jobs.line import _load, _web, amend_download
from jobs.takedown import publish_without, tell
from pipeline.core import release
from pipeline.core.claim import claimed
from pipeline.core.errors import InputError
from pipeline.core.run import guarded
from pipeline.core.storage import Store
from pipeline.match import registry
from pipeline.stages import download, grow, recheck, takedown
from pipeline.stages.again import recheck as recheck_run
from pipeline.stages.recheck import Selection


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status (see `guarded`)."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description="Pairmill: recheck")
    parser.add_argument("--config", required=True, help="a recipe, e.g. conf/default.toml")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--release", help="folder or URL")
    parser.add_argument("--dataset", help="that `make grow` grows: its last version")
    parser.add_argument("--registry", default="", help="that later crawls are held to")
    parser.add_argument("--domain", action="append", default=[], help="of these pictures alone")
    parser.add_argument("--slice", default="1/1", help="of one part of all, e.g. 3/30")
    parser.add_argument("--takedown", action="store_true", help="take down what was withdrawn")
    parser.add_argument("--gone", action="store_true", help="and what is gone: 404, 410, 451")
    parser.add_argument("--purge", action="store_true", help="publish the next version now")
    args = parser.parse_args(given)
    if args.release and args.dataset:
        parser.error("--release and --dataset exclude each other")
    if args.release or args.dataset:
        return guarded(lambda: _recheck(args))
    if args.registry or args.domain or args.takedown or args.gone or args.purge:
        parser.error("of a run all is asked; name a --release or a --dataset")
    return amend_download(recheck_run, given)


def _recheck(args: argparse.Namespace) -> None:
    chosen = Selection.parsed(args.domain, args.slice)
    config = _load(args.config, args.set)
    if args.dataset:
        dataset = grow.load(Store(args.dataset))
        url, held, releases = dataset.version, dataset.registry, dataset.versions
        folder = Store(dataset.store.path("recheck"))
        if not url:
            raise InputError(f"{args.dataset} is no dataset: it has no version")
    else:
        url, held, releases = args.release, args.registry, [args.release]
        folder = Store(Store(config.run.root).path("recheck"))
    if held and not registry.is_registry(held):
        raise InputError(f"no registry at REGISTRY = {held}; `make register` makes one")
    manifest = release.load(Store(url).fs, Store(url).root)
    with claimed(folder):
        asked = _to_take_down(folder, manifest.id, chosen) if args.takedown else None
        asked = asked or _asked(args, folder, url, manifest.id, chosen)
        found = recheck.withdrawals(asked, gone=args.gone)
        _tell_found(asked, found)
        if args.takedown and found:
            sites = takedown.addresses([one.url for one in found])
            done = takedown.take_down(
                releases,
                held,
                "recheck",
                sites,
                {one.image_id: one.why for one in found},
                list_sha256=recheck.list_digest(found),
            )
            tell(done)
        if args.takedown:
            told = asked.read_json(recheck.RECORD)
            asked.write_json(recheck.RECORD, told | {"taken_down": True})
    if args.purge:
        publish_without(args.dataset)


def _to_take_down(folder: Store, release_id: str, chosen: Selection) -> Store | None:
    """The last pass, when it has asked for these pictures and nothing was taken down yet."""
    last = recheck.last_pass(folder)
    if last is None or not recheck.is_finished(last):
        return None
    told = last.read_json(recheck.RECORD)
    same = told["release"] == release_id and chosen.to_json().items() <= told.items()
    return last if same and not told.get("taken_down") else None


def _asked(
    args: argparse.Namespace, folder: Store, url: str, release_id: str, chosen: Selection
) -> Store:
    """A finished pass."""
    from pipeline.core.spark import session

    asked = recheck.pass_folder(folder, release_id, chosen)
    sets = [*args.set, f"run.root={json.dumps(asked.root)}"]
    with _web(_load(args.config, sets), ("download",)) as served:
        section: Any = _load(args.config, [*sets, *served]).sections[download.STAGE.name]
        download.check(section)
        counts = recheck.ask(session("pairmill recheck"), asked, url, section)
    print(f"{asked.root}: asked for {sum(counts.values()):,} pictures of {url}")
    for status, number in counts.items():
        print(f"  {number:>12,} {'there' if status == 'not_modified' else status}")
    return asked


def _tell_found(asked: Store, found: Sequence[recheck.Withdrawal]) -> None:
    print(f"{asked.root}: {len(found):,} pictures may not be used any more")
    for why, number in sorted(Counter(one.why for one in found).items()):
        print(f"  {number:>12,} {why}")


if __name__ == "__main__":
    sys.exit(main())
