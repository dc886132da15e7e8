"""Scenes: pictures that differ as much as they can, and captions that are true of them."""

import hashlib
import re
from dataclasses import replace

import imagehash
import numpy as np
import pytest
from PIL import Image

from pipeline.fakeweb.captions import WORDS, describe
from pipeline.fakeweb.pictures import Group, Scene, render, sample_scene


def scenes(count: int, seed: int = 7) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample_scene(rng) for _ in range(count)]


def hash64(pixels: np.ndarray) -> int:
    return int(str(imagehash.phash(Image.fromarray(pixels))), 16)


def test_no_two_scenes_have_close_perceptual_hashes():
    hashes = np.array([hash64(render(s, 128, 96)) for s in scenes(500)], dtype=np.uint64)
    distances = np.bitwise_count(hashes[:, None] ^ hashes[None, :])
    assert distances[np.triu_indices(len(hashes), 1)].min() > 10


def test_hash_survives_resizing_and_rendering_at_another_size():
    for scene in scenes(20):
        large = render(scene, 400, 300)
        resized = np.asarray(Image.fromarray(large).resize((200, 150), Image.Resampling.LANCZOS))
        assert (hash64(large) ^ hash64(resized)).bit_count() <= 4
        small = render(scene, 200, 150)
        assert (hash64(large) ^ hash64(small)).bit_count() <= 4
        assert np.abs(small.astype(int) - resized).mean() < 4


def test_pixels_are_those_they_have_always_been():
    scene = Scene(
        (Group("star", "red", 2, "large"), Group("K", "white", 1, "large")),
        "above",
        "wavy",
        "blue",
        12345,
    )
    pixels = render(scene, 160, 120)
    assert pixels.shape == (120, 160, 3) and pixels.dtype == np.uint8
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == (
        "4d8347fea5c9dd0a8703a68004b1028455a8a7ee12a05ebb4afb794bac2edd45"
    )


@pytest.mark.parametrize("pattern", ["striped", "checked", "dotted", "wavy", "cloudy"])
def test_no_picture_is_flat(pattern):
    for scene in scenes(10):
        grey = render(replace(scene, pattern=pattern, background="grey"), 128, 96).mean(2)
        assert grey.std() > 20
        assert np.abs(np.diff(grey, axis=1)).mean() > 1.5


def test_things_show_their_colour_where_they_are_said_to_be():
    one, other = Group("circle", "red", 1, "large"), Group("circle", "blue", 1, "large")
    for relation, axis, sign in (
        ("above", 0, -1),
        ("below", 0, 1),
        ("left", 1, -1),
        ("right", 1, 1),
    ):
        pixels = render(Scene((one, other), relation, "cloudy", "grey", 3), 200, 200).astype(int)
        red = np.argwhere(pixels[:, :, 0] - pixels[:, :, 2] > 120).mean(0)
        blue = np.argwhere(pixels[:, :, 2] - pixels[:, :, 0] > 120).mean(0)
        assert (red[axis] - blue[axis]) * sign > 40


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_captions_are_short_varied_and_true(lang):
    rng = np.random.default_rng(5)
    seen = set()
    for scene in scenes(600):
        caption = describe(scene, lang, rng)
        assert WORDS[0] <= len(caption.split()) <= WORDS[1]
        assert "  " not in caption and caption == caption.strip()
        is_korean = re.search("[가-힣]", caption) is not None
        assert is_korean == (lang == "ko")
        if lang == "en":
            named = [g for g in scene.groups if g.colour in caption]
            assert named == list(scene.groups)
        seen.add(caption)
    assert len(seen) > 590


def test_the_same_state_gives_the_same_caption():
    scene = scenes(1)[0]
    first, second = (
        [describe(scene, lang, np.random.default_rng(3)) for lang in ("en", "ko")] for _ in "ab"
    )
    assert first == second


def test_relations_turn_around_with_the_order_of_speech():
    scene = Scene(
        (Group("star", "red", 1, "large"), Group("heart", "blue", 1, "large")),
        "above",
        "striped",
        "green",
        1,
    )
    rng = np.random.default_rng(0)
    for _ in range(200):
        english, korean = describe(scene, "en", rng), describe(scene, "ko", rng)
        if re.search(r"\b(above|over)\b", english):
            assert english.index("star") < english.index("heart")
        if re.search(r"\b(below|under|beneath)\b", english):
            assert english.index("heart") < english.index("star")
        if " 위에 " in korean:  # "X 위에 Y": Y is above X
            assert korean.index("하트") < korean.index("별")
        if " 아래에 " in korean:
            assert korean.index("별") < korean.index("하트")


def test_korean_particles_follow_the_final_sound():
    rng = np.random.default_rng(1)
    for scene in scenes(800, seed=9):
        caption = describe(scene, "ko", rng)
        for word in caption.split():
            if word.endswith(("과", "이")) and word != "송이":
                assert word[-2] in "별원꽃형달L17", caption
            if word.endswith(("와", "가")) and word != "십자가":
                assert word[-2] not in "별원꽃형달L17", caption
