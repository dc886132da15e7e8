"""The index of a run's kept pictures, built from its stored embeddings.

Small ones are searched whole. From some ten thousands on vectors lie in cells around k-means
centroids, a byte for each number; from millions on in product codes, an eighth of that. What they
lose is measured: pictures are sought by the index and in all vectors, and the share of the true
nearest that it finds is told.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.embeddings import read_models
from pipeline.core.errors import InputError
from pipeline.core.storage import Store
from pipeline.core.tables import DECISIONS, EMBEDDINGS, Table, measures_table
from pipeline.core.vectors import unpack

FOLDER = "index"
# Up to here a search of everything takes milliseconds.
_FLAT = 50_000
# Up to here a byte for each number fits into memory: 512 of them take 2.5 GB.
_BYTES = 5_000_000
# Source: FAISS's guidelines: some 4 sqrt(n) cells, and 30 to 256 vectors to train each.
_CELLS, _PER_CELL = 4, 64
_PROBES = 32
_ASKED, _NEAREST = 64, 10

Vectors = NDArray[np.float32]


class Built(NamedTuple):
    """pictures: in the index. kind: FAISS's name of it. recall: the share of the 10 nearest of some
    pictures that it finds."""

    pictures: int
    kind: str
    recall: float


def path(model: str, suffix: str) -> str:
    """A file of the index of a model, relative to the run."""
    return f"{FOLDER}/{model}.{suffix}"


def kind_of(count: int, width: int) -> str:
    """FAISS's name of an index of so many vectors of a width."""
    if count <= _FLAT:
        return "SQfp16"
    cells = 1 << round(np.log2(_CELLS * count**0.5))
    if count <= _BYTES or width % 8:
        return f"IVF{cells},SQ8"
    return f"IVF{cells},PQ{width // 8}x8"


def build(store: Store, model: str = "clip") -> Built:
    """Write the index of the kept pictures by a model's embeddings, and their rows beside it.

    Memory: the index, and 64 vectors a cell while it is trained. Reads the embeddings once, twice
    where there are cells. Raises InputError where the run has no embeddings by the model, has not
    been decided, or keeps no picture.
    """
    import faiss

    if model not in read_models(store)["models"]:
        known = ", ".join(read_models(store)["models"])
        raise InputError(f"{store.root} has no embeddings by a model {model!r}; it has {known}")
    with _connect(store) as connection:
        _keep(store, connection)
        batches = _Embeddings(store, connection, model)
        count, width = batches.count()
        kind = kind_of(count, width)
        index = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(batches.sample(getattr(index, "nlist", 1) * _PER_CELL, count))
        truth = _Truth(batches.sample(_ASKED, count))
        ids: list[pa.Array] = []
        for content_ids, vectors in batches:
            index.add(vectors)
            truth.see(vectors)
            ids.append(content_ids)
        _write(store, connection, model, index, pa.chunked_array(ids))
    if hasattr(index, "nprobe"):
        index.nprobe = _PROBES
    return Built(count, kind, truth.recall(index))


def _connect(store: Store) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    if not store.is_local:
        connection.register_filesystem(store.fs)
    return connection


def _files(store: Store, table: Table) -> list[str]:
    folder = store.path(table.name)
    found = sorted(f for f in store.fs.find(folder) if f.endswith(".parquet") and "/_" not in f)
    if not found:
        raise InputError(f"{store.root} has no {table.name} yet: run the line up to decide first")
    return [f if store.is_local else store.fs.unstrip_protocol(f) for f in found]


