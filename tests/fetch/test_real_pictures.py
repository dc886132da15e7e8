"""Every odd and broken real picture against what Pillow and img2dataset made of it.

The tables name 1,341 files: half of them from the test suites of decoders, where each was once
somebody's bug.
"""

import csv
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from pipeline.core.reasons import Status
from pipeline.fetch.decode import decode
from pipeline.fetch.picture import DecodeSettings, Picture
from pipeline.fetch.pixels import target_size
from pipeline.fetch.pool import DecoderPool
from tests.fetch.pictures import encoded

DEFAULT = DecodeSettings()
# Pictures beyond the first of a JPEG (MPO) are previews: one frame, not two.
PREVIEWS = {"ExifTool.jpg", "frame_size.mpo", "ignore_frame_size.mpo"}
# Our cap on pixels comes before the decoder's complaint.
OVERSIZED = {
    "Bad_height.bmp",
    "Bad_reallybig.bmp",
    "Bad_width.bmp",
    "badwidth.bmp",
    "reallybig.bmp",
    "decompression_bomb.gif",
    "l2rgb_read.bmp",
}


@dataclass
class Known:
    """A file, Pillow's verdict on it, and ours."""

    name: str
    body: bytes
    row: dict[str, str]
    ours: Picture

    @property
    def is_decodable(self) -> bool:
        return self.row["status"] == "ok" and self.format in DEFAULT.formats

    @property
    def format(self) -> str:
        return self.row["format"].replace("MPO", "JPEG")


def table(real_data: Path, name: str) -> Iterator[tuple[Path, dict[str, str]]]:
    with open(real_data / "INDEX.tsv") as file:
        sources = {r["source"]: r["path"] for r in csv.DictReader(file, delimiter="\t")}
    with open(real_data / "expected" / name) as file:
        for row in csv.DictReader(file, delimiter="\t"):
            path = real_data / sources.get(row["path"], row["path"])
            if path.is_file():
                yield path, row


@pytest.fixture(scope="module")
def known(real_data: Path) -> list[Known]:
    pool = DecoderPool(DEFAULT, 1, 30.0, 768 * 2**20)
    try:
        found = []
        for path, row in table(real_data, "pillow-decode.tsv"):
            body = path.read_bytes()
            found.append(Known(path.name, body, row, pool.submit(body).result(60)))
        assert len(pool._all) == 1, "a picture ended the decoder"
    finally:
        pool.close()
    assert len(found) > 1300
    return found


def test_each_ends_in_its_status(known: list[Known]) -> None:
    for picture in known:
        status = picture.ours.status
        if picture.is_decodable:
            assert status == Status.OK, (picture.name, picture.ours.status_detail)
        elif picture.name in OVERSIZED:
            assert status == Status.TOO_MANY_PIXELS, picture.name
        elif picture.row["status"] == "ok":  # a format that is not asked for
            assert status == Status.NOT_AN_IMAGE, picture.name
        else:
            assert status in (Status.DECODE, Status.NOT_AN_IMAGE), picture.name
        assert (picture.ours.data is not None) == (status == Status.OK), picture.name


def test_format_size_and_frames_are_as_known(known: list[Known]) -> None:
    for picture in known:
        if not picture.is_decodable:
            continue
        row, ours = picture.row, picture.ours
        size = (int(row["w"]), int(row["h"]))
        # Pillow states a TIFF's size as it is when upright.
        if row["exif_orientation"] in ("5", "6", "7", "8") and ours.format != "TIFF":
            size = size[::-1]
        assert (ours.original_width, ours.original_height) == size, picture.name
        assert ours.format == picture.format, picture.name
        frames = 1 if picture.name in PREVIEWS else int(row["frames"])
        assert ours.frames == frames, picture.name


def test_pixels_are_as_known(known: list[Known]) -> None:
    """Where no colour is to be converted, ours are Pillow's own pixels, as the JPEG that is stored;
    the table's digest holds that Pillow itself still says the same."""
    keeping = DecodeSettings(resize_mode="none", jpeg_quality=100, keep_original=False)
    compared = 0
    for picture in known:
        if not picture.is_decodable or picture.row["mode"] not in ("RGB", "L", "P", "1", "CMYK"):
            continue
        image = Image.open(io.BytesIO(picture.body))
        if image.width * image.height > 500_000 or image.info.get("icc_profile"):
            continue
        image.load()
        if "transparency" in image.info:
            continue
        plain = image.convert("RGB")
        assert hashlib.sha1(plain.tobytes()).hexdigest() == picture.row["rgb_sha1"], picture.name
        expected = encoded(ImageOps.exif_transpose(image).convert("RGB"), quality=100, comment=b"")
        assert decode(picture.body, keeping).data == expected, picture.name
        compared += 1
    assert compared > 500


def test_files_the_table_does_not_name_end_in_a_status(real_data: Path) -> None:
    named = {path for path, _ in table(real_data, "pillow-decode.tsv")}
    others = [p for p in (real_data / "corrupt").rglob("*") if p.is_file() and p not in named]
    pool = DecoderPool(DEFAULT, 1, 30.0, 768 * 2**20)
    try:
        for path in others:
            assert Status(pool.submit(path.read_bytes()).result(60).status)
    finally:
        pool.close()


MODES = {
    "no": "none",
    "keep_ratio_largest": "keep_ratio_largest",
    "center_crop": "center_crop",
    "border": "border",
}


def test_resized_to_the_size_img2dataset_gives(real_data: Path, known: list[Known]) -> None:
    """In all modes, for pictures that are to be made smaller. Smaller ones are left as they are
    here, where that tool enlarges (center_crop) or pads (border) them. It ignores orientation."""
    bodies = {picture.row["path"]: picture for picture in known}
    compared = 0
    # Every third row: the four modes take turns over the pictures.
    for _, row in list(table(real_data, "img2dataset-resizer.tsv"))[::3]:
        picture = bodies.get(row["path"])
        if row["status"] != "ok" or picture is None or not picture.is_decodable:
            continue
        mode, side = MODES[row["mode"]], int(row["image_size"] or 384)
        size = (int(row["orig_w"]), int(row["orig_h"]))
        measured = min(size) if mode == "center_crop" else max(size)
        is_turned = picture.row["exif_orientation"] not in ("", "1")
        if mode in ("center_crop", "border") and measured < side:
            assert target_size(size, mode, side) == size
            continue
        if is_turned or (mode == "none" and measured > 1000):
            continue
        settings = DecodeSettings(resize_mode=mode, image_size_px=max(16, side))
        ours = decode(picture.body, settings)
        assert (ours.width, ours.height) == (int(row["w"]), int(row["h"])), (row["path"], mode)
        compared += 1
    assert compared > 400
