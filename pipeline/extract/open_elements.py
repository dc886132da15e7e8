"""What is open while an HTML page is read, as places in one small array of numbers."""

from pipeline.core.jit import kernel
from pipeline.extract.marks import Rows

# Depths and flags of elements, where the text and the links of an open link begin, how many figures
# are open, how far the lists of sources seen and the text have come, the links that the alt of an
# og:image or twitter:image would be for, the text that became captions, a twitter alt that came
# before its image.
(
    NOSCRIPT, TEMPLATE, SVG, FOREIGN, IN_PICTURE, ANCHOR_TEXT, ANCHOR_LINK, FIGURES,
    SEEN, PENDING, TEXT, OG_LINK, TWITTER_LINK, COPIED, TWITTER_ALT,
) = range(15)  # fmt: skip
OPEN_SIZE = 15


@kernel
def open_none(now: Rows) -> None:
    """What is open where a page begins. now: int64 [OPEN_SIZE], of the names at the top."""
    now[:] = 0
    now[ANCHOR_TEXT] = -1
    now[OG_LINK] = -1
    now[TWITTER_LINK] = -1
    now[TWITTER_ALT] = -1
