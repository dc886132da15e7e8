"""Pictures of a run that a list names, and how blocked ones leave the line.

Lists are broadcast; each Python worker builds its indexes once. Cost: one look-up of a digest per
picture and list, one search per distinct picture with texture and list; nothing is shuffled but
what is found. Memory of a worker: 16 bytes a digest, and what `multihash` says.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.core.reasons import DropReason, ListRule, Status
from pipeline.match.lists import Entries, ListSection, as_halves, has_digests
from pipeline.match.verify import hash256_distance

if TYPE_CHECKING:
    from pipeline.match.multihash import HashIndex

# The surest first; a row of LISTED tells the first that holds.
RULES = (ListRule.SHA256, ListRule.MD5, ListRule.HASH256, ListRule.HASH64)
_FOUND_DDL = "fingerprint binary, list string, kind string, rule int, distance int"


@dataclass(frozen=True)
class Guard:
    """A list, ready to be searched.

    radius256, aspect_tolerance: what must agree beside hash64 where the list tells it.
    min_texture: flatter pictures, of either side, match by digest alone.
    """

    name: str
    section: ListSection
    entries: Entries
    radius256: int
    aspect_tolerance: float
    min_texture: int

    def by_digest(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """batch: fingerprint, sha256 (32 bytes) and md5 (16 bytes, or null). Rows of _FOUND_DDL."""
        for rule, kind, known in (
            (0, "sha256", self.entries.sha256),
            (1, "md5", self.entries.md5),
        ):
            told = batch.filter(batch.column(kind).is_valid())
            if not len(known) or not told.num_rows:
                continue
            width = 32 if kind == "sha256" else 16
            digests = as_halves(b"".join(told.column(kind).to_pylist()), width)
            hits = told.filter(pa.array(has_digests(known, digests)))
            yield self._rows(hits.column("fingerprint"), rule, np.zeros(hits.num_rows, np.int32))

    def by_hash(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """batch: fingerprint, hash64, hash256, aspect, of pictures with texture. Rows likewise."""
        fingerprints = batch.column("fingerprint")
        if self._wide is not None:
            met = self._wide[0].search(_bytes(batch.column("hash256"), 32))
            yield self._nearest(fingerprints, 2, met.query, met.distance)
        if self._narrow is not None:
            index, rows = self._narrow
            words = batch.column("hash64").to_numpy().astype(">i8")
            met = index.search(words.view(np.uint8).reshape(-1, 8))
            ours, theirs = batch.take(pa.array(met.query)), rows.take(pa.array(met.row))
            kept = self._agrees(ours, theirs)
            yield self._nearest(fingerprints, 3, met.query[kept], met.distance[kept])

    @cached_property
    def _textured(self) -> pa.Table:
        rows = self.entries.hashes
        flat = pc.fill_null(pc.less(rows.column("texture"), self.min_texture), False)
        return rows.filter(pc.invert(flat))

    @cached_property
    def _wide(self) -> "tuple[HashIndex, pa.Table] | None":
        return self._index("hash256", 32, self.section.radius256)

    @cached_property
    def _narrow(self) -> "tuple[HashIndex, pa.Table] | None":
        return self._index("hash64", 8, self.section.radius64)

    def _index(self, name: str, width: int, radius: int) -> "tuple[HashIndex, pa.Table] | None":
        from pipeline.match.multihash import HashIndex

        rows = self._textured.filter(self._textured.column(name).is_valid()).combine_chunks()
        if not rows.num_rows:
            return None
        column = rows.column(name).combine_chunks()
        if name == "hash64":
            values = column.to_numpy().astype(">i8").view(np.uint8).reshape(-1, width)
        else:
            values = _bytes(column, width)
        return HashIndex(values, radius), rows

    def _agrees(self, ours: pa.RecordBatch, theirs: pa.Table) -> npt.NDArray[np.bool_]:
        """Where neither the wider hash nor the shape speaks against a pair, row by row."""
        wide = theirs.column("hash256").combine_chunks()
        told = wide.is_valid()
        # A hash that the list does not tell is compared with itself.
        wide = pc.if_else(told, wide, ours.column("hash256"))
        agrees = hash256_distance(ours.column("hash256"), wide) <= self.radius256
        a = ours.column("aspect").to_numpy()
        b = pc.coalesce(theirs.column("aspect").combine_chunks(), ours.column("aspect")).to_numpy()
        shape = np.maximum(a, b) <= np.minimum(a, b) * (1 + self.aspect_tolerance)
        both: npt.NDArray[np.bool_] = agrees & shape
        return both

    def _nearest(
        self, fingerprints: pa.Array, rule: int, query: Any, distance: Any
    ) -> pa.RecordBatch:
        """The least distance of every query that was met."""
        order = np.lexsort((distance, query))
        query, distance = query[order], distance[order]
        first = np.ones(len(query), bool)
        first[1:] = query[1:] != query[:-1]
        return self._rows(fingerprints.take(pa.array(query[first])), rule, distance[first])

    def _rows(self, fingerprints: pa.Array, rule: int, distance: Any) -> pa.RecordBatch:
        rows = len(fingerprints)
        return pa.RecordBatch.from_pydict(
            {
                "fingerprint": fingerprints,
                "list": pa.array([self.name] * rows, pa.string()),
                "kind": pa.array([self.section.kind] * rows, pa.string()),
                "rule": pa.array(np.full(rows, rule, np.int32)),
                "distance": pa.array(distance.astype(np.int32)),
            }
        )


def _bytes(hashes: pa.Array, width: int) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(hashes.to_pylist()), np.uint8).reshape(-1, width)


def listed(pictures: DataFrame, nodes: DataFrame, guards: tuple[Guard, ...]) -> DataFrame:
    """Rows of LISTED.

    pictures: rows of IMAGES that are ok. nodes: fingerprint, hash64, hash256, texture, aspect; one
    per fingerprint. A fingerprint is listed when a digest of one of its pictures is.
    """
    held = pictures.sparkSession.sparkContext.broadcast(guards)
    min_texture = min(guard.min_texture for guard in guards)
    found = (
        pictures.select("fingerprint", "sha256", "md5")
        .mapInArrow(partial(_by, held, "by_digest"), _FOUND_DDL)
        .unionByName(
            nodes.where(F.col("texture") >= min_texture).mapInArrow(
                partial(_by, held, "by_hash"), _FOUND_DDL
            )
        )
    )
    names = F.array(*[F.lit(rule.value) for rule in RULES])
    return (
        found.groupBy("fingerprint", "list", "kind")
        .agg(F.min(F.struct("rule", "distance")).alias("surest"))
        .select(
            "fingerprint",
            "list",
            "kind",
            F.element_at(names, F.col("surest.rule") + 1).alias("rule"),
            F.col("surest.distance").alias("distance"),
        )
    )


def _by(held: Any, how: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for guard in held.value:
            yield from getattr(guard, how)(batch)


def without_blocked(images: DataFrame, listed: DataFrame) -> DataFrame:
    """Rows of IMAGES in which the status of blocked pictures is `blocked` instead of `ok`.

    listed: rows of LISTED.
    """
    blocked = (
        listed.where(F.col("kind") == "block")
        .select("fingerprint", F.lit(True).alias("is_blocked"))
        .distinct()
    )
    is_out = F.col("is_blocked") & (F.col("status") == Status.OK.value)
    status = F.when(is_out, F.lit(DropReason.BLOCKED.value)).otherwise(F.col("status"))
    return (
        images.join(blocked, "fingerprint", "left")
        .withColumn("status", status)
        .select(*images.columns)
    )


def evaluation_lists(listed: DataFrame) -> DataFrame:
    """fingerprint, evaluation_list: the first evaluation list, by name, that names it."""
    return (
        listed.where(F.col("kind") == "evaluation")
        .groupBy("fingerprint")
        .agg(F.min("list").alias("evaluation_list"))
    )
