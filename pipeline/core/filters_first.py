"""Which filters can be applied before the download, and what they depend on."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.balance import MEASURES
from pipeline.core.errors import ConfigError
from pipeline.core.filter import Filter
from pipeline.core.tables import KNOWN_BEFORE_DOWNLOAD

# Where a recipe names them.
SETTING = "download.filters_first"


def obstacle(chosen: Filter) -> str | None:
    """Why a filter cannot go first; None when it can: all it reads and bounds is known of a
    candidate and its captions before the download, and every bound is a value. What it says of
    balance is left for later."""
    known = {*KNOWN_BEFORE_DOWNLOAD, *(field.name for field in chosen.measures)}
    bounds = [bound for bound in chosen.bounds() if bound.measure not in MEASURES]
    unknown = [name for name in chosen.reads if name not in KNOWN_BEFORE_DOWNLOAD]
    unknown += [bound.measure for bound in bounds or chosen.bounds() if bound.measure not in known]
    if unknown:
        return f"{unknown[0]} is known only after the download"
    relative = [bound.measure for bound in bounds if bound.is_relative]
    if relative:
        return f"its bound on {relative[0]} is known only once all pairs are measured"
    return None if bounds else "it has no bounds"


def filters_first(wanted: bool | Sequence[str], filters: Mapping[str, Filter]) -> dict[str, Filter]:
    """The filters that go first, by name, in the order of the recipe.

    wanted: names, or true for every enabled filter that can. Raises ConfigError for a name that is
    not enabled, and for a filter that cannot go first.
    """
    if isinstance(wanted, bool):
        return {n: f for n, f in filters.items() if wanted and obstacle(f) is None}
    for name in wanted:
        if name not in filters:
            able = ", ".join(n for n, f in filters.items() if obstacle(f) is None)
            raise ConfigError(
                f"{SETTING}: [filters.{name}] is not in this recipe; allowed: {able or 'none'}"
            )
        if why := obstacle(filters[name]):
            raise ConfigError(f"{SETTING}: {name} cannot go before the download: {why}")
    return {name: chosen for name, chosen in filters.items() if name in wanted}


def identity_of(first: Mapping[str, Filter]) -> dict[str, Any]:
    """What a download depends on that such filters went before; JSON-ready."""
    return {name: chosen.settings() | chosen.measure_settings() for name, chosen in first.items()}
