"""A filter measures pairs and states bounds on what it measured; it never drops anything itself.

`measure` runs once over every pair and is stored; `decide` applies the bounds in SQL, so changing
a bound reads no picture. One file in `filters/`, one frozen dataclass: its fields are its settings.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import ConfigDict


@dataclass(frozen=True)
class Relative:
    """One side of a bound, stated by what it does: `decide` finds the value in what was measured.
    Either of:

    keep: the share of pairs that this side keeps, in (0, 1]: exactly ceil(keep * pairs) of those
        that have a value, by `low` the ones with the highest values, by `high` those with the
        lowest. Of pairs with equal values the smaller pair_id is kept first.
    false_accept: the largest share, in (0, 1), of mismatched pairs that this side may let pass:
        pictures with captions of other pictures, whose measures `score` samples for each language
        of captions.

    With keep:
    per: "language": the share of each language of captions (`caption_lang`); None: of all pairs.
    of: "measured": all pairs that were measured; "passing": those that pass every bound which is
        given as a value.

    Raises ValueError for anything else.
    Source: DataComp (arXiv 2304.14108), section 4.1: the CLIP score filter keeps a fraction of the
    whole pool (30% did best), and is intersected with the other filters afterwards. The exact
    quantile, and ties by id, are ours: its threshold keeps every tie.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    keep: float | None = None
    false_accept: float | None = None
    per: Literal["language"] | None = None
    of: Literal["measured", "passing"] = "measured"

    def __post_init__(self) -> None:
        if (self.keep is None) == (self.false_accept is None):
            raise ValueError("give a number, or either of keep and false_accept")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ValueError(f"keep = {self.keep} is not above 0 and at most 1")
        if self.false_accept is not None and not 0 < self.false_accept < 1:
            raise ValueError(f"false_accept = {self.false_accept} is not between 0 and 1")
        if self.false_accept is not None and (self.per, self.of) != (None, "measured"):
            raise ValueError("per and of go with keep: false_accept is by language always")


Side = float | Relative


@dataclass(frozen=True)
class Bound:
    """A closed interval [low, high] on a measure; None leaves that side open.

    A value outside gives the reason `<measure>_low` or `<measure>_high`, a null or NaN
    `<measure>_missing`.
    """

    measure: str
    low: Side | None = None
    high: Side | None = None

    def __post_init__(self) -> None:
        if not self.sides:
            raise ValueError(f"bound on {self.measure} has neither low nor high")
        given = [value for value in self.sides.values() if not isinstance(value, Relative)]
        if len(given) == 2 and given[0] > given[1]:
            raise ValueError(f"bound on {self.measure}: low {self.low} is over high {self.high}")

    @property
    def sides(self) -> dict[str, Side]:
        """The sides that are not open, "low" before "high"."""
        both = (("low", self.low), ("high", self.high))
        return {side: value for side, value in both if value is not None}

    @property
    def is_relative(self) -> bool:
        """True when a side is known only once all pairs are measured."""
        return any(isinstance(value, Relative) for value in self.sides.values())

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons this bound can give."""
        return (*(f"{self.measure}_{side}" for side in self.sides), f"{self.measure}_missing")


@dataclass(frozen=True)
class Filter:
    """Base of all filters.

    reads: columns of `tables.PAIR_VIEW` that `measure` uses.
    measures: Arrow fields it adds to the measures table; empty for a filter that only bounds a
        column that is already there.
    needs: settings of stages without which nothing is measured for it, as "section.key", or as
        "section.key.name" for a name in a list or table; a recipe that enables the filter and
        leaves one of them off is refused.
    bound_settings: settings that only move a bound. Every other setting is taken to change what
        is measured, so that forgetting one here costs time and never gives stale measures. A recipe
        may give one that is a side of a bound as it is, as a table: `low = { keep = 0.3 }`; then
        the field holds a `Relative`.

    Raises ValueError when its bounds contradict each other.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    reads: ClassVar[tuple[str, ...]] = ()
    measures: ClassVar[tuple[pa.Field, ...]] = ()
    bound_settings: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        self.bounds()

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """One array per field of `measures`, as long as the batch. Pure and vectorised.

        `batch` holds the columns of `reads`, in that order.
        """
        return []

    def bounds(self) -> tuple[Bound, ...]:
        """The intervals a kept pair must lie in."""
        return ()

    def settings(self) -> dict[str, object]:
        """Its settings by name, JSON-ready where they are."""
        return asdict(self)

    def measure_settings(self) -> dict[str, object]:
        """What its measures depend on, JSON-ready: the settings that do not only move a bound."""
        return {n: v for n, v in self.settings().items() if n not in self.bound_settings}


def measured_fields(filters: Mapping[str, Filter]) -> list[pa.Field]:
    """The columns that enabled filters add to `measures`, in the order of the filters."""
    return [field for chosen in filters.values() for field in chosen.measures]
