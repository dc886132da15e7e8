"""Captions whose bytes were read in a wrong encoding."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.codepoints import Codepoints, class_table
from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column


@dataclass(frozen=True)
class CaptionDamage(Filter):
    """Signs of damaged encoding, at most `max_damaged`.

    `extract` repairs what can be read again; what is left here has lost its letters, or was
    damaged twice. Counted are: replacement characters and what they become (占쏙옙 by way of
    EUC-KR, 锟斤拷 by way of GBK); UTF-8 read as Windows-1252 ("Ã©", "í•œ" for 한); four and more
    letters of Latin-1 in a row, which EUC-KR, Shift-JIS and Cyrillic code pages leave ("ÇÑ±¹");
    control and private-use characters; question marks where they are a third of all.

    Source: ftfy's badness heuristic (Speer 2019, doi:10.5281/zenodo.2591652) for UTF-8 read as
    Windows-1252; the WHATWG Encoding Standard for the encodings; data-juicer drops the same by
    fix_unicode_mapper and special characters. The limits of 4 letters and of a third are ours.
    """

    max_damaged: int = 0

    reads = ("caption",)
    measures = (column("caption_damaged", pa.int32(), "signs of damage", unit="characters"),)
    bound_settings = ("max_damaged",)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        from pipeline.core.damage_kernels import count_damage

        text = Codepoints.of(batch.column("caption"))
        damaged = np.empty(text.rows, np.int32)
        count_damage(text.values, text.ends, class_table(), _bytes_of(), damaged)
        return [pa.array(damaged)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_damaged", high=self.max_damaged),)


@cache
def _bytes_of() -> npt.NDArray[np.int16]:
    """The byte above 0x7F that Windows-1252, or Latin-1 where it has none, reads as a character;
    -1 for none. int16 [0x10000]"""
    table = np.full(0x10000, -1, np.int16)
    for byte in range(0x80, 0x100):
        raw = bytes([byte])
        for charset in ("latin-1", "cp1252"):
            table[ord(raw.decode(charset, "replace"))] = byte
    table[0xFFFD] = -1
    return table
