"""Subsets by hash: nested, of the view alone, the same wherever the samples lie."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.judge.subsets import ids_of, of_flags, selected, subset
from pipeline.stream.loader import Stream
from pipeline.stream.views import View
from tests.judge import pools


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> View:
    return pools.write(tmp_path_factory.mktemp("pool") / "a", 130, lambda c, n: f"{c} {n}")


def keys(view: View) -> set[str]:
    return {key for batch in Stream(view, 10) for key in batch.keys}


def test_flags_and_bits_are_one_another(pool: View) -> None:
    flags = np.arange(pool.manifest.samples) % 3 == 0
    view = of_flags(pool, flags, "every third")
    assert np.array_equal(selected(view), flags)
    assert (view.samples, view.condition) == (flags.sum(), "every third")
    assert len(keys(view)) == flags.sum()
    assert selected(pool).all()


def test_smaller_subsets_lie_inside_larger_ones(pool: View) -> None:
    ids = ids_of(pool)
    view = of_flags(pool, np.arange(pool.manifest.samples) % 3 > 0, "some")
    parts = [selected(subset(view, n, ids, "a")) for n in (1, 10, 40, view.samples)]
    for small, large in zip(parts, parts[1:], strict=False):
        assert not (small & ~large).any()
    assert [part.sum() for part in parts] == [1, 10, 40, view.samples]
    assert np.array_equal(parts[-1], selected(view))
    assert subset(view, view.samples, ids, "a").id == view.id


def test_salts_give_other_subsets_and_the_same_give_the_same(pool: View) -> None:
    ids = ids_of(pool)
    one, again, other = (subset(pool, 60, ids, salt).id for salt in ("0", "0", "1"))
    assert one == again != other


def test_which_samples_does_not_depend_on_shards(pool: View, tmp_path: Path) -> None:
    other = pools.write(tmp_path / "b", 130, lambda c, n: f"{c} {n}", per_shard=17)
    assert keys(subset(pool, 20, ids_of(pool), "x")) == keys(subset(other, 20, ids_of(other), "x"))


def test_subsets_are_fair(pool: View) -> None:
    counts = sum(selected(subset(pool, 65, ids_of(pool), f"s{n}")).astype(int) for n in range(200))
    assert 60 < counts.min() and counts.max() < 140  # of 200 draws of a half; 5.6 deviations


def test_more_than_there_is_is_refused(pool: View) -> None:
    with pytest.raises(InputError, match="a view of 130 samples has no 131"):
        subset(pool, 131, ids_of(pool), "a")
