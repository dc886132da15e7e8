"""The alarm: what is unusual rings, once, with what is usual, since when, and what helps."""

import random
from collections import Counter
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.alarm import Alarm
from pipeline.core.stage import StageSection
from pipeline.core.usual import Ring, Rule, Stretch, judge_whole, usual_rate, usual_share
from pipeline.fetch.settings import DownloadSection

# A stretch is 1,000 rows and 10 s here.
RULE = Rule(rows=1000, stretch_s=10.0)


def draw(rng: random.Random, rows: int, **shares: float) -> Counter[str]:
    """Rows by outcome, each drawn by itself; the rest is kept."""
    names = [*shares, "kept"]
    weights = [*shares.values(), 1 - sum(shares.values())]
    return Counter(rng.choices(names, weights, k=rows))


def drive(
    alarm: Alarm, at: Callable[[int], tuple[float, Counter[str]]], steps: int
) -> list[tuple[int, Ring]]:
    """What rings at which step; at: step -> Unix seconds, rows that came."""
    return [(step, ring) for step in range(steps) for ring in alarm.add(*at(step))]


def steady(rng: random.Random, step: int) -> tuple[float, Counter[str]]:
    # Sites differ: the shares of parts do, too.
    dead = 0.2 + 0.05 * rng.random()
    return 10.0 * (step + 1), draw(rng, 1000, http_404=dead, too_small=0.03, timeout=0.02)


def test_nothing_rings_while_all_is_as_usual() -> None:
    for seed in range(5):
        rng = random.Random(seed)
        assert not drive(Alarm(RULE, "images", 0.0), lambda step: steady(rng, step), 200)


def test_success_that_collapses_half_way_rings() -> None:
    rng = random.Random(1)

    def at(step: int) -> tuple[float, Counter[str]]:
        if step < 30:
            return steady(rng, step)
        return 10.0 * (step + 1), draw(rng, 1000, http_404=0.2, connect=0.5)

    alarm = Alarm(RULE, "images", 0.0)
    rung = drive(alarm, at, 60)
    found = {ring.figure: (step, ring) for step, ring in rung}
    # Once each, in the second stretch of the collapse.
    assert sorted(ring.figure for _, ring in rung) == ["connect", "kept"]
    assert {step for step, _ in found.values()} == {31}
    kept = found["kept"][1]
    assert kept.since == 300.0 and 0.55 < kept.low < 0.75 < kept.high and kept.value < 0.4
    assert "30 stretches of the stage before" in kept.text and "connect 5" in kept.text
    assert "since 00:05:00 UTC" in kept.text and "docs/runbook.md#too-little-succeeds" in kept.text


def test_a_drop_reason_that_jumps_rings_and_ends() -> None:
    rng = random.Random(2)

    def at(step: int) -> tuple[float, Counter[str]]:
        if 20 <= step < 40:
            return 10.0 * (step + 1), draw(rng, 1000, http_404=0.2, too_small=0.25)
        return steady(rng, step)

    alarm = Alarm(RULE, "images", 0.0)
    rung = drive(alarm, at, 40)
    reasons = [ring for _, ring in rung if ring.figure == "too_small"]
    assert len(reasons) == 1 and "too_small takes 2" in reasons[0].text
    assert "too_small" not in alarm.over()
    # What was unusual for long has not become usual: it is over when it is as it was.
    assert not drive(alarm, lambda step: at(step + 40), 3)
    assert "too_small" in alarm.over()


def test_a_rate_that_falls_rings_but_not_at_the_end() -> None:
    for is_ending in (False, True):
        rng, alarm, now, rung = random.Random(3), Alarm(RULE, "images", 0.0), 0.0, list[Ring]()
        for step in range(60):
            slow = step >= 30
            now += 50.0 if slow else 10.0
            rung += alarm.add(now, steady(rng, step)[1], is_ending=slow and is_ending)
        assert [ring.figure for ring in rung] == ([] if is_ending else ["rate"])
        assert is_ending or ("20.0 images a second" in rung[0].text and rung[0].since == 300.0)


def test_silence_rings_after_three_of_its_longest_gaps() -> None:
    for every_s, silent_s in ((10.0, 130.0), (100.0, 310.0)):
        rng, alarm = random.Random(4), Alarm(RULE, "images", 0.0)
        for step in range(20):
            assert not alarm.add(every_s * (step + 1), steady(rng, step)[1])
        last = every_s * 20
        assert not alarm.add(last + silent_s - 20, {})
        (ring,) = alarm.add(last + silent_s, {})
        assert ring.figure == "silence" and ring.since == last
        assert f"no images have come for {silent_s:.0f} s" in ring.text and "#stalled" in ring.text
        assert not alarm.add(last + silent_s + 100, {})
        alarm.add(last + silent_s + 110, steady(rng, 20)[1])
        assert alarm.over() == ["silence"]


