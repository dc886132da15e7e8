"""Pixel scorers against Pillow and SciPy, on made pictures, and on real photos where they are."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageFont

from filters.borders import Borders
from filters.collage import Collage
from pipeline.core.errors import InputError
from pipeline.fakeweb.pictures import render, sample_scene
from pipeline.score.pixels import FIELDS, Shipped, UserFunction

ALL = Shipped(("sharpness", "entropy", "borders", "collage"))
NAMES = [field.name for field in ALL.fields]


def measured(pixels: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, ALL.load()(pixels), strict=True))


def scene(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    return Image.fromarray(render(sample_scene(np.random.default_rng(seed)), width, height))


def jpeg(image: Image.Image, quality: int = 85) -> np.ndarray:
    """What is left of it after it was on the web."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB"))


pictures = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
    lambda size: st.one_of(
        arrays(np.uint8, (*size, 3)),
        arrays(np.uint8, (*size, 3), elements=st.sampled_from([0, 7, 255])),
    )
)


@settings(max_examples=150, deadline=None)
@given(pictures)
def test_sharpness_and_entropy_are_those_of_scipy_and_pillow(pixels: np.ndarray) -> None:
    from scipy.ndimage import laplace

    found = measured(pixels)
    grey = Image.fromarray(pixels).convert("L")
    padded = laplace(np.asarray(grey).astype(np.float64), mode="mirror")
    assert np.isclose(found["sharpness"], padded.var(), rtol=1e-9, atol=1e-9)
    assert np.isclose(found["entropy"], grey.entropy(), atol=1e-9)


@settings(max_examples=150, deadline=None)
@given(pictures)
def test_every_picture_gives_shares(pixels: np.ndarray) -> None:
    """However small or odd it is; the picture is left as it was."""
    before = pixels.copy()
    found = measured(pixels)
    assert all(0 <= found[name] <= 1 for name in NAMES[2:])
    assert np.isfinite(list(found.values())).all()
    assert (pixels == before).all()
    assert found == measured(np.asfortranarray(pixels))
    inner = (1 - found["border_top"] - found["border_bottom"]) * (
        1 - found["border_left"] - found["border_right"]
    )
    assert np.isclose(found["border_share"], 1 - inner)


@settings(max_examples=60, deadline=None)
@given(pictures)
def test_turning_a_picture_turns_its_frame(pixels: np.ndarray) -> None:
    found, turned = measured(pixels), measured(np.rot90(pixels))
    # A quarter to the left: what was at the right is at the top.
    for before, after in (
        ("right", "top"),
        ("top", "left"),
        ("left", "bottom"),
        ("bottom", "right"),
    ):
        assert found[f"border_{before}"] == turned[f"border_{after}"]
    assert found["entropy"] == turned["entropy"]
    assert np.isclose(found["sharpness"], turned["sharpness"])


def test_blur_lowers_sharpness() -> None:
    from PIL import ImageFilter

    for seed in range(5):
        sharp = scene(seed)
        values = [
            measured(np.asarray(sharp.filter(ImageFilter.GaussianBlur(radius))))["sharpness"]
            for radius in (0, 1, 2, 4)
        ]
        assert values == sorted(values, reverse=True)


FRAMES = {
    "letterbox": (30, 30, 0, 0),
    "pillars": (0, 0, 40, 25),
    "all around": (12, 12, 12, 12),
    "a strip below": (0, 48, 0, 0),
}


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (40, 60, 120)])
@pytest.mark.parametrize("frame", FRAMES)
def test_frames_are_measured(frame: str, colour: tuple[int, int, int]) -> None:
    top, bottom, left, right = FRAMES[frame]
    for seed in range(6):
        inner = scene(seed)
        width, height = inner.width + left + right, inner.height + top + bottom
        framed = Image.new("RGB", (width, height), colour)
        framed.paste(inner, (left, top))
        found = measured(jpeg(framed, 80))
        depths = [found[f"border_{side}"] for side in ("top", "bottom", "left", "right")]
        expected = np.array([top / height, bottom / height, left / width, right / width])
        assert np.allclose(depths, expected, atol=0.02)
        assert np.isclose(
            found["border_share"], 1 - inner.width * inner.height / (width * height), atol=0.03
        )


def test_a_product_on_white_has_no_frame_and_a_flat_picture_neither() -> None:
    product = Image.new("RGB", (400, 400), (255, 255, 255))
    ImageDraw.Draw(product).ellipse((120, 80, 280, 330), fill=(150, 30, 30))
    assert measured(jpeg(product))["border_share"] == 0
    for colour in ((0, 0, 0), (255, 255, 255)):
        flat = measured(np.full((50, 80, 3), colour, np.uint8))
        assert flat["border_share"] == flat["sharpness"] == flat["entropy"] == 0
        assert flat["collage_seam"] == 0


def collage(cells: list[Image.Image], gutter: int, across: bool) -> Image.Image:
    """Pictures side by side, or one under the other."""
    width, height = cells[0].size
    step = (0, height + gutter) if across else (width + gutter, 0)
    n = len(cells) - 1
    made = Image.new("RGB", (width + step[0] * n, height + step[1] * n), (255, 255, 255))
    for i, cell in enumerate(cells):
        made.paste(cell, (step[0] * i, step[1] * i))
    return made


