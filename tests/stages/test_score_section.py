"""`[score]`: its models, the columns they give, and the device of a task."""

from types import SimpleNamespace
from typing import Any

import pyspark
import pytest
from pydantic import ValidationError

from pipeline.core.tables import PAIR_VIEW, SCORES, pair_view
from pipeline.stages.score_part import device_of_task
from pipeline.stages.score_section import (
    ScoreSection,
    measures_of,
    picture_scores_of,
    score_fields,
    scores_of,
    similarity_columns,
    specs_of,
)
from tests.stats.made_run import FILTERS

MODELS = {
    "siglip": {"model": "ViT-B-16-SigLIP", "pretrained": "webli"},
    "ko": {"model": "local-dir:/models/ko", "precision": "fp16"},
}


def section(**settings: Any) -> ScoreSection:
    return ScoreSection.model_validate(settings)


def test_every_model_gives_a_column_of_scores_and_of_the_pair_view() -> None:
    sections = {"score": section(models=MODELS, flipped=True)}
    names = ["clip_similarity_siglip", "clip_similarity_ko", "clip_similarity_flipped"]
    assert similarity_columns(sections) == ["clip_similarity", *names]
    assert scores_of(sections).schema.names == [*SCORES.schema.names, *names]
    assert [field.name for field in score_fields(sections)] == names
    measures = measures_of(sections, FILTERS).schema.names
    assert measures[: len(PAIR_VIEW) + 3] == pair_view(score_fields(sections)).names
    assert measures[-1] == "is_representative" and len(set(measures)) == len(measures)
    assert picture_scores_of(sections).schema.names == ["content_id"]


def test_without_further_models_the_tables_are_the_plain_ones() -> None:
    for sections in ({}, {"score": section()}):
        assert scores_of(sections).schema == SCORES.schema
        assert score_fields(sections) == []


def test_models_come_in_the_order_of_the_recipe_and_know_their_settings() -> None:
    specs = specs_of(section(models=MODELS, flipped=True, copy_model="/models/sscd.pt"))
    assert [s.name for s in specs] == ["clip", "siglip", "ko", "copy"]
    assert [s.kinds for s in specs] == [("image", "flipped"), *[("image",)] * 3]
    assert [s.prefix for s in specs] == ["", "models.siglip.", "models.ko.", "copy_"]
    assert [s.captions for s in specs] == [True, True, True, False]
    assert [s.scale is None for s in specs] == [True, True, True, False]


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"clip": MODELS["ko"]}, "are taken"),
        ({"flipped": MODELS["ko"]}, "are taken"),
        ({"Big Model": MODELS["ko"]}, "pattern"),
        ({"big": {"model": "ViT-L-14"}}, "needs pretrained"),
        ({"big": {"model": "ViT-L-14", "pretrained": "openai", "precision": "fp8"}}, "precision"),
    ],
)
def test_models_that_cannot_be_are_refused(models: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        section(models=models)


def test_scores_depend_on_the_models_and_not_on_where_embeddings_come_from() -> None:
    base = section().identity()
    for changed in ({"reuse": ("/runs/last",)}, {"decoders": 3}, {"device": "cpu"}):
        assert section(**changed).identity() == base
    for changed in ({"models": MODELS}, {"flipped": True}, {"null_pairs": 1}, {"threads": 3}):
        assert section(**changed).identity() != base


@pytest.mark.parametrize(
    ("resources", "device", "expected"),
    [
        ({"gpu": SimpleNamespace(addresses=["3", "5"])}, "auto", "cuda:3"),
        ({"gpu": SimpleNamespace(addresses=["3"])}, "cpu", "cpu"),
        ({}, "auto", "auto"),
        (None, "cuda:1", "cuda:1"),
    ],
)
def test_a_task_computes_on_the_gpu_that_spark_gives_it(
    resources: dict[str, Any] | None, device: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = None if resources is None else SimpleNamespace(resources=lambda: resources)
    monkeypatch.setattr(pyspark.TaskContext, "get", lambda: context)
    assert device_of_task(device) == expected
