"""Against open_clip's own transforms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.score.compat import import_open_clip
from pipeline.score.shape import Shape

SIDE = 32
sides = st.integers(1, 150)


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@settings(max_examples=60, deadline=None)
@given(width=sides, height=sides, is_bilinear=st.booleans(), fill=st.sampled_from([0, 255]))
def test_pixels_are_those_of_open_clip(resize, width, height, is_bilinear, fill):
    if resize == "longest" and max(width, height) / min(width, height) > SIDE:
        return  # open_clip would resize to no pixels
    rng = np.random.default_rng([width, height])
    picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    steps = import_open_clip().transform.image_transform(
        SIDE,
        is_train=False,
        resize_mode=resize,
        interpolation="bilinear" if is_bilinear else "bicubic",
        fill_color=fill,
    )
    expected = picture
    for step in steps.transforms[:-2]:  # the last two make numbers of it, and normalise them
        expected = step(expected)
    found = Shape(SIDE, resize, is_bilinear, fill).pixels(picture)
    assert np.array_equal(found, np.asarray(expected))
