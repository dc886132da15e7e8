"""What a plan is made from: a cluster and its prices, measured rates, ratios of a crawl.

All are TOML files, refused with the key that is missing or wrong.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipeline.core.config import parse
from pipeline.core.errors import ConfigError
from pipeline.core.stage import Section
from pipeline.stats.funnel import ORDER

Unit = Literal["records", "pairs", "images", "pictures", "vectors", "measured", "kept"]


class Machines(Section):
    """`[cluster]`: what there is to work with.

    core_speed, gpu_speed: how fast one is, over what the rates were measured on.
    core_use, gpu_use, internet_use: share of the time that they do the work, the rest being waits.
    internet_gbit: to and from the net, of all machines together, in 10^9 bits per second.
    storage_gbit: to and from where tables and tars are kept, likewise.
    storage_tb, scratch_tb: what fits there, and on local disks for shuffles, 10^12 bytes of all
    machines together; storage_tb 0: no bound.
    """

    about: str
    cores: int = Field(ge=1)
    core_speed: float = Field(default=1.0, gt=0)
    core_use: float = Field(default=0.8, gt=0, le=1)
    gpus: int = Field(default=0, ge=0)
    gpu_speed: float = Field(default=1.0, gt=0)
    gpu_use: float = Field(default=0.8, gt=0, le=1)
    internet_gbit: float = Field(gt=0)
    internet_use: float = Field(default=0.7, gt=0, le=1)
    storage_gbit: float = Field(gt=0)
    storage_tb: float = Field(default=0.0, ge=0)
    scratch_tb: float = Field(gt=0)


class Prices(Section):
    """`[prices]`: what is paid for, 0 what is not. GB are 10^9 bytes.

    source, checked: where the prices are from and when they were looked up.
    """

    currency: str
    source: str
    checked: str
    core_hour: float = Field(default=0.0, ge=0)
    gpu_hour: float = Field(default=0.0, ge=0)
    network_in_gb: float = Field(default=0.0, ge=0)
    network_out_gb: float = Field(default=0.0, ge=0)
    stored_gb_month: float = Field(default=0.0, ge=0)
    months: float = Field(default=1.0, ge=0)
    million_puts: float = Field(default=0.0, ge=0)
    million_gets: float = Field(default=0.0, ge=0)
    million_lists: float = Field(default=0.0, ge=0)


class Power(Section):
    """`[power]`: what machines of one's own draw, in watts, and what a kWh costs.

    idle_watts: of all machines together, whatever they do. overhead: all that is drawn, cooling
    included, over what the machines draw.
    """

    core_watts: float = Field(ge=0)
    gpu_watts: float = Field(default=0.0, ge=0)
    idle_watts: float = Field(default=0.0, ge=0)
    overhead: float = Field(default=1.0, ge=1)
    kwh: float = Field(ge=0)


class Cluster(Section):
    """A file of conf/clusters/."""

    cluster: Machines
    prices: Prices
    power: Power | None = None


class Ratios(Section):
    """`[ratios]`: how many there are of one thing for each of another, and how large they are.

    Bytes are means: archive_bytes of the archives for a pair, body_bytes of a received picture,
    failed_bytes of what comes for an image that fails. largest_domain: share of all images that is
    on one registrable domain; 0: not known.
    """

    source: str
    records_per_pair: float = Field(gt=0)
    archive_bytes_per_pair: float = Field(ge=0)
    images_per_pair: float = Field(gt=0, le=1)
    asked_per_image: float = Field(gt=0, le=1)
    requests_per_asked: float = Field(default=1.2, ge=1)
    downloaded_per_image: float = Field(gt=0, le=1)
    body_bytes: float = Field(gt=0)
    failed_bytes: float = Field(default=2000.0, ge=0)
    pictures_per_downloaded: float = Field(gt=0, le=1)
    scored_pictures_per_downloaded: float = Field(gt=0, le=1)
    measured_per_downloaded: float = Field(gt=0)
    scored_captions_per_measured: float = Field(gt=0, le=1)
    kept_per_measured: float = Field(gt=0, le=1)
    largest_domain: float = Field(default=0.0, ge=0, le=1)


class StageRate(Section):
    """`[stages.<name>]`: what one unit costs a stage, and what each run of it costs besides.

    per: the unit; bytes are those of its tables and files on disk. power: core_s grows as the
    number of units to this power. gpu_s: of a GPU in place of all core_s but gpu_core_s.
    """

    per: Unit
    source: str
    core_s: float = Field(ge=0)
    start_core_s: float = Field(default=0.0, ge=0)
    power: float = Field(default=1.0, ge=1, le=2)
    gpu_s: float = Field(default=0.0, ge=0)
    gpu_core_s: float = Field(default=0.0, ge=0)
    shuffle_bytes: float = Field(default=0.0, ge=0)
    read_bytes: float = Field(default=0.0, ge=0)
    kept_bytes: float = Field(default=0.0, ge=0)


class Rates(Section):
    """A file of rates and ratios, as `make plan` writes one of a run.

    score_models: what core_s of score was measured with. match_radius: likewise of match, whose
    core_s and shuffle are what its tables do not explain. row_s, comparison_s: prices of the block
    tables, seconds: of a hash put in a bucket, through Spark, and of two compared there.
    caption_weight: what a caption costs to score, over a picture.
    """

    ratios: Ratios
    stages: Mapping[str, StageRate]
    score_models: tuple[str, ...]
    match_radius: int = Field(default=4, ge=0, le=8)
    row_s: float = Field(default=0.97e-6, gt=0)
    comparison_s: float = Field(default=0.8e-9, gt=0)
    caption_weight: float = Field(default=0.14, gt=0)


def load_cluster(path: str) -> Cluster:
    """A file of conf/clusters/. Raises ConfigError that names file, key and what is allowed."""
    data = _read(path)
    kinds: dict[str, type[Section]] = {"cluster": Machines, "prices": Prices, "power": Power}
    _check(path, {name: (kind, data[name]) for name, kind in kinds.items() if name in data})
    found: Cluster = parse(path, "", Cluster, data)
    return found


def load_rates(path: str) -> Rates:
    """A file of rates. Raises ConfigError likewise."""
    data = _read(path)
    given = data.get("stages", {})
    stages = given if isinstance(given, dict) else {}
    checked: dict[str, tuple[type[Section], Any]]
    checked = {f"stages.{name}": (StageRate, values) for name, values in stages.items()}
    if "ratios" in data:
        checked["ratios"] = (Ratios, data["ratios"])
    _check(path, checked)
    found: Rates = parse(path, "", Rates, data)
    missing = [name for name in ORDER if name not in found.stages]
    unknown = sorted(set(found.stages) - set(ORDER))
    if missing or unknown:
        wrong = [f"missing {missing}"] * bool(missing) + [f"unknown {unknown}"] * bool(unknown)
        raise ConfigError(f"{path}: [stages.<name>]: {'; '.join(wrong)}")
    return found


def _read(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no file {path}; clusters are in conf/clusters/") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not readable TOML: {error}") from None


def _check(path: str, given: Mapping[str, tuple[type[Section], Any]]) -> None:
    """Each section by itself: what is allowed in it is told then, not what is allowed above it."""
    for name, (kind, values) in given.items():
        parse(path, name, kind, values)


def to_toml(rates: Rates) -> str:
    """As `load_rates` reads it."""
    data = rates.model_dump()
    tables = {"ratios": data.pop("ratios")}
    tables |= {f"stages.{name}": values for name, values in data.pop("stages").items()}
    lines = [f"{key} = {_toml(value)}" for key, value in data.items()]
    for name, values in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
