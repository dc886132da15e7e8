"""Rates and ratios of a finished run, to plan a larger one of the same kind with.

Run a sample of a hundredth, and plan the rest: `make plan RUN=runs/sample PAIRS=10e9 CLUSTER=...`.
"""

import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import fsspec

from pipeline.core.errors import InputError
from pipeline.core.reasons import Status
from pipeline.core.stage import Stage
from pipeline.core.storage import Store
from pipeline.match import blocks
from pipeline.stages.line import LINE
from pipeline.stages.plan import Recipe, model_factor, vectors
from pipeline.stages.plan_files import Rates, Ratios, StageRate
from pipeline.stats.funnel import ORDER
from pipeline.stats.summary import Run

# What a stage reads beside tables.
_RAW_READERS = ("score", "shard")
# Known before anything is asked for, so that these images cost no request.
_NOT_ASKED = (
    Status.OPTED_OUT,
    Status.ROBOTS,
    Status.BAD_URL,
    Status.PRIVATE_ADDRESS,
    Status.FILTERED,
    Status.HOST_GIVEN_UP,
    Status.HOST_FORBIDS,
)
# Archives whose size is asked for.
_SIZED_ARCHIVES = 20
# Where starting is nearly all of what a stage took, its rate is taken to be at least this of it.
_LEAST_SHARE = 0.05


def measured_rates(root: str, base: Rates) -> Rates:
    """What the run in a folder gives. base: for what no run tells (the start of each stage, prices
    of block tables, the weight of a caption).

    Raises InputError when a stage is not finished there, or was run without noting what it took.
    """
    run = Run(root)
    records = {record["stage"]: record for record in run.records if record["state"] == "done"}
    missing = [name for name in ORDER if name not in records]
    if missing:
        raise InputError(
            f"{run.store.root}: {', '.join(missing)} not finished; finish the run first"
        )
    counts = _counts(records)
    ratios = _ratios(run, records, counts)
    units = counts | {"vectors": vectors(counts, base)}
    recipe = recipe_of(records)
    stages = {
        stage.name: _rate(run.store, stage, records[stage.name], units, base, recipe)
        for stage in LINE
    }
    return base.model_copy(
        update={
            "ratios": ratios,
            "stages": stages,
            "score_models": recipe.models,
            "match_radius": recipe.radius,
        }
    )


def recipe_of_run(root: str) -> Recipe:
    """The recipe that a run was made by."""
    return recipe_of({record["stage"]: record for record in Run(root).records})


def recipe_of(records: Mapping[str, dict[str, Any]]) -> Recipe:
    """The same of its stages' records by name."""
    score = records["score"]["config"]["score"]
    further = [model["model"] for model in score["models"].values()]
    return Recipe(
        radius=int(records["match"]["config"]["match"]["radius"]),
        models=(score["model"], *further),
        has_cluster=bool(records["cluster"]["accounts"]),
    )


def counts_of(root: str) -> dict[str, float]:
    """Quantities as in `plan.quantities`, as a run counted them."""
    return _counts({record["stage"]: record for record in Run(root).records})


def _counts(records: Mapping[str, dict[str, Any]]) -> dict[str, float]:
    def of(stage: str, unit: str, what: str) -> float:
        accounts = records[stage]["accounts"]
        return float(next((a[what] for a in accounts if a["unit"] == unit), 0))

    images = next(a for a in records["download"]["accounts"] if a["unit"] == "images")
    return {
        "records": of("extract", "records", "in"),
        "pairs": of("dedupe", "pairs", "in"),
        "images": of("dedupe", "images", "kept"),
        "asked": images["in"] - sum(images["dropped"].get(str(reason), 0) for reason in _NOT_ASKED),
        "downloaded": images["kept"],
        "pictures": of("match", "pictures", "kept"),
        "scored_pictures": of("score", "pictures", "kept"),
        "scored_captions": of("score", "captions", "kept"),
        "measured": of("measure", "pairs", "kept"),
        "kept": of("decide", "pairs", "kept"),
    }


