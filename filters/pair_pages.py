"""Pages that show the same picture with the same caption."""

from dataclasses import dataclass

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class PairPages(Filter):
    """Distinct pages that the image has this caption on, at most `max_pages`.

    What stands on page after page is a logo, a banner or an avatar of the site's template. It is
    known before the download.

    Source: OBELICS (arXiv 2306.16527) drops image URLs that occur more than 10 times.
    """

    max_pages: int = 10

    reads = ("pages",)
    bound_settings = ("max_pages",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_pages < 1:
            raise ValueError(f"max_pages = {self.max_pages} is under 1: it would drop every pair")

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("pages", high=self.max_pages),)
