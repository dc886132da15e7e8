"""score: pictures and captions through the embedding path, on one core or on a GPU.

Pairs are photographs with captions: real ones where they are at hand, else generated pictures with
a photograph's statistics and captions of the embedded web.

`python -m tests.benchmarks.score FOLDER WEIGHTS` is our side of the comparison with a peer.
"""

import csv
import io
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from pipeline.core import raw
from pipeline.core.storage import Store
from pipeline.core.vectors import pack, similarity, unpack
from pipeline.fakeweb.captions import describe
from pipeline.fakeweb.pictures import sample_scene
from pipeline.score import clip, towers
from pipeline.score.captions import Captions, embed_captions
from pipeline.score.compat import import_open_clip
from pipeline.score.embed import embed_pictures
from pipeline.score.fresh import Job
from pipeline.score.inputs import INPUTS
from pipeline.score.models import Spec
from pipeline.score.scorers import Scorers
from tests.benchmarks.download import photos
from tests.conftest import REAL_DATA

BATCH = 64
Pair = tuple[bytes, str]
# What is demanded of every picture and pair, against float32.
LEAST_COSINE, MOST_APART = 0.999, 0.005


def make_pairs(count: int) -> list[Pair]:
    """JPEGs and captions; pictures are repeated where there are fewer, captions are distinct."""
    listed = REAL_DATA / "photos-captions" / "pairs.tsv"
    if listed.is_file():
        with listed.open() as lines:
            found = {row["caption"]: row["image"] for row in csv.DictReader(lines, delimiter="\t")}
        files = [file for file in found.values() if file.endswith((".jpg", ".jpeg"))]
        captions = list(found)
        distinct = list(dict.fromkeys(files))
        bodies = [(REAL_DATA / name).read_bytes() for name in distinct[:count]]
    else:
        rng = np.random.default_rng(0)
        captions = [f"{describe(sample_scene(rng), 'en', rng)} {i}" for i in range(count)]
        bodies = [_stored(body) for body in photos()[:count]]
    some = [
        captions[i % len(captions)] + (f" {i}" if i >= len(captions) else "") for i in range(count)
    ]
    return [(bodies[i % len(bodies)], caption) for i, caption in enumerate(some)]


def _stored(photo: bytes) -> bytes:
    """As `download` stores one."""
    image = Image.open(io.BytesIO(photo))
    scale = 384 / min(image.size)
    file = io.BytesIO()
    image.resize((round(image.width * scale), round(image.height * scale))).save(
        file, "JPEG", quality=90
    )
    return file.getvalue()


