"""Colours and shapes: every kind of picture to the sRGB pixels a viewer would see."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.core.reasons import Status
from pipeline.fetch.decode import decode
from pipeline.fetch.picture import DecodeSettings, Picture
from tests.fetch.pictures import encoded, opened, photo

# Nothing but colour conversion, so that what is stored can be compared pixel by pixel.
WHOLE = DecodeSettings(resize_mode="none", jpeg_quality=100, keep_original=False)
SRGB = ImageCms.createProfile("sRGB")


def samples(image: Image.Image) -> np.ndarray:
    """Averages of 2x2 pixels: chroma is stored at half the size."""
    return np.asarray(image.convert("RGB").reduce(2), dtype=float)


def stored(body: bytes, settings: DecodeSettings = WHOLE) -> Image.Image:
    picture = decode(body, settings)
    assert picture.status == Status.OK, picture.status_detail
    return opened(picture.data)


def difference(a: Image.Image, b: Image.Image) -> float:
    assert a.size == b.size
    return float(np.abs(samples(a) - samples(b)).mean())


def blobs(width: int = 96, height: int = 64) -> Image.Image:
    """Saturated colours without fine detail, so that JPEG adds next to nothing."""
    cells = np.random.default_rng(5).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)


# --- profiles -------------------------------------------------------------------------------------

PROFILED = {
    "Adobe RGB (1998)": "pdq/commonsmachinery+blockhash-python/test/data/00631701.jpg",
    "Display P3": "corrupt/python-pillow+Pillow/Tests/images/frame_size.mpo",
    # Channels swapped: what ignores it shows blue for red.
    "ColorSpin": "corrupt/link-u+avif-sample-images/red-at-12-oclock-with-color-profile-lossy.avif",
    "Generic RGB Profile": "corrupt/image-rs+image/tests/images/jpg/portrait_2.jpg",
    "ColorMatch RGB": "corrupt/python-pillow+Pillow/Tests/images/avif/xmp_tags_orientation.avif",
}


def profile_of(path: Path) -> bytes:
    profile = Image.open(path).info["icc_profile"]
    assert isinstance(profile, bytes)
    return profile


def by_littlecms(image: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB")
    assert converted is not None
    return converted


@pytest.mark.parametrize("name", PROFILED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_real_profiles_are_converted_as_littlecms_does(
    real_data: Path, name: str, kind: str
) -> None:
    profile = profile_of(real_data / PROFILED[name])
    description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    assert description.strip() == name
    options = {"quality": 100} if kind in ("JPEG", "WEBP", "AVIF") else {}
    body = encoded(blobs(), kind, icc_profile=profile, **options)
    untouched = opened(body).convert("RGB")
    expected = by_littlecms(untouched, profile)
    assert difference(stored(body), expected) < 1.5
    assert difference(untouched, expected) > 3, "the conversion has something to do"


def test_a_real_profiled_file_is_converted(real_data: Path) -> None:
    for path in (PROFILED["Adobe RGB (1998)"], PROFILED["ColorSpin"]):
        body = (real_data / path).read_bytes()
        image = opened(body).convert("RGB")
        expected = by_littlecms(image, profile_of(real_data / path))
        assert difference(stored(body), expected) < 1.5


def test_a_profile_is_converted_after_reduction_too(real_data: Path) -> None:
    profile = profile_of(real_data / PROFILED["Adobe RGB (1998)"])
    large = blobs(1800, 1200)
    reduced = stored(encoded(large, quality=95, icc_profile=profile), DecodeSettings())
    expected = by_littlecms(large, profile).resize((576, 384), Image.Resampling.HAMMING)
    assert difference(reduced, expected) < 2


def test_alpha_with_a_profile(real_data: Path) -> None:
    profile = profile_of(real_data / PROFILED["ColorSpin"])
    image = blobs()
    image.putalpha(255)
    body = encoded(image, "PNG", icc_profile=profile)
    assert difference(stored(body), by_littlecms(blobs(), profile)) < 1.5


def test_srgb_and_unusable_profiles_change_nothing() -> None:
    lab, xyz, srgb = (
        ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()
        for space in ("LAB", "XYZ", "sRGB")
    )
    plain = stored(encoded(blobs(), quality=100))
    for profile in (lab, xyz, srgb, b"garbage", b"\0" * 200, srgb[:300]):
        body = encoded(blobs(), quality=100, icc_profile=profile)
        assert np.array_equal(np.asarray(stored(body)), np.asarray(plain))


def curve_profile(space: bytes, gamma: float) -> bytes:
    """A gray profile of one gamma: the smallest profile there is. Source: ICC.1:2004-10."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    text = b"gray gamma"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" * 79,
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0",
    }
    at = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        table += tag + struct.pack(">II", at + len(data), len(value))
        data += value
    illuminant = xyz(0.9642, 1.0, 0.8249)[8:]
    head = struct.pack(">I4sI4s4s4s", 0, b"none", 0x02400000, b"mntr", space, b"XYZ ")
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + illuminant
    head = head.ljust(128, b"\0")
    return struct.pack(">I", at + len(data)) + head[4:] + table + data


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_gray_profiles(mode: str) -> None:
    profile = curve_profile(b"GRAY", 1.0)
    ramp = Image.linear_gradient("L").resize((128, 128))
    image = ramp if mode == "L" else Image.merge("LA", (ramp, Image.new("L", ramp.size, 255)))
    ours = stored(encoded(image, "PNG", icc_profile=profile))
    expected = by_littlecms(ramp, profile)
    assert difference(ours, expected) < 1.5 < 20 < difference(ramp, expected)


