"""Embeddings of a run, read by id: the index says in which file and row each of them lies."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.core.ids import ID_BYTES
from pipeline.core.rows import RowReader
from pipeline.core.storage import Store
from pipeline.core.tables import EMBEDDING_INDEX, EMBEDDINGS
from pipeline.core.vectors import unpack

# Beside the files of `embeddings`: name -> what the model of that name is.
MODELS = f"{EMBEDDINGS.name}/_models.json"
# Beside the folders of `embedding_index`: how many there would be, were none empty.
BUCKETS = f"{EMBEDDING_INDEX.name}/_buckets.json"
_BUCKET_BITS = 16
_ROWS_PER_BUCKET = 1 << 20
_MOST_BUCKETS = 1 << 14


class Embedded(NamedTuple):
    """Those of the ids asked for that have an embedding, in the order asked for. vectors: float32
    [n, width], unit norm."""

    ids: list[bytes]
    vectors: NDArray[np.float32]


def choose_buckets(rows: int) -> int:
    """How many folders an index of so many rows has: a power of two, about a million rows each."""
    wanted = -(-rows // _ROWS_PER_BUCKET)
    return min(1 << max(wanted - 1, 0).bit_length(), _MOST_BUCKETS)


def bucket_of(content_id: bytes, buckets: int) -> int:
    """The folder of an id: its first 16 bits as a number, times buckets over 65,536."""
    return int.from_bytes(content_id[:2], "big") * buckets >> _BUCKET_BITS


def read_models(store: Store) -> dict[str, Any]:
    """What the models of a run's embeddings are, by their names in the table. Raises InputError
    where it has none."""
    if not store.exists(MODELS):
        raise InputError(f"{store.root} has no embeddings: there is no {MODELS}")
    return dict(store.read_json(MODELS))


def fetch(store: Store, model: str, kind: str, ids: Sequence[bytes]) -> Embedded:
    """The embeddings of ids by one model; `kind` is "image", "flipped" or "text".

    Cost: of each id's folder in the index the ids and places are read (32 MiB at most), of each
    part its rows' row groups, of about 1 MiB. Raises InputError where the run has no index.
    """
    if not store.exists(BUCKETS):
        raise InputError(f"{store.root} has no index of embeddings; run score")
    buckets = store.read_json(BUCKETS)["buckets"]
    by_bucket: dict[int, set[bytes]] = {}
    for content_id in ids:
        if len(content_id) == ID_BYTES:
            by_bucket.setdefault(bucket_of(content_id, buckets), set()).add(content_id)
    places: dict[bytes, tuple[int, int]] = {}
    for bucket, wanted in sorted(by_bucket.items()):
        places |= _places(store, model, kind, bucket, wanted)
    found = [content_id for content_id in ids if content_id in places]
    return Embedded(found, _vectors(store, [places[content_id] for content_id in found]))


def _places(
    store: Store, model: str, kind: str, bucket: int, wanted: set[bytes]
) -> dict[bytes, tuple[int, int]]:
    """Part and row of the ids that are in a folder of the index."""
    folder = store.path(EMBEDDING_INDEX.name, f"{EMBEDDING_INDEX.partition}={bucket}")
    if not store.fs.exists(folder):
        return {}
    found: dict[bytes, tuple[int, int]] = {}
    for name in sorted(store.fs.ls(folder, detail=False)):
        if not name.endswith(".parquet"):
            continue
        with store.open_table(name) as file:
            columns = [n for n in EMBEDDING_INDEX.schema.names if n != EMBEDDING_INDEX.partition]
            rows = file.read(columns)
        is_wanted = pc.is_in(rows.column("content_id"), pa.array(sorted(wanted), pa.binary()))
        of_model = pc.and_(
            pc.equal(rows.column("model"), model), pc.equal(rows.column("kind"), kind)
        )
        chosen = rows.filter(pc.and_(is_wanted, of_model))
        places = zip(*(chosen.column(n).to_pylist() for n in ("part", "row")), strict=True)
        found |= dict(zip(chosen.column("content_id").to_pylist(), places, strict=True))
    return found


def _vectors(store: Store, places: list[tuple[int, int]]) -> NDArray[np.float32]:
    """The vectors at parts and rows, float32 [n, width]; [0, 0] for none."""
    if not places:
        return np.empty((0, 0), np.float32)
    at = np.array(places, np.int64)
    order = np.lexsort((at[:, 1], at[:, 0]))
    vectors, rows = [], []
    with RowReader() as reader:
        for part in np.unique(at[:, 0]):
            mine = order[at[order, 0] == part]
            path = store.path(store.part_file(EMBEDDINGS, int(part)))
            column = reader.take(path, at[mine, 1], ["vector"]).column("vector")
            vectors.append(unpack(column.combine_chunks()))
            rows.append(mine)
    found = np.concatenate(vectors)
    out = np.empty_like(found)
    out[np.concatenate(rows)] = found
    return out
