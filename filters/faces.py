"""Pictures of people, by their faces."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.core.filter import Bound, Filter


@dataclass(frozen=True)
class Faces(Filter):
    """Faces in the picture, at most `max_faces`.

    `face_count` is what a face detector of your own gives: set `score.pixel_functions.face_count`.

    Source: Multimodal C4 (arXiv 2304.06939), whose "fewer faces" version leaves out pictures with a
    detected face. COYO-700M publishes the count and drops nothing by it; DataComp blurs faces.
    """

    max_faces: int = 0

    reads = ("face_count",)
    bound_settings = ("max_faces",)
    needs: ClassVar[tuple[str, ...]] = ("score.pixel_functions.face_count",)

    def bounds(self) -> tuple[Bound, ...]:
        return (Bound("face_count", high=self.max_faces),)
