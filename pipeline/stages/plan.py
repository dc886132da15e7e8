"""What a number of pairs will cost on a cluster, stage by stage: rates times quantities.

Every stage grows with one quantity (`StageRate.per`), linearly but for two: `match`, whose block
tables compare more hashes with each other the more there are (`match.blocks`), and `cluster`, with
the power 1.5, as it has about sqrt(n) clusters of sqrt(n) rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import ceil

from pipeline.match import blocks
from pipeline.stages.plan_files import Cluster, Rates, Ratios, StageRate
from pipeline.stats.funnel import ORDER

# Of one request to object storage: how much extract reads at a time, how much a multipart upload
# sends at a time (s3fs), how many names a listing gives (S3's own bound).
GET_BYTES, PUT_BYTES, LIST_NAMES = 8 << 20, 50 << 20, 1000
# Rows of a part; a part is a file of each table and a raw tar.
PART_IMAGES = 400_000
# Headers of a request for a picture.
REQUEST_BYTES = 500
# GFLOP of one picture and one caption. Source: open_clip, docs/model_profile.csv, column "gflops".
MODEL_GFLOPS = {
    "ViT-B-32": 14.78,
    "ViT-B-16": 41.09,
    "ViT-L-14": 175.33,
    "ViT-H-14": 381.68,
    "ViT-g-14": 581.15,
    "ViT-bigG-14": 1065.36,
}


@dataclass(frozen=True)
class Recipe:
    """What of a recipe changes the cost. models: those of [score]. host_interval_s: between two
    requests to one host. has_cluster: whether `cluster` has something to do."""

    radius: int
    models: tuple[str, ...]
    host_interval_s: float = 0.1
    has_cluster: bool = False


@dataclass(frozen=True)
class Cost:
    """Of one stage, or of all. Bytes and requests are numbers, seconds are of the clock.

    core_hours, gpu_hours: of work, waits not included. kept: what it leaves on storage; scratch:
    its shuffle, which is gone when it ends. gets, puts, lists: to storage, if that is object
    storage; site_requests: to web servers. money: of time, energy, network and storage requests.
    """

    core_hours: float = 0.0
    gpu_hours: float = 0.0
    network_in: float = 0.0
    network_out: float = 0.0
    kept: float = 0.0
    scratch: float = 0.0
    gets: float = 0.0
    puts: float = 0.0
    lists: float = 0.0
    site_requests: float = 0.0
    seconds: float = 0.0
    money: float = 0.0
    bound_by: str = field(default="", compare=False)


@dataclass(frozen=True)
class Plan:
    """quantities: how many of what, in line order. storage_money: of keeping what is kept."""

    quantities: dict[str, float]
    stages: dict[str, Cost]
    total: Cost
    storage_money: float


def quantities(pairs: float, ratios: Ratios) -> dict[str, float]:
    """How many of everything come of so many pairs found in archives."""
    images = pairs * ratios.images_per_pair
    downloaded = images * ratios.downloaded_per_image
    measured = downloaded * ratios.measured_per_downloaded
    return {
        "records": pairs * ratios.records_per_pair,
        "pairs": pairs,
        "images": images,
        "asked": images * ratios.asked_per_image,
        "downloaded": downloaded,
        "pictures": downloaded * ratios.pictures_per_downloaded,
        "scored_pictures": downloaded * ratios.scored_pictures_per_downloaded,
        "scored_captions": measured * ratios.scored_captions_per_measured,
        "measured": measured,
        "kept": measured * ratios.kept_per_measured,
    }


def vectors(found: dict[str, float], rates: Rates) -> float:
    """What score grows with: pictures, and captions at their weight."""
    return found["scored_pictures"] + rates.caption_weight * found["scored_captions"]


def model_factor(models: Sequence[str], measured: Sequence[str]) -> float | None:
    """The work of some models over that of others; None when one of them is not in MODEL_GFLOPS."""
    if sorted(models) == sorted(measured):
        return 1.0
    known = [
        [MODEL_GFLOPS.get(m.removesuffix("-quickgelu")) for m in s] for s in (models, measured)
    ]
    if any(gflops is None for side in known for gflops in side) or not all(known):
        return None
    wanted, had = (sum(g for g in side if g is not None) for side in known)
    return wanted / had


def stage_work(
    name: str, units: float, rate: StageRate, rates: Rates, recipe: Recipe
) -> tuple[float, float]:
    """(core-seconds, shuffled bytes) of a stage with so many units, the start included."""
    core_s = rate.start_core_s + rate.core_s * units**rate.power
    shuffled = rate.shuffle_bytes * units
    if name == "match" and units >= 2:
        prices = blocks.Rates(rates.row_s, rates.comparison_s)
        tables = blocks.choose_plan(int(units), recipe.radius)  # as match does
        core_s += tables.seconds(int(units), prices)
        shuffled += tables.shuffle_bytes(int(units))
    if name == "score":
        factor = model_factor(recipe.models, rates.score_models) or 1.0
        work = rate.core_s - rate.gpu_core_s
        core_s += work * units * (factor - 1)
    return core_s, shuffled


def plan(pairs: float, cluster: Cluster, rates: Rates, recipe: Recipe) -> Plan:
    """The cost of every stage, and of all."""
    found = quantities(pairs, rates.ratios)
    units = found | {"vectors": vectors(found, rates)}
    stages = {}
    for name in ORDER:
        if name == "cluster" and not recipe.has_cluster:
            continue
        stages[name] = _cost(name, units, cluster, rates, recipe)
    storage = sum(c.kept for c in stages.values()) / 1e9
    storage *= cluster.prices.stored_gb_month * cluster.prices.months
    return Plan(found, stages, _sum(list(stages.values())), storage)


def _cost(
    name: str, units: dict[str, float], cluster: Cluster, rates: Rates, recipe: Recipe
) -> Cost:
    rate, has = rates.stages[name], cluster.cluster
    count = units[rate.per]
    core_s, shuffled = stage_work(name, count, rate, rates, recipe)
    gpu_s = 0.0
    if name == "score" and has.gpus and rate.gpu_s:
        factor = model_factor(recipe.models, rates.score_models) or 1.0
        core_s = rate.start_core_s + rate.gpu_core_s * count
        gpu_s = rate.gpu_s * factor * count / has.gpu_speed
    core_s /= has.core_speed
    traffic_in, traffic_out, site_requests = _internet(name, units, rates.ratios)
    kept, read = rate.kept_bytes * count, rate.read_bytes * count
    files = ceil(units["images"] / PART_IMAGES)
    times = {
        "cores": core_s / (has.cores * has.core_use),
        "GPUs": gpu_s / (has.gpus * has.gpu_use) if gpu_s else 0.0,
        "storage": (kept + read) * 8 / (has.storage_gbit * 1e9),
        "network": (traffic_in + traffic_out) * 8 / (has.internet_gbit * 1e9 * has.internet_use),
    }
    if name == "download":
        largest = units["asked"] * rates.ratios.largest_domain
        times["the largest site"] = largest * recipe.host_interval_s
    bound_by = max(times, key=lambda what: times[what])
    seconds = times[bound_by]
    cost = Cost(
        core_hours=core_s / 3600,
        gpu_hours=gpu_s / 3600,
        network_in=traffic_in,
        network_out=traffic_out,
        kept=kept,
        scratch=shuffled,
        gets=ceil(read / GET_BYTES) + files,
        puts=ceil(kept / PUT_BYTES) + files,
        lists=ceil(files / LIST_NAMES),
        site_requests=site_requests,
        seconds=seconds,
        bound_by=bound_by,
    )
    values = {f.name: getattr(cost, f.name) for f in fields(cost)}
    return Cost(**values | {"money": _money(cost, cluster)})


def _internet(name: str, units: dict[str, float], ratios: Ratios) -> tuple[float, float, float]:
    """(bytes from the net, bytes to it, requests to web servers)."""
    if name == "extract":
        return units["pairs"] * ratios.archive_bytes_per_pair, 0.0, 0.0
    if name == "download":
        requests = units["asked"] * ratios.requests_per_asked
        failed = max(units["asked"] - units["downloaded"], 0.0)
        received = units["downloaded"] * ratios.body_bytes + failed * ratios.failed_bytes
        return received, requests * REQUEST_BYTES, requests
    return 0.0, 0.0, 0.0


def _money(cost: Cost, cluster: Cluster) -> float:
    """Of a stage: all cores are paid for while it runs, GPUs while it uses them."""
    prices, has, hours = cluster.prices, cluster.cluster, cost.seconds / 3600
    gpus = has.gpus if cost.gpu_hours else 0
    money = hours * (has.cores * prices.core_hour + gpus * prices.gpu_hour)
    money += cost.network_in / 1e9 * prices.network_in_gb
    money += cost.network_out / 1e9 * prices.network_out_gb
    money += cost.puts / 1e6 * prices.million_puts + cost.gets / 1e6 * prices.million_gets
    money += cost.lists / 1e6 * prices.million_lists
    if power := cluster.power:
        watt_hours = cost.core_hours * power.core_watts + cost.gpu_hours * power.gpu_watts
        watt_hours += hours * power.idle_watts
        money += watt_hours / 1000 * power.overhead * power.kwh
    return money


def _sum(costs: Sequence[Cost]) -> Cost:
    """Stages follow each other, so that seconds add up; of scratch the largest counts."""
    names = [f.name for f in fields(Cost) if f.name not in ("bound_by", "scratch")]
    values = {name: sum(getattr(cost, name) for cost in costs) for name in names}
    return Cost(**values, scratch=max((cost.scratch for cost in costs), default=0.0))
