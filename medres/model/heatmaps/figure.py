"""A heatmap as a picture that explains itself: the radiograph beside it, its legend, and words that travel with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from medres.imaging.pictures import blend, overlay
from medres.safe_text import one_line

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

NOT_DIAGNOSTIC = "Not for diagnostic use"

_LEAST_SIDE = 640  # pixels of a panel's longer side: a smaller image is enlarged by a whole number, pixel by pixel
_LEAST_WIDTH = 620  # pixels of the picture: words need room
_LINES = 52  # a line of text is this part of the longer side high
_LEAST_LINE = 13  # pixels
_PAPER, _INK, _FAINT, _WARNING = (17, 22, 28), (231, 237, 243), (169, 182, 195), (240, 190, 90)
_MIDDLE_GRAY = 96  # under the legend's colours, as tissue is under a heatmap's


@dataclass(frozen=True, slots=True)
class Legend:
    """How a heatmap's colours are read."""

    scale: float  # the value drawn as full colour
    unit: str  # `logit`, or "" where the method has no scale
    contour: float  # part of the scale whose contour is drawn; 0: none
    strength: float = 0.0  # of this map's strongest cell

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Places from 0 to 1 along the bar, with what stands below them."""
        full = f"≥ {self.scale:.1f} logits" if self.unit else "strongest here"
        at = f"contour {self.contour * self.scale:.1f}" if self.unit else f"contour {100 * self.contour:.0f} %"
        return ((0.0, "0"), *(((self.contour, at),) if 0.15 < self.contour < 0.7 else ()), (1.0, full))

    @property
    def sentence(self) -> str:
        """What full colour is, and how near to it this image comes."""
        if self.unit:
            here = f"strongest here {self.strength:.1f}"
            return f"Full colour: {self.scale:.1f} logits or more from a cell, on every image of this model; {here}"
        return "No unit: this image's own scale, which tells nothing of another image's"


@dataclass(frozen=True, slots=True)
class Words:
    """What stands below a heatmap."""

    title: str  # label, probability, operating point
    licence: str  # whether the label's heatmaps have earned to be shown
    made_by: str  # method and model
    warnings: Sequence[str] = ()  # why it would not be shown unasked


def figure(
    pixels: NDArray[np.uint8], heatmap: NDArray[np.float32], legend: Legend, words: Words, *, beside: bool = True,
    aspect: float = 1.0,
) -> NDArray[np.uint8]:  # fmt: skip
    """A heatmap over its radiograph, with its legend and words below; uint8 (rows, columns, 3), RGB.

    Args:
        pixels: the radiograph, native (rows, columns).
        heatmap: native (rows, columns).
        legend: how it is drawn.
        words: what is said of it.
        beside: whether the untouched radiograph stands on its left.
        aspect: height ÷ width of one native pixel; in the picture pixels are square.
    """
    shown, heat = _enlarged(pixels, heatmap, aspect)
    panels = [overlay(shown, heat, scale=legend.scale, contour=legend.contour)]
    if beside:
        gap = np.full((len(shown), max(4, len(shown) // 100), 3), _PAPER, np.uint8)
        panels = [np.repeat(shown[:, :, None], 3, axis=2), gap, *panels]
    picture = np.concatenate(panels, axis=1)
    width = max(picture.shape[1], _LEAST_WIDTH)
    left = (width - picture.shape[1]) // 2
    centred = cv2.copyMakeBorder(
        picture, 0, 0, left, width - picture.shape[1] - left, cv2.BORDER_CONSTANT, value=_PAPER
    )
    return np.concatenate([centred, _strip(width, max(shown.shape), legend, words)], axis=0)


def _enlarged(
    pixels: NDArray[np.uint8], heatmap: NDArray[np.float32], aspect: float
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Both with square pixels, and small ones enlarged: pixels stay pixels, and the map's values lie where they lay."""
    rows, columns = pixels.shape
    height, width = round(rows * max(aspect, 1.0)), round(columns / min(aspect, 1.0))
    times = max(1, _LEAST_SIDE // max(height, width))
    size = (width * times, height * times)
    if size == (columns, rows):
        return pixels, heatmap
    larger = cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(larger, dtype=np.uint8), np.asarray(cv2.resize(heatmap, size), dtype=np.float32)


def _strip(width: int, side: int, legend: Legend, words: Words) -> NDArray[np.uint8]:
    """Legend and words, as wide as the picture."""
    from PIL import Image, ImageDraw

    line = max(_LEAST_LINE, round(side / _LINES))
    large, font = _font(round(1.15 * line)), _font(line)
    margin, step = line, round(1.5 * line)
    room = width - 2 * margin
    texts = [(words.title, large, _INK), *((warning, font, _WARNING) for warning in words.warnings)]
    texts += [(words.licence, font, _INK)] if words.licence else []
    texts += [(legend.sentence, font, _FAINT)]
    texts += [(f"{words.made_by} · {NOT_DIAGNOSTIC}", font, _FAINT)]
    lines = [(part, face, ink) for text, face, ink in texts for part in _wrapped(one_line(text), face, room)]
    bar = min(room, 24 * line)
    height = 3 * line + step * (len(lines) + 1) + margin
    image = Image.new("RGB", (width, height), _PAPER)
    ramp = np.tile(np.linspace(0, 1, bar, dtype=np.float32), (line, 1))
    image.paste(Image.fromarray(blend(np.full_like(ramp, _MIDDLE_GRAY), ramp)), (margin, margin))
    draw = ImageDraw.Draw(image)
    draw.rectangle((margin - 1, margin - 1, margin + bar, margin + line), outline=_FAINT)
    for place, text in legend.ticks:
        x = margin + round(place * (bar - 1))
        draw.line((x, margin - 1, x, margin + round(1.3 * line)), fill=_INK, width=max(1, line // 10))
        anchor = "la" if place == 0 else "ra" if place == 1 else "ma"
        draw.text((x, margin + round(1.4 * line)), text, fill=_FAINT, font=font, anchor=anchor)
    y = margin + round(3.2 * line)
    for text, face, ink in lines:
        draw.text((margin, y), text, fill=ink, font=face)
        y += step
    return np.asarray(image, dtype=np.uint8)


def _wrapped(text: str, font: FreeTypeFont, room: float) -> list[str]:
    """A text in lines that fit; a word that is longer than a line is cut where it ends."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if font.getlength(longer) <= room:
            line = longer
            continue
        lines += [line] if line else []
        line = word
        while font.getlength(line) > room and len(line) > 1:
            fits = len(line) - 1
            while fits > 1 and font.getlength(line[:fits]) > room:
                fits -= 1
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line] if line else lines


@cache
def _font(size: int) -> FreeTypeFont:
    """DejaVu Sans, which Matplotlib brings: it has Latin, Greek and Cyrillic letters."""
    import matplotlib as mpl
    from PIL import ImageFont

    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
