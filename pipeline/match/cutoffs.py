"""What the sides of bounds came to, as rows of CUTOFFS and as SQL."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipeline.core.filter import Bound, Relative
from pipeline.core.tables import CUTOFFS

LANGUAGE = "caption_lang"
_AFTER_ALL_IDS = bytearray(b"\xff" * 17)


@dataclass(frozen=True)
class Stated:
    """A bound, and the filter that states it."""

    filter: str
    bound: Bound

    def relative(self) -> dict[str, Relative]:
        """The sides that are no values."""
        return {s: v for s, v in self.bound.sides.items() if isinstance(v, Relative)}

    def given(self) -> "Stated | None":
        """The bound with only the sides that are values, or None without any."""
        sides: dict[str, Any] = {
            s: v for s, v in self.bound.sides.items() if not isinstance(v, Relative)
        }
        return Stated(self.filter, Bound(self.bound.measure, **sides)) if sides else None


@dataclass(frozen=True)
class Cutoff:
    """A row of CUTOFFS."""

    filter: str
    measure: str
    side: str
    language: str | None
    value: float
    last_id: bytes | None
    how: str
    rows: int | None
    passing: int | None


@dataclass(frozen=True)
class Cutoffs:
    """What the sides of bounds came to, and how SQL gets at them.

    tag: begins the names of the columns that `at` adds, to tell several apart.
    """

    rows: tuple[Cutoff, ...]
    tag: str = ""

    def side(self, stated: Stated, side: str) -> tuple[Column, Column | None]:
        """The end of a bound as a double, and the last pair_id that passes among equal values
        (None: all pass), for rows of `at`; null where nothing was found to choose among."""
        name = f"{self.tag}{stated.filter} {stated.bound.measure} {side}"
        mine = self._by_name().get(name, [])
        if any(row.language is not None for row in mine):
            joined = F.col(f"`{name}`")
            return joined["value"], F.coalesce(joined["last_id"], F.lit(_AFTER_ALL_IDS))
        if not mine:
            return F.lit(None).cast("double"), None
        (row,) = mine
        return F.lit(row.value), None if row.last_id is None else F.lit(bytearray(row.last_id))

    def at(self, measures: DataFrame) -> DataFrame:
        """The rows with a column for each side that differs by language."""
        by_name = {
            name: {row.language: row for row in rows}
            for name, rows in self._by_name().items()
            if any(row.language is not None for row in rows)
        }
        if not by_name:
            return measures
        languages = sorted({str(lang) for rows in by_name.values() for lang in rows})
        end = pa.struct([("value", pa.float64()), ("last_id", pa.binary())])
        columns = {"_language": pa.array(languages, pa.string())}
        for name, rows in by_name.items():
            found = [rows.get(language) for language in languages]
            ends = [row and {"value": row.value, "last_id": row.last_id} for row in found]
            columns[name] = pa.array(ends, end)
        table = measures.sparkSession.createDataFrame(pa.table(columns))
        on = F.col(LANGUAGE) == F.col("_language")
        return measures.join(F.broadcast(table), on, "left").drop("_language")

    def table(self) -> pa.Table:
        """The rows of CUTOFFS."""
        rows = sorted(
            self.rows,
            key=lambda r: (r.filter, r.measure, r.side, r.language is not None, r.language),
        )
        columns = list(zip(*map(astuple, rows), strict=True)) or [()] * len(CUTOFFS.schema)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, CUTOFFS.schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=CUTOFFS.schema)

    def _by_name(self) -> dict[str, list[Cutoff]]:
        found: dict[str, list[Cutoff]] = {}
        for row in self.rows:
            name = f"{self.tag}{row.filter} {row.measure} {row.side}"
            found.setdefault(name, []).append(row)
        return found


def given(bounds: Sequence[Stated]) -> Cutoffs:
    """The sides of bounds that are values."""
    return Cutoffs(
        tuple(
            Cutoff(s.filter, s.bound.measure, side, None, float(value), None, "value", None, None)
            for s in bounds
            for side, value in s.bound.sides.items()
            if not isinstance(value, Relative)
        )
    )