# --- CMYK -----------------------------------------------------------------------------------------


def ink(image: Image.Image) -> Image.Image:
    """Naive separations: what a CMYK picture without a profile is taken to hold."""
    return image.convert("CMYK")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile(kind: str) -> None:
    # Pillow writes Adobe's inverted inks into a JPEG and marks them.
    body = encoded(ink(blobs()), kind, **({"quality": 100} if kind == "JPEG" else {}))
    assert difference(stored(body), blobs()) < 2


def test_real_ycck_and_cmyk_files(real_data: Path) -> None:
    images = real_data / "corrupt/python-pillow+Pillow/Tests/images"
    ycck = images / "pil_sample_cmyk.jpg"
    assert Image.open(ycck).info["adobe_transform"] == 2
    for path in (ycck, images / "tiff_strip_cmyk_jpeg.tif"):
        expected = opened(path.read_bytes()).convert("RGB")
        assert difference(stored(path.read_bytes()), expected) < 3
        # Not a negative: the picture has both light and dark.
        assert samples(expected).min() < 100 < 200 < samples(expected).max()


def test_cmyk_with_a_profile() -> None:
    profile = cmyk_profile()
    body = encoded(ink(blobs()), "JPEG", quality=100, icc_profile=profile)
    raw = opened(body)
    assert raw.mode == "CMYK"
    expected = by_littlecms(raw, profile)
    assert difference(stored(body), expected) < 1.5 < 5 < difference(raw.convert("RGB"), expected)


