"""When to ask again, and what stands then."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.reasons import Status
from pipeline.core.tables import IMAGES
from pipeline.fetch.ledger import DECIDED_BY, Waits, account_of, due_for_retry, merge_all, retry_at

NOW, ID = 1_800_000_000, b"i" * 16
STATUSES = [status for status in Status if status is not Status.NOT_MODIFIED]


def when(status: Status, downloads: int = 1, after_s: float | None = None, most: int = 6) -> Any:
    return retry_at(status, ID, downloads, NOW, after_s, Waits(3600.0, most))


def test_only_what_may_pass_is_asked_for_again() -> None:
    asked = {status for status in Status if when(status) is not None}
    assert asked == {status for status in Status if status.is_transient}
    assert Status.HTTP_404 not in asked and Status.ROBOTS not in asked and Status.OK not in asked
    assert (
        when(Status.CONNECT, downloads=6) is None and when(Status.CONNECT, downloads=5) is not None
    )


def test_waits_double_up_to_a_week_and_the_host_has_its_say() -> None:
    waits = [when(Status.TIMEOUT, downloads, most=99) - NOW for downloads in range(1, 20)]
    assert 3600 <= waits[0] <= 4500
    assert all(b == pytest.approx(2 * a, abs=2) for a, b in zip(waits[:6], waits[1:7], strict=True))
    assert max(waits) <= 1.25 * 7 * 86_400
    assert when(Status.HTTP_429, after_s=90_000) == NOW + 90_000
    assert when(Status.HTTP_429, after_s=1) == NOW + waits[0]


def test_the_present_waits_decide_what_is_due() -> None:
    schema = pa.schema([IMAGES.schema.field(name) for name in DECIDED_BY])
    failed = {"image_id": ID, "downloads": 1, "fetched_at": NOW}
    rows = pa.RecordBatch.from_pylist(
        [
            failed | {"status": "connect"},
            failed | {"status": "robots", "retry_after_s": 60},
            failed | {"status": "http_5xx", "retry_after_s": 60},
            failed | {"status": "timeout", "downloads": 3},
            failed | {"status": "http_404"},
            failed | {"status": "ok"},
        ],
        schema,
    )

    def due(after_s: int, first_s: float, most: int = 6) -> list[bool]:
        return due_for_retry(rows, NOW + after_s, Waits(first_s, most)).to_pylist()

    assert due(10, 3600) == [False] * 6
    assert due(10, 0) == [True, False, False, True, False, False]
    assert due(61, 0) == [True, False, True, True, False, False]
    assert due(61, 0, 3) == [True, False, True, False, False, False]


def row(key: int, status: Status, content: int) -> dict[str, Any]:
    is_ok = status is Status.OK
    return {
        "image_id": bytes([key]) * 16,
        "status": str(status),
        "sha256": bytes([content]) * 32 if is_ok else None,
        "raw_offset": content if is_ok else None,
        "etag": None,
        "last_modified": None,
        "fetched_at": 0,
        "consent": "allowed",
    }


ROWS = st.dictionaries(
    st.integers(0, 20), st.tuples(st.sampled_from(STATUSES), st.integers(0, 2)), max_size=12
)


@given(ROWS, ROWS)
def test_every_image_has_one_row_and_no_stored_picture_is_lost_for_a_while(
    old: dict[int, tuple[Status, int]], new: dict[int, tuple[Status, int]]
) -> None:
    earlier = {bytes([k]) * 16: row(k, *v) for k, v in old.items()}
    fresh = [row(k, *v) | {"fetched_at": 9} for k, v in new.items()]
    rows, asked = merge_all(earlier, fresh)
    assert [r["image_id"] for r in rows] == sorted(earlier.keys() | {r["image_id"] for r in fresh})
    account_of(rows).check("test")
    asked.check("test")
    assert asked.rows_in == len(old.keys() & new.keys())
    for merged in rows:
        key = merged["image_id"][0]
        was, now = old.get(key), new.get(key)
        if was is not None and was[0] is Status.OK and (now is None or now[0].is_transient):
            assert merged == earlier[merged["image_id"]]
        elif was is not None and now is not None and was[0] is now[0] is Status.OK:
            assert merged["fetched_at"] == 9 and merged["raw_offset"] == now[1]
        elif now is not None:
            assert merged["status"] == now[0]
