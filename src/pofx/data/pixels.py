"""Images as arrays of bytes, `(channels, height, width)`, and as Pillow has them."""

from __future__ import annotations

import numpy as np
from PIL import Image

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's name for images of so many channels."""


def to_image(pixels: np.ndarray) -> Image.Image:
    """One image of one to four channels."""
    plane = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(plane), MODES[len(pixels)])


def from_image(image: Image.Image) -> np.ndarray:
    """Its pixels, uint8; those of a black and white one are 0 and 1."""
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The image cropped about its centre to the shape of `size` (height and width) and scaled by
    Lanczos' filter.
    """
    scale = min(image.height / size[0], image.width / size[1])
    h, w = max(1, round(scale * size[0])), max(1, round(scale * size[1]))
    top, left = (image.height - h) // 2, (image.width - w) // 2
    if (w, h) != image.size:
        image = image.crop((left, top, left + w, top + h))
    return image.resize(size[::-1], Image.Resampling.LANCZOS)


def resized(pixels: np.ndarray, size: tuple[int, int], levels: int = 256) -> np.ndarray:
    """The same of pixels that are whole numbers below `levels`.

    Few levels are spread over the bytes meanwhile, as the filter rounds in between.

    >>> resized(np.full((3, 6, 9), 7, np.uint8), (2, 2)).tolist()[0]
    [[7, 7], [7, 7]]
    """
    if len(pixels) not in MODES:
        return np.concatenate([resized(plane[None], size, levels) for plane in pixels])
    step = 255 // (levels - 1)
    scaled = from_image(fitted(to_image(pixels * np.uint8(step)), size))
    return np.minimum(scaled // step + (scaled % step > step // 2), levels - 1)
