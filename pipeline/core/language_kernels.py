"""Language identification row by row: which script a text is in, and the words that tell its
language; and a naive Bayes model over byte n-grams, run as a state machine."""

import numpy as np
import numpy.typing as npt

from pipeline.core.jit import allocating_kernel, kernel, signed
from pipeline.core.scripts import (
    CHINESE_ONLY,
    DEVANAGARI,
    DIGIT,
    HAN,
    HANGUL,
    JAPANESE_ONLY,
    KANA,
    LATIN,
    NONE,
    OTHER,
    SCRIPT_BITS,
    SPACE,
    UPPER,
)
from pipeline.core.utf8 import decode

# A verdict beside the scripts: Han characters that Chinese and Japanese share.
HAN_EITHER = 31
# What a letter says, in quarters of a letter of a lower-case Latin word. A brand or a name in
# Latin letters stands in captions of every language and says little beside another script; one
# letter of Hangul, kana or Han says about as much as this many of an alphabet.
# Source: tuned on one half of the labelled captions of the tests.
WORD_WEIGHT, NAME_WEIGHT, ALPHABET_WEIGHT, CJK_WEIGHT = 4, 1, 6, 20
_SCRIPTS = SCRIPT_BITS + 1
_LANES = 16
# Bit n for the n-th letter, y among them.
_VOWELS = sum(1 << (ord(letter) & 0x1F) for letter in "aeiouy")
# A model has a multiple of that many columns.
MODEL_COLUMNS = 32

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@kernel
def _entry(table: Bytes, code: int) -> int:
    if code < 0x10000:
        return signed(table[code])
    return HAN if 0x20000 <= code < 0x40000 else NONE


@kernel
def _is_ascii_letter(byte: int) -> bool:
    return 0x61 <= (byte | 0x20) <= 0x7A


@kernel
def _is_alnum(table: Bytes, byte: int) -> bool:
    """Of the next or the last byte of a token: part of a letter or a digit."""
    return byte >= 0x80 or table[byte] & SCRIPT_BITS != NONE or table[byte] == DIGIT


