"""Bodies in, pictures or statuses out."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipeline.core.reasons import Status
from pipeline.fetch.decode import decode
from pipeline.fetch.picture import DecodeSettings, Picture
from pipeline.fetch.pixels import target_size
from tests.fetch.pictures import encoded, opened, photo
from tests.fetch.test_part import png_bomb

DEFAULT = DecodeSettings()


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


def stored(picture: Picture) -> Image.Image:
    assert picture.status == Status.OK, picture.status_detail
    image = opened(picture.data)
    assert image.format == "JPEG" and image.mode == "RGB"
    assert image.size == (picture.width, picture.height)
    return image


def test_digests_are_of_the_body_received() -> None:
    body = encoded(photo(96, 64), "PNG")
    picture = decode(body, DecodeSettings(md5=True))
    assert picture.sha256 == hashlib.sha256(body).digest()
    assert picture.md5 == hashlib.md5(body).digest()  # noqa: S324
    assert decode(body, DEFAULT).md5 is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_undone(orientation: int) -> None:
    upright = photo(200, 120)
    flipped = upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpose that makes the stored file
    turned = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(encoded(turned, quality=95, exif=exif), DEFAULT)
    assert (picture.original_width, picture.original_height) == (200, 120)
    assert difference(stored(picture), upright) < 8 < difference(upright, flipped)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256 * 64).reshape(64, 256).astype(np.uint16)
    image = stored(decode(encoded(Image.fromarray(ramp), "PNG"), DEFAULT))
    assert difference(image.convert("L"), Image.fromarray((ramp / 257).astype(np.uint8))) < 2


def test_float_samples() -> None:
    ramp = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    image = stored(decode(encoded(Image.fromarray(ramp), "TIFF"), DEFAULT))
    assert np.asarray(image.convert("L")).mean() == pytest.approx(127, abs=2)


@pytest.mark.parametrize("mode", ["CMYK", "L", "1", "P", "LAB", "YCbCr"])
def test_modes_keep_their_colours(mode: str) -> None:
    source = photo(96, 64)
    kind = {"CMYK": "JPEG", "LAB": "TIFF", "YCbCr": "JPEG"}.get(mode, "PNG")
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        )
        source = ImageCms.applyTransform(source, to_lab) or source
    else:
        source = source.convert(mode)
    data = encoded(source, kind, **({"quality": 95} if kind == "JPEG" else {}))
    image = stored(decode(data, DEFAULT))
    if mode != "LAB":  # without its profile Pillow itself cannot show LAB
        # A palette's dither loses more to the coarser colour of JPEG.
        assert difference(image, opened(data).convert("RGB")) < (20 if mode == "P" else 6)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparency_shows_the_background(mode: str) -> None:
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    options = {}
    if mode == "P":
        clear = photo(64, 64).convert("P")
        clear.paste(3, (0, 0, 64, 48))
        options = {"transparency": 3}
    elif mode == "RGB":
        clear = Image.new("RGB", (64, 64), (255, 0, 0))
        options = {"transparency": (255, 0, 0)}
    elif mode == "LA":
        clear = clear.convert("LA")
    settings = DecodeSettings(background=(0, 200, 0))
    pixel = stored(decode(encoded(clear, "PNG", **options), settings)).getpixel((32, 32))
    assert isinstance(pixel, tuple)
    assert max(abs(a - b) for a, b in zip(pixel, (0, 200, 0), strict=True)) < 6


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_animations(kind: str) -> None:
    first = Image.new("RGB", (64, 64), (250, 10, 10))
    rest = [Image.new("RGB", (64, 64), (10, 10, shade)) for shade in (100, 250)]
    data = encoded(first, kind, save_all=True, append_images=rest)
    picture = decode(data, DEFAULT)
    assert picture.frames == 3 and picture.format == kind
    pixel = stored(picture).getpixel((5, 5))
    assert isinstance(pixel, tuple) and pixel[0] > 240 and pixel[2] < 30


def test_small_plain_jpeg_is_kept_as_it_is_and_others_are_not() -> None:
    plain = encoded(photo(), quality=80)
    assert decode(plain, DEFAULT).data == plain
    assert decode(plain, DecodeSettings(keep_original=False)).data != plain
    for other in (
        encoded(photo(), progressive=True),
        encoded(photo().convert("L")),
        encoded(photo(), "PNG"),
        encoded(photo(900, 800)),
    ):
        assert decode(other, DEFAULT).data != other


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        ("keep_ratio", (768, 384)),
        ("keep_ratio_largest", (384, 192)),
        ("center_crop", (384, 384)),
        ("border", (384, 384)),
        ("none", (1600, 800)),
    ],
)
def test_resize_modes(mode: str, size: tuple[int, int]) -> None:
    big = decode(encoded(photo(1600, 800)), DecodeSettings(resize_mode=mode))
    assert stored(big).size == size
    assert (big.original_width, big.original_height) == (1600, 800)
    small = decode(encoded(photo(120, 90)), DecodeSettings(resize_mode=mode))
    assert stored(small).size == (120, 90)


def test_decoding_at_reduced_size_gives_the_same_picture() -> None:
    source = photo(1600, 1200)
    fast = stored(decode(encoded(source, quality=95), DEFAULT))
    slow = stored(decode(encoded(source, "PNG"), DEFAULT))
    assert difference(fast, slow) < 3


@given(
    st.tuples(st.integers(1, 30000), st.integers(1, 30000)),
    st.sampled_from(["keep_ratio", "keep_ratio_largest", "center_crop", "border", "none"]),
    st.integers(16, 1024),
)
def test_target_is_never_larger_nor_empty(size: tuple[int, int], mode: str, side: int) -> None:
    width, height = target_size(size, mode, side)
    assert 1 <= width <= size[0] and 1 <= height <= size[1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", Status.EMPTY),
        (b"<html>", Status.NOT_AN_IMAGE),
        (encoded(photo(), "PPM"), Status.NOT_AN_IMAGE),  # a format that is not on the list
        (encoded(photo())[:4000], Status.DECODE),
        (encoded(photo(), "PNG")[:4000], Status.DECODE),
        (png_bomb(20000), Status.TOO_MANY_PIXELS),
        (encoded(photo(40, 8)), Status.TOO_SMALL),
    ],
)
def test_refusals(body: bytes, status: Status) -> None:
    picture = decode(body, DecodeSettings(min_side_px=10))
    assert picture.status == status and picture.data is None and picture.sha256 is None


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=300), st.integers(0, 2000), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP"])
)
def test_any_damage_ends_in_a_status(noise: bytes, at: int, kind: str) -> None:
    data = bytearray(encoded(photo(64, 48), kind))
    data[at : at + len(noise)] = noise
    picture = decode(bytes(data), DEFAULT)
    assert Status(picture.status)
    assert (picture.data is not None) == (picture.status == Status.OK)


def test_body_is_hashed_as_received() -> None:
    body = encoded(photo(), "PNG")
    assert decode(body, DEFAULT).sha256 == hashlib.sha256(body).digest()


def test_md5_is_of_the_body_and_only_where_asked_for() -> None:
    body = encoded(photo(64, 48), quality=90)
    assert decode(body, DEFAULT).md5 is None
    assert decode(body, DecodeSettings(md5=True)).md5 == hashlib.md5(body).digest()
    assert decode(body[:200], DecodeSettings(md5=True)).md5 is None
