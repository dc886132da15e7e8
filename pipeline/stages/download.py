"""`download`: ask for every candidate's picture, politely; store bytes in raw tars, facts in rows.

A part's raw tar is published before its rows, which are the commit: a part without rows is done
again and overwrites its tar. Cost grows with the number of candidates; a task uses one core for
decoding and fetches while it does, from several parts at once where one leaves places idle. Tasks
share parts, hosts and addresses through a coordinator in the driver.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa

from pipeline.core import raw
from pipeline.core.accounts import Account
from pipeline.core.context import Context
from pipeline.core.errors import InputError
from pipeline.core.stage import Stage
from pipeline.core.storage import Store
from pipeline.core.tables import CANDIDATES, IMAGES
from pipeline.fetch.settings import DownloadSection

if TYPE_CHECKING:
    from pipeline.fetch.coordinator import Address
    from pipeline.fetch.part import PartFiles

__all__ = ["STAGE", "DownloadSection", "build"]

_ROWS_PER_BATCH = 4096


def check(config: DownloadSection) -> object:
    """Refuse a crawl without a contact address, or with files that are not there. These files are
    no part of what a picture is, so the stage's identity does not hold them."""
    config.require_contact()
    if config.hosts_file:
        from pipeline.fetch.resolver import read_hosts

        read_hosts(config.hosts_file)
    if config.ca_file:
        import ssl

        try:
            ssl.create_default_context(cafile=config.ca_file)
        except OSError as error:
            raise InputError(f"download.ca_file {config.ca_file}: {error}") from None
    return {}


def build(ctx: Context[DownloadSection]) -> list[Account]:
    """Download the parts that are missing: one task on each core, which takes part after part."""
    from pipeline.fetch.coordinator import Coordinator

    ctx.store.sweep(raw.FOLDER)
    folders = ctx.store.fs.ls(ctx.store.path(CANDIDATES.name), detail=False)
    prefix = f"{CANDIDATES.partition}="
    names = [str(folder).rstrip("/").rsplit("/", 1)[-1] for folder in folders]
    parts = sorted(int(name.removeprefix(prefix)) for name in names if name.startswith(prefix))
    conf = ctx.spark.sparkContext.getConf()
    host = conf.get("spark.driver.host") or "127.0.0.1"
    bind = conf.get("spark.driver.bindAddress")

    @contextmanager
    def sharing(missing: Sequence[int]) -> Iterator[Callable[[int], None]]:
        with Coordinator(missing, ctx.config, host, bind) as coordinator:
            yield partial(_lane, ctx.store, ctx.config, coordinator.address)

    return ctx.run_lanes(IMAGES, sharing, parts)


def _lane(store: Store, config: DownloadSection, coordinator: "Address", lane: int) -> None:
    """One task: download parts until none is left."""
    from pipeline.fetch.flow import download_parts

    download_parts(partial(open_part, store), config, coordinator)


def open_part(store: Store, part: int) -> "PartFiles":
    """A part of a run as the downloader takes it. Its raw tar is published before its rows."""
    from pipeline.fetch.part import COLUMNS, PartFiles, PartResult

    # Rows that are there point into the tar that is there.
    tar = ExitStack()
    file = tar.enter_context(store.publish(raw.path(part), unless=store.part_file(IMAGES, part)))

    def publish(result: PartResult) -> None:
        tar.close()
        with store.publish_part(IMAGES, part) as sink:
            for start in range(0, len(result.rows), _ROWS_PER_BATCH):
                rows: list[dict[str, Any]] = result.rows[start : start + _ROWS_PER_BATCH]
                sink.write(
                    pa.Table.from_pylist([row | {"part": part} for row in rows], IMAGES.schema)
                )
            sink.accounts.append(result.account)

    def discard() -> None:
        with suppress(_Discarded):
            tar.__exit__(_Discarded, _Discarded(), None)

    candidates = store.read_part(CANDIDATES, part, COLUMNS)
    return PartFiles(candidates, cast(BinaryIO, file), publish, discard)


class _Discarded(Exception):
    """The part is not to be published."""


STAGE = Stage(
    name="download",
    reads=(CANDIDATES,),
    writes=(IMAGES,),
    config=DownloadSection,
    build=build,
    folders=(raw.FOLDER,),
    check=check,
)
