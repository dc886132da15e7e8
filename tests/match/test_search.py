"""The block search against brute force, on any hashes."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.match import blocks, kernel, search
from pipeline.match.blocks import ALL_BITS, choose_plan, make_plan
from tests.match.hashes import KINDS, U64, balanced64, clustered, make, skewed

Found = tuple[int, int, int]


def brute_force(hashes: U64, radius: int) -> set[Found]:
    """Pairs by definition, without any code under test."""
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    left, right = np.nonzero(np.triu(distance <= radius, 1))
    pairs = zip(hashes[left].tolist(), hashes[right].tolist(), strict=True)
    return {
        (min(a, b), max(a, b), int(d))
        for (a, b), d in zip(pairs, distance[left, right], strict=True)
    }


def brute_force_of_queries(queries: U64, hashes: U64, radius: int) -> set[Found]:
    distance = np.bitwise_count(queries[:, None] ^ hashes[None, :])
    left, right = np.nonzero(distance <= radius)
    return set(
        zip(
            queries[left].tolist(),
            hashes[right].tolist(),
            distance[left, right].tolist(),
            strict=True,
        )
    )


def rows_of(parts: Iterable[search.Pairs], ordered: bool = False) -> list[Found]:
    found = []
    for part in parts:
        for a, b, d in zip(
            part.left.tolist(), part.right.tolist(), part.distance.tolist(), strict=True
        ):
            found.append((a, b, d) if ordered else (min(a, b), max(a, b), d))
    return found


def assert_same(rows: list[Found], truth: set[Found]) -> None:
    twice = [row for row, count in Counter(rows).items() if count > 1]
    assert not twice, "a pair was emitted twice"
    assert set(rows) == truth


def assert_exact(hashes: U64, radius: int, plan: blocks.BlockPlan, cap: int) -> None:
    rows = rows_of([search.self_join(hashes, radius, plan, cap)])
    assert_same(rows, brute_force(hashes, radius))


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    radius=st.integers(0, 6),
    extra_blocks=st.integers(1, 3),
    rows=st.integers(0, 400),
    kind=st.sampled_from(KINDS),
    cap=st.sampled_from([2, 11, 130, 4096]),
)
def test_finds_exactly_the_pairs_of_a_flat_search(
    seed: int, radius: int, extra_blocks: int, rows: int, kind: str, cap: int
) -> None:
    plan = make_plan(radius, radius + extra_blocks if radius else 1)
    hashes = make(kind, np.random.default_rng(seed), rows, radius, plan)
    assert_exact(hashes, radius, plan, cap)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    radius=st.integers(0, 6),
    rows=st.integers(0, 300),
    asked=st.integers(0, 100),
    kind=st.sampled_from(KINDS),
    cap=st.sampled_from([2, 30, 4096]),
)
def test_queries_meet_exactly_the_hashes_near_them(
    seed: int, radius: int, rows: int, asked: int, kind: str, cap: int
) -> None:
    """Some queries are hashes themselves, some near them, some near none."""
    rng = np.random.default_rng(seed)
    plan = choose_plan(rows, radius)
    both = make(kind, rng, rows + asked, radius, plan)
    hashes = both[:rows]
    queries = np.unique(np.concatenate([both[rows:], hashes[:asked:2], balanced64(rng, 5)]))
    found = [
        pairs
        for table in range(len(plan.masks))
        for pairs in search.search_table(hashes, plan, table, cap, rng.permutation(queries))
    ]
    truth = brute_force_of_queries(queries, hashes, radius)
    assert_same(rows_of(found, ordered=True), truth)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=40), st.integers(0, 6))
def test_any_hashes_at_all(values: list[int], radius: int) -> None:
    hashes = np.array(values, dtype=np.uint64)
    assert_exact(hashes, radius, choose_plan(len(hashes), radius), 4096)


@pytest.mark.parametrize("cap", [20, 200, 100_000])
def test_big_buckets_are_exact_by_recursion_and_by_comparing_all(cap: int) -> None:
    hashes = skewed(np.random.default_rng(3), 2500, free_bits=20)
    assert len(hashes) > 2000
    assert_exact(hashes, 4, make_plan(4, 6), cap)


def test_a_bucket_of_close_hashes_is_cut_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting is made to look cheap, so that it goes on until no bits are left to cut."""
    monkeypatch.setattr(blocks, "SORTED_ROW_SECONDS", 0.0)
    hashes = skewed(np.random.default_rng(3), 600, free_bits=11)
    work = blocks.Work()
    plan = make_plan(2, 4)
    found = [
        p
        for t in range(len(plan.masks))
        for p in search.search_table(hashes, plan, t, 3, None, work)
    ]
    assert_same(rows_of(found), brute_force(hashes, 2))
    assert work.rows > 50 * len(hashes)


def test_a_hot_bucket_costs_a_share_of_comparing_all_of_it() -> None:
    """Ten thousand hashes share a key; their other bits are independent."""
    rng = np.random.default_rng(12)
    plan = make_plan(4, 6)
    hot = rng.integers(0, 2**64, 10_000, dtype=np.uint64)
    hot &= ~plan.mask_array[0]
    work = blocks.Work()
    list(search.search_table(np.unique(hot), plan, 0, 1000, None, work))
    assert work.comparisons < 0.02 * len(hot) ** 2 / 2


