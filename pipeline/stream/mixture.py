"""Several views in one run, each with its share of every batch and epochs of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import InputError
from pipeline.stream.loader import Batch, Stream
from pipeline.stream.views import View


@dataclass(frozen=True)
class Source:
    """A view and its weight among the sources, any positive number."""

    view: View | str
    weight: float


class Mixture:
    """Steps of `batch_size` samples, of which each source gives its share, to a sample.

    Every source is a `loader.Stream`: of each all samples are served once in each of its epochs,
    which end at different steps. settings: as of `loader.Stream`, the same for all.
    Raises ValueError for a weight that is not positive, or one so small that it gives no sample.
    """

    def __init__(self, sources: Mapping[str, Source], batch_size: int, **settings: Any) -> None:
        self.shares = shares({name: s.weight for name, s in sources.items()}, batch_size)
        self._streams = {
            name: Stream(source.view, self.shares[name], **settings)
            for name, source in sources.items()
        }
        self.step = 0

    def read(self) -> dict[str, Batch]:
        """This member's part of the next step, by source; the same until it is committed."""
        return {name: stream.read() for name, stream in self._streams.items()}

    def commit(self) -> None:
        """The step has been applied by all members. A source that is through starts again."""
        for stream in self._streams.values():
            stream.commit()
            if stream.step == stream.steps:
                stream.next_epoch()
        self.step += 1

    def set_members(self, members: Mapping[str, int]) -> None:
        """As of `loader.Stream`."""
        for stream in self._streams.values():
            stream.set_members(members)

    def state_dict(self) -> dict[str, Any]:
        """Where the committed steps end."""
        streams = {name: stream.state_dict() for name, stream in self._streams.items()}
        return {"step": self.step, "streams": streams}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from a saved place. Raises InputError when its sources are others."""
        streams = saved.get("streams")
        if not isinstance(streams, Mapping) or streams.keys() != self._streams.keys():
            raise InputError(f"the saved state is not of the sources {sorted(self._streams)}")
        for name, stream in self._streams.items():
            stream.load_state_dict(streams[name])
        self.step = int(saved["step"])

    def close(self) -> None:
        """Let go of threads, files and buffers."""
        for stream in self._streams.values():
            stream.close()


def shares(weights: Mapping[str, float], batch_size: int) -> dict[str, int]:
    """Samples of a batch by source, in proportion to weights by largest remainder, ties by name.

    Raises ValueError for a weight that is not positive, or one so small that it gives no sample.
    """
    total = sum(weights.values())
    if not weights or not all(weight > 0 for weight in weights.values()):
        raise ValueError(f"weights {dict(weights)}: at least one, all of them positive")
    exact = {name: batch_size * weight / total for name, weight in weights.items()}
    found = {name: int(share) for name, share in exact.items()}
    left = batch_size - sum(found.values())
    for name in sorted(exact, key=lambda n: (found[n] - exact[n], n))[:left]:
        found[name] += 1
    if empty := sorted(name for name, share in found.items() if not share):
        raise ValueError(f"{', '.join(empty)}: no sample in a batch of {batch_size}")
    return found