def write_inputs(pairs: list[Pair], folder: str) -> None:
    """A run with a raw tar and rows of INPUTS, and pairs.tar as img2dataset would write it. The
    i-th pair's content_id is i on both sides."""
    store = Store(folder)
    rows: list[tuple[Any, ...]] = []
    with store.publish(raw.path(0)) as file:
        tar = raw.RawTar(cast("BinaryIO", file))
        for i, (data, caption) in enumerate(pairs):
            own = i.to_bytes(16)
            place = (own, 0, tar.append(own, data), len(data))
            rows.append(("image", own, *place, False, None, None, 0))
            rows.append(("text", own, None, None, None, None, False, caption, None, 0))
    rows.sort(key=lambda row: row[:2])
    columns = [pa.array(list(c), f.type) for c, f in zip(zip(*rows), INPUTS.schema, strict=True)]
    with store.publish("inputs.parquet") as file:
        pq.write_table(pa.Table.from_arrays(columns, schema=INPUTS.schema), file)
    with store.publish("pairs.tar") as file, tarfile.open(fileobj=file, mode="w") as members:
        for i, (data, caption) in enumerate(pairs):
            for suffix, body in (("jpg", data), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{i:06d}.{suffix}")
                member.size = len(body)
                members.addfile(member, io.BytesIO(body))


def random_weights(model: str, folder: Path) -> Path:
    """A weight file of a model that was never trained: speed does not depend on the values."""
    import torch

    torch.manual_seed(0)
    path = folder / f"{model}.pt"
    torch.save(import_open_clip().create_model(model).state_dict(), path)
    return path


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and processor seconds of this process, and what the work returns."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


Vectors = NDArray[np.float32]


def read_inputs(store: Store) -> tuple[pa.Table, pa.Table]:
    """Rows of INPUTS of pictures, and of captions."""
    with store.fs.open(f"{store.root}/inputs.parquet", "rb") as file:
        rows = pq.read_table(file)
    kinds = np.array(rows.column("kind").to_pylist())
    images, texts = (rows.filter(pa.array(kinds == kind)) for kind in ("image", "text"))
    return images, texts


def embed(
    folder: str, spec: Spec, job: Job | None = None
) -> tuple[dict[str, float], list[Vectors]]:
    """Figures of all pairs of `write_inputs`, and the vectors of pictures and captions, by number.

    start_cpu_seconds: what loading the model and compiling took, on few pairs.
    """
    begun = time.process_time()
    store = Store(folder)
    job = job or Job(store, (spec,), Scorers(), BATCH, threads=1, decoders=1, device="cpu")
    images, texts = read_inputs(store)

    def all_of(images: pa.Table, texts: pa.Table) -> list[list[pa.Table]]:
        windows = [embed_pictures(job, 0, images), embed_captions(job, texts)]
        return [[window.embeddings[0] for window in of_kind] for of_kind in windows]

    all_of(images.slice(0, 8), texts.slice(0, 8))
    start_cpu = time.process_time() - begun
    image_wall, image_cpu, pictures = timed(lambda: all_of(images, texts.slice(0, 0))[0])
    text_wall, text_cpu, captions = timed(lambda: all_of(images.slice(0, 0), texts)[1])
    write_wall, write_cpu, _ = timed(lambda: _write(store, [*pictures, *captions]))
    count = images.num_rows
    figures = {
        "items": count,
        "pairs_per_second": count / (image_wall + text_wall + write_wall),
        "pictures_per_second": count / image_wall,
        "captions_per_second": count / text_wall,
        "seconds": image_wall + text_wall + write_wall,
        "cpu_seconds": image_cpu + text_cpu + write_cpu,
        "start_cpu_seconds": start_cpu,
        "write_ms": 1000 * write_cpu / count,
    }
    vectors = [
        unpack(pa.concat_tables(t).column("vector").combine_chunks()) for t in (pictures, captions)
    ]
    return figures, vectors


def _write(store: Store, tables: list[pa.Table]) -> None:
    with store.publish("embeddings.parquet") as file:
        pq.write_table(pa.concat_tables(tables), file, compression="zstd")


def steps(model: clip.Clip, pairs: list[Pair]) -> dict[str, float]:
    """CPU milliseconds a pair, step by step, each on all pairs by itself."""
    opened: list[Image.Image] = []

    def decode() -> None:
        opened.extend(Image.open(io.BytesIO(data)).convert("RGB") for data, _ in pairs)

    texts = [caption for _, caption in pairs]
    side = model.shape.side
    pixels = np.empty((len(pairs), side, side, 3), np.uint8)

    def transform() -> None:
        for row, image in zip(pixels, opened, strict=True):
            row[:] = model.shape.pixels(image)

    work: dict[str, Callable[[], Any]] = {
        "decode": decode,
        "transform": transform,
        "image_tower": lambda: model.embed_images(pixels, BATCH),
        "tokenise": lambda: model.tokenizer(texts),
        "texts": lambda: model.embed_texts(texts, BATCH),
    }
    found = {name: 1000 * timed(step)[1] / len(pairs) for name, step in work.items()}
    found["text_tower"] = found.pop("texts") - found["tokenise"]
    return {f"{name}_ms": value for name, value in found.items()}


def accuracy(found: list[Vectors], exact: list[Vectors]) -> dict[str, float]:
    """How near vectors of pictures and captions are to exact ones; AssertionError where they are
    not near enough. Models without training see all pictures alike: centred_cosine is of what is
    left without the mean."""
    images, texts = ((a * b).sum(1) for a, b in zip(found, exact, strict=True))
    apart = np.abs((found[0] * found[1]).sum(1) - (exact[0] * exact[1]).sum(1)).max()
    a, b = (vectors[0] - exact[0].mean(0) for vectors in (found, exact))
    centred = (a * b).sum(1) / np.maximum(
        np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-9
    )
    figures = {
        "least_image_cosine": float(images.min()),
        "least_text_cosine": float(texts.min()),
        "least_centred_cosine": float(centred.min()),
        "similarity_apart": float(apart),
    }
    assert min(images.min(), texts.min()) >= LEAST_COSINE and apart <= MOST_APART, figures
    return figures


def run(scale: float = 1.0) -> dict[str, Any]:
    """Embed with the included model and with ViT-B/32, one thread; then compare stored vectors.

    items: pairs embedded with the included model; `seconds` and `cpu_seconds` are theirs. The
    vectors of ViT-B/32 are held against those of float32.
    """
    precision = clip.precision_on("cpu")
    shipped = Spec("clip", clip.SHIPPED_MODEL, precision=precision)
    pairs = make_pairs(max(BATCH, int(2000 * scale)))
    large = pairs[: max(BATCH, int(192 * scale))]
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(pairs, f"{folder}/tiny")
        write_inputs(large, f"{folder}/large")
        tiny, _ = embed(f"{folder}/tiny", shipped)
        weights = str(random_weights("ViT-B-32", Path(folder)))
        spec = Spec("clip", "ViT-B-32", weights, precision)
        base, found = embed(f"{folder}/large", spec)
        base |= steps(clip.load(spec.model, weights, precision, "cpu"), large[:BATCH])
        if precision != "fp32":
            exact = embed(f"{folder}/large", Spec("clip", "ViT-B-32", weights, "fp32"))[1]
            base |= accuracy(found, exact)
    vectors = np.random.default_rng(0).normal(size=(100_000, 512)).astype(np.float32)
    column = pack(vectors)
    dot_wall, _, _ = timed(lambda: similarity(column, column))
    return {
        "workload": "score",
        "precision": precision,
        **tiny,
        **{f"vit_b_32_{name}": value for name, value in base.items()},
        "vit_b_32_per_core_second": base["items"] / base["cpu_seconds"],
        "similarities_per_second": len(vectors) / dot_wall,
    }


def run_gpu(
    model: str = "ViT-L-14", count: int = 20_000, batch: int = 256, device: str = "cuda"
) -> dict[str, Any]:
    """The whole path of pictures and captions on a GPU, from stored JPEGs and texts to vectors, and
    the same model's forward pass on pixels and tokens that are there: `share` is the one's rate of
    pairs over the other's, `picture_share` that of pictures alone."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("score-gpu: no GPU that this build of torch can use")
    pairs = make_pairs(min(count, 1000))
    pairs = [(data, f"{text} {i}") for i in range(count) for data, text in [pairs[i % len(pairs)]]]
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(pairs, folder)
        weights = str(random_weights(model, Path(folder)))
        spec = Spec("clip", model, weights, clip.precision_on(device))
        decoders = len(os.sched_getaffinity(0))
        job = Job(Store(folder), (spec,), Scorers(), batch, 1, decoders, device, is_apart=True)
        figures = _task(job)
        loaded = clip.load(model, weights, spec.precision, device)
        few = max(count // 4 // batch, 1) * batch
        pictures = _resident(loaded, loaded.images, [_pixels(loaded, batch)] * (few // batch))
        texts = [text for _, text in pairs[:few]]
        captions = _resident(loaded, loaded.texts, _tokens(loaded, texts, batch))
    both = 1 / (1 / pictures + 1 / captions)
    return {
        "workload": "score-gpu",
        "model": model,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "precision": spec.precision,
        "decoders": decoders,
        **figures,
        "resident_pictures_per_second": pictures,
        "resident_captions_per_second": captions,
        "picture_share": figures["pictures_per_second"] / pictures,
        "share": figures["pairs_per_second"] / both,
    }


def _task(job: Job) -> dict[str, float]:
    """Figures of one part as a task of `score` embeds it, after a twentieth of it."""
    images, texts = read_inputs(job.store)

    def part(images: pa.Table, texts: pa.Table) -> tuple[float, list[pa.Table]]:
        with Captions(job, texts) as captions:
            started, found = time.perf_counter(), []
            for window in embed_pictures(job, 0, images):
                found += window.embeddings
            of_pictures = time.perf_counter() - started
            for window in captions:
                found += window.embeddings
        return of_pictures, found

    few = max(len(images) // 20, 2 * job.batch)
    _, start_cpu, _ = timed(lambda: part(images.slice(0, few), texts.slice(0, few)))
    seconds, cpu, (of_pictures, found) = timed(lambda: part(images, texts))
    _write(job.store, found)
    return {
        "items": len(images),
        "pairs_per_second": len(images) / seconds,
        "pictures_per_second": len(images) / of_pictures,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "start_cpu_seconds": start_cpu,
    }


def _resident(model: clip.Clip, tower: Callable[[Any], Any], inputs: Sequence[Any]) -> float:
    """Rows per second of a tower alone, over tensors that are on its device."""
    import torch

    def finish() -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)

    with torch.inference_mode():
        for _ in range(2):  # the first time sets up what each shape of input takes
            finish()
            started = time.perf_counter()
            for rows in inputs:
                tower(rows)
            finish()
            seconds = time.perf_counter() - started
    return float(sum(len(rows) for rows in inputs) / seconds)


def _pixels(model: clip.Clip, batch: int) -> Any:
    import torch

    side = model.shape.side
    return torch.randn(batch, 3, side, side, device=model.device, dtype=model.dtype)


def _tokens(model: clip.Clip, texts: list[str], batch: int) -> list[Any]:
    """The tokens of texts in batches of like length, cut as they are for the tower."""
    tokens = model.tokenize(texts)
    lengths, order = towers.lengths(model.model, tokens).sort()
    starts = range(0, len(texts), batch)
    return [
        tokens[order[i : i + batch], : int(lengths[i : i + batch][-1])].to(model.device)
        for i in starts
    ]


if __name__ == "__main__":
    where, weight_file = sys.argv[1:]
    imports_cpu = time.process_time()
    own, vectors_found = embed(
        where, Spec("clip", "ViT-B-32", weight_file, clip.precision_on("cpu"))
    )
    own["start_cpu_seconds"] += imports_cpu
    np.savez(f"{where}/ours.npz", *vectors_found)
    print(json.dumps(own))
