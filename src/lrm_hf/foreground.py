# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""From a picture to its object: what the alpha channel says, keying a plain background, cropping, compositing.

Everything here works on one picture as a float32 numpy array (height, width, channels) with values in [0, 1] and
straight (not premultiplied) alpha.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np


# An alpha at or below TRANSPARENT is empty, one at or above OPAQUE is full: 5/255 from either end.
TRANSPARENT = 0.02
OPAQUE = 0.98

# A border is near-uniform if on each of the four sides 98 % of its pixels lie this close to the border's median colour
# (largest difference over the channels). 0.06 is 15/255: JPEG noise and paper pass, a gradient or a scene does not.
BORDER_TOLERANCE = 0.06
BORDER_QUANTILE = 0.98
# Inside the picture background is what lies within twice the border's own spread, at least 8/255.
MIN_KEY_TOLERANCE = 0.031
# Islands smaller than this share of the largest part are dust or compression noise.
MIN_ISLAND = 1e-3
# The smallest object, in pixels of its longer side.
MIN_OBJECT = 4

RESIZE_MODES = ("bilinear_antialias", "bicubic_align_corners")


def alpha_has_content(alpha: np.ndarray) -> bool:
    """Whether an alpha channel cuts an object out.

    An alpha that is opaque everywhere, or the same everywhere, carries no information and counts as none.

    Args:
        alpha: (height, width), values in [0, 1].

    Raises:
        ValueError: every pixel is transparent.
    """
    low, high = float(alpha.min()), float(alpha.max())
    if high <= TRANSPARENT:
        raise ValueError("nothing to reconstruct: the alpha channel is transparent everywhere")
    return low < OPAQUE and high - low > TRANSPARENT


