"""An amendment: some parts of what a finished stage wrote are replaced by newer ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from pipeline.core.accounts import Account
from pipeline.core.stage import StageSection
from pipeline.core.storage import Store

if TYPE_CHECKING:
    from pipeline.core.context import Context

C = TypeVar("C", bound=StageSection)


@dataclass(frozen=True)
class Amendment(Generic[C]):
    """name: what a person calls it. find: the parts to replace. build: replaces them; returns the
    accounts of the whole stage. settle: called before `find` where the config has other values of
    what the stage says is `settled_by` this amendment. later: told when nothing is found: what will
    be, and when."""

    name: str
    find: Callable[[Store], list[int]]
    build: Callable[["Context[C]", Sequence[int]], list[Account]]
    settle: Callable[["Context[C]"], object] | None = None
    later: Callable[[Store], str] | None = None
