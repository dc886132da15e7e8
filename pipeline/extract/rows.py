"""Archives to rows of PAIRS: pages are read in batches, links judged, rows built as columns."""

import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import ids, language
from pipeline.core.accounts import Account
from pipeline.core.jit import allocating_kernel
from pipeline.core.reasons import CaptionKind, LinkReason, RecordReason
from pipeline.core.tables import PAIRS
from pipeline.core.utf8 import is_valid
from pipeline.extract import captions, urls, wat
from pipeline.extract.findings import Findings, collect, read_pages
from pipeline.extract.found import Found
from pipeline.extract.marks import Rows
from pipeline.extract.optout import Statements
from pipeline.extract.page import Page, open_pages
from pipeline.extract.record import Record
from pipeline.extract.records import read_many
from pipeline.extract.stretch import Stretch
from pipeline.extract.wat_members import WatMembers, WatRecords

_LINK_REASONS = list(LinkReason)
_KIND_NAMES = pa.array([kind.value for kind in CaptionKind])
_MAX_LANG_CHARS = 35  # Source: RFC 5646, section 4.4.1, the length to allow for a language tag


class PairRows:
    """Rows of PAIRS from one archive's pages, and their accounts.

    records: kept = pages, dropped by RecordReason. links: kept = image links that gave at least
    one pair, dropped by LinkReason. pairs: rows with a caption; more than the kept links, as a link
    gives one row for each distinct caption. Besides, a captionless link on a page that opts out
    gives a row without a caption, which is counted among the links as dropped for `no_caption`.
    wat: for `read_many`, whose WatRecords wait here for their rows.
    """

    def __init__(self, archive: str, max_links: int) -> None:
        self.archive = archive
        self.records = Account("records")
        self.links = Account("links")
        self.pairs = Account("pairs")
        self._max_links = max_links
        # Set while the page that ends the process is looked for.
        self.is_one_by_one = False
        self._found = Found()
        self.wat = WatMembers(self._found, max_links)

    @property
    def is_waiting(self) -> bool:
        """True while there are pages whose rows are not made yet."""
        return len(self._found) > 0

    def add(self, pages: Sequence[Page]) -> list[pa.RecordBatch]:
        """Read pages; the rows of all that wait, when there is enough for a batch."""
        rows: list[pa.RecordBatch] = []
        is_time = self.is_one_by_one
        for is_wat, group in groupby(pages, lambda page: page.is_wat):
            if self.is_waiting and is_wat != self._found.is_wat:
                rows += self.flush()
                is_time = True
            read_pages(list(group), self._max_links, self._found)
        # All that came together goes together, for rows are handed on when no page waits.
        return rows + self.flush() if is_time or self._found.is_full else rows

    def add_read(self, read: WatRecords) -> list[pa.RecordBatch]:
        """Account for records that `wat` read; the rows of all that wait, as of `add`."""
        self.records.drop(RecordReason.NOT_A_PAGE, read.no_pages)
        return self.flush() if self._found.is_full else []

    def flush(self) -> list[pa.RecordBatch]:
        """The rows of the pages that wait."""
        if not self.is_waiting:
            return []
        rows = self._rows(collect(self._max_links, self._found))
        return [rows] if len(rows) else []

    def _rows(self, found: Findings) -> pa.RecordBatch:
        for status, count in enumerate(np.bincount(found.statuses).tolist()):
            reason = wat.reason_of(status)
            if reason is None:
                self.records.keep(count)
            else:
                self.records.drop(reason, count)
        opts_out = np.zeros(len(found.statuses), np.bool_)
        opts_out[[page for page, stated in found.stated.items() if stated.optout]] = True
        # Of other links no row can come.
        wanted = opts_out[found.link_pages]
        wanted[found.caption_links] = True
        images = urls.resolve(found.sources, found.link_pages, found.bases, wanted)
        is_good = images.reasons == 0
        texts = _Captions.of(found, is_good, images.image_ids)
        has_caption = np.zeros(len(is_good), np.bool_)
        has_caption[texts.links] = True
        self._count(found, images.reasons, is_good, has_caption, len(texts.links))
        silent = np.flatnonzero(is_good & ~has_caption & opts_out[found.link_pages])
        links = np.concatenate([texts.links, silent])
        columns = {
            **texts.columns(found, len(silent)),
            **_image_columns(images, links),
            **_page_columns(found, found.link_pages[links]),
            "archive": pa.repeat(self.archive, len(links)),
            "position": pa.array(found.link_positions[links]),
        }
        return pa.RecordBatch.from_arrays(
            [columns[name] for name in PAIRS.schema.names], schema=PAIRS.schema
        )

    def _count(
        self,
        found: Findings,
        reasons: npt.NDArray[np.int8],
        is_good: npt.NDArray[np.bool_],
        has_caption: npt.NDArray[np.bool_],
        pairs: int,
    ) -> None:
        # A link may have several faults; that of its URL is told first.
        counts = np.bincount(reasons, minlength=len(_LINK_REASONS) + 1).tolist()
        for reason, count in zip(_LINK_REASONS, counts[1:], strict=True):
            self.links.drop(reason, count)
        kept = int(has_caption.sum())
        self.links.keep(kept)
        self.links.drop(LinkReason.NO_CAPTION, int(is_good.sum()) - kept)
        self.links.drop(LinkReason.OVER_PAGE_CAP, int(found.over_cap.sum()))
        self.pairs.keep(pairs)


