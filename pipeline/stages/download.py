"""`download`: ask for every candidate's picture, politely; store bytes in raw tars, facts in rows.

A part's raw tar is published before its rows, which are the commit: a part without rows is done
again and overwrites its tar. Cost grows with the number of candidates; a part uses one core for
decoding and fetches while it does.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO, cast

import pyarrow as pa
import structlog

from pipeline.core import raw
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import InputError, PairmillError
from pipeline.core.stage import Stage
from pipeline.core.storage import PartSink, Store
from pipeline.core.tables import CANDIDATES, IMAGES
from pipeline.fetch.settings import DownloadSection

__all__ = ["STAGE", "DownloadSection", "build"]

_ROWS_PER_BATCH = 4096


def check(config: DownloadSection) -> object:
    """Refuse a crawl without a contact address, or with files that are not there. These files are
    no part of what a picture is, so the stage's identity does not hold them."""
    config.require_contact()
    if config.hosts_file:
        from pipeline.fetch.resolver import read_hosts

        read_hosts(config.hosts_file)
    if config.ca_file:
        import ssl

        try:
            ssl.create_default_context(cafile=config.ca_file)
        except OSError as error:
            raise InputError(f"download.ca_file {config.ca_file}: {error}") from None
    return {}


def build(ctx: Context[DownloadSection]) -> list[Account]:
    """Download the parts that are missing, each in a task of its own."""
    ctx.store.sweep(raw.FOLDER)
    folders = ctx.store.fs.ls(ctx.store.path(CANDIDATES.name), detail=False)
    prefix = f"{CANDIDATES.partition}="
    names = [str(folder).rstrip("/").rsplit("/", 1)[-1] for folder in folders]
    parts = sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix))
    at_once = ctx.spark.sparkContext.defaultParallelism
    shares = {domain: min(held, at_once) for domain, held in _split_domains(ctx).items()}
    done = ctx.store.committed(IMAGES)
    _check_names(ctx, [part for part in parts if part not in done])
    work = partial(_download, ctx.store, ctx.config, shares)
    with _alarmed(ctx):
        return ctx.run_parts(IMAGES, work, [(part, None) for part in parts])


def _check_names(ctx: Context[DownloadSection], missing: Sequence[int]) -> None:
    """Try some of the names that are about to be asked for. With a hosts file there is no DNS to be
    broken, and addresses need none."""
    if ctx.config.hosts_file or not ctx.config.check_dns:
        return
    from pipeline.fetch.check_names import NAMES, check_names, host_names
    from pipeline.fetch.resolver import name_servers

    hosts: dict[str, None] = {}
    chosen = missing[:NAMES]
    for part in chosen:
        first = next(iter(ctx.store.read_part(CANDIDATES, part, ["url"])), None)
        urls = first.column("url").to_pylist() if first is not None else []
        hosts |= dict.fromkeys(host_names(urls, -(-NAMES // len(chosen))))
    check_names(name_servers(ctx.config), list(hosts))


@contextmanager
def _alarmed(ctx: Context[DownloadSection]) -> Iterator[None]:
    """Tell the user when too little succeeds, and with `alarm = "stop"` end the stage: finished
    parts are kept. Raises PairmillError then."""
    if ctx.config.alarm == "off":
        yield
        return
    from pipeline.fetch.alarm import watching

    rung: list[str] = []

    def ring(line: str) -> None:
        rung.append(line)
        structlog.get_logger().warning("alarm", stage=ctx.stage, text=line)
        if ctx.config.alarm == "stop":
            ctx.spark.sparkContext.cancelAllJobs()
        else:
            print(f"{ctx.stage}: warning: {line}", file=sys.stderr, flush=True)

    try:
        with watching(ctx.store, ctx.config, ring):
            yield
    except Exception as error:
        if ctx.config.alarm == "stop" and rung:
            raise PairmillError(
                f'{ctx.stage}: stopped by download.alarm = "stop": {rung[0]}; the same command '
                "again goes on where it stopped"
            ) from error
        raise


def _split_domains(ctx: Context[DownloadSection]) -> dict[str, int]:
    """Domains so large that several parts hold them -> how many do."""
    from pyspark.sql import functions as F

    parts = F.size(F.collect_set("part")).alias("parts")
    held = ctx.read(CANDIDATES).groupBy("domain").agg(parts).where("parts > 1")
    return {row["domain"]: row["parts"] for row in held.collect()}


def _download(
    store: Store,
    config: DownloadSection,
    shares: Mapping[str, int],
    part: int,
    payload: None,
    sink: PartSink,
) -> None:
    """One task: download a part."""
    from pipeline.fetch.alarm import tally
    from pipeline.fetch.part import COLUMNS, download_part

    # Rows that are there point into the tar that is there.
    with (
        store.publish(raw.path(part), unless=store.part_file(IMAGES, part)) as file,
        tally(store, part) as ended,
    ):
        candidates = store.read_part(CANDIDATES, part, COLUMNS)
        result = download_part(candidates, config, cast(BinaryIO, file), shares, ended)
    for start in range(0, len(result.rows), _ROWS_PER_BATCH):
        rows: list[dict[str, Any]] = result.rows[start : start + _ROWS_PER_BATCH]
        sink.write(pa.Table.from_pylist([row | {"part": part} for row in rows], IMAGES.schema))
    sink.accounts.append(result.account)


STAGE = Stage(
    name="download",
    reads=(CANDIDATES,),
    writes=(IMAGES,),
    config=DownloadSection,
    build=build,
    folders=(raw.FOLDER,),
    check=check,
)
