"""Example pictures: stored bytes out of the raw tars, made small enough to sit in a page."""

import base64
import io
import warnings
from dataclasses import dataclass

from pipeline.core import raw
from pipeline.core.errors import InputError
from pipeline.core.storage import Store

_QUALITY = 72
_DATA_JPEG = "data:image/jpeg;base64,"


def thumbnail(data: bytes, longest_px: int) -> str | None:
    """A JPEG data URI at most `longest_px` on its longer side; None when `data` is no picture.

    Transparency lies on white. Never larger than the original.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                picture.draft("RGB", (longest_px * 2, longest_px * 2))
                small = picture.convert("RGBA" if "A" in picture.getbands() else "RGB")
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError):
        return None
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    small.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return _DATA_JPEG + base64.b64encode(out.getvalue()).decode()


@dataclass
class Album:
    """Thumbnails of a run, within a budget: each picture is read and made once.

    budget_bytes: of data URIs; when it is spent, further pictures come as None.
    """

    store: Store
    longest_px: int
    budget_bytes: int

    def __post_init__(self) -> None:
        self._made: dict[raw.Place, str | None] = {}
        self.left_out = 0

    def picture(self, place: raw.Place) -> str | None:
        """The data URI of a stored picture; None when its bytes are gone or are not its own."""
        if place not in self._made:
            self._made[place] = self._thumbnail(place)
        uri = self._made[place]
        if uri is not None and len(uri) > self.budget_bytes:
            self.left_out += 1
            return None
        self.budget_bytes -= len(uri or "")
        return uri

    def _thumbnail(self, place: raw.Place) -> str | None:
        try:
            (data,) = raw.read(self.store, [place])
        except InputError:
            return None
        return thumbnail(data, self.longest_px)
