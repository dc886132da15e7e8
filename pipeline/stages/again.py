"""`retry` and `recheck`: some pictures of a finished download are asked for again.

`retry` takes failures that may pass, each from its `retry_at` on; what failed for good is never
asked for again. `recheck` asks whether stored pictures are still as they were, by ETag and
Last-Modified. Either replaces the rows of a part whole, and puts new bytes beside the old ones in a
raw tar of its own, so that a kill at any point leaves whole parts, and the same command goes on.
The stages behind are done again by the next run. Cost grows with what is due, and with the rows
(not the bytes) of parts that hold some of it.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pipeline.core import raw
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES
from pipeline.fetch.ledger import ASKED_AGAIN, is_due_for_recheck, is_due_for_retry
from pipeline.fetch.settings import DownloadSection
from pipeline.stages.download import open_part, sharing

_DECIDED_BY = ["status", "retry_at", "fetched_at"]

Choose = Callable[[Mapping[str, Any]], bool]


def retry(ctx: Context[DownloadSection]) -> list[Account]:
    """Ask again for failures that are due: kept of `asked again` are those that are stored now."""
    return _again(ctx, partial(_is_due, is_due_for_retry, int(time.time())))


def recheck(ctx: Context[DownloadSection]) -> list[Account]:
    """Ask whether pictures that were last seen `recheck_after_s` ago are still there: kept of
    `asked again` are those that are as they were."""
    before = int(time.time() - ctx.config.recheck_after_s)
    return _again(ctx, partial(_is_due, is_due_for_recheck, before))


def _is_due(
    rule: Callable[[Mapping[str, Any], int], bool], at: int, row: Mapping[str, Any]
) -> bool:
    return rule(row, at)


def _again(ctx: Context[DownloadSection], choose: Choose) -> list[Account]:
    """Ask again for the rows that are chosen. The accounts: of all images, of those asked for."""
    ctx.store.sweep(raw.FOLDER)
    committed = ctx.store.committed(IMAGES)
    parts = [part for part in committed if _holds_due(ctx.store, part, choose)]
    open_ = partial(open_part, ctx.store, choose=choose)
    ctx.amend_lanes(IMAGES, partial(sharing, ctx, open_), parts)
    images, asked = Account("images"), Account(ASKED_AGAIN)
    for part in committed:
        for account in ctx.store.part_accounts(IMAGES, part):
            if account.unit == images.unit:
                images.add(account)
            elif part in parts:
                asked.add(account)
    return [images, asked]


def _holds_due(store: Store, part: int, choose: Choose) -> bool:
    batches = store.read_part(IMAGES, part, _DECIDED_BY)
    return any(choose(row) for batch in batches for row in batch.to_pylist())
