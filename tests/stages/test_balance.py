"""Balance and caps: against plain Python, under any partitioning, and within `decide`."""

import math
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F

from filters.clip_similarity import ClipSimilarity
from filters.concept_balance import ConceptBalance
from filters.domain_cap import DomainCap
from filters.language_cap import LanguageCap
from filters.near_duplicate import NearDuplicate
from filters.page_domain_cap import PageDomainCap
from pipeline.core.filter import Filter
from pipeline.core.ids import image_id
from pipeline.stages import balance
from tests.stages import balance_oracle as oracle
from tests.stages.test_decide import edge, pair, run

pytestmark = pytest.mark.spark

SCHEMA = pa.schema(
    [
        ("pair_id", pa.binary()),
        ("domain", pa.string()),
        ("page_domain", pa.string()),
        ("caption_lang", pa.string()),
        ("concepts", pa.list_(pa.int32())),
        ("similarity", pa.float32()),
        ("reasons", pa.list_(pa.string())),
    ]
)
Row = dict[str, Any]


def row(number: int, **other: Any) -> Row:
    filled = {"domain": "a.com", "page_domain": "b.org", "caption_lang": "en", "concepts": [0]}
    return filled | {
        "pair_id": image_id(str(number)),
        "similarity": 0.25,
        "reasons": [],
    } | other  # fmt: skip


def judge(
    spark: Any, rows: list[Row], filters: Mapping[str, Filter], slices: int
) -> dict[bytes, list[str]]:
    similarity = F.nanvl(F.col("similarity").cast("double"), F.lit(-2.0))
    given = spark.createDataFrame(pa.Table.from_pylist(rows, SCHEMA)).repartition(slices)
    given = given.withColumn(
        "priority", F.struct((F.lit(0.0) - similarity).alias("neg_similarity"))
    )
    judged = balance.judge(given, filters)
    assert judged.columns == given.columns
    found = judged.select("pair_id", "reasons").collect()
    assert len(found) == len(rows)
    return {bytes(r["pair_id"]): list(r["reasons"]) for r in found}


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "domain": st.sampled_from(["a.com", "b.com", "c.com"]),
            "page_domain": st.sampled_from(["", "p.org", "q.org"]),
            "caption_lang": st.sampled_from(["en", "ko", "und"]),
            "concepts": st.lists(st.integers(0, 3), max_size=3, unique=True).map(sorted),
            "similarity": st.sampled_from([0.1, 0.25, -0.0, 0.0, -0.5, math.nan]),
            "reasons": st.sampled_from([[], [], [], ["caption_chars_low"]]),
        }
    ),
    max_size=40,
)
ORDER = st.sampled_from(["hash", "similarity"])
FEW = st.integers(1, 6)
FILTERS = st.lists(
    st.one_of(
        st.builds(DomainCap, FEW, ORDER, st.integers(-(2**40), 2**40)),
        st.builds(PageDomainCap, FEW, ORDER),
        st.builds(LanguageCap, FEW, ORDER),
        st.builds(ConceptBalance, concepts=st.just("-"), max_pairs=FEW, seed=st.integers(0, 9)),
    ),
    min_size=2,
    max_size=4,
    unique_by=type,
)


@settings(max_examples=2, suppress_health_check=list(HealthCheck))
@given(changes=ROWS, chosen=FILTERS)
def test_any_filters_in_any_order_on_any_pairs(
    spark: Any, changes: list[Row], chosen: list[Filter]
) -> None:
    rows = [row(number, **change) for number, change in enumerate(changes)]
    filters = {type(one).__name__: one for one in chosen}
    assert judge(spark, rows, filters, 1 + len(rows) % 3) == oracle.judged(rows, filters)


