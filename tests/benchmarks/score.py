"""score: pictures and captions through the embedding path, on one core."""

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.core import raw
from pipeline.core.ids import text_id
from pipeline.core.storage import Store
from pipeline.core.vectors import pack, similarity
from pipeline.fakeweb.captions import describe
from pipeline.fakeweb.pictures import render, sample_scene
from pipeline.score import clip
from pipeline.score.embed import embed_captions, embed_pictures
from pipeline.score.fresh import Job
from pipeline.score.inputs import INPUTS
from pipeline.score.models import Spec, load
from pipeline.score.scorers import Scorers

BATCH = 64
_DRAWN = 64  # distinct pictures; more rows read them again, which costs the same


def stored_pairs(count: int) -> tuple[Store, pa.Table]:
    """A raw tar's worth of JPEGs, and rows of INPUTS: `count` pictures and `count` captions."""
    rng = np.random.default_rng(0)
    tar, places, rows = io.BytesIO(), [], []
    raw_tar = raw.RawTar(tar)
    for i in range(min(count, _DRAWN)):
        jpeg = io.BytesIO()
        Image.fromarray(render(sample_scene(rng), 512, 384)).save(jpeg, "JPEG", quality=90)
        image_id, data = i.to_bytes(16), jpeg.getvalue()
        places.append((image_id, raw_tar.append(image_id, data), len(data)))
    for i in range(count):
        image_id, offset, size = places[i % len(places)]
        caption = f"{describe(sample_scene(rng), 'en', rng)} {i}"
        rows.append(("image", i.to_bytes(16), image_id, 0, offset, size, False, None, None, 0))
        rows.append(("text", text_id(caption), None, None, None, None, False, caption, None, 0))
    columns = [pa.array(list(c), f.type) for c, f in zip(zip(*rows), INPUTS.schema, strict=True)]
    store = Store("memory://bench-score")
    with store.publish(raw.path(0)) as file:
        file.write(tar.getvalue())
    return store, pa.Table.from_arrays(columns, schema=INPUTS.schema)


def random_weights(model: str, folder: Path) -> Path:
    """A weight file of a model that was never trained: speed does not depend on the values."""
    import torch

    torch.manual_seed(0)
    path = folder / f"{model}.pt"
    torch.save(clip.import_open_clip().create_model(model).state_dict(), path)
    return path


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def embed_rate(spec: Spec, count: int) -> dict[str, float]:
    """Pictures and captions embedded per second, pairs per second of both, and what they took."""
    store, rows = stored_pairs(count)
    kinds = np.array(rows.column("kind").to_pylist())
    images, texts = rows.filter(pa.array(kinds == "image")), rows.filter(pa.array(kinds == "text"))
    job = Job(store, (spec,), Scorers(), BATCH, threads=1, decode_threads=1, device="cpu")
    model = load(spec, job.device, job.threads)
    model.embed_images(np.zeros((1, model.image_side, model.image_side, 3), np.uint8))
    image_wall, image_cpu = timed(lambda: list(embed_pictures(job, 0, images)))
    text_wall, text_cpu = timed(lambda: list(embed_captions(job, texts)))
    return {
        "pairs_per_second": count / (image_wall + text_wall),
        "pictures_per_second": count / image_wall,
        "captions_per_second": count / text_wall,
        "seconds": image_wall + text_wall,
        "cpu_seconds": image_cpu + text_cpu,
    }


def run(scale: float = 1.0) -> dict[str, Any]:
    """Embed with the included model and with ViT-B/32, one thread; then compare stored vectors.

    items: pairs embedded with the included model; `seconds` and `cpu_seconds` are theirs.
    """
    precision = clip.precision_on("cpu")
    shipped = Spec("clip", clip.SHIPPED_MODEL, precision=precision)
    tiny = embed_rate(shipped, max(BATCH, int(2000 * scale)))
    with tempfile.TemporaryDirectory() as folder:
        weights = str(random_weights("ViT-B-32", Path(folder)))
        large = Spec("clip", "ViT-B-32", weights, precision)
        base = embed_rate(large, max(BATCH, int(192 * scale)))
    vectors = np.random.default_rng(0).normal(size=(100_000, 512)).astype(np.float32)
    column = pack(vectors)
    dot_wall, _ = timed(lambda: similarity(column, column))
    return {
        "workload": "score",
        "items": max(BATCH, int(2000 * scale)),
        "seconds": tiny.pop("seconds"),
        "cpu_seconds": tiny.pop("cpu_seconds"),
        "precision": precision,
        **tiny,
        **{f"vit_b_32_{name}": value for name, value in base.items()},
        "similarities_per_second": len(vectors) / dot_wall,
    }
