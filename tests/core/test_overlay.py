"""A run that borrows tables: what is borrowed is read beneath, all else is its own."""

import pickle
from pathlib import Path

from pipeline.core import records
from pipeline.core.overlay import Overlay
from pipeline.core.storage import Store
from pipeline.stages import download, measure
from pipeline.stages.line import LINE


def test_borrowed_tables_lie_beneath_and_all_else_does_not(tmp_path: Path) -> None:
    beneath = Store(str(tmp_path / "run"))
    names = ("images/part-00000.parquet", "raw/part-00000.tar", records.path("download"))
    for name in names:
        beneath.write_json(name, "beneath")
    borrowed = LINE[: LINE.index(measure.STAGE)]
    store = pickle.loads(pickle.dumps(Overlay(str(tmp_path / "own"), beneath.root, borrowed)))
    assert [store.read_json(name) for name in names] == ["beneath"] * 3
    for name in ("measures/part-00000.parquet", records.path("measure"), "images_of_mine.json"):
        beneath.write_json(name, "beneath")
        assert not store.exists(name)
        store.write_json(name, "own")
        assert (store.read_json(name), beneath.read_json(name)) == ("own", "beneath")
    assert store.path() == store.root == str(tmp_path / "own")
    assert store.path("images", "x") == beneath.path("images/x")
    assert download.STAGE in borrowed
