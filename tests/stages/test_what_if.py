"""What other bounds would keep: the counts are those that deciding by them gives."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.errors import ConfigError
from pipeline.core.filter import Filter, Relative
from pipeline.core.storage import Store
from pipeline.stages import decide, what_if
from pipeline.stages.what_if import Variant
from pipeline.stats.outcomes import Drops, Outcome, drops, render
from tests.stages.test_bounds_found import Similarity
from tests.stages.test_decide import (
    CaptionsPerImage,
    Length,
    NearDuplicate,
    edge,
    pair,
    reasons,
    run,
)

ENABLED: dict[str, Filter] = {
    "similarity": Similarity(low=0.3),
    "length": Length(),
    "captions": CaptionsPerImage(1),
    "near": NearDuplicate(),
}


def measured() -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Pairs of pictures with several captions, chains of near-duplicates, two languages."""
    pairs = {}
    for n in range(60):
        image = f"i{n // 2}"
        pairs[f"p{n}"] = pair(
            f"p{n}",
            image,
            clip_similarity=(n * 37 % 60) / 60,
            caption_lang=("en", "ko")[n % 2],
            caption_chars=7 if n % 5 else 2,
            original_width=100 + n // 2 * 7 % 30,
        )
    return pairs, [edge(f"i{n}", f"i{n + 1}", 2) for n in range(0, 28) if n % 4]


@pytest.mark.spark
def test_counts_are_those_of_deciding(spark: Any, tmp_path: Path) -> None:
    pairs, edges = measured()
    others = {
        "higher": {"similarity": Similarity(low=0.6)},
        "a third of each language": {"similarity": Similarity(low=Relative(1 / 3, per="language"))},
        "a third": {"similarity": Similarity(low=Relative(keep=1 / 3, of="passing"))},
        "more captions": {"captions": CaptionsPerImage(2)},
    }
    variants = [Variant("the recipe", ENABLED)]
    variants += [Variant(label, ENABLED | more) for label, more in others.items()]
    decided = {}
    for n, variant in enumerate(variants):
        found, _ = run(spark, tmp_path / str(n), dict(variant.filters), pairs, edges)
        decided[variant.label] = list(reasons(found).values())
    store, section = Store(str(tmp_path / "0")), decide.DecideSection()
    before = sorted(store.fs.find(store.root))
    sections = {"run": RunSection(root=store.root), "decide": section}
    ctx: Context[Any] = Context("what-if", spark, store, section, sections, ENABLED)
    outcomes = what_if.compare(ctx, variants)
    assert [outcome.label for outcome in outcomes] == list(decided)
    for outcome in outcomes:
        assert_is(outcome, decided[outcome.label])
    assert sorted(store.fs.find(store.root)) == before


def assert_is(outcome: Outcome, reasons: list[list[str]]) -> None:
    """Count what was decided by filter, in plain Python."""
    owner = {"clip": "similarity", "is": "near", "caption_rank": "captions"}

    def of(reason: str) -> str:
        if reason.startswith(("caption_chars", "caption_odd", "is_fine")):
            return "length"
        return next(name for start, name in owner.items() if reason.startswith(start))

    order = list(ENABLED)
    failed = [sorted({of(r) for r in found}, key=order.index) for found in reasons]
    assert outcome.pairs == len(reasons) and outcome.kept == failed.count([])
    marginal = Counter(name for found in failed for name in found)
    exclusive = Counter(found[0] for found in failed if len(found) == 1)
    cumulative = Counter(found[0] for found in failed if found)
    assert {d.filter for d in outcome.drops} == set(order)
    for drop in outcome.drops:
        counted = drop.marginal, drop.exclusive, drop.cumulative
        name = drop.filter
        assert counted == (marginal[name], exclusive[name], cumulative[name]), name


class Bounded(Similarity):
    bound_settings = ("low", "high")


def test_settings_are_every_combination() -> None:
    enabled: dict[str, Filter] = {"similarity": Bounded(low=0.3)}
    sets = ["run.root=x", "similarity.low=0.2, 0.3", "similarity.high={ keep = 0.5 },0.9"]
    overrides, varied = what_if.split(sets, {"similarity": Bounded})
    assert overrides == ["run.root=x"]
    assert what_if.settings(varied, enabled) == [
        ["filters.similarity.low=0.2", "filters.similarity.high={ keep = 0.5 }"],
        ["filters.similarity.low=0.2", "filters.similarity.high=0.9"],
        ["filters.similarity.low=0.3", "filters.similarity.high={ keep = 0.5 }"],
        ["filters.similarity.low=0.3", "filters.similarity.high=0.9"],
    ]


@pytest.mark.parametrize(
    ("varied", "named"),
    [
        ([], "nothing to vary"),
        (["similarity=3"], "filter.setting=value"),
        (["similarity.low"], "filter.setting=value"),
        (["length.min=3"], "does not enable"),
        (["similarity.model=3"], "similarity has low, high"),
        (["similarity.low=high"], "values of TOML"),
        (["similarity.low="], "no value"),
        (["similarity.low=" + ",".join(["0.1"] * 65)], "65 combinations"),
    ],
)
def test_what_is_no_bound_or_no_value_is_refused(varied: list[str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        what_if.settings(varied, {"similarity": Bounded(low=0.3)})


def test_drops_of_patterns() -> None:
    # Bits 0 and 2 are of this setting; bit 1 is of another one.
    found = drops({0b000: 5, 0b001: 4, 0b101: 3, 0b100: 2, 0b010: 7}, [("a", 0), ("b", 2)])
    assert found == (Drops("a", 7, 4, 7), Drops("b", 5, 2, 2))
    outcome = Outcome("a.low = 1", 21, 11, (*found, Drops("near", 1, 1, 1, is_late=True)))
    told = render([outcome])
    assert "a.low = 1: 11 of 21 pairs are kept" in told and "near *" in told
    rows = [line.split() for line in told.splitlines() if line.startswith("  ")]
    assert ["b", "5", "2", "2", "12"] in rows and ["near", "*", "1", "1", "1", "11"] in rows
