"""`match-attacks` beside other tools: their hashes of the same files, by their own rules.

imagehash is the library itself, with equal hashes, as its `find_similar_images` compares them.
imagededup needs torch and more to be imported, so that its hash is computed here as its source has
it: reduced to 32x32 by Lanczos, then grey, the 8x8 lowest DCT coefficients at or above the median
of all but the first; its default radius is 10. Beside each, the widest radius that keeps the
precision.
"""

from typing import Any

import imagehash
import numpy as np
from PIL import Image
from scipy.fftpack import dct

from tests.benchmarks import attacks

_DEFAULTS = {
    "imagehash phash": 0,
    "imagehash average_hash": 0,
    "imagehash dhash": 0,
    "imagededup phash": 10,
}


def run(scale: float = 1.0) -> dict[str, Any]:
    """Figures of our rules and of the peers'; `summary` says what they find, as rates are not
    what is compared. scale: the share of the photographs that is altered."""
    hashes: attacks.PeerHashes = {
        "imagehash phash": lambda image: int(str(imagehash.phash(image)), 16),
        "imagehash average_hash": lambda image: int(str(imagehash.average_hash(image)), 16),
        "imagehash dhash": lambda image: int(str(imagehash.dhash(image)), 16),
        "imagededup phash": _imagededup_phash,
    }

    def rules(copies: Any, originals: attacks.Looks) -> dict[str, attacks.Rule]:
        found = attacks.own_rules()
        for name, radius in _DEFAULTS.items():
            found[f"{name}, radius {radius} (default)"] = attacks.within(name, radius)
            best = attacks.widest(name, copies, originals)
            if best is not None:
                found[f"{name}, radius {best} (widest precise)"] = attacks.within(name, best)
        return found

    figures = attacks.measure("match-attacks", rules, hashes, scale)
    mean = {
        name: float(np.mean([r for a, r in f["recall"].items() if a not in attacks.TURNING]))
        for name, f in figures["rules"].items()
    }
    told = [
        f"{name}: mean recall {recall:.3f}, precision {figures['rules'][name]['precision']:.5f}"
        for name, recall in mean.items()
    ]
    return figures | {"mean_recall": mean, "summary": "\n  ".join(["match-attacks", *told])}


def _imagededup_phash(image: Image.Image) -> int:
    small = image.resize((32, 32), Image.Resampling.LANCZOS).convert("L")
    spectrum = dct(dct(np.asarray(small), axis=0), axis=1)[:8, :8]
    bits = spectrum >= np.median(spectrum.ravel()[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