def cmyk_profile() -> bytes:
    """A printer whose inks are half as strong as their names: A2B0 as a two-point 8-bit table to
    Lab. Source: ICC.1:2004-10, lut8Type."""
    nodes = []
    for node in range(16):
        c, m, y, k = ((node >> shift) & 1 for shift in (3, 2, 1, 0))
        rgb = tuple(round(255 * (1 - 0.5 * v) * (1 - 0.5 * k)) for v in (c, m, y))
        to_lab = ImageCms.buildTransform(SRGB, ImageCms.createProfile("LAB"), "RGB", "LAB")
        lab = ImageCms.applyTransform(Image.new("RGB", (1, 1), rgb), to_lab)
        assert lab is not None
        lightness, a, b = lab.tobytes()
        nodes += [lightness, (a + 128) % 256, (b + 128) % 256]
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    ramp = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(nodes) + ramp * 3
    text = b"half inks"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" * 79,
        b"A2B0": lut,
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
    }
    at = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        table += tag + struct.pack(">II", at + len(data), len(value))
        data += value
    head = struct.pack(">I4sI4s4s4s", 0, b"none", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return struct.pack(">I", at + len(data)) + head.ljust(128, b"\0")[4:] + table + data


# --- deep samples, transparency -------------------------------------------------------------------


def test_sixteen_bits_of_every_kind(real_data: Path) -> None:
    images = real_data / "corrupt/python-pillow+Pillow/Tests/images"
    for path, target in (
        ("tiff_16bit_RGB.tiff", "tiff_16bit_RGB_target.png"),
        ("tiff_strip_planar_16bit_RGB.tiff", "tiff_16bit_RGB_target.png"),
        ("tiff_strip_planar_16bit_RGBa.tiff", "tiff_16bit_RGBa_target.png"),
    ):
        ours = stored((images / path).read_bytes())
        assert difference(ours, stored((images / target).read_bytes())) < 1.5, path
    gray = opened((images / "16bit.cropped.tif").read_bytes())
    assert gray.mode == "I;16"
    eight = Image.fromarray(np.round(np.asarray(gray) / 257).astype(np.uint8))
    assert difference(stored((images / "16bit.cropped.tif").read_bytes()), eight) < 1.5


@pytest.mark.parametrize("colours", [2, 6])
def test_sixteen_bit_png_with_colour(colours: int) -> None:
    """PNG colour types 2 and 6, written by hand: Pillow has no such mode."""
    channels = {2: 3, 6: 4}[colours]
    levels = np.random.default_rng(3).integers(0, 65536, (2, 3, channels)).astype(">u2")
    levels[..., 3:] = 65535
    large = levels.repeat(16, axis=0).repeat(16, axis=1)
    ours = samples(stored(png(large, colours)))
    expected = large[::2, ::2, :3].astype(float) / 257
    assert np.abs(ours - expected)[2:6, 2:6].max() < 4


def png(levels: np.ndarray, colours: int) -> bytes:
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = levels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    header = struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["1_trns", "l_trns", "i_trns", "rgb_trns", "p_trns_single"])
def test_real_transparent_colours(real_data: Path, name: str) -> None:
    images = real_data / "corrupt/python-pillow+Pillow/Tests/images"
    body = (images / f"{name}.png").read_bytes()
    red, blue = (
        np.asarray(
            stored(
                body,
                DecodeSettings(
                    resize_mode="none", jpeg_quality=100, keep_original=False, background=colour
                ),
            ),
            dtype=float,
        )
        for colour in ((255, 0, 0), (0, 0, 255))
    )
    is_clear = np.abs(red - blue).max(axis=2) > 128
    assert 0.02 < is_clear.mean() < 0.98, "some of the picture is transparent, and some is not"
    if name == "i_trns":
        raw = np.asarray(opened(body)) == 255
        assert (is_clear == raw).mean() > 0.95


def test_half_transparent_edges_mix_with_the_background() -> None:
    image = Image.new("RGBA", (64, 64), (200, 0, 0, 128))
    settings = DecodeSettings(background=(0, 200, 0))
    pixel = stored(encoded(image, "PNG"), settings).getpixel((20, 20))
    assert isinstance(pixel, tuple)
    assert max(abs(a - b) for a, b in zip(pixel, (100, 100, 0), strict=True)) < 6


@pytest.mark.parametrize("side", [800, 2400])
def test_hidden_colours_do_not_shine_through_when_reduced(side: int) -> None:
    # Every second pixel is transparent, and bright green beneath.
    levels = np.zeros((side, side, 4), np.uint8)
    levels[...] = (120, 0, 0, 255)
    levels[::2, ::2] = (0, 255, 0, 0)
    settings = DecodeSettings(background=(120, 0, 0))
    ours = stored(encoded(Image.fromarray(levels), "PNG"), settings)
    assert np.abs(np.asarray(ours, dtype=float) - (120, 0, 0)).mean() < 3


