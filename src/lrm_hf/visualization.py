# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Pictures for people: contact sheets, image files, turntable videos and animations.

A picture is a `PIL.Image` or an array `(height, width, 3)`, uint8 or floating point in [0, 1]. A file appears under its
name only when it is complete.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from .files import replacing


def contact_sheet(
    images: Sequence[PIL.Image.Image | np.ndarray],
    columns: int | None = None,
    tile_size: tuple[int, int] | None = None,
    padding: int = 4,
    background: tuple[int, int, int] = (255, 255, 255),
) -> PIL.Image.Image:
    """Pictures side by side, row by row.

    Args:
        images: pictures of any sizes.
        columns: tiles per row; default as square as possible.
        tile_size: (width, height) that a picture is fitted into, in proportion and centred; default the largest width
            and height there are.
        padding: pixels around each tile.
        background: RGB in 0..255.

    Returns:
        An RGB picture of `columns * (tile width + padding) + padding` pixels width, and likewise height.

    Raises:
        ValueError: if there is no picture, or a number is out of range.
        TypeError: if something is not a picture.
    """
    tiles = [_to_pil(image, f"images[{index}]") for index, image in enumerate(images)]
    if not tiles:
        raise ValueError("`images` is empty.")
    if columns is None:
        columns = math.ceil(math.sqrt(len(tiles)))
    if columns < 1:
        raise ValueError(f"`columns` must be at least 1, got {columns}.")
    if padding < 0:
        raise ValueError(f"`padding` must not be negative, got {padding}.")
    width, height = tile_size or (max(tile.width for tile in tiles), max(tile.height for tile in tiles))
    rows = math.ceil(len(tiles) / columns)
    size = (columns * (width + padding) + padding, rows * (height + padding) + padding)
    sheet = PIL.Image.new("RGB", size, background)
    for index, tile in enumerate(tiles):
        scale = min(width / tile.width, height / tile.height) if tile_size else 1.0
        if scale != 1.0:
            fitted = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
            tile = tile.resize(fitted, PIL.Image.Resampling.LANCZOS)
        row, column = divmod(index, columns)
        left = padding + column * (width + padding) + (width - tile.width) // 2
        top = padding + row * (height + padding) + (height - tile.height) // 2
        sheet.paste(tile, (left, top))
    return sheet


def write_image(path: str | os.PathLike[str], image: PIL.Image.Image | np.ndarray) -> None:
    """Writes a picture in the format of the suffix. PNG, WebP and TIFF keep a `PIL.Image` as it is, with its alpha
    channel or its 16 bits; elsewhere it becomes RGB on white.

    Raises:
        ValueError: if the suffix is of no known format.
        OSError: if the directory does not exist or can't be written to.
    """
    keeps = Path(path).suffix.lower() in (".png", ".webp", ".tif", ".tiff")
    picture = image if keeps and isinstance(image, PIL.Image.Image) else _to_pil(image, "image")
    with replacing(path) as temporary:
        picture.save(temporary)


VIDEO_FORMATS = ("mp4", "gif", "webp")


def write_video(
    path: str | os.PathLike[str], frames: Sequence[PIL.Image.Image | np.ndarray], fps: float = 30.0
) -> None:
    """Writes frames one after the other, in the format of the suffix.

    - `.mp4` plays in browsers and on phones: H.264, yuv420p, which wants even sizes. An odd width or height gains a
      pixel, a copy of the outermost one. Transparent parts become white.
    - `.gif` plays everywhere, in 256 colours and at hundredths of a second per frame (50 frames per second at most).
    - `.webp` plays in browsers, in full colour.

    The latter two repeat for ever, and keep the alpha channel of a `PIL.Image` (gif: opaque or not).

    Args:
        path: ends in ".mp4", ".gif" or ".webp".
        frames: pictures of one size.
        fps: frames per second.

    Raises:
        ValueError: if there are no frames, they differ in size, or the suffix is another.
        OSError: if the directory does not exist or can't be written to, or ffmpeg fails.
        ImportError: if imageio or its ffmpeg is missing, for mp4.
    """
    suffix = Path(path).suffix.lower()
    if suffix[1:] not in VIDEO_FORMATS:
        raise ValueError(f"`path` must end in '.mp4', '.gif' or '.webp', got {os.fspath(path)!r}.")
    if not fps > 0:
        raise ValueError(f"`fps` must be positive, got {fps}.")
    if suffix == ".mp4":
        _write_mp4(path, [_to_array(frame, f"frames[{index}]") for index, frame in enumerate(frames)], fps)
        return
    pictures = []
    for index, frame in enumerate(frames):
        if isinstance(frame, PIL.Image.Image) and frame.has_transparency_data:
            pictures.append(frame.convert("RGBA"))
        else:
            pictures.append(_to_pil(frame, f"frames[{index}]"))
    _one_size([(picture.height, picture.width) for picture in pictures])
    milliseconds = max(1000 / fps, 20.0 if suffix == ".gif" else 1.0)  # browsers slow a gif down that wants less
    ends = np.round(np.arange(len(pictures) + 1) * milliseconds / 10) * 10 if suffix == ".gif" else None
    durations = np.diff(ends).astype(int).tolist() if ends is not None else round(milliseconds)
    options: dict[str, Any] = {"disposal": 2} if suffix == ".gif" else {"quality": 90, "method": 4}
    with replacing(path) as temporary:
        first, *others = pictures
        first.save(temporary, save_all=True, append_images=others, duration=durations, loop=0, **options)


def _write_mp4(path: str | os.PathLike[str], arrays: list[np.ndarray], fps: float) -> None:
    height, width = _one_size([array.shape[:2] for array in arrays])
    try:
        import imageio.v2 as imageio
        import imageio_ffmpeg  # noqa: F401  (imageio would look for it later, and say less)
    except ImportError as error:
        raise ImportError("writing videos needs imageio with ffmpeg: pip install imageio imageio-ffmpeg") from error

    with replacing(path) as temporary:
        writer = imageio.get_writer(
            temporary,
            format="FFMPEG",
            mode="I",
            fps=fps,
            codec="libx264",
            pixelformat="yuv420p",
            quality=8,
            macro_block_size=2,
            # with one thread the same frames give the same bytes
            output_params=["-threads", "1", "-movflags", "+faststart"],
            ffmpeg_log_level="error",
        )
        with writer:
            for array in arrays:
                writer.append_data(np.pad(array, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"))


def _one_size(sizes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    different = sorted(set(sizes))
    if len(different) != 1:
        raise ValueError(f"`frames` must be pictures of one size, got {different or 'none'}.")
    return different[0]


def _to_pil(image: Any, name: str) -> PIL.Image.Image:
    if isinstance(image, PIL.Image.Image):
        return image if image.mode == "RGB" else PIL.Image.fromarray(_to_array(image, name))
    return PIL.Image.fromarray(_to_array(image, name))


def _to_array(image: Any, name: str) -> np.ndarray:
    """`(height, width, 3)` uint8; transparent parts of a `PIL.Image` become white."""
    if isinstance(image, PIL.Image.Image):
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
            image = PIL.Image.alpha_composite(white, image)
        return np.asarray(image.convert("RGB"))
    if not isinstance(image, np.ndarray):
        raise TypeError(f"`{name}` must be a PIL.Image or an array, got {type(image).__name__}.")
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"`{name}` must have shape (height, width, 3), got {image.shape}.")
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError(f"`{name}` must be uint8 or floating point, got {image.dtype}.")
    if not np.isfinite(image).all() or image.min() < -1e-2 or image.max() > 1 + 1e-2:
        raise ValueError(f"`{name}` must hold finite values in [0, 1].")
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
