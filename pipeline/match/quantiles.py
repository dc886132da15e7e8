"""Exact ranks in distributed columns: which row is the k-th smallest, with ties broken by id.

Nothing is sorted and nearly nothing is collected: a histogram between the least and the greatest
value tells the bin of the k-th, that bin's own least and greatest value bound the next histogram,
until a bin is small enough for the driver. Equal values are told apart by a histogram of their ids.
Cost: a scan for the extremes, one for each histogram (each cuts what is left by `_BINS` where
values are spread: one at ten million rows, two at ten billion), and one for the last bin. A
histogram shuffles at most `_BINS` rows a group and task.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

_BINS = 4096
# Rows of one group that the driver sorts, some 50 bytes each.
_DRIVER_ROWS = 4096
_ID_BYTES = 6  # of an id, as a number that a double holds exactly
_LARGEST = 1.7976931348623157e308


# A row's value and id, and whether it is the last of its value.
_Found = tuple[float, bytes, bool]


@dataclass(frozen=True)
class Ranked:
    """The k-th smallest row of a group of `rows`, by value and then by id.

    last_id: its id, where rows of the same value come after it; None where it is the last of them.
    """

    rows: int
    k: int
    value: float
    last_id: bytes | None


@dataclass(frozen=True)
class _Range:
    """Where the row lies: `inside` rows of the group have values in [low, high], and it is the
    `place`-th of these, from 1. rows, k: as in `Ranked`."""

    rows: int
    k: int
    inside: int
    place: int
    low: float
    high: float

    @property
    def is_one_value(self) -> bool:
        return self.low == self.high

    @property
    def fits(self) -> bool:
        """The driver can take its rows."""
        return self.inside <= _DRIVER_ROWS


def ranked(rows: DataFrame, k_of: Callable[[str, int], int]) -> dict[str, Ranked]:
    """The k-th smallest row of every group that has rows, by group.

    rows: group (string), value (double; neither null nor NaN), id (binary, distinct in a group).
    k_of: the k, from 1 to the number of rows, given a group and that number.
    """
    ranges = _narrowed(rows, _extremes(rows, k_of))
    few = {group: at for group, at in ranges.items() if at.fits}
    # Of many rows of one value that are all wanted, the ids play no part.
    parted = {g: at for g, at in ranges.items() if not at.fits and at.place < at.inside}
    ids = _rows_at(rows, few) | _tied(rows, parted)
    done = {}
    for group, at in ranges.items():
        value, last_id, is_last = ids.get(group, (at.low, None, True))
        done[group] = Ranked(at.rows, at.k, value, None if is_last else last_id)
    return done


def _tied(rows: DataFrame, ranges: Mapping[str, _Range]) -> dict[str, _Found]:
    """The same for ranges of one value with too many rows to sort: their ids, as numbers, are
    ranked in place of the value."""
    if not ranges:
        return {}
    number = F.conv(F.hex(F.substring("id", 1, _ID_BYTES)), 16, 10).cast("double")
    numbered = _inside(rows, ranges).select("group", number.alias("value"), "id")
    wanted = _narrowed(numbered, _extremes(numbered, lambda group, _: ranges[group].place))
    return {
        group: (ranges[group].low, last_id, False)
        for group, (_, last_id, _) in _rows_at(numbered, wanted).items()
    }


def _extremes(rows: DataFrame, k_of: Callable[[str, int], int]) -> dict[str, _Range]:
    found = {}
    for group, n, low, high in rows.groupBy("group").agg(*_summary()).collect():
        k = k_of(group, n)
        found[group] = _Range(n, k, n, k, low, high)
    return found


def _summary() -> tuple[Column, ...]:
    return (
        F.count("*").alias("n"),
        F.min("value").alias("low"),
        F.max("value").alias("high"),
    )


def _narrowed(rows: DataFrame, ranges: Mapping[str, _Range]) -> dict[str, _Range]:
    """Every range cut down until the driver can take its rows, or they are all of one value."""
    done = dict(ranges)
    while wide := {g: at for g, at in done.items() if not (at.fits or at.is_one_value)}:
        done |= _cut(rows, wide)
    return done


def _cut(rows: DataFrame, ranges: Mapping[str, _Range]) -> dict[str, _Range]:
    """Each range down to the bin of a histogram that the row is in.

    The bin of a value grows with the value, whatever is rounded, and the ends of a range are in
    different bins; so every cut makes it smaller.
    """
    counted = _inside(rows, ranges).groupBy("group", _bin().alias("bin")).agg(*_summary()).toArrow()
    found: dict[str, _Range] = {}
    passed = dict.fromkeys(ranges, 0)
    for row in counted.sort_by([("group", "ascending"), ("bin", "ascending")]).to_pylist():
        group, at = row["group"], ranges[row["group"]]
        place = at.place - passed[group]
        if 0 < place <= row["n"]:
            found[group] = _Range(at.rows, at.k, row["n"], place, row["low"], row["high"])
        passed[group] += row["n"]
    return found


def _inside(rows: DataFrame, ranges: Mapping[str, _Range]) -> DataFrame:
    """The rows in their group's range, with `low` and `high` of it."""
    columns = {
        "group": pa.array(list(ranges), pa.string()),
        "low": pa.array([at.low for at in ranges.values()], pa.float64()),
        "high": pa.array([at.high for at in ranges.values()], pa.float64()),
    }
    wanted = F.broadcast(rows.sparkSession.createDataFrame(pa.table(columns)))
    return rows.join(wanted, "group").where("value BETWEEN low AND high")


def _bin() -> Column:
    """The bin of a value in [low, high], 0 to `_BINS` - 1; infinities have bins of their own.

    In halves, since the distance of two doubles may be no double. Where even these do not tell the
    ends apart, which takes neighbours among the least doubles, `low` is parted from the rest.
    """
    value = F.col("value")
    low, high = (
        F.least(F.greatest(F.col(end), F.lit(-_LARGEST)), F.lit(_LARGEST)) / 2
        for end in ("low", "high")
    )
    share = F.try_divide(value / 2 - low, high - low)
    place = F.coalesce(F.floor(share * _BINS), (value > F.col("low")).cast("long"))
    return (
        F.when(value == float("-inf"), F.lit(-1))
        .when(value == float("inf"), F.lit(_BINS))
        .otherwise(F.least(place, F.lit(_BINS - 1)).cast("int"))
    )


def _rows_at(rows: DataFrame, ranges: Mapping[str, _Range]) -> dict[str, _Found]:
    """The row of every range, found by sorting here."""
    if not ranges:
        return {}
    found = _inside(rows, ranges).select("group", "value", "id").toArrow()
    done = {}
    for group, at in ranges.items():
        mine = found.filter(pc.equal(found.column("group"), group))
        mine = mine.sort_by([("value", "ascending"), ("id", "ascending")])
        values, ids = mine.column("value"), mine.column("id")
        is_last = at.place == len(mine) or values[at.place] != values[at.place - 1]
        done[group] = (values[at.place - 1].as_py(), ids[at.place - 1].as_py(), is_last)
    return done
