"""What is known of pictures that were asked for before: which to ask for again, and what stands
then."""

import math
import random
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.accounts import Account
from pipeline.core.reasons import Status

Row = dict[str, Any]

# Columns of `images` that say what is due.
DECIDED_BY = ["image_id", "status", "downloads", "fetched_at", "retry_after_s"]
ASKED_AGAIN = "asked again"
# Reasons beside the statuses.
CHANGED = "changed"  # it is another picture now, which is stored
NOT_REACHED = "not_reached"  # it could not be asked for just now; what is stored stays
_MAY_PASS = [str(status) for status in Status if status.is_transient]
# The first wait doubles with each download. No wait is longer than a week.
_MAX_WAIT_S = 7 * 86_400


class Known(NamedTuple):
    """What is known of a candidate. downloads: how often it was tried. sha256, etag, last_modified,
    final_url: of the picture that is stored, None when there is none. is_released: it is asked only
    whether it is there and may be used, not for its bytes."""

    downloads: int = 0
    sha256: bytes | None = None
    etag: str | None = None
    last_modified: str | None = None
    final_url: str | None = None
    is_released: bool = False


UNKNOWN = Known()


def whole_seconds(retry_after_s: float | None) -> int | None:
    """A host's Retry-After as `images` keeps it."""
    return None if retry_after_s is None else min(math.ceil(retry_after_s), 2**31 - 1)


class Waits(NamedTuple):
    """How long failures that may pass are left alone. first_s: after the first download, doubled
    with each further one. downloads: in all."""

    first_s: float
    downloads: int


NO_WAITS = Waits(0.0, 0)  # nothing is asked for again


def retry_at(
    status: Status,
    image_id: bytes,
    downloads: int,
    fetched_at: int,
    retry_after_s: float | None,
    waits: Waits,
) -> int | None:
    """When to ask again, Unix time in seconds; None for never.

    status: how download number `downloads` ended. retry_after_s: the host's own word, which counts
    when it is later. Waits are up to a quarter longer than told, by the image's id, so that a host
    is not asked for all at once.
    """
    if not status.is_transient or downloads >= waits.downloads:
        return None
    wait_s = min(waits.first_s * 2.0 ** (downloads - 1), _MAX_WAIT_S)
    wait_s *= 1 + random.Random(bytes(image_id)).random() / 4
    return fetched_at + round(max(wait_s, retry_after_s or 0.0))


def retry_times(rows: pa.RecordBatch, waits: Waits) -> pa.Int64Array:
    """When `retry` asks again for each picture, by these waits and not by those of the download;
    null for never. rows: of `images`, with at least `DECIDED_BY`."""
    may_pass = pc.is_in(rows.column("status"), pa.array(_MAY_PASS))
    found: list[int | None] = [None] * rows.num_rows
    where = pc.indices_nonzero(may_pass)
    for at, row in zip(where.to_pylist(), rows.take(where).to_pylist(), strict=True):
        found[at] = retry_at(
            Status(row["status"]),
            row["image_id"],
            row["downloads"],
            row["fetched_at"],
            row.get("retry_after_s"),  # tables of older runs have no such column
            waits,
        )
    return pa.array(found, pa.int64())


def due_for_retry(rows: pa.RecordBatch, now: int, waits: Waits) -> pa.BooleanArray:
    """Which pictures `retry` asks for again. rows: of `images`, with at least `DECIDED_BY`."""
    return pc.fill_null(pc.less_equal(retry_times(rows, waits), now), False)


def due_for_recheck(rows: pa.RecordBatch, before: int) -> pa.BooleanArray:
    """Of which pictures `recheck` asks whether they are still as they were: stored ones that were
    last seen so at or before a time."""
    is_stored = pc.equal(rows.column("status"), str(Status.OK))
    return pc.and_(is_stored, pc.less_equal(rows.column("fetched_at"), before))


def known_of(row: Mapping[str, Any]) -> Known:
    """What a row tells the downloader."""
    if row["status"] != Status.OK:
        return Known(row["downloads"])
    return Known(
        row["downloads"], row["sha256"], row["etag"], row["last_modified"], row["final_url"]
    )


def merge(old: Row, new: Row, asked: Account) -> Row:
    """What stands of a picture after it was asked for again, and is counted of it. Both: rows of
    `images`.

    A picture that is still the same keeps its row and its bytes, and was last seen now. One that
    could not be asked for just now stays as it was. Whatever else came of it replaces it: another
    picture, or that it is gone or no longer allowed. asked: kept are pictures that are stored now
    and were not, or are still the same.
    """
    status = Status(new["status"])
    if old["status"] != Status.OK:
        asked.keep() if status is Status.OK else asked.drop(status)
        return new
    if status is Status.NOT_MODIFIED or (status is Status.OK and new["sha256"] == old["sha256"]):
        asked.keep()
        seen = {name: new[name] or old[name] for name in ("etag", "last_modified")}
        return old | seen | {"fetched_at": new["fetched_at"], "consent": new["consent"]}
    if status.is_transient:
        asked.drop(NOT_REACHED)
        return old
    asked.drop(CHANGED if status is Status.OK else status)
    return new


def merge_all(earlier: Mapping[bytes, Row], new: Iterable[Row]) -> tuple[list[Row], Account]:
    """All rows of a part, ordered by image_id, after some were asked for (again); what is counted
    of these.

    earlier: rows by image_id, of all candidates that were asked for before.
    """
    rows, asked = dict(earlier), Account(ASKED_AGAIN)
    for row in new:
        old = earlier.get(row["image_id"])
        rows[row["image_id"]] = row if old is None else merge(old, row, asked)
    return [rows[image_id] for image_id in sorted(rows)], asked


def account_of(rows: Iterable[Row]) -> Account:
    """Of images, kept and dropped by status."""
    account = Account("images")
    for row in rows:
        if row["status"] == Status.OK:
            account.keep()
        else:
            account.drop(row["status"])
    return account
