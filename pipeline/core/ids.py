"""Identity from content: 128-bit BLAKE2b of what a thing is, never of where or when it was seen."""

from hashlib import blake2b

ID_BYTES = 16


def image_id(canonical_url: str) -> bytes:
    """16 bytes that name an image by its canonical URL."""
    return blake2b(canonical_url.encode(), digest_size=ID_BYTES).digest()


def pair_id(image: bytes, caption: str) -> bytes:
    """16 bytes that name a pair: the image's id and the normalised caption."""
    return blake2b(image + caption.encode(), digest_size=ID_BYTES).digest()


def text_id(caption: str) -> bytes:
    """16 bytes that name a normalised caption, whichever image carries it."""
    return blake2b(caption.encode(), digest_size=ID_BYTES).digest()
