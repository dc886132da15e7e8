"""A release in the layouts of other tools, in a folder of its own."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import release, ustar
from pipeline.core.errors import InputError
from pipeline.core.release import Manifest, ShardEntry
from pipeline.core.storage import Store

# key, jpg, txt, json
Sample = tuple[str, bytes, bytes, bytes]
# The samples of a shard by number, and its sample table.
ReadShard = Callable[[int], Iterator[Sample]]
ReadTable = Callable[[int], pa.Table]

# Columns and their order as img2dataset 1.47 writes them, and what it calls a success.
_IMG2DATASET = (
    "url", "caption", "key", "status", "error_message", "width", "height", "original_width",
    "original_height", "exif", "sha256",
)  # fmt: skip
_SAMPLE_DIGITS = 4
_BATCH_ROWS = 256
_LAID = {f"{s}_{what}" for s in release.SUFFIXES for what in ("offset", "bytes")}


def export(
    manifest: Manifest, read: ReadShard, about: ReadTable, tars: Store, layout: str, out: str
) -> int:
    """Write a release to the folder `out` in a layout of `LAYOUTS`; the files written.

    read, about: its samples and sample tables, by shard. tars: where its tars are. A shard that is
    whole in `out` is not written again, so that what was killed goes on.
    Memory: 256 samples, and a shard's table. Raises InputError for an unknown layout.
    """
    if layout not in LAYOUTS:
        raise InputError(f"LAYOUT is {layout!r}; there are {', '.join(sorted(LAYOUTS))}")
    store = Store(out)
    store.sweep("")
    return LAYOUTS[layout](manifest, read, about, tars, store)


def _img2dataset(
    manifest: Manifest, read: ReadShard, about: ReadTable, _: Store, out: Store
) -> int:
    """00000.tar of `<key>.jpg`, .json, .txt, beside 00000.parquet and 00000_stats.json, which comes
    last and says that the shard is done. Keys are numbers, as there; `uid` is the key of ours.
    Source: img2dataset 1.47, `writer.py` and `downloader.py`."""
    most = max(entry.samples for entry in manifest.shards)
    digits = max(_SAMPLE_DIGITS, len(str(most - 1)))
    for number, entry in enumerate(manifest.shards):
        stem = entry.path.removesuffix(".tar")
        if out.exists(f"{stem}_stats.json"):
            continue
        rows = []
        with out.publish(entry.path) as file:
            for place, (uid, jpg, txt, record) in enumerate(read(number)):
                key = f"{stem}{place:0{digits}d}"
                known = json.loads(record)
                told: dict[str, Any] = {name: known.get(name) for name in _IMG2DATASET}
                told |= {"key": key, "status": "success", "exif": "{}"}
                told |= {"caption": txt.decode()} | {
                    n: v for n, v in known.items() if n not in told
                }
                told["uid"] = uid
                rows.append(told)
                stored = json.dumps(told, ensure_ascii=False).encode()
                for suffix, data in (("jpg", jpg), ("json", stored), ("txt", txt)):
                    head = ustar.header(f"{key}.{suffix}".encode(), len(data))
                    file.write(head + data + ustar.padding(len(data)))
            file.write(ustar.END)
        with out.publish(f"{stem}.parquet") as file:
            pq.write_table(_typed(rows), file, compression="zstd")
        out.write_json(f"{stem}_stats.json", _stats(len(rows)))
    return 3 * len(manifest.shards)


def _typed(rows: list[dict[str, Any]]) -> pa.Table:
    table = pa.Table.from_pylist(rows)
    nulls = [f for f in table.schema if pa.types.is_null(f.type)]
    for field in nulls:
        at = table.schema.get_field_index(field.name)
        table = table.set_column(at, field.name, table[field.name].cast(pa.string()))
    return table


def _stats(samples: int) -> dict[str, Any]:
    return {
        "count": samples,
        "successes": samples,
        "failed_to_download": 0,
        "failed_to_resize": 0,
        "duration": 0.0,
        "start_time": 0.0,
        "end_time": 0.0,
        "status_dict": {"success": samples},
    }


def _hf(manifest: Manifest, read: ReadShard, about: ReadTable, _: Store, out: Store) -> int:
    """data/train-00000-of-00010.parquet with the picture in its row, as `datasets` writes and the
    Hub's viewer shows it. Source: https://huggingface.co/docs/datasets/image_dataset"""
    last = len(manifest.shards)
    for number in range(last):
        name = f"data/train-{number:05d}-of-{last:05d}.parquet"
        if out.exists(name):
            continue
        told = about(number)
        told = told.drop_columns([n for n in told.schema.names if n in _LAID | _HIDDEN])
        ids = [n for n, t in zip(told.schema.names, told.schema.types, strict=True)
               if pa.types.is_binary(t) or pa.types.is_fixed_size_binary(t)]  # fmt: skip
        for id_ in ids:
            texts = [None if value is None else value.hex() for value in told[id_].to_pylist()]
            at = told.schema.get_field_index(id_)
            told = told.set_column(at, id_, pa.array(texts, pa.string()))
        with out.publish(name) as file:
            _write_rows(file, told, read(number))
    with out.publish(release.CARD) as file:
        file.write(_HF_CARD.format(name=json.dumps(manifest.name)).encode())
    return last + 1


