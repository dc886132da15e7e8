"""A dataset that grows crawl by crawl: each step mills only what is new and publishes a version.

    dataset.json               this module's record of the recipe and of the steps that are finished
    crawls/<name>/             the run folder of a crawl
    registry/                  the pictures of all versions (`match.registry`), and what was taken
                               down from them (`stages.takedown`)
    releases/0001-<name>/      versions, each a whole release; shards are shared between them
    releases/0001-<name>/.meta/diff.json, diff.md, diff/changes.parquet

What comes first stays: a picture of an earlier version is not downloaded again, keeps its captions,
and what looks like it gives way. Everything else of a crawl is judged as in any run, over the rows
of that crawl. docs/growth.md has the whole rule.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.core import records, release
from pipeline.core.config import Config
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.stage import Stage
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES
from pipeline.stages import diff, takedown
from pipeline.stages.assemble import assemble, masked
from pipeline.stages.diff import Changes
from pipeline.stages.score_section import measures_of
from pipeline.stages.shard import RELEASE
from pipeline.stages.takedown import Finding
from pipeline.stream.reader import Release
from pipeline.stream.tombstones import Tombstones

RECORD = "dataset.json"
REGISTRY = "registry"
# Of the recipe, what is another one in each crawl, or changes nothing of what is kept.
_BY_CRAWL = {
    "extract": (
        "archives", "crawl", "crawl_kind", "files", "sample", "seed", "first_file", "index",
        "index_languages", "index_domains", "index_pages_per_part", "lists", "url_column",
        "caption_column", "page_url_column", "list_rows_per_part", "crawl_base_url",
    ),
    "dedupe": ("registry", "parts", "giant_domain_images"),
    "shard": ("samples_per_shard",),
}  # fmt: skip
_NO_RECIPE = frozenset({"report"})


@dataclass(frozen=True)
class Step:
    """A finished step. crawl: its name. release: folder of its version, relative to the dataset;
    that of the last one where it published none, "" where there is none yet."""

    crawl: str
    release: str
    id: str
    samples: int
    added: int
    removed: int


@dataclass(frozen=True)
class Dataset:
    """What `dataset.json` holds. recipe: of the last step, as `recipe_of`."""

    store: Store
    steps: tuple[Step, ...] = ()
    recipe: Mapping[str, Any] | None = None

    @property
    def version(self) -> str:
        """Where the last version lies; "" while there is none."""
        return (
            self.store.path(self.steps[-1].release) if self.steps[-1:] and self.steps[-1].id else ""
        )

    @property
    def versions(self) -> list[str]:
        """Where the versions lie that are still there, the oldest first."""
        folders = dict.fromkeys(step.release for step in self.steps if step.id)
        there = (f for f in folders if self.store.exists(f"{f}/{release.MANIFEST}"))
        return [self.store.path(folder) for folder in there]

    @property
    def registry(self) -> str:
        """Where its registry is, or will be."""
        return self.store.path(REGISTRY)

    def runs(self) -> list[str]:
        """Run folders of the steps, the oldest first, as far as they are still there."""
        folders = [folder_of(step.crawl) for step in self.steps]
        found = [f for f in folders if self.store.exists(f"{f}/{IMAGES.name}")]
        return [self.store.path(folder) for folder in found]

    def with_step(self, step: Step, recipe: Mapping[str, Any] | None) -> "Dataset":
        """Record a step; the dataset with it."""
        grown = Dataset(self.store, (*self.steps, step), recipe)
        told = {"recipe": recipe, "steps": [asdict(step) for step in grown.steps]}
        self.store.write_json(RECORD, told)
        return grown


def load(store: Store) -> Dataset:
    """The dataset in a folder; one without steps where nothing is. Raises InputError for a record
    that is damaged."""
    if not store.exists(RECORD):
        return Dataset(store)
    try:
        data = store.read_json(RECORD)
        return Dataset(store, tuple(Step(**step) for step in data["steps"]), data.get("recipe"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{store.path(RECORD)} is damaged: {error!r}") from None


def folder_of(crawl: str) -> str:
    """The run folder of a crawl, relative to the dataset. Raises ConfigError for a name that is no
    name of a folder."""
    if not crawl or crawl.startswith(".") or not all(c.isalnum() or c in "._-" for c in crawl):
        raise ConfigError(f"CRAWL = {crawl!r}: letters, digits, '.', '_' and '-' make a name")
    return f"crawls/{crawl}"


def recipe_of(config: Config, line: Sequence[Stage]) -> dict[str, Any]:
    """What decides what is kept of a crawl, and the columns that are told of it; JSON-ready."""
    found: dict[str, Any] = {}
    for stage in line:
        if stage.name not in _NO_RECIPE:
            found |= config.identity(stage)
    for section, keys in _BY_CRAWL.items():
        found[section] = {k: v for k, v in found[section].items() if k not in keys}
    measures = measures_of(config.sections, config.filters).schema
    found["columns"] = {field.name: str(field.type) for field in measures}
    return dict(json.loads(json.dumps(found)))


def refuse_other_recipe(dataset: Dataset, recipe: Mapping[str, Any], *, may_differ: bool) -> None:
    """Raise ConfigError when the last step had another recipe: always where the columns that are
    told of samples differ, else unless it may."""
    if dataset.recipe is None:
        return
    held, wanted = dict(dataset.recipe), dict(recipe)
    columns = records.differences(held.pop("columns", None), wanted.pop("columns", None), "columns")
    if columns:
        raise ConfigError(
            f"{dataset.store.root} has other columns than this recipe gives "
            f"({'; '.join(columns[:5])}): all tars of a dataset have the same; keep to its "
            "filters and models, or start another dataset"
        )
    changed = records.differences(held, wanted)
    if changed and not may_differ:
        raise ConfigError(
            f"{dataset.store.root} has been grown with another recipe ({'; '.join(changed[:5])}); "
            "keep to it, or say NEW_RECIPE=1 to take this one from this crawl on: what is there "
            "already stays as it was judged"
        )


def has_release(run: Store) -> bool:
    """True when a crawl's run has published a release."""
    return run.exists(f"{RELEASE}/{release.MANIFEST}")


