"""The language of captions and of page samples, batch by batch.

The script decides where it can: Hangul is Korean, kana Japanese, Greek letters Greek. Latin,
Cyrillic, Arabic and Devanagari letters go to a naive Bayes model over byte n-grams that may answer
with the languages of that script alone.
"""

import importlib.util
import io
import lzma
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core import language_kernels as kernels
from pipeline.core import scripts
from pipeline.core.languages import BY_SCRIPT, LANGUAGES, SHARES, UNDETERMINED
from pipeline.core.strings import views

# A best language less likely than this is no answer.
# Source: tuned on one half of the labelled captions of the tests.
MIN_PROBABILITY = 0.2

# How much of the logarithm of the share counts. Source: tuned likewise.
SHARE_WEIGHTS = {
    scripts.LATIN: 0.5,
    scripts.CYRILLIC: 0.2,
    scripts.ARABIC: 0.2,
    scripts.DEVANAGARI: 0.2,
}
# Log-likelihoods are kept in these steps: the library's have 11 bits, and none is below -16.
LIKELIHOOD_UNIT = np.float32(1 / 2048)
_CACHE_LINE_BYTES = 64
# Words that stand alone on pages of every language, most of them left by a template or a program.
_MEANINGLESS = (
    "avatar", "banner", "blank", "favicon", "icon", "image", "img", "logo", "null", "pixel",
    "placeholder", "slide", "slider", "spacer", "thumb", "thumbnail", "undefined", "untitled",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """The arrays that `language_kernels.walk` and `.classify` document.

    languages: of the first columns of log_likelihoods, int16 [features, columns] in units of
    LIKELIHOOD_UNIT, and of log_priors, -inf for the columns behind them. transitions, rows_of and
    features are shared by all models.
    """

    languages: tuple[str, ...]
    log_likelihoods: npt.NDArray[np.int16]
    log_priors: npt.NDArray[np.float32]
    transitions: npt.NDArray[np.uint32]
    rows_of: npt.NDArray[np.uint16]
    features: npt.NDArray[np.int32]


def load_models(*groups: tuple[str, ...]) -> tuple[Model, ...]:
    """The py3langid library's model, cut to each of some groups of its languages.

    Columns are in the library's order; a language that it knows twice (Serbian, by script) is there
    twice. Takes about 0.6 s, and 45 MB for the state machine besides 0.2 MB a language.
    Raises ImportError when the library is not installed, ValueError for a language that it does
    not know.
    """
    spec = importlib.util.find_spec("py3langid")
    if spec is None or spec.origin is None:
        raise ImportError("language identification needs py3langid: pip install py3langid")
    packed = (Path(spec.origin).parent / "data" / "model.npz.xz").read_bytes()
    arrays = np.load(io.BytesIO(lzma.decompress(packed)), allow_pickle=False)
    known = arrays["classes"].tolist()
    if unknown := sorted({code for group in groups for code in group} - set(known)):
        raise ValueError(f"no model of: {', '.join(unknown)}")
    likelihoods, priors = arrays["ptc"], arrays["pc"]
    transitions = np.ascontiguousarray(arrays["nextmove"], np.uint32)
    rows_of = np.ascontiguousarray(arrays["nextmove_row"], np.uint16)
    features = np.ascontiguousarray(arrays["out_feat"], np.int32)
    models = []
    for group in groups:
        columns = [i for i, code in enumerate(known) if code in group]
        blocks = -(-len(columns) // kernels.MODEL_COLUMNS)
        scaled = _aligned(len(likelihoods), blocks * kernels.MODEL_COLUMNS)
        scaled[:, : len(columns)] = np.rint(
            likelihoods[:, columns].astype(np.float32) / LIKELIHOOD_UNIT
        )
        log_priors = np.full(scaled.shape[1], -np.inf, np.float32)
        log_priors[: len(columns)] = priors[columns]
        models.append(
            Model(
                languages=tuple(known[i] for i in columns),
                log_likelihoods=scaled,
                log_priors=log_priors,
                transitions=transitions,
                rows_of=rows_of,
                features=features,
            )
        )
    return tuple(models)


def _aligned(rows: int, columns: int) -> npt.NDArray[np.int16]:
    """Zeros, int16 [rows, columns], that begin where a line of the processor's cache does."""
    data = np.zeros(rows * columns * 2 + _CACHE_LINE_BYTES, np.uint8)
    start = -data.ctypes.data % _CACHE_LINE_BYTES
    return data[start : start + rows * columns * 2].view(np.int16).reshape(rows, columns)


@cache
def _models() -> dict[int, Model]:
    """The model of each script in question, read once per process."""
    loaded = load_models(*(tuple(group) for group in SHARES.values()))
    return dict(zip(SHARES, loaded, strict=True))


@cache
def _meaningless() -> npt.NDArray[np.uint64]:
    hashes = (
        kernels.word_hash(np.frombuffer(bytearray(word.encode()), np.uint8), 0, len(word))
        for word in _MEANINGLESS
    )
    return np.sort(np.fromiter(hashes, np.uint64, len(_MEANINGLESS)))


def identify(
    texts: pa.Array, declared: pa.Array | None = None
) -> tuple[pa.Array, npt.NDArray[np.float32]]:
    """The language of each text and the confidence in it.

    texts: pa.string() [rows] without nulls, in Unicode NFC; captions, or samples of pages.
    declared: pa.string() [rows], the language each text's page declares, null for none; read only
    for texts of Han characters that Chinese and Japanese share. Many pages declare their
    template's language, so it decides nothing else.

    Returns pa.string() [rows], ISO 639-1 codes of LANGUAGES or 'und', and float32 [rows], 0 to 1:
    the model's probability, or the weight of the deciding script among all letters. The
    confidence of 'und' is that of the best guess, 0 where there is none.
    Raises TypeError when texts is not a string array, ImportError without py3langid.

    Source: Lui and Baldwin 2012, "langid.py", for the model.
    """
    verdicts, shares, word_ends, words = find_words(texts)
    codes = _codes_by_script()[verdicts]
    unclear = np.flatnonzero(verdicts == kernels.HAN_EITHER)
    if len(unclear):
        codes[unclear] = np.where(
            _is_japanese(declared, unclear), LANGUAGES.index("ja"), LANGUAGES.index("zh")
        )
    sizes = np.diff(word_ends)
    for script in SHARES:
        asked = np.flatnonzero((verdicts == script) & (sizes > 0))
        if len(asked):
            best, shares[asked] = _ask(script, word_ends, words, asked)
            codes[asked] = np.where(shares[asked] >= MIN_PROBABILITY, best, len(LANGUAGES))
    names = pa.array([*LANGUAGES, UNDETERMINED])
    return pa.DictionaryArray.from_arrays(codes, names).cast(pa.string()), shares


def find_words(
    texts: pa.Array,
) -> tuple[
    npt.NDArray[np.uint8],
    npt.NDArray[np.float32],
    npt.NDArray[np.int64],
    npt.NDArray[np.uint8],
]:
    """(verdicts, shares, word_ends, words) of each text, as `language_kernels.gather_words`."""
    ends, data = views(texts)
    rows = len(texts)
    verdicts = np.empty(rows, np.uint8)
    shares = np.empty(rows, np.float32)
    word_ends = np.empty(rows + 1, np.int64)
    words = np.empty(int(ends[-1] - ends[0]) + 2 * rows, np.uint8)
    tables = scripts.script_table(), scripts.lower_table(), _meaningless()
    kernels.gather_words(ends, data, *tables, verdicts, shares, word_ends, words)
    return verdicts, shares, word_ends, words


def _ask(
    script: int,
    word_ends: npt.NDArray[np.int64],
    words: npt.NDArray[np.uint8],
    asked: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Index into LANGUAGES, len(LANGUAGES) for none, and probability, of the asked rows."""
    spans = word_ends[asked], word_ends[asked + 1]
    best, probabilities = classify(_models()[script], *spans, words, _bias(script))
    return _codes_by_language(script)[best], probabilities


def classify(
    model: Model,
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    words: npt.NDArray[np.uint8],
    bias: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """The best of the model's languages for each words[starts[i]:stops[i]], -1 for none, and its
    probability among them: int8 and float32 [rows]. bias: float32 [languages]."""
    hits = np.empty(len(words), np.int32)
    kernels.walk(starts, stops, words, model.transitions, model.rows_of, model.features, hits)
    best = np.empty(len(starts), np.int8)
    probabilities = np.empty(len(starts), np.float32)
    likelihoods, priors = model.log_likelihoods, model.log_priors
    kernels.classify(
        starts, stops, hits, likelihoods, LIKELIHOOD_UNIT, priors, bias, best, probabilities
    )
    return best, probabilities


@cache
def _bias(script: int) -> npt.NDArray[np.float32]:
    """What the languages' shares of the web add to the scores of a script's model."""
    group = SHARES[script]
    shares = np.array([group[code] for code in _models()[script].languages])
    bias: npt.NDArray[np.float32] = (SHARE_WEIGHTS[script] * np.log(shares)).astype(np.float32)
    return bias


@cache
def _codes_by_language(script: int) -> npt.NDArray[np.int8]:
    """Index into LANGUAGES of each language of a script's model; len(LANGUAGES) at index -1."""
    languages = _models()[script].languages
    return np.array([*map(LANGUAGES.index, languages), len(LANGUAGES)], np.int8)


@cache
def _codes_by_script() -> npt.NDArray[np.int8]:
    """Index into LANGUAGES of each verdict, len(LANGUAGES) for 'und'."""
    codes = np.full(scripts.SCRIPT_BITS + 1, len(LANGUAGES), np.int8)
    for script, code in BY_SCRIPT.items():
        codes[script] = LANGUAGES.index(code)
    for i, code in enumerate(scripts.SINGLE_LANGUAGES):
        codes[scripts.OTHER + 1 + i] = LANGUAGES.index(code)
    return codes


def _is_japanese(declared: pa.Array | None, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    if declared is None:
        return np.zeros(len(rows), bool)
    asked = pc.utf8_lower(pc.fill_null(declared.take(pa.array(rows)), ""))
    found: npt.NDArray[np.bool_] = pc.starts_with(asked, "ja").to_numpy(zero_copy_only=False)
    return found