def border_colour(rgb: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Colour (3,) and spread of a near-uniform border, or None where the four sides are not one plain colour.

    The border is 1 % of the shorter side wide, at least one pixel. The spread is the 98 % quantile of the distance to
    the colour, on the worst side.
    """
    width = max(1, min(rgb.shape[:2]) // 100)
    sides = [rgb[:width], rgb[-width:], rgb[:, :width], rgb[:, -width:]]
    sides = [side.reshape(-1, 3) for side in sides]
    colour = np.median(np.concatenate(sides), axis=0)
    spread = max(float(np.quantile(np.abs(side - colour).max(axis=1), BORDER_QUANTILE)) for side in sides)
    return (colour.astype(np.float32), spread) if spread <= BORDER_TOLERANCE else None


def shrink(rgb: np.ndarray, side: int) -> np.ndarray:
    """Average whole blocks of pixels so that the longer side comes close to `side`, never below it.

    An incomplete block at the bottom or right is left out. A picture less than twice as large is returned as it is.
    """
    factor = max(rgb.shape[:2]) // side
    if factor < 2 or min(rgb.shape[:2]) < factor * MIN_OBJECT:
        return rgb
    height, width = rgb.shape[0] // factor, rgb.shape[1] // factor
    result = np.zeros((height, width, rgb.shape[2]), dtype=np.float32)
    for row in range(factor):
        for column in range(factor):
            result += rgb[row : height * factor : factor, column : width * factor : factor]
    return result / np.float32(factor**2)


def key_out_border(rgb: np.ndarray) -> np.ndarray | None:
    """Cut an object out of a plain background.

    Background is what has the border's colour and is connected to the border, so that a white patch inside an object
    on white stays. Enclosed areas of the background's colour are taken as holes only where that colour is neither
    close to white nor close to black: highlights, eyes and dark parts often reach those, hardly ever a mid grey or a
    chroma key. In a thin band along the outline alpha is the position of the pixel's colour between background and
    object colour, and the background's share is taken out of the colour, so that no halo is left.

    Args:
        rgb: (height, width, 3), values in [0, 1].

    Returns:
        (height, width, 4) with straight alpha, or None if the border is not near-uniform (`border_colour`).

    Raises:
        ValueError: the whole picture is background.
    """
    from scipy import ndimage

    border = border_colour(rgb)
    if border is None:
        return None
    colour, spread = border
    tolerance = max(2.0 * spread, MIN_KEY_TOLERANCE)
    contrast = np.abs(rgb - colour).max(axis=2)  # [height, width]

    # 4-connected: an outline of one pixel, also a diagonal one, holds the background out.
    regions, count = ndimage.label(contrast <= tolerance)
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    is_background = np.zeros(count + 1, dtype=bool)
    is_background[edge] = True
    if colour.min() < 0.9 and colour.max() > 0.1:
        is_background |= np.bincount(regions.ravel(), minlength=count + 1) >= max(9, contrast.size * 1e-4)
    is_background[0] = False
    foreground = ~is_background[regions]

    islands, count = ndimage.label(foreground, structure=np.ones((3, 3), dtype=bool))
    if count == 0:
        raise ValueError("nothing to reconstruct: the picture shows one plain colour")
    areas = np.bincount(islands.ravel(), minlength=count + 1)
    areas[0] = 0
    foreground = (areas > MIN_ISLAND * areas.max())[islands]

    radius = max(2, round(min(rgb.shape[:2]) / 200))  # large photographs have wider edges
    rows, columns = np.nonzero(foreground.any(axis=1))[0], np.nonzero(foreground.any(axis=0))[0]
    margin = radius + 1
    window = (
        slice(max(rows[0] - margin, 0), rows[-1] + 1 + margin),
        slice(max(columns[0] - margin, 0), columns[-1] + 1 + margin),
    )
    rgba = np.zeros((*contrast.shape, 4), dtype=np.float32)
    rgba[..., :3] = rgb
    rgba[window] = _soft_matte(rgb[window], foreground[window], contrast[window], colour, 1.5 * spread, radius)
    return rgba


def _soft_matte(
    rgb: np.ndarray, foreground: np.ndarray, contrast: np.ndarray, colour: np.ndarray, noise: float, radius: int
) -> np.ndarray:
    """RGBA (height, width, 4) from a hard mask: alpha and object colour solved for within `radius` of the outline.

    Contrast to the background's `colour` up to `noise` means nothing.
    """
    from scipy import ndimage

    inside = ndimage.distance_transform_edt(foreground)
    outside = ndimage.distance_transform_edt(~foreground)
    # Object colours come from the core, which no background reaches. What is too thin to have one (wires, hair) is
    # represented by its own most contrasting pixels.
    core = inside > radius
    far = ndimage.distance_transform_edt(~core) > 2 * radius if core.any() else np.ones_like(core)
    ridge = foreground & far & (contrast >= ndimage.maximum_filter(contrast, size=2 * radius + 1))
    known = core | ridge
    weight = ndimage.uniform_filter(known.astype(np.float32), size=3)
    smooth = ndimage.uniform_filter(rgb * known[..., None], size=(3, 3, 1)) / np.maximum(weight, 1e-6)[..., None]
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    object_colour = smooth[tuple(nearest)]

    direction = object_colour - colour
    mixed = ((rgb - colour) * direction).sum(axis=2) / np.maximum((direction**2).sum(axis=2), 1e-6)
    mixed = np.where((mixed <= TRANSPARENT) | (contrast <= noise), 0.0, np.where(mixed >= OPAQUE, 1.0, mixed))
    band = ~known & (inside <= radius) & (outside <= radius)
    alpha = np.where(band, mixed, foreground).astype(np.float32)

    # rgb = alpha * object + (1 - alpha) * background, solved for the object; hopeless where alpha is small.
    solved = (rgb - (1.0 - alpha[..., None]) * colour) / np.maximum(alpha, 0.1)[..., None]
    pure = np.where((alpha >= 0.1)[..., None], np.clip(solved, 0.0, 1.0), object_colour)
    result = np.where((band & (alpha < 1.0))[..., None], pure, rgb)
    return np.concatenate([result, alpha[..., None]], axis=2).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _rembg_session() -> Any:
    import rembg

    return rembg.new_session()


def remove_background_with_rembg(rgb: np.ndarray) -> np.ndarray:
    """Cut the object out with `rembg`'s default network, which it downloads on first use.

    Args:
        rgb: (height, width, 3), values in [0, 1].

    Returns:
        (height, width, 4), the colours unchanged.

    Raises:
        ImportError: `rembg` or its runtime is not installed.
        ValueError: it found no object.
    """
    from PIL import Image

    try:
        import rembg
    except (ImportError, SystemExit) as error:  # rembg exits the interpreter where onnxruntime is missing
        raise ImportError(
            "a picture without alpha or a plain background needs rembg, which is not available here: pass a cut-out "
            '(RGBA), or install the extra: pip install "lrm_hf[background]"'
        ) from error
    picture = Image.fromarray(np.round(rgb * 255.0).astype(np.uint8))
    # Only the mask: rembg's own cut-out is blended with black along the outline.
    mask = rembg.remove(picture, session=_rembg_session(), only_mask=True)
    alpha = np.asarray(mask.convert("L"), dtype=np.float32) / 255.0
    if alpha.shape != rgb.shape[:2] or alpha.max() <= TRANSPARENT:
        raise ValueError("nothing to reconstruct: rembg found no object in the picture; pass a cut-out (RGBA)")
    return np.concatenate([rgb, alpha[..., None]], axis=2)


def object_box(alpha: np.ndarray, threshold: float = TRANSPARENT) -> tuple[int, int, int, int]:
    """Bounding box (top, left, bottom, right) of `alpha > threshold`, bottom and right exclusive.

    Raises:
        ValueError: the object is smaller than 4 pixels in both directions.
    """
    rows = np.nonzero((alpha > threshold).any(axis=1))[0]
    columns = np.nonzero((alpha > threshold).any(axis=0))[0]
    height, width = (int(ends[-1] - ends[0]) + 1 if len(ends) else 0 for ends in (rows, columns))
    if max(height, width) < MIN_OBJECT:
        raise ValueError(
            f"nothing to reconstruct: the object is {height} x {width} pixels; at least {MIN_OBJECT} are needed"
        )
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def composite(rgba: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Picture (height, width, 4) over a colour (3,) -> (height, width, 3)."""
    alpha = rgba[..., 3:]
    return rgba[..., :3] * alpha + (1.0 - alpha) * background


def pad_to_square(rgba: np.ndarray, side: int) -> np.ndarray:
    """Centre a picture (height, width, 4) on a transparent square; an odd pixel goes to the bottom and right."""
    height, width = rgba.shape[:2]
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side, 4), dtype=np.float32)
    square[top : top + height, left : left + width] = rgba
    return square


