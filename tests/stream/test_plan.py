"""The order of an epoch: every selected sample once, whatever the lanes, the same everywhere."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.release import Manifest, ShardEntry
from pipeline.stream import chunks, views
from pipeline.stream.permute import derive_key, permutation
from pipeline.stream.plan import Plan, Schedule
from pipeline.stream.roster import assign
from pipeline.stream.views import View
from tests.benchmarks.stream import simulate

Place = tuple[int, int]

PERMUTATION = [1, 6, 0, 8, 2, 5, 3, 9, 4, 7]
ORDER = [
    (1, 1),
    (1, 6),
    (1, 0),
    (1, 3),
    (1, 5),
    (1, 7),
    (1, 4),
    (1, 2),
    (1, 8),
    (0, 3),
    (0, 4),
    (0, 5),
    (0, 6),
    (0, 0),
    (0, 7),
    (0, 8),
    (0, 2),
    (0, 1),
]


def manifest(sizes: list[int]) -> Manifest:
    entries = [ShardEntry(f"{i:05d}.tar", n, n * 100, "00" * 32) for i, n in enumerate(sizes)]
    return Manifest("made", "0", {}, tuple(entries))


def view_of(sizes: list[int], selected: set[Place] | None = None) -> View:
    made = manifest(sizes)
    if selected is None:
        return View("nowhere", made)
    bits = []
    for shard, size in enumerate(sizes):
        flags = np.array([(shard, row) in selected for row in range(size)], dtype=np.uint8)
        bits.append(np.packbits(flags, bitorder="little"))
    return View("nowhere", made, np.concatenate(bits))


def plan_of(view: View, **given: Any) -> Plan:
    settings = {"seed": 7, "epoch": 0, "lanes": 5, "window": 3} | given
    per_chunk = settings.pop("per_chunk", 8)
    return Plan(view, chunks.cut(view.manifest.sizes, per_chunk), **settings)


def lane(plan: Plan, number: int, step: int) -> list[Place]:
    schedule, found = Schedule(plan, [number], step), []
    for start in range(-(-plan.lane_length(number) // step) + 1):
        places = schedule.step(start)
        found += list(zip(places.shard.tolist(), places.row.tolist(), strict=True))
    return found


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_a_permutation_has_every_number_once(size: int, key: int) -> None:
    assert sorted(permutation(size, key).tolist()) == list(range(size))


def test_permutations_of_few_things_all_occur_about_equally_often() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(2400):
        found = tuple(permutation(4, derive_key(seed)).tolist())
        counts[found] = counts.get(found, 0) + 1
    assert len(counts) == 24
    assert 60 < min(counts.values()) and max(counts.values()) < 150  # 100 is expected of each


def test_the_order_never_changes() -> None:
    """A saved state says where in this order a run is: it must be the same in every version."""
    assert permutation(10, derive_key(0, 0, "chunks")).tolist() == PERMUTATION
    found = [place for n in range(2) for place in lane(plan_of(view_of([9, 9]), lanes=2), n, 4)]
    assert found == ORDER


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8),
    st.integers(1, 40),
    st.integers(1, 5),
    st.sampled_from([8, 16, 64]),
    st.integers(0, 2**31),
    st.floats(0.05, 1),
)
def test_every_selected_sample_is_in_just_one_lane(
    sizes: list[int], lanes: int, window: int, per_chunk: int, seed: int, share: float
) -> None:
    chance = random.Random(seed)
    every = [(shard, row) for shard, size in enumerate(sizes) for row in range(size)]
    selected = {place for place in every if chance.random() < share} or {every[0]}
    for view, wanted in ((view_of(sizes), set(every)), (view_of(sizes, selected), selected)):
        plan = plan_of(view, lanes=lanes, window=window, per_chunk=per_chunk, seed=seed)
        lengths = [plan.lane_length(n) for n in range(lanes)]
        assert max(lengths) - min(lengths) <= 1 and max(lengths) == plan.longest
        found = [place for n in range(lanes) for place in lane(plan, n, 1 + seed % 9)]
        assert len(found) == len(wanted) == view.samples == plan.samples
        assert set(found) == wanted


@pytest.mark.parametrize("number", [0, 1, 17, 60, 99])
def test_any_step_is_found_without_those_before_it(number: int) -> None:
    plan = plan_of(view_of([300, 300, 300]), lanes=3)
    whole = lane(plan, 1, 3)
    places = Schedule(plan, [1], 3).step(number)
    found = list(zip(places.shard.tolist(), places.row.tolist(), strict=True))
    assert found == whole[number * 3 : number * 3 + 3]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    view = view_of([50, 50])
    orders = [
        tuple(lane(plan_of(view, seed=s, epoch=e, lanes=1), 0, 10))
        for s, e in ((1, 0), (1, 1), (2, 0))
    ]
    assert len(set(orders)) == 3
    assert len({frozenset(order) for order in orders}) == 1


def test_batches_are_as_mixed_as_those_of_a_perfect_shuffle() -> None:
    """Shards are of one kind each, the worst case: how many kinds does a batch of 64 show?"""
    kinds, size, batch = 64, 256, 64
    view = view_of([size] * kinds)
    plan = plan_of(view, lanes=64, window=4, per_chunk=64)
    schedule = Schedule(plan, range(64), 1)
    met = [len(set(schedule.step(n).shard.tolist())) for n in range(kinds * size // batch)]
    perfect = kinds * (1 - (1 - 1 / kinds) ** batch)  # distinct kinds among 64 drawn at random
    assert abs(np.mean(met) - perfect) < 0.12 * perfect


def test_senseless_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="lanes is 0"):
        plan_of(view_of([5]), lanes=0)
    with pytest.raises(ValueError, match="selects no sample"):
        plan_of(view_of([5], set()))
    with pytest.raises(ValueError, match="multiple of 8"):
        plan_of(view_of([5]), per_chunk=12)
    with pytest.raises(IndexError, match="position 5 of lane 0"):
        plan_of(view_of([5]), lanes=1).window_at(0, 5)


@given(
    st.integers(1, 300),
    st.dictionaries(st.text(min_size=1, max_size=5), st.integers(1, 50), min_size=1, max_size=9),
)
def test_every_lane_has_one_member_and_shares_are_those_of_capacity(
    lanes: int, members: dict[str, int]
) -> None:
    found = assign(lanes, members)
    assert sorted(one for own in found.values() for one in own) == list(range(lanes))
    total = sum(members.values())
    for name, own in found.items():
        assert abs(len(own) - lanes * members[name] / total) < 1
    assert found == assign(lanes, dict(reversed(members.items())))


def test_few_lanes_move_when_a_member_joins_or_leaves() -> None:
    members = {f"node{i}": 1 + i % 3 for i in range(20)}
    before = {one: name for name, own in assign(480, members).items() for one in own}
    for after in ({**members, "new": 2}, {n: c for n, c in members.items() if n != "node3"}):
        found = assign(480, after)
        must = len(found.get("new", ())) or sum(name == "node3" for name in before.values())
        moved = sum(before[one] != name for name, own in found.items() for one in own)
        assert must <= moved <= 3 * must


def test_members_must_be_and_be_able() -> None:
    for members in ({}, {"a": 0}, {"a": 1, "b": -1}):
        with pytest.raises(ValueError, match="at least one, each with a capacity"):
            assign(4, members)


def test_a_view_counts_the_selected_samples_of_each_chunk() -> None:
    sizes = [19, 8, 1]
    selected = {(0, 0), (0, 8), (0, 18), (1, 7)}
    view = view_of(sizes, selected)
    cut = chunks.cut(view.manifest.sizes, 8)
    assert cut.rows.tolist() == [8, 8, 3, 8, 1]
    assert view.live(cut).tolist() == [1, 1, 1, 1, 0]
    assert view.rows(0, 8, 8, views.byte_starts(view.manifest)).tolist() == [8]


def test_ranks_that_come_and_go_serve_every_sample_once() -> None:
    found = simulate(shards=60, per_shard=90, lanes=40, per_lane=1, ranks=12, seed=3)
    assert found.steps == -(-found.samples // 40)
    assert min(found.joined, found.left, found.aborted, found.masked) > 0
