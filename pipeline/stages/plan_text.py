"""A plan as text for the console: the funnel, the stages, and everything that was assumed."""

from collections.abc import Sequence
from math import log10

from pipeline.match.blocks import choose_plan
from pipeline.match.radius import random_neighbours
from pipeline.stages import plan
from pipeline.stages.plan import Cost, Plan, Recipe, model_factor
from pipeline.stages.plan_files import Cluster, Rates, StageRate

_FUNNEL = {
    "records": "archive records read",
    "pairs": "pairs found",
    "images": "images after dedupe",
    "asked": "asked for",
    "downloaded": "downloaded",
    "pictures": "distinct pictures matched",
    "scored_pictures": "pictures scored",
    "scored_captions": "captions scored",
    "measured": "pairs measured",
    "kept": "pairs kept",
}
_COLUMNS = (
    ("core-h", 8),
    ("GPU-h", 8),
    ("net in", 8),
    ("net out", 8),
    ("kept", 8),
    ("shuffle", 8),
    ("GETs", 7),
    ("PUTs", 7),
    ("LISTs", 7),
    ("sites", 7),
    ("time", 10),
    ("money", 9),
)
# Published runs, for orientation. Sources: img2dataset's and cc2dataset's READMEs, the DataComp
# paper (arXiv 2304.14108), clip-retrieval's README, COYO-700M's README.
PUBLISHED = (
    "cc2dataset: 5 M WAT files in 70,000 core-hours ($2,800), 100 TB of shuffle, 88 B pairs",
    "img2dataset, LAION-5B: 5.8 B pictures in 7 days on 160 vCPUs (26,900 core-hours, about $1,100 "
    "at $0.68 an hour of 16), 9,500 a second, 240 TB",
    "DataComp: 88 B pairs, 40 B asked for, 16.8 B downloaded, 13.1 B in the pool of 450 TB",
    "clip-retrieval: 1,500 pictures a second on one RTX 3080 by ViT-B/32: 5.8 B in 1,070 GPU-hours",
    "COYO-700M: 747 M kept of some 10 B pairs",
)


def render(found: Plan, cluster: Cluster, rates: Rates, recipe: Recipe, name: str) -> str:
    """The whole of it. name: of the cluster."""
    money = cluster.prices.currency
    lines = [f"{_count(found.quantities['pairs'])} pairs on {name}: {cluster.cluster.about}", ""]
    lines += _funnel(found)
    lines += ["", f"{'stage':9}" + "".join(f"{title:>{wide}}" for title, wide in _COLUMNS)]
    lines += [_row(stage, cost) for stage, cost in found.stages.items()]
    lines += [_row("all", found.total), ""]
    total = found.total.money + found.storage_money
    lines += [
        f"{money} {total:,.0f} in all: {found.total.money:,.0f} for the work, "
        f"{found.storage_money:,.0f} for keeping {_bytes(found.total.kept)} "
        f"for {cluster.prices.months:g} month(s)",
    ]
    lines += [f"! {warning}" for warning in _warnings(found, cluster, rates, recipe)]
    lines += ["", "Assumed", *(f"  {line}" for line in _assumed(cluster, rates, recipe, found))]
    lines += ["", "Published, for orientation", *(f"  {line}" for line in PUBLISHED)]
    return "\n".join(lines)


def _funnel(found: Plan) -> list[str]:
    whole = found.quantities["pairs"]
    return [
        f"  {title:26} {_count(found.quantities[key]):>8}  {found.quantities[key] / whole:7.2%}"
        for key, title in _FUNNEL.items()
    ]


def _row(stage: str, cost: Cost) -> str:
    cells = [
        _count(cost.core_hours),
        _count(cost.gpu_hours),
        *(_bytes(b) for b in (cost.network_in, cost.network_out, cost.kept, cost.scratch)),
        *(_count(n) for n in (cost.gets, cost.puts, cost.lists, cost.site_requests)),
        _time(cost.seconds),
        f"{cost.money:,.0f}",
    ]
    by = f"  {cost.bound_by}" if cost.bound_by else ""
    row = "".join(f"{c:>{wide}}" for c, (_, wide) in zip(cells, _COLUMNS, strict=True))
    return f"{stage:9}{row}{by}"


