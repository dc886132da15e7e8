"""Which filters may go before the download."""

from dataclasses import dataclass

import pytest

import filters
from filters.caption_length import CaptionLength
from filters.clip_similarity import ClipSimilarity
from filters.pair_pages import PairPages
from pipeline.core.errors import ConfigError
from pipeline.core.filter import Bound, Filter, Relative
from pipeline.core.filters_first import filters_first, identity_of, obstacle
from pipeline.core.tables import CANDIDATES, CAPTION, KNOWN_BEFORE_DOWNLOAD, PAIR_VIEW
from tests.filters.oracle import made


@dataclass(frozen=True)
class TopPages(Filter):
    high: float | Relative = Relative(keep=0.3)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("pages", high=self.high),)


CHOSEN: dict[str, Filter] = {
    "clip_similarity": ClipSimilarity(),
    "pair_pages": PairPages(),
    "caption_length": CaptionLength(),
}


def test_what_is_known_is_a_column_of_candidates_or_captions_of_the_same_type() -> None:
    types = {field.name: field.type for field in CANDIDATES.schema}
    types |= {field.name: field.type for field in CAPTION}
    for name in KNOWN_BEFORE_DOWNLOAD:
        assert PAIR_VIEW.field(name).type == types[name]
    assert {"caption", "url", "page_domain", "caption_images"} <= set(KNOWN_BEFORE_DOWNLOAD)
    assert not {"consent", "texture", "clip_similarity"} & set(KNOWN_BEFORE_DOWNLOAD)


def test_names_or_all_that_can_in_the_order_of_the_recipe() -> None:
    both = ["pair_pages", "caption_length"]
    assert list(filters_first(True, CHOSEN)) == both
    assert list(filters_first(("caption_length", "pair_pages"), CHOSEN)) == both
    assert filters_first(False, CHOSEN) == filters_first((), CHOSEN) == {}


@pytest.mark.parametrize(
    ("wanted", "chosen", "named"),
    [
        ("clip_similarity", CHOSEN, "clip_similarity is known only after the download"),
        ("image_size", CHOSEN, r"\[filters.image_size\] is not in .* pair_pages, caption_length"),
        ("top", {"top": TopPages()}, "bound on pages is known only once all pairs are measured"),
    ],
)
def test_what_cannot_go_first_is_refused(
    wanted: str, chosen: dict[str, Filter], named: str
) -> None:
    with pytest.raises(ConfigError, match=f"download.filters_first: .*{named}"):
        filters_first((wanted,), chosen)
    assert wanted not in filters_first(True, chosen)


@pytest.mark.parametrize(
    ("name", "can"),
    [
        ("caption_length", True),
        ("caption_boilerplate", True),
        ("caption_language", True),
        ("pair_pages", True),
        ("consent", False),  # what the image's response says is part of it
        ("image_size", False),
        ("image_bytes", False),
        ("near_duplicate", False),
        ("captions_per_image", False),
        ("domain_cap", False),
        ("concept_balance", True),  # by whether any entry is named; the draw comes later
    ],
)
def test_which_filters_of_the_folder_can(name: str, can: bool) -> None:
    assert (obstacle(made(name, filters.load()[name])) is None) == can


def test_every_setting_counts() -> None:
    first, other = {"n": CaptionLength()}, {"n": CaptionLength(min_chars=9)}
    assert identity_of(first) != identity_of(other)