def _ratios(run: Run, records: Mapping[str, dict[str, Any]], counts: dict[str, float]) -> Ratios:
    zero = [name for name, count in counts.items() if not count]
    if zero:
        raise InputError(f"{run.store.root} has no {', '.join(zero)}: nothing can be planned by it")
    sizes = run.sql("SELECT avg(body_bytes) AS mean FROM images WHERE status = 'ok'").to_pylist()[0]
    shares = run.sql(
        "SELECT max(n) / sum(n) AS largest FROM "
        "(SELECT count(*) AS n FROM candidates GROUP BY domain)"
    ).to_pylist()[0]

    def share(of: str, over: str) -> float:
        return counts[of] / counts[over]

    archives = records["extract"]["config"].get("outside", [])
    return Ratios(
        source=f"the run in {run.store.root}",
        records_per_pair=share("records", "pairs"),
        archive_bytes_per_pair=_archive_bytes(archives) / counts["pairs"],
        images_per_pair=share("images", "pairs"),
        asked_per_image=share("asked", "images"),
        downloaded_per_image=share("downloaded", "images"),
        body_bytes=sizes["mean"],
        pictures_per_downloaded=share("pictures", "downloaded"),
        scored_pictures_per_downloaded=share("scored_pictures", "downloaded"),
        measured_per_downloaded=share("measured", "downloaded"),
        scored_captions_per_measured=share("scored_captions", "measured"),
        kept_per_measured=share("kept", "measured"),
        largest_domain=float(shares["largest"]),
    )


def _archive_bytes(archives: list[Any]) -> float:
    """Of all of them, by the sizes of some; 0 where none can be asked for its size."""
    told = [entry[1] for entry in archives if isinstance(entry, list)]
    if told:
        return float(sum(told))
    chosen = random.Random(0).sample(archives, min(len(archives), _SIZED_ARCHIVES))
    sizes = []
    for path in chosen:
        with suppress(Exception):  # of whichever file system it is on; then nothing is known of it
            fs, name = fsspec.core.url_to_fs(path)
            sizes.append(fs.size(name) or 0)
    return sum(sizes) / len(sizes) * len(archives) if sizes else 0.0


def _rate(
    store: Store,
    stage: Stage,
    record: Mapping[str, Any],
    units: Mapping[str, float],
    base: Rates,
    recipe: Recipe,
) -> StageRate:
    # Where the models' work on a GPU is not known, they are planned on cores.
    gpu_factor = model_factor(recipe.models, base.score_models) or 0.0
    known = base.stages[stage.name]
    took = record.get("cpu_seconds", record.get("task_seconds"))
    if took is None:
        raise InputError(
            f"{store.root}: {stage.name} has not noted what it took, as runs of earlier versions; "
            f"do it again (--redo)"
        )
    what = "CPU seconds" if "cpu_seconds" in record else "seconds of tasks, waits included"
    doubt = "; mostly its start: a larger run says more" if took < 2 * known.start_core_s else ""
    count = units[known.per]
    shuffled = float(record["shuffle_bytes"])
    work = max(took - known.start_core_s, _LEAST_SHARE * took)
    if stage.name == "match" and count >= 2:
        prices = blocks.Rates(base.row_s, base.comparison_s)
        tables = blocks.choose_plan(int(count), recipe.radius)
        work = max(work - tables.seconds(int(count), prices), 0.0)
        shuffled = max(shuffled - tables.shuffle_bytes(int(count)), 0.0)
    reads = [table.name for table in stage.reads]
    reads += ["raw"] if stage.name in _RAW_READERS else []
    writes = [*(table.name for table in stage.writes), *stage.folders]
    return StageRate(
        per=known.per,
        source=f"{took:,.0f} {what} for {count:,.0f} {known.per}{doubt}",
        core_s=work / count**known.power,
        start_core_s=known.start_core_s,
        power=known.power,
        gpu_s=known.gpu_s * gpu_factor,
        gpu_core_s=known.gpu_core_s,
        shuffle_bytes=shuffled / count,
        read_bytes=_bytes(store, reads) / count,
        kept_bytes=_bytes(store, writes) / count,
    )


def _bytes(store: Store, names: list[str]) -> float:
    return float(sum(store.fs.du(store.path(name)) for name in names if store.exists(name)))
