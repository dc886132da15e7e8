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
from pipeline.core.tables import (
    COPIES,
    NEIGHBORS,
    NULL_SCORES,
    PAIR_VIEW,
    RELEASED_NEIGHBORS,
    column,
    measures_table,
)
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


def edge(a: str, b: str, distance: int, rule: str = "perceptual") -> dict[str, Any]:
    return _ends(a, b) | {"distance": distance, "distance256": 0, "rule": rule}


def copy(a: str, b: str, similarity: float) -> dict[str, Any]:
    return _ends(a, b) | {"similarity": similarity}


def _ends(a: str, b: str) -> dict[str, Any]:
    low, high = sorted(image_id("picture of " + image) for image in (a, b))
    return {"fingerprint_a": low, "fingerprint_b": high}


def in_release(image: str, released: str, distance: int) -> dict[str, Any]:
    return {
        "fingerprint": image_id("picture of " + image),
        "released_image_id": image_id(released),
        "release": "2025",
        "distance": distance,
        "distance256": 0,
    }


def run(
    spark: Any,
    root: Path,
    filters: dict[str, Filter],
    pairs: dict[str, dict[str, Any]],
    edges: list[dict[str, Any]] | None = None,
    copies: list[dict[str, Any]] | None = None,
    released: list[dict[str, Any]] | None = None,
    mismatched: list[dict[str, Any]] | None = None,
    **config: Any,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Decisions by the pairs' short names, and the account."""
    spark.conf.set("spark.sql.shuffle.partitions", "3")  # a few rows
    store = Store(str(root))
    fields = [f for chosen in filters.values() for f in chosen.measures]
    tables = (
        (measures_table(fields), list(pairs.values())),
        (NEIGHBORS, edges or []),
        (COPIES, copies or []),
        (RELEASED_NEIGHBORS, released or []),
        (NULL_SCORES, mismatched or []),
    )
    for table, rows in tables:
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
    for name, row in decisions.items():
        assert {row[f"duplicate_{n}"] for n in ("of", "rule", "distance", "similarity")} == {None}
        assert row["picture_id"] == row["image_id"] == pairs[name]["image_id"]
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
    pairs |= {
        # Copies count as neighbours; where hashes tell it too, they say how far apart.
        "whole": pair("whole", "g1", **big),
        "cropped": pair("cropped", "g2", **middle),
        "mirrored": pair("mirrored", "g3", **small),
        # The best of three is in an earlier release: it keeps nobody out, its neighbour stays. One
        # that the release has under the same id goes too.
        "released": pair("released", "h1", **big),
        "beside it": pair("beside it", "h2", **middle),
        "beside that": pair("beside that", "h3", **small),
        "the same again": pair("the same again", "h4"),
        "released but failing": pair("released but failing", "h1", **big, caption_chars=1),
    }
    edges = [
        edge("a1", "a2", 1),
        edge("a1", "a3", 2),
        edge("a2", "a3", 4),
        edge("b1", "b2", 2),
        edge("b2", "b3", 2),
        edge("d1", "loser", 3),
        edge("e1", "e2", 0),
        edge("g1", "g3", 1, "turned"),
        edge("h1", "h2", 1),
        edge("h2", "h3", 2),
    ]
    copies = [copy("g1", "g2", 0.875), copy("g1", "g3", 0.75)]
    released = [in_release("h1", "of last year", 3), in_release("h4", "h4", 0)]
    filters = {"near": NearDuplicate(), "length": Length(), "captions": CaptionsPerImage(9)}
    decisions, account = run(
        spark, tmp_path, filters, pairs, edges, copies, released, driver_edges=driver_edges
    )
    dropped = {name: row for name, row in decisions.items() if not row["is_kept"]}
    names = ("of", "distance", "similarity", "rule")
    duplicates = {
        name: tuple(row[f"duplicate_{n}"] for n in names)
        for name, row in dropped.items()
        if row["reasons"] == ["is_representative_low"]
    }
    assert duplicates == {
        "small goes": (image_id("a2"), 4, None, "perceptual"),
        "link": (image_id("b1"), 2, None, "perceptual"),
        "copy": (image_id("c2"), 0, None, "same_fingerprint"),
        "loser": (image_id("d1"), 3, None, "perceptual"),
        "loser's copy": (image_id("d1"), 3, None, "perceptual"),
        "worse caption": (image_id("e1"), 0, None, "perceptual"),
        "worse's second": (image_id("e1"), 0, None, "perceptual"),
        "cropped": (image_id("g1"), None, 0.875, "copy"),
        "mirrored": (image_id("g1"), 1, None, "turned"),
        "released": (image_id("of last year"), 3, None, "released"),
        "beside that": (image_id("h2"), 2, None, "perceptual"),
        "the same again": (image_id("h4"), 0, None, "released"),
    }
    failing = {"big fails", "copy failing", "released but failing"}
    assert dropped.keys() - duplicates.keys() == failing
    for name in decisions.keys() - duplicates.keys():
        assert {decisions[name][f"duplicate_{n}"] for n in names} == {None}
    assert all(row["picture_id"] == row["image_id"] for row in decisions.values())
    assert account["dropped"] == {"is_representative_low": 12, "caption_chars_low": 3}
    reasons(decisions)


CAPTIONS = {
    "own": "a red boat on the lake",
    "other": "a red boat on a lake",
    "korean": "호수 위의 빨간 배",
    "title": "Holidays in Sweden 2019, second day",
}


def duplicates_with_captions() -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """A picture with two captions, three that give way to it with four, and what stays apart."""

    def said(name: str, image: str, caption: str, similarity: float, **other: Any) -> Any:
        return pair(name, image, caption=caption, clip_similarity=similarity, **other)

    big, copy_of_small = {"original_width": 300}, {"fingerprint": image_id("picture of small")}
    pairs = {
        "own": said("own", "big", CAPTIONS["own"], 0.7, **big),
        "own too": said("own too", "big", CAPTIONS["other"], 0.6, **big),
        "best": said("best", "small", "red boat on the lake", 0.9),
        "same words": said("same words", "small", CAPTIONS["own"], 0.8),
        "korean": said("korean", "small's copy", CAPTIONS["korean"], 0.65, **copy_of_small),
        "title": said("title", "cropped", CAPTIONS["title"], 0.5),
        "title again": said("title again", "small", CAPTIONS["title"], 0.4),
        "failing": said("failing", "small", "no", 0.99, caption_chars=2),
        "apart": said("apart", "apart", CAPTIONS["own"], 0.3),
        "apart too": said("apart too", "apart", CAPTIONS["other"], 0.4),
        # A released picture takes no captions, whatever those of its neighbours are worth.
        "released": said("released", "old", CAPTIONS["korean"], 0.95),
    }
    return pairs, [edge("big", "small", 2)]


@pytest.mark.spark
@pytest.mark.parametrize(
    ("policy", "kept", "over"),
    [
        # Of the picture alone.
        ("own", {"own", "own too"}, set()),
        # The best of all, each caption once: "same words" are said by the picture that stays.
        ("best", {"best", "own", "korean"}, {"own too"}),
        # The best first, then what is most unlike it.
        ("diverse", {"best", "korean", "title"}, {"own", "own too"}),
    ],
)
def test_captions_of_what_gave_way_are_kept_with_what_stays(
    spark: Any, tmp_path: Path, policy: str, kept: set[str], over: set[str]
) -> None:
    pairs, edges = duplicates_with_captions()
    decisions, account = run(
        spark,
        tmp_path,
        {"captions": CaptionsPerImage(3), "length": Length(), "near": NearDuplicate()},
        pairs,
        edges,
        [copy("big", "cropped", 0.875)],
        [in_release("old", "of last year", 1)],
        captions=policy,
    )
    told = reasons(decisions)
    apart = {"apart", "apart too"}
    assert {name for name, found in told.items() if not found} == kept | apart
    assert {name for name, found in told.items() if found == ["caption_rank_high"]} == over
    gone = pairs.keys() - kept - over - apart - {"failing"}
    assert all(told[name] == ["is_representative_low"] for name in gone)
    assert account["kept"] == len(kept) + 2 and sum(account["dropped"].values()) == 9 - len(kept)
    rules = {
        "best": "perceptual",
        "korean": "perceptual",
        "title": "copy",
        "same words": "perceptual",
    }
    for name, row in decisions.items():
        gave_way = name in rules or name in ("title again", "released")
        assert (row["duplicate_of"] is not None) == gave_way
        if name in rules:
            assert (row["duplicate_of"], row["duplicate_rule"]) == (image_id("big"), rules[name])
        moved = name in kept and gave_way
        assert row["picture_id"] == (image_id("big") if moved else row["image_id"])


@pytest.mark.spark
@pytest.mark.parametrize(
    "filters", [{"near": NearDuplicate()}, {"captions": CaptionsPerImage(3)}], ids=("near", "most")
)
def test_captions_of_a_group_need_the_filters_that_make_it(
    spark: Any, tmp_path: Path, filters: dict[str, Filter]
) -> None:
    with pytest.raises(ConfigError, match="captions_per_image"):
        run(spark, tmp_path, filters, {"p": pair("p", "a")}, captions="best")
    assert not (tmp_path / "decisions").exists()


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
