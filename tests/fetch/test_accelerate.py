"""The compiled reduction and the optional codec give the pixels that Pillow gives, and leave it what
they do not take."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from pydantic import ValidationError

from pipeline.fetch import accelerate
from pipeline.fetch.decode import decode
from pipeline.fetch.picture import DecodeSettings
from pipeline.fetch.pool import DecoderPool
from pipeline.fetch.settings import DownloadSection
from tests.fetch.pictures import encoded, photo

PILLOW = DecodeSettings(jpeg_quality=95)
FAST = DecodeSettings(jpeg_quality=95, jpeg_codec="simplejpeg")


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_reads_what_pillow_reads(subsampling: int, scale: int) -> None:
    body = encoded(photo(403, 301), quality=85, subsampling=subsampling)
    read = accelerate.read(body, scale)
    assert read is not None
    image = Image.open(io.BytesIO(body))
    image.draft(None, (403 // scale, 301 // scale))
    assert np.array_equal(read[:, :, :3], np.asarray(image))


@hypothesis_settings(max_examples=200)
@given(
    st.integers(4, 400),
    st.integers(4, 400),
    st.floats(1, 2),
    st.floats(1, 2),
    st.integers(0, 99),
)
def test_resizes_as_pillow_does(width: int, height: int, x: float, y: float, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    size = (max(-(-width // 2), int(width / x)), max(-(-height // 2), int(height / y)))
    image = Image.fromarray(noise)
    assert accelerate.can_reduce(image.size, size)
    theirs = image.resize(size, Image.Resampling.HAMMING)
    ours = accelerate.image_of(accelerate.resized(accelerate.pixels_of(image), size))
    assert ours.mode == "RGB"
    assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("target", [384, 512, 683])
def test_every_ratio_is_pillows(target: int) -> None:
    for length in range(target, 2 * target + 1, 5):
        noise = np.random.default_rng(length).integers(0, 256, (4, length, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        theirs = image.resize((target, 4), Image.Resampling.HAMMING)
        ours = accelerate.image_of(accelerate.resized(accelerate.pixels_of(image), (target, 4)))
        assert ours.tobytes() == theirs.tobytes()


def test_what_it_does_not_take_is_left_alone() -> None:
    assert not accelerate.can_reduce((3, 3), (3, 2))
    assert not accelerate.can_reduce((100, 100), (49, 100))
    assert not accelerate.can_reduce((100, 100), (101, 100))
    assert not accelerate.can_reduce((9000, 9000), (8000, 8000))
    assert accelerate.read(b"no picture", 1) is None


def differing(body: bytes) -> list[str]:
    """What differs of a picture that the two store, but for the time it took."""
    slow, fast = decode(body, PILLOW), decode(body, FAST)
    names = [name for name in slow.__struct_fields__ if not name.endswith("_s")]
    return [name for name in names if getattr(slow, name) != getattr(fast, name)]


def test_stores_the_pictures_pillow_stores() -> None:
    for width, height in ((1200, 900), (900, 2000), (500, 400), (390, 384), (3100, 2000), (80, 60)):
        for options in ({}, {"progressive": True}, {"subsampling": 0}):
            assert not differing(encoded(photo(width, height), quality=85, **options))


def test_stores_the_pictures_pillow_stores_of_real_files(real_data: Path) -> None:
    files = sorted((real_data / "photos-captions").rglob("*.jpg"))[::25]
    files += sorted((real_data / "photos/clothing-cc0").rglob("*.jpg"))[::25]
    files += sorted((real_data / "corrupt").rglob("*.jp*g"))
    assert len(files) > 150
    for file in files:
        assert not differing(file.read_bytes())


def test_the_rest_is_pillows_to_the_byte() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = photo(900, 700)
    for body in (
        encoded(picture, "PNG"),
        encoded(picture.convert("L")),
        encoded(picture.convert("CMYK")),
        encoded(picture, exif=exif),
        encoded(picture)[:9000],
        encoded(photo(100, 80)),  # kept as it is
    ):
        assert decode(body, PILLOW).data == decode(body, FAST).data
    framed = {"resize_mode": "border", "image_size_px": 256}
    body = encoded(picture, icc_profile=lab)
    slow, fast = DecodeSettings(**framed), DecodeSettings(**framed, jpeg_codec="simplejpeg")
    assert decode(body, slow).data == decode(body, fast).data


def test_a_decoder_process_uses_it_within_its_memory() -> None:
    pool = DecoderPool(FAST, 1, 20.0, DownloadSection().decode_memory_mb * 2**20)
    try:
        body = encoded(photo(1200, 900))
        assert pool.submit(body).result(120).data == decode(body, FAST).data
    finally:
        pool.close()


def test_a_missing_package_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert DownloadSection(jpeg_codec="simplejpeg").for_decoding().jpeg_codec == "simplejpeg"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert DownloadSection().jpeg_codec == "pillow"
    with pytest.raises(ValidationError, match="needs the Python package simplejpeg"):
        DownloadSection(jpeg_codec="simplejpeg")
