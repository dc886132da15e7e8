"""What other bounds would keep and drop of a measured run. Nothing is written.

Cost: two scans of the measures for all settings together, and for each of them what `decide` does
with the pairs that pass: ranks of captions and survivors, by the same code, so that the counts are
those of `decide`. A bound that is a share to keep adds its ranks for each setting.
"""

import itertools
import json
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipeline.core.context import Context
from pipeline.core.errors import ConfigError
from pipeline.core.filter import Filter
from pipeline.core.progress import watch
from pipeline.core.spark import hold
from pipeline.core.tables import NULL_SCORES
from pipeline.match.calibration import resolve
from pipeline.match.cutoffs import Cutoffs, Stated
from pipeline.match.verdicts import fails
from pipeline.stages import balance, decide
from pipeline.stages.score_section import measures_of
from pipeline.stats.outcomes import Drops, Outcome, drops

MOST_SETTINGS = 64
_BITS = 60  # of a long, for conditions
# What `decide` reads of a pair that passes.
_OF_PASSING = (
    "pair_id",
    "image_id",
    "fingerprint",
    "original_width",
    "original_height",
    "body_bytes",
    "clip_similarity",
)


def split(sets: Sequence[str], kinds: Mapping[str, type[Filter]]) -> tuple[list[str], list[str]]:
    """The settings that are overrides of the recipe, and those that name a filter and values."""
    varied = [text for text in sets if text.partition(".")[0].strip() in kinds]
    return [text for text in sets if text not in varied], varied


def settings(varied: Sequence[str], enabled: Mapping[str, Filter]) -> list[list[str]]:
    """Every combination of the values, each as overrides of a recipe.

    varied: such as "clip_similarity.low=0.28,0.3". enabled: the filters of the recipe.
    Raises ConfigError for what is no bound of an enabled filter, or no list of values.
    """
    if not varied:
        raise ConfigError('nothing to vary: give e.g. SET="clip_similarity.low=0.28,0.30"')
    axes = [_axis(text, enabled) for text in varied]
    count = reduce(lambda a, b: a * b, map(len, axes))
    if count > MOST_SETTINGS:
        raise ConfigError(f"{count} combinations of values, over {MOST_SETTINGS}; give fewer")
    return [list(chosen) for chosen in itertools.product(*axes)]


def _axis(text: str, enabled: Mapping[str, Filter]) -> list[str]:
    key, equals, values = text.partition("=")
    name, dot, setting = key.strip().partition(".")
    if not (equals and dot and setting):
        raise ConfigError(f"{text}: expected filter.setting=value,value")
    if name not in enabled:
        raise ConfigError(
            f"{text}: the recipe does not enable [filters.{name}], so that nothing is measured for "
            f"it; it enables {', '.join(enabled) or 'none'}"
        )
    allowed = type(enabled[name]).bound_settings
    if setting not in allowed:
        raise ConfigError(
            f"{text}: {name}.{setting} is no setting that only moves a bound; "
            f"{name} has {', '.join(allowed) or 'none'}"
        )
    try:
        found = tomllib.loads(f"value = [{values}]")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{text}: no values of TOML separated by commas: {error}") from None
    if not found:
        raise ConfigError(f"{text}: no value is given")
    return [f"filters.{name}.{setting}={_toml(value)}" for value in found]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


@dataclass(frozen=True)
class Variant:
    """A setting to look at: what it is called, and the filters by it."""

    label: str
    filters: Mapping[str, Filter]


@dataclass(frozen=True)
class _Judged:
    """A variant, what it decides by, and the bit of the condition of each of its filters."""

    variant: Variant
    decides: decide.Policy
    bits: list[tuple[str, int]]


def compare(ctx: Context[Any], variants: Sequence[Variant]) -> list[Outcome]:
    """What each variant keeps and drops.

    ctx: of `decide`, with the filters of the recipe, whose measures are there. Raises as
    `decide.policy` and `calibration.resolve`.
    """
    table = measures_of(ctx.sections, ctx.filters)
    measures = ctx.read(table)
    rows, conditions, judged = measures, list[Column](), list[_Judged]()
    known: dict[object, int] = {}
    for number, variant in enumerate(variants):
        decides = decide.policy(ctx.config, variant.filters, table.schema.names)
        found = resolve(decides.early, measures, ctx.read(NULL_SCORES))
        cutoffs = Cutoffs(found.rows, f"{number} ")
        rows = cutoffs.at(rows)
        bits = []
        for name, bounds in _by_filter(decides.early):
            # What came out the same needs no condition of its own.
            key = name, tuple(row for row in cutoffs.rows if row.filter == name)
            if key not in known:
                known[key] = len(conditions)
                conditions.append(fails(bounds, measures.schema, cutoffs))
            bits.append((name, known[key]))
        judged.append(_Judged(variant, decides, bits))
    words = _words(conditions)
    with watch(ctx.spark, "what-if: bounds"):
        patterns = _patterns(rows, words)
    is_needed = any(one.decides.late for one in judged)
    with ExitStack() as held:
        passing = hold(_passing_any(rows, words, judged), held) if is_needed else rows
        return [_outcome(ctx, patterns, passing, one) for one in judged]


