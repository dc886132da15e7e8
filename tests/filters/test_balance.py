"""What filters on balance measure and state; `decide` judges by it (tests/stages/test_balance.py)."""

import json
from pathlib import Path

import pytest

from filters.concept_balance import ConceptBalance
from filters.domain_cap import DomainCap
from filters.language_cap import LanguageCap
from filters.page_domain_cap import PageDomainCap
from pipeline.core.errors import InputError
from pipeline.core.filter import Bound
from tests.filters.oracle import captions, measured


@pytest.fixture
def concepts(tmp_path: Path) -> str:
    path = tmp_path / "metadata.json"
    path.write_text(json.dumps(["dog", "brown dog", "강아지", "beach"]))
    return str(path)


def test_the_entries_a_caption_names_are_measured(concepts: str) -> None:
    batch = captions("A brown dog on the beach.", "갈색 강아지가 논다", "a hotdog", "Dog, dog")
    assert measured(ConceptBalance(concepts=concepts), batch) == {
        "concepts": [[0, 1, 3], [2], [], [0]],
        "concept_count": [3, 1, 0, 1],
    }
    caseless = ConceptBalance(concepts=concepts, ignore_case=True)
    assert measured(caseless, captions("DOG"))["concepts"] == [[0]]


def test_pairs_without_an_entry_go_unless_kept(concepts: str) -> None:
    drawn = Bound("is_balanced", low=1)
    assert ConceptBalance(concepts=concepts).bounds() == (Bound("concept_count", low=1), drawn)
    assert ConceptBalance(concepts=concepts, keep_unmatched=True).bounds() == (drawn,)


def test_other_entries_are_another_measure_and_other_numbers_are_not(concepts: str) -> None:
    before = ConceptBalance(concepts=concepts).measure_settings()
    assert ConceptBalance(concepts=concepts, max_pairs=9, seed=1).measure_settings() == before
    Path(concepts).write_text(json.dumps(["dog", "cat"]))
    assert ConceptBalance(concepts=concepts).measure_settings() != before


def test_a_list_that_is_not_there_is_told_of_before_anything_is_measured() -> None:
    with pytest.raises(InputError, match="list of concepts nowhere.txt"):
        ConceptBalance(concepts="nowhere.txt").measure_settings()


def test_caps_are_bounds_on_a_rank() -> None:
    assert DomainCap().bounds() == (Bound("domain_rank", high=19_999),)
    assert PageDomainCap(max_pairs=1).bounds() == (Bound("page_domain_rank", high=0),)
    assert LanguageCap(max_pairs=5).bounds() == (Bound("language_rank", high=4),)
    assert not DomainCap().measure_settings()
