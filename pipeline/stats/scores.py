"""Similarities by language, with the bound drawn and, beside them, those of mismatched pairs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.stats.charts import Histogram
from pipeline.stats.wording import Ends

LANGUAGES_SHOWN = 12
_SUFFIX = "_by_language"
# How a bound was found, for people.
HOW = {
    "value": "as given",
    "keep": "share kept",
    "false_accept": "mismatched pairs of the language",
    "false_accept_pooled": "mismatched pairs of all languages: the language has too few",
}


@dataclass(frozen=True)
class Cut:
    """A row of CUTOFFS, as the report shows it."""

    filter: str
    measure: str
    side: str
    language: str | None
    value: float
    how: str
    rows: int | None
    passing: int | None


def ends(cuts: Iterable[Cut]) -> Ends:
    """The values of each side of a bound, see `wording.limits`."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for cut in cuts:
        found.setdefault((cut.filter, cut.measure, cut.side), []).append(cut.value)
    return found


def figure(measure: str) -> str:
    """The name of the figure of a measure by language; its series are '<language>:kept',
    '<language>:dropped' and '<language>:mismatched'."""
    return measure + _SUFFIX


def extremes(measures: Sequence[str]) -> str:
    """The lowest and highest similarity of each measure, mismatched pairs included: measure, low,
    high (floats; null without any that is a number)."""
    measured = " UNION ALL ".join(
        f"SELECT '{m}' AS measure, min({m}) AS low, max({m}) AS high FROM measures "
        f"WHERE NOT isnan({m})"
        for m in measures
    )
    mismatched = (
        "SELECT measure, min(similarity) AS low, max(similarity) AS high FROM null_scores "
        "WHERE NOT isnan(similarity) GROUP BY measure"
    )
    return (
        "SELECT measure, CAST(min(low) AS DOUBLE) AS low, CAST(max(high) AS DOUBLE) AS high FROM "
        f"({measured} UNION ALL {mismatched}) GROUP BY measure ORDER BY measure"
    )


def mismatched(measure: str) -> str:
    """The mismatched pairs of a measure: lang, similarity (a double, a number)."""
    return (
        "SELECT lang, CAST(similarity AS DOUBLE) AS similarity FROM null_scores "
        f"WHERE measure = '{measure}' AND NOT isnan(similarity)"
    )


@dataclass(frozen=True)
class Language:
    """One chart. mismatched: how many mismatched pairs were sampled. kept_share: of its pairs, 0
    to 1. cuts: the bounds on the measure that hold for the language."""

    language: str
    chart: Histogram
    pairs: float
    mismatched: float
    kept_share: float
    cuts: tuple[Cut, ...]


def languages(
    measure: str,
    edges: Sequence[float],
    counts: dict[str, dict[int, float]],
    cuts: Sequence[Cut],
) -> list[Language]:
    """The charts of a measure, the language with most pairs first.

    counts: '<language>:<kind>' -> bin -> pairs.
    """
    found = []
    for language in sorted({series.rpartition(":")[0] for series in counts}):
        kept, dropped, mismatched = (
            tuple(counts.get(f"{language}:{kind}", {}).get(i, 0.0) for i in range(len(edges) - 1))
            for kind in ("kept", "dropped", "mismatched")
        )
        pairs = sum(kept) + sum(dropped)
        mine = [c for c in cuts if c.measure == measure and c.language in (None, language)]
        low = max((c for c in mine if c.side == "low"), key=lambda c: c.value, default=None)
        high = min((c for c in mine if c.side == "high"), key=lambda c: c.value, default=None)
        # As many as there are pairs, so that the shapes can be compared.
        scale = pairs / sum(mismatched) if sum(mismatched) else 0.0
        chart = Histogram(
            f"{measure} of {language}",
            tuple(edges),
            kept,
            dropped,
            low.value if low else None,
            high.value if high else None,
            low_filter=low.filter if low else "",
            high_filter=high.filter if high else "",
            unit="similarity",
            beside=tuple(n * scale for n in mismatched) if scale else (),
        )
        share = sum(kept) / pairs if pairs else 0.0
        found.append(Language(language, chart, pairs, sum(mismatched), share, tuple(mine)))
    return sorted(found, key=lambda one: (-one.pairs, one.language))
