"""Raw tars: what was appended is read back by its place, and nothing else ever is."""

import io
import tarfile
from pathlib import Path
from typing import BinaryIO, cast

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import raw
from pipeline.core.errors import DamagedFile, InputError
from pipeline.core.storage import Store

MEMBERS = st.lists(
    st.tuples(st.binary(min_size=16, max_size=16), st.binary(max_size=2000)), max_size=20
)


def write(store: Store, part: int, members: list[tuple[bytes, bytes]]) -> list[raw.Place]:
    with store.publish(raw.path(part)) as file:
        tar = raw.RawTar(cast(BinaryIO, file))
        places = [raw.Place(i, part, 0, tar.append(i, data), len(data)) for i, data in members]
        tar.close()
    return places


@given(MEMBERS)
def test_a_raw_tar_is_read_by_tarfile_and_by_offset(members: list[tuple[bytes, bytes]]) -> None:
    file = io.BytesIO()
    tar = raw.RawTar(file)
    places = [raw.Place(i, 0, 0, tar.append(i, data), len(data)) for i, data in members]
    tar.close()
    whole = file.getvalue()
    for (_, data), place in zip(members, places, strict=True):
        assert whole[place.offset : place.offset + place.size] == data
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        read = [(m.name, archive.extractfile(m).read()) for m in archive]  # type: ignore[union-attr]
    named = [(f"{name.hex()}.{google_crc32c.value(data):08x}.jpg", data) for name, data in members]
    assert read == named


@pytest.mark.parametrize("protocol", ["", "file://", "memory://"])
def test_places_of_several_tars_come_in_the_order_asked_for(tmp_path: Path, protocol: str) -> None:
    store = Store(f"{protocol}{tmp_path}")
    contents = {(part, n): bytes([part, n]) * (n * 700 + 1) for part in range(3) for n in range(9)}
    places = [
        place
        for part in range(3)
        for place in write(store, part, [(bytes([n]) * 16, contents[part, n]) for n in range(9)])
    ]
    asked = [*reversed(places), places[4], places[4]]
    assert raw.read(store, asked) == [contents[p.part, p.image_id[0]] for p in asked]


def test_a_tar_of_another_attempt_is_refused(tmp_path: Path) -> None:
    """Attempts append in the order pictures arrive in, which is never quite the same."""
    store = Store(str(tmp_path))
    pictures = [(bytes([n]) * 16, b"\xff\xd8\xff" + bytes([n]) * 600) for n in range(2)]
    places = write(store, 7, pictures)
    write(store, 7, pictures[::-1])
    for place in places:
        with pytest.raises(DamagedFile, match=r"part-00007\.tar is damaged .*not hold picture"):
            raw.read(store, [place])
    with pytest.raises(InputError, match="a raw tar is missing"):
        raw.read(store, [places[0]._replace(part=8)])


@given(st.integers(0, 2**32))
def test_no_byte_of_a_picture_changes_unseen(at: int) -> None:
    store = Store("memory://damage")
    (place,) = write(store, 0, [(bytes(16), bytes(range(256)) * 5)])
    tar = bytearray(store.fs.cat_file(store.path(raw.path(0))))
    tar[place.offset + at % place.size] ^= 1 << at % 8
    store.fs.pipe_file(store.path(raw.path(0)), bytes(tar))
    with pytest.raises(DamagedFile, match="remove that file and run the same command again"):
        raw.read(store, [place])
