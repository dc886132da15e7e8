"""All that has to be saved of a stream: what fixes its order, and one number for where it is."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.core.errors import InputError

FORMAT = 1


@dataclass(frozen=True)
class State:
    """A place in a stream, the same for all members. Under 1 KB as JSON.

    release, view: ids; the state is refused by any other. seed, epoch.
    lanes, per_lane: a global step takes `per_lane` samples of each lane.
    window, chunk_samples: how the order is made.
    cursor: samples taken of each lane by the steps committed in this epoch.
    """

    release: str
    view: str
    seed: int
    epoch: int
    lanes: int
    per_lane: int
    window: int
    chunk_samples: int
    cursor: int = 0

    def to_json(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Any) -> "State":
        """Undo `to_json`. Raises InputError for anything else."""
        try:
            if data["format"] != FORMAT:
                raise InputError(f"stream state of format {data['format']!r}; this reads {FORMAT}")
            return cls(**{f.name: _typed(f.type, data[f.name]) for f in fields(cls)})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a stream's state: {error!r}") from None


def refuse_other(saved: State, opened: State) -> None:
    """Raise InputError unless a saved state belongs to the stream that is opened: same release and
    view. What else differs is taken from the saved state."""
    for name in ("release", "view"):
        was, now = getattr(saved, name), getattr(opened, name)
        if was != now:
            raise InputError(
                f"the saved state is of {name} {was[:16]}, this is {now[:16]}: going on would "
                "repeat and miss samples; open what it was saved with, or start without it"
            )


def _typed(kind: Any, value: Any) -> Any:
    wanted = {"int": int, "str": str}.get(kind, kind)
    if type(value) is not wanted:
        raise ValueError(f"{value!r} is no {wanted.__name__}")
    return value