@dataclass(frozen=True)
class _Captions:
    """The distinct captions of good links.

    rows: int64, which captions of the findings. links: int64, the link of each. codes: int, which
    of the distinct texts it is: originals as found, texts normalised, both pa.string(). kinds:
    int64, bit sets of every kind. pair_ids: uint8 [., 16].
    """

    rows: Rows
    links: Rows
    codes: npt.NDArray[np.int32]
    originals: pa.Array
    texts: pa.Array
    kinds: Rows
    pair_ids: ids.Digests

    @classmethod
    def of(
        cls, found: Findings, is_good: npt.NDArray[np.bool_], image_ids: ids.Digests
    ) -> "_Captions":
        """The captions of links that are good, each distinct text of a link once.

        is_good: bool [links]. image_ids: uint8 [links, 16].
        """
        rows = np.flatnonzero(is_good[found.caption_links])
        # Together what is of one link, the most deliberate kind first.
        links, kinds = found.caption_links[rows], found.caption_kinds[rows]
        places = found.link_pages[links].astype(np.int64) << 40
        places |= found.link_positions[links].astype(np.int64) << 8 | kinds
        if (places[1:] < places[:-1]).any():  # seldom: that is how they are found
            rows = rows[np.argsort(places, kind="stable")]
        # A site gives many images one caption: each distinct text is looked at once.
        distinct = found.captions.take(pa.array(rows)).dictionary_encode()
        texts = captions.normalise(distinct.dictionary)
        codes = distinct.indices.to_numpy()
        is_filled = pc.binary_length(texts).to_numpy(zero_copy_only=False) > 0
        filled = np.flatnonzero(is_filled[codes]) if len(codes) else np.empty(0, np.int64)
        rows, codes = rows[filled], codes[filled]
        links, kinds = found.caption_links[rows], found.caption_kinds[rows]
        pair_ids = ids.pair_digests(image_ids[links], texts.take(pa.array(codes)))
        bits = np.left_shift(1, kinds)
        firsts = np.flatnonzero(_merge_equal(links, pair_ids.view(np.uint64), bits))
        return cls(
            rows[firsts],
            links[firsts],
            codes[firsts],
            distinct.dictionary,
            texts,
            bits[firsts],
            pair_ids[firsts],
        )

    def columns(self, found: Findings, silent: int) -> dict[str, pa.Array]:
        """The columns about captions, with `silent` rows without one at the end."""
        codes = pa.array(self.codes)
        originals = pc.if_else(pc.equal(self.originals, self.texts), None, self.originals)
        langs, shares = language.identify(self.texts)
        langs, shares = langs.take(codes), shares[self.codes]
        langs, shares = self._with_declared(found, langs, shares)
        columns = {
            "pair_id": ids.as_binary(self.pair_ids),
            "caption": self.texts.take(codes),
            "caption_original": originals.take(codes),
            "caption_kind": _KIND_NAMES.take(pa.array(found.caption_kinds[self.rows])),
            "caption_kinds": pa.array(self.kinds.astype(np.int32)),
            "caption_lang": langs,
            "caption_lang_confidence": pa.array(shares, pa.float32()),
        }
        if silent:
            for name, column in columns.items():
                rest = pa.nulls(silent, column.type)
                columns[name] = pa.concat_arrays(
                    [column, rest.fill_null(0) if name == "caption_kinds" else rest]
                )
        return columns

    def _with_declared(
        self, found: Findings, langs: pa.Array, shares: npt.NDArray[np.float32]
    ) -> tuple[pa.Array, npt.NDArray[np.float32]]:
        """The languages again, where what a page declares decides between Han and Han."""
        distinct = found.langs.dictionary_encode()
        is_ja = [lang.strip()[:2].lower() == "ja" for lang in distinct.dictionary.to_pylist()]
        if not any(is_ja):
            return langs, shares
        of_pages = np.array([*is_ja, False])[distinct.indices.fill_null(len(is_ja)).to_numpy()]
        rows = np.flatnonzero(of_pages[found.link_pages[self.links]])
        if not len(rows):
            return langs, shares
        texts = self.texts.take(pa.array(self.codes[rows]))
        of_rows, shares[rows] = language.identify(texts, pa.repeat("ja", len(rows)))
        order = np.arange(len(shares))
        order[rows] = len(shares) + np.arange(len(rows))
        return pa.concat_arrays([langs, of_rows]).take(pa.array(order)), shares


