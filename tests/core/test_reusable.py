"""Tables that a stage takes rows over from are set aside when it is redone."""

from pathlib import Path

import pyarrow as pa

from pipeline.core import records
from pipeline.core.stage import Stage, StageSection
from pipeline.core.storage import Store
from pipeline.core.tables import Table

KEPT, GONE = (Table(name, "", ("n",), pa.schema([("n", pa.int64())])) for name in ("kept", "gone"))
STAGE = Stage(
    "work", (), (KEPT, GONE), StageSection, lambda ctx: [], reusable=("kept",), folders=("folder",)
)


def write(store: Store, number: int) -> None:
    for table in (KEPT, GONE):
        with store.publish_part(table, 0) as sink:
            sink.write_rows([{"n": number}])
    store.write_json("folder/x.json", 1)


def numbers(store: Store) -> list[int]:
    return [row["n"] for batch in store.read_part(KEPT, 0) for row in batch.to_pylist()]


def test_each_attempts_rows_are_there_until_they_are_forgotten(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert records.earlier(store, "work") == []
    for number in range(12):
        write(store, number)
        records.discard(store, [STAGE])
        assert not any(store.exists(name) for name in ("kept", "gone", "folder"))
    records.discard(store, [STAGE])  # again, after a kill: nothing is left to set aside
    found = records.earlier(store, "work")
    assert [numbers(source) for source in found] == [[n] for n in range(12)]
    assert not any(source.exists("gone") for source in found)
    records.forget_earlier(store, "work")
    assert records.earlier(store, "work") == []
