"""`[judge]`: which model is trained for how long, how often, and on what it is asked."""

from pydantic import Field, field_validator

from pipeline.core.stage import Section, tuning


class JudgeSection(Section):
    """`[judge]`. Every view gets the same model, budget and schedule; only the data differ.

    The defaults are for a small machine and the embedded web. DataComp's small scale is in
    conf/judge/datacomp-small.toml.
    """

    # Any architecture of open_clip, trained from nothing; or judge-tiny, judge-small (included).
    model: str = "judge-small"
    # Pictures and captions that the model sees in all, with repetition. What is left of a batch at
    # the end of an epoch is not served.
    samples: int = Field(12_000, gt=0, le=10**11)
    batch_size: int = Field(64, ge=2, le=10**6)
    seeds: int = Field(5, ge=1, le=100)  # runs of each view: seeds 0 to seeds - 1
    # AdamW with a cosine schedule. Source of betas and eps: CLIP, arXiv:2103.00020, table 18.
    peak_rate: float = Field(2e-3, gt=0)
    warmup_share: float = Field(0.1, ge=0, le=1)  # of the steps, linear
    weight_decay: float = Field(0.1, ge=0)
    # "bf16": autocast, on a GPU that has it.
    precision: str = Field("fp32", pattern="^(fp32|bf16)$")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    threads: int = Field(1, ge=1, le=256)  # of torch on the processor; sums depend on it
    # Held-out tasks: a folder with a folder for each (docs/judge.md). Empty: those of the embedded
    # web, which are made.
    evaluation: str = ""
    recall_k: tuple[int, ...] = (1, 5)
    # `make scaling`: shares of the view, and models, each trained on every one of them.
    scaling_shares: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)
    scaling_models: tuple[str, ...] = ("judge-tiny", "judge-small")
    # What "no filtering" still holds to, of those that the recipe of the run enables: what may not
    # be trained on, and what would be in the evaluation.
    # Source: DataComp's pools, arXiv:2304.14108, section 3.2: unsafe pictures and those of
    # evaluation sets are out of the pool itself.
    pool_filters: tuple[str, ...] = (
        "consent",
        "caption_personal_data",
        "evaluation_match",
        "nsfw",
    )
    workers: int = tuning(0, ge=0, le=256)  # processes that decode; 0: none, in this one
    cache_mb: int = tuning(2000, ge=0)  # decoded pictures that are kept, without workers

    @field_validator("recall_k")
    @classmethod
    def _are_places(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or min(value) < 1 or value[0] != 1:
            raise ValueError("recall_k must begin with 1 and hold places from 1 on")
        return value

    @field_validator("scaling_shares")
    @classmethod
    def _are_shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or not all(0 < share <= 1 for share in value):
            raise ValueError("scaling_shares must lie above 0 and up to 1")
        return tuple(sorted(set(value)))

    @field_validator("scaling_models")
    @classmethod
    def _are_models(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("scaling_models is empty: name one model at least")
        return value
