"""Bounds as SQL: which of them a pair fails, and why."""

from collections.abc import Iterable, Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType, FloatType, NumericType, StructType

from pipeline.core.errors import ConfigError
from pipeline.core.filter import Bound, Filter


def bounds_of(filters: Mapping[str, Filter], known: Iterable[str]) -> list[Bound]:
    """All bounds in config order. ConfigError when one is on a measure that is not known."""
    measures = set(known)
    found = []
    for name, chosen in filters.items():
        for bound in chosen.bounds():
            if bound.measure not in measures:
                raise ConfigError(f"filter {name} bounds {bound.measure}, which nothing measures")
            found.append(bound)
    return found


def failed_reasons(bounds: list[Bound], schema: StructType) -> Column:
    """An array of strings: the reason of every bound a row fails, in order, each once.

    Ends belong to the interval. Null and NaN are missing. ConfigError for a bound on a column
    that holds no number.
    """
    reasons = [_reason(bound, schema) for bound in bounds]
    if not reasons:
        return F.array().cast("array<string>")
    return F.array_distinct(F.array_compact(F.array(*reasons)))


def _reason(bound: Bound, schema: StructType) -> Column:
    """The reason a row fails one bound, or null."""
    kind = schema[bound.measure].dataType
    if not isinstance(kind, NumericType | BooleanType):
        raise ConfigError(f"{bound.measure} is {kind.simpleString()}, and cannot be bounded")
    # A bound is rounded as its measure was: else a float32 0.29 would lie under a double 0.29.
    compared = "float" if isinstance(kind, FloatType) else "double"
    value = F.col(bound.measure).cast(compared)
    is_missing = value.isNull() | F.isnan(value)
    reason = F.when(is_missing, F.lit(f"{bound.measure}_missing"))
    if bound.low is not None:
        is_low = value < F.lit(float(bound.low)).cast(compared)
        reason = reason.when(is_low, F.lit(f"{bound.measure}_low"))
    if bound.high is not None:
        is_high = value > F.lit(float(bound.high)).cast(compared)
        reason = reason.when(is_high, F.lit(f"{bound.measure}_high"))
    return reason
