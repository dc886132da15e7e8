"""What other recipes would keep of one run, and the pool that this is a part of.

Each recipe is measured and decided over the run's own tables by the stages themselves, in a folder
of its own beside it; nothing is written to the run, and no picture is read. What a recipe keeps is
a view of one release that holds all that may be used (the pool), so that no tar is written anew.
Cost: `measure` and `decide` for each recipe, and `shard` once.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.core.config import Config
from pipeline.core.errors import ConfigError
from pipeline.core.overlay import Overlay
from pipeline.core.records import digest
from pipeline.core.run import run
from pipeline.core.spark_files import is_reached
from pipeline.core.storage import Store
from pipeline.stages import decide, measure, shard
from pipeline.stages.line import LINE
from pipeline.stream import views
from pipeline.stream.views import View

# Of a recipe, what follows from these sections is in the run already.
_MADE_BY = ("match", "score", "cluster")
_BORROWED = LINE[: LINE.index(measure.STAGE)]


def pool(config: Config, held_to: Sequence[str], folder: str) -> str:
    """A release of all that a run downloaded and scored, near-duplicates included; its root.

    config: the recipe of the run. held_to: the filters that hold even here, of those that the
    recipe enables. folder: where it is made, once.
    """
    kept = {name: chosen for name, chosen in config.filters.items() if name in held_to}
    store = _beside(folder, config)
    stages = (measure.STAGE.name, decide.STAGE.name, shard.STAGE.name)
    run(stages, LINE, _on(config, config, kept), store=store)
    return store.path(shard.RELEASE)


def view(config: Config, recipe: Config, name: str, pool: str, folder: str) -> View:
    """What a recipe keeps of a run, as a view of its pool.

    config: the recipe of the run; of the other, `[decide]` and the filters count. name: what the
    recipe is called. pool: root of the release. folder: with a folder for each recipe.
    Raises ConfigError for a recipe that this run cannot answer for.
    """
    refuse_unanswerable(config, recipe, name)
    judged = _on(config, recipe, recipe.filters)
    identity = [judged.identity(stage) for stage in (measure.STAGE, decide.STAGE)]
    store = _beside(f"{folder}/{name}-{digest([identity, pool])}", config)
    run((measure.STAGE.name, decide.STAGE.name), LINE, judged, store=store)
    files = store.path("decisions", "*.parquet").replace("'", "''")
    chosen = f"pair_id IN (SELECT pair_id FROM read_parquet('{files}') WHERE is_kept)"
    return replace(views.select(pool, chosen), condition=name)


def refuse_unanswerable(config: Config, recipe: Config, name: str) -> None:
    """Raise ConfigError where a recipe states something that the run was made otherwise by, or
    that pairs the pool's captions with other pictures."""
    for section in _MADE_BY:
        made, wanted = config.sections[section], recipe.sections[section]
        of_run, of_recipe = made.identity(), wanted.identity()
        for key in sorted(wanted.model_fields_set & of_recipe.keys()):
            if of_recipe[key] != of_run.get(key):
                raise ConfigError(
                    f"{name}: {section}.{key} = {of_recipe[key]!r}, while the run was made by "
                    f"{of_run.get(key)!r}: judge it on a run of its own, or override it in SET="
                )
    decides: Any = recipe.sections[decide.STAGE.name]
    if decides.captions != decide.Captions.OWN:
        raise ConfigError(
            f"{name}: decide.captions = {decides.captions.value!r} gives pictures captions of "
            "others, which the pool does not hold: 'own' can be judged"
        )


def _beside(folder: str, config: Config) -> Overlay:
    """A folder that borrows the run's tables. Raises ConfigError where it cannot."""
    for root in (folder, config.run.root):
        if not is_reached(Store(root)):
            raise ConfigError(
                f"{root} is where Spark does not read by itself: a run is judged on a disk, a NAS, "
                "HDFS, or s3a:// (docs/storage.md)"
            )
    return Overlay(folder, config.run.root, _BORROWED)


def _on(config: Config, recipe: Config, filters: Any) -> Config:
    """The recipe's decision over the run: its sections, with what decides taken from the other."""
    decides = {stage.name: recipe.sections[stage.name] for stage in (measure.STAGE, decide.STAGE)}
    return Config({**config.sections, **decides}, filters)
