"""What a model sees of a picture: Pillow alone, so that processes that only decode start fast.

Source: open_clip's transforms for inference (`image_transform_v2`), whose pixels these are exactly.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Resize = Literal["shortest", "longest", "squash"]
Size = tuple[int, int]


@dataclass(frozen=True)
class Shape:
    """A square of `side` pixels. Picklable.

    resize: "shortest" fills the square with the picture's middle, "longest" shows all of it on
    `fill` (0 to 255), "squash" gives up its aspect. is_bilinear: else bicubic.
    """

    side: int
    resize: Resize = "shortest"
    is_bilinear: bool = False
    fill: int = 0

    def pixels(self, image: Any) -> Pixels:
        """What is seen of a Pillow image of mode RGB: uint8 [side, side, 3]. Thread-safe."""
        from PIL import Image  # here, so that a job that only plans starts without it

        size = self._size(image.size)
        if size != image.size:
            by = Image.Resampling.BILINEAR if self.is_bilinear else Image.Resampling.BICUBIC
            image = image.resize(size, by)
        if size == (self.side, self.side):
            return np.asarray(image)
        # Half up for what is added, and half to even for what is taken away, as there.
        added = [max(self.side - length, 0) // 2 for length in size]
        taken = [round(max(length - self.side, 0) / 2) for length in size]
        left, top = (a or -t for a, t in zip(added, taken, strict=True))
        square = Image.new("RGB", (self.side, self.side), (self.fill,) * 3)
        square.paste(image, (left, top))
        return np.asarray(square)

    def _size(self, size: Size) -> Size:
        """What a picture of (width, height) is resized to."""
        if self.resize == "squash":
            return self.side, self.side
        if self.resize == "longest":
            ratio = max(size) / self.side
            width, height = (round(length / ratio) for length in size)
            return width, height
        width, height = size
        if width <= height:
            return self.side, int(self.side * height / width)
        return int(self.side * width / height), self.side
