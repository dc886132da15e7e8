"""What the decoder is told and what it answers: plain records that cross the process border."""

import msgspec

# First bytes of every format that may be configured, as (offset, bytes).
# Source: the formats' own specifications; the same prefixes that Pillow's plugins test.
SIGNATURES: dict[str, tuple[tuple[int, bytes], ...]] = {
    "JPEG": ((0, b"\xff\xd8\xff"),),
    "PNG": ((0, b"\x89PNG\r\n\x1a\n"),),
    "WEBP": ((8, b"WEBP"),),
    "GIF": ((0, b"GIF8"),),
    "BMP": ((0, b"BM"),),
    "TIFF": ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")),
    "AVIF": ((4, b"ftyp"),),
    "JPEG2000": ((0, b"\x00\x00\x00\x0cjP"), (0, b"\xff\x4f\xff\x51")),
    "ICO": ((0, b"\0\0\1\0"),),
}
# Enough of a body to see every signature.
SIGNATURE_BYTES = 16


def has_signature(head: bytes, formats: tuple[str, ...]) -> bool:
    """True when the first bytes of a body could be a picture of one of the formats."""
    return any(
        head[at : at + len(magic)] == magic for name in formats for at, magic in SIGNATURES[name]
    )


class DecodeSettings(msgspec.Struct, frozen=True):
    """What to accept and what to store. See the fields of the same names of `[download]`."""

    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
    max_pixels: int = 2**30 // 4 // 3
    max_frames: int = 1000
    min_side_px: int = 1
    image_size_px: int = 384
    resize_mode: str = "keep_ratio"
    jpeg_quality: int = 90
    keep_original: bool = True
    background: tuple[int, int, int] = (255, 255, 255)
    min_texture: int = 50
    turned_hashes: bool = False
    jpeg_codec: str = "pillow"
    md5: bool = False


class Picture(msgspec.Struct):
    """What one body gave. `status` is a Status; on anything but "ok" only `status_detail` and what
    the header said are set.

    data: the JPEG to store. sha256, md5 (where asked for): of the body. hash64: signed.
    decode_s, resize_s (colours too), hash_s, encode_s: CPU seconds of the decoder.
    """

    status: str
    status_detail: str | None = None
    sha256: bytes | None = None
    md5: bytes | None = None
    format: str | None = None
    frames: int | None = None
    original_width: int | None = None
    original_height: int | None = None
    width: int | None = None
    height: int | None = None
    hash64: int | None = None
    hash256: bytes | None = None
    texture: int | None = None
    fingerprint: bytes | None = None
    turned64: list[int] | None = None
    turned256: list[bytes] | None = None
    data: bytes | None = None
    decode_s: float = 0.0
    resize_s: float = 0.0
    hash_s: float = 0.0
    encode_s: float = 0.0