def test_pieces_join_without_seams() -> None:
    """A picture large enough to be converted in pieces equals one that Pillow reduces whole."""
    image = photo(2111, 1733).convert("RGBA")
    image.putalpha(Image.radial_gradient("L").resize(image.size))
    ours = stored(encoded(image, "PNG"), DecodeSettings(jpeg_quality=100))
    flat = Image.new("RGB", image.size, (255, 255, 255))
    flat.paste(image, mask=image.getchannel("A"))
    expected = flat.resize(ours.size, Image.Resampling.HAMMING, reducing_gap=2.0)
    assert difference(ours, expected) < 1


# --- animations, AVIF, WebP -----------------------------------------------------------------------


def test_first_frames_of_real_animations(real_data: Path) -> None:
    images = real_data / "corrupt/python-pillow+Pillow/Tests/images"
    star = decode((images / "avif/star.avifs").read_bytes(), WHOLE)
    assert (star.format, star.frames) == ("AVIF", 5)
    first = opened((images / "avif/star.avifs").read_bytes())
    flat = Image.new("RGB", first.size, (255, 255, 255))
    flat.paste(first, mask=first.getchannel("A"))
    assert difference(opened(star.data), flat) < 1.5


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_frames_are_counted_to_the_cap(kind: str) -> None:
    first, *rest = (Image.new("RGB", (40, 30), (level, 0, 0)) for level in range(0, 250, 10))
    body = encoded(first, kind, save_all=True, append_images=rest)
    assert decode(body, DecodeSettings(max_frames=25)).frames == 25
    over = decode(body, DecodeSettings(max_frames=24))
    assert over.status == Status.TOO_MANY_FRAMES and over.data is None
    assert decode(encoded(first, kind), DecodeSettings(max_frames=1)).frames == 1


def test_a_gif_of_a_million_frames_is_refused_at_once() -> None:
    frame = b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"
    body = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 1_000_000 + b";"
    picture = decode(body, DecodeSettings())
    assert picture.status == Status.TOO_MANY_FRAMES
    # A chain of directories that bites its own tail ends.
    loop = b"II*\0" + struct.pack("<IH", 8, 0) + struct.pack("<I", 8)
    assert decode(loop, DecodeSettings()).status in (Status.DECODE, Status.NOT_AN_IMAGE)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("mirror", range(2))
def test_avif_is_turned_as_its_properties_say(real_data: Path, turn: int, mirror: int) -> None:
    folder = real_data / "corrupt/python-pillow+Pillow/Tests/images/avif"
    picture = decode((folder / f"rot{turn}mir{mirror}.avif").read_bytes(), WHOLE)
    assert (picture.original_width, picture.original_height) == (640, 427)
    upright = decode((folder / "rot0mir1.avif").read_bytes(), WHOLE)
    assert difference(opened(picture.data), opened(upright.data)) < 12


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 100}])
def test_webp_with_and_without_loss_or_alpha(options: dict[str, int]) -> None:
    image = blobs()
    assert difference(stored(encoded(image, "WEBP", **options)), image) < 3
    image.putalpha(0)
    clear = stored(encoded(image, "WEBP", exact=True, **options))
    assert samples(clear).min() > 250


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_undone_once_in_every_format(kind: str, orientation: int) -> None:
    image = blobs(120, 80)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    turned = image if orientation == 1 else image.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(turned, kind, exif=exif)
    picture = decode(body, WHOLE)
    assert (picture.original_width, picture.original_height) == (120, 80)
    assert difference(opened(picture.data), image) < 4


