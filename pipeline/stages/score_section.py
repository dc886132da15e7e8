"""`[score]`: which models and scorers there are, and which columns the tables get by them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field, StringConstraints, model_validator

from pipeline.core.filter import Filter, measured_fields
from pipeline.core.stage import Section, StageSection, tuning
from pipeline.core.tables import (
    CLIP_MODEL,
    COPY_MODEL,
    PAIR_VIEW,
    SCORES,
    Table,
    measures_table,
    picture_scores_table,
    scores_table,
    similarity_fields,
)
from pipeline.score import clip, descriptor
from pipeline.score.clip import Precision
from pipeline.score.heads import HeadSection, WeightedHead
from pipeline.score.models import Spec
from pipeline.score.pixels import Shipped, ShippedName, UserFunction
from pipeline.score.scorers import Scorers

# The start of a column's name.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,40}$")]

# Names that are taken: models of [score] itself, and what would be the mirrored pictures' column.
_TAKEN = (CLIP_MODEL, COPY_MODEL, "flipped")


class ModelSection(Section):
    """`[score.models.<name>]`: a further model; its similarity is `clip_similarity_<name>`."""

    # As in `[score]`, all three.
    model: str
    pretrained: str = ""
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _weights_are_named(self) -> "ModelSection":
        _require_weights(self.model, self.pretrained)
        return self


class ScoreSection(StageSection):
    """`[score]`: the models, and how they are run. Scores depend on all but the tuning values."""

    # An open_clip architecture, or "hf-hub:..." or "local-dir:...". "pairmill-tiny" is included;
    # it knows the embedded web alone.
    model: str = clip.SHIPPED_MODEL
    # A tag that open_clip knows for the model, or the path of a weight file on every worker.
    pretrained: str = ""
    # What the towers compute in; "auto": what the processor or GPU is good at.
    precision: Precision = "auto"
    # Further models by name, over the same pictures, each decoded once for all.
    models: Mapping[Name, ModelSection] = Field(default_factory=dict)
    # Score mirrored pictures as well, by `model`: what is written in a picture says less there.
    # Source: Yu et al. 2023, arXiv:2309.15954, which filters by the score of the mirrored picture.
    flipped: bool = False
    # Pictures, or captions, that go through a tower together.
    batch_size: int = Field(64, gt=0, le=65536)
    # Of the models, per task; 0: the cores that Spark gives a task (spark.task.cpus). The last bits
    # of embeddings depend on it.
    threads: int = Field(0, ge=0, le=256)
    device: str = tuning("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    # Threads that decode pictures, or processes beside a GPU; 0: as `threads`, and at least 2.
    decoders: int = tuning(0, ge=0, le=256)
    # Run folders, or their `embeddings` folders, whose embeddings are taken over where the model is
    # the same. Those of this run's earlier scoring always are.
    reuse: tuple[str, ...] = tuning(())
    # Pictures by language that get another's caption, for `null_scores`; 0: none.
    null_pairs: int = Field(10_000, ge=0, le=10_000_000)
    # Networks on stored embeddings, by name: [score.heads.aesthetic] gives `aesthetic_score`.
    heads: Mapping[Name, HeadSection] = Field(default_factory=dict)
    # What is measured of the stored pixels: any of sharpness, entropy, borders, collage.
    pixels: tuple[ShippedName, ...] = ()
    # And functions of your own of them, as "module:function", by the name of their column:
    # "text_area" and "face_count" are what the filters caption_overlap and faces bound.
    pixel_functions: Mapping[Name, Annotated[str, StringConstraints(pattern=r"^[\w.]+:\w+$")]] = (
        Field(default_factory=dict)
    )
    # For `cluster` to find copies by; none unless given. The path of a TorchScript file on every
    # worker (SSCD's are), which gets squares of copy_side pixels, less mean, by deviation; or a
    # model that open_clip loads, with its weights in copy_pretrained and transforms of its own.
    # Pictures below `download.min_texture` are not described: flat ones are alike to any model.
    copy_model: str = ""
    copy_pretrained: str = ""
    copy_side: int = Field(descriptor.SIDE, ge=8, le=4096)
    copy_mean: tuple[float, float, float] = descriptor.MEAN
    copy_std: tuple[float, float, float] = descriptor.STD

    @model_validator(mode="after")
    def _weights_are_named(self) -> "ScoreSection":
        _require_weights(self.model, self.pretrained)
        named = self.copy_pretrained or self.copy_model in ("", clip.SHIPPED_MODEL)
        if not (named or ":" in self.copy_model or descriptor.is_script(self.copy_model, "")):
            raise ValueError(
                f"copy_model {self.copy_model!r} is no path of a TorchScript file, and needs "
                "copy_pretrained as an open_clip model"
            )
        if not all(deviation > 0 for deviation in self.copy_std):
            raise ValueError("copy_std must be above 0")
        for name in self.models:
            if name in _TAKEN:
                raise ValueError(f"models.{name}: {', '.join(_TAKEN)} are taken; name it otherwise")
        return self

    @model_validator(mode="after")
    def _scorers_fit(self) -> "ScoreSection":
        for name, head in self.heads.items():
            if head.model not in (CLIP_MODEL, *self.models):
                known = ", ".join((CLIP_MODEL, *self.models))
                raise ValueError(f"heads.{name}.model = {head.model!r} is none of {known}")
        scored = similarity_fields(tuple(self.models), flipped=self.flipped)
        columns = [*PAIR_VIEW, *scored, *scorers_of(self).fields]
        names = [field.name for field in columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"more than one column is named {', '.join(twice)}")
        return self


def _require_weights(model: str, pretrained: str) -> None:
    if not pretrained and model != clip.SHIPPED_MODEL and ":" not in model:
        raise ValueError(f"model {model!r} needs pretrained: a tag or the path of a weight file")


def specs_of(section: ScoreSection) -> tuple[Spec, ...]:
    """All models: that of `[score]`, the further ones, the one that copies are found by."""
    own = Spec(CLIP_MODEL, section.model, section.pretrained, section.precision)
    further = [
        Spec(name, m.model, m.pretrained, m.precision, f"models.{name}.")
        for name, m in section.models.items()
    ]
    specs = [replace(own, flipped=section.flipped), *further]
    if section.copy_model:
        copies = (section.copy_model, section.copy_pretrained, section.precision, "copy_")
        scale = (section.copy_side, section.copy_mean, section.copy_std)
        is_script = descriptor.is_script(section.copy_model, section.copy_pretrained)
        specs.append(Spec(COPY_MODEL, *copies, scale=scale if is_script else None, captions=False))
    return tuple(specs)


def scorers_of(section: ScoreSection) -> Scorers:
    """The heads and pixel scorers that the recipe asks for."""
    heads = tuple(WeightedHead(name, head) for name, head in section.heads.items())
    shipped = (Shipped(section.pixels),) if section.pixels else ()
    functions = (UserFunction(name, path) for name, path in section.pixel_functions.items())
    return Scorers(heads, (*shipped, *functions))


def _section(sections: Mapping[str, Any]) -> ScoreSection:
    """`[score]` among a config's sections, or what it is without one."""
    section = sections.get("score") or ScoreSection.model_validate({})
    assert isinstance(section, ScoreSection)
    return section


def scores_of(sections: Mapping[str, Any]) -> Table:
    """SCORES with the columns of this config's models."""
    section = _section(sections)
    return scores_table(tuple(section.models), flipped=section.flipped)


def picture_scores_of(sections: Mapping[str, Any]) -> Table:
    """PICTURE_SCORES with the columns of this config's scorers."""
    return picture_scores_table(scorers_of(_section(sections)).fields)


def score_fields(sections: Mapping[str, Any]) -> list[pa.Field]:
    """What the pair view has beside PAIR_VIEW: see `tables.pair_view`."""
    section = _section(sections)
    similarities = similarity_fields(tuple(section.models), flipped=section.flipped)
    return [*similarities, *scorers_of(section).fields]


def measures_of(sections: Mapping[str, Any], filters: Mapping[str, Filter]) -> Table:
    """MEASURES with the columns of this config's models, scorers and filters."""
    return measures_table(measured_fields(filters), score_fields(sections))


def similarity_columns(sections: Mapping[str, Any]) -> list[str]:
    """Every similarity of SCORES, `clip_similarity` first."""
    first = SCORES.schema.get_field_index("clip_similarity")
    return list[str](scores_of(sections).schema.names[first:])
