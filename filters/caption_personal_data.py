"""Captions that hold an e-mail address, a phone number or a number of a person's papers."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.codepoints import CharClass, Codepoints
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
# Social security number of the United States: no area 000, 666 or 900 on, no group or serial of 0.
_SOCIAL = r"\b([0-578]\d{2}|6[0-57-9]\d|66[0-57-9])-(0[1-9]|[1-9]\d)-\d{4}\b"
_ANY = "(?i)(?:" + "|".join((_EMAIL, *_PHONES, _RESIDENT, _SOCIAL)) + ")"
# Payment cards by the first digits of the networks, and international bank accounts.
_CARD = r"\b(?:4\d{3}|5[1-5]\d{2}|2[2-7]\d{2}|3[046-9]\d{2}|6\d{3}|9\d{3})(?:[- ]?\d){10,15}\b"
_IBAN = r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
_LEAST_DIGITS = 7


@dataclass(frozen=True)
class CaptionPersonalData(Filter):
    """Whether the caption holds an e-mail address, a phone number, a Korean resident or an American
    social security number, a payment card or a bank account.

    Patterns, so neither names nor addresses of people are found, and a product number may look like
    a phone number. Cards and accounts count only with the right check digits, resident numbers only
    with a date that there is; their own check digit is not asked for, as numbers since October
    2020 have none.

    Source: RFC 5322 for e-mail addresses (the dot-atom form); ITU-T E.164 for international
    numbers; the North American and the Korean numbering plans; the enforcement rule of the Korean
    Resident Registration Act for the 13-digit number; the U.S. Social Security Administration's
    POMS RM 10201.035 for its numbers; ISO/IEC 7812-1, annex B (Luhn), for cards; ISO 13616 for
    accounts.
    """

    reads = ("caption",)
    measures = (column("has_personal_data", pa.int8(), "1: a pattern of personal data is found"),)

    def measure(self, batch: pa.RecordBatch) -> list[pa.Array]:
        captions = pc.fill_null(batch.column("caption"), "")
        digits = Codepoints.of(batch.column("caption")).count(CharClass.DIGIT)
        has_at = pc.match_substring(captions, "@").to_numpy(zero_copy_only=False)
        # All but addresses have so many digits, and most captions have fewer.
        may_be = (digits >= _LEAST_DIGITS) | has_at
        asked = captions.filter(pa.array(may_be))
        found = np.zeros(batch.num_rows, np.int8)
        found[may_be] = pc.match_substring_regex(asked, _ANY).to_numpy(zero_copy_only=False)
        rest = np.flatnonzero((digits >= _LEAST_DIGITS) & (found == 0))
        for pattern, is_valid in ((_CARD, _is_card), (_IBAN, _is_iban)):
            found[_with_valid(captions, rest, pattern, is_valid)] = 1
        return [pa.array(found)]

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("has_personal_data", high=0),)


def _with_valid(
    captions: pa.Array, rows: np.ndarray, pattern: str, is_valid: Callable[[str], bool]
) -> list[int]:
    """Those of the rows in which a match of the pattern is valid."""
    likely = pc.match_substring_regex(captions.take(pa.array(rows)), pattern)
    chosen = rows[likely.to_numpy(zero_copy_only=False)]
    texts = captions.take(pa.array(chosen)).to_pylist()
    return [
        row
        for row, text in zip(chosen.tolist(), texts, strict=True)
        if any(is_valid(found[0]) for found in re.finditer(pattern, text, re.ASCII))
    ]


def _is_card(text: str) -> bool:
    """Luhn's check: from the right every second digit is doubled, its digits summed."""
    digits = [int(c) for c in text if c.isdigit()][::-1]
    doubled = (2 * d - 9 * (d > 4) for d in digits[1::2])
    return (
        13 <= len(digits) <= 19
        and len(set(digits)) > 1
        and (sum(digits[::2]) + sum(doubled)) % 10 == 0
    )


def _is_iban(text: str) -> bool:
    """As a number in base 36 with the first four characters behind, 1 modulo 97."""
    bare = text.replace(" ", "")
    number = "".join(str(int(c, 36)) for c in bare[4:] + bare[:4])
    return 15 <= len(bare) <= 34 and int(number) % 97 == 1
