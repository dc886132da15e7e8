"""Bounds as SQL: which of them a pair fails, and why."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, FloatType, FractionalType, NumericType, StructType

from pipeline.core.errors import ConfigError
from pipeline.core.filter import Bound, Filter
from pipeline.match.cutoffs import Cutoffs, Stated, given

_BITS = 6  # of conditions, whose reasons are looked up at once


def bounds_of(filters: Mapping[str, Filter], known: Iterable[str]) -> list[Stated]:
    """All bounds in config order. ConfigError when one is on a measure that is not known, or a
    filter bounds a measure twice."""
    measures = set(known)
    found: list[Stated] = []
    for name, chosen in filters.items():
        for bound in chosen.bounds():
            if bound.measure not in measures:
                raise ConfigError(f"filter {name} bounds {bound.measure}, which nothing measures")
            stated = Stated(name, bound)
            if any((name, bound.measure) == (s.filter, s.bound.measure) for s in found):
                raise ConfigError(f"filter {name} bounds {bound.measure} twice")
            found.append(stated)
    return found


def refuse_texts(bounds: Sequence[Stated], schema: StructType) -> None:
    """Raise ConfigError for a bound on a column that holds no number."""
    for stated in bounds:
        kind = schema[stated.bound.measure].dataType
        if not isinstance(kind, NumericType | BooleanType):
            raise ConfigError(
                f"{stated.bound.measure} is {kind.simpleString()}, and cannot be bounded"
            )


def fails(bounds: Sequence[Stated], schema: StructType, cutoffs: Cutoffs) -> Column:
    """True for a row that fails any of the bounds, never null. Raises as `reasons_at`."""
    found = [condition for _, condition in _conditions(bounds, schema, cutoffs)]
    return reduce(lambda a, b: a | b, found) if found else F.lit(False)


def failed_reasons(bounds: Sequence[Bound], schema: StructType) -> Column:
    """`reasons_at` of bounds that are values."""
    stated = [Stated(str(number), bound) for number, bound in enumerate(bounds)]
    return reasons_at(stated, schema, given(stated))


def reasons_at(bounds: Sequence[Stated], schema: StructType, cutoffs: Cutoffs) -> Column:
    """An array of strings: the reason of every bound a row fails, in order, each once.

    Ends belong to the interval. Null and NaN are missing. ConfigError for a bound on a column
    that holds no number.
    """
    by_reason: dict[str, Column] = {}
    for reason, condition in _conditions(bounds, schema, cutoffs):
        known = by_reason.get(reason)
        by_reason[reason] = condition if known is None else known | condition
    if not by_reason:
        return F.array().cast("array<string>")
    names = list(by_reason)
    groups = [names[start : start + _BITS] for start in range(0, len(names), _BITS)]
    return F.concat(*(_named(group, by_reason) for group in groups))


def _named(names: Sequence[str], conditions: Mapping[str, Column]) -> Column:
    """An array of the names whose condition is true.

    Looked up, as most rows fail few bounds: an array of all that could be, and what is left of it
    without the others, took more than all else that is done with a row.
    """
    bits = [F.when(conditions[name], 1 << i).otherwise(0) for i, name in enumerate(names)]
    arrays = [[n for i, n in enumerate(names) if at >> i & 1] for at in range(1 << len(names))]
    known = F.from_json(F.lit(json.dumps(arrays)), "array<array<string>>")
    return F.get(known, reduce(lambda a, b: a + b, bits))


def _conditions(
    bounds: Sequence[Stated], schema: StructType, cutoffs: Cutoffs
) -> list[tuple[str, Column]]:
    """What makes a row fail, by reason, in order; the conditions are never null."""
    refuse_texts(bounds, schema)
    found = []
    for stated in bounds:
        measure = stated.bound.measure
        # A bound is rounded as its measure was: else a float32 0.29 would lie under a double 0.29.
        kind = schema[measure].dataType
        compared = "float" if isinstance(kind, FloatType) else "double"
        value, is_missing = F.col(measure).cast(compared), F.col(measure).isNull()
        if isinstance(kind, FractionalType):
            is_missing = is_missing | F.isnan(value)
        found.append((f"{measure}_missing", is_missing))
        for side in stated.bound.sides:
            end, last_id = cutoffs.side(stated, side)
            end = end.cast(compared)
            is_outside = value < end if side == "low" else value > end
            if last_id is not None:
                is_outside = is_outside | ((value == end) & (F.col("pair_id") > last_id))
            reason = f"{measure}_{side}"
            found.append((reason, ~is_missing & F.coalesce(is_outside, F.lit(False))))
    return found