def test_pairs_beyond_the_room_of_a_pass_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_ROOM", 7)
    hashes = clustered(np.random.default_rng(9), 300, 3)
    assert_exact(hashes, 4, make_plan(4, 6), 4096)
    assert_exact(hashes, 4, make_plan(4, 6), 12)


def test_every_pair_at_exactly_the_radius_is_found_wherever_its_bits_lie() -> None:
    """One bit in each of `radius` blocks leaves only one table to meet in."""
    plan = make_plan(4, 6)
    rng = np.random.default_rng(5)
    base = balanced64(rng, 1)[0]
    near = [base]
    for _ in range(300):
        value = base
        for bit in rng.permutation(64)[:4]:
            value = value ^ (np.uint64(1) << np.uint64(bit))
        near.append(value)
    assert_exact(np.unique(np.array(near)), 4, plan, 4096)


def test_without_one_table_pairs_are_lost() -> None:
    """The oracle can tell: the search is exact because of every table."""
    plan = make_plan(4, 5)
    broken = blocks.BlockPlan(4, 5, 1, plan.masks[:-1])
    hashes = clustered(np.random.default_rng(2), 400, 4)
    found = rows_of([search.self_join(hashes, 4, broken)])
    assert set(found) < brute_force(hashes, 4)


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=300), st.integers(0, 6))
def test_flat_search_is_brute_force(values: list[int], radius: int) -> None:
    hashes = np.array(values, dtype=np.uint64)
    queries = hashes[::3]
    found = rows_of([search.flat_search(queries, hashes, radius)], ordered=True)
    assert_same(found, brute_force_of_queries(queries, hashes, radius))


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=50),
    st.integers(0, 6),
    st.integers(1, 3),
    st.data(),
)
def test_layouts_put_the_key_on_top_and_are_undone(
    values: list[int], radius: int, extra: int, data: st.DataObject
) -> None:
    plan = make_plan(radius, radius + extra if radius else 1)
    table = data.draw(st.integers(0, len(plan.masks) - 1))
    layout = plan.layout(table)
    words = np.array(values, dtype=np.uint64)
    moved = kernel.permute(words, layout.forward)
    assert (kernel.permute(moved, layout.backward) == words).all()
    top = kernel.permute(plan.mask_array[table : table + 1], layout.forward)[0]
    assert int(top) == ALL_BITS - (1 << (64 - layout.key_bits)) + 1
    assert (layout.earlier == kernel.permute(plan.mask_array[:table], layout.forward)).all()


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=200),
    st.integers(0, 5),
    st.integers(0, 2**64 - 1),
)
def test_sending_keeps_hashes_and_puts_equal_keys_together(
    values: list[int], bits: int, mask: int
) -> None:
    hashes = np.array(values, dtype=np.uint64)
    counts, sent = np.empty(1 << bits, np.int64), np.empty_like(hashes)
    kernel.send(hashes, np.uint64(mask), bits, counts, sent)
    assert sorted(sent.tolist()) == sorted(values)
    part_of: dict[int, int] = {}
    for part, rows in enumerate(np.split(sent, np.cumsum(counts)[:-1])):
        for value in rows.tolist():
            assert part_of.setdefault(value & mask, part) == part


@given(st.integers(0, 6), st.integers(1, 12))
def test_blocks_partition_the_bits(radius: int, extra: int) -> None:
    try:
        plan = make_plan(radius, radius + extra)
    except ValueError:
        return  # more tables than are allowed
    together = 0
    for mask in plan.masks:
        together |= mask
    assert together == 2**64 - 1
    assert len(set(plan.masks)) == len(plan.masks) <= blocks.MAX_TABLES


def test_plans_grow_keys_with_the_number_of_hashes() -> None:
    chosen = [choose_plan(int(n), 4).blocks for n in (1e4, 1e7, 1e10)]
    assert chosen[0] == 5
    assert chosen == sorted(chosen)
    assert chosen[-1] > chosen[0]
    assert choose_plan(1000, 0).masks == (blocks.ALL_BITS,)


def test_a_plan_expects_the_comparisons_that_random_bits_give() -> None:
    hashes = np.random.default_rng(7).integers(0, 2**64, 40_000, dtype=np.uint64)
    plan = make_plan(4, 6)
    work = blocks.Work()
    for table in range(len(plan.masks)):
        list(search.search_table(hashes, plan, table, 4096, None, work))
    assert work.comparisons == pytest.approx(plan.comparisons(len(hashes)), rel=0.05)
    assert work.rows == len(plan.masks) * len(hashes)
    assert plan.shuffle_bytes(len(hashes)) == work.rows * 8


@pytest.mark.parametrize(("radius", "count"), [(-1, 3), (4, 4), (2, 65), (6, 14)])
def test_impossible_plans_are_refused(radius: int, count: int) -> None:
    with pytest.raises(ValueError):
        make_plan(radius, count)
