"""The examples of the documentation run as they are written."""

import re
from pathlib import Path

import pytest

from tests.shards import plain_release
from tests.stream.test_chaos import SAMPLES

DOC = Path(__file__).resolve().parents[2] / "docs" / "streaming.md"


def test_the_numpy_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_release.write(tmp_path / "runs" / "demo" / "release", SAMPLES[:150], 50)
    monkeypatch.chdir(tmp_path)
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", DOC.read_text(), re.S) if "PIL" in c)
    found: dict[str, object] = {}
    exec(code, found)  # noqa: S102
    assert found["pictures"].shape == (64, 64, 64, 3)  # type: ignore[attr-defined]
    assert len(found["captions"]) == 64 and found["stream"].epoch == 1  # type: ignore
    assert 50 < found["mean"] < 200  # type: ignore[operator]
