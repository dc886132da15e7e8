"""Add a crawl to a dataset: only new URLs are downloaded, a new version shares the old shards.

spark-submit jobs/grow.py --dataset DATASET --crawl NAME --config conf/default.toml
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

import filters
from jobs.line import EXTRA, run_stages
from pipeline.core.balance import Cap, Draw
from pipeline.core.claim import claimed
from pipeline.core.config import Config
from pipeline.core.errors import PairmillError
from pipeline.core.filter import Relative
from pipeline.core.run import guarded, load_config
from pipeline.core.storage import Store
from pipeline.match import registry
from pipeline.stages import grow, takedown
from pipeline.stages.grow import Dataset
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
    parser.add_argument(
        "--new-recipe", action="store_true", help="take another recipe from this crawl on"
    )
    args = parser.parse_args(argv)
    return guarded(lambda: _grow(args))


def _grow(args: argparse.Namespace) -> None:
    store = Store(args.dataset)
    run = Store(store.path(grow.folder_of(args.crawl)))
    with claimed(store):
        dataset = grow.load(store)
        if any(step.crawl == args.crawl for step in dataset.steps):
            print(f"grow: {args.crawl} is in {store.root} already", file=sys.stderr)
            return
        sets = _settings(args, dataset, run)
        config = load_config(args.config, sets, LINE, filters.load(), EXTRA)
        recipe = grow.recipe_of(config, LINE)
        grow.refuse_other_recipe(dataset, recipe, may_differ=args.new_recipe)
        _tell_own_counts(config)
        if not _is_registered(dataset, run):
            takedown.copy_remembered(dataset.registry, run)
            _mill(args, sets, run)
        if grow.has_release(run):
            _register(config, dataset, run, args.crawl)
        _withdraw(dataset, run, args.crawl)
        grown = grow.publish_version(dataset, args.crawl, recipe)
    _tell(dataset, grown)


def _settings(args: argparse.Namespace, dataset: Dataset, run: Store) -> list[str]:
    """What the step sets beside the recipe. Raises InputError for a registry that is damaged, or
    has hashes of another version."""
    sets = [*args.set, f"run.root={json.dumps(run.root)}"]
    if registry.is_registry(dataset.registry):
        registry.load(dataset.registry, "the dataset's registry")
        held = json.dumps(dataset.registry)
        sets += [f"{stage}.registry={held}" for stage in ("dedupe", "match")]
    if dataset.runs():
        sets.append(f"download.earlier={json.dumps(dataset.runs())}")
        usual = [url for url in dataset.runs() if Store(url).exists("_stages")]
        sets.insert(0, f"run.usual_runs={json.dumps(usual)}")
    if not (args.archives or args.lists) and args.crawl.startswith("CC-MAIN-"):
        sets.append(f"extract.crawl={json.dumps(args.crawl)}")
    return sets


def _tell_own_counts(config: Config) -> None:
    """Say which filters count what this crawl adds alone."""
    counting = [
        name
        for name, chosen in config.filters.items()
        if isinstance(chosen, Cap | Draw)
        or any(isinstance(side, Relative) for b in chosen.bounds() for side in b.sides.values())
    ]
    if counting:
        print(
            f"grow: {', '.join(counting)}: shares and caps are of what this crawl adds, not of the "
            "dataset",
            file=sys.stderr,
        )


def _is_registered(dataset: Dataset, run: Store) -> bool:
    """True when the crawl was milled to its end and its release is in the registry: from then on it
    is not the registry that it was milled with."""
    from pipeline.stages import register

    if not grow.has_release(run) or not registry.is_registry(dataset.registry):
        return False
    manifest = register.finished_release(run)
    held = registry.load(dataset.registry, "the dataset's registry")
    return any(known.id == manifest.id for known in held.releases)


def _mill(args: argparse.Namespace, sets: list[str], run: Store) -> None:
    """The line over this crawl. A crawl of which nothing is kept is none to fail over."""
    argv = ["--config", args.config, *(word for s in sets for word in ("--set", s))]
    argv += ["--archives", args.archives] if args.archives else []
    argv += ["--from", args.lists] if args.lists else []
    status = run_stages(*(stage.name for stage in LINE), argv=argv)
    if status and not grow.is_nothing_kept(run):
        raise PairmillError(f"{args.crawl} was not milled to its end; the same command goes on")


def _register(config: Config, dataset: Dataset, run: Store, crawl: str) -> None:
    """Add the crawl's release to the registry, where it is not there yet."""
    from pipeline.core.spark import session
    from pipeline.stages import register

    sections: Mapping[str, Any] = config.sections
    held = registry.open_or_new(dataset.registry, "the dataset's registry")
    texture = sections["download"].min_texture
    register.register(session("pairmill grow"), run, held, crawl, texture)


def _withdraw(dataset: Dataset, run: Store, crawl: str) -> None:
    """Take down released pictures that the crawl has found on a page which opts out."""
    if not dataset.versions or not registry.is_registry(dataset.registry):
        return
    from pipeline.core.spark import session
    from pipeline.stages.withdrawn import withdrawn

    held = registry.load(dataset.registry, "the dataset's registry")
    seen = withdrawn(session("pairmill grow"), run, held)
    # What an earlier crawl has found so is taken down, and told, already.
    known = takedown.remembered(dataset.registry).addresses
    told = known.find(pa.array([one.url for one in seen], pa.string())).to_pylist()
    found = [one for one, kind in zip(seen, told, strict=True) if kind is None]
    if found:
        rules = {one.image_id: f"page:{one.optout}" for one in found}
        done = takedown.take_down(
            dataset.versions,
            dataset.registry,
            f"pages of {crawl} opt out",
            takedown.addresses([one.url for one in found]),
            rules,
        )
        samples = len(done[-1].finding.keys)
        print(f"grow: {samples:,} samples masked: pages of {crawl} opt out")


def _tell(before: Dataset, now: Dataset) -> None:
    step = now.steps[-1]
    if now.version == before.version:
        there = f"the version is still {now.version}" if now.version else "there is no version yet"
        print(f"grow: {step.crawl} has nothing that is new and kept: nothing published, {there}")
        return
    print(
        f"grow: {now.version}: {step.samples:,} samples, {step.added:,} added by {step.crawl}, "
        f"{step.removed:,} removed since the version before"
    )


if __name__ == "__main__":
    sys.exit(main())
