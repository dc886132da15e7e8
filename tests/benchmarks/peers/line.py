"""The whole line against the glue that people use today: cc2dataset, then img2dataset, then
clip-retrieval, then a script that filters and reshards."""

import glob
import io
import itertools
import json
import random
import shutil
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.core.storage import Store
from pipeline.fakeweb.captions import describe
from pipeline.fakeweb.pictures import sample_scene
from tests.benchmarks import machine, pages
from tests.benchmarks.archives import INPUTS
from tests.benchmarks.download import Served, serving
from tests.benchmarks.peers.compare import ROOT, alternate
from tests.benchmarks.peers.download import IMG2DATASET
from tests.benchmarks.peers.extract import CC2DATASET
from tests.benchmarks.peers.score import CLIP_RETRIEVAL
from tests.benchmarks.score import random_weights

_ITEMS, _HOSTS, _FILES = 200, 200, 4
# As large as COYO-700M's: 622 x 541 pixels on average. Source: its README.
_LEAST_PIXELS, _MOST_PIXELS = 0.1e6, 1e6
_SHAPES = ((4, 3), (3, 4), (3, 2), (2, 3), (1, 1), (16, 9))
# One picture in so many is on a second page, with the same caption.
_REPEATED = 5
_KEEP = 0.5
# What rounding may move over the edge of the half that is kept.
_LEAST_COMMON = 0.97

_RECIPE = """
[extract]
[dedupe]
parts = 2
[download]
allowed_networks = ["127.0.0.1/32"]
placeholder_urls = 0
host_interval_s = 0.0
address_concurrency = 1000
address_interval_s = 0.0
[score]
model = "ViT-B-32"
null_pairs = 0
[shard]
samples_per_shard = 1000
[filters.caption_length]
min_chars = 5
[filters.clip_similarity]
low = { keep = 0.5 }
[filters.near_duplicate]
[filters.captions_per_image]
"""


def run(items: int = _ITEMS) -> dict[str, Any]:
    """Both make a data set of the same WAT files and of pictures behind HTTPS on this machine, with
    the same ViT-B-32 of random weights, and keep the half of the pairs that is most alike. Items are
    the pairs kept, CPU is that of all processes, with the start of Spark and of the models; what the
    server takes is no side's. Equivalent when nearly all pairs are kept by both: at the edge of that
    half, rounding decides. Ours asks for robots.txt, hashes and matches pictures and writes an index
    and a report besides. items: how many pictures; a few hundred tell little but the start.
    """
    bodies = pictures(items)
    with serving("https", items, _HOSTS, bodies=bodies) as served:
        with tempfile.TemporaryDirectory(prefix="pairmill-line-") as name:
            folder = Path(name)
            weights = random_weights("ViT-B-32", folder)
            archives = write_archives(served.urls, folder)
            number = itertools.count()
            kept: dict[str, set[str]] = {}

            def ours() -> dict[str, Any]:
                figures, kept["ours"] = _ours(served, archives, weights, folder / f"{next(number)}")
                return figures

            def peer() -> dict[str, Any]:
                figures, kept["peer"] = _glue(served, archives, weights, folder / f"{next(number)}")
                return figures

            figures = alternate(ours, peer, 1)
    common = len(kept["ours"] & kept["peer"]) / max(1, len(kept["ours"] | kept["peer"]))
    if common < _LEAST_COMMON:
        raise AssertionError(f"only {common:.1%} of what either keeps is kept by both")
    names = [p.packages[0] for p in (CC2DATASET, IMG2DATASET, CLIP_RETRIEVAL)]
    about = {"workload": "line", "peer_name": " + ".join(names), "pictures": items}
    return about | {"kept_by_both": round(common, 4), "summary": _table(figures)} | figures


def _ours(
    served: Served, archives: list[str], weights: Path, folder: Path
) -> tuple[dict[str, Any], set[str]]:
    """One run; its figures, and the captions that it keeps."""
    recipe = folder.with_suffix(".toml")
    recipe.write_text(f'[run]\nroot = "{folder}"\n{_RECIPE}')
    sets = {
        "extract.archives": archives,
        "download.hosts_file": served.config.hosts_file,
        "download.ca_file": served.config.ca_file,
        "download.image_size_px": served.config.image_size_px,
        "download.jpeg_quality": served.config.jpeg_quality,
        "score.pretrained": str(weights),
    }
    command = [str(ROOT / "conf/environment/submit.sh"), str(ROOT / "jobs/run.py")]
    command += ["--config", str(recipe)]
    command += [w for key, value in sets.items() for w in ("--set", f"{key}={json.dumps(value)}")]
    seconds, cpu_seconds = machine.counted(command)
    tars = sorted(glob.glob(f"{folder}/release/*.tar"))
    found = _captions(tars)
    records = [json.loads(p.read_text()) for p in sorted((folder / "_stages").glob("*.json"))]
    stages = {r["stage"]: r.get("cpu_seconds", 0.0) for r in records}
    stages["start"] = cpu_seconds - sum(stages.values())
    return _figures(found, seconds, cpu_seconds, stages), found


