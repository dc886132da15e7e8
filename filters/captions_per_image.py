"""Captions kept for one picture."""

from dataclasses import dataclass

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class CaptionsPerImage(Filter):
    """At most `max_captions` pairs with the same picture.

    `caption_rank` is found by `decide`, among the pairs that pass every other bound: the place of
    the pair among those of its picture, from 0, by similarity. `decide.captions` says whether those
    of its near-duplicates count too, and whether the captions are to be unlike each other instead.

    Source: COCO captions (arXiv 1504.00325) and Flickr30k have five captions a picture.
    """

    max_captions: int = 5

    reads = ()
    bound_settings = ("max_captions",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_captions < 1:
            raise ValueError(f"max_captions = {self.max_captions} is under 1")

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("caption_rank", high=self.max_captions - 1),)