def test_bursts_of_parts_are_no_alarm() -> None:
    """Sixteen tasks that end their parts of 5,000 rows at about the same time, every ten minutes."""
    rng, alarm, rung = random.Random(5), Alarm(Rule(), "pictures", 0.0), list[Ring]()
    for second in range(0, 6 * 3600, 5):
        ended = sum(rng.random() < 0.5 for _ in range(4)) if second % 600 < 40 else 0
        counts = draw(rng, 5000 * ended, unreadable=0.01) if ended else {}
        rung += alarm.add(float(second), counts)
    assert not rung


def test_few_rows_are_not_judged() -> None:
    alarm = Alarm(RULE, "images", 0.0)
    rung = drive(alarm, lambda s: (10.0 * s, Counter(kept=30 * (s % 2), dns=30 * (1 - s % 2))), 30)
    assert not rung


def test_earlier_runs_stand_in_until_there_is_enough_of_this_one() -> None:
    earlier = [Stretch(Counter(kept=80_000, http_404=20_000), 0, 3600) for _ in range(3)]
    bad = Counter(kept=300, http_404=700)
    for known, rings in ((earlier, True), (earlier[:2], False)):
        rung = drive(Alarm(RULE, "images", 0.0, known), lambda s: (10.0 * (s + 1), bad), 4)
        assert bool(rung) == rings
        assert all("3 earlier runs" in ring.text for _, ring in rung)


def test_configured_ranges_come_first() -> None:
    section = DownloadSection(
        alarm_rows=100,
        alarm_min_ok_share=0.5,
        alarm_usual={"too_small": (0.0, 0.1), "rate": (1.0, 1e9)},
    )
    rule = section.rule("download")
    alarm = Alarm(rule, "images", 0.0)
    (small,) = alarm.add(1.0, {"kept": 80, "too_small": 20})
    assert "too_small takes 20% of the last 100 images, usual are 0% to 10%" in small.text
    assert "usual by download.alarm_usual.too_small" in small.text
    rings = alarm.add(2.0, {"dns": 50, "dns_unavailable": 50})
    assert {ring.runbook for ring in rings} == {
        "docs/runbook.md#dns-is-broken",
        "docs/runbook.md#too-little-succeeds",
    }
    assert any("dns+dns_unavailable takes 100%" in ring.text for ring in rings)
    (rate,) = alarm.add(400.0, {"kept": 101})
    assert rate.figure == "rate" and "usual by download.alarm_usual.rate" in rate.text


def test_a_stage_that_has_ended_is_held_against_earlier_runs() -> None:
    earlier = [Stretch(Counter(kept=700 + n, odd=300 - n), 0, 10.0 + n) for n in range(4)]
    rule = StageSection(alarm_rows=100).rule("decide")
    usual = Stretch(Counter(kept=710, odd=290), 0, 11.0)
    assert not judge_whole(rule, "pairs", usual, earlier, True)
    other = Stretch(Counter(kept=300, odd=300, new=400), 50.0, 150.0)
    rings = judge_whole(rule, "pairs", other, earlier, True)
    assert [ring.figure for ring in rings] == ["kept", "new", "rate"]
    assert all(ring.usual == "4 earlier runs" for ring in rings)
    assert not judge_whole(rule, "pairs", other, earlier[:2], True)


shares = st.lists(st.floats(0, 1), min_size=8, max_size=50)


@given(shares, st.integers(1, 10**6))
def test_most_of_what_was_is_usual(values: list[float], rows: int) -> None:
    low, high = usual_share(values, rows, 6.0)
    assert low < high
    # Half of all values are within one median absolute deviation of the median, by definition.
    assert sum(low <= value <= high for value in values) * 2 >= len(values)


@given(st.lists(st.floats(0.1, 1e6), min_size=8, max_size=50))
def test_a_rate_is_never_unusual_for_being_half_of_what_it_was(values: list[float]) -> None:
    low = usual_rate(values, 6.0)
    assert sum(value >= low for value in values) * 2 >= len(values)
    assert low <= sorted(values)[len(values) // 2] / 2


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["kept", "dns", "timeout"]), st.integers(0, 60)),
        max_size=30,
    )
)
def test_ranges_judge_the_shortest_tail_with_enough_rows(batches: list[dict[str, int]]) -> None:
    """Against the rule said plainly."""
    ranges = {"a": ("kept", 0.5, 1.0), "b": ("dns", 0.0, 0.3)}
    alarm = Alarm(Rule(rows=100, ranges=ranges, stretch_s=1e9), "images", 0.0)
    rung: set[str] = set()
    for end in range(1, len(batches) + 1):
        batch = {name: n for name, n in batches[end - 1].items() if n}
        rings = {ring.figure for ring in alarm.add(float(end), batch)}
        tail: Counter[str] = Counter()
        for one in reversed(batches[:end]):
            tail.update(one)
            if tail.total() >= 100:
                break
        if tail.total() < 100 or not batch:
            assert not rings
            continue
        bad = {"kept"} if tail["kept"] / tail.total() < 0.5 else set()
        bad |= {"dns"} if tail["dns"] / tail.total() > 0.3 else set()
        assert rings == bad - rung
        rung = bad