def _by_filter(bounds: Sequence[Stated]) -> list[tuple[str, list[Stated]]]:
    found: dict[str, list[Stated]] = {}
    for stated in bounds:
        found.setdefault(stated.filter, []).append(stated)
    return list(found.items())


def _words(conditions: Sequence[Column]) -> dict[str, Column]:
    """The conditions as bits of longs."""
    found = {}
    for start in range(0, len(conditions), _BITS):
        bits = [
            F.when(condition, F.lit(1 << i)).otherwise(F.lit(0)).cast("long")
            for i, condition in enumerate(conditions[start : start + _BITS])
        ]
        found[f"word_{start // _BITS}"] = reduce(lambda a, b: a.bitwiseOR(b), bits)
    return found


def _patterns(rows: DataFrame, words: Mapping[str, Column]) -> dict[int, int]:
    """How many rows fail just these conditions, as bits of one number."""
    counted = rows.select(*(word.alias(name) for name, word in words.items()))
    found: dict[int, int] = {}
    for row in counted.groupBy(*words).count().collect():
        pattern = sum(row[name] << i * _BITS for i, name in enumerate(words))
        found[pattern] = found.get(pattern, 0) + row["count"]
    return found


def _passing_any(
    rows: DataFrame, words: Mapping[str, Column], judged: Sequence[_Judged]
) -> DataFrame:
    """The pairs that pass by any of the settings, with the words."""
    rows = rows.withColumns(dict(words))
    passes = [_passes(one) for one in judged]
    balanced = [name for one in judged for name in balance.columns(one.decides.filters)]
    moves = any(one.decides.section.captions != decide.Captions.OWN for one in judged)
    texts = ["caption"] if moves else []
    columns = dict.fromkeys((*_OF_PASSING, *texts, *balanced, *words))
    return rows.where(reduce(lambda a, b: a | b, passes)).select(*columns)


def _passes(judged: _Judged) -> Column:
    """Whether a row with the words fails none of a setting's conditions."""
    masks: dict[int, int] = {}
    for _, bit in judged.bits:
        masks[bit // _BITS] = masks.get(bit // _BITS, 0) | 1 << bit % _BITS
    zero = [F.col(f"word_{n}").bitwiseAND(F.lit(mask)) == 0 for n, mask in masks.items()]
    return reduce(lambda a, b: a & b, zero) if zero else F.lit(True)


def _outcome(
    ctx: Context[Any], patterns: Mapping[int, int], passing: DataFrame, judged: _Judged
) -> Outcome:
    early = drops(patterns, judged.bits)
    pairs = sum(patterns.values())
    kept, decides = pairs - sum(drop.cumulative for drop in early), judged.decides
    late: tuple[Drops, ...] = ()
    if decides.late:
        with watch(ctx.spark, f"what-if: {judged.variant.label}"):
            late = _late(ctx, passing.where(_passes(judged)), decides)
    kept -= sum(drop.cumulative for drop in late)
    return Outcome(judged.variant.label, pairs, kept, (*early, *late))


def _late(ctx: Context[Any], passing: DataFrame, decides: decide.Policy) -> tuple[Drops, ...]:
    """What is dropped of the pairs that pass the early bounds, by the filters that judge these."""
    with ExitStack() as held:
        ranked = hold(decide.judge_ranks(passing, decides), held)
        decided = decide.judge_rest(ctx, ranked, decides, held)
        first = F.try_element_at("reasons", F.lit(1)).alias("reason")
        counts = {row["reason"]: row["count"] for row in decided.groupBy(first).count().collect()}
    found: dict[str, int] = {}
    for stated in decides.late:
        mine = sum(counts.pop(reason, 0) for reason in stated.bound.reasons)
        found[stated.filter] = found.get(stated.filter, 0) + mine
    return tuple(Drops(name, n, n, n, is_late=True) for name, n in found.items())