def photos(real_data: Path, n: int, folder: str) -> list[Image.Image]:
    files = sorted((real_data / folder).glob("*.jpg"))[:n]
    assert len(files) == n
    found = [Image.open(file).convert("RGB") for file in files]
    for image in found:
        image.thumbnail((384, 384))
    return found


@pytest.fixture
def clothing(real_data: Path) -> list[Image.Image]:
    return photos(real_data, 60, "photos/clothing-cc0")


@pytest.fixture
def everyday(real_data: Path) -> list[Image.Image]:
    return photos(real_data, 60, "photos-captions/flickr8k-1000")


def share(values: list[float], above: float) -> float:
    return float(np.mean(np.array(values) > above))


def test_real_photos_have_no_frame_and_framed_ones_do(
    everyday: list[Image.Image], clothing: list[Image.Image]
) -> None:
    limit = Borders().max_share
    plain = [measured(np.asarray(p))["border_share"] for p in everyday + clothing]
    assert share(plain, limit) <= 0.02
    framed = []
    for i, photo in enumerate(everyday + clothing):
        width, height = photo.size
        made = Image.new("RGB", (width, height + height // 4), [(0, 0, 0), (255, 255, 255)][i % 2])
        made.paste(photo, (0, height // 8))
        framed.append(measured(jpeg(made))["border_share"])
    assert share(framed, limit) >= 0.95


@pytest.mark.parametrize("gutter", [0, 8])
def test_real_collages_have_a_seam_and_photos_have_none(
    everyday: list[Image.Image], clothing: list[Image.Image], gutter: int
) -> None:
    limit = Collage().max_seam
    whole = [measured(np.asarray(p))["collage_seam"] for p in everyday + clothing]
    assert share(whole, limit) <= 0.03
    made = []
    for i, (one, other) in enumerate(zip(everyday, clothing, strict=True)):
        cells = [p.resize((200, 220)) for p in (one, other)]
        made.append(measured(jpeg(collage(cells, gutter, bool(i % 2))))["collage_seam"])
    assert share(made, limit) >= (0.85 if gutter else 0.35)


def test_a_horizon_is_no_seam() -> None:
    """Sky over sea: a straight line from side to side, at which every column jumps the same way."""
    rng = np.random.default_rng(1)
    view = np.zeros((300, 400, 3), np.float64)
    view[:150] = (120, 170, 230)
    view[150:] = (30, 60, 110)
    view += rng.normal(0, 6, view.shape)
    assert measured(jpeg(Image.fromarray(view.clip(0, 255).astype(np.uint8))))["collage_seam"] < 0.1


def rendered(text: str) -> np.ndarray:
    image = Image.new("RGB", (400, 300), (250, 250, 240))
    draw = ImageDraw.Draw(image)
    for line in range(12):
        draw.text((10, 10 + 24 * line), text, fill=(20, 20, 20), font=ImageFont.load_default(16))
    return np.asarray(image)


def user(function: str, name: str = "text_area") -> UserFunction:
    return UserFunction(name, f"tests.score.text_area:{function}")


def test_a_function_of_the_user_measures_text_area() -> None:
    scorer = pickle.loads(pickle.dumps(user("text_area")))
    assert scorer.check()["function"] == "tests.score.text_area:text_area"
    assert [field.name for field in scorer.fields] == ["text_area"]
    score = scorer.load()
    (text,) = score(rendered("Buy two and get the third one free of charge"))
    assert text > 0.5
    for seed in range(5):
        (plain,) = score(np.asarray(scene(seed)))
        assert plain < 0.3
    (none,) = user("face_count", "face_count").load()(np.zeros((50, 50, 3), np.uint8))
    assert none is None


def test_a_picture_that_a_function_fails_on_has_no_number() -> None:
    scorer = user("fails_on_large")
    scorer.check()
    score = scorer.load()
    with pytest.warns(RuntimeWarning, match=r"score\.pixel_functions\.text_area.*out of memory"):
        assert score(np.zeros((65, 65, 3), np.uint8)) == [None]
    assert score(np.zeros((64, 64, 3), np.uint8)) == [1.0]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("no.such.module:f", "cannot be imported: ModuleNotFoundError"),
        ("tests.score.text_area:no_such", "cannot be imported: AttributeError"),
        ("tests.score.text_area:np", "is no function"),
        ("tests.score.text_area:gives_text", "fails on a picture.*could not convert"),
    ],
)
def test_functions_that_cannot_work_are_refused_before_the_run(path: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        UserFunction("mine", path).check()
    assert f"score.pixel_functions.mine = {path!r}" in str(error.value)


def test_each_shipped_scorer_gives_the_columns_it_declares() -> None:
    pixels = np.asarray(scene(1))
    together = measured(pixels)
    for name, fields in FIELDS.items():
        alone = Shipped((name,)).load()(pixels)
        assert alone == [together[field.name] for field in fields]
