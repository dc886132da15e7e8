"""`download`: ask for every candidate's picture, politely; store bytes in raw tars, facts in rows.

A part's raw tar is published before its rows, which are the commit: a part without rows is done
again and overwrites its tar. Cost grows with the number of candidates; a part uses one core for
decoding and fetches while it does.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO, cast

import pyarrow as pa

from pipeline.core import optout_lists, raw
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.stage import Stage
from pipeline.core.storage import PartSink, Store
from pipeline.core.tables import CANDIDATES, IMAGES
from pipeline.fetch.hosts_table import fold
from pipeline.fetch.known_hosts import KnownHosts
from pipeline.fetch.settings import DownloadSection

__all__ = ["STAGE", "DownloadSection", "build"]

_ROWS_PER_BATCH = 4096


def check(config: DownloadSection) -> object:
    """Refuse a crawl without a contact address, or with files that are not there. Of these files
    opt-out lists alone decide what is stored: their contents are part of the stage's identity."""
    config.require_contact()
    outside: dict[str, object] = {}
    if config.optout_lists:
        # Compiled as well, so that a bad line is told before anything is asked for.
        optout_lists.load(config.optout_lists)
        outside["optouts_sha256"] = optout_lists.identity(config.optout_lists)
    if config.hosts_file:
        from pipeline.fetch.resolver import read_hosts

        read_hosts(config.hosts_file)
    if config.ca_file:
        import ssl

        try:
            ssl.create_default_context(cafile=config.ca_file)
        except OSError as error:
            raise InputError(f"download.ca_file {config.ca_file}: {error}") from None
    return outside


def build(ctx: Context[DownloadSection]) -> list[Account]:
    """Download the parts that are missing, each in a task of its own."""
    ctx.store.sweep(raw.FOLDER)
    folders = ctx.store.fs.ls(ctx.store.path(CANDIDATES.name), detail=False)
    prefix = f"{CANDIDATES.partition}="
    names = [str(folder).rstrip("/").rsplit("/", 1)[-1] for folder in folders]
    parts = sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix))
    at_once = ctx.spark.sparkContext.defaultParallelism
    shares = {domain: min(held, at_once) for domain, held in _split_domains(ctx).items()}
    hosts = Store(ctx.config.hosts_root) if ctx.config.hosts_root else ctx.store
    fold(hosts)
    work = partial(_download, ctx.store, hosts, ctx.config, shares)
    accounts = ctx.run_parts(IMAGES, work, [(part, None) for part in parts])
    fold(hosts)
    return accounts


def _split_domains(ctx: Context[DownloadSection]) -> dict[str, int]:
    """Domains so large that several parts hold them -> how many do."""
    from pyspark.sql import functions as F

    parts = F.size(F.collect_set("part")).alias("parts")
    held = ctx.read(CANDIDATES).groupBy("domain").agg(parts).where("parts > 1")
    return {row["domain"]: row["parts"] for row in held.collect()}


def _download(
    store: Store,
    hosts: Store,
    config: DownloadSection,
    shares: Mapping[str, int],
    part: int,
    payload: None,
    sink: PartSink,
) -> None:
    """One task: download a part."""
    from pipeline.fetch.part import COLUMNS, download_part

    # Rows that are there point into the tar that is there.
    with store.publish(raw.path(part), unless=store.part_file(IMAGES, part)) as file:
        candidates = store.read_part(CANDIDATES, part, COLUMNS)
        known = KnownHosts(hosts, config.user_agent, config.robots_max_age_s)
        result = download_part(candidates, config, cast(BinaryIO, file), shares, known)
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
