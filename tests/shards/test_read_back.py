"""The contract with those who read releases: their own code, unchanged."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from pipeline.stream.reader import Release
from tests.shards import small_run

pytestmark = pytest.mark.spark


def wanted(pairs: list[small_run.Pair]) -> dict[str, tuple[bytes, str]]:
    return {p.key: (p.jpg, p.row["caption"]) for p in pairs if p.is_kept}


def test_webdataset_undecoded_and_decoded(release: Path, pairs: list[small_run.Pair]) -> None:
    import webdataset

    last = len(list(release.glob("*.tar"))) - 1
    url = f"{release}/{{00000..{last:05d}}}.tar"
    found = {
        s["__key__"]: (s["jpg"], s["txt"].decode())
        for s in webdataset.WebDataset(url, shardshuffle=False)
    }
    assert found == wanted(pairs)
    decoded = webdataset.WebDataset(url, shardshuffle=False).decode("pil")
    for image, text, record in decoded.to_tuple("jpg", "txt", "json"):
        assert image.size == (record["width"], record["height"])
        assert text == record["caption"]


def test_huggingface_datasets(release: Path, pairs: list[small_run.Pair], tmp_path: Path) -> None:
    """By its files, as a folder, and streamed."""
    code = """
import json, sys
from datasets import load_dataset
release, cache = sys.argv[1:]
tars = release + "/*.tar"
for how, rows in {
    "files": load_dataset("webdataset", data_files=tars, split="train", cache_dir=cache + "/files"),
    "folder": load_dataset(release, split="train", cache_dir=cache + "/folder"),
    "streamed": load_dataset("webdataset", data_files=tars, split="train", streaming=True),
}.items():
    for row in rows:
        assert row["jpg"].size == (row["json"]["width"], row["json"]["height"]), how
        print(json.dumps([how, row["__key__"], row["txt"], row["json"]]))
"""
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(release), str(tmp_path / "cache")],
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    expected = {k: t for k, (_, t) in wanted(pairs).items()}
    for how in ("files", "folder", "streamed"):
        assert {key: text for by, key, text, _ in rows if by == how} == expected
    assert all(record["key"] == key and None not in record.values() for _, key, _, record in rows)


def test_our_reader_agrees(release: Path, pairs: list[small_run.Pair]) -> None:
    found: dict[str, Any] = {s.key: (s.jpg, s.txt.decode()) for s in Release(str(release))}
    assert found == wanted(pairs)


# Where torchvision's compiled operators do not load (CPU-only builds of torch), its import fails
# unless their schemas exist. The trainer calls none of them.
_TRAIN = """
import sys
import torch
keep = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, name):
        keep.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import open_clip
open_clip.add_model_config(sys.argv[1])
from open_clip_train.main import main
main(sys.argv[2:])
"""
_MODEL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {
        "context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1,
    },
}  # fmt: skip


def test_open_clip_trains_on_it(release: Path, pairs: list[small_run.Pair], tmp_path: Path) -> None:
    # Its [training] extra says so: later ones put end-of-shard marks without a name into the
    # stream, which its own grouping of members does not know.
    assert Version(version("webdataset")) <= Version("0.2.86"), "open_clip_train needs <=0.2.86"
    models = tmp_path / "models"
    models.mkdir()
    (models / "tiny-test.json").write_text(json.dumps(_MODEL))
    last = len(list(release.glob("*.tar"))) - 1
    arguments = {
        "--train-data": f"{release}/{{00000..{last:05d}}}.tar",
        "--dataset-type": "auto",  # by the name's end; the number of samples from sizes.json
        "--model": "tiny-test",
        "--device": "cpu",
        "--precision": "fp32",
        "--batch-size": "8",
        "--epochs": "1",
        "--workers": "0",
        "--warmup": "1",
        "--lr": "0.001",
        "--log-every-n-steps": "1",
        "--logs": str(tmp_path / "logs"),
        "--name": "run",
    }
    done = subprocess.run(
        [sys.executable, "-c", _TRAIN, str(models), *(a for kv in arguments.items() for a in kv)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    log = done.stderr + done.stdout
    assert done.returncode == 0, log[-3000:]
    kept = len(wanted(pairs))
    rounded = -(-kept // 8) * 8
    steps = re.findall(rf"Train Epoch: 0 \[\s*(\d+)/{rounded} .*?Contrastive_loss: ([\d.]+)", log)
    assert [int(at) for at, _ in steps] == list(range(8, rounded + 1, 8))
    assert (tmp_path / "logs" / "run" / "checkpoints" / "epoch_1.pt").exists()
