"""Caption normalisation: the one form that a caption is compared, counted and stored in."""

import html
import re
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.strings import from_ends, views
from pipeline.extract import caption_kernels as kernels
from pipeline.extract.caption_tables import CONTROL, DELETED, character_table, suspect_pairs

# Longer texts are pages pasted into an attribute; they are cut, so that a row stays small.
MAX_CAPTION_CHARS = 10_000

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
_NOT_KEPT = re.compile(f"[{DELETED}{CONTROL}]")
_SPACES = re.compile(r"\s+")
# Repairing mojibake can uncover more of it; a text that goes on changing is left as it is.
_MAX_REPAIRS = 4


def normalise(texts: pa.Array) -> pa.Array:
    """The normal form of each text, as `normalise_text` gives it: pa.string() [rows], "" where
    nothing is left. The array itself where every row is in normal form already.

    texts: pa.string() [rows] without nulls. Raises TypeError when it is not a string array.
    """
    ends, data = views(texts)
    table = character_table()
    verdicts = np.empty(len(texts), np.uint8)
    kernels.examine(ends, data, table, suspect_pairs(), MAX_CAPTION_CHARS, verdicts)
    if not verdicts.any():
        return texts
    general = np.flatnonzero(verdicts == kernels.GENERAL)
    found = [normalise_text(text) for text in texts.take(pa.array(general)).to_pylist()]
    general_ends, general_data = views(pa.array(found, pa.string()))
    new_ends = np.empty(len(texts) + 1, np.int32)
    new_data = np.empty(int(ends[-1] - ends[0]) + len(general_data), np.uint8)
    kernels.collapse(ends, data, table, verdicts, general_ends, general_data, new_ends, new_data)
    return from_ends(new_ends, new_data[: new_ends[-1]])


def changed(originals: pa.Array, normalised: pa.Array) -> npt.NDArray[np.bool_]:
    """Which rows differ from their normal form: bool [rows]. Both: pa.string() without nulls."""
    if normalised is originals:
        return np.zeros(len(originals), bool)
    differs: npt.NDArray[np.bool_] = pc.not_equal(originals, normalised).to_numpy(
        zero_copy_only=False
    )
    return differs


def normalise_text(text: str) -> str:
    """A caption in Unicode NFC, entities resolved once more, mojibake repaired, white space
    collapsed and trimmed, without control and zero-width characters; "" when nothing is left.

    Pages escape twice (`&amp;amp;`), so entities that the parser left are resolved once. Mojibake
    is text whose bytes were read in the wrong encoding, and whose right one is plain to see
    (`Ã©` for `é`); nothing else that a writer may have meant is touched.
    Idempotent but for a text that was escaped three times or more.

    Source: the ftfy library (Speer 2019, doi:10.5281/zenodo.2591652) for what is mojibake.
    """
    text = text[: 4 * MAX_CAPTION_CHARS]
    if "&" in text:
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    if text.isascii():
        return _clean(text)
    mojibake = _mojibake()
    for _ in range(_MAX_REPAIRS):
        before, text = text, _clean(mojibake.fix_encoding(text))
        if text == before or not mojibake.is_bad(text):
            break
    return text


def _clean(text: str) -> str:
    text = _SPACES.sub(" ", _NOT_KEPT.sub("", text)).strip()
    return unicodedata.normalize("NFC", text)[:MAX_CAPTION_CHARS].rstrip()


def _mojibake() -> Any:
    """The ftfy library, loaded when the first text needs it."""
    import ftfy

    return ftfy
