import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.release import Manifest, ShardEntry
from pipeline.shards import sample
from pipeline.shards.card import card, size_category
from tests.shards import small_run


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_shortest_keeps_the_float32(value: float) -> None:
    assert struct.pack("<f", sample.shortest(value)) == struct.pack("<f", value)


def test_shortest_is_short() -> None:
    (third,) = struct.unpack("<f", struct.pack("<f", 0.3))
    assert repr(third) != "0.3" and repr(sample.shortest(third)) == "0.3"
    with pytest.raises(ValueError):
        sample.shortest(float("nan"))


@given(st.text(), st.one_of(st.none(), st.text(max_size=5)))
def test_record_has_no_nulls_and_one_schema(caption: str, lang: str | None) -> None:
    row = small_run.make_pairs(1)[0].row | {"caption": caption, "page_lang": lang}
    row |= {"caption_url": row["url"]}
    parsed = json.loads(sample.record(row))
    assert parsed["caption"] == caption and parsed["page_lang"] == (lang or "")
    assert None not in parsed.values() and parsed["caption_lang"] == row["caption_lang"]
    assert list(parsed) == sorted(sample.Record.__struct_fields__)


@pytest.mark.parametrize(
    ("samples", "name"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**10, "10B<n<100B"), (10**13, "n>1T")],
)
def test_size_category(samples: int, name: str) -> None:
    assert size_category(samples) == name


def test_card_names_every_field_and_reads_as_front_matter():
    fields = sorted(sample.Record.__struct_fields__)
    shards = (
        ShardEntry("00000.tar", 700, 5120, "ab" * 32),
        ShardEntry("00001.tar", 1, 5120, "cd" * 32),
    )
    manifest = Manifest('a "set"', "1", {}, shards)
    text = card(manifest, "other", "Ask the authors.", ("en", "ko"), fields)
    front = text.split("---\n")[1]
    assert 'pretty_name: "a \\"set\\""' in front and '- "n<1K"' in front and '- "ko"' in front
    assert [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")] == fields
    assert "{00000..00001}.tar" in text and "701 pictures" in text and "Ask the authors." in text
    assert card(manifest, "other", "Ask the authors.", ("en", "ko"), fields) == text
