"""The benchmark of altered copies counts what it says it counts."""

import numpy as np
import pytest

from pipeline.stages.match import MatchSection
from tests.benchmarks import attacks
from tests.benchmarks.alterations import ALTERATIONS, altered
from tests.fetch.pictures import encoded, photo


def looks(bodies: list[bytes], with_turned: bool = False) -> attacks.Looks:
    return attacks._stacked([attacks._look(body, {}, with_turned) for body in bodies])


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_is_the_same_file_each_time(name: str) -> None:
    assert altered(name, photo(), 3) == altered(name, photo(), 3)


def test_rules_find_what_they_should_and_nothing_else() -> None:
    photos = [photo(400, 300, seed) for seed in range(5)]
    originals = looks([encoded(p) for p in photos], with_turned=True)
    small = looks([altered("resize 25%", p, 0) for p in photos])
    mirrored = looks([altered("mirror", p, 0) for p in photos])
    turned = looks([altered("rotate 90", p, 0) for p in photos])
    own = np.eye(len(photos), dtype=bool)
    upright = attacks.matched_by(MatchSection())
    either = attacks.matched_by(MatchSection(turned=True))
    assert (upright(small, originals) == own).all() and (either(small, originals) == own).all()
    assert not upright(mirrored, originals).any() and not upright(turned, originals).any()
    assert (either(mirrored, originals) == own).all() and (either(turned, originals) == own).all()
    assert not attacks.matched_by(MatchSection(radius256=0))(small, originals).any()
    assert (attacks.within_pdq(48, 50)(small, originals) == own).all()
    assert not attacks.within_pdq(48, 101)(small, originals).any()


def test_recall_and_precision_are_of_finds() -> None:
    originals = looks([encoded(photo(seed=seed)) for seed in range(4)])
    found = np.eye(4, dtype=bool)
    found[0, 1] = found[3, 2] = True  # two wrong finds
    found[2, 2] = False  # one missed
    figures = attacks._judged(lambda a, b: found, {"logo": originals}, originals)
    assert figures == {"precision": 0.6, "false_pairs": 2, "recall": {"logo": 0.75}}
