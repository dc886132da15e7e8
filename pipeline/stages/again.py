"""`retry` and `recheck`: some pictures of a finished download are asked for again.

`retry` takes failures that may pass, each when its wait is over, and what filters before the
download left out and would not any more; what failed for good is never asked for again. `recheck`
asks whether stored pictures are still as they were, by ETag and Last-Modified. Either replaces the
rows of a part whole, and puts new bytes beside the old ones in a raw tar of its own, so that a kill
at any point leaves whole parts, and the same command goes on. The stages behind are done again by
the next run. Cost grows with what is due, and with the rows (not the bytes) of parts that hold some
of it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import raw
from pipeline.core.accounts import Account
from pipeline.core.amendment import Amendment
from pipeline.core.context import Context
from pipeline.core.filter import Filter
from pipeline.core.following import Live
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES, Table
from pipeline.fetch.ledger import (
    ASKED_AGAIN,
    DECIDED_BY,
    Waits,
    due_for_recheck,
    due_for_retry,
    retry_times,
)
from pipeline.fetch.settings import DownloadSection
from pipeline.fetch.tallies import Tallies, clear
from pipeline.stages import filtered
from pipeline.stages.download import Choose, open_part, sharing
from pipeline.stages.spread import mark_spread

if TYPE_CHECKING:
    from pipeline.fetch.part import PartFiles

# Of a part: which of its rows to ask for again. Picklable.
Choosing = Callable[[Store, int], Choose]


def retry(config: DownloadSection, filters: Mapping[str, Filter]) -> Amendment[DownloadSection]:
    """Ask again for failures that are due, and for what the filters do not leave out any more: kept
    of `asked again` are those that are stored now."""
    left_out = filtered.table_of(config, filters)
    choosing = partial(_due_or_let_in, left_out, int(time.time()), config.waits)
    later = partial(_due_later, config.waits)
    return replace(_again("retry", choosing, left_out), settle=filtered.note, later=later)


def recheck(config: DownloadSection, _: Mapping[str, Filter]) -> Amendment[DownloadSection]:
    """Ask whether pictures that were last seen `recheck_after_s` ago are still there: kept of
    `asked again` are those that are as they were. Filters have no say in it."""
    choose = partial(due_for_recheck, before=int(time.time() - config.recheck_after_s))
    return _again("recheck", partial(_the_same, choose))


def _the_same(choose: Choose, _: Store, __: int) -> Choose:
    return choose


def _due_or_let_in(
    left_out: Table | None, now: int, waits: Waits, store: Store, part: int
) -> Choose:
    reasons = filtered.reasons_in(store, part, left_out)
    still_out = pa.array(list(reasons), pa.binary())

    def choose(rows: pa.RecordBatch) -> pa.BooleanArray:
        return pc.or_(due_for_retry(rows, now, waits), filtered.let_in(rows, still_out))

    return choose


def _due_later(waits: Waits, store: Store) -> str:
    """Of failures that may pass: how many there are, and when the first one is due."""
    count, first = 0, None
    for part in store.committed(IMAGES):
        for rows in store.read_part(IMAGES, part, DECIDED_BY):
            times = retry_times(rows, waits)
            count += len(times) - times.null_count
            first = min((t for t in (first, pc.min(times).as_py()) if t is not None), default=None)
    if first is None:
        return "no failure may pass"
    told = time.strftime("%F %T UTC", time.gmtime(first))
    return (
        f"{count:,} failures may pass, the first is due at {told}, as download.retry_wait_s = "
        f"{waits.first_s:g} or its host says"
    )


def _again(
    name: str, choosing: Choosing, left_out: Table | None = None
) -> Amendment[DownloadSection]:
    build = partial(_ask_again, partial(_open, choosing, left_out))
    return Amendment(name, partial(_parts_due, choosing), build)


def _open(choosing: Choosing, left_out: Table | None, store: Store, part: int) -> "PartFiles":
    return open_part(store, part, choosing(store, part), left_out=left_out)


def _parts_due(choosing: Choosing, store: Store) -> list[int]:
    """The parts that hold something due."""
    return [part for part in store.committed(IMAGES) if _is_due(choosing, store, part)]


def _is_due(choosing: Choosing, store: Store, part: int) -> bool:
    choose = choosing(store, part)
    return any(choose(batch).true_count for batch in store.read_part(IMAGES, part, DECIDED_BY))


def _ask_again(
    open_: Callable[[Store, int], "PartFiles"],
    ctx: Context[DownloadSection],
    parts: Sequence[int],
) -> list[Account]:
    """Ask again for the rows that are chosen. The accounts: of all images, of those asked for."""
    ctx.store.sweep(raw.FOLDER)
    live = Live("images", Tallies(ctx.store).grown)
    ctx.amend_lanes(IMAGES, partial(sharing, ctx, partial(open_, ctx.store)), parts, live)
    clear(ctx.store)
    if parts:
        mark_spread(ctx)
    images, asked = Account("images"), Account(ASKED_AGAIN)
    for account in ctx.accounts(IMAGES, list(ctx.store.committed(IMAGES))):
        if account.unit == images.unit:
            images.add(account)
    for account in ctx.accounts(IMAGES, parts):
        if account.unit == asked.unit:
            asked.add(account)
    return [images, asked]
