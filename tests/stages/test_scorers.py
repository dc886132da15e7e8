"""Heads and pixel scorers through score, measure and decide: columns, and the rows that go."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from filters.aesthetic import Aesthetic
from filters.borders import Borders
from filters.caption_overlap import CaptionOverlap
from filters.collage import Collage
from filters.entropy import Entropy
from filters.nsfw import Nsfw
from pipeline.core.config import RunSection
from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.filter import Filter
from pipeline.core.storage import Store
from pipeline.core.tables import DECISIONS, EMBEDDINGS, IMAGES, Table
from pipeline.fetch.settings import DownloadSection
from pipeline.score.heads import HeadSection
from pipeline.stages import decide, measure
from pipeline.stages.score import check
from pipeline.stages.score_section import ScoreSection, measures_of, picture_scores_of
from tests.score.test_pixels import collage, rendered, scene
from tests.stages.test_score import Picture, redo, rows, score, write_web

WIDTH = 64  # of pairmill-tiny's embeddings


def stored(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def framed() -> Image.Image:
    made = Image.new("RGB", (320, 320))
    made.paste(scene(2), (0, 40))
    return made


def web() -> dict[str, Picture]:
    """Two plain pictures, one of them under two URLs, and one for each pixel filter."""
    pictures = {
        "plain": scene(0),
        "other": scene(1),
        "again": scene(0),
        "framed": framed(),
        "collage": collage([scene(3), scene(4)], 6, False),
        "text": Image.fromarray(rendered("Buy two and get the third one free of charge")),
        "blank": Image.new("RGB", (200, 150), (240, 240, 240)),
    }
    return {
        name: Picture(f"http://a.example/{name}", i % 2, stored(image), [f"a caption of {name}"])
        for i, (name, image) in enumerate(pictures.items())
    }


def head(path: Path, kind: str, seed: int, width: int = WIDTH) -> dict[str, str]:
    """A head of random weights, as a file of the user's; of aesthetic's first form, or any."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(0, 3, (1, width)), rng.normal(0, 1, 1)
    np.savez(path, weight=weight.astype(np.float32), bias=bias.astype(np.float32))
    return {"path": str(path), "kind": kind}


PIXELS: dict[str, Any] = {
    "pixels": ("entropy", "borders", "collage"),
    "pixel_functions": {"text_area": "tests.score.text_area:text_area"},
}


def complete(store: Store) -> None:
    """What a download finds besides of the pictures that it stores."""
    known = {"format": "JPEG", "frames": 1, "body_bytes": 9000, "texture": 50, "hash64": 1}
    known |= {n: 320 for n in ("original_width", "original_height", "width", "height")}
    parts = {part: list(store.read_part(IMAGES, part)) for part in store.committed(IMAGES)}
    store.remove(IMAGES.name)
    for part, batches in parts.items():
        found = [row for batch in batches for row in batch.to_pylist()]
        with store.publish_part(IMAGES, part) as sink:
            sink.write_rows([r | known | {"fingerprint": r["sha256"][:16]} for r in found])


def judged(
    spark: Any, store: Store, settings: dict[str, Any], filters: dict[str, Filter]
) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """Measures, and every reason to drop, by the picture's name."""
    for table in (*measure.STAGE.reads, *decide.STAGE.reads):
        if not store.exists(table.name) and table.name not in ("measures", "picture_scores"):
            with store.publish_part(table, 0):
                pass
    section = ScoreSection(precision="fp32", batch_size=2, **settings)
    sections = {"run": RunSection(root=store.root), "score": section, "download": DownloadSection()}
    for stage, own in ((measure, measure.MeasureSection()), (decide, decide.DecideSection())):
        name = stage.STAGE.name
        store.remove(stage.STAGE.writes[0].name)
        ctx: Context[Any] = Context(name, spark, store, own, sections | {name: own}, filters)
        for account in stage.build(ctx):
            account.check(name)

    def by_name(table: Table) -> dict[bytes, dict[str, Any]]:
        return {bytes(r["pair_id"]): r for r in rows(spark, store, table)}

    measured = by_name(measures_of(sections, filters))
    names = {pair: row["url"].rsplit("/", 1)[-1] for pair, row in measured.items()}
    found = by_name(DECISIONS)
    return (
        {names[pair]: row for pair, row in measured.items()},
        {names[pair]: list(row["reasons"] or []) for pair, row in found.items()},
    )