@allocating_kernel
def gather_words(
    ends: npt.NDArray[np.int32],
    data: Bytes,
    table: Bytes,
    lower: npt.NDArray[np.uint16],
    meaningless: npt.NDArray[np.uint64],
    verdicts: Bytes,
    shares: Floats,
    word_ends: Ints,
    words: Bytes,
) -> None:
    """Of each row: its script, and the words for the model where a script leaves a choice.

    table, lower: of `scripts`. meaningless: sorted `word_hash` of words that tell nothing when
    they stand alone. verdicts: uint8 [rows], a script, HAN_EITHER, or NONE where nothing tells a
    language. shares: float32 [rows], the weight of that script among all letters, 0 to 1.
    word_ends: int64 [rows + 1], words: uint8 [bytes of data + 2 x rows]; row i's words are
    words[word_ends[i]:word_ends[i + 1]], each after a space and the last before one, empty unless
    the verdict is LATIN, CYRILLIC, ARABIC or DEVANAGARI.
    """
    weights = np.zeros(_SCRIPTS, np.int64)
    at_word = 0
    word_ends[0] = 0
    for row in range(len(ends) - 1):
        begin = at_word
        weights[:] = 0
        hangul = kana = han = japanese = chinese = 0
        telling = 0  # words that can tell a language
        plain = 0  # of these, the ones that are not all capitals, or longer than an acronym
        lowers = 0
        at, stop = signed(ends[row]), signed(ends[row + 1])
        while at < stop:
            # One token, up to white space.
            token = at_word
            is_junk = False
            token_words = token_plain = token_lowers = 0
            latin_weight = 0
            letters = capitals = 0  # of the present Latin word
            has_vowel = False
            last = 0  # the last byte of the token so far
            in_word = False
            while True:
                if at < stop and _is_ascii_letter(data[at]):  # what most text is, the short way
                    if not in_word:
                        words[at_word] = 0x20
                        at_word += 1
                        in_word = True
                    run, upper = at, 0
                    while at < stop and _is_ascii_letter(data[at]):
                        last = signed(data[at])
                        words[at_word] = last
                        upper += last < 0x61
                        has_vowel |= _VOWELS >> (last & 0x1F) & 1 == 1
                        at_word += 1
                        at += 1
                    letters += at - run
                    capitals += upper
                    token_lowers += at - run - upper
                    continue
                code, size, entry = 0, 0, SPACE
                if at < stop:
                    if data[at] < 0x80:
                        code, size = signed(data[at]), 1
                    else:
                        code, size = decode(data, at, stop)
                    entry = _entry(table, code)
                script = entry & SCRIPT_BITS
                if script != LATIN and letters:
                    if letters >= 2 and has_vowel:
                        token_words += 1
                        token_plain += letters > 3 or capitals < letters
                    is_name = capitals > 0
                    latin_weight += letters * (NAME_WEIGHT if is_name else WORD_WEIGHT)
                    letters = capitals = 0
                    has_vowel = False
                if script == NONE and entry == SPACE:
                    at += size
                    break
                if script == NONE:
                    if entry == DIGIT or code == 0x5F or code == 0x40 or code == 0x3D:
                        is_junk = True  # a digit, or one of _ @ =
                    elif (code == 0x2E or code == 0x2F or code == 0x3A) and at + 1 < stop:
                        following = signed(data[at + 1])
                        if code == 0x2E:  # a file name, a host
                            is_junk |= _is_alnum(table, last) and _is_alnum(table, following)
                        else:  # a path, a scheme
                            is_junk |= following == 0x2F
                    is_inside = in_word and (code == 0x27 or code == 0x2D or code == 0x2019)
                    if is_inside:
                        for i in range(at, at + size):
                            words[at_word] = data[i]
                            at_word += 1
                    else:
                        in_word = False
                elif LATIN <= script <= DEVANAGARI:
                    if not in_word:
                        words[at_word] = 0x20
                        at_word += 1
                        in_word = True
                    for i in range(at, at + size):
                        words[at_word] = data[i]
                        at_word += 1
                    is_upper = entry & UPPER != 0
                    if script == LATIN:
                        letters += 1
                        capitals += is_upper
                        has_vowel = True  # or a letter with a mark, which may be one
                        token_lowers += not is_upper
                    else:
                        weights[script] += ALPHABET_WEIGHT
                        lowers += not is_upper
                else:
                    in_word = False
                    if script == HANGUL:
                        hangul += 1
                    elif script == KANA:
                        kana += 1
                    elif script == HAN:
                        han += 1
                        japanese += entry & JAPANESE_ONLY != 0
                        chinese += entry & CHINESE_ONLY != 0
                    else:
                        weights[script] += ALPHABET_WEIGHT
                last = signed(data[at + size - 1])
                at += size
            if is_junk:
                at_word = token
            else:
                telling += token_words
                plain += token_plain
                lowers += token_lowers
                weights[LATIN] += latin_weight
        weights[HAN] = CJK_WEIGHT * (hangul + kana + han)
        verdict, total = NONE, signed(0)
        for script in range(1, _SCRIPTS):
            total += weights[script]
            if weights[script] > weights[verdict]:
                verdict = script
        shares[row] = weights[verdict] / max(total, 1)
        if verdict == HAN:
            verdict = cjk_verdict(hangul, kana, han, japanese, chinese)
        elif verdict == OTHER or (
            verdict == LATIN and (telling == 0 or (telling == 1 and plain == 0))
        ):
            verdict = NONE
        if LATIN <= verdict <= DEVANAGARI:
            if weights[verdict] < total:
                at_word = _keep_script(words, begin, at_word, table, verdict)
            if verdict == LATIN and telling == 1:
                found = word_hash(words, begin + 1, at_word)
                spot = np.searchsorted(meaningless, found)
                if spot < len(meaningless) and meaningless[spot] == found:
                    verdict = NONE
        if LATIN <= verdict <= DEVANAGARI and at_word > begin:
            if lowers == 0:
                _to_lower(words, begin, at_word, lower)
            words[at_word] = 0x20
            at_word += 1
        else:
            at_word = begin
        if verdict == NONE:
            shares[row] = 0
        verdicts[row] = verdict
        word_ends[row + 1] = at_word


