"""Pictures of examples: a grid of images, a cloud of points, a map of vectors."""

from __future__ import annotations

import math
from typing import IO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pofx.data.limits import DataError
from pofx.data.pixels import MODES
from pofx.data.schema import Schema
from pofx.spec import Binary, Bytes, Interval

_WIDTH = 512
_FEWEST_CELLS = 64
"""A side of a picture of points has, however few they are: so large a point is seen."""
_LARGEST_FACTOR = 32
_CHECKER = 8
_GAP = 255


def grid(
    images: Tensor, columns: int | None = None, *, width: int = _WIDTH, gap: int = 1
) -> Image.Image:
    """Images side by side, row by row, `gap` pixels apart and enlarged by a whole factor to about
    `width` pixels.

    Transparent ones lie on a checkerboard; of more than four channels the mean is shown.

    Args:
        images: `(n, channels, height, width)` in [-1, 1]; what lies outside is clipped.
        columns: how many in a row; about as many as rows when None.
        width: smallest width of the picture; only small images are enlarged.
        gap: pixels between two, before enlargement.

    >>> grid(torch.zeros(6, 1, 8, 8), columns=3).size
    (520, 340)
    """
    if images.ndim != 4 or len(images) == 0:
        raise DataError(
            f"A grid takes images (n, channels, height, width), not {tuple(images.shape)}."
        )
    n, channels, h, w = images.shape
    if channels not in MODES:
        images, channels = images.mean(1, keepdim=True), 1
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, channels), _GAP, np.uint8)
    pixels = to_bytes(images).transpose(0, 2, 3, 1)
    for i, image in enumerate(pixels):
        top, left = (i // columns) * (h + gap), (i % columns) * (w + gap)
        sheet[top : top + h, left : left + w] = image
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet, MODES[channels])
    return _on_checker(_enlarged(picture, width))


def film(images: Tensor, file: IO[bytes], *, seconds: float = 0.1) -> None:
    """Writes images, `(n, channels, height, width)` in [-1, 1], as a GIF that runs there and back.

    Args:
        images: at least two.
        file: to write to.
        seconds: that each is shown for.
    """
    frames = [grid(image[None]).convert("RGB") for image in images]
    first, *rest = [*frames, *frames[-2:0:-1]]
    duration = round(1000 * seconds)
    first.save(file, "GIF", save_all=True, append_images=rest, duration=duration, loop=0)


def to_bytes(images: Tensor) -> np.ndarray:
    """Values in [-1, 1] as the nearest bytes."""
    x = images.detach().cpu().float().nan_to_num(0.0, 1.0, -1.0)
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()


def _enlarged(picture: Image.Image, width: int) -> Image.Image:
    factor = min(_LARGEST_FACTOR, math.ceil(width / picture.width))
    if factor <= 1:
        return picture
    return picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )


def _on_checker(picture: Image.Image) -> Image.Image:
    if picture.mode not in ("LA", "RGBA"):
        return picture
    y, x = np.indices((picture.height, picture.width)) // _CHECKER
    board = np.where((x + y) % 2, 225, 255).astype(np.uint8)
    ground = Image.fromarray(board, "L").convert("RGBA")
    return Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")


def scatter(x: Tensor, size: int = _WIDTH, *, extent: float | None = None) -> Image.Image:
    """Points on the plane as a density picture: the darker, the more points there are (on a
    square-root scale).

    Args:
        x: `(n, 2)`; the second coordinate points up.
        size: width and height in pixels.
        extent: the picture shows `[-extent, extent]` in both directions; a window about the points
            when None, in one scale unless they are ten times as wide as high, or the reverse.

    >>> scatter(torch.randn(100, 2)).size
    (512, 512)
    """
    if x.ndim != 2 or x.shape[1] != 2:
        raise DataError(f"A scatter picture takes points (n, 2), not {tuple(x.shape)}.")
    points = x.detach().cpu().double().numpy()
    points = points[np.isfinite(points).all(1)]
    centre, half = _window(points) if extent is None else (0.0, extent)
    cells = min(size // 2, _WIDTH // 2, max(_FEWEST_CELLS, round(4 * len(points) ** 0.5)))
    place = (((points - centre) / half + 1) * (cells / 2)).clip(-1, cells).astype(np.int64)
    place = place[((place >= 0) & (place < cells)).all(1)]
    counts = np.zeros((cells, cells))
    np.add.at(counts, (cells - 1 - place[:, 1], place[:, 0]), 1.0)
    strength = np.sqrt(
        counts / max(1.0, float(np.quantile(counts[counts > 0], 0.99)) if len(place) else 1.0)
    )
    return Image.fromarray(_inked(strength.clip(0, 1))).resize(
        (size, size), Image.Resampling.NEAREST
    )


def _window(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The centre and half the sides of a window about all points but a few outliers."""
    if not len(points):
        return np.zeros(2), np.ones(2)
    low, high = np.quantile(points, (0.0025, 0.9975), axis=0)
    half = 1.1 * (high - low) / 2
    if half.max() <= 10 * half.min():
        half[:] = half.max()
    half[half <= 1e-12 * np.abs(low)] = 1.0
    return (low + high) / 2, half


def _inked(strength: np.ndarray) -> np.ndarray:
    """White to light blue to dark blue, the least of which is plainly not white."""
    stops = np.array([[255, 255, 255], [120, 170, 220], [40, 90, 170], [8, 29, 88]], np.float64)
    at = np.array([0.0, 0.02, 0.5, 1.0])
    return np.stack([np.interp(strength, at, c) for c in stops.T], -1).round().astype(np.uint8)


def displayed(x: Tensor, schema: Schema) -> Tensor:
    """Model values as shades in [-1, 1]: black is the smallest value seen in training, white the
    largest.
    """
    support = schema.spec.support
    if isinstance(support, Binary):
        return 2 * x - 1
    if isinstance(support, Bytes | Interval):
        return x
    values = torch.from_numpy(schema.native(x).astype(np.float64))
    span = (schema.high - schema.low) or 1.0
    return ((values - schema.low) * (2 / span) - 1).float()


def picture(x: Tensor, schema: Schema) -> Image.Image:
    """The picture that suits the data: images as a grid, points as a cloud in the model's values,
    other vectors as one line of pixels each.

    Raises:
        DataError: for a table of more than two columns, which has no picture.
    """
    if len(x) == 0:
        raise DataError("There are no examples to draw: ask for at least one.")
    if schema.spec.size == 2 and (schema.columns or not schema.spec.support.discrete):
        return scatter(x.flatten(1))
    if schema.columns:
        raise DataError("A table has no picture: write a .csv instead, or leave the picture out.")
    if schema.spec.is_image:
        return grid(displayed(x, schema))
    shades = displayed(x, schema).flatten(1)
    return grid(shades[None, None], 1)