@pytest.mark.spark
def test_what_scorers_find_is_measured_and_judged(spark: Any, tmp_path: Path) -> None:
    pictures = web()
    store = write_web(tmp_path / "run", list(pictures.values()))
    complete(store)
    score(spark, store, **PIXELS)
    filters: dict[str, Filter] = {
        "entropy": Entropy(),
        "borders": Borders(max_share=0.1),
        "collage": Collage(),
        "caption_overlap": CaptionOverlap(),
    }
    measures, reasons = judged(spark, store, PIXELS, filters)
    assert reasons == {
        "plain": [],
        "other": [],
        "again": [],
        "framed": ["border_share_high", "collage_seam_high"],  # a deep frame ends in a seam
        "collage": ["collage_seam_high"],
        "text": ["text_area_high"],
        "blank": ["entropy_low"],
    }
    assert abs(measures["framed"]["border_top"] - 40 / 320) < 0.02
    assert measures["again"]["entropy"] == measures["plain"]["entropy"] > 5

    # Heads are added: the embeddings are there, and nobody looks at a picture again.
    for tar in (tmp_path / "run/raw").iterdir():
        tar.unlink()
    heads = {
        "aesthetic": head(tmp_path / "a.npz", "aesthetic_v1", 1),
        "nsfw": head(tmp_path / "n.npz", "mlp", 2),
    }
    settings = PIXELS | {"heads": heads}
    again = redo(spark, store, **settings)
    assert again["new_vectors"].kept == 0 and again["vectors"].kept == 6 + 7
    sections = {"score": ScoreSection(**settings)}
    assert len(rows(spark, store, picture_scores_of(sections))) == 6

    embedded = {
        bytes(r["content_id"]): np.frombuffer(r["vector"], "<f2").astype(np.float64)
        for r in rows(spark, store, EMBEDDINGS)
        if r["kind"] == "image"
    }
    limit = 1.0
    filters = {"aesthetic": Aesthetic(min_score=limit), "nsfw": Nsfw(max_score=0.5)}
    measures, reasons = judged(spark, store, settings, filters)
    assert len(measures) == len(pictures)
    weights = {name: np.load(tmp_path / f"{name[0]}.npz") for name in heads}
    for name, picture in pictures.items():
        assert picture.data is not None
        vector = embedded[hashlib.sha256(picture.data).digest()[:16]]
        raw = {n: float(w["weight"][0] @ vector + w["bias"][0]) for n, w in weights.items()}
        expected = {
            "aesthetic_score": raw["aesthetic"],
            "nsfw_score": 1 / (1 + np.exp(-raw["nsfw"])),
        }
        for column, value in expected.items():
            assert abs(measures[name][column] - value) < 1e-3
        low = ["aesthetic_score_low"] if measures[name]["aesthetic_score"] < limit else []
        high = ["nsfw_score_high"] if measures[name]["nsfw_score"] > 0.5 else []
        assert reasons[name] == [*low, *high]
        assert measures[name]["border_share"] is not None
    assert len({tuple(r) for r in reasons.values()}) > 1


@pytest.mark.spark
def test_a_head_for_another_width_ends_the_stage_with_its_name(spark: Any, tmp_path: Path) -> None:
    store = write_web(tmp_path / "run", list(web().values())[:2])
    wide = {"aesthetic": head(tmp_path / "wide.npz", "aesthetic_v1", 1, 768)}
    with pytest.raises(Exception, match=r"score\.heads\.aesthetic.*768 numbers.*'clip' have 64"):
        score(spark, store, heads=wide)


def test_the_stage_is_refused_before_it_starts(tmp_path: Path) -> None:
    missing = ScoreSection(heads={"nsfw": HeadSection(path="/nowhere.pth", kind="nsfw")})
    with pytest.raises(InputError, match=r"score\.heads\.nsfw\.path = '/nowhere\.pth'.*github"):
        check(missing)
    with pytest.raises(InputError, match=r"pixel_functions\.text_area.*cannot be imported"):
        check(ScoreSection(pixel_functions={"text_area": "no_such_module:f"}))
    given = ScoreSection.model_validate(
        {"heads": {"nsfw": head(tmp_path / "w.npz", "mlp", 1)}, "pixels": ["sharpness"]}
    )
    assert {"nsfw_score", "sharpness"} <= check(given)["scorers"].keys()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"pixels": ["sharpnes"]}, "'sharpness'"),
        ({"pixels": ["entropy", "entropy"]}, "more than one column is named entropy"),
        ({"pixel_functions": {"caption": "a:b"}}, "more than one column is named caption"),
        ({"pixel_functions": {"text_area": "no_colon"}}, "pixel_functions"),
        ({"heads": {"Aesthetic": {"path": "w", "kind": "mlp"}}}, "heads"),
        (
            {"heads": {"nsfw": {"path": "w", "kind": "mlp", "model": "big"}}},
            "heads.nsfw.model = 'big' is none of clip",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ScoreSection.model_validate(settings)
