"""One body to one picture: judged by its header, decoded once, upright sRGB, stored as JPEG.

A body that ends before its picture does is refused (`decode`): nothing is painted in for what is
missing, of a progressive file no coarse version is taken, and a JPEG without its end marker is one
that ended early, whatever it may have shown.
"""

import io
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import md5, sha256

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from pipeline.core.reasons import Status
from pipeline.fetch import pixels
from pipeline.fetch.frames import count_frames
from pipeline.fetch.hashes import fingerprint, hashes_of
from pipeline.fetch.picture import DecodeSettings, Picture

_ORIENTATION = 0x0112
# Reductions of a JPEG decoder. Source: Pillow's documentation of Image.draft.
_CODEC_SCALES = (1, 2, 4, 8)

# The header is judged here, with the configured cap; Pillow's own warning would only be noise.
Image.MAX_IMAGE_PIXELS = None
ImageFile.LOAD_TRUNCATED_IMAGES = False
warnings.simplefilter("ignore")


class _Refused(Exception):
    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def decode(body: bytes, settings: DecodeSettings) -> Picture:
    """What a body gives: a stored JPEG with sizes and hashes, or the status that says why not.

    Never raises for what the body holds.
    """
    found = Picture(Status.OK)
    try:
        _decode(body, settings, found)
    except _Refused as refused:
        return _without_picture(found, refused.status, refused.detail)
    except UnidentifiedImageError:
        return _without_picture(found, Status.NOT_AN_IMAGE, "no known format")
    except MemoryError:
        return _without_picture(found, Status.DECODE, "out of memory")
    except Exception as error:  # noqa: BLE001 - decoders raise everything on hostile bytes
        return _without_picture(found, Status.DECODE, f"{type(error).__name__}: {error}"[:200])
    return found


@dataclass(frozen=True)
class _Reduced:
    """The picture to store: (width, height), luminance [height, width], and what makes a JPEG of
    it at a quality."""

    size: pixels.Size
    luminance: npt.NDArray[np.uint8]
    jpeg: Callable[[int], bytes]


def _decode(body: bytes, settings: DecodeSettings, found: Picture) -> None:
    if not body:
        raise _Refused(Status.EMPTY, "no bytes")
    with Image.open(io.BytesIO(body), formats=settings.formats) as image:
        turned = _judge_header(image, body, settings, found)
        size = image.size
        is_plain = _is_plain_jpeg(image, turned)
        may_be_kept = is_plain and not image.info.get("progressive")
        reduced = None
        if is_plain and settings.jpeg_codec == "simplejpeg":
            reduced = _reduced_fast(body, size, settings, found)
        if reduced is None:
            reduced = _reduced(image, turned, settings, found)
    started = time.thread_time()
    looks = hashes_of(reduced.luminance)
    digest = sha256(body).digest()
    if settings.md5:
        found.md5 = md5(body, usedforsecurity=False).digest()
    hashed = time.thread_time()
    if settings.keep_original and may_be_kept and reduced.size == size:
        found.data = body
    else:
        found.data = reduced.jpeg(settings.jpeg_quality)
    found.width, found.height = reduced.size
    found.sha256 = digest
    found.hash64, found.hash256, found.texture = looks.hash64, looks.hash256, looks.texture
    assert found.original_width is not None and found.original_height is not None
    found.fingerprint = fingerprint(
        looks, digest, found.original_width, found.original_height, settings.min_texture
    )
    found.hash_s, found.encode_s = hashed - started, time.thread_time() - hashed


def _reduced(image: Image.Image, turned: int, settings: DecodeSettings, found: Picture) -> _Reduced:
    """By Pillow, which takes everything."""
    started = time.thread_time()
    wanted = pixels.target_size(image.size, settings.resize_mode, settings.image_size_px)
    if image.format == "JPEG" and _codec_scale(image.size, wanted) > 1:
        image.draft(None, wanted)
    image.load()
    if not _is_jpeg(image):
        turned = _note_orientation(image, found)
    loaded = time.thread_time()
    stored = pixels.to_rgb(image, wanted, settings.background)
    stored = pixels.upright(stored, turned)
    stored = pixels.frame(stored, settings.resize_mode, settings.image_size_px, settings.background)
    found.decode_s, found.resize_s = loaded - started, time.thread_time() - loaded
    return _Reduced(stored.size, np.asarray(stored.convert("L")), partial(_jpeg, stored))


