"""Streams through PyTorch's own loaders, and several of them mixed."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from pipeline.core.errors import InputError
from pipeline.stream.loader import Batch, Stream
from pipeline.stream.mixture import Mixture, Source, shares
from pipeline.stream.pytorch import StreamDataset
from tests.shards import plain_release
from tests.shards.test_verify import samples

SAMPLES = samples(203)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pytorch") / "release"
    plain_release.write(folder, SAMPLES, 50)
    return folder


def keys_of(batch: Batch) -> list[str]:
    return batch.keys


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_data_loader_gives_the_steps_in_order_whatever_its_workers(
    folder: Path, workers: int
) -> None:
    expected = [batch.keys for batch in Stream(str(folder), 20, seed=4)]
    dataset = StreamDataset(str(folder), 20, seed=4, convert=keys_of)
    assert list(DataLoader(dataset, batch_size=None, num_workers=workers)) == expected
    dataset.set_epoch(1)
    second = list(DataLoader(dataset, batch_size=None, num_workers=workers))
    assert second != expected and sorted(sum(second, [])) == sorted(sum(expected, []))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_goes_on_with_another_number_of_workers(folder: Path, workers: int) -> None:
    expected = [batch.keys for batch in Stream(str(folder), 20)]
    first = iter(DataLoader(StreamDataset(str(folder), 20), batch_size=None, num_workers=2))
    applied = [next(first) for _ in range(4)]
    dataset = StreamDataset(str(folder), 20, convert=keys_of)
    dataset.load_state_dict(applied[-1].state.to_json())
    rest = list(DataLoader(dataset, batch_size=None, num_workers=workers))
    assert [b.keys for b in applied] + rest == expected


def test_state_kept_worker_by_worker_is_gone_on_with(folder: Path) -> None:
    """What torchdata's StatefulDataLoader does: a worker's state goes back to the same worker."""
    whole = [batch.keys for batch in Stream(str(folder), 20)]
    dataset = StreamDataset(str(folder), 20, convert=keys_of)
    rows = iter(dataset)
    done = [next(rows) for _ in range(3)]
    later = StreamDataset(str(folder), 20, convert=keys_of)
    later.load_state_dict(dataset.state_dict())
    assert done + list(later) == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_torchdatas_loader_goes_on_where_it_was(folder: Path, workers: int) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader")
    whole = [batch.keys for batch in Stream(str(folder), 20)]

    def loader() -> Any:
        dataset = StreamDataset(str(folder), 20, convert=keys_of)
        return stateful.StatefulDataLoader(dataset, batch_size=None, num_workers=workers)

    first = loader()
    rows = iter(first)
    done = [next(rows) for _ in range(4)]
    later = loader()
    later.load_state_dict(first.state_dict())
    assert done + list(later) == whole


def test_members_of_unlike_size_share_every_step(folder: Path) -> None:
    members = {"small": 1, "large": 4}
    whole = [sorted(batch.keys) for batch in Stream(str(folder), 20)]
    parts = [
        list(StreamDataset(str(folder), 20, member=name, members=members, convert=keys_of))
        for name in members
    ]
    assert [sorted(sum(step, [])) for step in zip(*parts, strict=True)] == whole
    assert [len(step[0]) for step in zip(*parts, strict=True)][:-1] == [4] * 10


def test_a_state_that_is_none_is_refused(folder: Path) -> None:
    dataset = StreamDataset(str(folder), 20)
    dataset.load_state_dict({"format": 3})
    with pytest.raises(InputError, match="stream state of format 3"):
        next(iter(dataset))


def test_sources_give_their_share_and_end_their_epochs_for_themselves(
    folder: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    plain_release.write(small, SAMPLES[:40], 40)
    sources = {"web": Source(str(folder), 3), "books": Source(str(small), 1)}
    mixture = Mixture(sources, 16, partial_step=True)
    assert mixture.shares == {"web": 12, "books": 4}
    served: dict[str, Counter[str]] = {"web": Counter(), "books": Counter()}
    half = {}
    for step in range(20):
        if step == 10:
            half = mixture.state_dict()
        for name, batch in mixture.read().items():
            served[name].update(batch.keys)
        mixture.commit()
    assert set(served["books"].values()) == {2} and len(served["books"]) == 40
    assert set(served["web"].values()) <= {1, 2} and len(served["web"]) == 203
    again = Mixture(sources, 16, partial_step=True)
    again.load_state_dict(half)
    for _ in range(10):
        again.commit()
    assert again.state_dict() == mixture.state_dict()
    with pytest.raises(InputError, match="not of the sources"):
        Mixture({"web": sources["web"]}, 16).load_state_dict(half)


def test_shares_are_whole_and_never_nothing() -> None:
    assert shares({"a": 1, "b": 1, "c": 1}, 8) == {"a": 3, "b": 3, "c": 2}
    with pytest.raises(ValueError, match="b: no sample in a batch of 8"):
        shares({"a": 1000, "b": 1}, 8)
    with pytest.raises(ValueError, match="all of them positive"):
        shares({"a": 1, "b": 0}, 8)
