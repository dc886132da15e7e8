"""Figures of reasons, against the pairs themselves."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stats.verdicts import combinations, kept_of, reason_rows

REASONS = st.lists(st.sampled_from(["a_low", "b_high", "c_missing", "d_low"]), unique=True)


@given(st.lists(REASONS, max_size=50))
def test_reasons_are_counted_first_alone_at_all_and_together(pairs: list[list[str]]) -> None:
    patterns = Counter(tuple(p) for p in pairs)
    found = {(f, s, b): v for f, s, b, v in reason_rows(patterns)}
    wanted: Counter[tuple[str, str, str]] = Counter()
    for reasons in filter(None, pairs):
        wanted["reason", "first", reasons[0]] += 1
        wanted["reason_set", "pairs", " ".join(sorted(reasons))] += 1
        if len(reasons) == 1:
            wanted["reason", "alone", reasons[0]] += 1
        for a in reasons:
            wanted["reason", "at_all", a] += 1
            for b in reasons:
                wanted["joint_reason", a, b] += 1
    assert found == wanted
    assert kept_of(patterns) == pairs.count([])


def test_combinations_are_of_several_reasons_and_the_commonest_first() -> None:
    sets = {"a_low": 9.0, "a_low b_high": 3.0, "b_high d_low": 5.0, "a_low d_low": 3.0}
    found = [("+".join(names), rows) for names, rows in combinations(sets, 2)]
    assert found == [("b_high+d_low", 5.0), ("a_low+b_high", 3.0)]
