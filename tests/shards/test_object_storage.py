"""Releases on S3: nothing partial under a final name, one writer wins, and what a kill left goes."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.release import main
from pipeline.core.storage import Store, Superseded
from pipeline.core.tables import Table, column
from pipeline.shards.verify import verify
from pipeline.stream import views
from pipeline.stream.loader import Reading, Stream
from tests.shards import plain_release
from tests.shards.test_release_job import SAMPLES, samples

NUMBERS = Table("numbers", "Test rows.", ("n",), pa.schema([column("n", pa.int64(), "a number")]))
_PART_BYTES = 16 << 20


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    s3.mkdir("releases")
    return "s3://releases"


def names(store: Store) -> list[str]:
    store.fs.invalidate_cache()
    return [f.rsplit("/", 1)[1] for f in store.fs.find(store.root)]


def test_what_is_published_is_whole_or_not_there(bucket: str) -> None:
    store = Store(f"{bucket}/a")
    with pytest.raises(RuntimeError, match="disk"):
        with store.publish("big.tar") as file:
            file.write(bytes(_PART_BYTES + 1))
            raise RuntimeError("disk full")
    assert names(store) == [] and store.sweep("") == 0, "an upload was left open"
    with store.publish("big.tar") as file:
        file.write(bytes(_PART_BYTES + 1))
        file.write(b"end")
    with store.publish("small.json") as file:
        file.write(b"{}")
    assert names(store) == ["big.tar", "small.json"]
    assert store.fs.cat_file(store.path("big.tar")) == bytes(_PART_BYTES + 1) + b"end"
    with store.publish("small.json") as file:
        file.write(b"[]")
    assert store.fs.cat_file(store.path("small.json")) == b"[]"


def test_the_first_of_two_attempts_stands(bucket: str) -> None:
    store = Store(f"{bucket}/b")
    with pytest.raises(Superseded):
        with store.publish_part(NUMBERS, 0) as slow:
            slow.write_rows([{"n": 1}])
            with store.publish_part(NUMBERS, 0) as quick:
                quick.write_rows([{"n": 2}])
    found = [row for batch in store.read_part(NUMBERS, 0) for row in batch.to_pylist()]
    assert found == [{"n": 2}]


_WRITE_AND_DIE = """
import os, signal, sys
from pipeline.core.storage import Store
with Store(sys.argv[1]).publish("00000.tar") as file:
    file.write(bytes(int(sys.argv[2])))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_nothing_that_is_not_swept(bucket: str) -> None:
    size = str(_PART_BYTES + 1)
    killed = subprocess.run([sys.executable, "-c", _WRITE_AND_DIE, f"{bucket}/c/release", size])
    assert killed.returncode == -signal.SIGKILL
    store = Store(f"{bucket}/c/release")
    assert names(store) == []
    assert Store(f"{bucket}/c/rel").sweep("") == 0, "swept what another folder has under way"
    assert store.sweep("") == 1
    assert store.sweep("") == 0


def test_a_view_is_materialised_onto_s3_and_streamed_from_there(
    bucket: str, tmp_path: Path
) -> None:
    plain_release.write(tmp_path / "release", samples(), 9)
    view = views.select(str(tmp_path / "release"), "key < 'c'")
    views.save(view, f"{bucket}/some.view")
    out = f"{bucket}/d/small"
    given = ["--view", f"{bucket}/some.view", "--out", out, "--samples-per-shard", "8"]
    assert main(["materialise", str(tmp_path / "release"), *given]) == 0
    assert verify(out) == []
    stream = Stream(out, 4, chunk_samples=8, reading=Reading(connections=2))
    served = sorted(key for batch in stream for key in batch.keys)
    assert served == [key for key, *_ in SAMPLES if key < "c"]
    stream.close()
    assert main(["export", out, "--layout", "img2dataset", "--out", f"{bucket}/d/exported"]) == 0
    assert "00000_stats.json" in names(Store(f"{bucket}/d/exported"))
