"""Bounds that are stated by what they do, found in what was measured.

A share that is kept is an exact rank (see `quantiles`); a share of mismatched pairs that may pass
is read off the sample that `score` took of them for each language, which the driver holds.
Cost: for shares that are kept three or four scans of the columns concerned, whatever their number;
for shares of mismatched pairs that sample, and the languages there are.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.core.errors import ConfigError
from pipeline.core.filter import Relative
from pipeline.match.cutoffs import LANGUAGE, Cutoff, Cutoffs, Stated, given
from pipeline.match.quantiles import ranked
from pipeline.match.verdicts import fails, refuse_texts

# A language has enough mismatched pairs when this many of them may pass: the share that really
# passes is then mostly within a third of what was asked for (a Poisson count of 10 deviates by
# 0.32 of itself). With fewer, those of all languages together stand in.
LEAST_PASSING = 10

Scores = npt.NDArray[np.float32]
_Side = tuple[Stated, str, Relative]


def resolve(bounds: Sequence[Stated], measures: DataFrame, mismatched: DataFrame) -> Cutoffs:
    """What every side of the bounds comes to.

    measures: the columns that are bounded, pair_id and caption_lang. mismatched: of NULL_SCORES.
    Raises ConfigError for a bound on a column that holds no number, and where there are too few
    mismatched pairs to tell.
    """
    refuse_texts(bounds, measures.schema)
    sides = [(s, side, value) for s in bounds for side, value in s.relative().items()]
    plain = given(bounds)
    kept = [side for side in sides if side[2].keep is not None]
    accepted = [side for side in sides if side[2].false_accept is not None]
    found = list(plain.rows)
    if kept:
        found += _by_rank(kept, _questions(kept, bounds, plain, measures))
    if accepted:
        found += _by_mismatched(accepted, measures, mismatched)
    return Cutoffs(tuple(found))


def _questions(
    sides: Sequence[_Side], bounds: Sequence[Stated], plain: Cutoffs, measures: DataFrame
) -> DataFrame:
    """The rows among which ranks are taken, as `ranked` wants them: the first are kept."""
    numeric = [part for stated in bounds if (part := stated.given())]
    passes = ~fails(numeric, measures.schema, plain)
    asked = []
    for number, (stated, side, relative) in enumerate(sides):
        value = F.col(stated.bound.measure).cast("double")
        counts = value.isNotNull() & ~F.isnan(value)
        if relative.of == "passing":
            counts = counts & passes
        group = F.lit(f"{number}:")
        if relative.per == "language":
            group = F.concat(group, F.col(LANGUAGE))
        # Not a negation: it would tell 0.0 from -0.0.
        place = F.lit(0.0) - value if side == "low" else F.lit(0.0) + value
        asked.append(F.struct(F.when(counts, group).alias("group"), place.alias("value")))
    rows = measures.select(F.col("pair_id").alias("id"), F.inline(F.array(*asked)))
    return rows.where("group IS NOT NULL")


def _by_rank(sides: Sequence[_Side], rows: DataFrame) -> list[Cutoff]:
    def count(group: str, pairs: int) -> int:
        keep = sides[int(group.partition(":")[0])][2].keep
        # Exact: 0.07 * 100 is over 7 as a product of doubles.
        return math.ceil(Fraction(repr(keep)) * pairs)

    found = []
    for group, at in ranked(rows, count).items():
        number, _, language = group.partition(":")
        stated, side, relative = sides[int(number)]
        found.append(
            Cutoff(
                stated.filter,
                stated.bound.measure,
                side,
                language if relative.per == "language" else None,
                0.0 - at.value if side == "low" else at.value,
                at.last_id,
                "keep",
                at.rows,
                at.k,
            )
        )
    return found


def _by_mismatched(
    sides: Sequence[_Side], measures: DataFrame, mismatched: DataFrame
) -> list[Cutoff]:
    wanted = sorted({stated.bound.measure for stated, _, _ in sides})
    sample = (
        mismatched.where(F.col("measure").isin(wanted) & ~F.isnan("similarity"))
        .select("lang", "measure", "similarity")
        .toArrow()
    )
    languages = sorted(row[0] for row in measures.select(LANGUAGE).distinct().collect())
    return [
        cutoff
        for stated, side, relative in sides
        for cutoff in _accepting(stated, side, relative, sample, languages)
    ]


def _accepting(
    stated: Stated, side: str, relative: Relative, sample: pa.Table, languages: Sequence[str]
) -> list[Cutoff]:
    """A cutoff for every language."""
    measure, share = stated.bound.measure, Fraction(repr(relative.false_accept))
    mine = sample.filter(pc.equal(sample.column("measure"), measure))
    pooled = _scores(mine)
    if share * len(pooled) < 1:
        raise ConfigError(
            f"filter {stated.filter}: false_accept = {relative.false_accept} of {measure} takes "
            f"{math.ceil(1 / share):,} mismatched pairs or more, and there are {len(pooled):,}"
        )
    found = []
    for language in languages:
        scores = _scores(mine.filter(pc.equal(mine.column("lang"), language)))
        is_enough = share * len(scores) >= LEAST_PASSING
        among = scores if is_enough else pooled
        value, passing = admitting(among, math.floor(share * len(among)), side)
        how = "false_accept" if is_enough else "false_accept_pooled"
        found.append(
            Cutoff(stated.filter, measure, side, language, value, None, how, len(among), passing)
        )
    return found


def _scores(rows: pa.Table) -> Scores:
    found: Scores = rows.column("similarity").to_numpy().astype(np.float32)
    return found


def admitting(scores: Scores, most: int, side: str) -> tuple[float, int]:
    """The widest bound that at most `most` of the scores pass, and how many do.

    scores: more than `most`, in any order. The bound is the float32 next to the first score that
    must not pass, so it belongs to the interval and that score does not.
    """
    if side == "low":
        first_out = np.partition(scores, len(scores) - 1 - most)[len(scores) - 1 - most]
        value = np.nextafter(first_out, np.float32(np.inf))
        return float(value), int((scores >= value).sum())
    first_out = np.partition(scores, most)[most]
    value = np.nextafter(first_out, np.float32(-np.inf))
    return float(value), int((scores <= value).sum())
