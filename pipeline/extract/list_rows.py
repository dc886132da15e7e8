"""Rows of a list of URLs and captions to rows of PAIRS, in batches; bad rows are counted."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.core import ids, language
from pipeline.core.accounts import Account
from pipeline.core.reasons import CaptionKind, LinkReason, RecordReason
from pipeline.core.tables import PAIRS
from pipeline.extract import captions, urls
from pipeline.extract.lists import (
    JSON_LINES,
    MAX_LINE_BYTES,
    PARQUET,
    ListPart,
    delimiter_of,
    kind_of,
    open_list,
    problem,
)

_KIND_BIT = 1 << list(CaptionKind).index(CaptionKind.LIST)
_REASONS = list(LinkReason)
# Stands in for the page, which a list does not have: what comes out on it was no absolute URL.
_NO_PAGE = "http://none.invalid/"
# What Parquet reads ahead of a column, and the piece that CSV is parsed by.
_PARQUET_BUFFER_BYTES = 1 << 20
_CSV_BLOCK_BYTES = MAX_LINE_BYTES
_MAX_ORIGINAL_CHARS = 4 * captions.MAX_CAPTION_CHARS

# Rows as a file has them: url, caption, page (pa.string() with nulls) and the number of each.
_Raw = tuple[pa.Array, pa.Array, pa.Array, np.ndarray]


class ListRows:
    """Rows of PAIRS from one part of a list, and their accounts.

    records: rows of the list, dropped as `unparsable` or `too_large`. links: their URLs, dropped by
    LinkReason. pairs: rows with a caption, as many as the kept links.
    """

    def __init__(self, part: ListPart, batch_rows: int) -> None:
        self._part = part
        self._batch_rows = batch_rows
        self.records, self.links, self.pairs = (
            Account("records"),
            Account("links"),
            Account("pairs"),
        )

    def read(self) -> Iterator[pa.RecordBatch]:
        """Batches of PAIRS. Memory: a batch, and the pages of the file that are open.

        Raises InputError that names the file when it cannot be read to its end.
        """
        path = self._part.file.path
        kind = kind_of(path)
        readers = {PARQUET: self._parquet, JSON_LINES: self._json_lines}
        try:
            for raw in readers.get(kind or "", self._text)():
                batch = self._pairs(*raw)
                if len(batch):
                    yield batch
        except (OSError, EOFError, pa.ArrowException) as error:
            raise problem(path, error) from None

    def _parquet(self) -> Iterator[_Raw]:
        part = self._part
        row = part.row
        names = self._names()
        with open_list(part.file.path) as file:
            opened = pq.ParquetFile(file, buffer_size=_PARQUET_BUFFER_BYTES, pre_buffer=False)
            groups = list(range(part.first, part.stop))
            for batch in opened.iter_batches(self._batch_rows, groups, columns=list(set(names))):
                yield self._raw(batch, np.arange(row, row + len(batch)))
                row += len(batch)

    def _text(self) -> Iterator[_Raw]:
        path, names = self._part.file.path, self._names()
        bad = 0

        def skip(_: Any) -> str:
            nonlocal bad
            bad += 1
            return "skip"

        # As bytes: text that is no UTF-8 costs its row, not the file.
        wanted = pa_csv.ConvertOptions(
            include_columns=list(dict.fromkeys(names)),
            column_types={name: pa.binary() for name in names},
        )
        form = pa_csv.ParseOptions(
            delimiter=delimiter_of(path), newlines_in_values=True, invalid_row_handler=skip
        )
        reading = pa_csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, use_threads=False)
        row = 0
        with (
            open_list(path) as file,
            pa_csv.open_csv(file, reading, form, wanted) as reader,
        ):
            for batch in reader:
                self.records.drop(RecordReason.UNPARSABLE, bad)
                bad = 0
                for start in range(0, len(batch), self._batch_rows):
                    rows = batch.slice(start, self._batch_rows)
                    yield self._raw(rows, np.arange(row, row + len(rows)))
                    row += len(rows)
        self.records.drop(RecordReason.UNPARSABLE, bad)

    def _json_lines(self) -> Iterator[_Raw]:
        decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
        names = self._names()
        rows: list[list[str | None]] = []
        numbers: list[int] = []
        with open_list(self._part.file.path) as file:
            number = -1
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                    self.records.drop(RecordReason.TOO_LARGE)
                    while line and not line.endswith(b"\n"):
                        line = file.readline(MAX_LINE_BYTES)
                    continue
                if line.isspace():
                    continue
                try:
                    found = decoder.decode(line)
                    rows.append([_text_or_none(found.get(name)) for name in names])
                    numbers.append(number)
                except (msgspec.DecodeError, ValueError):
                    self.records.drop(RecordReason.UNPARSABLE)
                if len(rows) == self._batch_rows:
                    yield self._lines(rows, numbers)
                    rows, numbers = [], []
        if rows:
            yield self._lines(rows, numbers)

    def _lines(self, rows: list[list[str | None]], numbers: list[int]) -> _Raw:
        self.records.keep(len(rows))
        url, caption, *page = (pa.array(column, pa.string()) for column in zip(*rows, strict=True))
        of_page = page[0] if page else pa.nulls(len(rows), pa.string())
        return url, caption, of_page, np.array(numbers, np.int64)

    def _names(self) -> list[str]:
        columns = self._part.file.columns
        return [n for n in (columns.url, columns.caption, columns.page) if n]

    def _raw(self, batch: pa.RecordBatch, numbers: np.ndarray) -> _Raw:
        """The wanted columns as valid text; rows that have others are counted and left out."""
        columns = [batch.column(name) for name in self._names()]
        read = [_as_text(column) for column in columns]
        is_good = np.logical_and.reduce([good for _, good in read])
        self.records.keep(int(is_good.sum()))
        self.records.drop(RecordReason.UNPARSABLE, int((~is_good).sum()))
        texts = [text if is_good.all() else text.filter(pa.array(is_good)) for text, _ in read]
        if len(texts) == 2:
            texts.append(pa.nulls(len(texts[0]), pa.string()))
        return texts[0], texts[1], texts[2], numbers[is_good]

    def _pairs(
        self, url: pa.Array, caption: pa.Array, page: pa.Array, numbers: np.ndarray
    ) -> pa.RecordBatch:
        images = urls.resolve(url.fill_null(""), np.zeros(len(url), np.int32), [_NO_PAGE])
        reasons = images.reasons.copy()
        is_relative = pc.starts_with(images.canonical_url, _NO_PAGE)
        reasons[is_relative.to_numpy(zero_copy_only=False) & (reasons == 0)] = urls.reason_code(
            LinkReason.BAD_URL
        )
        originals = pc.utf8_slice_codeunits(caption.fill_null(""), 0, _MAX_ORIGINAL_CHARS)
        texts = captions.normalise(originals)
        is_empty = pc.equal(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
        reasons[is_empty & (reasons == 0)] = urls.reason_code(LinkReason.NO_CAPTION)
        counts = np.bincount(reasons, minlength=len(_REASONS) + 1).tolist()
        self.links.keep(counts[0])
        self.pairs.keep(counts[0])
        for reason, count in zip(_REASONS, counts[1:], strict=True):
            self.links.drop(reason, count)
        rows = np.flatnonzero(reasons == 0)
        return self._columns(images, rows, originals, texts, page, numbers)

    def _columns(
        self,
        images: urls.Resolved,
        rows: np.ndarray,
        originals: pa.Array,
        texts: pa.Array,
        page: pa.Array,
        numbers: np.ndarray,
    ) -> pa.RecordBatch:
        at = pa.array(rows)
        texts, originals = texts.take(at), originals.take(at)
        pages = [url or "" for url in urls.page_urls(page.take(at).fill_null("").to_pylist())]
        langs, shares = language.identify(texts)
        image_ids = images.image_ids[rows]
        columns: dict[str, Any] = {
            "image_id": ids.as_binary(image_ids),
            "pair_id": ids.as_binary(ids.pair_digests(image_ids, texts)),
            "url": images.url.take(at),
            "canonical_url": images.canonical_url.take(at),
            "domain": images.domain.take(at),
            "caption": texts,
            "caption_original": pc.if_else(pc.equal(originals, texts), None, originals),
            "caption_kind": pa.repeat(str(CaptionKind.LIST), len(rows)),
            "caption_kinds": pa.repeat(pa.scalar(_KIND_BIT, pa.int32()), len(rows)),
            "caption_lang": langs,
            "caption_lang_confidence": pa.array(shares, pa.float32()),
            "page_url": pa.array(pages, pa.string()),
            "page_domain": pa.array(
                [urls.registrable_domain(urls.host_of(url)) if url else "" for url in pages],
                pa.string(),
            ),
            "page_lang_detected": pa.repeat("und", len(rows)),
            "archive": pa.repeat(self._part.file.path, len(rows)),
            "record_offset": pa.array(numbers[rows], pa.int64()),
            "position": pa.repeat(pa.scalar(0, pa.int32()), len(rows)),
        }
        arrays = [columns.get(f.name, pa.nulls(len(rows), f.type)) for f in PAIRS.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=PAIRS.schema)


def _text_or_none(raw: msgspec.Raw | None) -> str | None:
    """A string of a JSON row; ValueError when it is something else."""
    value = None if raw is None else msgspec.json.decode(raw)
    if value is not None and not isinstance(value, str):
        raise ValueError("not a string")
    # Half a surrogate pair, which JSON can escape, is no text.
    return value if value is None or value.isascii() else value.encode().decode()


def _as_text(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """(pa.string() with nulls, bool [rows]: is valid UTF-8); "" where it is not."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    data = column.cast(pa.binary())
    try:
        return data.cast(pa.string()), np.ones(len(data), np.bool_)
    except pa.ArrowInvalid:
        texts = [_decoded(value) for value in data.to_pylist()]
        good = np.fromiter((ok for _, ok in texts), np.bool_, len(texts))
        return pa.array([text for text, _ in texts], pa.string()), good


def _decoded(value: bytes | None) -> tuple[str | None, bool]:
    try:
        return (None if value is None else value.decode()), True
    except UnicodeDecodeError:
        return "", False
