"""Perceptual hashes against the libraries and vectors that define them."""

import csv
from pathlib import Path

import imagehash
import numpy as np
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.fetch import pdq
from pipeline.fetch.decode import decode
from pipeline.fetch.hashes import fingerprint, hashes
from pipeline.fetch.picture import DecodeSettings
from pipeline.fetch.turns import FIRST_SIDEWAYS, TURNS
from tests.fetch.pictures import encoded, photo

DEFAULT = DecodeSettings()
# Bits by which hash256 may differ from PDQ's reference, which says itself that implementations do.
PDQ_TOLERANCE = 10


def distance(a: bytes | int, b: bytes | int) -> int:
    x, y = (int.from_bytes(v, "big") if isinstance(v, bytes) else v % 2**64 for v in (a, b))
    return (x ^ y).bit_count()


def test_hash64_is_imagehash_bit_for_bit() -> None:
    images = [photo(200 + 7 * i, 150 + 11 * i, seed=i) for i in range(25)]
    images += [Image.new("RGB", (50, 50), (9, 9, 9)), photo(40, 300).convert("L"), photo(1500, 90)]
    for image in images:
        assert f"{hashes(image).hash64 % 2**64:016x}" == str(imagehash.phash(image))


@hypothesis_settings(max_examples=60)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 99))
def test_hash64_is_imagehash_at_any_size(width: int, height: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    image = Image.fromarray(noise)
    assert f"{hashes(image).hash64 % 2**64:016x}" == str(imagehash.phash(image))


def test_hash64_is_imagehash_on_real_photos(real_data: Path) -> None:
    files = sorted((real_data / "photos-captions").rglob("*.jpg"))[::4]
    assert len(files) > 200
    for file in files:
        image = Image.open(file)
        image.draft(None, (512, 512))
        image = image.convert("RGB")
        assert f"{hashes(image).hash64 % 2**64:016x}" == str(imagehash.phash(image))


def test_a_side_over_the_cap_changes_little() -> None:
    image = photo(3000, 1200)
    expected = int(str(imagehash.phash(image)), 16)
    assert distance(hashes(image).hash64, expected) <= 2


def box_twice(plane: np.ndarray, axis: int) -> np.ndarray:
    """PDQ's box filter run twice along an axis, by its published definition, pixel by pixel."""
    length = plane.shape[axis]
    window = (length + 127) // 128
    right = (window + 2) // 2 - 1
    left = window - right - 1
    for _ in range(2):
        rows = np.moveaxis(plane, axis, 0)
        means = [rows[max(0, i - left) : i + right + 1].mean(axis=0) for i in range(length)]
        plane = np.moveaxis(np.stack(means), 0, axis)
    return plane


def test_pdq_samples_are_the_filters_done_step_by_step() -> None:
    for width, height in ((64, 64), (512, 384), (131, 700), (20, 33)):
        plane = np.random.default_rng(width).uniform(0, 255, (height, width))
        slow = box_twice(box_twice(plane, 1), 0)
        rows, columns = (((np.arange(64) + 0.5) * n / 64).astype(int) for n in (height, width))
        fast = pdq.sampling(height) @ plane @ pdq.sampling(width).T
        np.testing.assert_allclose(fast, slow[np.ix_(rows, columns)], atol=1e-9)


def test_hash256_is_pdq_on_its_reference_vectors(real_data: Path) -> None:
    root = real_data / "pdq" / "facebook+ThreatExchange" / "pdq"
    found = 0
    with open(root / "wasm/test/TestData/PDQMD5TestData.csv") as file:
        for row in csv.DictReader(file):
            picture = root / row["FilePath"].removeprefix("../../../../")
            if not picture.exists():
                continue
            image = Image.open(picture).convert("RGB")
            expected = bytes.fromhex(row["Hash"])
            assert distance(hashes(image).hash256, expected) <= PDQ_TOLERANCE, picture.name
            # Nothing is left to differ once the reference's own reduction is done for it.
            if max(image.size) <= 512:
                assert hashes(image).hash256 == expected, picture.name
            # Through the decoder: reduced to 384, stored, as every picture of a run is.
            ours = decode(picture.read_bytes(), DEFAULT).hash256
            assert ours is not None and distance(ours, expected) <= 16, picture.name
            found += 1
    assert found == 14


def test_hash256_survives_recompression_and_tells_pictures_apart() -> None:
    pictures = [photo(800, 600, seed) for seed in range(12)]
    found = [decode(encoded(p, quality=92), DEFAULT).hash256 or b"" for p in pictures]
    for picture, original in zip(pictures, found, strict=True):
        small = decode(encoded(picture.resize((500, 375)), quality=40), DEFAULT).hash256 or b""
        assert distance(small, original) <= 48
    assert min(distance(a, b) for i, a in enumerate(found) for b in found[:i]) > 48


def test_texture_tells_photos_from_flat_pictures() -> None:
    assert pdq.quality(np.full((64, 64), 77.0)) == 0
    assert pdq.quality(np.indices((64, 64)).sum(axis=0) % 2 * 255.0) == 100
    assert hashes(photo()).texture >= 50
    assert hashes(Image.new("RGB", (300, 300), (1, 2, 3))).texture == 0
    # A gentle slope is under one percent a step.
    slope = np.tile(np.linspace(0, 60, 256), (256, 1)).astype(np.uint8)
    assert hashes(Image.fromarray(slope)).texture <= 1
    assert hashes(photo(31, 31)).texture == 0


def test_fingerprint_merges_copies_and_nothing_flat() -> None:
    image = photo(384, 288)
    copies = [decode(encoded(image, quality=q, comment=b"x" * q), DEFAULT) for q in (95, 94)]
    same = {(c.hash64, c.hash256) for c in copies}
    assert len({c.fingerprint for c in copies}) == len(same)
    found = hashes(image)
    assert fingerprint(found, b"a", 384, 288, 20) == fingerprint(found, b"b", 385, 288, 20)
    assert fingerprint(found, b"a", 384, 288, 20) != fingerprint(found, b"a", 500, 288, 20)
    flat = [decode(encoded(Image.new("RGB", (64, 64), (n, 0, 0)), "PNG"), DEFAULT) for n in (1, 2)]
    assert flat[0].texture == 0 and flat[0].fingerprint != flat[1].fingerprint


def test_turned_hashes_are_those_of_the_turned_picture() -> None:
    images = [photo(300 + 31 * i, 260 + 17 * i, seed=i) for i in range(6)]
    images += [photo(64, 480), photo(640, 40), photo(385, 384).convert("L"), photo(2600, 400)]
    for image in images:
        found = hashes(image, with_turned=True)
        assert found.turned64 is not None and found.turned256 is not None
        assert hashes(image).turned64 is None
        for turn, ours, ours256 in zip(TURNS, found.turned64, found.turned256, strict=True):
            turned = image.transpose(Image.Transpose[turn])
            assert (turned.size != image.size) == (TURNS.index(turn) >= FIRST_SIDEWAYS)
            if (
                max(image.size) > 2048
            ):  # reduced from the upper left corner, whole factors at a time
                assert distance(hashes(turned).hash64, ours) <= 4
                continue
            expected = hashes(turned)
            assert expected.hash256 == ours256
            # The two passes of hash64 run in another order, with rounding between them.
            sideways = TURNS.index(turn) >= FIRST_SIDEWAYS
            assert distance(expected.hash64, ours) <= (4 if sideways else 0)


def test_turned_copies_of_real_photos_are_within_the_radii(real_data: Path) -> None:
    files = sorted((real_data / "photos").rglob("*.jpg"))[::20]
    near = []
    for file in files:
        original = decode(file.read_bytes(), DecodeSettings(turned_hashes=True))
        assert original.turned64 is not None and original.turned256 is not None
        for i, turn in enumerate(TURNS):
            copy = encoded(
                Image.open(file).convert("RGB").transpose(Image.Transpose[turn]), quality=60
            )
            found = decode(copy, DEFAULT)
            assert found.hash256 is not None and found.turned64 is None
            wide = distance(found.hash256, original.turned256[i])
            near.append(distance(found.hash64 or 0, original.turned64[i]) <= 4 and wide <= 48)
    assert len(near) >= 140 and np.mean(near) >= 0.99
