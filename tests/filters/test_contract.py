"""What every filter must hold, present and future ones."""

import pickle

import pyarrow as pa
import pytest
from pydantic import TypeAdapter

import filters
from pipeline.core.balance import MEASURES
from pipeline.core.filter import Filter, measured_fields
from pipeline.core.tables import measures_table
from tests.filters.oracle import GOOD, SCORED, VIEW, made, pairs

ALL = filters.load()
# Columns that `decide` computes among the pairs that pass all else.
DECIDED = {"is_representative", "caption_rank", *MEASURES}
HOSTILE = [
    {},
    {"page_lang": None, "page_optout": None},
    {"caption_lang": "und", "caption_lang_confidence": float("nan"), "caption_images": 1 << 40},
    {"page_lang": "ko-KR", "page_optout": "meta:noai"},
    {"caption": "\u0000\ufffd\u202e"},
    {"caption": "a" * 20_000},
    {"caption": "👨‍👩‍👧‍👦 é 한글 かな 漢字 𠀀"},
    {"caption": ""},
    {"caption": "(" * 500 + "#@#@//::..'’<&%"},
    {"caption": "1234 " * 300, "caption_lang": "und"},
    {"caption": "\U0010ffff\U000f0000\u200c\u200d'"},
    {"caption": "x", "url": "not a url", "page_url": "://", "domain": ""},
    {"clip_similarity": float("nan"), "original_width": 0, "original_height": 0},
]


@pytest.fixture(params=ALL)
def chosen(request: pytest.FixtureRequest) -> Filter:
    return made(request.param, ALL[request.param])


def check(chosen: Filter, batch: pa.RecordBatch) -> list[pa.Array]:
    arrays = chosen.measure(batch.select(list(chosen.reads)))
    assert len(arrays) == len(chosen.measures)
    for array, field in zip(arrays, chosen.measures, strict=True):
        assert array.type == field.type, field.name
        assert len(array) == batch.num_rows
        assert field.nullable or array.null_count == 0
    return arrays


def test_empty_batch(chosen: Filter) -> None:
    check(chosen, pairs())


def test_hostile_rows(chosen: Filter) -> None:
    check(chosen, pairs(*HOSTILE))


def test_sliced_batches_measure_the_same(chosen: Filter) -> None:
    """Rows do not depend on their neighbours or on where their batch starts."""
    batch = pairs(*HOSTILE)
    whole = check(chosen, batch)
    for row in range(batch.num_rows):
        for array, alone in zip(whole, check(chosen, batch.slice(row, 1)), strict=True):
            assert str(array[row].as_py()) == str(alone[0].as_py())


def test_bounds_name_what_is_measured(chosen: Filter) -> None:
    known = {f.name for f in chosen.measures} | set(VIEW.names) | DECIDED
    assert {bound.measure for bound in chosen.bounds()} <= known
    assert set(chosen.reads) <= set(VIEW.names)


def test_it_cites_and_documents(chosen: Filter) -> None:
    assert "Source:" in (type(chosen).__doc__ or "")
    for field in chosen.measures:
        assert field.metadata[b"doc"]
        assert field.name not in VIEW.names
        assert not pa.types.is_nested(field.type) or pa.types.is_integer(field.type.value_type)


def test_bound_settings_are_settings(chosen: Filter) -> None:
    assert set(chosen.bound_settings) <= chosen.settings().keys()


def test_a_good_pair_is_measured_after_pickling(chosen: Filter) -> None:
    check(pickle.loads(pickle.dumps(chosen)), pairs(GOOD))


def test_unknown_settings_are_refused(chosen: Filter) -> None:
    with pytest.raises(ValueError, match="no_such_setting"):
        TypeAdapter(type(chosen)).validate_python({"no_such_setting": 1})


def test_measures_of_all_filters_fit_in_one_table() -> None:
    fields = measured_fields({n: made(n, kind) for n, kind in ALL.items()})
    names = measures_table(fields, SCORED).schema.names
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("caption_length", {"min_chars": 10, "max_chars": 9}),
        ("caption_words", {"min_words": 10, "max_words": 9}),
        ("clip_similarity", {"low": 0.5, "high": 0.4}),
        ("caption_language", {"languages": ["klingon"]}),
        ("caption_language", {"min_probability": 2}),
        ("caption_boilerplate", {"max_images": 0}),
        ("caption_boilerplate", {"max_domain_images": 0}),
        ("caption_boilerplate", {"max_images_by_language": {"ko": 0}}),
        ("caption_boilerplate", {"max_images_by_language": {"klingon": 5}}),
        ("caption_repetition", {"chars": 0}),
        ("caption_word_repetition", {"words": 0}),
        ("caption_pattern", {"max_pairs": 0}),
        ("caption_flagged_words", {}),
        ("caption_flagged_words", {"lists": {"klingon": "list.txt"}}),
        ("caption_flagged_words", {"lists": {"en": "list.txt"}, "max_words": None}),
        ("caption_vocabulary", {}),
        ("caption_vocabulary", {"lists": {"any": "list.txt"}}),
        ("caption_stop_words", {"lists": {"klingon": "list.txt"}}),
        ("image_url_words", {"words": []}),
        ("image_url_words", {"words": ["logo", ""]}),
        ("captions_per_image", {"max_captions": 0}),
        ("image_size", {"min_side": "big"}),
        ("image_area", {"min_pixels": 10, "max_pixels": 9}),
        ("image_format", {"formats": ["TGA"]}),
        ("pair_pages", {"max_pages": 0}),
        ("concept_balance", {}),
        ("concept_balance", {"concepts": "list.txt", "max_pairs": 0}),
        ("domain_cap", {"max_pairs": 0}),
        ("page_domain_cap", {"by": "chance"}),
        ("language_cap", {}),
        ("width_to_height", {"min_ratio": 2, "max_ratio": 1}),
    ],
)
def test_contradicting_settings_are_refused(name: str, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        TypeAdapter(ALL[name]).validate_python(settings)
