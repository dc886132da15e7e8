"""The block search against brute force, on any hashes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.match import blocks, kernel
from pipeline.match.blocks import choose_plan, make_plan
from tests.match.hashes import U64, balanced64


def brute_force(hashes: U64, radius: int) -> set[tuple[int, int, int]]:
    """Pairs by definition, without any code under test."""
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    left, right = np.nonzero(np.triu(distance <= radius, 1))
    return {(int(i), int(j), int(distance[i, j])) for i, j in zip(left, right, strict=True)}


def found(pairs: kernel.Pairs) -> list[tuple[int, int, int]]:
    return list(zip(*(column.tolist() for column in pairs), strict=True))


def assert_exact(hashes: U64, radius: int, plan: blocks.BlockPlan, cap: int) -> None:
    rows = found(kernel.self_join(hashes, radius, plan, cap))
    assert len(rows) == len(set(rows)), "a pair was emitted twice"
    assert set(rows) == brute_force(hashes, radius)


def clustered(rng: np.random.Generator, rows: int, spread: int) -> U64:
    """A few centres, each row some changed bits away from one."""
    centres = balanced64(rng, 5)
    hashes = centres[rng.integers(0, 5, rows)]
    for _ in range(spread):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, rows).astype(np.uint64))
    return np.unique(hashes)


def skewed(rng: np.random.Generator, rows: int, free_bits: int) -> U64:
    """One centre; only some bits ever differ: a hot bucket in most tables."""
    positions = rng.permutation(64)[:free_bits]
    hashes = np.repeat(balanced64(rng, 1), rows)
    for position in positions:
        change = rng.integers(0, 2, rows).astype(np.uint64)
        hashes = hashes ^ (change << np.uint64(position))
    return np.unique(hashes)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    radius=st.integers(0, 6),
    extra_blocks=st.integers(1, 3),
    rows=st.integers(0, 400),
    kind=st.sampled_from(["random", "clustered", "skewed", "adversarial"]),
    cap=st.sampled_from([2, 130, 4096]),
)
def test_finds_exactly_the_pairs_of_a_flat_search(
    seed: int, radius: int, extra_blocks: int, rows: int, kind: str, cap: int
) -> None:
    rng = np.random.default_rng(seed)
    plan = make_plan(radius, radius + extra_blocks if radius else 1)
    if kind == "random":
        hashes = np.unique(balanced64(rng, rows))
    elif kind == "clustered":
        hashes = clustered(rng, rows, spread=radius)
    elif kind == "skewed":
        hashes = skewed(rng, rows, free_bits=12)
    else:  # differences that spoil as many blocks as can be: exactly radius (or one more) bits
        base = balanced64(rng, max(rows // 2, 1))
        twin = base.copy()
        for mask in plan.mask_array[:: max(1, len(plan.masks) // (radius + 1))][: radius + 1]:
            bits = [b for b in range(64) if int(mask) >> b & 1]
            twin = twin ^ (np.uint64(1) << np.uint64(rng.choice(bits)))
        hashes = np.unique(np.concatenate([base, twin]))
    assert_exact(rng.permutation(hashes), radius, plan, cap)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=40), st.integers(0, 6))
def test_any_hashes_at_all(values: list[int], radius: int) -> None:
    hashes = np.array(values, dtype=np.uint64)
    assert_exact(hashes, radius, choose_plan(len(hashes), radius), 4096)


@pytest.mark.parametrize("cap", [200, 100_000])
def test_big_buckets_are_exact_by_recursion_and_by_flat_search(cap: int) -> None:
    hashes = skewed(np.random.default_rng(3), 2500, free_bits=20)
    assert len(hashes) > 2000
    assert_exact(hashes, 4, make_plan(4, 6), cap)


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


def test_colliding_bucket_numbers_emit_nothing_twice_and_nothing_false() -> None:
    """Different keys under one number cost comparisons, never correctness."""
    rng = np.random.default_rng(11)
    plan = make_plan(4, 6)
    hashes = clustered(rng, 300, 3)
    rows = []
    for table in range(len(plan.masks)):
        buckets = np.full(len(hashes), table, dtype=np.uint64)
        for pairs in kernel.search_buckets(buckets, hashes, plan, 100):
            rows += found(pairs)
    assert len(rows) == len(set(rows))
    assert set(rows) == brute_force(hashes, 4)


def test_without_one_table_pairs_are_lost() -> None:
    """The oracle can tell: the search is exact because of every table."""
    plan = make_plan(4, 5)
    broken = blocks.BlockPlan(4, 5, 1, plan.masks[:-1])
    hashes = clustered(np.random.default_rng(2), 400, 4)
    assert set(found(kernel.self_join(hashes, 4, broken))) < brute_force(hashes, 4)


@given(st.integers(0, 6), st.integers(1, 12))
def test_blocks_partition_the_bits(radius: int, extra: int) -> None:
    try:
        plan = make_plan(radius, radius + extra)
    except ValueError:
        return  # more tables than can be numbered
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


@pytest.mark.parametrize(("radius", "count"), [(-1, 3), (4, 4), (2, 65), (6, 14)])
def test_impossible_plans_are_refused(radius: int, count: int) -> None:
    with pytest.raises(ValueError):
        make_plan(radius, count)
