"""What becomes of a photograph on its way from site to site: every alteration gives a JPEG file.

The strengths are those that copy detection is commonly tried with. Source: the transformations of
imagededup's and PDQ's own evaluations and of the Copydays set (Douze et al., "Evaluation of GIST
descriptors for web-scale image search", CIVR 2009), which crops, recompresses and paints over.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Alter = Callable[[Image.Image, np.random.Generator], Image.Image]

_QUALITY = 90
_HARD_QUALITY = 30


def altered(name: str, photo: Image.Image, seed: int) -> bytes:
    """The JPEG file that the alteration `name` of `ALTERATIONS` gives; quality 90, but for
    recompression. seed: of places and of noise."""
    buffer = io.BytesIO()
    changed = ALTERATIONS[name](photo, np.random.default_rng(seed))
    changed.save(buffer, "JPEG", quality=_HARD_QUALITY if name == "recompress q30" else _QUALITY)
    return buffer.getvalue()


def _resized(share: float) -> Alter:
    def alter(photo: Image.Image, _: np.random.Generator) -> Image.Image:
        size = [max(1, round(side * share)) for side in photo.size]
        return photo.resize((size[0], size[1]), Image.Resampling.LANCZOS)

    return alter


def _cropped(share: float) -> Alter:
    """`share` of either side is cut off, anywhere between its two ends."""

    def alter(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
        kept = [max(1, round(side * (1 - share))) for side in photo.size]
        left, top = (int(rng.integers(0, s - k + 1)) for s, k in zip(photo.size, kept, strict=True))
        return photo.crop((left, top, left + kept[0], top + kept[1]))

    return alter


def _with_logo(photo: Image.Image, _: np.random.Generator) -> Image.Image:
    """A badge a fifth as wide as the shorter side, in the lower right corner, four fifths opaque."""
    side = max(8, min(photo.size) // 5)
    badge = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(badge)
    draw.ellipse((0, 0, side - 1, side - 1), fill=(200, 30, 40, 204))
    draw.text(
        (side / 2, side / 2), "NEWS", "white", ImageFont.load_default(side / 3.5), anchor="mm"
    )
    changed, margin = photo.copy(), side // 6
    changed.paste(badge, (photo.width - side - margin, photo.height - side - margin), badge)
    return changed


def _with_text(photo: Image.Image, _: np.random.Generator) -> Image.Image:
    """A line of white letters with black edges along the lower side, a tenth as high as it."""
    changed, height = photo.copy(), max(8, photo.height // 10)
    ImageDraw.Draw(changed).text(
        (photo.width / 2, photo.height - height * 0.9),
        "WHEN YOU SEE IT",
        "white",
        ImageFont.load_default(height),
        anchor="mm",
        stroke_width=max(1, height // 12),
        stroke_fill="black",
    )
    return changed


def _with_border(photo: Image.Image, _: np.random.Generator) -> Image.Image:
    return ImageOps.expand(photo, max(1, round(min(photo.size) * 0.05)), "black")


def _enhanced(kind: type[ImageEnhance.Brightness | ImageEnhance.Contrast], factor: float) -> Alter:
    return lambda photo, _: kind(photo).enhance(factor)


def _blurred(photo: Image.Image, _: np.random.Generator) -> Image.Image:
    return photo.filter(ImageFilter.GaussianBlur(max(photo.size) / 100))


def _noisy(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    levels = np.asarray(photo) + rng.normal(0, 15, (photo.height, photo.width, 3))
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def _turned(turn: Image.Transpose) -> Alter:
    return lambda photo, _: photo.transpose(turn)


ALTERATIONS: dict[str, Alter] = {
    "recompress q30": lambda photo, _: photo,
    "resize 25%": _resized(0.25),
    "crop 5%": _cropped(0.05),
    "crop 10%": _cropped(0.10),
    "crop 20%": _cropped(0.20),
    "logo": _with_logo,
    "text": _with_text,
    "border 5%": _with_border,
    "brightness 70%": _enhanced(ImageEnhance.Brightness, 0.7),
    "brightness 130%": _enhanced(ImageEnhance.Brightness, 1.3),
    "contrast 70%": _enhanced(ImageEnhance.Contrast, 0.7),
    "contrast 130%": _enhanced(ImageEnhance.Contrast, 1.3),
    "blur 1%": _blurred,
    "noise 15": _noisy,
    "greyscale": lambda photo, _: photo.convert("L").convert("RGB"),
    "mirror": _turned(Image.Transpose.FLIP_LEFT_RIGHT),
    "rotate 90": _turned(Image.Transpose.ROTATE_90),
    "rotate 180": _turned(Image.Transpose.ROTATE_180),
}
