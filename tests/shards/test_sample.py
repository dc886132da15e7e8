import json
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.provenance import Provenance, Rule, gather
from pipeline.core.release import Manifest, ShardEntry
from pipeline.shards import sample
from pipeline.shards.card import (
    card,
    provenance,
    size_category,
    stated_facts,
    stated_provenance,
)
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


FACTS = Provenance(
    "0.1.0",
    ("Common Crawl CC-MAIN-2024-10: 12 archives",),
    "ViT-B-32 (openai)",
    (Rule("length", '{"note": "a|b"}', "caption_chars at least 5"), Rule("near_duplicate", "", "")),
    "removal@example.org",
)


def test_card_tells_sources_recipe_limits_and_where_to_turn_to() -> None:
    manifest = Manifest("set", "1", {}, (ShardEntry("00000.tar", 1, 5120, "ab" * 32),))
    told = provenance(FACTS)
    text = card(manifest, "mit", "Ask.", ("en",), ["key"], told=told)
    assert "- Common Crawl CC-MAIN-2024-10: 12 archives" in text and "ViT-B-32 (openai)" in text
    assert '| length | caption_chars at least 5 | `{"note": "a\\|b"}` |' in text
    assert "| near_duplicate | judged last |  |" in text and "write to removal@example.org" in text
    # What is made of the release says the same.
    assert stated_provenance(text) == told and stated_facts(text) == ("mit", "Ask.", ["en"])
    assert card(manifest, *stated_facts(text), ["key"], told=stated_provenance(text)) == text
    assert stated_provenance(card(manifest, "mit", "Ask.", (), ["key"])) == ""
    silent = provenance(replace(FACTS, optout_address=""))
    assert "No address is stated" in silent and "shard.optout_address" in silent


def test_provenance_is_that_of_the_records() -> None:
    archives = [
        "s3://x/CC-MAIN-2024-10/1.wat.gz",
        "s3://x/CC-MAIN-2024-10/2.wat.gz",
        "/home/me/a.gz",
    ]
    records = {
        "extract": {"config": {"extract": {"lists": []}, "outside": archives}},
        "score": {"config": {"score": {"model": "ViT-B-32", "pretrained": "/w/weights.bin"}}},
        "decide": {"config": {"filters": {"size": {"min_side": 200}, "score": {}}}},
    }
    bound = {"measure": "side", "side": "low", "value": 200.0, "language": None}
    found = {"filter": "score", "measure": "similarity", "side": "low"}
    cutoffs = [bound | {"filter": "size"}] + [
        found | {"language": language, "value": value}
        for language, value in (("ko", 0.25), ("en", 0.3))
    ]
    facts = gather(records, cutoffs, "9", "")
    # Folders say more of a machine than of the data.
    assert facts.sources == ("Common Crawl CC-MAIN-2024-10: 2 archives", "archives: a.gz")
    assert facts.model == "ViT-B-32 (weights.bin)"
    assert [(r.filter, r.keeps) for r in facts.rules] == [
        ("size", "side at least 200"), ("score", "similarity at least 0.3 (en), 0.25 (ko)"),
    ]  # fmt: skip
    assert gather({}, [], "9", "").rules == ()


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