def _keep(store: Store, connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table `kept`: one row for each kept picture, by content_id, with the caption of its
    pairs that is most similar."""
    for table in (measures_table([]), DECISIONS):
        connection.read_parquet(_files(store, table)).create_view(table.name)
    connection.execute(
        """
        CREATE TEMP TABLE kept AS
        SELECT sha256[1:16] AS content_id,
            unnest(max_by(
                {image_id: m.image_id, part: part, raw_round: raw_round, raw_offset: raw_offset,
                 raw_bytes: raw_bytes, pair_id: pair_id, url: url, domain: domain,
                 caption: caption, caption_lang: caption_lang, clip_similarity: clip_similarity},
                {similarity: clip_similarity, pair_id: pair_id}))
        FROM measures m JOIN decisions USING (pair_id)
        WHERE is_kept AND picture_id = m.image_id GROUP BY content_id
        """
    )


class _Embeddings:
    """Those of the kept pictures by one model, file by file: content_ids and vectors."""

    def __init__(self, store: Store, connection: duckdb.DuckDBPyConnection, model: str) -> None:
        self._connection, self._model = connection, model
        self._root, self._files = store.root, _files(store, EMBEDDINGS)

    def __iter__(self) -> Iterator[tuple[pa.Array, Vectors]]:
        return self._rows("true")

    def count(self) -> tuple[int, int]:
        """How many there are, and how long a vector is. Raises InputError where there is none."""
        count, width = 0, 0
        for file in self._files:
            found = self._connection.sql(
                "SELECT count(*), any_value(octet_length(vector)) FROM read_parquet(?) "
                "SEMI JOIN kept USING (content_id) WHERE model = ? AND kind = 'image'",
                params=[file, self._model],
            ).fetchall()
            count, width = count + found[0][0], found[0][1] or width
        if not count:
            raise InputError(f"{self._root} keeps no picture with an embedding by {self._model!r}")
        return count, width // 2

    def sample(self, wanted: int, count: int) -> Vectors:
        """About so many of them: those whose content_id, a hash, is small."""
        share = min(1.0, 1.2 * wanted / count)
        few = f"content_id < from_hex('{round(share * 0xFFFFFFFF):08x}')" if share < 1 else "true"
        found = [vectors for _, vectors in self._rows(few)]
        return np.concatenate(found)[: max(wanted, 1)]

    def _rows(self, condition: str) -> Iterator[tuple[pa.Array, Vectors]]:
        for file in self._files:
            rows = self._connection.sql(
                "SELECT content_id, vector FROM read_parquet(?) SEMI JOIN kept USING (content_id) "
                f"WHERE model = ? AND kind = 'image' AND {condition} ORDER BY content_id",
                params=[file, self._model],
            ).to_arrow_table()
            if rows.num_rows:
                ids, vectors = (column.combine_chunks() for column in rows.columns)
                yield ids, unpack(vectors)


class _Truth:
    """The nearest of some vectors among all that are seen."""

    def __init__(self, asked: Vectors) -> None:
        self._asked = asked
        self._best = np.full((len(asked), _NEAREST), -np.inf, np.float32)
        self._rows = np.full((len(asked), _NEAREST), -1, np.int64)
        self._seen = 0

    def see(self, vectors: Vectors) -> None:
        """Take the next ones in."""
        scores = np.hstack([self._best, self._asked @ vectors.T])
        new = np.arange(self._seen, self._seen + len(vectors))
        rows = np.hstack([self._rows, np.broadcast_to(new, (len(self._asked), len(new)))])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :_NEAREST]
        self._best = np.take_along_axis(scores, order, 1)
        self._rows = np.take_along_axis(rows, order, 1)
        self._seen += len(vectors)

    def recall(self, index: Any) -> float:
        """The share of them that an index finds."""
        _, found = index.search(self._asked, _NEAREST)
        pairs = zip(self._rows, found, strict=True)
        hits = [len({*true.tolist()} & {*ours.tolist()} - {-1}) for true, ours in pairs]
        return float(sum(hits) / max(int((self._rows >= 0).sum()), 1))


def _write(
    store: Store,
    connection: duckdb.DuckDBPyConnection,
    model: str,
    index: Any,
    ids: pa.ChunkedArray,
) -> None:
    """The rows first: an index without them would name no picture."""
    import faiss
    import pyarrow.parquet as pq

    rows = pa.table({"row": pa.array(np.arange(len(ids))), "content_id": ids})
    connection.register("indexed", rows)
    with store.publish(path(model, "parquet")) as file:
        found = connection.sql(
            "SELECT * FROM indexed JOIN kept USING (content_id) ORDER BY row"
        ).to_arrow_reader(100_000)
        with pq.ParquetWriter(file, found.schema, compression="zstd") as writer:
            for batch in found:
                writer.write_batch(batch, row_group_size=10_000)
    with store.publish(path(model, "faiss")) as file:
        file.write(faiss.serialize_index(index).tobytes())