@kernel
def cjk_verdict(hangul: int, kana: int, han: int, japanese: int, chinese: int) -> int:
    """HANGUL (Korean), KANA (Japanese), HAN (Chinese) or HAN_EITHER, by letters of each script.

    japanese, chinese: Han characters that only these write. A Chinese caption may hold a kana or
    two for looks.
    """
    if hangul >= kana + han:
        return HANGUL
    if kana > chinese or (kana > 0 and japanese > 0):
        return KANA
    if japanese != chinese:
        return KANA if japanese > chinese else HAN
    return HAN if kana + japanese + chinese > 0 else HAN_EITHER


@kernel
def _keep_script(words: Bytes, begin: int, end: int, table: Bytes, script: int) -> int:
    """Drop the letters of other scripts from words[begin:end]; where they end now."""
    at, kept = begin, begin
    while at < end:
        code, size = decode(words, at, end)
        own = _entry(table, code) & SCRIPT_BITS
        if own in (script, NONE):
            is_space = code == 0x20
            if not (is_space and kept > begin and words[kept - 1] == 0x20):
                for i in range(size):
                    words[kept + i] = words[at + i]
                kept += size
        at += size
    if kept > begin and words[kept - 1] == 0x20:
        kept -= 1
    return kept


@kernel
def _to_lower(words: Bytes, begin: int, end: int, lower: npt.NDArray[np.uint16]) -> None:
    at = begin
    while at < end:
        code, size = decode(words, at, end)
        if code < 0x10000:
            small = signed(lower[code])
            if small != code:
                if size == 1:
                    words[at] = small
                elif size == 2:
                    words[at] = 0xC0 | small >> 6
                    words[at + 1] = 0x80 | small & 0x3F
                else:
                    words[at] = 0xE0 | small >> 12
                    words[at + 1] = 0x80 | small >> 6 & 0x3F
                    words[at + 2] = 0x80 | small & 0x3F
        at += size


@kernel
def word_hash(data: Bytes, begin: int, end: int) -> np.uint64:
    """FNV-1a of data[begin:end] in ASCII lower case. Source: Fowler, Noll and Vo, 64 bits."""
    found = np.uint64(0xCBF29CE484222325)
    for i in range(begin, end):
        byte = data[i]
        if 0x41 <= byte <= 0x5A:
            byte |= np.uint8(0x20)
        found = (found ^ np.uint64(byte)) * np.uint64(0x100000001B3)
    return found


@kernel
def _step(
    data: Bytes,
    at: int,
    lane: int,
    state: Ints,
    transitions: npt.NDArray[np.uint32],
    rows_of: npt.NDArray[np.uint16],
    features: npt.NDArray[np.int32],
    hits: npt.NDArray[np.int32],
) -> None:
    """Take the byte data[at] in a lane; arrays as in `walk`, state: int64 [lanes]."""
    entry = (signed(rows_of[state[lane]]) << 8) + signed(data[at])
    state[lane] = signed(transitions[entry])
    hits[at] = features[state[lane]]