# Of the sample table, what only says where a sample lies in a tar.
_HIDDEN = {"offset", "bytes", "crc32c"}
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_HF_CARD = """---
pretty_name: {name}
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
---
"""


def _write_rows(file: Any, told: pa.Table, samples: Iterator[Sample]) -> None:
    """A row per sample: image, text, and the columns known of it."""
    taken = [n for n in told.schema.names if n not in ("image", "text", "metadata")]
    told = told.select(taken)
    features: dict[str, Any] = {"image": {"_type": "Image"}, "text": _feature(pa.string())}
    features |= {f.name: _feature(f.type) for f in told.schema}
    schema = pa.schema(
        [("image", _PICTURE), ("text", pa.string()), *told.schema],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        at = 0
        while batch := [s for _, s in zip(range(_BATCH_ROWS), samples, strict=False)]:
            known = told.slice(at, len(batch)).combine_chunks()
            pictures = [{"bytes": jpg, "path": f"{key}.jpg"} for key, jpg, _, _ in batch]
            columns = [
                pa.array(pictures, _PICTURE),
                pa.array([txt.decode() for _, _, txt, _ in batch], pa.string()),
                *(known[name].combine_chunks() for name in taken),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            at += len(batch)


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """How `datasets` names a column's type."""
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type)}
    if pa.types.is_boolean(kind):
        return {"dtype": "bool", "_type": "Value"}
    return {"dtype": {"float": "float32", "double": "float64"}.get(str(kind), str(kind)),
            "_type": "Value"}  # fmt: skip


def _energon(manifest: Manifest, read: ReadShard, about: ReadTable, tars: Store, out: Store) -> int:
    """The tars, linked where they can be, each with the 64-bit offsets of its samples in
    00000.tar.idx, and `.nv-meta` with counts, one split and how to read a sample.
    Source: https://nvidia.github.io/Megatron-Energon/data_on_disk.html, and Megatron-Energon's
    `prepare.py` for what its index holds: the offset of each sample and of the end of the last."""
    for entry in manifest.shards:
        _copy(tars, out, entry)
        with out.publish(f"{entry.path}.idx") as file:
            file.write(_offsets(tars, entry))
    counts = {entry.path: entry.samples for entry in manifest.shards}
    parts = {"train": list(counts), "val": [], "test": []}
    sample = {"__module__": "megatron.energon", "__class__": "CaptioningSample"}
    # JSON is YAML.
    for name, told in (
        (".info.json", {"shard_counts": counts}),
        (".info.yaml", {"shard_counts": counts}),  # what earlier versions read
        ("split.yaml", {"split_parts": parts, "exclude": []}),
        (
            "dataset.yaml",
            {"sample_type": sample, "field_map": {"image": "jpg", "caption": "txt"}},
        ),
    ):
        out.write_json(f".nv-meta/{name}", told)
    return 2 * len(manifest.shards) + 4


def _offsets(tars: Store, entry: ShardEntry) -> bytes:
    data = tars.fs.cat_file(tars.path(release.index_path(entry.path)))
    return np.frombuffer(data, release.INDEX)["offset"].astype("<u8").tobytes()


def _copy(tars: Store, out: Store, entry: ShardEntry) -> None:
    if out.exists(entry.path) and out.fs.size(out.path(entry.path)) == entry.bytes:
        return
    out.fs.makedirs(out.root, exist_ok=True)
    if tars.is_local and out.is_local:
        try:
            os.link(tars.path(entry.path), out.path(entry.path))
            return
        except OSError:  # another file system, or one without links
            pass
    with tars.fs.open(tars.path(entry.path), "rb") as old, out.publish(entry.path) as new:
        while block := old.read(8 << 20):
            new.write(block)


LAYOUTS: dict[str, Callable[[Manifest, ReadShard, ReadTable, Store, Store], int]] = {
    "img2dataset": _img2dataset,
    "hf": _hf,
    "energon-index": _energon,
}
