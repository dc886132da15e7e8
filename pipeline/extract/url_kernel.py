"""The WHATWG URL parser for the URLs that nearly all pages hold, as loops over bytes.

What it takes, it serialises as the standard says; everything else it leaves to the general parser
(`GENERAL`): other schemes than http and https, credentials, hosts that are not plain letters and
digits (IDNA, addresses, percent-encoding), odd ports and slashes, tabs and newlines within.

Source: URL Standard (https://url.spec.whatwg.org/), sections 1.3 (percent-encode sets), 4.2 (path
segments), 4.4 (basic URL parser), 4.5 (serialising).
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import allocating_kernel, kernel

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# States of a row after `join`.
GOOD, GENERAL, DATA_URL, BAD_URL = 0, 1, 2, 3

# Kinds of bytes in a path, query or fragment.
_COPY, _ENCODE, _SEPARATOR, _END, _GIVE_UP = 0, 1, 2, 3, 4
# Rows of the table of kinds.
_HOST, _PATH, _QUERY, _FRAGMENT = 0, 1, 2, 3
# Columns of what `_split` finds in a base.
_SCHEME, _HOST_START, _HOST_STOP, _ROOT, _FOLDER, _QUERY_START, _FRAGMENT_START = range(7)

# No host name in DNS is longer. Source: RFC 1035, section 2.3.4.
_MAX_HOST_BYTES = 253
_HEX = b"0123456789ABCDEF"
# Bytes by name: `ord` is slow in compiled code.
_AMPERSAND, _AT, _BACKSLASH, _BRACKET, _BRACKET_END = (
    ord("&"),
    ord("@"),
    ord("\\"),
    ord("["),
    ord("]"),
)
_COLON, _DOT, _EQUALS, _HASH, _LOWER_A = ord(":"), ord("."), ord("="), ord("#"), ord("a")
_LOWER_E, _LOWER_F, _LOWER_H, _LOWER_S, _LOWER_Z = ord("e"), ord("f"), ord("h"), ord("s"), ord("z")
_MINUS, _NINE, _PERCENT, _PLUS, _QUESTION = ord("-"), ord("9"), ord("%"), ord("+"), ord("?")
_SLASH, _TWO, _UPPER_A, _UPPER_Z, _ZERO = ord("/"), ord("2"), ord("A"), ord("Z"), ord("0")


def byte_kinds() -> U8:
    """uint8 [4, 256], by part of the URL. Of hosts: the byte in lower case, 0 for one that is not
    plain. Of path, query and fragment: what to do with the byte."""
    kinds = np.full((4, 256), _COPY, np.uint8)
    kinds[_HOST] = 0
    for byte in b"abcdefghijklmnopqrstuvwxyz0123456789-._":
        kinds[_HOST, byte] = byte
        kinds[_HOST, ord(chr(byte).upper())] = byte
    for part, encoded in ((_PATH, b' "<>^`{}'), (_QUERY, b" \"<>'"), (_FRAGMENT, b' "<>`')):
        kinds[part, :0x20] = _ENCODE
        kinds[part, 0x7F:] = _ENCODE
        kinds[part, list(encoded)] = _ENCODE
        # The standard takes them out, wherever they stand.
        kinds[part, list(b"\t\n\r")] = _GIVE_UP
    kinds[_PATH, list(b"/\\")] = _SEPARATOR
    kinds[_PATH, list(b"?#")] = _END
    kinds[_QUERY, ord("#")] = _END
    return kinds


@kernel
def _split(data: U8, start: int, stop: int, max_bytes: int, found: I64) -> None:
    """Where the parts of a serialised http(s) URL begin, counted from its start; `found`
    [7] is written to. A scheme of 0 bytes says that it is none, or over max_bytes long."""
    found[:] = 0
    size = stop - start
    scheme = 5
    if size > 5 and data[start + 4] == _LOWER_S:
        scheme = 6
    if not scheme + 3 <= size <= max_bytes or data[start + scheme - 1] != _COLON:
        return
    if not _is_word(data, start, start + 4, b"http"):
        return
    host = scheme + 2
    root = host
    while root < size and data[start + root] != _SLASH:
        if data[start + root] == _AT:
            host = root + 1
        root += 1
    if root == size:
        return
    host_stop = host
    is_bracketed = data[start + host] == _BRACKET
    while host_stop < root:
        if data[start + host_stop] == (_BRACKET_END if is_bracketed else _COLON):
            host_stop += 1 if is_bracketed else 0
            break
        host_stop += 1
    query = root
    folder = root
    while query < size and data[start + query] != _QUESTION and data[start + query] != _HASH:
        query += 1
        if data[start + query - 1] == _SLASH:
            folder = query
    fragment = query
    while fragment < size and data[start + fragment] != _HASH:
        fragment += 1
    found[_SCHEME], found[_HOST_START], found[_HOST_STOP] = scheme, host, host_stop
    found[_ROOT], found[_FOLDER] = root, folder
    found[_QUERY_START], found[_FRAGMENT_START] = query, fragment


@kernel
def _copy(data: U8, start: int, stop: int, out: U8, to: int) -> int:
    """Append data[start:stop] to out[:to]. Unsigned numbers count from no end, which makes the
    inner loops here twice as fast."""
    first, target = np.uint64(start), np.uint64(to)
    for i in range(np.uint64(stop - start)):
        out[target + i] = data[first + i]
    return to + (stop - start)


@kernel
def _scheme_bytes(data: U8, at: int, stop: int) -> int:
    """The bytes of the scheme before its colon; 0 for a relative URL."""
    i = at
    while i < stop:
        c = data[i]
        is_letter = _LOWER_A <= (c | 32) <= _LOWER_Z
        if not is_letter:
            if i == at:
                return 0
            if c == _COLON:
                return i - at
            if not (_ZERO <= c <= _NINE or c in (_PLUS, _MINUS, _DOT)):
                return 0
        i += 1
    return 0


@kernel
def _is_word(data: U8, at: int, stop: int, word: bytes) -> bool:
    """Whether data[at:stop] is a lower-case word, in any case."""
    if stop - at != len(word):
        return False
    for i in range(len(word)):  # noqa: SIM110 - a generator does not compile
        if data[at + i] | 32 != word[i]:
            return False
    return True


@kernel
def _is_plain_host(out: U8, start: int, stop: int) -> bool:
    """A host that the parser leaves as it is: no empty label, no IDNA, no number at the end."""
    if start == stop or stop - start > _MAX_HOST_BYTES or out[stop - 1] == _DOT:
        return False
    label = start
    for i in range(start, stop + 1):
        if i == stop or out[i] == _DOT:
            if i == label:
                return False
            if i - label >= 4 and _is_word(out, label, label + 4, b"xn--"):
                return False
            if i < stop:
                label = i + 1
    return not _ZERO <= out[label] <= _NINE


@kernel
def _authority(
    data: U8, at: int, stop: int, out: U8, to: int, kinds: U8, default_port: int
) -> tuple[int, int, int]:
    """Write host and port. Gives the end of the input read, of the output, and of the host in it;
    an end of -1 when the general parser must see it."""
    host = to
    while at < stop and kinds[_HOST, data[at]]:
        out[to] = kinds[_HOST, data[at]]
        to += 1
        at += 1
    host_stop = to
    if not _is_plain_host(out, host, host_stop):
        return at, -1, 0
    if at < stop and data[at] == _COLON:
        at += 1
        first, port = at, 0
        while at < stop and at - first < 5 and _ZERO <= data[at] <= _NINE:
            port = 10 * port + data[at] - _ZERO
            at += 1
        if at == first or port > 65535 or (data[first] == _ZERO and at - first > 1):
            return at, -1, 0
        if port != default_port:
            for i in range(first - 1, at):
                out[to] = data[i]
                to += 1
    if at < stop and kinds[_PATH, data[at]] != _SEPARATOR and kinds[_PATH, data[at]] != _END:
        return at, -1, 0
    return at, to, host_stop


@kernel
def _encode(out: U8, to: int, byte: int) -> int:
    out[to] = _PERCENT
    out[to + 1] = _HEX[byte >> 4]
    out[to + 2] = _HEX[byte & 15]
    return to + 3


@kernel
def _dots(out: U8, start: int, stop: int) -> int:
    """1 for a single-dot segment, 2 for a double-dot segment, 0 for any other."""
    if start == stop or stop - start > 6 or (out[start] != _DOT and out[start] != _PERCENT):
        return 0
    i, dots = start, 0
    while i < stop:
        if out[i] == _DOT:
            i += 1
        elif (
            i + 2 < stop
            and out[i] == _PERCENT
            and out[i + 1] == _TWO
            and out[i + 2] | 32 == _LOWER_E
        ):
            i += 3
        else:
            return 0
        dots += 1
    return dots if dots <= 2 else 0


@kernel
def _without(out: U8, root: int, segment: int, dots: int) -> int:
    """The end of the path once its last segment, which is one of dots, has had its effect."""
    if dots == 1 or segment - 1 <= root:
        return segment
    to = segment - 1
    while to - 1 > root and out[to - 1] != _SLASH:
        to -= 1
    return to


@kernel
def _path(data: U8, at: int, stop: int, out: U8, root: int, to: int, kinds: U8) -> tuple[int, int]:
    """Write segments after a path that begins at out[root] and ends in a slash at out[to - 1].
    Gives the ends of the input read and of the output, -1 when it must be given up."""
    segment = to
    while at < stop:
        c = data[np.uint64(at)]
        kind = kinds[_PATH, c]
        if kind == _COPY:
            out[np.uint64(to)] = c
            to += 1
        elif kind == _SEPARATOR:
            dots = _dots(out, segment, to)
            if dots:
                to = _without(out, root, segment, dots)
            else:
                out[to] = _SLASH
                to += 1
            segment = to
        elif kind == _ENCODE:
            to = _encode(out, to, c)
        elif kind == _GIVE_UP:
            return at, -1
        else:
            break
        at += 1
    dots = _dots(out, segment, to)
    if dots:
        to = _without(out, root, segment, dots)
    return at, to


@kernel
def _rest(data: U8, at: int, stop: int, out: U8, to: int, part: int, kinds: U8) -> tuple[int, int]:
    """Write a query or a fragment with the mark it begins with. Gives ends as `_path`."""
    out[to] = data[at]
    to += 1
    at += 1
    while at < stop:
        c = data[np.uint64(at)]
        kind = kinds[part, c]
        if kind == _COPY:
            out[np.uint64(to)] = c
            to += 1
        elif kind == _ENCODE:
            to = _encode(out, to, c)
        elif kind == _GIVE_UP:
            return at, -1
        else:
            break
        at += 1
    return at, to


@kernel
def _nibble(byte: int) -> int:
    """The value of a hexadecimal digit, -1 for another byte."""
    if _ZERO <= byte <= _NINE:
        return byte - _ZERO
    lower = byte | 32
    return lower - _LOWER_A + 10 if _LOWER_A <= lower <= _LOWER_F else -1


@kernel
def _is_tracking(
    out: U8, start: int, stop: int, name: U8, text: U8, sizes: I32, is_prefix: Flags, starts: I32
) -> bool:
    """Whether the parameter out[start:stop] is one to drop. name: scratch, longer than any."""
    size, i = 0, start
    while i < stop and out[i] != _EQUALS and size < len(name):
        c = int(out[i])
        if c == _PERCENT and i + 2 < stop:
            high, low = _nibble(int(out[i + 1])), _nibble(int(out[i + 2]))
            if high >= 0 and low >= 0:
                c = 16 * high + low
                i += 2
        if _UPPER_A <= c <= _UPPER_Z:
            c |= 32
        name[size] = c
        size += 1
        i += 1
    if size == 0:
        return False
    for row in range(starts[name[0]], starts[int(name[0]) + 1]):
        if size == sizes[row] or (is_prefix[row] and size > sizes[row]):
            same = 1
            while same < sizes[row] and name[same] == text[row, same]:
                same += 1
            if same == sizes[row]:
                return True
    return False


@kernel
def _canonical(
    out: U8,
    start: int,
    query: int,
    stop: int,
    to: int,
    name: U8,
    text: U8,
    sizes: I32,
    is_prefix: Flags,
    starts: I32,
) -> tuple[int, int]:
    """The span of the canonical form of out[start:stop], whose query begins at out[query] and
    which has no fragment: a piece of the URL itself, or written from out[to] on."""
    is_any_dropped, is_any_kept = False, False
    at = query + 1
    while at <= stop:
        end = at
        while end < stop and out[np.uint64(end)] != _AMPERSAND:
            end += 1
        if _is_tracking(out, at, end, name, text, sizes, is_prefix, starts):
            is_any_dropped = True
        elif end > at:
            is_any_kept = True
        at = end + 1
    if not is_any_kept:
        return start, query
    if not is_any_dropped:
        return start, stop
    first = to
    to = _copy(out, start, query, out, to)
    mark = _QUESTION
    at = query + 1
    while at <= stop:
        end = at
        while end < stop and out[np.uint64(end)] != _AMPERSAND:
            end += 1
        if not _is_tracking(out, at, end, name, text, sizes, is_prefix, starts):
            out[to] = mark
            to += 1
            mark = _AMPERSAND
            to = _copy(out, at, end, out, to)
        at = end + 1
    return first, to


@kernel
def _write(out: U8, to: int, text: bytes) -> int:
    for i in range(len(text)):
        out[to + i] = text[i]
    return to + len(text)


@kernel
def _resolve(
    data: U8,
    at: int,
    stop: int,
    base_data: U8,
    base: int,
    cuts: I64,
    out: U8,
    to: int,
    kinds: U8,
    found: I64,
) -> int:
    """Write the URL that data[at:stop], which is not empty, means against a base. Gives its end,
    -1 when the general parser must see it. found [4]: host start and stop, query and fragment
    start in `out`; -1 for no query."""
    scheme = _scheme_bytes(data, at, stop)
    is_absolute = scheme > 0
    first = to
    if is_absolute:
        is_https = _is_word(data, at, at + scheme, b"https")
        if not is_https and not _is_word(data, at, at + scheme, b"http"):
            return -1
        at += scheme + 1
    else:
        is_https = cuts[_SCHEME] == 6
    slashes = 0
    while at + slashes < stop and slashes < 3 and kinds[_PATH, data[at + slashes]] == _SEPARATOR:
        if data[at + slashes] == _BACKSLASH and (is_absolute or slashes > 0):
            return -1
        slashes += 1
    if slashes == 3 or (is_absolute and slashes != 2) or (cuts[_SCHEME] == 0 and not is_absolute):
        return -1
    if slashes == 2 and data[at] == _BACKSLASH:
        return -1
    found[2] = -1
    if slashes == 2:
        to = _write(out, to, b"https://" if is_https else b"http://")
        found[0] = to
        at, to, found[1] = _authority(data, at + 2, stop, out, to, kinds, 443 if is_https else 80)
        if to < 0:
            return -1
        root = to
        out[to] = _SLASH
        to += 1
        if at < stop and kinds[_PATH, data[at]] == _SEPARATOR:
            at += 1
        at, to = _path(data, at, stop, out, root, to, kinds)
    else:
        kept = cuts[_FOLDER]
        if slashes == 1:
            kept = cuts[_ROOT] + 1
            at += 1
        elif data[at] == _QUESTION:
            kept = cuts[_QUERY_START]
        elif data[at] == _HASH:
            kept = cuts[_FRAGMENT_START]
        to = _copy(base_data, base, base + kept, out, to)
        found[0], found[1] = first + cuts[_HOST_START], first + cuts[_HOST_STOP]
        if kept == cuts[_FRAGMENT_START] and kept > cuts[_QUERY_START]:
            found[2] = first + cuts[_QUERY_START]
        if slashes == 1 or (data[at] != _QUESTION and data[at] != _HASH):
            at, to = _path(data, at, stop, out, first + cuts[_ROOT], to, kinds)
    if to >= 0 and at < stop and data[at] == _QUESTION:
        found[2] = to
        at, to = _rest(data, at, stop, out, to, _QUERY, kinds)
    found[3] = to
    if to >= 0 and at < stop:
        at, to = _rest(data, at, stop, out, to, _FRAGMENT, kinds)
    return to


@kernel
def _blank_state(data: U8, start: int, stop: int) -> int:
    """What a row of blanks and controls alone is: BAD_URL if Python takes all for white space."""
    for i in range(start, stop):
        if data[i] < 9 or 13 < data[i] < 28:
            return GENERAL
    return BAD_URL


@allocating_kernel
def join(
    ends: I32,
    data: U8,
    pages: I32,
    base_ends: I32,
    base_data: U8,
    max_bytes: int,
    kinds: U8,
    text: U8,
    sizes: I32,
    is_prefix: Flags,
    starts: I32,
) -> tuple[U8, int, I64, U8]:
    """Resolve sources against the bases of their pages.

    ends, data: the sources, row i is data[ends[i]:ends[i + 1]] in UTF-8. pages: row of the base.
    base_ends, base_data: bases, serialised http(s) URLs. max_bytes: longer URLs are bad. kinds:
    from `byte_kinds`. text, sizes, is_prefix, starts: from `core.tracking.kernel_names`.

    Gives (out, used, spans, states): spans int64 [6, rows], starts and stops in `out`, of which
    `used` bytes are written, of URL, canonical URL and host (0, 0 for a row that is not GOOD);
    states uint8 [rows].
    """
    rows, bases = len(ends) - 1, len(base_ends) - 1
    cuts = np.zeros((bases, 7), np.int64)
    for i in range(bases):
        start, stop = int(np.int64(base_ends[i])), int(np.int64(base_ends[i + 1]))
        _split(base_data, start, stop, max_bytes, cuts[i])
    out = np.empty(1 << 16, np.uint8)
    spans = np.zeros((6, rows), np.int64)
    states = np.zeros(rows, np.uint8)
    found = np.zeros(4, np.int64)
    name = np.zeros(text.shape[1], np.uint8)
    # As numbers of one type, not as constants or int32: every other kind is compiled once more.
    begin = int(np.int64(0))
    to = begin
    for row in range(rows):
        start, stop = int(np.int64(ends[row])), int(np.int64(ends[row + 1]))
        first = start
        while first < stop and data[first] <= 32:
            first += 1
        has_colon = stop - first >= 5 and data[first + 4] == _COLON
        if has_colon and _is_word(data, first, first + 4, b"data"):
            states[row] = DATA_URL
            continue
        if stop - start > max_bytes:
            # Characters count, of which one has four bytes at most.
            states[row] = BAD_URL if stop - start > 4 * max_bytes else GENERAL
            continue
        if first == stop:
            states[row] = _blank_state(data, start, stop)
            continue
        last = stop
        while data[last - 1] <= 32:
            last -= 1
        page = int(pages[row])
        # Every byte may become three, and the canonical form may be written besides.
        need = 2 * (cuts[page, _FRAGMENT_START] + 3 * (last - first) + 16)
        if to + need > len(out):
            grown = np.empty(2 * len(out) + need, np.uint8)
            _copy(out, begin, to, grown, begin)
            out = grown
        # White space outside ASCII alone is no URL either: seldom enough to be left to others.
        end = -1
        if data[first] < 128:
            base = int(np.int64(base_ends[page]))
            end = _resolve(data, first, last, base_data, base, cuts[page], out, to, kinds, found)
        if end < 0:
            states[row] = GENERAL
        elif end - to > max_bytes:
            states[row] = BAD_URL
        else:
            spans[0, row], spans[1, row] = to, end
            spans[2, row], spans[3, row] = to, found[3]
            spans[4, row], spans[5, row] = found[0], found[1]
            if found[2] >= 0:
                spans[2, row], spans[3, row] = _canonical(
                    out, to, found[2], found[3], end, name, text, sizes, is_prefix, starts
                )
                end = max(end, spans[3, row])
            to = end
    return out, to, spans, states