def is_nothing_kept(run: Store) -> bool:
    """True when a crawl's run has decided on all its pairs and keeps none."""
    record = records.load(run, "decide")
    if record is None or record["state"] != "done":
        return False
    return not any(account["kept"] for account in record["accounts"])


def publish_version(
    dataset: Dataset, crawl: str, recipe: Mapping[str, Any] | None = None
) -> Dataset:
    """Publish the next version: the last one without what has been taken down since, and the
    release of this crawl's run, likewise. Started again after it was killed, it goes on.

    crawl: a name without a run makes a version that only lacks what was taken down. A step that
    gives nothing new makes a version only where something was taken down; else the last one stands
    for it. recipe: of the step; by default that of the last one.
    """
    run = Store(dataset.store.path(folder_of(crawl)))
    old = [(Release(url), masked(url)) for url in [dataset.version] if url]
    new = [(Release(f.url), f.gone) for f in _new_samples(dataset, run)]
    sources = [source for source in [*old, *new] if not all(rows.all() for rows in source[1])]
    last = dataset.steps[-1] if dataset.steps else Step(crawl, "", "", 0, 0, 0)
    is_other = any(rows.any() for _, gone in old for rows in gone) or len(sources) > len(old)
    if not sources or not is_other:
        same = Step(crawl, last.release, last.id, last.samples, 0, 0)
        return dataset.with_step(same, recipe or dataset.recipe)
    folder = f"releases/{len(dataset.steps) + 1:04d}-{crawl}"
    out = Store(dataset.store.path(folder))
    if out.exists(release.MANIFEST):
        manifest = release.load(out.fs, out.root)
    else:
        manifest = assemble(sources, out.root, sources[-1][0].url)
    changes = diff.changes(old, new, Release(out.root), _causes(dataset))
    step = Step(crawl, folder, manifest.id, manifest.samples, changes.added, changes.removed)
    diff.write(out, changes, asdict(step), old, run)
    grown = dataset.with_step(step, recipe or dataset.recipe)
    _mask_late(dataset, changes, run)
    return grown


def _new_samples(dataset: Dataset, run: Store) -> list[Finding]:
    """The release of a crawl's run and what of it was taken down while it was milled."""
    if not has_release(run):
        return []
    removals = takedown.remembered(dataset.registry)
    own = release.load(run.fs, run.path(RELEASE)).id
    images = takedown.similar_images(dataset.registry, removals, own)
    return takedown.find([run.path(RELEASE)], removals, images)


def _mask_late(before: Dataset, changes: Changes, run: Store) -> None:
    """Mask in a new version what was taken down while it was written."""
    keys = Tombstones(before.version).keys() if before.version else frozenset()
    late = {key for key in keys if key not in changes.gone}
    added = {key for some in changes.arrived.values() for key in some}
    for finding in _new_samples(before, run):
        late |= added.intersection(finding.keys)
    takedown.mask(changes.version.url, late)


def _causes(dataset: Dataset) -> dict[str, str]:
    """key -> why it was taken down."""
    folders = [(Store(dataset.registry), takedown.RECEIPTS)]
    folders += [(Store(url), release.TAKEDOWNS) for url in dataset.versions]
    return takedown.causes(folders)
