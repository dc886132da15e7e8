"""Bounds that `decide` finds in the data: shares to keep, shares of mismatched pairs to let pass."""

import math
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import ConfigError
from pipeline.core.filter import Bound, Filter, Relative, Side
from pipeline.core.ids import image_id
from tests.stages.test_decide import CaptionsPerImage, Length, NearDuplicate, pair, reasons, run

pytestmark = pytest.mark.spark


@dataclass(frozen=True)
class Similarity(Filter):
    low: Side | None = None
    high: Side | None = None

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("clip_similarity", self.low, self.high),)


@dataclass(frozen=True)
class Best(Filter):
    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_rank", high=Relative(keep=0.5)),)


def cutoffs(root: Path, how: str) -> list[dict[str, Any]]:
    rows = pq.read_table(root / "cutoffs").to_pylist()
    return [row for row in rows if row["how"] == how]


def scored(**languages: list[float]) -> dict[str, dict[str, Any]]:
    """A pair for each similarity of each language."""
    return {
        f"{lang} {n}": pair(f"{lang} {n}", f"{lang} {n}", clip_similarity=value, caption_lang=lang)
        for lang, values in languages.items()
        for n, value in enumerate(values)
    }


def kept(decisions: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, found in reasons(decisions).items() if not found}


def first(pairs: dict[str, dict[str, Any]], names: list[str], count: int) -> set[str]:
    """The names of the smallest pair ids."""
    return set(sorted(names, key=lambda name: pairs[name]["pair_id"])[:count])


def test_a_share_keeps_just_so_many_and_ties_go_by_id(spark: Any, tmp_path: Path) -> None:
    values = [0.5, 0.4, 0.3, 0.3, 0.3, 0.3, 0.2, 0.1, float("nan")]
    pairs = scored(en=values)
    filters = {"similarity": Similarity(low=Relative(keep=0.45))}
    decisions, account = run(spark, tmp_path, filters, pairs)
    ties = [f"en {n}" for n in range(2, 6)]
    # ceil(0.45 * 8) = 4: the pair without a value is none to choose among.
    assert kept(decisions) == {"en 0", "en 1"} | first(pairs, ties, 2)
    assert reasons(decisions)["en 8"] == ["clip_similarity_missing"]
    assert account["dropped"] == {"clip_similarity_low": 4, "clip_similarity_missing": 1}
    (row,) = cutoffs(tmp_path, "keep")
    assert (row["filter"], row["measure"], row["side"]) == ("similarity", "clip_similarity", "low")
    assert row["value"] == pytest.approx(0.3) and row["language"] is None
    assert (row["rows"], row["passing"]) == (8, 4)
    assert row["last_id"] in {pairs[name]["pair_id"] for name in kept(decisions)}


@pytest.mark.parametrize("share", [0.07, 0.5, 1.0])
def test_a_share_of_each_language(spark: Any, tmp_path: Path, share: float) -> None:
    chance = random.Random(1)
    # On a grid, so that there are many ties.
    pairs = scored(
        en=[round(chance.gauss(0.3, 0.02), 2) for _ in range(100)],
        ko=[round(chance.gauss(0.2, 0.02), 2) for _ in range(41)],
        und=[0.25],
    )
    filters = {"similarity": Similarity(low=Relative(keep=share, per="language"))}
    decisions, _ = run(spark, tmp_path, filters, pairs)
    for lang, count in (("en", 100), ("ko", 41), ("und", 1)):
        mine = [name for name in pairs if name.startswith(lang)]
        best = sorted(mine, key=lambda n: (-pairs[n]["clip_similarity"], pairs[n]["pair_id"]))
        # 0.07 * 100 is 7, whatever a product of doubles says.
        wanted = math.ceil(round(share * count, 6))
        assert kept(decisions) & set(mine) == set(best[:wanted])
    assert {r["language"]: r["passing"] for r in cutoffs(tmp_path, "keep")} == {
        "en": math.ceil(round(share * 100, 6)),
        "ko": math.ceil(round(share * 41, 6)),
        "und": 1,
    }


