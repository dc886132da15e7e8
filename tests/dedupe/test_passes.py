"""The passes of dedupe one after the other, without Spark, against the oracle."""

import random

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.accounts import Account, merge
from pipeline.core.tables import PAIRS
from pipeline.dedupe import candidates, captions, images, keys, pieces
from pipeline.dedupe.tables import COUNTED, COUNTS, KEYS, TOLD
from tests.dedupe.oracle import compare, pair

TEXTS = st.sampled_from(["a", "b", "가", "", "a b", "a b 1", "a b 22", "a b of Jo", "a b of Al X"])
ROW = st.fixed_dictionaries(
    {
        "path": st.integers(0, 4),
        "caption": st.none() | TEXTS,
        "page": st.tuples(st.integers(0, 2), st.integers(0, 2)),
        "fragment": st.sampled_from(["", "#1", "#2"]),
        "kinds": st.integers(1, 127),
        "optout": st.none() | st.sampled_from(["meta:noai", "header:noai", "tdm:1"]),
        "archive": st.sampled_from(["a", "b"]),
    }
)


def rows_of(made: list[dict]) -> list[dict]:
    return [
        pair(
            str(m["path"]),
            m["caption"],
            "p{}.example/{}".format(*m["page"]),
            domain=f"d{m['path'] % 2}.example",
            position=n,
            **{k: m[k] for k in ("fragment", "kinds", "optout", "archive")},
        )
        for n, m in enumerate(made)
    ]


def passes(rows: list[dict], parts: list[list[dict]], known: set[bytes], cap: int):
    """(candidates as a table, accounts by unit)."""
    found, texts = [], []
    for number, part in enumerate(parts):
        batch = pa.RecordBatch.from_pylist(part, schema=PAIRS.schema).select(pieces.READ)
        keyed, told = pieces.reduce(batch, number, 0)
        found.append(keyed)
        texts.append(told)
    registry = keys.halves(pa.array(sorted(known), pa.binary()))
    counts, *accounts = images.count(pa.Table.from_batches(found, KEYS.schema), registry, cap)
    counted = captions.count(pa.Table.from_batches([counts], COUNTS.schema))
    place = counted.column("place").to_numpy()
    told = []
    for number, text in enumerate(texts):
        here = pa.Table.from_batches([counted.filter(pa.array(place >> 32 == number))], COUNTED)
        told += [t.select(TOLD.names) for t in candidates.tell(here, [text])]
    built = candidates.build(pa.Table.from_batches(told, TOLD).combine_chunks())
    no_caption = sum(r["pair_id"] is None for r in rows)
    by_unit = {a.unit: a for a in merge([Account("pairs"), Account("images"), *accounts])}
    by_unit["pairs"].drop("no_caption", no_caption)
    by_unit["pairs"].keep(sum(len(c) for c in built.column("captions").to_pylist()))
    by_unit["pairs"].drop("duplicate_pair", len(rows) - by_unit["pairs"].rows_in)
    return built, by_unit


@settings(max_examples=80, deadline=None)
@given(
    st.lists(ROW, max_size=40),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sets(st.integers(0, 4), max_size=2),
    st.randoms(use_true_random=False),
)
def test_passes_give_the_oracles_rows_in_any_order(
    made: list[dict], parts: int, cap: int, held: set[int], rnd: random.Random
) -> None:
    rows = rows_of(made)
    ids = {str(h): pair(str(h), None, "p", domain=f"d{h % 2}.example")["image_id"] for h in held}
    known = {*ids.values(), b"\0" * 16}
    one, accounts = passes(rows, [rows], known, cap)
    compare({r["canonical_url"]: r for r in one.to_pylist()}, accounts, rows, known, cap)
    shuffled = rnd.sample(rows, len(rows))
    pieces_of = [shuffled[n::parts] for n in range(parts)]
    other, others = passes(rows, [p for p in pieces_of if p], known, cap)
    assert other.equals(one) and accounts == others


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1))
def test_halves_sort_as_the_bytes_do(ids: list[bytes]) -> None:
    hi, lo = keys.halves(pa.array(ids, pa.binary()))
    order = np.lexsort((lo, hi))
    assert [ids[i] for i in order] == sorted(ids)


@given(st.lists(st.none() | st.text()))
def test_ranks_are_those_of_the_sorted_texts(texts: list[str | None]) -> None:
    ranks, values = keys.text_ranks(pa.array(texts, pa.string()))
    assert values.take(pa.array(ranks)).to_pylist() == texts
    told = [t for t in texts if t is not None]
    least = values[int(ranks.min())].as_py() if texts else None
    assert least == min(told, default=None)
