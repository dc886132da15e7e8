"""Filters on what scorers find: rows in, reasons out, and recipes that do not measure it."""

from pathlib import Path

import numpy as np
import pytest

import filters
from filters.aesthetic import Aesthetic
from filters.borders import Borders
from filters.caption_overlap import CaptionOverlap
from filters.collage import Collage
from filters.entropy import Entropy
from filters.faces import Faces
from filters.nsfw import Nsfw
from filters.sharpness import Sharpness
from filters.watermark import Watermark
from pipeline.core.config import RunSection, load
from pipeline.core.errors import ConfigError
from pipeline.core.filter import Filter
from pipeline.stages.score_section import ScoreSection, score_fields
from tests.filters.oracle import pairs, reasons

# By column: the filter, what passes, what is on the bound (closed), what fails, and the reason.
CASES: list[tuple[str, Filter, float, float, float, str]] = [
    ("aesthetic_score", Aesthetic(), 6.1, 5.0, 4.9, "low"),
    ("nsfw_score", Nsfw(max_score=0.5), 0.01, 0.5, 0.51, "high"),
    ("watermark_score", Watermark(), 0.2, 0.5, 0.6, "high"),
    ("sharpness", Sharpness(), 900, 100, 99, "low"),
    ("entropy", Entropy(), 7, 3, 2.9, "low"),
    ("border_share", Borders(max_share=0.25), 0, 0.25, 0.3, "high"),
    ("collage_seam", Collage(max_seam=0.5), 0.1, 0.5, 0.6, "high"),
    ("text_area", CaptionOverlap(), 0.1, 0.5, 0.6, "high"),
    ("face_count", Faces(max_faces=2), 0, 2, 3, "high"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_rows_and_reasons(case: tuple[str, Filter, float, float, float, str]) -> None:
    name, chosen, good, edge, bad, side = case
    batch = pairs(*({name: value} for value in (good, edge, bad, None, float("nan"))))
    missing = f"{name}_missing"
    assert reasons(chosen, batch) == [None, None, f"{name}_{side}", missing, missing]


def test_defaults() -> None:
    at_the_sources = {"nsfw_score": 0.1, "face_count": 0}
    assert reasons(Nsfw(), pairs({"nsfw_score": np.nextafter(np.float32(0.1), 0)})) == [None]
    assert reasons(Nsfw(), pairs({"nsfw_score": 0.11})) == ["nsfw_score_high"]
    assert reasons(Faces(), pairs({"face_count": 0}, {"face_count": 1})) == [
        None,
        "face_count_high",
    ]
    assert {b.measure: b.high for f in (Nsfw(), Faces()) for b in f.bounds()} == at_the_sources


HEAD = '[score.heads.{0}]\npath = "w.pth"\nkind = "mlp"\n'
MEASURED_BY = {
    "aesthetic": HEAD.format("aesthetic"),
    "nsfw": HEAD.format("nsfw"),
    "watermark": HEAD.format("watermark"),
    "sharpness": '[score]\npixels = ["sharpness"]\n',
    "entropy": '[score]\npixels = ["borders", "entropy"]\n',
    "borders": '[score]\npixels = ["borders"]\n',
    "collage": '[score]\npixels = ["collage"]\n',
    "caption_overlap": '[score.pixel_functions]\ntext_area = "mine:text_area"\n',
    "faces": '[score.pixel_functions]\nface_count = "mine:count"\n',
}


@pytest.mark.parametrize("name", MEASURED_BY)
def test_a_recipe_that_does_not_measure_it_is_refused(name: str, tmp_path: Path) -> None:
    """And one that does has the columns that the filter reads."""
    recipe = tmp_path / "recipe.toml"
    kinds = filters.load()
    sections = {"run": RunSection, "score": ScoreSection}
    recipe.write_text(f'[run]\nroot = "x"\n[filters.{name}]\n')
    with pytest.raises(ConfigError, match=r"needs score\.\w+\.\w+, which is off"):
        load(str(recipe), [], sections, kinds)
    recipe.write_text(f'[run]\nroot = "x"\n[filters.{name}]\n{MEASURED_BY[name]}')
    config = load(str(recipe), [], sections, kinds)
    columns = {field.name for field in score_fields(config.sections)}
    assert set(config.filters[name].reads) <= columns
    assert {bound.measure for bound in config.filters[name].bounds()} <= columns
