"""Small files that cost their decoder much: pixels, frames, memory or time."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache

from PIL import Image as Pillow

from pipeline.fakeweb.hostile import Kind

_SIDE = 20_000  # pixels, of what a header tells
_FRAMES = 1_200
# Just under what a picture may have by default: it is decoded, and its decoder runs into its own
# limit.
_ALLOWED_SIDE = 9_400
_SCANS = 20_000
_BLOCK = 8
# Source: ITU-T T.81, table F.1 and section G.1.2.2: the category of a run over [2^14, 2^15) blocks
# without coefficients, followed by 14 bits that say which.
_LONG_RUN, _RUN_BITS = 0xE0, 14


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """A PNG from its filtered, compressed scan lines. Source: PNG specification, section 11.2."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _pixels() -> bytes:
    """A sound PNG of 400 million pixels, one bit each, in about 50 kB."""
    packer = zlib.compressobj(9)
    line = bytes(1 + _SIDE // 8)
    data = b"".join(packer.compress(line * 1000) for _ in range(_SIDE // 1000))
    return png(_SIDE, _SIDE, 1, 0, data + packer.flush())


def _frames() -> bytes:
    """A sound GIF of many small frames."""
    out = io.BytesIO()
    frames = [Pillow.new("P", (64, 64), n % 2) for n in range(_FRAMES)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 255, 255, 255])
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=20, loop=0)
    return out.getvalue()


def _memory() -> bytes:
    """A sound lossless WebP of one colour in 34 bytes, which decodes to three canvases of 353 MB.

    Source: RFC 9649, sections 3.4 and 3.7.2.1.1: with one symbol to each code a pixel takes no bit.
    """
    side = _ALLOWED_SIDE - 1
    # (value, bits): width, height, has alpha, version, no transform, no colour cache, no meta codes
    fields = [(side, 14), (side, 14), (1, 1), (0, 3), (0, 1), (0, 1), (0, 1)]
    for symbol in (90, 120, 60, 255, 0):  # green, red, blue, alpha, distance
        fields += [(1, 1), (0, 1), (1, 1), (symbol, 8)]
    data = b"\x2f" + _least_first(fields)
    padded = data + bytes(len(data) % 2)
    chunk = b"VP8L" + struct.pack("<I", len(data)) + padded
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _least_first(fields: Sequence[tuple[int, int]]) -> bytes:
    """(value, bits) one after the other, from the least bit of the first byte on."""
    number = length = 0
    for value, bits in fields:
        number |= value << length
        length += bits
    return number.to_bytes(-(-length // 8), "little")


def _scans() -> bytes:
    """A progressive JPEG that goes over all its blocks very many times, each time to no effect.

    Source: ITU-T T.81, annexes B and G; the attack: libjpeg-turbo, doc/libjpeg.txt, "Progressive".
    """

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    def table(is_ac: int, symbol: int) -> bytes:
        """A Huffman table of one code, the bit 0."""
        return segment(0xC4, bytes([is_ac << 4, 1, *[0] * 15, symbol]))

    left = (-(-_ALLOWED_SIDE // _BLOCK)) ** 2
    bits = ""
    while left > 0:
        run = min(max(left, 1 << _RUN_BITS), (2 << _RUN_BITS) - 1)
        bits += f"0{run - (1 << _RUN_BITS):0{_RUN_BITS}b}"
        left -= run
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    frame = struct.pack(">BHHB3B", 8, _ALLOWED_SIDE, _ALLOWED_SIDE, 1, 1, 0x11, 0)
    head = b"\xff\xd8" + segment(0xDB, bytes(1) + bytes([16]) * 64) + segment(0xC2, frame)
    scan = segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + data
    return head + table(0, 0) + table(1, _LONG_RUN) + scan * _SCANS + b"\xff\xd9"


_MAKERS: dict[Kind, Callable[[], bytes]] = {
    Kind.BOMB: _pixels,
    Kind.FRAMES_BOMB: _frames,
    Kind.MEMORY_BOMB: _memory,
    Kind.SCANS_BOMB: _scans,
}
KINDS = frozenset(_MAKERS)


@lru_cache(maxsize=len(_MAKERS))
def bomb(kind: Kind) -> bytes:
    """The body of one of KINDS."""
    return _MAKERS[kind]()
