import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import ustar
from pipeline.shards.writer import ShardWriter

KEYS = st.text("0123456789abcdef_-", min_size=1, max_size=95)
PAYLOADS = st.one_of(st.binary(max_size=1600), st.sampled_from([b"", b"x" * 511, b"x" * 512]))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=100),
       st.integers(0, ustar.MAX_MEMBER_BYTES))  # fmt: skip
def test_header_is_what_the_standard_library_reads(name: str, size: int) -> None:
    block = ustar.header(name.encode(), size)
    assert len(block) == 512
    info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")  # raises on a wrong checksum
    assert (info.name.rstrip("/"), info.size) == (name.rstrip("/"), size)
    assert (info.type, info.mode, info.mtime, info.uid) == (tarfile.REGTYPE, 0o644, 0, 0)


def test_header_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="name"):
        ustar.header(b"n" * 101, 1)
    with pytest.raises(ValueError, match="name"):
        ustar.header(b"", 1)
    with pytest.raises(ValueError, match="member of"):
        ustar.header(b"n", ustar.MAX_MEMBER_BYTES + 1)


@given(
    st.lists(st.tuples(KEYS, PAYLOADS, PAYLOADS, PAYLOADS), max_size=5, unique_by=lambda s: s[0])
)
def test_tar_reads_back_and_says_where_everything_is(
    samples: list[tuple[str, bytes, bytes, bytes]],
) -> None:
    file = io.BytesIO()
    writer = ShardWriter(file)
    for sample in samples:
        writer.add(*sample)
    writer.close()
    data = file.getvalue()
    members = {}
    if samples:  # a tar of nothing but its end is not one that tarfile's stream mode opens
        with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as archive:
            for member in archive:
                found = archive.extractfile(member)
                assert found is not None
                members[member.name] = found.read()
    assert list(members.items()) == [
        (f"{key}.{suffix}", payload)
        for key, *payloads in samples
        for suffix, payload in zip(("jpg", "txt", "json"), payloads, strict=True)
    ]
    # Three headers and the padding to 512, nothing else.
    content = sum(512 + ustar.padded(len(p)) for _, *payloads in samples for p in payloads)
    assert len(data) == writer.size == content + 1024
    layout = {name: column.to_pylist() for name, column in writer.layout().items()}
    for i, (_, *payloads) in enumerate(samples):
        for suffix, payload in zip(("jpg", "txt", "json"), payloads, strict=True):
            start, size = layout[f"{suffix}_offset"][i], layout[f"{suffix}_bytes"][i]
            assert data[start : start + size] == payload
    if samples:
        parsed = ustar.parse(data[:-1024])
        assert [m.name for m in parsed] == list(members)


def test_parse_sees_every_flipped_bit_outside_payloads() -> None:
    file = io.BytesIO()
    writer = ShardWriter(file)
    writer.add("00ff", b"\xff\xd8\xff", b"caption", b"{}")
    data = file.getvalue() or b"".join(writer._pending)
    payload = {m.start + i for m in ustar.parse(data) for i in range(m.size)}
    clean = ustar.parse(data)
    for at in set(range(len(data))) - payload:
        broken = bytearray(data)
        broken[at] ^= 1
        try:
            assert ustar.parse(bytes(broken)) != clean, f"bit at {at} went unseen"
        except ustar.TarError:
            continue


@pytest.mark.parametrize("key", ["a.b", "a/b", "ä", "k" * 96])
def test_keys_that_readers_would_misread_are_refused(key: str) -> None:
    with pytest.raises(ValueError):
        ShardWriter(io.BytesIO()).add(key, b"", b"", b"")