def _warnings(found: Plan, cluster: Cluster, rates: Rates, recipe: Recipe) -> list[str]:
    warnings = []
    has = cluster.cluster
    if found.total.scratch > has.scratch_tb * 1e12:
        warnings.append(
            f"the largest shuffle, {_bytes(found.total.scratch)}, is more than "
            f"cluster.scratch_tb = {has.scratch_tb:g}"
        )
    if 0 < has.storage_tb < found.total.kept / 1e12:
        warnings.append(
            f"what is kept, {_bytes(found.total.kept)}, is more than cluster.storage_tb = "
            f"{has.storage_tb:g}"
        )
    if model_factor(recipe.models, rates.score_models) is None:
        warnings.append(
            f"the work of {', '.join(recipe.models)} over {', '.join(rates.score_models)} is not "
            "known: score is planned as for the latter; run a sample and give RUN="
        )
    pictures = int(found.quantities["pictures"])
    if (neighbours := random_neighbours(pictures, recipe.radius)) > 0.01:
        warnings.append(
            f"match.radius = {recipe.radius}: {neighbours:.2g} unrelated pictures are expected "
            f"within it of each of {_count(pictures)}"
        )
    return warnings


def _assumed(cluster: Cluster, rates: Rates, recipe: Recipe, found: Plan) -> list[str]:
    has, prices, ratios = cluster.cluster, cluster.prices, rates.ratios
    pictures = int(found.quantities["pictures"])
    tables = choose_plan(pictures, recipe.radius) if pictures > 1 else None
    lines = [
        f"cluster: {has.cores:,} cores of {has.core_speed:g} times the speed that the rates are "
        f"of, {has.core_use:.0%} of the time at work; {has.gpus:,} GPUs ({has.gpu_speed:g}, "
        f"{has.gpu_use:.0%}); {has.internet_gbit:g} Gbit/s to the net, {has.internet_use:.0%} "
        f"used; {has.storage_gbit:g} Gbit/s to storage",
        f"prices ({prices.checked}): {prices.source}",
        _told("prices", prices.model_dump(exclude={"source", "checked", "currency"})),
    ]
    if cluster.power:
        lines.append(_told("power", cluster.power.model_dump()))
    lines += [
        "money: all cores are paid for while a stage runs, GPUs while score runs; stages follow "
        "each other",
        f"ratios: {ratios.source}",
        _told("ratios", ratios.model_dump(exclude={"source"})),
        f"requests: parts of {plan.PART_IMAGES:,} images, reads of {plan.GET_BYTES >> 20} MiB, "
        f"writes of {plan.PUT_BYTES >> 20} MiB, {plan.REQUEST_BYTES} bytes a request to a site",
    ]
    if ratios.largest_domain:
        lines.append(f"the largest site is asked once in {recipe.host_interval_s:g} s")
    else:
        lines.append("how much the largest site holds is not known: it may take the longest")
    if tables:
        lines.append(
            f"match: radius {recipe.radius}, {len(tables.masks)} tables, {rates.row_s * 1e9:.0f} "
            f"ns a row, {rates.comparison_s * 1e9:.2f} ns a comparison"
        )
    lines.append(
        f"score: {', '.join(recipe.models)}, by rates of {', '.join(rates.score_models)}; a "
        f"caption is {rates.caption_weight:g} of a picture"
    )
    for stage in found.stages:
        rate = rates.stages[stage]
        growth = f"{rate.per}" if rate.power == 1 else f"{rate.per}^{rate.power:g}"
        growth += " and its block tables" if stage == "match" else ""
        lines.append(
            f"{stage}: grows with {growth}; {_core(rate)}, "
            f"{rate.shuffle_bytes:.0f} bytes shuffled, {rate.read_bytes:.0f} read, "
            f"{rate.kept_bytes:.0f} kept each; {rate.start_core_s:g} core-s to start "
            f"({rate.source})"
        )
    return lines


def _core(rate: StageRate) -> str:
    if rate.power != 1:
        return f"{rate.core_s:.2g} core-s"
    micro = rate.core_s * 1e6
    return f"{micro:.3g} core-microseconds" if micro < 1000 else f"{micro / 1000:.3g} core-ms"


def _told(what: str, values: dict[str, object]) -> str:
    told = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()]
    return f"{what}: {', '.join(told)}"


def _scaled(value: float, units: Sequence[str]) -> str:
    if value < 1:
        return "0" if value < 0.05 else f"{value:.1f}"
    power = min(int(log10(value) // 3), len(units) - 1)
    scaled = value / 1000**power
    return f"{scaled:.3g}{units[power]}" if scaled < 1000 else f"{scaled:.0f}{units[power]}"


def _count(value: float) -> str:
    return _scaled(value, ("", " k", " M", " B", " T"))


def _bytes(value: float) -> str:
    return _scaled(value, (" B", " KB", " MB", " GB", " TB", " PB"))


def _time(seconds: float) -> str:
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