@allocating_kernel
def _merge_equal(links: Rows, pair_ids: npt.NDArray[np.uint64], bits: Rows) -> Rows:
    """1 for the first row of each pair, else 0; its bits become those of all its rows.

    links: int64 [rows], equal ones together. pair_ids: uint64 [rows, 2].
    """
    is_first = np.ones(len(links), np.int64)
    start = 0
    for row in range(len(links)):
        if links[row] != links[start]:
            start = row
        for other in range(start, row):
            if pair_ids[other, 0] == pair_ids[row, 0] and pair_ids[other, 1] == pair_ids[row, 1]:
                bits[other] |= bits[row]
                is_first[row] = 0
                break
    return is_first


def _image_columns(images: urls.Resolved, links: Rows) -> dict[str, pa.Array]:
    at = pa.array(links)
    return {
        "image_id": ids.as_binary(images.image_ids[links]),
        "url": images.url.take(at),
        "canonical_url": images.canonical_url.take(at),
        "domain": images.domain.take(at),
    }


def _page_columns(found: Findings, pages: npt.NDArray[np.int32]) -> dict[str, pa.Array]:
    """The columns about the page, for the page of each row. pages: int32 [rows]."""
    at = pa.array(pages)
    declared = found.langs.dictionary_encode()
    tags = pa.array([_tag(lang) for lang in declared.dictionary.to_pylist()], pa.string())
    # Only pages that have rows are asked for their language.
    is_used = np.zeros(len(found.statuses), np.bool_)
    is_used[pages] = True
    detected, _ = language.identify(found.samples.take(pa.array(np.flatnonzero(is_used))))
    return {
        "page_url": found.page_urls.url.take(at),
        "page_domain": found.page_urls.domain.take(at),
        "page_lang": tags.take(declared.indices.take(at)),
        "page_lang_detected": detected.take(pa.array((np.cumsum(is_used) - 1)[pages])),
        **_statement_columns(found, pages),
        "record_offset": pa.array(found.offsets[pages]),
    }


