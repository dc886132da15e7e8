"""`download`: ask for every candidate's picture, politely; store bytes in raw tars, facts in rows.

A part's raw tar is published before its rows, which are the commit: a part without rows is done
again and overwrites its tar. Cost grows with the number of candidates; a task uses one core for
decoding and fetches while it does, from several parts at once where one leaves places idle. Tasks
share parts, hosts and addresses through a coordinator in the driver.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa

from pipeline.core import optout_lists, raw, records
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.following import Live
from pipeline.core.stage import Stage
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, IMAGES, Table
from pipeline.fetch import adopt
from pipeline.fetch.hosts_table import fold
from pipeline.fetch.known_hosts import KnownHosts
from pipeline.fetch.ledger import NO_WAITS, Waits
from pipeline.fetch.settings import DownloadSection
from pipeline.fetch.tallies import Tallies, clear, tally
from pipeline.stages import adopted, carried, filtered, spread

if TYPE_CHECKING:
    from pipeline.fetch.coordinator import Address
    from pipeline.fetch.part import PartFiles

__all__ = ["STAGE", "DownloadSection", "build"]

_ROWS_PER_BATCH = 4096
# Of rows of `images`: which to ask for again.
Choose = Callable[[pa.RecordBatch], pa.BooleanArray]


def check(config: DownloadSection) -> object:
    """Refuse a crawl without a contact address, or with files that are not there. Of these files
    opt-out lists and known placeholders decide what is stored: the identity holds what they are."""
    config.require_contact()
    outside: dict[str, object] = {}
    if config.optout_lists:
        # Compiled as well, so that a bad line is told before anything is asked for.
        optout_lists.load(config.optout_lists)
        outside["optouts_sha256"] = optout_lists.identity(config.optout_lists)
    if config.placeholder_hashes:
        from pipeline.fetch.placeholders import read_known

        known = read_known(config.placeholder_hashes)
        outside["placeholders"] = records.digest(sorted(digest.hex() for digest in known))
    if config.adopt:
        outside["adopted"] = adopt.identity(config.adopt)
    if config.earlier:
        outside["earlier"] = carried.identity(config.earlier)
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
    """Download the parts that are missing: one task on each core, which takes part after part."""
    ctx.store.sweep(raw.FOLDER)
    _forget_lost(ctx.store)
    found, folder = [], None
    if ctx.config.adopt:
        found, folder = adopted.index(ctx), adopt.list_shards(ctx.config.adopt)[0]
    left_out, earlier = filtered.note(ctx), carried.note(ctx)
    open_ = partial(
        open_part,
        ctx.store,
        folder=folder,
        left_out=left_out,
        earlier=earlier,
        waits=ctx.config.waits,
    )
    live = Live("images", Tallies(ctx.store).grown)
    at_once = ctx.config.open_parts
    accounts = ctx.run_lanes(
        IMAGES, partial(sharing, ctx, open_), ctx.store.folders(CANDIDATES), live, at_once
    )
    clear(ctx.store)
    images = spread.mark_spread(ctx) or [a for a in accounts if a.unit == "images"]
    return [*images, *found, *(a for a in accounts if a.unit == carried.TAKEN_OVER)]


def _forget_lost(store: Store) -> None:
    """Forget the rows of parts whose raw tar is gone, so that they are downloaded anew."""
    if not store.exists(raw.FOLDER):
        return
    tars = {str(f).rsplit("/", 1)[-1] for f in store.fs.ls(store.path(raw.FOLDER), detail=False)}
    for part, file in store.committed(IMAGES).items():
        if raw.path(part).rsplit("/", 1)[-1] not in tars:
            store.fs.rm(file)


@contextmanager
def sharing(
    ctx: Context[DownloadSection], open_: "Callable[[int], PartFiles]", parts: Sequence[int]
) -> "Iterator[Callable[[int], None]]":
    """What the tasks that download some parts share, while the block runs; the work of one task.

    open_: opens a part by its number; picklable. Raises InputError when names cannot be resolved.
    """
    from pipeline.fetch.coordinator import Coordinator

    conf = ctx.spark.sparkContext.getConf()
    host = conf.get("spark.driver.host") or "127.0.0.1"
    bind = conf.get("spark.driver.bindAddress")
    _check_names(ctx, parts)
    hosts = Store(ctx.config.hosts_root) if ctx.config.hosts_root else ctx.store
    fold(hosts)
    with Coordinator(parts, ctx.config, host, bind) as coordinator:
        yield partial(_lane, ctx.store, hosts, open_, ctx.config, coordinator.address)
    fold(hosts)


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
        first = next(iter(ctx.store.read_part(CANDIDATES, part, ["image_id", "url"])), None)
        urls = adopted.not_in(ctx.store, part, first) if first is not None else []
        hosts |= dict.fromkeys(host_names(urls, -(-NAMES // len(chosen))))
    check_names(name_servers(ctx.config), list(hosts))


def _lane(
    store: Store,
    hosts: Store,
    open_: "Callable[[int], PartFiles]",
    config: DownloadSection,
    coordinator: "Address",
    lane: int,
) -> None:
    """One task: download parts until none is left."""
    from pipeline.fetch.flow import download_parts

    known = KnownHosts(hosts, config.user_agent, config.robots_max_age_s)
    with tally(store, lane) as ended:
        download_parts(open_, config, coordinator, known, ended)


def open_part(
    store: Store,
    part: int,
    choose: Choose | None = None,
    folder: str | None = None,
    left_out: Table | None = None,
    earlier: Sequence[str] = (),
    waits: Waits = NO_WAITS,
) -> "PartFiles":
    """A part of a run as the downloader takes it. Its raw tar is published before its rows.

    choose: with it, the part has been downloaded before, and those of its rows are asked for again
    for which it is true: they get a raw tar of their own and new rows, the part's next round.
    folder: what `adopted.places` are relative to; without it nothing is adopted.
    left_out: the table of candidates that are not to be asked for (see `stages.filtered`).
    earlier: run folders, of what `carried` has noted. waits: of what failed in these.
    """
    from pipeline.fetch.part import COLUMNS, PartFiles, PartResult

    opened_at = time.time()
    round_ = 0 if choose is None else store.part_round(IMAGES, part) + 1
    known: dict[bytes, dict[str, Any]] = {}
    due: set[bytes] = set()
    for batch in store.read_part(IMAGES, part) if choose is not None else ():
        known |= {row["image_id"]: row for row in batch.to_pylist()}
        assert choose is not None
        due.update(batch.filter(choose(batch)).column("image_id").to_pylist())
    # Rows that are there point into the tar that is there.
    is_done = partial(store.has_round, IMAGES, part, round_)
    open_tar = ExitStack()
    file = open_tar.enter_context(store.publish(raw.path(part, round_), unless=is_done))

    def publish(result: PartResult) -> None:
        open_tar.close()
        with store.publish_part(IMAGES, part, round_) as sink:
            sink.started_at = opened_at
            sink.bytes_beside = sum(row["raw_bytes"] or 0 for row in result.rows)
            for start in range(0, len(result.rows), _ROWS_PER_BATCH):
                rows: list[dict[str, Any]] = result.rows[start : start + _ROWS_PER_BATCH]
                sink.write(
                    pa.Table.from_pylist([row | {"part": part} for row in rows], IMAGES.schema)
                )
            sink.accounts.append(result.account)
            if choose is not None:
                sink.accounts.append(result.asked)
            elif earlier:
                sink.accounts.append(carried.account_of(result.rows, known.keys() - due))

    def discard() -> None:
        with suppress(_Discarded):
            open_tar.__exit__(_Discarded, _Discarded(), None)

    candidates = store.read_part(CANDIDATES, part, COLUMNS)
    places = adopted.places(store, part, folder) if folder is not None else {}
    raw_file = cast(BinaryIO, file)
    reasons = filtered.reasons_in(store, part, left_out)
    written = 0
    if choose is None and earlier:
        tar = raw.RawTar(raw_file)
        known = carried.take_over(store, part, earlier, tar, reasons)
        due, written = carried.due_of(known.values(), waits), tar.end
    return PartFiles(
        candidates, raw_file, publish, discard, round_, known, due, places, reasons, written
    )


class _Discarded(Exception):
    """The part is not to be published."""


STAGE = Stage(
    name="download",
    reads=(CANDIDATES,),
    writes=(IMAGES,),
    config=DownloadSection,
    build=build,
    uses=("filters_first",),
    folders=(
        raw.FOLDER,
        adopt.PLACES.name,
        adopt.ADOPTED.name,
        spread.SPREAD.name,
        carried.CARRIED.name,
        filtered.FILTERED.name,
    ),
    check=check,
    settled_by={"filters_first": "retry"},
)
