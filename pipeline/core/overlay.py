"""A run that borrows the tables of another: what it writes is its own, and the other stays as it
is."""

import posixpath
from collections.abc import Sequence

from pipeline.core import records
from pipeline.core.stage import Stage
from pipeline.core.storage import Store


class Overlay(Store):
    """A folder of stages that read what earlier stages wrote in another run's folder.

    root: its own. beneath: the other run's. borrowed: the stages whose tables, folders and records
    are read there; nothing of theirs is written.
    """

    def __init__(self, root: str, beneath: str, borrowed: Sequence[Stage]) -> None:
        super().__init__(root)
        self.beneath = Store(beneath).root
        names = set[str]()
        for stage in borrowed:
            names |= {records.path(stage.name), *stage.folders, *(t.name for t in stage.writes)}
        self._borrowed = tuple(sorted(names))

    def path(self, *parts: str) -> str:
        """Where a file or folder is: beneath where it is borrowed, else in the own root."""
        if not parts:
            return self.root
        relative = posixpath.join(*parts)
        is_borrowed = any(relative == n or relative.startswith(f"{n}/") for n in self._borrowed)
        return posixpath.join(self.beneath if is_borrowed else self.root, relative)
