"""The decide stage: hand-written measures in, verdicts and reasons out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.errors import ConfigError
from pipeline.core.filter import Bound, Filter
from pipeline.core.ids import image_id
from pipeline.core.storage import Store
from pipeline.core.tables import NEIGHBORS, PAIR_VIEW, column, measures_table
from pipeline.stages import decide


@dataclass(frozen=True)
class Similarity(Filter):
    min_similarity: float = 0.29

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("clip_similarity", low=self.min_similarity),)


@dataclass(frozen=True)
class Length(Filter):
    measures: ClassVar[tuple[pa.Field, ...]] = (
        column("caption_chars", pa.int32(), "characters", null="never in truth"),
        column("caption_odd", pa.float64(), "anything", null="not known"),
        column("is_fine", pa.bool_(), "a flag", null="not known"),
    )

    def bounds(self) -> tuple[Bound, ...]:
        return (
            Bound("caption_chars", low=5, high=10),
            Bound("caption_odd", high=1.5),
            Bound("is_fine", low=1),
        )


@dataclass(frozen=True)
class CaptionsPerImage(Filter):
    most: int = 1

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_rank", high=self.most - 1),)


@dataclass(frozen=True)
class NearDuplicate(Filter):
    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("is_representative", low=1),)


@dataclass(frozen=True)
class Unknown(Filter):
    measure_name: str = "nowhere"

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound(self.measure_name, low=1),)


FILL = {pa.int32(): 1, pa.int64(): 1, pa.string(): "x", pa.binary(): b"x", pa.float32(): 0.5}


def pair(name: str, image: str, **other: Any) -> dict[str, Any]:
    """A pair that passes every bound used here, of a picture of its own."""
    row: dict[str, Any] = {f.name: FILL[f.type] for f in PAIR_VIEW}
    row |= {
        "pair_id": image_id(name),
        "image_id": image_id(image),
        "fingerprint": image_id("picture of " + image),
        "caption_chars": 7,
        "caption_odd": 0.0,
        "is_fine": True,
    }
    return row | other


def edge(a: str, b: str, distance: int) -> dict[str, Any]:
    low, high = sorted(image_id("picture of " + image) for image in (a, b))
    return {
        "fingerprint_a": low,
        "fingerprint_b": high,
        "distance": distance,
        "distance256": 0,
        "rule": "perceptual",
    }


def run(
    spark: Any,
    root: Path,
    filters: dict[str, Filter],
    pairs: dict[str, dict[str, Any]],
    edges: list[dict[str, Any]] | None = None,
    **config: Any,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Decisions by the pairs' short names, and the account."""
    store = Store(str(root))
    fields = [f for chosen in filters.values() for f in chosen.measures]
    for table, rows in ((measures_table(fields), list(pairs.values())), (NEIGHBORS, edges or [])):
        with store.publish_part(table, 0) as sink:
            names = table.schema.names
            sink.write(pa.Table.from_pylist([{n: r[n] for n in names} for r in rows], table.schema))
    section = decide.DecideSection(**config)
    sections = {"run": RunSection(root=str(root)), "decide": section}
    ctx: Context[Any] = Context("decide", spark, store, section, sections, filters)
    (account,) = decide.build(ctx)
    account.check("decide")
    rows = pq.read_table(store.path("decisions")).to_pylist()
    assert len(rows) == len(pairs)
    short = {row["pair_id"]: name for name, row in pairs.items()}
    return {short[r["pair_id"]]: r for r in rows}, account.to_json()


