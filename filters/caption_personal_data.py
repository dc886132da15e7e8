"""Captions that hold an e-mail address, a phone number or a national identity number."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.filter import Bound, Filter
from pipeline.core.tables import column

_EMAIL = r"[a-z0-9._%+\-]+@[a-z0-9\-]+(\.[a-z0-9\-]+)*\.[a-z]{2,24}\b"
_PHONES = (
    r"\+[1-9]\d{0,2}[-. ]?\(?\d{1,4}\)?([-. ]?\d{2,4}){2,4}\b",  # international, ITU-T E.164
    r"(\(|\b)0(2|[3-6][1-5]|1[016-9]|50\d?|70)\)?[-. ]\d{3,4}[-. ]\d{4}\b",  # Korea
    r"\b010\d{8}\b",  # Korea, mobile, without separators
    r"(\(|\b)[2-9]\d{2}\)?[-. ][2-9]\d{2}[-. ]\d{4}\b",  # North America
)
# Korean resident registration number: birth date, then century, sex and serial number.
_RESIDENT = r"\b\d{2}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])[- ]?[1-8]\d{6}\b"
_ANY = "(?i)(?:" + "|".join((_EMAIL, *_PHONES, _RESIDENT)) + ")"


@dataclass(frozen=True)
class CaptionPersonalData(Filter):
    """Whether the caption holds an e-mail address, a phone or a Korean resident number.

    Patterns, so neither names nor addresses of people are found, and a product number may look
    like a phone number.

    Source: RFC 5322 for e-mail addresses (the dot-atom form); ITU-T E.164 for international
    numbers; the North American and the Korean numbering plans; the enforcement rule of the Korean
    Resident Registration Act for the 13-digit number.
    """

    reads = ("caption",)
    measures = (column("has_personal_data", pa.int8(), "1: a pattern of personal data is found"),)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        captions = pc.fill_null(batch.column("caption"), "")
        return [pc.match_substring_regex(captions, _ANY).cast(pa.int8())]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("has_personal_data", high=0),)
