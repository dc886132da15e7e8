"""How many frames a picture has, counted from its structure, without decoding any.

Pillow counts by visiting every frame, which a hostile file of millions makes take minutes; here the
count stops at a cap.
"""

import struct

from PIL import Image

# A JPEG with several pictures (MPO) is one picture and its previews, not an animation.
_SINGLE = frozenset({"JPEG", "MPO"})


def count_frames(image: Image.Image, body: bytes, cap: int) -> int:
    """Frames of an opened picture; `cap` + 1 when there are more than `cap`. At least 1."""
    if image.format in _SINGLE:
        return 1
    if image.format == "GIF":
        found = _gif_frames(body, cap)
    elif image.format == "TIFF":
        found = _tiff_pages(body, cap)
    else:  # stated by the file's header, or single
        found = int(getattr(image, "n_frames", 1))
    return max(1, min(found, cap + 1))


def _gif_frames(body: bytes, cap: int) -> int:
    """Image descriptors of a GIF. Source: GIF89a specification, sections 18 to 26."""
    size = len(body)
    at = 13 + _colours_bytes(body[10]) if size > 10 else size
    frames = 0
    while at < size and frames <= cap:
        kind = body[at]
        if kind == 0x3B:  # trailer
            break
        if kind == 0x21:  # extension: label, then blocks
            at = _after_blocks(body, at + 2)
        elif kind == 0x2C:  # image: descriptor, colours, code size, then blocks
            if at + 10 > size:
                break
            frames += 1
            at = _after_blocks(body, at + 11 + _colours_bytes(body[at + 9]))
        else:
            at += 1
    return frames


def _colours_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(body: bytes, at: int) -> int:
    """The position after a run of length-prefixed blocks that ends with an empty one."""
    size = len(body)
    while at < size and body[at]:
        at += body[at] + 1
    return at + 1


def _tiff_pages(body: bytes, cap: int) -> int:
    """Directories of a TIFF's chain. Source: TIFF 6.0, section 2; BigTIFF by its libtiff page."""
    order = "<" if body[:2] == b"II" else ">"
    is_big = body[2:4] in (b"+\0", b"\0+")
    count, entry_bytes, offset = ("Q", 20, "Q") if is_big else ("H", 12, "I")
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + offset, body, 8 if is_big else 4)
        while at and at not in seen and len(seen) <= cap:
            (entries,) = struct.unpack_from(order + count, body, at)
            seen.add(at)
            after = at + struct.calcsize(order + count) + entries * entry_bytes
            (at,) = struct.unpack_from(order + offset, body, after)
    except struct.error:  # the chain leads out of the file
        pass
    return len(seen)