def reasons(decisions: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    for row in decisions.values():
        assert row["is_kept"] == (not row["reasons"])
        assert row["reason"] == (row["reasons"][0] if row["reasons"] else None)
    return {name: row["reasons"] for name, row in decisions.items()}


@pytest.mark.spark
def test_bounds_are_closed_and_name_measure_and_side(spark: Any, tmp_path: Path) -> None:
    pairs = {
        "fine": pair("fine", "a"),
        "low end": pair("low end", "b", caption_chars=5, caption_odd=-1e300),
        "high end": pair("high end", "c", caption_chars=10, caption_odd=1.5),
        "float end": pair("float end", "d", clip_similarity=0.29),
        "short": pair("short", "e", caption_chars=4),
        "long": pair("long", "f", caption_chars=11),
        "null": pair("null", "g", caption_chars=None, is_fine=None),
        "nan": pair("nan", "h", caption_odd=float("nan"), clip_similarity=float("nan")),
        "infinite": pair("infinite", "i", caption_odd=float("inf")),
        "all": pair(
            "all", "j", caption_chars=0, caption_odd=2.0, is_fine=False, clip_similarity=0.1
        ),
    }
    filters = {"length": Length(), "similarity": Similarity()}
    decisions, account = run(spark, tmp_path, filters, pairs)
    assert reasons(decisions) == {
        "fine": [],
        "low end": [],
        "high end": [],
        "float end": [],
        "short": ["caption_chars_low"],
        "long": ["caption_chars_high"],
        "null": ["caption_chars_missing", "is_fine_missing"],
        "nan": ["caption_odd_missing", "clip_similarity_missing"],
        "infinite": ["caption_odd_high"],
        "all": ["caption_chars_low", "caption_odd_high", "is_fine_low", "clip_similarity_low"],
    }
    assert all(row["duplicate_of"] is None for row in decisions.values())
    assert account == {
        "unit": "pairs",
        "in": 10,
        "kept": 4,
        "dropped": {
            "caption_chars_low": 2,
            "caption_chars_high": 1,
            "caption_chars_missing": 1,
            "caption_odd_high": 1,
            "caption_odd_missing": 1,
        },
    }


@pytest.mark.spark
def test_caption_rank_counts_passing_pairs_only(spark: Any, tmp_path: Path) -> None:
    pairs = {
        "best but short": pair("p1", "a", clip_similarity=0.9, caption_chars=1),
        "second": pair("p2", "a", clip_similarity=0.8),
        "third": pair("p3", "a", clip_similarity=0.7),
        "fourth": pair("p4", "a", clip_similarity=0.6),
        "alone": pair("p5", "b", clip_similarity=0.3),
        "tie 1": pair("t1", "c"),
        "tie 2": pair("t2", "c"),
        "tie 3": pair("t3", "c"),
    }
    ties = sorted(("tie 1", "tie 2", "tie 3"), key=lambda name: pairs[name]["pair_id"])
    # The rank comes after the other bounds, wherever it stands in the config.
    filters = {"captions": CaptionsPerImage(2), "length": Length(), "similarity": Similarity()}
    decisions, _ = run(spark, tmp_path, filters, pairs)
    assert reasons(decisions) == {
        "best but short": ["caption_chars_low"],
        "second": [],
        "third": [],
        "fourth": ["caption_rank_high"],
        "alone": [],
        ties[0]: [],
        ties[1]: [],
        ties[2]: ["caption_rank_high"],
    }


@pytest.mark.spark
@pytest.mark.parametrize("driver_edges", [0, 1000])
def test_survivors_are_chosen_among_pictures_that_pass(
    spark: Any, tmp_path: Path, driver_edges: int
) -> None:
    big, middle, small = ({"original_width": n} for n in (300, 200, 100))
    same = {"fingerprint": image_id("shared")}
    pairs = {
        # The best picture fails another bound: it takes nobody down with it.
        "big fails": pair("big fails", "a1", **big, caption_chars=1),
        "middle stays": pair("middle stays", "a2", **middle),
        "small goes": pair("small goes", "a3", **small),
        # A chain: the end is no neighbour of the kept head, so it stays.
        "head": pair("head", "b1", **big),
        "link": pair("link", "b2", **middle),
        "tail": pair("tail", "b3", **small),
        # One picture under three URLs; the best by bytes stands for it, with all its captions.
        "copy": pair("copy", "c1", **same),
        "copy heavier": pair("copy heavier", "c2", **same, body_bytes=9),
        "its other caption": pair("its other caption", "c2", **same, body_bytes=9),
        "copy failing": pair("copy failing", "c3", **same, body_bytes=99, caption_chars=1),
        # A group of copies that gives way as a whole.
        "winner": pair("winner", "d1", **big),
        "loser": pair("loser", "d2", fingerprint=image_id("picture of loser")),
        "loser's copy": pair("loser's copy", "d3", fingerprint=image_id("picture of loser")),
        # Similarity decides, then the id.
        "better caption": pair("better caption", "e1", clip_similarity=0.6),
        "worse caption": pair("worse caption", "e2", clip_similarity=0.4),
        "worse's second": pair("worse's second", "e2", clip_similarity=0.5),
        "alone": pair("alone", "f"),
    }
    edges = [
        edge("a1", "a2", 1),
        edge("a1", "a3", 2),
        edge("a2", "a3", 4),
        edge("b1", "b2", 2),
        edge("b2", "b3", 2),
        edge("d1", "loser", 3),
        edge("e1", "e2", 0),
    ]
    filters = {"near": NearDuplicate(), "length": Length(), "captions": CaptionsPerImage(9)}
    decisions, account = run(spark, tmp_path, filters, pairs, edges, driver_edges=driver_edges)
    dropped = {name: row for name, row in decisions.items() if not row["is_kept"]}
    duplicates = {
        name: (row["duplicate_of"], row["duplicate_distance"])
        for name, row in dropped.items()
        if row["reasons"] == ["is_representative_low"]
    }
    assert duplicates == {
        "small goes": (image_id("a2"), 4),
        "link": (image_id("b1"), 2),
        "copy": (image_id("c2"), 0),
        "loser": (image_id("d1"), 3),
        "loser's copy": (image_id("d1"), 3),
        "worse caption": (image_id("e1"), 0),
        "worse's second": (image_id("e1"), 0),
    }
    assert dropped.keys() - duplicates.keys() == {"big fails", "copy failing"}
    for name in decisions.keys() - duplicates.keys():
        assert decisions[name]["duplicate_of"] is decisions[name]["duplicate_distance"] is None
    assert account["dropped"] == {"is_representative_low": 7, "caption_chars_low": 2}
    reasons(decisions)


@pytest.mark.spark
def test_without_filters_everything_is_kept(spark: Any, tmp_path: Path) -> None:
    decisions, account = run(spark, tmp_path, {}, {"p": pair("p", "a"), "q": pair("q", "a")})
    assert reasons(decisions) == {"p": [], "q": []}
    assert account == {"unit": "pairs", "in": 2, "kept": 2, "dropped": {}}


@pytest.mark.spark
@pytest.mark.parametrize("measure", ["nowhere", "caption"])
def test_a_bound_on_no_measure_is_refused(spark: Any, tmp_path: Path, measure: str) -> None:
    with pytest.raises(ConfigError, match=measure):
        run(spark, tmp_path, {"odd": Unknown(measure)}, {"p": pair("p", "a")})
    assert not (tmp_path / "decisions").exists()
