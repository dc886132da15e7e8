"""Filters on pictures and pairs: rows in, reasons out."""

from pathlib import Path

import pytest

from filters.animated import Animated
from filters.aspect_ratio import AspectRatio
from filters.captions_per_image import CaptionsPerImage
from filters.clip_similarity import ClipSimilarity
from filters.consent import Consent
from filters.evaluation_match import EvaluationMatch
from filters.image_bytes import ImageBytes
from filters.image_size import ImageSize
from filters.image_texture import ImageTexture
from filters.near_duplicate import NearDuplicate
from pipeline.core.errors import InputError
from pipeline.core.filter import Bound
from tests.filters.oracle import pairs, reasons


def size(width: int, height: int) -> dict[str, int]:
    return {"original_width": width, "original_height": height}


def test_evaluation_match() -> None:
    batch = pairs({}, {"evaluation_list": "imagenet"}, {"evaluation_list": ""})
    out = "is_evaluation_match_high"
    assert reasons(EvaluationMatch(), batch) == [None, out, out]


def test_image_size() -> None:
    batch = pairs(size(200, 900), size(900, 199), size(0, 0))
    low = "image_min_side_low"
    assert reasons(ImageSize(), batch) == [None, low, low]


def test_aspect_ratio() -> None:
    batch = pairs(size(600, 200), size(200, 600), size(601, 200), size(5, 0), size(0, 0))
    high, missing = "aspect_ratio_high", "aspect_ratio_missing"
    assert reasons(AspectRatio(), batch) == [None, None, high, high, missing]


def test_image_bytes() -> None:
    batch = pairs({"body_bytes": 4999}, {"body_bytes": 5000})
    assert reasons(ImageBytes(), batch) == ["body_bytes_low", None]


def test_texture() -> None:
    assert reasons(ImageTexture(), pairs({"texture": 0}, {"texture": 1})) == ["texture_low", None]


def test_animated() -> None:
    assert reasons(Animated(), pairs({"frames": 1}, {"frames": 2})) == [None, "frames_high"]


def test_clip_similarity() -> None:
    values = 0.1, 0.3, 0.9, float("nan")
    batch = pairs(*({"clip_similarity": value} for value in values))
    low, high, missing = (f"clip_similarity_{side}" for side in ("low", "high", "missing"))
    assert reasons(ClipSimilarity(low=0.3, high=0.8), batch)[::2] == [low, high]
    assert reasons(ClipSimilarity(low=0.28), batch) == [low, None, None, missing]


def test_bounds_on_what_decide_computes() -> None:
    assert NearDuplicate().bounds() == (Bound("is_representative", low=1),)
    assert CaptionsPerImage(max_captions=2).bounds() == (Bound("caption_rank", high=1),)


def test_consent_of_page_and_response() -> None:
    batch = pairs({}, {"consent": "x-robots-tag:noai"}, {"page_optout": "meta:noimageai"})
    assert reasons(Consent(), batch) == [None, "is_consented_low", "is_consented_low"]
    adopted = pairs({"consent": "adopted"}, {"consent": "adopted", "page_optout": "meta:noai"})
    assert reasons(Consent(), adopted) == [None, "is_consented_low"]


LISTED = [
    "https://shop.example.com/a.jpg",
    "http://SHOP.Example.com:8080/b.jpg",
    "https://a.b.한국.kr/x.jpg",
    "https://a.b.xn--3e0b707e.kr/x.jpg",
    "https://other.net/secret.jpg",
    "http://other.net/secret.jpg#top",
    "https://user@example.com/c.jpg",
    "https://OTHER.net:443/secret.jpg",
]
NOT_LISTED = [
    "https://notexample.com/a.jpg",
    "https://example.com.evil.net/a.jpg",
    "https://other.net/secret.jpg?v=2",
    "https://other.net/",
    "https://kr/x.jpg",
]


@pytest.fixture
def optouts(tmp_path: Path) -> str:
    path = tmp_path / "optouts.txt"
    text = "# by request\n\nexample.com\nhttps://한국.kr/\nhttps://Other.net/secret.jpg\n"
    path.write_text(text, encoding="utf-8-sig")
    return str(path)


@pytest.mark.parametrize("field", ["url", "page_url"])
def test_optout_file(optouts: str, field: str) -> None:
    clean = {"url": "https://clean.org/a.jpg", "page_url": "https://clean.org/"}
    chosen = Consent(optout_file=optouts)
    listed = pairs(*(clean | {field: url} for url in LISTED))
    assert set(reasons(chosen, listed)) == {"is_consented_low"}
    not_listed = pairs(*(clean | {field: url} for url in NOT_LISTED))
    assert set(reasons(chosen, not_listed)) == {None}


def test_a_longer_list_is_another_measure(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("example.com\n")
    before = Consent(optout_file=str(path)).measure_settings()
    path.write_text("example.com\nexample.org\n")
    assert Consent(optout_file=str(path)).measure_settings() != before


@pytest.mark.parametrize("content", [None, b"two words\n", b"\xff\xfe\x00", b"https:///x\n"])
def test_a_bad_list_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=str(path)):
        reasons(Consent(optout_file=str(path)), pairs({}))
