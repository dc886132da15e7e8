"""What a plan says of quantities, costs and money, and which files it refuses."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import plan as job
from pipeline.core.errors import ConfigError
from pipeline.match.blocks import Rates as BlockRates
from pipeline.match.blocks import choose_plan
from pipeline.stages.plan import Recipe, model_factor, plan, stage_work
from pipeline.stages.plan_files import (
    Cluster,
    Machines,
    Power,
    Prices,
    load_cluster,
    load_rates,
    to_toml,
)
from pipeline.stats.funnel import ORDER

CONF = Path(__file__).resolve().parents[2] / "conf"
RATES = load_rates(str(CONF / "rates" / "measured.toml"))
RECIPE = Recipe(4, ("ViT-B-32",))
FREE = Prices(currency="EUR", source="none", checked="2026")


def machines(**more: float) -> Machines:
    given = {"cores": 10, "core_use": 1, "internet_gbit": 1e9, "storage_gbit": 1e9}
    return Machines.model_validate({"about": "x", "scratch_tb": 1e9} | given | more)


def cluster(prices: Prices = FREE, power: Power | None = None, **more: float) -> Cluster:
    return Cluster(cluster=machines(**more), prices=prices, power=power)


@pytest.mark.parametrize("path", sorted((CONF / "clusters").glob("*.toml")), ids=lambda p: p.stem)
def test_every_cluster_of_the_project_is_planned_for(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.main(["--pairs", "10e9", "--cluster", str(path)]) == 0
    told = capsys.readouterr().out
    for needed in (*ORDER[:5], "core-h", "Assumed", "downloaded_per_image", "LAION-5B"):
        assert needed in told


@given(st.floats(1e4, 1e11), st.floats(1.5, 10))
def test_all_but_match_and_the_start_grow_in_proportion(pairs: float, times: float) -> None:
    small, large = (plan(n, cluster(), RATES, RECIPE) for n in (pairs, pairs * times))
    for name, cost in small.stages.items():
        start = RATES.stages[name].start_core_s / 3600
        grown = large.stages[name]
        if name != "match":
            assert grown.core_hours - start == pytest.approx((cost.core_hours - start) * times)
        assert grown.network_in == pytest.approx(cost.network_in * times)
        assert grown.kept == pytest.approx(cost.kept * times)


def test_match_grows_by_its_block_tables() -> None:
    rate, prices = RATES.stages["match"], BlockRates(RATES.row_s, RATES.comparison_s)
    for pictures in (10**6, 10**9, 10**10):
        core_s, shuffled = stage_work("match", pictures, rate, RATES, RECIPE)
        tables = choose_plan(pictures, RECIPE.radius)
        own = rate.start_core_s + rate.core_s * pictures
        assert core_s == pytest.approx(own + tables.seconds(pictures, prices))
        assert shuffled > tables.shuffle_bytes(pictures)


def test_totals_are_sums_but_for_scratch() -> None:
    found = plan(1e9, cluster(), RATES, RECIPE)
    stages = found.stages.values()
    assert "cluster" not in found.stages
    assert found.total.core_hours == pytest.approx(sum(c.core_hours for c in stages))
    assert found.total.seconds == pytest.approx(sum(c.seconds for c in stages))
    assert found.total.scratch == max(c.scratch for c in stages)
    assert "cluster" in plan(1e9, cluster(), RATES, Recipe(4, ("ViT-B-32",), 0.1, True)).stages


def test_what_takes_longest_is_what_a_stage_waits_for() -> None:
    def of(**more: float) -> tuple[str, float]:
        cost = plan(1e9, cluster(**more), RATES, RECIPE).stages["download"]
        return cost.bound_by, cost.seconds

    work = plan(1e9, cluster(), RATES, RECIPE).stages["download"]
    assert of() == ("cores", pytest.approx(work.core_hours * 360))
    assert of(core_speed=2)[1] == pytest.approx(work.core_hours * 180)
    moved = (work.network_in + work.network_out) * 8
    assert of(internet_gbit=0.1, internet_use=0.5) == ("network", pytest.approx(moved / 0.05e9))
    assert of(storage_gbit=1e-4)[0] == "storage"
    ratios = RATES.ratios.model_copy(update={"largest_domain": 0.5})
    rates = RATES.model_copy(update={"ratios": ratios})
    cost = plan(1e9, cluster(cores=10**6), rates, Recipe(4, ("ViT-B-32",), 2.0)).stages["download"]
    asked = 1e9 * ratios.images_per_pair * ratios.asked_per_image
    assert (cost.bound_by, cost.seconds) == ("the largest site", pytest.approx(asked))


def test_money_is_time_network_requests_energy_and_storage() -> None:
    prices = Prices(
        **FREE.model_dump(exclude={"core_hour", "network_out_gb", "million_puts"}),
        core_hour=0.5,
        network_out_gb=2,
        million_puts=7,
    )
    cost = plan(1e9, cluster(prices), RATES, RECIPE).stages["download"]
    paid = cost.seconds / 3600 * 10 * 0.5 + cost.network_out / 1e9 * 2 + cost.puts / 1e6 * 7
    assert cost.money == pytest.approx(paid)

    power = Power(core_watts=10, idle_watts=100, overhead=1.5, kwh=0.2)
    cost = plan(1e9, cluster(power=power), RATES, RECIPE).stages["download"]
    watt_hours = cost.core_hours * 10 + cost.seconds / 3600 * 100
    assert cost.money == pytest.approx(watt_hours * 1.5 / 1000 * 0.2)

    stored = FREE.model_copy(update={"stored_gb_month": 0.02, "months": 3})
    found = plan(1e9, cluster(stored), RATES, RECIPE)
    assert found.storage_money == pytest.approx(found.total.kept / 1e9 * 0.06)


def test_gpus_take_the_model_off_the_cores() -> None:
    without = plan(1e8, cluster(), RATES, RECIPE).stages["score"]
    with_gpus = plan(1e8, cluster(gpus=4), RATES, RECIPE).stages["score"]
    faster = plan(1e8, cluster(gpus=4, gpu_speed=2), RATES, RECIPE).stages["score"]
    assert without.gpu_hours == 0 < with_gpus.gpu_hours == pytest.approx(2 * faster.gpu_hours)
    assert with_gpus.core_hours < without.core_hours / 10


def test_larger_models_take_more() -> None:
    assert model_factor(("a",), ("a",)) == 1
    assert model_factor(("ViT-L-14-quickgelu",), ("ViT-B-32",)) == pytest.approx(11.86, abs=0.01)
    assert model_factor(("ViT-B-32", "ViT-L-14"), ("ViT-B-32",)) == pytest.approx(12.86, abs=0.01)
    assert model_factor(("unheard-of",), ("ViT-B-32",)) is None
    costs = [
        plan(1e8, cluster(), RATES, Recipe(4, models)).stages["score"].core_hours
        for models in (("ViT-B-32",), ("ViT-L-14",))
    ]
    assert 10 < costs[1] / costs[0] < 12


def test_a_model_of_unknown_cost_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--pairs", "1e6", "--cluster", str(CONF / "clusters" / "cloud.toml")]
    assert job.main([*given, "--config", str(CONF / "demo.toml")]) == 0
    assert "pairmill-tiny" in capsys.readouterr().out.split("Assumed")[0]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ["cluster is required", "prices is required"]),
        ("[cluster]\ncore = 3\n", ["cluster.core", "did you mean cores", "internet_gbit"]),
        ("[cluster]\ncores = 0\n", ["cluster.cores = 0"]),
        ("[price]\n", ["price", "did you mean prices"]),
        (
            "[prices]\ncurrency = 'x'\nsource = ''\nchecked = ''\ncore_hour = -1\n",
            ["core_hour = -1"],
        ),
        ("[power]\n", ["power.core_watts is required"]),
        ("cores = [", ["not readable TOML"]),
    ],
)
def test_a_bad_cluster_is_refused_with_its_key(tmp_path: Path, text: str, named: list[str]) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_cluster(str(file))
    for name in [str(file), *named]:
        assert name in str(error.value)


def test_rates_travel_whole_and_lack_no_stage(tmp_path: Path) -> None:
    file = tmp_path / "rates.toml"
    file.write_text(to_toml(RATES))
    assert load_rates(str(file)) == RATES
    file.write_text(to_toml(RATES).replace("[stages.match]", "[stages.mtach]"))
    with pytest.raises(ConfigError, match=r"missing \['match'\]; unknown \['mtach'\]"):
        load_rates(str(file))
    file.write_text(to_toml(RATES).replace("per = " + json.dumps("records"), 'per = "pages"'))
    with pytest.raises(ConfigError, match="stages.extract.per"):
        load_rates(str(file))


@pytest.mark.parametrize("pairs", ["", "many", "0", "-3", "nan", "inf", "1e40"])
def test_a_number_that_is_none_is_refused(pairs: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--pairs", pairs, "--cluster", str(CONF / "clusters" / "cloud.toml")]
    assert job.main(given) == 2
    assert "10e9" in capsys.readouterr().err


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = str(CONF / "clusters" / "cloud.toml")
    assert job.main(["--pairs", "1", "--cluster", cluster, "--run", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
