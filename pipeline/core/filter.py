"""A filter measures pairs and states bounds on what it measured; it never drops anything itself.

`measure` runs once over every pair and is stored; `decide` applies the bounds in SQL, so changing
a bound reads no picture. One file in `filters/`, one frozen dataclass: its fields are its settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import pyarrow as pa
from pydantic import ConfigDict


@dataclass(frozen=True)
class Bound:
    """A closed interval [low, high] on a measure; None leaves that side open.

    A value outside gives the reason `<measure>_low` or `<measure>_high`, a null or NaN
    `<measure>_missing`.
    """

    measure: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise ValueError(f"bound on {self.measure} has neither low nor high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"bound on {self.measure}: low {self.low} is over high {self.high}")

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons this bound can give."""
        sides = [s for s, v in (("low", self.low), ("high", self.high)) if v is not None]
        return (*(f"{self.measure}_{side}" for side in sides), f"{self.measure}_missing")


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
        is measured, so that forgetting one here costs time and never gives stale measures.

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
        """Its settings by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def measure_settings(self) -> dict[str, object]:
        """What its measures depend on, JSON-ready: the settings that do not only move a bound."""
        return {n: v for n, v in self.settings().items() if n not in self.bound_settings}


def measured_fields(filters: Mapping[str, Filter]) -> list[pa.Field]:
    """The columns that enabled filters add to `measures`, in the order of the filters."""
    return [field for chosen in filters.values() for field in chosen.measures]
