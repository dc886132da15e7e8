"""A stream as a training run uses it: members come and go, steps fail, storage lies."""

import json
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.core.errors import InputError
from pipeline.stream import views
from pipeline.stream.loader import Batch, EndOfEpoch, Reading, Stream
from pipeline.stream.ranges import Patience
from pipeline.stream.samples import StalledRead
from tests.shards import plain_release
from tests.shards.test_verify import samples

SAMPLES = samples(203)
BY_KEY = {sample[0]: sample for sample in SAMPLES}
QUICK = Patience(tries=3, backoff_s=0.01, hedge_s=0.2, stall_s=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loader") / "release"
    plain_release.write(folder, SAMPLES, 50)
    return folder


class Trouble(MemoryFileSystem):  # type: ignore[misc]
    """A storage that does to a read what `trouble` says; it counts what is read of tars."""

    protocol = "trouble"
    store: dict[str, Any] = {}  # noqa: RUF012 - as in its base
    pseudo_dirs = [""]  # noqa: RUF012
    trouble: Callable[[str, bytes], bytes] | None = None
    tar_reads = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("trouble://", "memory://")))

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        data: bytes = super().cat_file(path, start, end, **kwargs)
        if path.endswith(".tar"):
            Trouble.tar_reads += 1
        return Trouble.trouble(path, data) if Trouble.trouble else data


@pytest.fixture
def remote(folder: Path) -> Iterator[str]:
    fsspec.register_implementation("trouble", Trouble, clobber=True)
    fs = fsspec.filesystem("trouble", skip_instance_cache=True)
    for file in folder.rglob("*"):
        if file.is_file():
            fs.pipe_file(f"/r/{file.relative_to(folder)}", file.read_bytes())
    Trouble.trouble, Trouble.tar_reads = None, 0
    yield "trouble://r"
    Trouble.trouble = None
    Trouble.store.clear()


def epoch_of(stream: Stream) -> list[Batch]:
    return list(stream)


def keys(batches: list[Batch]) -> list[list[str]]:
    return [batch.keys for batch in batches]


def test_an_epoch_has_every_sample_once_as_it_was_written(folder: Path) -> None:
    stream = Stream(str(folder), 16, chunk_samples=8)
    batches = epoch_of(stream)
    assert [len(b) for b in batches[:-1]] == [16] * (len(batches) - 1)
    served = [s for b in batches for s in zip(b.keys, b.jpg, b.txt, b.json, strict=True)]
    assert sorted(served) == sorted(SAMPLES)
    assert served != SAMPLES
    assert all((b.weight == 1).all() for b in batches)
    assert (stream.epoch, stream.step) == (1, 0)
    again = epoch_of(stream)
    assert sorted(sum(keys(again), [])) == sorted(BY_KEY) and keys(again) != keys(batches)
    stream.close()


