"""`score`, one part in a task: its device, its models' precision, and what it writes."""

from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.embeddings import MODELS
from pipeline.core.errors import ConfigError
from pipeline.core.reasons import DropReason
from pipeline.core.storage import PartSink, Superseded
from pipeline.core.tables import EMBEDDINGS, Table
from pipeline.score import clip
from pipeline.score.captions import Captions
from pipeline.score.embed import embed_pictures
from pipeline.score.fresh import Job
from pipeline.score.inputs import INPUTS
from pipeline.stages.score_section import ScoreSection, picture_scores_of, scorers_of, specs_of

SCORERS = "picture_scores/_scorers.json"


@dataclass(frozen=True)
class PartWork:
    """What every task does. Picklable. job: without its device. picture_scores: its table."""

    job: Job
    device: str
    picture_scores: Table


def plan(ctx: Context[ScoreSection]) -> PartWork:
    """How this run's parts are embedded: the same for all of them, and for a run that goes on.

    The first time it is written beside the embeddings, with the precision that "auto" is on a
    worker. Raises ConfigError when what lies there is of other models.
    """
    section, store = ctx.config, ctx.store
    specs, scorers = specs_of(section), scorers_of(section)
    if not store.exists(MODELS):
        precision = _on_a_worker(ctx) if any(s.precision == "auto" for s in specs) else "fp32"
        models = {spec.name: spec.resolved(precision).identity() for spec in specs}
        cores = int(str(ctx.spark.sparkContext.getConf().get("spark.task.cpus", "1")))
        threads = section.threads or cores
        store.write_json(MODELS, {"models": models, "threads": threads})
    known = store.read_json(MODELS)
    fixed = tuple(s.resolved(known["models"].get(s.name, {}).get("precision")) for s in specs)
    if known["models"] != {spec.name: spec.identity() for spec in fixed}:
        raise ConfigError(
            f"{store.path(EMBEDDINGS.name)} holds embeddings of other models ({MODELS}); use "
            "another run.root, or --redo"
        )
    if scorers.pixels and not store.exists(SCORERS):
        store.write_json(SCORERS, pixel_identity(section))
    threads = known["threads"]
    decoders = section.decoders or max(threads, 2)
    job = Job(store, fixed, scorers, section.batch_size, threads, decoders)
    return PartWork(job, section.device, picture_scores_of(ctx.sections))


def pixel_identity(section: ScoreSection) -> dict[str, Any]:
    """What the numbers of pixel scorers depend on: scorer, by its columns."""
    pixels = scorers_of(section).pixels
    return replace(scorers_of(section), heads=(), pixels=pixels).check()


def _on_a_worker(ctx: Context[ScoreSection]) -> clip.Precision:
    """The precision that the models run in where tasks run."""
    tasks = ctx.spark.sparkContext.parallelize([ctx.config.device], 1)
    return tasks.map(_precision).collect()[0]


def _precision(device: str) -> clip.Precision:
    return clip.precision_on(device_of_task(device))


def device_of_task(device: str) -> str:
    """The GPU that Spark gave this task where it schedules them, else what the config says."""
    from pyspark import TaskContext

    context = TaskContext.get()
    given = context.resources().get("gpu") if context and device == "auto" else None
    return f"cuda:{given.addresses[0]}" if given else device


def embed_part(work: PartWork, part: int, _: None, sink: PartSink) -> None:
    """Embed the pictures and captions of one part of INPUTS into `sink`; publish its part of
    PICTURE_SCORES first, where there are scorers.

    Raises InputError when the part's tar or the weights are missing.
    """
    device = device_of_task(work.device)
    job = replace(work.job, device=device, is_apart=clip.is_gpu(device))
    pictures, captions = Account("pictures"), Account("captions")
    vectors, new = Account("vectors"), Account("new_vectors")
    sink.accounts = [pictures, captions, vectors, new]
    scored = work.picture_scores if job.scorers.fields else None
    with ExitStack() as stack:
        scores = None
        if scored is not None:
            # An attempt that was killed between the two has published this one already.
            stack.enter_context(suppress(Superseded))
            scores = stack.enter_context(job.store.publish_part(scored, part))
        if not job.store.exists(f"{INPUTS.name}/{INPUTS.partition}={part}"):
            return  # nothing to embed: no picture arrived, and no caption falls to this part
        rows = pa.Table.from_batches(job.store.read_part(INPUTS, part))
        images, texts = (
            rows.filter(pc.equal(rows.column("kind"), kind)).combine_chunks()
            for kind in ("image", "text")
        )
        schema = None if scored is None else scored.schema
        texts_ahead = stack.enter_context(Captions(job, texts))
        for account, windows in (
            (pictures, embed_pictures(job, part, images, schema)),
            (captions, iter(texts_ahead)),
        ):
            for window in windows:
                for table in window.embeddings:
                    sink.write(table)
                if scores is not None and window.scores is not None:
                    scores.write(window.scores)
                account.keep(window.rows - window.unreadable)
                account.drop(DropReason.UNREADABLE_PICTURE, window.unreadable)
                vectors.keep(window.made + window.held)
                new.keep(window.made)


def run(ctx: Context[ScoreSection], work: PartWork, parts: list[int]) -> list[Account]:
    """Embed the parts that are missing; the accounts of all."""
    return ctx.run_parts(EMBEDDINGS, partial(embed_part, work), [(part, None) for part in parts])
