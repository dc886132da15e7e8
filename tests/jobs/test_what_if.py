"""`make what-if` refuses early, before Spark starts, and says what is wrong."""

from pathlib import Path

import pytest

from jobs import what_if

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ([], "nothing to vary"),
        (["clip_similarity.low=high"], "no values of TOML"),
        (["clip_similarity.lowest=0.3"], "clip_similarity has low, high"),
        (["semantic_duplicate.epsilon=0.1"], "does not enable [filters.semantic_duplicate]"),
        (["clip_similarity.low='x'"], "filters.clip_similarity.low"),
        (["clip_similarity.low={ keep = 3 }"], "keep = 3"),
        (["clip_similarty.low=0.3"], "clip_similarty"),
        (["clip_similarity.low=0.3"], "which measure has not finished"),
    ],
)
def test_what_cannot_be_told_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sets: list[str], told: str
) -> None:
    run = tmp_path / "run"
    argv = ["--config", str(ROOT / "conf/demo.toml"), "--set", f"run.root={run}"]
    for one in sets:
        argv += ["--set", one]
    assert what_if.main(argv) == 2
    assert told in capsys.readouterr().err
    assert not run.exists()
