"""The hashes that match is measured on, and the forecast from what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.match.blocks import MEASURED, Rates, choose_plan, make_plan
from tests.benchmarks import hashes as made
from tests.benchmarks import match_plan


def test_made_hashes_are_balanced_clustered_and_hot() -> None:
    words, of = made.hashes(np.arange(100_000), 100_000)
    assert (np.bitwise_count(words) == 32).all()
    copies = of != np.arange(100_000)
    assert copies.mean() == pytest.approx(0.3, abs=0.001)
    distance = np.bitwise_count(words[copies] ^ words[of[copies]])
    assert set(np.unique(distance).tolist()) == {2, 4}
    assert not copies[of].any()
    assert np.bincount(of).max() > 5
    keys = words[~copies] & make_plan(4, 6).mask_array[0]
    assert np.unique(keys, return_counts=True)[1].max() / len(keys) == pytest.approx(0.01, rel=0.1)
    some = np.array([70_123, 3, 99_999])
    assert (made.hashes(some, 100_000)[0] == words[some]).all()


def test_forecast_takes_what_was_measured_and_leaves_out_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(match_plan, "OUT", tmp_path)
    assert match_plan.measured_rates()[0] == MEASURED
    (tmp_path / "match-kernel.json").write_text(json.dumps({"comparisons_per_second": 1e9}))
    sizes = [
        {"items": 10, "cpu_seconds": 30 + 5 + 2, "comparisons": 5e9, "rows": 1e7},
        {"items": 40, "cpu_seconds": 30 + 80 + 8, "comparisons": 80e9, "rows": 4e7},
    ]
    (tmp_path / "match-search.json").write_text(json.dumps({"sizes": sizes}))
    rates = match_plan.measured_rates()[0]
    assert rates == pytest.approx(Rates(row=2e-7, comparison=1e-9))
    assert match_plan.main(["--hashes", "1e9", "--radius", "4"]) == 0
    (plan,) = json.loads((tmp_path / "match-plan.json").read_text())["plans"]
    chosen = choose_plan(10**9, 4, rates)
    assert plan["tables"] == len(chosen.masks)
    assert plan["core_hours"] == pytest.approx(
        (1e9 * len(chosen.masks) * 2e-7 + plan["comparisons"] * 1e-9) / 3600
    )
    assert plan["shuffle_bytes"] == 8e9 * len(chosen.masks)
    assert "1,000,000,000" in capsys.readouterr().out
