"""An embedded web whose sites change their minds: what they say from the next time it is served on.

changes.json beside the web, which stays as it was written.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.fakeweb.hostile import Kind
from pipeline.fakeweb.model import Robots

_FILE = "changes.json"


@dataclass(frozen=True)
class Changes:
    """robots: by host name. headers: of the responses, e.g. "X-Robots-Tag: noai", and kinds of
    behaviour, by image_id in hex."""

    robots: Mapping[str, Robots] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)


def write_changes(folder: str, changes: Changes) -> None:
    """Change the web in a folder, in place of earlier changes."""
    told = {"robots": changes.robots, "headers": changes.headers, "kinds": changes.kinds}
    data = {name: dict(values) for name, values in told.items()}
    Path(folder, _FILE).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_changes(folder: Path) -> Changes:
    """The changes of a web; none where none were written."""
    if not (folder / _FILE).exists():
        return Changes()
    data = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return Changes(
        {name: Robots(value) for name, value in data["robots"].items()},
        data["headers"],
        {name: Kind(value) for name, value in data["kinds"].items()},
    )
