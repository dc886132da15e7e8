"""What is open while an HTML page is read, as places in one small array of numbers."""

import numpy as np

from pipeline.core.jit import allocating_kernel
from pipeline.extract.found import Rows

# Depths and flags of elements, where the text and the links of an open link begin, how many figures
# are open, how far the lists of sources seen and the text have come, the links that the alt of an
# og:image or twitter:image would be for, the text that became captions, a twitter alt that came
# before its image.
(
    NOSCRIPT, TEMPLATE, SVG, FOREIGN, IN_PICTURE, ANCHOR_TEXT, ANCHOR_LINK, FIGURES,
    SEEN, PENDING, TEXT, OG_LINK, TWITTER_LINK, COPIED, TWITTER_ALT,
) = range(15)  # fmt: skip


@allocating_kernel
def opened() -> Rows:
    """What is open while a page is read, int64 [15]: see the names at the top."""
    now = np.zeros(15, np.int64)
    now[ANCHOR_TEXT] = -1
    now[OG_LINK] = -1
    now[TWITTER_LINK] = -1
    now[TWITTER_ALT] = -1
    return now
