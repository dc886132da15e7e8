"""Filters on pictures and pairs: rows in, reasons out."""

from pathlib import Path

import pytest

from filters.animated import Animated
from filters.aspect_ratio import AspectRatio
from filters.captions_per_image import CaptionsPerImage
from filters.clip_similarity import ClipSimilarity
from filters.consent import Consent
from filters.evaluation_match import EvaluationMatch
from filters.image_area import ImageArea
from filters.image_bytes import ImageBytes
from filters.image_format import ImageFormat
from filters.image_max_side import ImageMaxSide
from filters.image_size import ImageSize
from filters.image_texture import ImageTexture
from filters.near_duplicate import NearDuplicate
from filters.pair_pages import PairPages
from filters.width_to_height import WidthToHeight
from pipeline.core.errors import InputError
from pipeline.core.filter import Bound
from pipeline.fetch.settings import DownloadSection
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


def test_image_bytes_may_have_an_upper_end() -> None:
    batch = pairs({"body_bytes": 9000}, {"body_bytes": 9001})
    assert reasons(ImageBytes(max_bytes=9000), batch) == [None, "body_bytes_high"]


def test_area_takes_a_long_picture_of_enough_pixels() -> None:
    batch = pairs(size(150, 150), size(22_500, 1), size(149, 151), size(0, 9), size(65_535, 65_535))
    low = "image_pixels_low"
    assert reasons(ImageArea(), batch) == [None, None, low, low, None]
    bounded = ImageArea(min_pixels=1, max_pixels=22_500)
    assert reasons(bounded, batch) == [None, None, None, low, "image_pixels_high"]


def test_formats() -> None:
    batch = pairs(*({"format": name} for name in ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "jpeg")))
    low = "is_format_allowed_low"
    assert reasons(ImageFormat(), batch) == [None, None, None, low, low, low]
    assert reasons(ImageFormat(formats=("AVIF",)), batch) == [low, low, low, low, None, low]


@pytest.mark.parametrize("formats", [(), ("JPG",), ("JPEG", "gif")])
def test_formats_that_no_picture_has_are_refused(formats: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="allowed: JPEG"):
        ImageFormat(formats=formats)


def test_every_format_of_the_download_may_be_asked_for() -> None:
    chosen = DownloadSection.model_fields["formats"].default
    assert ImageFormat(formats=chosen).formats == chosen


def test_longer_side() -> None:
    batch = pairs(size(20_000, 1), size(1, 20_001), size(20_001, 1))
    high = "image_max_side_high"
    assert reasons(ImageMaxSide(), batch) == [None, high, high]


def test_width_to_height_tells_wide_from_tall() -> None:
    batch = pairs(size(600, 200), size(601, 200), size(333, 1000), size(332, 1000), size(0, 0))
    low, high, missing = (f"width_to_height_{side}" for side in ("low", "high", "missing"))
    assert reasons(WidthToHeight(), batch) == [None, high, None, low, missing]
    assert reasons(WidthToHeight(max_ratio=8), batch)[:2] == [None, None]
    assert reasons(WidthToHeight(), pairs(size(5, 0), size(0, 5))) == [high, low]


def test_pairs_on_page_after_page() -> None:
    batch = pairs({"pages": 1}, {"pages": 10}, {"pages": 11})
    assert reasons(PairPages(), batch) == [None, None, "pages_high"]


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
