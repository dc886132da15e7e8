"""Streams for PyTorch: an IterableDataset whose items are whole batches.

    dataset = StreamDataset("s3://bucket/release", 4096, member="a", members={"a": 1, "b": 2})
    for batch in DataLoader(dataset, batch_size=None, num_workers=4):
        ...                                 # apply it, then save batch.state with the model

A run whose members come and go without a restart uses `loader.Stream` itself.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from pipeline.core.errors import InputError
from pipeline.stream.loader import Batch, Stream
from pipeline.stream.views import View


class StreamDataset(IterableDataset[Any]):  # type: ignore[misc]  # torch has no types here
    """One epoch of one member's batches, in step order, whatever the number of workers.

    view, batch_size, settings: as of `loader.Stream`.
    convert: makes of each batch, in the worker, what training wants; None leaves `loader.Batch`.
    Of W workers each makes every W-th step, so DataLoader, which takes from them in turn, gives the
    steps in order. A worker needs chunks of all lanes: for a remote release give
    `Reading(cache=...)`, which the workers share, or use one worker with more threads.

    Where a run goes on: `load_state_dict` with the `state` of the last batch that was applied, into
    a dataset of any number of workers. torchdata's StatefulDataLoader keeps state by itself,
    worker by worker, and wants the same number of them.
    """

    def __init__(
        self,
        view: View | str,
        batch_size: int,
        *,
        convert: Callable[[Batch], Any] | None = None,
        **settings: Any,
    ) -> None:
        self._view, self._batch_size, self._settings = view, batch_size, settings
        self._convert = convert
        self._epoch: int | None = None
        self._saved: dict[str, Any] | None = None
        self._of_worker = False
        self._next: dict[str, Any] | None = None

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration gives; without it, the saved one, or the first."""
        self._epoch = epoch
        self._saved, self._of_worker = None, False

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        stream = Stream(
            self._view, self._batch_size, state=self._saved, stride=workers, **self._settings
        )
        try:
            if self._epoch is not None:
                stream.seek(self._epoch, 0)
            first = stream.step + (0 if self._of_worker else number)
            for step in range(first, stream.steps, workers):
                stream.seek(stream.epoch, step)
                batch = stream.read()
                stream.seek(stream.epoch, min(step + workers, stream.steps))
                self._next = stream.state_dict()
                yield batch if self._convert is None else self._convert(batch)
        finally:
            stream.close()

    def state_dict(self) -> dict[str, Any]:
        """Where this worker is: for torchdata, which hands it back to the same worker."""
        return {"of_worker": True, "stream": self._next or self._saved}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on after a batch, by its `state.to_json()`; or as `state_dict` says.

        Raises InputError, when it is iterated, for a state of another release or view.
        """
        self._of_worker = bool(saved.get("of_worker"))
        state = saved["stream"] if self._of_worker else saved
        if state is not None and not isinstance(state, Mapping):
            raise InputError(f"not a stream's state: {state!r}")
        self._saved = dict(state) if state is not None else None
        self._epoch = None
