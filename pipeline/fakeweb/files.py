"""The bytes behind the image URLs: pictures drawn, altered and encoded, kept in pack files.

A pack holds the bodies of `PACK_IMAGES` consecutive images, one after the other. Drawing is spread
over processes; what a pack holds depends on the web's seed alone.
"""

import io
import multiprocessing
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from pipeline.fakeweb import bombs, hostile
from pipeline.fakeweb.captioning import scene_of
from pipeline.fakeweb.hostile import Kind
from pipeline.fakeweb.model import Encoding, Image, Variant
from pipeline.fakeweb.pictures import render

PACK_IMAGES = 200
_ORIENTATION = 0x0112  # EXIF tag
_TURN_RIGHT = 6  # value of it: what is stored must be turned by 90 degrees clockwise

CONTENT_TYPES = {
    Encoding.JPEG: "image/jpeg",
    Encoding.JPEG_CMYK: "image/jpeg",
    Encoding.JPEG_ROTATED: "image/jpeg",
    Encoding.PNG: "image/png",
    Encoding.PNG_16: "image/png",
    Encoding.PNG_PALETTE: "image/png",
    Encoding.WEBP: "image/webp",
    Encoding.GIF: "image/gif",
}


def pack_name(pack: int) -> str:
    """File name of a pack."""
    return f"pack-{pack:05}.bin"