@allocating_kernel
def walk(
    starts: Ints,
    stops: Ints,
    data: Bytes,
    transitions: npt.NDArray[np.uint32],
    rows_of: npt.NDArray[np.uint16],
    features: npt.NDArray[np.int32],
    hits: npt.NDArray[np.int32],
) -> None:
    """The feature that ends at each byte of the rows data[starts[i]:stops[i]], -1 for none.

    transitions: uint32 [256 x distinct states], rows_of: uint16 [states], features: int32 [states].
    hits: int32 [bytes of data]. Several rows are walked at a time, as each step waits for memory.
    """
    rows = len(starts)
    at, stop = np.zeros(_LANES, np.int64), np.zeros(_LANES, np.int64)
    state = np.zeros(_LANES, np.int64)
    following, live = 0, _LANES
    while live > 0:
        steps, lane = signed(len(data)), 0
        while lane < live:
            while at[lane] == stop[lane] and following < rows:
                at[lane], stop[lane] = starts[following], stops[following]
                state[lane] = 0
                following += 1
            if at[lane] == stop[lane]:  # no row is left for it: the last one takes its place
                live -= 1
                at[lane], stop[lane], state[lane] = at[live], stop[live], state[live]
            else:
                steps = min(steps, stop[lane] - at[lane])
                lane += 1
        if live == _LANES:  # the same, but known to the compiler
            for i in range(steps):
                for lane in range(_LANES):
                    _step(data, at[lane] + i, lane, state, transitions, rows_of, features, hits)
        else:
            for i in range(steps):
                for lane in range(live):
                    _step(data, at[lane] + i, lane, state, transitions, rows_of, features, hits)
        for lane in range(live):
            at[lane] += steps


@allocating_kernel
def classify(
    starts: Ints,
    stops: Ints,
    hits: npt.NDArray[np.int32],
    log_likelihoods: npt.NDArray[np.int16],
    unit: np.float32,
    log_priors: Floats,
    bias: Floats,
    best: npt.NDArray[np.int8],
    probabilities: Floats,
) -> None:
    """The most likely language of each row and its probability.

    starts, stops: int64 [rows], hits: as `walk` gives them. log_likelihoods: int16 [features,
    columns], times `unit`; log_priors: float32 [columns], a multiple of MODEL_COLUMNS, of which the
    first are languages. bias: float32 [languages], added to the tempered scores. best: int8 [rows],
    -1 where no n-gram of the model occurs; probabilities: float32 [rows], 0 there.

    The score is the posterior of a multinomial model over log1p of the n-gram counts, divided by
    the square root of the text's bytes so that the probability is calibrated at every length.
    Source: the py3langid library (after Lui and Baldwin 2012, "langid.py"), to which this is equal
    with a bias of zero.
    """
    languages, columns = bias.size, np.uint64(log_priors.size)
    counts = np.zeros(log_likelihoods.shape[0], np.int32)
    seen = np.empty(log_likelihoods.shape[0], np.int32)
    scores = np.empty(log_priors.size, np.float32)
    once = np.float32(np.log(2.0)) * unit
    for row in range(len(starts)):
        start, stop = starts[row], stops[row]
        found = 0
        for i in range(start, stop):
            feature = hits[i]
            if feature >= 0:
                if counts[feature] == 0:
                    seen[found] = feature
                    found += 1
                counts[feature] += 1
        best[row] = -1
        probabilities[row] = 0
        if found == 0:
            continue
        scores[:] = log_priors
        for k in range(found):
            feature = seen[k]
            count = counts[feature]
            weight = once if count == 1 else np.float32(np.log1p(np.float64(count))) * unit
            counts[feature] = 0
            # Unsigned numbers count from no end, and no column is left over: whole vectors alone.
            for n in range(columns):
                scores[n] += weight * np.float32(log_likelihoods[np.uint64(feature), n])
        heat = np.float32(1 / np.sqrt(np.float64(stop - start)))
        top = 0
        for n in range(languages):
            scores[n] = scores[n] * heat + bias[n]
            if scores[n] > scores[top]:
                top = n
        total = np.float32(0)
        for n in range(languages):
            total += np.exp(scores[n] - scores[top])
        best[row] = top
        probabilities[row] = 1 / total