def crop_to_object(
    rgba: np.ndarray, size: int, foreground_ratio: float, background: np.ndarray, resize_mode: str
) -> np.ndarray:
    """Square view of the object, exactly framed: any fraction of a pixel is resampled, nothing is rounded.

    The centre of the object's bounding box becomes the centre of the view, and the box's longer side takes
    `foreground_ratio` of the view's side. What lies outside the picture is background.

    Args:
        rgba: (height, width, 4).
        size: side of the result in pixels.
        foreground_ratio: in (0, 1].
        background: (3,).
        resize_mode: one of `RESIZE_MODES`.

    Returns:
        (size, size, 3), values in [0, 1].
    """
    top, left, bottom, right = object_box(rgba[..., 3])
    extent = max(bottom - top, right - left) / foreground_ratio
    premultiplied = rgba.copy()
    premultiplied[..., :3] *= rgba[..., 3:]
    for axis, centre in ((0, (top + bottom) / 2), (1, (left + right) / 2)):
        premultiplied = _resample(premultiplied, axis, centre - extent / 2, extent, size, resize_mode)
    picture = premultiplied[..., :3] + (1.0 - premultiplied[..., 3:]) * background
    return np.clip(picture, 0.0, 1.0)  # cubic weights overshoot


def _resample(image: np.ndarray, axis: int, start: float, extent: float, size: int, resize_mode: str) -> np.ndarray:
    """Resample one axis (0 or 1) of (height, width, channels) from the interval [start, start + extent) to `size`.

    Positions count pixels, pixel i covering [i, i + 1); outside the picture everything is 0. The kernels are those of
    `torch.nn.functional.interpolate` for the two modes, here for an interval that need not be whole pixels.
    """
    steps = np.arange(size)
    if resize_mode == "bilinear_antialias":
        scale = extent / size
        support = max(scale, 1.0)
        centre = start + (steps + 0.5) * scale
        first = np.floor(centre - support + 0.5).astype(int)
        taps = first[:, None] + np.arange(2 * int(np.ceil(support)) + 1)
        weights = np.maximum(0.0, 1.0 - np.abs(taps + 0.5 - centre[:, None]) / support)
        weights /= weights.sum(axis=1, keepdims=True)
    else:
        position = start + steps * (extent - 1.0) / max(size - 1, 1)
        taps = np.floor(position).astype(int)[:, None] + np.arange(-1, 3)
        weights = _cubic(np.abs(position[:, None] - taps))
    length = image.shape[axis]
    weights = np.where((taps >= 0) & (taps < length), weights, 0.0).astype(np.float32)
    taps = np.clip(taps, 0, length - 1)
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    result = 0.0
    for k in range(taps.shape[1]):
        result = result + weights[:, k].reshape(shape) * np.take(image, taps[:, k], axis=axis)
    return np.asarray(result, dtype=np.float32)


def _cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    """Keys' cubic convolution kernel; a = -0.75 is torch's choice."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    tail = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, tail, 0.0))
