"""The whole line on a small embedded web, as a user runs it: spark-submit in a process of its own.

One run on two cores is held against the ground truth; a run on one core that is killed in the middle
of three stages must give the same bytes.
"""

import hashlib
import json
from pathlib import Path

import pytest

from jobs import plan
from jobs.line import run_stages
from pipeline.core.reasons import Status
from pipeline.stages.line import LINE
from pipeline.stages.plan_files import load_rates
from tests.conftest import ROOT, Milled
from tests.leaks import SECRETS, captions_in, files_with
from tests.submitted import demo, finish, kill, wait_for

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1200)]


def tar_hashes(root: Path) -> dict[str, str]:
    tars = sorted((root / "release").glob("*.tar"))
    assert tars
    return {t.name: hashlib.sha256(t.read_bytes()).hexdigest() for t in tars}


@pytest.fixture(scope="module")
def truth(milled: Milled) -> dict[str, float]:
    """The evaluation the run stored."""
    return dict(json.loads((milled.root / "evaluation.json").read_text()))


def test_end_tells_funnel_quality_and_how_to_read(milled: Milled) -> None:
    for part in ("Funnel", "ground truth", "report.html", "webdataset"):
        assert part in milled.output
    assert str(milled.root / "release") in milled.output


def test_nothing_beside_the_tables_holds_a_credential_or_a_caption(milled: Milled) -> None:
    for secret in SECRETS.values():
        assert secret not in milled.output and not files_with(milled.root, secret)
    assert not captions_in(milled.root, milled.output)


def test_every_pair_the_pages_hold_is_found(truth: dict[str, float]) -> None:
    assert truth["extract.recall"] == 1.0
    assert truth["extract.precision"] == 1.0


def test_nothing_forbidden_is_requested_and_hosts_are_not_crowded(truth: dict[str, float]) -> None:
    assert truth["consent.forbidden_requested"] == 0
    assert truth["consent.withheld_stored"] == 0
    assert truth["server.max_open_per_host"] <= 4  # download.host_concurrency
    assert truth["server.max_open"] <= truth["server.limit_address_concurrency"]
    assert truth["server.robots_sites"] > 50


def test_every_hostile_case_ends_in_its_own_status(truth: dict[str, float]) -> None:
    cases = [key.split(".") for key in truth if key.startswith("download.") and key.count(".") == 3]
    assert len(cases) >= 30
    assert [case for case in cases if case[2] != case[3]] == []
    assert truth["download.unknown"] == truth["download.missed"] == 0


def test_near_duplicates_are_found_and_unrelated_pictures_are_not(truth: dict[str, float]) -> None:
    assert truth["match.copy.recall"] == 1.0
    assert truth["match.resize.recall"] >= 0.99
    assert truth["match.recompress.recall"] >= 0.99
    assert truth["match.unrelated_pictures_matched"] == 0


def test_similarity_separates_right_from_wrong_captions(truth: dict[str, float]) -> None:
    for area in ("score.auc", "score.auc_en", "score.auc_ko"):
        assert truth[area] >= 0.9
    assert truth["decide.precision"] >= 0.95
    assert truth["decide.right_captions_passed"] >= 0.9


@pytest.mark.long
def test_killed_in_download_score_and_shard_on_one_core_gives_the_same_bytes(
    milled: Milled, tmp_path: Path
) -> None:
    root = tmp_path / "killed"
    sets = (f"run.root={root}", *milled.sets)
    for stage, sign in (
        ("download", ["raw/.writing-*", "raw/part-*"]),
        ("score", ["embeddings/.writing-*", "embeddings/part-*.parquet"]),
        ("shard", ["release.building/*.tar", "release.building/.writing-*"]),
    ):
        process = demo(sets, cores=1)
        wait_for(lambda: any(next(root.glob(p), None) for p in sign), f"{sign}", process)
        kill(process)
        record = json.loads((root / "_stages" / f"{stage}.json").read_text())
        assert record["state"] == "started", f"{stage} was not cut"
        assert not (root / "release").exists()
    finish(demo(sets, cores=1, job="shard"))  # a report changes no tar
    assert tar_hashes(root) == tar_hashes(milled.root)
    assert not list(root.rglob(".writing-*"))


def again(milled: Milled, *overrides: str) -> int:
    """Run the line in the folder of the finished run, in this process; its exit status."""
    sets = (f"run.root={milled.root}", *milled.sets, *overrides)
    argv = ["--config", str(ROOT / "conf/demo.toml"), *(w for s in sets for w in ("--set", s))]
    return run_stages(*(stage.name for stage in LINE), argv=argv)


def test_second_run_skips_everything(milled: Milled, capsys: pytest.CaptureFixture[str]) -> None:
    before = tar_hashes(milled.root)
    assert again(milled) == 0
    assert capsys.readouterr().err.count("done before, skipped") == 10
    assert tar_hashes(milled.root) == before


def test_other_config_in_the_same_folder_is_refused(
    milled: Milled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert again(milled, "match.radius=2") != 0
    told = capsys.readouterr().err
    assert "match.radius: 4 -> 2" in told and "Traceback" not in told


def test_every_status_is_from_the_vocabulary(milled: Milled) -> None:
    record = json.loads((milled.root / "_stages" / "download.json").read_text())
    for account in record["accounts"]:
        assert set(account["dropped"]) <= {str(status) for status in Status}


def test_a_run_is_what_a_plan_is_made_from(
    milled: Milled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, rates = str(milled.root), tmp_path / "rates.toml"
    assert plan.main(["--run", root, "--write-rates", str(rates)]) == 0
    made = load_rates(str(rates))
    record = json.loads((milled.root / "_stages" / "dedupe.json").read_text())
    pairs, images = record["accounts"]
    assert made.ratios.images_per_pair == pytest.approx(images["kept"] / pairs["in"])
    # The run itself, planned by its own rates: as much as it took, and as much as it kept.
    cluster = str(ROOT / "conf" / "clusters" / "workstation.toml")
    given = ["--pairs", str(pairs["in"]), "--cluster", cluster]
    assert plan.main([*given, "--run", root]) == plan.main([*given, "--rates", str(rates)]) == 0
    told = capsys.readouterr().out
    assert f"the run in {milled.root}" in told
    raw = sum(tar.stat().st_size for tar in (milled.root / "raw").iterdir())
    assert raw < made.stages["download"].kept_bytes * images["kept"] < 1.5 * raw
    assert made.score_models == ("pairmill-tiny",)
