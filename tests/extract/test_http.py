"""Responses: lenient, and within bounds whatever they claim."""

import gzip
import io
import subprocess
import sys
import zlib
from pathlib import Path

import brotli
import pytest
from fastwarc.stream_io import ZstdWriter
from hypothesis import given
from hypothesis import strategies as st

from pipeline.extract.http import parse_response

PAGE = b"<html><img src=x alt='a caption'>" + b"text " * 500
MIB = 1 << 20


def zstd(data: bytes) -> bytes:
    out = io.BytesIO()
    writer = ZstdWriter(out)
    writer.write(data)
    writer.close()
    return out.getvalue()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd,
}


def block(body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{headers}\r\n".encode() + body


@pytest.mark.parametrize("encoding", PACKERS)
def test_encodings_are_undone_cut_and_tolerated(encoding: str) -> None:
    packed = PACKERS[encoding](PAGE)
    headers = f"Content-Encoding: {encoding}\r\n"

    def body(data: bytes, limit: int = MIB) -> bytes:
        found = parse_response(block(data, headers), limit)
        assert found is not None
        return found.body

    assert body(packed) == PAGE
    assert body(packed, 100) == PAGE[:100]
    assert body(PAGE) == PAGE  # decoded already
    assert body(b"") == b""


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "Deflate", "br", "zstd"])
def test_damaged_body_gives_what_comes_before(encoding: str) -> None:
    text = b"<p>" + bytes(range(256)) * 200 + b"".join(b"%d" % (i * i) for i in range(20_000))
    packed = bytearray(PACKERS[encoding](text))
    packed[-2000:] = b"\xff" * 2000
    found = parse_response(block(bytes(packed), f"Content-Encoding: {encoding}\r\n"), MIB)
    assert found is not None
    assert len(found.body) > len(text) // 2 and text.startswith(found.body[: len(text) // 2])


_BOMB = r"""
import re, sys
from pipeline.extract.http import parse_response
found = parse_response(open(sys.argv[1], "rb").read(), 4 << 20)
print(len(found.body), int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]) << 10)
"""


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_bombs_cost_no_more_than_the_cap(tmp_path: Path, encoding: str) -> None:
    zeros = bytes(MIB)
    if encoding == "zstd":
        out = io.BytesIO()
        writer = ZstdWriter(out)
        for _ in range(320):
            writer.write(zeros)
        writer.close()
        packed = out.getvalue()
    elif encoding == "br":
        packer = brotli.Compressor(quality=5)
        packed = b"".join(packer.process(zeros) for _ in range(320)) + packer.finish()
    else:
        deflater = zlib.compressobj(1, wbits=31 if encoding == "gzip" else 15)
        packed = b"".join(deflater.compress(zeros) for _ in range(320)) + deflater.flush()
    path = tmp_path / "x"
    path.write_bytes(block(packed, f"Content-Encoding: {encoding}\r\n"))
    done = subprocess.run(
        [sys.executable, "-c", _BOMB, str(path)], capture_output=True, text=True, timeout=200
    )
    size, peak = map(int, done.stdout.split())
    assert size == 4 * MIB and peak < 200 * MIB


def test_headers() -> None:
    text = (
        b"HTTP/1.0 HTTP/1.1 301 Moved\nLocation: /a\nX-Robots-Tag : noai\nx-robots-tag: b\n"
        b"Content-Typ: no\nCONTENT-TYPE:text/html\n\nbody\r\n\r\nmore"
    )
    found = parse_response(text, MIB)
    assert found is not None and found.status == 301
    assert found.header("content-type") == "text/html"
    assert found.header("x-robots-tag") == "noai"
    assert found.header("content-t") is None and found.header("body") is None
    assert [name for name, _ in found.headers] == [
        "location", "x-robots-tag", "x-robots-tag", "content-typ", "content-type"
    ]  # fmt: skip
    assert found.body == b"body\r\n\r\nmore"
    assert parse_response(b"HTTP/2 200\r\nA: b\r\n\r\nx", MIB).body == b"x"
    assert parse_response(b"<html>", MIB) is None


@given(st.binary(max_size=300), st.sampled_from([*PACKERS, "chunked"]), st.booleans())
def test_any_bytes_give_a_body_within_the_cap(data: bytes, encoding: str, is_magic: bool) -> None:
    name = "Transfer-Encoding" if encoding == "chunked" else "Content-Encoding"
    start = {"gzip": b"\x1f\x8b\x08\x00", "zstd": b"\x28\xb5\x2f\xfd"}.get(encoding, b"\x78\x9c")
    body = start + data if is_magic else data
    found = parse_response(block(body, f"{name}: {encoding}\r\n"), 1000)
    assert found is not None and len(found.body) <= max(1000, len(body))


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[A-Za-z-]{1,12}", fullmatch=True),
            st.from_regex(r"[!-~]{0,9}", fullmatch=True),
        ),
        max_size=6,
    ),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from([":", ": ", " : "]),
)
def test_header_finds_what_headers_tells(pairs, newline: str, colon: str) -> None:
    lines = ["HTTP/1.1 200 OK", *(f"{name}{colon}{value}" for name, value in pairs), "", "body"]
    found = parse_response(newline.join(lines).encode(), MIB)
    assert found is not None
    assert found.headers == [(name.lower(), value) for name, value in pairs]
    for name, _ in pairs:
        expected = next(v for n, v in found.headers if n == name.lower())
        assert found.header(name.lower()) == expected
