"""Animated pictures."""

from dataclasses import dataclass

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class Animated(Filter):
    """Frames of the file, at most `max_frames`.

    The first frame is what is stored, and captions of animations tell of the motion.

    Source: Conceptual Captions (Sharma et al. 2018) keeps JPEG files only, which have one frame.
    """

    max_frames: int = 1

    reads = ("frames",)
    bound_settings = ("max_frames",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("frames", high=self.max_frames),)
