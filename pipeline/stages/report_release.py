"""The report of a release, whole or seen through a view: from its sample tables and tars alone.

Beside the samples of the view stand all others, so that a view's histograms show what it selects
and what it leaves. Samples that tombstones name are neither counted as chosen nor shown.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline.core.languages import UNDETERMINED
from pipeline.core.release import ShardEntry
from pipeline.core.storage import Store, file_system
from pipeline.stages.assemble import masked
from pipeline.stages.materialise import without_tombstones
from pipeline.stats import earlier, page
from pipeline.stats.drift import compare
from pipeline.stats.pictures import thumbnail
from pipeline.stream import views
from pipeline.stream.reader import Release
from pipeline.stream.views import View

I32 = npt.NDArray[np.int32]
_RANDOM, _EXTREME, _LEFT = 24, 12, 12
_THUMBNAIL_PX = 160
_SCORE = "clip_similarity"


@dataclass
class _Picks:
    """Places (shard, row) of samples to show, and the rows of every shard that are chosen."""

    rows: list[I32] = field(default_factory=list)
    chosen: list[tuple[int, int]] = field(default_factory=list)
    left: list[tuple[int, int]] = field(default_factory=list)
    scores: list[tuple[float, int, int]] = field(default_factory=list)

    def extreme(self, *, is_high: bool) -> list[tuple[int, int]]:
        best = heapq.nlargest if is_high else heapq.nsmallest
        return [(shard, row) for _, shard, row in best(_EXTREME, self.scores)]


def write_report(view: View, out: str, against: str = "", title: str = "") -> int:
    """Write the page of a view of a release to a file or URL; how many samples it is about.

    against: an earlier run or release. Raises InputError when there is none, or the release is
    damaged.
    """
    fs, root = file_system(view.root)
    release_ = Release(view.root)
    live = without_tombstones(view)
    picks = _pick(release_, live)
    shards = view.manifest.shards
    chosen: Iterator[tuple[ShardEntry, I32]] = zip(shards, picks.rows, strict=True)
    counted = earlier.count(fs, root, view.manifest, chosen)
    found = page.Figures(counted.rows)
    drift = None
    if against:
        before, name = earlier.load(against)
        drift = compare(before, found, name, counted.columns, counted.categories)
    told = f"view: {view.condition}" if view.bits is not None else "all samples"
    groups = [
        ("Chosen, at random", picks.chosen),
        ("Highest similarity", picks.extreme(is_high=True)),
        ("Lowest similarity", picks.extreme(is_high=False)),
        ("Not chosen, at random", picks.left),
    ]
    html = page.render(
        page.Page(
            title or view.manifest.name,
            view.manifest.name,
            (),
            counted.columns,
            counted.categories,
            galleries=[page.Gallery(name, tuple(_examples(release_, at))) for name, at in groups],
            drift=drift,
            selection=page.shorten(told),
        ),
        found,
    )
    folder, _, name = out.rpartition("/")
    with Store(folder or ".").publish(name) as file:
        file.write(html.encode("utf-8", "replace"))
    return sum(len(rows) for rows in picks.rows)


def _pick(release_: Release, view: View) -> _Picks:
    """Choose what to show: random samples by numbers that the release's id gives, so that the
    same view always shows the same; extremes by score, then place."""
    starts, gone = views.byte_starts(view.manifest), masked(view.root)
    picks, chance = _Picks(), np.random.default_rng(int(view.manifest.id[:16], 16))
    keyed: dict[str, list[tuple[float, int, int]]] = {"chosen": [], "left": []}
    for shard, entry in enumerate(view.manifest.shards):
        rows = view.rows(shard, 0, entry.samples, starts)
        picks.rows.append(rows)
        keys = chance.random(entry.samples)
        is_left = np.ones(entry.samples, bool)
        is_left[rows] = False
        left = np.flatnonzero(is_left & ~gone[shard])
        for name, mine, most in (("chosen", rows, _RANDOM), ("left", left, _LEFT)):
            keyed[name] += [(float(keys[r]), shard, int(r)) for r in _least(keys, mine, most)]
            keyed[name] = heapq.nsmallest(most, keyed[name])
        _score(release_, picks, shard, rows)
    picks.chosen = [(shard, row) for _, shard, row in keyed["chosen"]]
    picks.left = [(shard, row) for _, shard, row in keyed["left"]]
    return picks


def _least(
    keys: npt.NDArray[np.float64], rows: npt.NDArray[np.integer], most: int
) -> Sequence[int]:
    order = np.argsort(keys[rows], kind="stable")[:most]
    return [int(r) for r in rows[order]]


def _score(release_: Release, picks: _Picks, shard: int, rows: I32) -> None:
    """Keep the chosen samples of the highest and lowest scores so far."""
    table = release_.about(shard, [_SCORE])
    if not len(rows) or _SCORE not in table.schema.names:
        return
    scores = table[_SCORE].to_numpy()[rows].astype(np.float64)
    finite = np.flatnonzero(np.isfinite(scores))
    order = finite[np.argsort(scores[finite], kind="stable")]
    ends = dict.fromkeys([*order[:_EXTREME].tolist(), *order[-_EXTREME:].tolist()])
    found = [*picks.scores, *((float(scores[i]), shard, int(rows[i])) for i in ends)]
    both = [*heapq.nsmallest(_EXTREME, found), *heapq.nlargest(_EXTREME, found)]
    picks.scores = list(dict.fromkeys(both))


def _examples(release_: Release, places: Sequence[tuple[int, int]]) -> Iterator[page.Example]:
    for shard, row in places:
        sample = next(release_.read_rows(shard, np.array([row], np.int32)))
        about = msgspec.json.decode(sample.json)
        language = about.get("caption_lang")
        yield page.Example(
            page.shorten(sample.txt.decode("utf-8", "replace")),
            page.language_tag(None if language == UNDETERMINED else language),
            str(about.get("domain", "")),
            about.get(_SCORE),
            f"{about.get('original_width', '?')}\u00a0×\u00a0{about.get('original_height', '?')}",
            (),
            thumbnail(sample.jpg, _THUMBNAIL_PX),
        )
