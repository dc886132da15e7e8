"""How many altered copies of real photographs `match` finds, and how many unlike pictures it takes
for copies.

Every photograph is altered in each way of `alterations.ALTERATIONS` and looked for among all the
originals; what it should find is its own. Files go through the decoder that the download uses, and
close hashes through the check that `match` uses. The photographs are 1,468 of different things: no
two of them are the same picture, as looking at the pairs with the closest hashes showed.
"""

import io
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from pipeline.fetch.decode import decode
from pipeline.fetch.picture import DecodeSettings, Picture
from pipeline.fetch.settings import DownloadSection
from pipeline.fetch.turns import FIRST_SIDEWAYS, TURNS
from pipeline.match.verify import verify
from pipeline.stages.match import MatchSection
from tests.benchmarks.alterations import ALTERATIONS, altered
from tests.conftest import REAL_DATA

U64 = npt.NDArray[np.uint64]
Matrix = npt.NDArray[Any]
PeerHashes = Mapping[str, Callable[[Image.Image], int]]

PRECISION = 0.999
TURNING = ("mirror", "rotate 90", "rotate 180")
_FOLDERS = ("photos-captions", "photos/clothing-cc0")
_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif"}
# A photograph larger than this is altered at this size, as most copies are made from smaller ones.
_LARGEST_PX = 1024
# Copies of one picture: all files of these folders are; every other one is a picture of its own.
_SETS = {
    "pdq bridge": (
        "pdq/facebook+ThreatExchange/pdq/data/bridge-mods",
        "pdq/facebook+ThreatExchange/pdq/data/misc-images/modes",
        "pdq/facebook+ThreatExchange/pdq/data/reg-test-input/dih",
    ),
    "forest": ("neardup/jenssegers+imagehash/tests/images/forest",),
}


@dataclass(frozen=True)
class Looks:
    """What is known of n pictures. hash256: [n, 4]. turned64: [n, 7], turned256: [n, 7, 4]. aspect:
    width / height. peers: hashes of other tools by name, [n]."""

    hash64: U64
    hash256: U64
    texture: npt.NDArray[np.int64]
    aspect: npt.NDArray[np.float64]
    turned64: U64
    turned256: U64
    peers: Mapping[str, U64]

    def turned(self, turn: int) -> "Looks":
        """The same pictures, turned."""
        aspect = 1 / self.aspect if turn >= FIRST_SIDEWAYS else self.aspect
        return Looks(
            self.turned64[:, turn],
            self.turned256[:, turn],
            self.texture,
            aspect,
            self.turned64,
            self.turned256,
            self.peers,
        )


_Seen = tuple[Picture, dict[str, int]]  # what the decoder gave, and the peers' hashes
Rule = Callable[[Looks, Looks], npt.NDArray[np.bool_]]
Rules = Callable[[Mapping[str, Looks], Looks], dict[str, Rule]]


def run(scale: float = 1.0) -> dict[str, Any]:
    """`make bench W=match-attacks`: rules of our own hashes."""
    return measure("match-attacks", lambda copies, originals: own_rules(), {}, scale)


def own_rules() -> dict[str, Rule]:
    """`match` as it is, with a wider radius, and with `turned`; and PDQ alone, as published."""
    config = MatchSection()
    return {
        f"match, radius {config.radius}": matched_by(config),
        "match, radius 6": matched_by(config.model_copy(update={"radius": 6})),
        "match, radius 6, turned": matched_by(
            config.model_copy(update={"radius": 6, "turned": True})
        ),
        # Source: ThreatExchange's defaults: 31 bits, quality 50.
        "PDQ alone, 31 bits": within_pdq(31, 50),
    }


def measure(workload: str, choose: Rules, peers: PeerHashes, scale: float = 1.0) -> dict[str, Any]:
    """Figures of every rule. choose: the rules, given what was hashed. scale: the share of the
    photographs that is altered and searched.

    recall: share of altered photographs that find their original, by alteration. precision: share
    of finds that are right, over all of them. false_pairs: wrong ones.
    """
    if not REAL_DATA.is_dir():
        raise FileNotFoundError(f"no photographs at {REAL_DATA}; set PAIRMILL_REAL_DATA")
    files = _files(*_FOLDERS)[:: max(1, round(1 / scale))]
    started, cpu = time.perf_counter(), _cpu_seconds()
    originals = _stacked([_look(file.read_bytes(), peers, with_turned=True) for file in files])
    copies = _copies(files, peers)
    seconds, cpu = time.perf_counter() - started, _cpu_seconds() - cpu
    rules = choose(copies, originals)
    figures = {name: _judged(rule, copies, originals) for name, rule in rules.items()}
    show(figures)
    return {
        "workload": workload,
        "items": len(files) * (1 + len(ALTERATIONS)),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "photographs": len(files),
        "unrelated_pairs": len(files) * (len(files) - 1) * len(ALTERATIONS),
        "low_texture": {
            name: int((found.texture < DownloadSection().min_texture).sum())
            for name, found in copies.items()
        },
        "rules": figures,
        "radii": _sweep(copies, originals),
        "sets": _on_sets(rules, peers),
    }


