"""`retry` and `recheck`: some pictures of a finished download are asked for again.

`retry` takes failures that may pass, each from its `retry_at` on; what failed for good is never
asked for again. `recheck` asks whether stored pictures are still as they were, by ETag and
Last-Modified. Either replaces the rows of a part whole, and puts new bytes beside the old ones in a
raw tar of its own, so that a kill at any point leaves whole parts, and the same command goes on.
The stages behind are done again by the next run. Cost grows with what is due, and with the rows
(not the bytes) of parts that hold some of it.
"""

import time
from collections.abc import Sequence
from functools import partial

from pipeline.core import raw
from pipeline.core.accounts import Account
from pipeline.core.amendment import Amendment
from pipeline.core.context import Context
from pipeline.core.storage import Store
from pipeline.core.tables import IMAGES
from pipeline.fetch.ledger import ASKED_AGAIN, DECIDED_BY, due_for_recheck, due_for_retry
from pipeline.fetch.settings import DownloadSection
from pipeline.stages.download import Choose, open_part, sharing
from pipeline.stages.spread import mark_spread


def retry(config: DownloadSection) -> Amendment[DownloadSection]:
    """Ask again for failures that are due: kept of `asked again` are those that are stored now."""
    return _again("retry", partial(due_for_retry, now=int(time.time())))


def recheck(config: DownloadSection) -> Amendment[DownloadSection]:
    """Ask whether pictures that were last seen `recheck_after_s` ago are still there: kept of
    `asked again` are those that are as they were."""
    before = int(time.time() - config.recheck_after_s)
    return _again("recheck", partial(due_for_recheck, before=before))


def _again(name: str, choose: Choose) -> Amendment[DownloadSection]:
    return Amendment(name, partial(_parts_due, choose), partial(_ask_again, choose))


def _parts_due(choose: Choose, store: Store) -> list[int]:
    """The parts that hold something due."""
    return [
        part
        for part in store.committed(IMAGES)
        if any(choose(batch).true_count for batch in store.read_part(IMAGES, part, DECIDED_BY))
    ]


def _ask_again(
    choose: Choose, ctx: Context[DownloadSection], parts: Sequence[int]
) -> list[Account]:
    """Ask again for the rows that are chosen. The accounts: of all images, of those asked for."""
    ctx.store.sweep(raw.FOLDER)
    open_ = partial(open_part, ctx.store, choose=choose)
    ctx.amend_lanes(IMAGES, partial(sharing, ctx, open_), parts)
    if parts:
        mark_spread(ctx)
    images, asked = Account("images"), Account(ASKED_AGAIN)
    for part in ctx.store.committed(IMAGES):
        for account in ctx.store.part_accounts(IMAGES, part):
            if account.unit == images.unit:
                images.add(account)
            elif part in parts:
                asked.add(account)
    return [images, asked]
