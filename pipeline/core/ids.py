"""Identity from content: 128-bit BLAKE2b of what a thing is, never of where or when it was seen.

One at a time with hashlib, or whole columns at once; both give the same bytes.
"""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ID_BYTES = 16
# Names how hash64, hash256 and fingerprints are computed; hashes of another version cannot be
# compared. To be changed with any of them.
HASH_VERSION = "dct64-pdq256-1"

Digests = npt.NDArray[np.uint8]


def image_id(canonical_url: str) -> bytes:
    """16 bytes that name an image by its canonical URL."""
    return blake2b(canonical_url.encode(), digest_size=ID_BYTES).digest()


def pair_id(image: bytes, caption: str) -> bytes:
    """16 bytes that name a pair: the image's id and the normalised caption."""
    return blake2b(image + caption.encode(), digest_size=ID_BYTES).digest()


def text_id(caption: str) -> bytes:
    """16 bytes that name a normalised caption, whichever image carries it."""
    return blake2b(caption.encode(), digest_size=ID_BYTES).digest()


def digests(texts: pa.Array) -> Digests:
    """`image_id` of every canonical URL, or `text_id` of every caption: uint8 [rows, 16].

    texts: pa.string() without nulls. Raises TypeError for another type.
    """
    return _hash(np.empty((len(texts), 0), np.uint8), texts)


def pair_digests(image_ids: Digests, captions: pa.Array) -> Digests:
    """`pair_id` of every row: uint8 [rows, 16].

    image_ids: uint8 [rows, 16]. captions: pa.string() without nulls, as many. Raises TypeError for
    another type, ValueError for another shape.
    """
    if image_ids.dtype != np.uint8 or image_ids.shape != (len(captions), ID_BYTES):
        raise ValueError(f"{len(captions)} captions, image ids {image_ids.shape}")
    return _hash(image_ids, captions)


def as_binary(ids: Digests) -> pa.Array:
    """Digests [rows, 16] as pa.binary(), without a copy when they lie row after row.

    Raises OverflowError over 2 GiB, which is 134 million rows.
    """
    rows, width = ids.shape
    if rows * width > np.iinfo(np.int32).max:
        raise OverflowError(f"{rows} ids do not fit into one binary array")
    ends = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(ids))]
    return pa.Array.from_buffers(pa.binary(), rows, buffers)


def _hash(prefixes: Digests, texts: pa.Array) -> Digests:
    # Loaded here: the driver needs the functions above alone, and Numba takes half a second.
    from pipeline.core.digest_kernel import hash_rows
    from pipeline.core.strings import views

    ends, data = views(texts)
    # Little-endian words, as the kernel reads and writes them.
    words = np.ascontiguousarray(prefixes).view(np.uint64)
    words.flags.writeable = False
    found = np.empty((len(texts), ID_BYTES // 8), np.uint64)
    hash_rows(words, ends, data, found)
    return found.view(np.uint8)
