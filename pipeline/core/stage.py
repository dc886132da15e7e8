"""A stage: a small frozen record that says what it reads, writes, is configured by and does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.core.accounts import Account
from pipeline.core.tables import Table

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


@dataclass(frozen=True)
class Stage:
    """One step of the line.

    name: the verb; also the job, the make target and the config section.
    reads, writes: tables; the first of `writes` is the stage's main one.
    config: type of its config section.
    build: does the work through the Context and returns the accounts of what it counted.
    uses: further config sections whose values change what it writes; "filters" is all settings of
        the enabled filters, "measures" only those that change what is measured, not the bounds.
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
