"""Opt-outs of publishers."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import optout_lists
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class Consent(Filter):
    """Whether nothing speaks against using the pair.

    Against it speak: an opt-out in the image's response or by robots.txt (`consent` is not
    'allowed'), one on a page the image is on (`page_optout`), and an entry of `optout_file`.
    Nothing more is known of images out of a folder of another downloader (`consent` is 'adopted').

    optout_file: an opt-out list as `core.optout_lists` describes it: a domain, a host or a URL per
        line. It speaks for the image's URL and for the page's. `download.optout_lists` keeps what
        is listed from being asked for in the first place; this is for what was downloaded before.

    Raises InputError when the file cannot be read or a line is none of these.

    Source: Directive (EU) 2019/790, article 4(3): rights holders reserve the use for text and
    data mining by machine-readable means; LAION and the makers of img2dataset honour `noai` and
    `noimageai`; a list given by hand covers those who write instead.
    """

    optout_file: str | None = None

    reads = ("consent", "page_optout", "url", "page_url")
    measures = (column("is_consented", pa.int8(), "1: no opt-out is known"),)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        allowed = pc.and_(
            pc.is_in(batch.column("consent"), pa.array(["allowed", "adopted"])),
            batch.column("page_optout").is_null(),
        )
        if self.optout_file is not None:
            listed = optout_lists.load([self.optout_file])
            for name in ("url", "page_url"):
                allowed = pc.and_(allowed, listed.find(batch.column(name)).is_null())
        return [allowed.cast(pa.int8())]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("is_consented", low=1),)

    def measure_settings(self) -> dict[str, object]:
        """The content of the list rather than its path: a longer list is another measure."""
        if self.optout_file is None:
            return {"optout_sha256": None}
        return {"optout_sha256": optout_lists.identity([self.optout_file])[0]}
