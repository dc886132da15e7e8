"""Every block of Python in the documentation runs, on a small release where it names one."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.core.ids import image_id, pair_id
from pipeline.stream.loader import Stream
from tests.docs.commands import PAGES, ROOT
from tests.shards import plain_release

_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(page, found[1], id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, found in enumerate(_BLOCK.finditer(page.read_text("utf-8")))
]
# The releases that the pages speak of, all of as many shards as the demo's.
_RELEASES = ("runs/demo/release", "runs/korean-demo/release", "runs/coyo/release")
_SHARDS, _PER_SHARD = 7, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    samples = []
    for number in range(_SHARDS * _PER_SHARD):
        file = io.BytesIO()
        Image.new("RGB", (64, 48), (number, 90, 160)).save(file, "JPEG")
        text = f"picture {number}"
        key = pair_id(image_id(f"https://a.example/{number}.jpg"), text).hex()
        samples.append((key, file.getvalue(), text.encode(), b"{}"))
    for name in _RELEASES:
        plain_release.write(folder / name, sorted(samples), _PER_SHARD, with_coyo=True)
    return folder


def test_there_are_such_blocks() -> None:
    assert len(BLOCKS) >= 6


@pytest.mark.parametrize(("page", "code"), BLOCKS)
def test_it_runs(page: Path, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    stream = Stream("runs/demo/release", 4096, seed=0)
    states: list[Any] = []
    # What a page leaves to its reader.
    names: dict[str, Any] = {
        "__name__": "a_page",
        "model": None,
        "save": lambda model, state: states.append(state),
        "to_tensors": lambda batch: batch.keys,
        "saved": stream.state_dict(),
    }
    stream.close()
    exec(compile(code.replace("s3://bucket/release", _RELEASES[0]), str(page), "exec"), names)  # noqa: S102
    for name, wanted in (("rows", len), ("dataset", lambda made: sum(map(len, made)))):
        if name in names:
            assert wanted(names[name]) == _SHARDS * _PER_SHARD
    if "captions" in names:
        assert names["captions"] and all(t.startswith("picture ") for t in names["captions"])
    assert "save(" not in code or states
