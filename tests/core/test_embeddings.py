"""Embeddings by id, through the index."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.embeddings import BUCKETS, bucket_of, choose_buckets, fetch, read_models
from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.core.tables import EMBEDDING_INDEX, EMBEDDINGS
from pipeline.core.vectors import pack

WIDTH = 6


def stored(root: Path, rows: int = 300, parts: int = 3, buckets: int = 4) -> tuple[Store, dict]:
    """A run's embeddings of two models in parts, and their index; the vectors by key."""
    rng = np.random.default_rng(5)
    store, known, index = Store(str(root)), {}, []
    ids = sorted(rng.bytes(16) for _ in range(rows))
    for part in range(parts):
        with store.publish_part(EMBEDDINGS, part) as sink:
            row = 0
            for model, kind in (("clip", "image"), ("other", "image"), ("clip", "text")):
                mine = ids[part::parts]
                vectors = rng.normal(size=(len(mine), WIDTH)).astype(np.float16).astype(np.float32)
                names = [pa.array([n] * len(mine)) for n in (model, kind)]
                columns = [*names, pa.array(mine, pa.binary()), pack(vectors)]
                sink.write(pa.RecordBatch.from_arrays(columns, schema=EMBEDDINGS.schema))
                for content_id, vector in zip(mine, vectors, strict=True):
                    known[model, kind, content_id] = vector
                    index.append((content_id, model, kind, part, row))
                    row += 1
    for bucket in range(buckets):
        chosen = sorted(r for r in index if bucket_of(r[0], buckets) == bucket)
        fields = [f for f in EMBEDDING_INDEX.schema if f.name != "bucket"]
        columns = [pa.array(c, f.type) for c, f in zip(zip(*chosen), fields, strict=True)]
        folder = root / f"embedding_index/bucket={bucket}"
        folder.mkdir(parents=True)
        table = pa.Table.from_arrays(columns, schema=pa.schema(fields))
        pq.write_table(table, folder / "part-0.parquet")
    store.write_json(BUCKETS, {"buckets": buckets})
    return store, known


def test_vectors_are_those_of_the_ids_in_their_order(tmp_path: Path) -> None:
    store, known = stored(tmp_path)
    rng = np.random.default_rng(6)
    for model, kind in (("clip", "image"), ("other", "image"), ("clip", "text")):
        ids = [i for m, k, i in known if (m, k) == (model, kind)]
        asked = [ids[i] for i in rng.integers(0, len(ids), 60)]
        absent = [b"nothing of such..", rng.bytes(16), b""]
        found = fetch(store, model, kind, [*asked[:30], *absent, *asked[30:]])
        assert found.ids == asked
        assert np.array_equal(found.vectors, np.stack([known[model, kind, i] for i in asked]))


def test_what_is_not_there_gives_nothing(tmp_path: Path) -> None:
    store, known = stored(tmp_path, rows=6, buckets=1)
    some = [i for m, k, i in known if (m, k) == ("other", "image")]
    found = fetch(store, "other", "text", some)
    assert found.ids == [] and len(found.vectors) == 0
    with pytest.raises(InputError, match="no index"):
        fetch(Store(str(tmp_path / "none")), "clip", "image", some)
    with pytest.raises(InputError, match=r"_models\.json"):
        read_models(store)


def test_only_the_folders_and_parts_of_the_ids_are_read(tmp_path: Path) -> None:
    store, known = stored(tmp_path)
    chosen = [i for m, k, i in known if (m, k) == ("clip", "image")][:1]
    bucket = bucket_of(chosen[0], 4)
    for other in {0, 1, 2, 3} - {bucket}:
        (tmp_path / f"embedding_index/bucket={other}/part-0.parquet").write_bytes(b"broken")
    for part in (1, 2):
        (tmp_path / f"embeddings/part-{part:05d}.parquet").write_bytes(b"broken")
    assert np.array_equal(
        fetch(store, "clip", "image", chosen).vectors[0], known["clip", "image", chosen[0]]
    )


def test_buckets_cover_all_ids_evenly_and_grow_with_the_rows() -> None:
    assert [choose_buckets(n) for n in (0, 1, 1 << 20, (1 << 20) + 1, 3 << 20, 10**11)] == [
        1, 1, 1, 2, 4, 1 << 14,
    ]  # fmt: skip
    for buckets in (1, 2, 64, 1 << 14):
        ids = [n.to_bytes(2, "big") + bytes(14) for n in range(1 << 16)]
        counts = np.bincount([bucket_of(i, buckets) for i in ids], minlength=buckets)
        assert len(counts) == buckets and (counts == (1 << 16) // buckets).all()
