"""The plan of a chaos run: the same for a seed, spread over all stages, of every kind."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.line import LINE
from tests.chaos.plan import KINDS, TOLD, plan

STAGES = tuple(stage.name for stage in LINE)


@given(st.integers(0, 2**63), st.integers(0, 100))
def test_strikes_are_in_the_order_of_the_line(seed: int, strikes: int) -> None:
    found = plan(seed, strikes, STAGES)
    assert len(found) == strikes and found == plan(seed, strikes, STAGES)
    places = [(STAGES.index(strike.stage), strike.at) for strike in found]
    assert places == sorted(places)
    assert all(0 < strike.at < 1 for strike in found)
    assert {strike.stage for strike in found if strike.kind in ("silent", "gone")} <= {"download"}


@given(st.integers(0, 2**63))
def test_thirty_strikes_hit_every_stage_and_are_of_every_kind(seed: int) -> None:
    found = plan(seed, 30, STAGES)
    hits = Counter(strike.stage for strike in found)
    assert hits.keys() == set(STAGES) and min(hits.values()) >= 2
    assert {strike.kind for strike in found} == set(KINDS) == TOLD.keys()


def test_another_seed_is_another_plan() -> None:
    assert plan(1, 30, STAGES) != plan(2, 30, STAGES)
