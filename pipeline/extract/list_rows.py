"""Rows of a list of URLs and captions to rows of PAIRS, in batches; bad rows are counted."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import ids, language
from pipeline.core.accounts import Account
from pipeline.core.reasons import CaptionKind, LinkReason, RecordReason
from pipeline.core.tables import PAIRS
from pipeline.extract import captions, urls
from pipeline.extract.list_columns import read_columns, valid_text
from pipeline.extract.lists import ListPart

_KIND_BIT = 1 << list(CaptionKind).index(CaptionKind.LIST)
_REASONS = list(LinkReason)
# Stands in for the page, which a list does not have: what comes out on it was no absolute URL.
_NO_PAGE = "http://none.invalid/"
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
        found = read_columns(self._part, self._names(), self._batch_rows, self.records.drop)
        for columns, numbers in found:
            batch = self._pairs(*self._raw(columns, numbers))
            if len(batch):
                yield batch

    def _names(self) -> list[str]:
        columns = self._part.file.columns
        return [n for n in (columns.url, columns.caption, columns.page) if n]

    def _raw(self, batch: pa.RecordBatch, numbers: np.ndarray) -> _Raw:
        """The wanted columns as valid text; rows that have others are counted and left out."""
        columns = [batch.column(name) for name in self._names()]
        read = [valid_text(column) for column in columns]
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
        images = urls.resolve(url.fill_null(""), np.zeros(len(url), np.int32), pa.array([_NO_PAGE]))
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
        pages = urls.page_urls(page.take(at).fill_null(""))
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
            "page_url": pages.url,
            "page_domain": pages.domain,
            "page_lang_detected": pa.repeat("und", len(rows)),
            "archive": pa.repeat(self._part.file.path, len(rows)),
            "record_offset": pa.array(numbers[rows], pa.int64()),
            "position": pa.repeat(pa.scalar(0, pa.int32()), len(rows)),
        }
        arrays = [columns.get(f.name, pa.nulls(len(rows), f.type)) for f in PAIRS.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=PAIRS.schema)