def show(figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the table: a column for each rule."""
    names = list(figures)
    for number, name in enumerate(names):
        print(f"[{number}] {name}: precision {figures[name]['precision']:.5f}", flush=True)
    print(f"{'recall':18}" + "".join(f"{f'[{i}]':>8}" for i in range(len(names))))
    for alteration in ALTERATIONS:
        recalls = [figures[name]["recall"][alteration] for name in names]
        print(f"{alteration:18}" + "".join(f"{recall:8.3f}" for recall in recalls), flush=True)


def matched_by(config: MatchSection) -> Rule:
    """What `match` takes for the same picture with these settings."""

    def accepted(queries: Looks, originals: Looks) -> npt.NDArray[np.bool_]:
        found = _accepted(queries, originals, config)
        if config.turned:
            for turn in range(len(TURNS)):
                found |= _accepted(queries, originals.turned(turn), config)
        return found

    return accepted


def within_pdq(radius: int, quality: int) -> Rule:
    """PDQ and its quality alone."""

    def accepted(queries: Looks, originals: Looks) -> npt.NDArray[np.bool_]:
        clear = (queries.texture >= quality)[:, None] & (originals.texture >= quality)[None, :]
        return clear & (distances256(queries, originals) <= radius)

    return accepted


def within(name: str, radius: int) -> Rule:
    """A peer's hash alone."""
    return lambda a, b: distances(a.peers[name], b.peers[name]) <= radius


def widest(name: str, copies: Mapping[str, Looks], originals: Looks) -> int | None:
    """The largest radius of a peer's hash at which the precision is still `PRECISION`, if any."""
    precise = [
        radius
        for radius in range(17)
        if _judged(within(name, radius), copies, originals)["precision"] >= PRECISION
    ]
    return max(precise, default=None)


def distances(a: U64, b: U64) -> Matrix:
    """Bits between every two hashes: [len(a), len(b)]."""
    return np.bitwise_count(a[:, None] ^ b[None, :]).astype(np.int16)


def distances256(a: Looks, b: Looks) -> Matrix:
    """Bits between every two hash256: [len(a), len(b)]."""
    words = [distances(a.hash256[:, word], b.hash256[:, word]) for word in range(4)]
    return np.sum(words, axis=0, dtype=np.int16)


def _accepted(queries: Looks, originals: Looks, config: MatchSection) -> npt.NDArray[np.bool_]:
    least = DownloadSection().min_texture
    clear = (queries.texture >= least)[:, None] & (originals.texture >= least)[None, :]
    near = clear & (distances(queries.hash64, originals.hash64) <= config.radius)
    left, right = np.nonzero(near)
    sides = {
        "a": (left, queries.hash256, queries.aspect),
        "b": (right, originals.hash256, originals.aspect),
    }
    columns: dict[str, Any] = {"distance": np.zeros(len(left), np.int32)}
    for side, (rows, hash256, aspect) in sides.items():
        columns[f"hash256_{side}"] = pa.array([bytes(h) for h in hash256[rows]], pa.binary())
        columns[f"aspect_{side}"] = aspect[rows]
        columns[f"fingerprint_{side}"] = pa.array([bytes(16)] * len(rows), pa.binary())
    batches = pa.table(columns).to_batches()
    judged = verify(iter(batches), config.radius256, config.aspect_tolerance)
    is_edge = [reason is None for b in judged for reason in b.column("reason").to_pylist()]
    near[left, right] = is_edge
    return near


def _judged(rule: Rule, copies: Mapping[str, Looks], originals: Looks) -> dict[str, Any]:
    recall, right, wrong = {}, 0, 0
    for name, altered_ones in copies.items():
        found = rule(altered_ones, originals)
        own = np.diagonal(found)
        recall[name] = round(float(own.mean()), 4)
        right, wrong = right + int(own.sum()), wrong + int(found.sum() - own.sum())
    precision = right / max(right + wrong, 1)
    return {"precision": round(precision, 6), "false_pairs": wrong, "recall": recall}


def _sweep(copies: Mapping[str, Looks], originals: Looks) -> list[dict[str, Any]]:
    """Recall over all alterations but the turning ones, and wrong pairs, by the two radii."""
    radii, radii256 = (2, 4, 6, 8, 10), (31, 40, 48, 56, 64, 72)
    right, wrong = np.zeros((2, len(radii), len(radii256)), dtype=int)
    asked = 0
    for name, altered_ones in copies.items():
        if name in TURNING:
            continue
        near, wide = (
            distances(altered_ones.hash64, originals.hash64),
            distances256(altered_ones, originals),
        )
        asked += len(near)
        for i, radius in enumerate(radii):
            for j, radius256 in enumerate(radii256):
                found = (near <= radius) & (wide <= radius256)
                right[i, j] += np.trace(found)
                wrong[i, j] += found.sum() - np.trace(found)
    return [
        {
            "radius": radius,
            "radius256": radius256,
            "recall": round(right[i, j] / asked, 4),
            "false_pairs": int(wrong[i, j]),
        }
        for i, radius in enumerate(radii)
        for j, radius256 in enumerate(radii256)
    ]


def _on_sets(rules: Mapping[str, Rule], peers: PeerHashes) -> dict[str, Any]:
    """Pairs of the sets of copies: how many there are, found by each rule, and wrong ones."""
    files = _files("pdq", "neardup")
    looks = _stacked([_look(file.read_bytes(), peers, with_turned=True) for file in files])
    names = [str(file.relative_to(REAL_DATA).parent) for file in files]
    group = np.array(
        [
            next((number for number, (_, within) in enumerate(_SETS.items()) if n in within), -1)
            for n in names
        ]
    )
    above = np.triu(np.ones((len(files), len(files)), dtype=bool), 1)
    same = (group[:, None] == group[None, :]) & (group >= 0)[:, None] & above
    figures: dict[str, Any] = {"pairs": {}, "found": {}, "false_pairs": {}}
    for number, name in enumerate(_SETS):
        figures["pairs"][name] = int((same & (group == number)[:, None]).sum())
    for name, rule in rules.items():
        found = rule(looks, looks)
        found = (found | found.T) & above
        figures["found"][name] = {
            kind: int((found & same & (group == number)[:, None]).sum())
            for number, kind in enumerate(_SETS)
        }
        figures["false_pairs"][name] = int((found & ~same).sum())
    return figures


def _files(*folders: str) -> list[Path]:
    found = [f for folder in folders for f in sorted((REAL_DATA / folder).rglob("*"))]
    return [file for file in found if file.suffix.lower() in _PICTURES]


def _copies(files: Sequence[Path], peers: PeerHashes) -> dict[str, Looks]:
    found: dict[str, list[_Seen]] = {name: [] for name in ALTERATIONS}
    for seed, file in enumerate(files):
        photo = _flat(Image.open(file))
        photo.thumbnail((_LARGEST_PX, _LARGEST_PX))
        for name, seen in found.items():
            seen.append(_look(altered(name, photo, seed), peers, with_turned=False))
    return {name: _stacked(seen) for name, seen in found.items()}


def _flat(image: Image.Image) -> Image.Image:
    """Without transparency, on white, as the decoder shows it."""
    clear = image.convert("RGBA")
    flat = Image.new("RGBA", clear.size, "white")
    flat.alpha_composite(clear)
    return flat.convert("RGB")


def _look(body: bytes, peers: PeerHashes, with_turned: bool) -> _Seen:
    picture = decode(body, DecodeSettings(turned_hashes=with_turned))
    if picture.status != "ok":
        raise AssertionError(f"a picture was not decoded: {picture.status_detail}")
    if not peers:
        return picture, {}
    image = _flat(Image.open(io.BytesIO(body)))
    return picture, {name: hash_of(image) for name, hash_of in peers.items()}


def _stacked(seen: Sequence[_Seen]) -> Looks:
    found = [picture for picture, _ in seen]
    none64, none256 = [0] * len(TURNS), [bytes(32)] * len(TURNS)
    wide = [b"".join(p.turned256 or none256) for p in found]
    return Looks(
        np.array([p.hash64 for p in found], np.int64).view(np.uint64),
        np.stack([np.frombuffer(p.hash256 or b"", np.uint64) for p in found]),
        np.array([p.texture for p in found]),
        np.array([(p.original_width or 1) / (p.original_height or 1) for p in found]),
        np.array([p.turned64 or none64 for p in found], np.int64).view(np.uint64),
        np.frombuffer(b"".join(wide), np.uint64).reshape(len(found), len(TURNS), 4),
        {name: np.array([hashed[name] for _, hashed in seen], np.uint64) for name in seen[0][1]},
    )


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