def _glue(
    served: Served, archives: list[str], weights: Path, folder: Path
) -> tuple[dict[str, Any], set[str]]:
    """The tools one after the other; figures, and the captions that are left."""
    for name in ("tars", "embedded"):
        (folder / name).mkdir(parents=True)
    side = ROOT / "tests" / "benchmarks" / "peers"
    spark = ["env", f"PYSPARK_PYTHON={CC2DATASET.python()}", CC2DATASET.python()]
    clip_side = [CLIP_RETRIEVAL.python(), side / "clip_retrieval_side.py"]
    pairs, tars, embedded, out = (folder / n for n in ("pairs", "tars", "embedded", "out"))
    size, quality = served.config.image_size_px, served.config.jpeg_quality
    img2dataset = [IMG2DATASET.python(), side / "img2dataset_side.py"]
    recipe = [served.authorities, str(size), str(quality)]
    steps: dict[str, list[str | Path]] = {
        "cc2dataset": [
            *(*spark, side / "cc2dataset_side.py", "line"),
            *(sysconfig.get_path("purelib"), pairs, *archives),
        ],
        "img2dataset": [*img2dataset, pairs, *recipe, tars],
        "clip-retrieval": [*clip_side, "line", tars, weights, embedded],
        "script": [clip_side[0], side / "reshard_side.py", tars, embedded, out, str(_KEEP)],
    }
    used = {name: machine.counted(command) for name, command in steps.items()}
    found = _captions(sorted(glob.glob(f"{out}/*.tar")))
    cpu = {name: cpu_seconds for name, (_, cpu_seconds) in used.items()}
    shutil.rmtree(folder)
    return _figures(found, sum(wall for wall, _ in used.values()), sum(cpu.values()), cpu), found


def _figures(
    kept: set[str], seconds: float, cpu_seconds: float, steps: dict[str, float]
) -> dict[str, Any]:
    """steps: CPU seconds of each."""
    return {
        "items": len(kept),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "cpu_seconds_per_kept_pair": round(cpu_seconds / max(1, len(kept)), 4),
        "cpu_seconds_by_step": {name: round(value, 1) for name, value in steps.items()},
    }


def _captions(tars: Sequence[str]) -> set[str]:
    """All captions, of which each names its picture here."""
    found = set()
    for name in tars:
        with tarfile.open(name) as tar:
            for member in tar:
                if member.name.endswith(".txt"):
                    file = tar.extractfile(member)
                    assert file is not None
                    found.add(file.read().decode())
    return found


def _table(figures: dict[str, Any]) -> str:
    lines = [f"line: {figures['ratio']:.2f} times fewer CPU seconds per kept pair"]
    for side in ("ours", "peer"):
        told = figures[side][0]
        steps = ", ".join(f"{n} {s:.0f}" for n, s in told["cpu_seconds_by_step"].items())
        lines.append(
            f"  {side}: {told['items']:,} kept, {told['cpu_seconds']:.0f} CPU s, "
            f"{told['seconds']:.0f} s by the clock ({steps})"
        )
    return "\n".join(lines)


class _Listed(pages.Page):
    """A page that shows given pictures, each after one without a caption."""

    def __init__(self, number: int, shown: Iterator[tuple[str, str]]) -> None:
        super().__init__(number)
        self._shown, self._is_shown = shown, False

    def image(self) -> tuple[str, str]:
        """(URL without its suffix, caption)."""
        self._is_shown = not self._is_shown
        found = next(self._shown, None) if self._is_shown else None
        return found or (f"/icons/{self.slug(2)}", "")

    def metas(self) -> list[dict[str, str]]:
        """Without what one side alone heeds: og:image, which this web does not serve, and opt-outs."""
        unfair = ("og:image", "og:image:alt", "robots")
        return [m for m in super().metas() if (m.get("property") or m["name"]) not in unfair]


def write_archives(urls: Sequence[str], folder: Path) -> list[str]:
    """WAT files of pages that show these pictures, seven a page beside as many without a caption and
    a hundred links; each picture has a caption of its own."""
    rng = np.random.default_rng(0)
    listed = []
    for i, url in enumerate(urls):
        caption = f"{describe(sample_scene(rng), 'en', rng)} {i}"
        listed += [(url.removesuffix(".jpg"), caption)] * (2 if i % _REPEATED == 0 else 1)
    random.Random(0).shuffle(listed)
    shown = iter(listed)
    paths = [folder / f"{number:05d}.warc.wat.gz" for number in range(_FILES)]
    files = [path.open("wb") for path in paths]
    for number in range(len(listed) // 7 + 2):
        files[number % _FILES].writelines(pages.wat_of(_Listed(number, shown)))
    for file in files:
        file.close()
    if next(shown, None) is not None:
        raise AssertionError("pictures are left that no page shows")
    return [str(path) for path in paths]


def pictures(count: int) -> list[Path]:
    """Files of distinct JPEGs, in build/bench/inputs: blobs at every scale, and noise."""
    folder = INPUTS / "line-pictures"
    folder.mkdir(parents=True, exist_ok=True)
    tile = np.random.default_rng(0).normal(0, 5, (1500, 1500, 1)).astype(np.float32)
    paths = [folder / f"{number:06d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            data = _picture(np.random.default_rng(number), tile)
            with Store(str(folder)).publish(path.name) as file:
                file.write(data)
    return paths


def _picture(rng: np.random.Generator, tile: np.typing.NDArray[np.float32]) -> bytes:
    across, down = _SHAPES[rng.integers(len(_SHAPES))]
    area = np.exp(rng.uniform(np.log(_LEAST_PIXELS), np.log(_MOST_PIXELS)))
    side = np.sqrt(area / (across * down))
    width, height = round(across * side), round(down * side)
    coarse = np.zeros((120, 120, 3), np.float32)
    for cells in (3, 8, 20, 50, 120):
        blobs = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        coarse += np.asarray(blobs.resize((120, 120), Image.Resampling.BICUBIC), np.float32) / 5
    small = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
    whole = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    y, x = rng.integers(tile.shape[0] - height), rng.integers(tile.shape[1] - width)
    noisy = whole + tile[y : y + height, x : x + width]
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=78)
    return file.getvalue()