def write_files(
    seed: int, images: tuple[Image, ...], folder: Path, processes: int
) -> list[tuple[int, int, int]]:
    """Write all bodies; (pack, offset, length) of each image, length 0 where it has none.

    processes: 0 for one per core.
    """
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(images), PACK_IMAGES)
    # A copy is its source's bytes: it is drawn as its source.
    drawn = [
        replace(images[i.source], kind=i.kind) if i.variant is Variant.COPY else i for i in images
    ]
    packs = [(n, drawn[start : start + PACK_IMAGES]) for n, start in enumerate(starts)]
    sources = {i.source: images[i.source] for i in drawn if i.source >= 0}
    workers = min(processes or os.cpu_count() or 1, len(packs))
    if workers == 1:
        lengths = [_write_pack(seed, sources, folder, pack) for pack in packs]
    else:
        # Started afresh, for the caller may have threads that a fork would not survive.
        context = multiprocessing.get_context("spawn")
        with _one_blas_thread(), ProcessPoolExecutor(workers, context) as pool:
            lengths = list(pool.map(partial(_write_pack, seed, sources, folder), packs))
    places = []
    for (number, _), found in zip(packs, lengths, strict=True):
        offset = 0
        for length in found:
            places.append((number, offset, length))
            offset += length
    return places


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Processes started within compute matrix products on one thread.

    With a thread per core in each process, they spend three quarters of their time on waiting.
    """
    name = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _write_pack(
    seed: int, sources: dict[int, Image], folder: Path, pack: tuple[int, list[Image]]
) -> list[int]:
    """Write one pack; the lengths of its bodies in bytes."""
    number, images = pack
    lengths = []
    with open(folder / pack_name(number), "wb") as file:
        for image in images:
            original = sources[image.source] if image.source >= 0 else image
            lengths.append(file.write(body(seed, image, original)))
    return lengths


def body(seed: int, image: Image, original: Image) -> bytes:
    """What the server sends for an image, or b"" when it makes that up itself.

    original: the image this is a variant of, or a stand-in for; else the image itself.
    """
    kind = image.kind
    if kind in bombs.KINDS:
        return bombs.bomb(kind)
    if kind is Kind.TINY:
        return _tiny(image)
    if kind is Kind.PLACEHOLDER:
        return _encode(_draw(seed, original), original)
    if kind is Kind.REDIRECTED or kind not in (*hostile.WITH_PICTURE, Kind.TRUNCATED):
        return b""
    whole = _encode(_alter(_draw(seed, original), image), image)
    return whole[: len(whole) * 2 // 5] if kind is Kind.TRUNCATED else whole


def _draw(seed: int, image: Image) -> NDArray[np.uint8]:
    return render(scene_of(seed, image.picture), image.width, image.height)


def _alter(pixels: NDArray[np.uint8], image: Image) -> NDArray[np.uint8]:
    """The original's pixels, uint8 [height, width, 3], as this variant shows them."""
    if image.variant is Variant.RESIZE:
        picture = Pillow.fromarray(pixels)
        return np.asarray(picture.resize((image.width, image.height), Pillow.Resampling.LANCZOS))
    if image.variant is Variant.MIRROR:
        return np.ascontiguousarray(pixels[:, ::-1])
    if image.variant is Variant.CROP:
        height, width = pixels.shape[:2]
        sides = 1 + image.index % 3  # left and top, then also right, then also bottom
        right = width - (width // 14 if sides > 1 else 0)
        bottom = height - (height // 14 if sides > 2 else 0)
        return np.ascontiguousarray(pixels[height // 14 : bottom, width // 14 : right])
    if image.variant is Variant.WATERMARK:
        return _watermark(pixels)
    return pixels


def _watermark(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half transparent letters near the lower edge."""
    picture = Pillow.fromarray(pixels).convert("RGBA")
    layer = Pillow.new("RGBA", picture.size, (0, 0, 0, 0))
    size = max(14, picture.height // 10)
    ImageDraw.Draw(layer).text(
        (picture.width // 20, picture.height - 2 * size),
        "© stock sample",
        font=ImageFont.load_default(size),
        fill=(255, 255, 255, 150),
    )
    return np.asarray(Pillow.alpha_composite(picture, layer).convert("RGB"))


def _encode(pixels: NDArray[np.uint8], image: Image) -> bytes:
    """The file of an image, from upright RGB pixels."""
    encoding = image.encoding
    if encoding is Encoding.PNG_16:
        return _png_16(pixels)
    out = io.BytesIO()
    picture = Pillow.fromarray(pixels)
    if encoding is Encoding.JPEG:
        picture.save(out, "JPEG", quality=image.quality)
    elif encoding is Encoding.JPEG_CMYK:
        picture.convert("CMYK").save(out, "JPEG", quality=image.quality)
    elif encoding is Encoding.JPEG_ROTATED:
        exif = Pillow.Exif()
        exif[_ORIENTATION] = _TURN_RIGHT
        turned = picture.transpose(Pillow.Transpose.ROTATE_90)
        turned.save(out, "JPEG", quality=image.quality, exif=exif)
    elif encoding is Encoding.PNG:
        picture.save(out, "PNG", compress_level=1)
    elif encoding is Encoding.WEBP:
        picture.save(out, "WEBP", quality=image.quality, method=1)
    elif encoding is Encoding.GIF:
        frame = picture.quantize(200, Pillow.Quantize.FASTOCTREE)
        second = Pillow.fromarray(255 - pixels).quantize(200, Pillow.Quantize.FASTOCTREE)
        frame.save(out, "GIF", save_all=True, append_images=[second], duration=400, loop=0)
    else:
        palette = picture.quantize(255, Pillow.Quantize.FASTOCTREE)
        corner = (max(1, picture.width // 16), max(1, picture.height // 16))
        palette.paste(255, (0, 0, *corner))
        palette.save(out, "PNG", transparency=255, compress_level=1)
    return out.getvalue()


def _png_16(pixels: NDArray[np.uint8]) -> bytes:
    """RGB with 16 bits per channel; 255 becomes 65535."""
    height, width = pixels.shape[:2]
    wide = (pixels.astype(np.uint16) * 257).astype(">u2").reshape(height, -1).view(np.uint8)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), wide], axis=1)  # filter type 0
    return bombs.png(width, height, 16, 2, zlib.compress(lines.tobytes(), 1))


def _tiny(image: Image) -> bytes:
    """A few pixels: a tracking pixel or an icon."""
    out = io.BytesIO()
    colour = (image.index * 37 % 256, image.index * 91 % 256, 120)
    picture = Pillow.new("RGB", (image.width, image.height), colour)
    picture.save(out, "GIF" if image.encoding is Encoding.GIF else "PNG")
    return out.getvalue()