def _statement_columns(found: Findings, pages: npt.NDArray[np.int32]) -> dict[str, pa.Array]:
    """What the page of each row states about use."""
    numbers = np.zeros(len(found.statuses), np.int64)
    numbers[list(found.stated)] = np.arange(1, len(found.stated) + 1)
    stated = [Statements(), *found.stated.values()]
    at = pa.array(numbers[pages])
    columns = zip(*stated, strict=True)  # of Statements
    return {
        f"page_{name}": pa.array(column, pa.string()).take(at)
        for name, column in zip(Statements._fields, columns, strict=True)
    }


def _tag(lang: str | None) -> str | None:
    """A declared language as it is stored; None where nothing is left of it."""
    return captions.normalise_text(lang)[:_MAX_LANG_CHARS] or None if lang else None


def read_archive(
    file: IO[bytes], rows: PairRows, max_record_bytes: int, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Batches of some `batch_rows` rows of PAIRS from one archive; `rows` keeps the accounts.

    file: a seekable gzip or plain WARC or WAT file. Memory: some records and one batch.
    """
    records = read_many(file, max_record_bytes, wat=rows.wat)
    return read_rows(records, rows, max_record_bytes, batch_rows)


def read_rows(
    records: Iterable[Stretch | WatRecords | Record],
    rows: PairRows,
    max_record_bytes: int,
    batch_rows: int,
) -> Iterator[pa.RecordBatch]:
    """Batches of some `batch_rows` rows of PAIRS from records; `rows` keeps the accounts.

    Whenever a batch comes, all records taken so far are accounted for.
    """
    waiting: list[pa.RecordBatch] = []
    for found in records:
        if isinstance(found, WatRecords):
            waiting += rows.add_read(found)
        else:
            pages, reasons = open_pages(found, max_record_bytes)
            for reason, count in reasons.items():
                rows.records.drop(reason, count)
            waiting += rows.add(pages)
        if not rows.is_waiting and sum(map(len, waiting)) >= batch_rows:
            yield _joined(waiting)
            waiting = []
    waiting += rows.flush()
    if waiting:
        yield _joined(waiting)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.concat_batches(batches) if len(batches) > 1 else batches[0]


# One page of each format, with something for every kernel.
_WARM_UP = (
    b"<html lang=en><meta property=og:image content=/o.jpg><p>A text to tell the language from.</p>"
    b"<a href=/><img src=x.jpg srcset='y.jpg 2x' alt='An&eacute;  image'></a><noscript>"
    b"<img src=z.jpg title='\xea\xb0\x80 \xd0\x94\xd0\xbe\xd0\xbc \xce\xb1 caf\xc3\xa9'>"
    b"</noscript>",
    b'{"Envelope":{"Payload-Metadata":{"HTTP-Response-Metadata":{"Response-Message":{"Status":"200"'
    b'},"HTML-Metadata":{"Links":[{"path":"IMG@/src","url":"x.jpg","alt":"An image"}]}}}}}',
)


def warm_up() -> None:
    """Load every kernel, or compile it: seconds that belong to no record."""
    rows = PairRows("", 10)
    for number, body in enumerate(_WARM_UP):
        is_valid(body + b"\xc3\xa9")
        rows.add([Page("https://page.example/", 0, number == 1, body)])
        rows.flush()
    head = b"WARC/1.0\r\nWARC-Type: metadata\r\nWARC-Target-URI: https://page.example/\r\n"
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_WARM_UP[1])
    archive = io.BytesIO(2 * gzip.compress(head + _WARM_UP[1] + b"\r\n\r\n"))
    for _ in read_archive(archive, rows, 1 << 20, 10):
        pass
