"""Why pairs are dropped, for the documentation: the reasons of each stage, and those of filters."""

import dataclasses
import inspect
from contextlib import suppress

import filters
from jobs.docs_keys import toml
from pipeline.core.errors import ConfigError, InputError
from pipeline.core.filter import Filter
from pipeline.core.reasons import (
    ClusterReason,
    DropReason,
    LinkReason,
    MatchReason,
    RecordReason,
    Status,
)

# Stage -> unit of its accounts -> the reasons that it is counted under. Those of `decide` come from
# bounds, see `filter_rows`; `measure` also drops pairs for the status of their image's download.
REASONS: dict[str, dict[str, list[str]]] = {
    "extract": {"records": list(RecordReason), "links": list(LinkReason)},
    "dedupe": {
        "pairs": [
            DropReason.NO_CAPTION,
            DropReason.DUPLICATE_PAIR,
            DropReason.OVER_CAPTION_CAP,
            DropReason.REGISTERED,
        ],
        "images": [DropReason.NO_CAPTION, DropReason.REGISTERED],
    },
    "download": {
        "images": [status for status in Status if status not in (Status.OK, Status.NOT_MODIFIED)]
    },
    "match": {
        "pictures": [MatchReason.SAME_FINGERPRINT],
        "searched_pictures": [MatchReason.LOW_TEXTURE],
        "audited_neighbours": [MatchReason.MISSED],
        "candidate_pairs": [MatchReason.HASH256_DIFFERS, MatchReason.SHAPE_DIFFERS],
        "turned_pairs": [
            MatchReason.HASH256_DIFFERS,
            MatchReason.SHAPE_DIFFERS,
            MatchReason.SAME_PAIR,
        ],
        "new_pictures": [MatchReason.RELEASED],
        "unlisted_pictures": [MatchReason.BLOCKED, MatchReason.EVALUATION_MATCH],
    },
    "score": {
        "pictures": [
            DropReason.SAME_PICTURE,
            DropReason.UNREADABLE_PICTURE,
            DropReason.BLOCKED,
        ],
        "captions": [DropReason.SAME_CAPTION],
        "pairs": [DropReason.NO_SCORE],
    },
    "cluster": {
        "copy_descriptors": [ClusterReason.NOT_FINITE],
        "image_embeddings": [ClusterReason.NOT_FINITE],
        "audited_copies": [ClusterReason.OTHER_CLUSTER],
        "audited_alike": [ClusterReason.OTHER_CLUSTER],
    },
    "measure": {"pairs": [DropReason.BLOCKED]},
    "decide": {},
    "shard": {"samples": [DropReason.NO_SCORE]},
    "report": {},
}


def filter_rows() -> list[tuple[str, str, str, str]]:
    """Of every filter its name, what it looks at, its settings and the reasons it can give."""
    found = []
    for name, kind in filters.load().items():
        found.append((f"`{name}`", _about(kind), _settings(kind), _bounds(kind)))
    return found


def _about(kind: type[Filter]) -> str:
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def _settings(kind: type[Filter]) -> str:
    told = []
    for field in dataclasses.fields(kind):
        value = _default(field)
        is_required = value is dataclasses.MISSING
        shown = f"`{field.name}` required" if is_required else f"`{field.name} = {toml(value)}`"
        told.append(shown)
    return "<br>".join(told)


def _bounds(kind: type[Filter]) -> str:
    """Reasons by its defaults, but for those of missing values."""
    found = dict.fromkeys(reason for bound in _made(kind).bounds() for reason in bound.reasons)
    return "<br>".join(f"`{reason}`" for reason in found if not reason.endswith("_missing"))


def _made(kind: type[Filter]) -> Filter:
    """A filter with its defaults, and something in place of what a recipe must give: a number of
    pairs, a file, or a file for each language. Bounds look into none."""
    fields = dataclasses.fields(kind)
    required = [f.name for f in fields if _default(f) is dataclasses.MISSING]
    empty = [f.name for f in fields if _default(f) in ({}, "", None)]
    for names in (required, [*required, *empty]):
        for stand_in in (1, "list.txt", {"en": "list.txt"}):
            with suppress(TypeError, ValueError, AttributeError, InputError):
                return kind(**dict.fromkeys(names, stand_in))
    raise ConfigError(f"{kind.__name__} cannot be made with stand-ins for what it needs")


def _default(field: "dataclasses.Field[object]") -> object:
    """MISSING for a field that must be given."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
