"""A stage: a small frozen record that says what it reads, writes, is configured by and does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.core.accounts import Account
from pipeline.core.tables import Table
from pipeline.core.usual import Rule

if TYPE_CHECKING:
    from pipeline.core.context import Context


class Section(BaseModel):
    """Base of every section of a config file: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def identity(self) -> dict[str, Any]:
        """The values that what is written depends on: all but the tuning ones. JSON-ready."""
        kept = {
            name
            for name, info in type(self).model_fields.items()
            if not (
                isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("tuning")
            )
        }
        return self.model_dump(mode="json", include=kept)


def tuning(default: Any, **constraints: Any) -> Any:
    """A field that may change between reruns: it alters speed or retries, not what is written."""
    return Field(default=default, json_schema_extra={"tuning": True}, **constraints)


class StageSection(Section):
    """Base of every stage's section."""

    # Abort when one reason drops more than this share of what came in.
    max_drop_share: float = tuning(1.0, gt=0, le=1)
    # What an alarm does, which rings when the share of what is kept or of a reason, or the rate,
    # leaves its usual range: "stop" ends the stage, and what is finished is kept.
    alarm: Literal["warn", "stop", "off"] = tuning("warn")
    # So many rows are judged together, at least, and so long.
    alarm_rows: int = tuning(2000, ge=1)
    alarm_stretch_s: float = tuning(30.0, ge=0)
    # Usual is the median of what was before, give or take so many median absolute deviations, as
    # standard deviations. In a normal distribution, six are one in a hundred million or so.
    alarm_deviations: float = tuning(6.0, gt=0)
    # Ranges that are usual, in place of what was before: { kept = [0.5, 1], too_small = [0, 0.3],
    # rate = [100, 1e9] }, of shares, and of rows per second.
    alarm_usual: dict[str, tuple[float, float]] = tuning({})

    @field_validator("alarm_usual")
    @classmethod
    def _are_ranges(cls, value: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for figure, (low, high) in value.items():
            if not low <= high:
                raise ValueError(f"{figure}: the lowest, {low}, is over the highest, {high}")
        return value

    def rule(self, stage: str) -> Rule:
        """By what the alarm of a stage with this section judges."""
        ranges = {
            f"{stage}.alarm_usual.{figure}": (figure, low, high)
            for figure, (low, high) in self.alarm_usual.items()
        }
        return Rule(
            rows=self.alarm_rows,
            stretch_s=self.alarm_stretch_s,
            deviations=self.alarm_deviations,
            ranges=ranges,
            fixed=frozenset(self.alarm_usual),
        )


@dataclass(frozen=True)
class Stage:
    """One step of the line.

    name: the verb; also the job, the make target and the config section.
    reads, writes: tables; the first of `writes` is the stage's main one.
    config: type of its config section.
    build: does the work through the Context and returns the accounts of what it counted.
    uses: further config sections whose values change what it writes; "filters" is all settings of
        the enabled filters, "measures" only those that change what is measured, not the bounds,
        "filters_first" all of those that its own section's `filters_first` names.
    settled_by: such section -> the amendment that brings what is there up to date with other
        values of it, so that the stage need not be done again.
    reusable: tables of `writes` whose rows it takes over when it is redone: until it is done again
        they are set aside instead of removed, see `records.earlier`.
    folders: what it writes beside its tables (raw tars, the release), removed when it is redone.
    output: what a person opens of it, relative to the run; empty: its tables.
    check: looks at what the stage takes from outside (archives, weights, lists) before Spark
        starts, raises InputError when it is not there, and returns its identity, JSON-ready.
    """

    name: str
    reads: tuple[Table, ...]
    writes: tuple[Table, ...]
    config: type[StageSection]
    build: Callable[["Context[Any]"], list[Account]]
    uses: tuple[str, ...] = ()
    reusable: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    output: str = ""
    check: Callable[[Any], object] | None = None
    settled_by: Mapping[str, str] = field(default_factory=dict)