def test_caps_are_filled_and_never_exceeded_whatever_the_partitioning(spark: Any) -> None:
    chance = random.Random(5)
    rows = [
        row(
            number,
            domain=chance.choice(["big.com"] * 8 + ["small.com", f"own{number}.com"]),
            page_domain=chance.choice(["", "", "p.org", "q.org"]),
            similarity=chance.choice((0.25, chance.gauss(0.28, 0.05), math.nan)),
            reasons=chance.choice(([], [], [], ["texture_low"])),
        )
        for number in range(3000)
    ]
    for by in ("hash", "similarity"):
        filters: dict[str, Filter] = {
            "domain_cap": DomainCap(200, by=by),
            "page_domain_cap": PageDomainCap(100, by=by),
        }
        found = judge(spark, rows, filters, 1)
        assert found == judge(spark, rows[::-1], filters, 7) == oracle.judged(rows, filters)
        kept = [r for r in rows if not found[r["pair_id"]]]
        pages = Counter(r["page_domain"] for r in kept)
        assert pages["p.org"] == pages["q.org"] == 100 < pages[""]
        after_first = [r for r in rows if not {"texture_low", "domain_rank_high"} & {
            *found[r["pair_id"]]
        }]  # fmt: skip
        domains = Counter(r["domain"] for r in after_first)
        assert domains["big.com"] == 200 and max(domains.values()) == 200
    another = judge(spark, rows, {"domain_cap": DomainCap(200, seed=1)}, 2)
    assert another != judge(spark, rows, {"domain_cap": DomainCap(200)}, 2)


def test_an_entry_draws_as_many_pairs_as_are_asked_for(spark: Any) -> None:
    """Those that name it alone; rarer ones keep all, and who names a rare one too is kept."""
    sizes, asked_for = {0: 12_000, 1: 3_000, 2: 500, 3: 400, 4: 1}, 500
    entries = [[entry] for entry, size in sizes.items() for _ in range(size)]
    entries += [[0, 4]] * 50 + [[]] * 20
    rows = [row(number, concepts=names) for number, names in enumerate(entries)]
    filters = {"concept_balance": ConceptBalance(concepts="-", max_pairs=asked_for)}
    found = judge(spark, rows, filters, 3)
    assert found == oracle.judged(rows, filters)
    kept = Counter(tuple(r["concepts"]) for r in rows if not found[r["pair_id"]])
    assert kept[(2,)] == 500 and kept[(3,)] == 400 and kept[(4,)] == 1
    assert kept[0, 4] == 50 and kept[()] == 20
    for entry in (0, 1):
        # Binomial: six standard deviations.
        assert abs(kept[(entry,)] - asked_for) < 6 * asked_for**0.5


def test_decide_judges_them_last(spark: Any, tmp_path: Path) -> None:
    """A cap is filled with what is left of near-duplicates and all other bounds."""
    here: dict[str, Any] = {"domain": "a.com", "concepts": [0], "concept_count": 1}
    pairs = {
        "best": pair("best", "a1", **here, clip_similarity=0.9, original_width=300),
        "its copy": pair("its copy", "a2", **here, clip_similarity=0.8),
        "next": pair("next", "b", **here, clip_similarity=0.7),
        "over": pair("over", "c", **here, clip_similarity=0.6),
        "unlike": pair("unlike", "d", **here, clip_similarity=0.1),
        "elsewhere": pair("elsewhere", "e", **here | {"domain": "b.com"}),
        "no concept": pair("no concept", "f", **here | {"concepts": [], "concept_count": 0}),
    }
    filters: dict[str, Filter] = {
        "domain_cap": DomainCap(2, by="similarity"),
        "concept_balance": ConceptBalance(concepts="-", max_pairs=100),
        "near_duplicate": NearDuplicate(),
        "clip_similarity": ClipSimilarity(low=0.2),
    }
    decisions, account = run(spark, tmp_path, filters, pairs, [edge("a1", "a2", 2)])
    assert {name: r["reasons"] for name, r in decisions.items()} == {
        "best": [],
        "its copy": ["is_representative_low"],
        "next": [],
        "over": ["domain_rank_high"],
        "unlike": ["clip_similarity_low"],
        "elsewhere": [],
        "no concept": ["concept_count_low"],
    }
    assert account["in"] == 7 and account["kept"] == 3