def test_a_share_of_all_that_is_measured_or_of_what_passes(spark: Any, tmp_path: Path) -> None:
    pairs = scored(en=[n / 10 for n in range(10)])
    for n in range(5, 10):
        pairs[f"en {n}"]["caption_chars"] = 1  # too short: the better half
    for of, expected in (("measured", set()), ("passing", {"en 4", "en 3"})):
        bound = Relative(keep=0.4, of=of)  # type: ignore[arg-type]
        filters = {"similarity": Similarity(low=bound), "length": Length()}
        decisions, _ = run(spark, tmp_path / of, filters, pairs)
        assert kept(decisions) == expected
        assert reasons(decisions)["en 9"][-1:] == ["caption_chars_low"]


def test_a_high_end_keeps_the_lowest_and_goes_with_a_low_one(spark: Any, tmp_path: Path) -> None:
    pairs = scored(en=[n / 10 for n in range(10)])
    filters = {"similarity": Similarity(low=0.2, high=Relative(keep=0.5))}
    decisions, _ = run(spark, tmp_path, filters, pairs)
    assert kept(decisions) == {"en 2", "en 3", "en 4"}
    assert reasons(decisions)["en 5"] == ["clip_similarity_high"]
    (low,) = cutoffs(tmp_path, "value")
    assert (low["value"], low["rows"], low["passing"]) == (0.2, None, None)


def mismatched(lang: str, values: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "lang": lang,
            "pair_id": image_id(f"{lang} {n}"),
            "caption_pair_id": image_id(f"other {n}"),
            "measure": "clip_similarity",
            "similarity": value,
        }
        for n, value in enumerate(values)
    ]


def test_a_share_of_mismatched_pairs_by_language(spark: Any, tmp_path: Path) -> None:
    """English has enough of them; Korean has too few, and takes those of both."""
    english = [n / 1000 for n in range(200)]
    sample = mismatched("en", english) + mismatched("ko", [0.9] * 20)
    pairs = scored(en=[0.188, 0.189, 0.190, 0.5], ko=[0.18, 0.199, 0.9, 0.91], fr=[0.9, 0.95])
    filters = {"similarity": Similarity(low=Relative(false_accept=0.05))}
    decisions, _ = run(spark, tmp_path, filters, pairs, mismatched=sample)
    # Of 200, 10 may pass: 0.190 to 0.199. Of all 220, 11: there are 20 of 0.9, so none of them.
    assert kept(decisions) == {"en 2", "en 3", "ko 3", "fr 1"}
    own, pooled = (cutoffs(tmp_path, how) for how in ("false_accept", "false_accept_pooled"))
    assert [(r["language"], r["rows"], r["passing"]) for r in own] == [("en", 200, 10)]
    assert [(r["language"], r["rows"], r["passing"]) for r in pooled] == [
        ("fr", 220, 0),
        ("ko", 220, 0),
    ]


@pytest.mark.parametrize(
    ("filters", "named"),
    [
        ({"a": Similarity(low=Relative(false_accept=0.001))}, "1,000 mismatched pairs"),
        ({"a": Best()}, "caption_rank"),
    ],
)
def test_what_cannot_be_found_is_refused(
    spark: Any, tmp_path: Path, filters: dict[str, Filter], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        run(spark, tmp_path, filters, scored(en=[0.5]), mismatched=mismatched("en", [0.1] * 999))
    assert not (tmp_path / "decisions").exists()


def test_no_python_worker_is_needed(spark: Any, tmp_path: Path) -> None:
    pairs = scored(en=[n / 100 for n in range(50)], ko=[n / 100 for n in range(50)])
    filters = {
        "similarity": Similarity(low=Relative(keep=0.5, per="language")),
        "near": NearDuplicate(),
        "captions": CaptionsPerImage(1),
    }
    known, spark.sparkContext.pythonExec = spark.sparkContext.pythonExec, "/no/python/here"
    try:
        decisions, _ = run(spark, tmp_path, filters, pairs)
        assert len(kept(decisions)) == 50
        # The one policy that compares texts does start one: this is how that shows.
        many = {f"p{n}": pair(f"p{n}", "a", caption=f"caption {n}") for n in range(9)}
        with pytest.raises(Exception, match="/no/python/here"):
            run(spark, tmp_path / "diverse", filters, many, captions="diverse")
    finally:
        spark.sparkContext.pythonExec = known