def _reduced_fast(
    body: bytes, size: pixels.Size, settings: DecodeSettings, found: Picture
) -> _Reduced | None:
    """A plain JPEG by the optional codec; None for what it does not take, or finds fault with."""
    from pipeline.fetch import accelerate

    started = time.thread_time()
    wanted = pixels.target_size(size, settings.resize_mode, settings.image_size_px)
    if settings.resize_mode in ("center_crop", "border"):
        return None
    samples = accelerate.read(body, _codec_scale(size, wanted))
    if samples is None or not accelerate.can_reduce(samples, wanted):
        return None
    loaded = time.thread_time()
    stored = accelerate.resized(samples, wanted)
    found.decode_s, found.resize_s = loaded - started, time.thread_time() - loaded
    return _Reduced(wanted, accelerate.luminance(stored), partial(_jpeg, Image.fromarray(stored)))


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    # Else Pillow would write the comment of the file it came from.
    image.save(buffer, "JPEG", quality=quality, comment=b"")
    return buffer.getvalue()


def _codec_scale(size: pixels.Size, wanted: pixels.Size) -> int:
    """By what a JPEG decoder is to reduce, 1 for not at all: as far as the result is not smaller
    than wanted. It reduces while it transforms, for less than no cost."""
    ratio = min(a // b for a, b in zip(size, wanted, strict=True))
    return max(scale for scale in _CODEC_SCALES if scale <= max(1, ratio))


def _judge_header(image: Image.Image, body: bytes, settings: DecodeSettings, found: Picture) -> int:
    """Note what the header says and refuse by it, before any pixel; the EXIF orientation."""
    width, height = image.size
    if width * height > settings.max_pixels:
        raise _Refused(Status.TOO_MANY_PIXELS, f"{width}x{height}")
    found.format = "JPEG" if _is_jpeg(image) else image.format
    found.original_width, found.original_height = width, height
    # A PNG may say how it lies behind its pixels only, and Pillow turns a TIFF while loading it.
    orientation = _note_orientation(image, found) if _is_jpeg(image) else 1
    frames = count_frames(image, body, settings.max_frames)
    if frames > settings.max_frames:
        raise _Refused(Status.TOO_MANY_FRAMES, f"more than {settings.max_frames}")
    found.frames = frames
    if min(width, height) < settings.min_side_px:
        raise _Refused(Status.TOO_SMALL, f"{width}x{height}")
    return orientation


def _is_jpeg(image: Image.Image) -> bool:
    # What other pictures a JPEG holds (MPO) are previews of the first.
    return image.format in ("JPEG", "MPO")


def _note_orientation(image: Image.Image, found: Picture) -> int:
    """The EXIF orientation; the noted size becomes that of the upright picture."""
    orientation = _orientation(image)
    if orientation in pixels.SIDEWAYS:
        found.original_width, found.original_height = found.original_height, found.original_width
    return orientation


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - EXIF is hostile too; a picture with broken EXIF is upright
        return 1
    return value if value in range(1, 9) else 1


def _is_plain_jpeg(image: Image.Image, orientation: int) -> bool:
    """True for a three-channel JPEG whose stored samples are the upright sRGB picture."""
    return (
        image.format == "JPEG"
        and image.mode == "RGB"
        and orientation == 1
        and pixels.is_srgb(image.info.get("icc_profile"))
    )


def _without_picture(found: Picture, status: Status, detail: str) -> Picture:
    """What is told of a body that gave no picture: the header's facts stay only when decoded far
    enough to be known."""
    return Picture(
        status,
        detail,
        format=found.format,
        frames=found.frames,
        original_width=found.original_width,
        original_height=found.original_height,
    )