def test_the_partial_step_may_be_left_out(folder: Path) -> None:
    stream = Stream(str(folder), 16, chunk_samples=8, partial_step=False)
    batches = epoch_of(stream)
    assert [len(b) for b in batches] == [16] * (203 // 16)


@pytest.mark.parametrize("place", ["local", "remote"])
def test_elastic_members_serve_the_steps_of_an_undisturbed_run(
    folder: Path, remote: str, place: str
) -> None:
    """Members of unlike capacity join, leave and fail; every global step stays what it was."""
    url = str(folder) if place == "local" else remote
    given: dict[str, Any] = {"seed": 3, "lanes": 24, "window": 2, "chunk_samples": 8}
    reference = [sorted(b.keys) for b in Stream(url, 24, **given)]
    chance = random.Random(5)
    members = {"a": 3, "b": 1}
    run = {n: Stream(url, 24, member=n, members=members, **given) for n in members}
    step, joined, aborted = 0, 0, 0
    while step < len(reference):
        if chance.random() < 0.3:
            if len(members) > 1 and chance.random() < 0.5:
                del members[gone := chance.choice(sorted(members))]
                run.pop(gone).close()
            else:
                joined += 1
                members[new := f"n{joined}"] = chance.choice([1, 2, 5, 8])
                run[new] = Stream(url, 24, member=new, members=members, **given)
                run[new].load_state_dict(next(iter(run.values())).state_dict())
            for stream in run.values():
                stream.set_members(members)
        batches = [stream.read() for stream in run.values()]
        assert sorted(k for b in batches for k in b.keys) == reference[step]
        sizes = {n: len(s.lanes) for n, s in run.items()}
        assert sum(sizes.values()) == 24
        if chance.random() < 0.2:  # nobody commits: the same step is served again
            aborted += 1
            continue
        for stream in run.values():
            stream.commit()
        step += 1
    assert joined and aborted
    with pytest.raises(EndOfEpoch):
        next(iter(run.values())).read()


def test_a_run_goes_on_from_any_saved_step(folder: Path) -> None:
    whole = keys(epoch_of(Stream(str(folder), 20, seed=1, chunk_samples=8)))
    for stop in (0, 1, 5, len(whole)):
        first = Stream(str(folder), 20, seed=1, chunk_samples=8)
        done: list[list[str]] = []
        state = first.state_dict()
        for batch in first:
            if len(done) == stop:
                break
            done.append(batch.keys)
            state = batch.state.to_json()
        text = json.dumps(state)
        assert len(text) < 1024
        # What fixes the order is in the state.
        later = Stream(str(folder), 20, seed=99, state=json.loads(text))
        assert done + keys(epoch_of(later)) == whole


def test_a_state_of_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    stream = Stream(str(folder), 4)
    saved = stream.state_dict()
    for broken in ({}, {"format": 9}, saved | {"cursor": "3"}, {k: saved[k] for k in ("format",)}):
        with pytest.raises(InputError, match="state"):
            stream.load_state_dict(broken)
    other = tmp_path / "other"
    plain_release.write(other, SAMPLES[:-1], 50)
    with pytest.raises(InputError, match="the saved state is of release"):
        Stream(str(other), 4).load_state_dict(saved)
    view = views.select(str(folder), "key < '8'")
    with pytest.raises(InputError, match="the saved state is of view"):
        Stream(view, 4).load_state_dict(saved)


def test_a_view_is_streamed_alone(folder: Path, tmp_path: Path) -> None:
    view = views.select(str(folder), "key < '8' AND jpg_bytes > 1000")
    wanted = {key for key, jpg, *_ in SAMPLES if key < "8" and len(jpg) > 1000}
    assert 0 < len(wanted) < 203 and view.samples == len(wanted)
    views.save(view, str(tmp_path / "v" / "some.view"))
    loaded = views.load(str(folder), str(tmp_path / "v" / "some.view"))
    assert (loaded.id, loaded.condition) == (view.id, view.condition)
    assert set(sum(keys(epoch_of(Stream(loaded, 8, chunk_samples=8))), [])) == wanted
    everything = views.whole(str(folder))
    views.save(everything, str(tmp_path / "all.view"))
    assert views.load(str(folder), str(tmp_path / "all.view")).samples == 203


def test_a_view_of_a_remote_release_holds_what_it_selects(folder: Path, remote: str) -> None:
    view = views.select(str(folder), "key < '8' AND jpg_bytes > 1000")
    local = epoch_of(Stream(view, 8, chunk_samples=8))
    far = views.View(remote, view.manifest, view.bits)
    # Room for what it selects, and not for its chunks whole.
    selected = sum(len(jpg) + 4096 for batch in local for jpg in batch.jpg)
    reading = Reading(buffer_bytes=selected)
    stream = Stream(far, 8, chunk_samples=8, reading=reading)
    for _ in range(2):
        assert [(b.keys, b.jpg, b.txt, b.json) for b in epoch_of(stream)] == [
            (b.keys, b.jpg, b.txt, b.json) for b in local
        ]
        local = epoch_of(Stream(view, 8, chunk_samples=8, seed=0, state=stream.state_dict()))
    assert Trouble.tar_reads == len(
        {(int(s), int(r) // 8) for b in local for s, r in zip(b.shard, b.row, strict=True)}
    )


def test_bad_views_are_refused_with_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"condition 'widht > 3': .*widht"):
        views.select(str(folder), "widht > 3")
    with pytest.raises(InputError, match="there is no view"):
        views.load(str(folder), str(tmp_path / "none.view"))
    path = tmp_path / "some.view"
    views.save(views.select(str(folder), "key < '8'"), str(path))
    clean = path.read_bytes()
    path.write_bytes(clean[:-1] + bytes([clean[-1] ^ 1]))
    with pytest.raises(InputError, match="is damaged"):
        views.load(str(folder), str(path))
    path.write_bytes(b"not a view")
    with pytest.raises(InputError, match="is no view file"):
        views.load(str(folder), str(path))
    path.write_bytes(clean)
    other = tmp_path / "other"
    plain_release.write(other, SAMPLES[:-1], 50)
    with pytest.raises(InputError, match="select again from this release"):
        views.load(str(other), str(path))
    with pytest.raises(ValueError, match="selects no sample"):
        Stream(views.select(str(folder), "key < ''"), 4)


def test_damage_masks_its_sample_and_is_told(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "release"))
    bad = SAMPLES[60]
    tar = broken / "00001.tar"
    tar.write_bytes(tar.read_bytes().replace(bad[1], bad[1][:-1] + b"?"))
    (broken / "00003.tar").unlink()
    gone = {key for key, *_ in SAMPLES[150:200]}
    whole = keys(epoch_of(Stream(str(folder), 16, chunk_samples=8)))
    stream = Stream(str(broken), 16, chunk_samples=8)
    batches = epoch_of(stream)
    for expected, batch in zip(whole, batches, strict=True):
        for key, found, weight, jpg in zip(
            expected, batch.keys, batch.weight, batch.jpg, strict=True
        ):
            if key in gone or key == bad[0]:
                assert (weight, jpg, found) == (0, b"", "")
            else:
                assert (weight, jpg, found) == (1, BY_KEY[key][1], key)
    assert len(stream.damaged) == 51
    assert any("00001.tar: sample 10, bytes" in d.what for d in stream.damaged)
    assert sum("00003.tar or its index is missing" in d.what for d in stream.damaged) == 50


def test_a_tombstone_masks_at_once(folder: Path, tmp_path: Path) -> None:
    release = Path(shutil.copytree(folder, tmp_path / "release"))
    removed = SAMPLES[7][0]
    (release / ".meta" / "tombstones.txt").write_text(f"{removed}\n")
    batches = epoch_of(Stream(str(release), 16, chunk_samples=8))
    masked = [
        (key, jpg)
        for b in batches
        for key, w, jpg in zip(b.keys, b.weight, b.jpg, strict=True)
        if not w
    ]
    assert masked == [(removed, b"")]
    with pytest.raises(InputError, match="there are no tombstones"):
        Stream(str(folder), 4, reading=Reading(tombstones=str(tmp_path / "none")))


def test_a_remote_release_is_fetched_by_chunks_once(folder: Path, remote: str) -> None:
    local = keys(epoch_of(Stream(str(folder), 16, chunk_samples=8, window=2)))
    assert keys(epoch_of(Stream(remote, 16, chunk_samples=8, window=2))) == local
    chunks = sum(-(-size // 8) for size in (50, 50, 50, 50, 3))
    assert Trouble.tar_reads == chunks


def test_a_small_buffer_costs_reads_and_nothing_else(folder: Path, remote: str) -> None:
    local = keys(epoch_of(Stream(str(folder), 16, chunk_samples=8)))
    tight = Reading(buffer_bytes=50_000, threads=1, ahead=1)
    assert keys(epoch_of(Stream(remote, 16, chunk_samples=8, reading=tight))) == local
    assert Trouble.tar_reads > 28


def test_a_cache_serves_the_second_epoch_within_its_limit(remote: str, tmp_path: Path) -> None:
    roomy = Reading(cache=str(tmp_path / "c"), buffer_bytes=1)
    stream = Stream(remote, 16, chunk_samples=8, reading=roomy)
    epoch_of(stream)
    reads = Trouble.tar_reads
    assert sorted(sum(keys(epoch_of(stream)), [])) == sorted(BY_KEY)
    assert Trouble.tar_reads == reads
    small = Reading(cache=str(tmp_path / "d"), cache_bytes=100_000)
    epoch_of(Stream(remote, 16, chunk_samples=8, reading=small))
    assert 0 < sum(f.stat().st_size for f in (tmp_path / "d").iterdir()) <= 100_000


def test_errors_lies_and_short_answers_are_asked_for_again(folder: Path, remote: str) -> None:
    seen: dict[tuple[str, int], int] = {}
    lock = threading.Lock()

    def trouble(path: str, data: bytes) -> bytes:
        with lock:
            number = len(seen)
            count = seen[path, len(data)] = seen.get((path, len(data)), 0) + 1
        if count > 1 or not path.endswith(".tar"):
            return data
        if number % 3 == 0:
            raise RuntimeError("503 Slow Down")
        return data[:-7] if number % 3 == 1 else data[:600] + b"~" + data[601:]

    Trouble.trouble = trouble
    stream = Stream(remote, 16, chunk_samples=8, reading=Reading(patience=QUICK))
    batches = epoch_of(stream)
    assert keys(batches) == keys(epoch_of(Stream(str(folder), 16, chunk_samples=8)))
    assert stream.damaged == []


def test_a_slow_answer_is_overtaken_by_a_second_request(folder: Path, remote: str) -> None:
    asked: set[tuple[str, int]] = set()

    def trouble(path: str, data: bytes) -> bytes:
        first = (path, len(data)) not in asked
        asked.add((path, len(data)))
        if first and path.endswith("00002.tar"):
            time.sleep(30)
        return data

    Trouble.trouble = trouble
    patience = Patience(tries=1, hedge_s=0.1, stall_s=20)
    stream = Stream(remote, 50, chunk_samples=64, reading=Reading(patience=patience))
    assert sorted(sum(keys(epoch_of(stream)), [])) == sorted(BY_KEY)


def test_a_stall_ends_in_an_error_that_says_where(remote: str) -> None:
    def trouble(path: str, data: bytes) -> bytes:
        if path.endswith("00000.tar"):
            time.sleep(30)
        return data

    Trouble.trouble = trouble
    stream = Stream(remote, 50, chunk_samples=64, reading=Reading(patience=QUICK))
    with pytest.raises(StalledRead, match=r"r/00000\.tar, bytes 0 to \d+, have not come in 1 s"):
        epoch_of(stream)
    Trouble.trouble = trouble
    patient = Reading(stall_s=0.5, patience=Patience(hedge_s=5, stall_s=20))
    stream = Stream(remote, 50, chunk_samples=64, reading=patient)
    with pytest.raises(StalledRead, match=r"step \d+ of epoch 0: .*00000\.tar"):
        epoch_of(stream)


def test_sizes_and_members_that_do_not_fit_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="not a divisor of the batch size 10"):
        Stream(str(folder), 10, lanes=4)
    with pytest.raises(ValueError, match="a is not among the members"):
        Stream(str(folder), 10, member="a").set_members({"b": 1})
    with pytest.raises(InputError, match="is no release"):
        Stream(str(folder / "nothing"), 10)
