"""What moving a bound keeps, against judging every pair again."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stats.moved import curves

EDGES = tuple(float(e) for e in range(0, 22, 2))


@given(
    st.lists(st.tuples(st.integers(0, 19), st.booleans()), max_size=60),
    st.integers(2, 9),
    st.integers(10, 17),
)
def test_places_keep_what_judging_again_keeps(
    pairs: list[tuple[int, bool]], low: int, high: int
) -> None:
    """pairs: a value, and whether all other bounds let the pair pass."""

    def kept_by(least: float, most: float) -> int:
        return sum(ok and least <= value <= most for value, ok in pairs)

    kept, alone = [0.0] * (len(EDGES) - 1), [0.0] * (len(EDGES) - 1)
    for value, ok in pairs:
        if ok:
            (kept if low <= value <= high else alone)[value // 2] += 1
    by_low, by_high = curves(EDGES, kept, alone, low, high, is_integer=True)
    assert by_low.now.kept == by_high.now.kept == kept_by(low, high)
    for place in by_low.places:
        # A bin on the far side of the other bound has nothing to give.
        if place.value <= high:
            assert place.kept == kept_by(place.value, high), place
    for place in by_high.places:
        if place.value >= low:
            assert place.kept == kept_by(low, place.value), place
    shown = by_low.shown(5)
    assert by_low.now in shown and len(shown) <= 6


def test_an_open_side_has_no_curve() -> None:
    assert [c.side for c in curves(EDGES, [1.0] * 10, [0.0] * 10, None, 7.0, False)] == ["high"]
    assert curves(EDGES, [1.0] * 10, [0.0] * 10, None, None, False) == []
