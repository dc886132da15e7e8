"""Writes the samples of a view into a release of their own, for readers that know no views."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

import pipeline
from pipeline.core import release
from pipeline.core.errors import InputError
from pipeline.core.release import Manifest
from pipeline.core.storage import Store
from pipeline.shards import publish
from pipeline.stages.assemble import described, finish, masked
from pipeline.stream import views
from pipeline.stream.reader import Release
from pipeline.stream.samples import Members
from pipeline.stream.views import View


def materialise(view: View, out: str, per_shard: int, name: str = "") -> Manifest:
    """Write the selected samples, in their order, into a release at `out`, and give its manifest.

    Samples under a tombstone are left out. per_shard: samples of a shard, as near as even shards
    come to it. name: of the new release; empty for that of the old one. Started again after it was
    killed it goes on with the shards that are missing.
    Memory: the sample table of a shard, and a few MiB. Raises InputError when nothing is selected,
    when `out` has a release, and CorruptSample for a damaged one.
    """
    old = Release(view.root)
    view = without_tombstones(view)
    starts = views.byte_starts(view.manifest)
    counts = [len(view.rows(i, 0, s.samples, starts)) for i, s in enumerate(old.manifest.shards)]
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    if not total:
        raise InputError(f"the view {view.condition!r} of {view.root} selects no sample")
    store = Store(out)
    publish.start(store)
    ranges = publish.shard_ranges(total, per_shard)
    entries = []
    for number, (first, stop) in enumerate(ranges):
        chosen = list(_pieces(view, ends, first, stop))
        metadata = pa.concat_tables(described(old, shard, rows) for shard, rows in chosen)
        samples: Iterator[Members] = (m for s, r in chosen for m in old.read_rows(s, r))
        tar = f"{release.shard_name(number, len(ranges))}.tar"
        origin = f"{view.id}:{first}:{stop}"
        entries.append(publish.write_shard(store, tar, origin, samples, metadata))
    manifest = Manifest(
        name or old.manifest.name,
        pipeline.__version__,
        old.manifest.stages | {"release": old.manifest.id, "view": view.id},
        tuple(entries),
    )
    finish(store, manifest, view.root, old.read_rows(*next(_pieces(view, ends, 0, 1))))
    return manifest


def _pieces(
    view: View, ends: np.ndarray, first: int, stop: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(shard, rows) that hold the selected samples first <= i < stop. ends: of each shard."""
    starts = views.byte_starts(view.manifest)
    while first < stop:
        shard = int(np.searchsorted(ends, first, side="right"))
        rows = view.rows(shard, 0, view.manifest.shards[shard].samples, starts)
        before = int(ends[shard]) - len(rows)
        upto = min(stop, int(ends[shard]))
        yield shard, rows[first - before : upto - before]
        first = upto


def without_tombstones(view: View) -> View:
    """The view without the samples that are not to be used any more."""
    gone = masked(view.root)
    if not any(rows.any() for rows in gone):
        return view
    starts = views.byte_starts(view.manifest)
    bits = []
    for number, rows in enumerate(gone):
        chosen = np.zeros(len(rows), bool)
        chosen[view.rows(number, 0, len(rows), starts)] = True
        bits.append(np.packbits(chosen & ~rows, bitorder="little"))
    return replace(view, bits=np.concatenate(bits))
