"""Plain ustar, written from a template and parsed strictly: only what a release holds.

Source: IEEE Std 1003.1-2017 (POSIX), utility `pax`, "ustar Interchange Format".
"""

from dataclasses import dataclass

BLOCK = 512
# Two zero blocks end an archive; filling up to a 10 KiB tape record is a habit of tar programs
# that readers do not ask for.
END = bytes(2 * BLOCK)
MAX_MEMBER_BYTES = 8**11 - 1  # eleven octal digits

_NAME_BYTES = 100
_SIZE_AT = 124
_CHECKSUM_AT = 148
# mode, uid, gid
_OWNER = b"0000644\0" + b"0000000\0" * 2
_MTIME = b"00000000000\0"
# typeflag (regular file), linkname, magic, version, uname, gname, devmajor, devminor, prefix, fill
_TAIL = b"0" + bytes(100) + b"ustar\0" + b"00" + bytes(32) * 2 + b"0000000\0" * 2 + bytes(155 + 12)
# The checksum counts its own field as eight spaces, and the NUL that ends the size adds nothing.
_FIXED_SUM = sum(_OWNER) + sum(_MTIME) + sum(_TAIL) + 8 * ord(" ")
_PADDING = tuple(bytes(-n % BLOCK) for n in range(BLOCK))


def header(name: bytes, size: int, name_sum: int | None = None) -> bytes:
    """The 512-byte header of a regular file; only name and size differ between members.

    name: at most 100 bytes, ASCII. size: in bytes, below 8 GiB. name_sum: sum of the name's
    bytes, when the caller has it. Raises ValueError when either does not fit.
    """
    if not 0 < len(name) <= _NAME_BYTES:
        raise ValueError(f"member name of {len(name)} bytes; ustar takes 1 to {_NAME_BYTES}")
    if size > MAX_MEMBER_BYTES:
        raise ValueError(f"member of {size} bytes; ustar takes up to {MAX_MEMBER_BYTES}")
    digits = b"%011o" % size
    checksum = _FIXED_SUM + (sum(name) if name_sum is None else name_sum) + sum(digits)
    return b"%b%b%b\0%b%06o\0 %b" % (
        name.ljust(_NAME_BYTES, b"\0"),
        _OWNER,
        digits,
        _MTIME,
        checksum,
        _TAIL,
    )


def named(block: bytes) -> tuple[bytes, int] | None:
    """Name and size that a header states; None when it states none. Its other fields may differ."""
    try:
        return block[:_NAME_BYTES].rstrip(b"\0"), int(block[_SIZE_AT : _SIZE_AT + 11], 8)
    except ValueError:
        return None


def is_header(block: bytes) -> bool:
    """True when a block's checksum is right, whoever wrote it."""
    field = block[_CHECKSUM_AT : _CHECKSUM_AT + 8]
    try:
        stated = int(field.strip(b"\0 "), 8)
    except ValueError:
        return False
    return len(block) == BLOCK and stated == sum(block) - sum(field) + 8 * ord(" ")


def padding(size: int) -> bytes:
    """Zeros that fill `size` up to a whole block."""
    return _PADDING[size % BLOCK]


def padded(size: int) -> int:
    """`size` rounded up to a whole block."""
    return size + -size % BLOCK


@dataclass(frozen=True)
class Member:
    """A member found in a buffer. start: of its payload, from the start of the buffer."""

    name: str
    start: int
    size: int


class TarError(ValueError):
    """Bytes that this module's writer would not have written."""


def parse(data: bytes | memoryview) -> list[Member]:
    """The members in a buffer of whole members. Raises TarError where it is not as written here.

    Every byte outside the payloads is checked: the header must be exactly what `header` gives for
    its name and size, and the padding zero.
    """
    view = memoryview(data)
    members, at = [], 0
    while at < len(view):
        block = bytes(view[at : at + BLOCK])
        name = block[:_NAME_BYTES].rstrip(b"\0")
        try:
            size = int(block[_SIZE_AT : _SIZE_AT + 11], 8)
            if block != header(name, size):
                raise ValueError
            text = name.decode("ascii")
        except ValueError:
            raise TarError(f"no plain ustar header at offset {at}") from None
        start, at = at + BLOCK, at + BLOCK + padded(size)
        if at > len(view):
            raise TarError(f"member {text} is cut off")
        if bytes(view[start + size : at]) != padding(size):
            raise TarError(f"padding of member {text} is not zero")
        members.append(Member(text, start, size))
    return members