def test_real_orientation_examples(real_data: Path) -> None:
    folder = real_data / "corrupt/recurser+exif-orientation-examples"
    found = [
        stored((folder / f"Landscape_{n}.jpg").read_bytes(), DecodeSettings()) for n in range(9)
    ]
    assert len({image.size for image in found}) == 1
    small = [samples(image.resize((24, 16), Image.Resampling.BOX)) for image in found]
    for other in small[1:]:
        assert np.abs(other - small[1]).mean() < 12


# --- what is stored -------------------------------------------------------------------------------


def test_progressive_gives_the_pixels_of_baseline() -> None:
    image = photo(1400, 1000)
    baseline, progressive = (encoded(image, quality=90, progressive=p) for p in (False, True))
    a, b = stored(baseline, DecodeSettings()), stored(progressive, DecodeSettings())
    assert np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("AVIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_body_that_ends_early_is_refused(
    kind: str, options: dict[str, object], share: float
) -> None:
    body = encoded(photo(300, 200), kind, **options)
    assert decode(body, WHOLE).status == Status.OK
    picture = decode(body[: int(len(body) * share)], WHOLE)
    assert picture.status in (Status.DECODE, Status.NOT_AN_IMAGE) and picture.data is None


def test_a_jpeg_without_its_end_marker_ended_early() -> None:
    assert decode(encoded(photo())[:-2], WHOLE).status == Status.DECODE


@pytest.mark.parametrize(
    ("mode", "width", "height"),
    [
        ("keep_ratio", 1200, 800),
        ("keep_ratio_largest", 1200, 800),
        ("center_crop", 1200, 800),
        ("center_crop", 800, 1200),
        ("border", 1200, 800),
        ("border", 800, 1200),
        ("none", 1200, 800),
    ],
)
def test_resize_modes_show_the_right_part(mode: str, width: int, height: int) -> None:
    image = blobs(width, height)
    settings = DecodeSettings(resize_mode=mode, image_size_px=256, background=(0, 90, 200))
    ours = stored(encoded(image, "PNG"), settings)
    if mode == "keep_ratio":
        expected = image.resize((384, 256), Image.Resampling.BICUBIC)
    elif mode == "keep_ratio_largest":
        expected = image.resize((256, 171), Image.Resampling.BICUBIC)
    elif mode == "center_crop":
        left, top = (width - 800) // 2, (height - 800) // 2
        middle = image.crop((left, top, left + 800, top + 800))
        expected = middle.resize((256, 256), Image.Resampling.BICUBIC)
    elif mode == "border":
        inner = image.resize((256, 171) if width > height else (171, 256), Image.Resampling.BICUBIC)
        expected = Image.new("RGB", (256, 256), (0, 90, 200))
        expected.paste(inner, ((256 - inner.width) // 2, (256 - inner.height) // 2))
    else:
        expected = image
    assert difference(ours, expected) < 3


def is_kept(body: bytes) -> bool:
    return decode(body, DecodeSettings()).data == body


def test_original_bytes_are_kept_only_when_nothing_had_to_be_done(real_data: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    assert is_kept(encoded(blobs()))
    assert is_kept(encoded(blobs(), exif=exif))
    srgb = ImageCms.ImageCmsProfile(SRGB).tobytes()
    assert is_kept(encoded(blobs(), icc_profile=srgb))
    exif[0x0112] = 3
    wide = profile_of(real_data / PROFILED["Adobe RGB (1998)"])
    for body in (
        encoded(blobs(), exif=exif),
        encoded(blobs(), icc_profile=wide),
        encoded(ink(blobs())),
        encoded(blobs().convert("L")),
        encoded(blobs(), progressive=True),
        encoded(blobs(), "MPO", save_all=True, append_images=[blobs()]),
        encoded(blobs(500, 400), comment=b"by somebody"),
    ):
        assert not is_kept(body)
        assert_plain(decode(body, DecodeSettings()))


def assert_plain(picture: Picture) -> None:
    image = opened(picture.data)
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert (
        not image.info.keys() & {"icc_profile", "comment"} and image.getexif().get(0x0112, 1) == 1
    )
