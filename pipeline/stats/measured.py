"""What the report shows of measures: histograms with their bounds, and what moving these keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline.core.tables import PICTURE
from pipeline.stats import charts, scores, wording
from pipeline.stats.bars import Bar, bars
from pipeline.stats.figures import Column
from pipeline.stats.moved import Curve, curves

if TYPE_CHECKING:
    from pipeline.stats.page import Figures

# Always in sight, with a bound or without.
_IN_SIGHT = frozenset(
    {
        "body_bytes",
        "caption_chars",
        "caption_images",
        "caption_words",
        "clip_similarity",
        "original_height",
        "original_width",
        "width_over_height",
    }
)
_OF_PICTURES = (*PICTURE, "image_", "aspect_", "width_", "is_format", "is_representative")
_OF_CAPTIONS = ("caption", "concept", "has_", "is_counter", "is_filename", "is_interface", "starts")


@dataclass(frozen=True)
class Measure:
    """One measure to show. chart: None where no pair has a value. rows: of yes and no, as bars."""

    column: Column
    chart: charts.Histogram | None
    missing: float
    limit: wording.Limit | None
    rows: Sequence[Bar] = ()

    @property
    def curves(self) -> tuple[Curve, ...]:
        return self.chart.curves if self.chart else ()


@dataclass
class Subject:
    """Measures of one kind of thing, by how they are shown. constant: (name, the only value)."""

    name: str
    shown: list[Measure] = field(default_factory=list)
    flags: list[Measure] = field(default_factory=list)
    folded: list[Measure] = field(default_factory=list)
    constant: list[tuple[str, float]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.shown or self.flags or self.folded or self.constant)


def edge_label(edge: float) -> str:
    """A bin's low edge as its bucket in the stats table."""
    return str(int(edge)) if edge == int(edge) else repr(edge)


def histogram(
    figures: "Figures", column: Column, limit: wording.Limit | None = None
) -> charts.Histogram | None:
    """The histogram of a measure; None when no pair has a value."""
    edges = tuple(v for _, v in sorted(figures.series("edges", column.name).items()))
    if len(edges) < 2:
        return None
    labels = [edge_label(e) for e in edges[:-1]]
    kept, dropped, alone = (
        tuple(figures.series(column.name, series).get(label, 0.0) for label in labels)
        for series in ("kept", "dropped", "alone")
    )
    limit = limit or wording.Limit()
    # What differs by language is drawn by language.
    low = limit.low if limit.low_to is None else None
    high = limit.high if limit.high_to is None else None
    made = charts.Histogram(
        column.name, edges, kept, dropped, low, high, column.is_integer, column.unit,
        limit.low_filter, limit.high_filter,
    )  # fmt: skip
    if len(edges) < 4 or (low is not None and low == high):
        return made
    return replace(made, curves=tuple(curves(edges, kept, alone, low, high, column.is_integer)))


def subjects(
    columns: Sequence[Column], limits: Mapping[str, wording.Limit], figures: "Figures"
) -> list[Subject]:
    """All measures, by what they are of."""
    found = {name: Subject(name) for name in ("Captions", "Pictures", "Pairs and pages")}
    for column in columns:
        limit = limits.get(column.name)
        chart = histogram(figures, column, limit)
        missing = sum(figures.value(column.name, s, "missing") for s in ("kept", "dropped"))
        # What was not asked for (SemDeDup's measure) has no value and no bound.
        if chart is None and not (missing and limit):
            continue
        subject = found[_subject(column.name)]
        one = Measure(column, chart, missing, limit)
        if chart is not None and chart.is_constant and not missing:
            subject.constant.append((column.name, chart.edges[0]))
        elif chart is not None and chart.is_flag:
            subject.flags.append(replace(one, rows=_flag(chart)))
        elif limit or column.name in _IN_SIGHT:
            subject.shown.append(one)
        else:
            subject.folded.append(one)
    return [subject for subject in found.values() if not subject.is_empty]


def _subject(name: str) -> str:
    if name.startswith(_OF_CAPTIONS):
        return "Captions"
    return "Pictures" if name.startswith(_OF_PICTURES) else "Pairs and pages"


def _flag(chart: charts.Histogram) -> list[Bar]:
    names = ("no", "yes")
    judged = {n: chart.kept[i] + chart.dropped[i] for i, n in enumerate(names)}
    return bars(judged, dict(zip(names, chart.kept, strict=False)))


def by_language(
    measures: Sequence[str], figures: "Figures", cuts: Sequence[scores.Cut]
) -> list[tuple[str, list[scores.Language]]]:
    """The charts of every measure that is shown by language."""
    found = []
    for measure in measures:
        name = scores.figure(measure)
        edges = [edge for _, edge in sorted(figures.series("edges", name).items())]
        labels = {edge_label(edge): i for i, edge in enumerate(edges[:-1])}
        counts = {
            series: {labels[bucket]: rows for bucket, rows in counted.items()}
            for series, counted in figures.all_series(name).items()
        }
        if counts:
            found.append((measure, scores.languages(measure, edges, counts, cuts)))
    return found
