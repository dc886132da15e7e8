"""Add a crawl to a dataset: only new URLs are downloaded, a new version shares the old shards.

spark-submit jobs/grow.py --dataset DATASET --crawl NAME --config conf/default.toml
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import filters
from jobs.line import EXTRA, run_stages
from pipeline.core.claim import claimed
from pipeline.core.errors import PairmillError
from pipeline.core.run import guarded, load_config
from pipeline.core.storage import Store
from pipeline.match import registry
from pipeline.stages import grow
from pipeline.stages.line import LINE


def main(argv: Sequence[str] | None = None) -> int:
    """The command; its exit status (see `guarded`)."""
    parser = argparse.ArgumentParser(description="Pairmill: grow")
    parser.add_argument("--dataset", required=True, help="folder or URL; made when not there")
    parser.add_argument(
        "--crawl", required=True, help="name of the step; of Common Crawl's, where it is one"
    )
    parser.add_argument("--config", required=True, help="the recipe of every step")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--archives", help="archives of the crawl, instead of Common Crawl's")
    parser.add_argument("--from", dest="lists", help="a list of URLs and captions instead")
    args = parser.parse_args(argv)
    return guarded(lambda: _grow(args))


def _grow(args: argparse.Namespace) -> None:
    dataset = Store(args.dataset)
    folder = grow.folder_of(args.crawl)
    before = grow.steps(dataset)
    if any(step.crawl == args.crawl for step in before):
        print(f"grow: {args.crawl} is in {dataset.root} already", file=sys.stderr)
        return
    sets = [*args.set, f"run.root={json.dumps(dataset.path(folder))}"]
    crawls = [Store(dataset.path(grow.folder_of(step.crawl))) for step in before]
    usual = [crawl.root for crawl in crawls if crawl.exists("_stages")]
    sets.insert(0, f"run.usual_runs={json.dumps(usual)}")
    held = dataset.path(grow.REGISTRY)
    if registry.is_registry(held):
        sets += [f"{stage}.registry={json.dumps(held)}" for stage in ("dedupe", "match")]
    if not (args.archives or args.lists) and args.crawl.startswith("CC-MAIN-"):
        sets.append(f"extract.crawl={json.dumps(args.crawl)}")
    run = Store(dataset.path(folder))
    with claimed(dataset):
        # Once it is registered, the registry is not the one that it was milled with.
        if not grow.has_release(run):
            _mill(args, sets, run)
        if grow.has_release(run):
            _register(args, sets, dataset, run)
        step = grow.publish_version(dataset, args.crawl)
    print(
        f"grow: {dataset.path(step.release)}: {step.samples:,} samples, {step.added:,} added by "
        f"{args.crawl}, {step.removed:,} removed since the version before"
    )


def _mill(args: argparse.Namespace, sets: list[str], run: Store) -> None:
    """The line over this crawl. A crawl of which nothing is kept is none to fail over."""
    argv = ["--config", args.config, *(word for s in sets for word in ("--set", s))]
    argv += ["--archives", args.archives] if args.archives else []
    argv += ["--from", args.lists] if args.lists else []
    status = run_stages(*(stage.name for stage in LINE), argv=argv)
    if status and not grow.is_nothing_kept(run):
        raise PairmillError(f"{args.crawl} was not milled to its end; the same command goes on")


def _register(args: argparse.Namespace, sets: list[str], dataset: Store, run: Store) -> None:
    """Add the crawl's release to the registry, where it is not there yet."""
    from pipeline.core.spark import session
    from pipeline.stages import register

    config = load_config(args.config, sets, LINE, filters.load(), EXTRA)
    sections: Any = config.sections
    held = registry.open_or_new(dataset.path(grow.REGISTRY), "the dataset's registry")
    texture = sections["download"].min_texture
    register.register(session("pairmill grow"), run, held, args.crawl, texture)


if __name__ == "__main__":
    sys.exit(main())
