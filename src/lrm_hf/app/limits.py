# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What strangers may ask for, and reading their pictures: nothing is decoded before its size is known."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass, fields
from pathlib import Path

import PIL.Image
import PIL.ImageOps


# Formats with a decoder of Pillow's own. Others run foreign programs (EPS) or are no pictures of objects.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Upper limits of one request.

    Args:
        upload_bytes: size of a picture's file; for the endpoint, of the whole request.
        pixels: width times height of a picture.
        pictures: pictures at a time.
        resolution: of the mesh's grid, per axis.
        texture: side of a baked texture, in pixels.
        textured_faces: faces of a mesh with a texture.

    Raises:
        TypeError, ValueError: naming what is not a positive whole number.
    """

    upload_bytes: int = 20 * MIB
    pixels: int = 50_000_000
    pictures: int = 8
    resolution: int = 512
    texture: int = 2048
    textured_faces: int = 100_000

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"`{field.name}` must be a whole number, got {value!r}.")
            if value < 1:
                raise ValueError(f"`{field.name}` must be at least 1, got {value}.")


def read_picture(source: str | os.PathLike[str] | bytes, limits: Limits, name: str | None = None) -> PIL.Image.Image:
    """A picture that someone has sent, decoded.

    Args:
        source: path of the file, or its content.
        limits: of the file's size, and of the picture's.
        name: how messages call it; default the file's name without its directory.

    Returns:
        The picture as it is in the file, upright (EXIF), of the file's mode. Of an animation, the first frame.

    Raises:
        ValueError: if it is too large, empty, no picture, or damaged; one line that says what came and what is allowed.
        OSError: if the file can't be read.
    """
    if isinstance(source, bytes):
        content, name = source, name or "the picture"
        size = len(content)
    else:
        path = Path(source)
        name = name or path.name
        size = path.stat().st_size
    if size > limits.upload_bytes:
        raise ValueError(f"{name} has {megabytes(size)}; at most {megabytes(limits.upload_bytes)} are allowed.")
    if size == 0:
        raise ValueError(f"{name} is an empty file.")
    if not isinstance(source, bytes):
        content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            # Pillow's own limit warns above 89 megapixels; ours is checked before anything is decoded
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            picture = PIL.Image.open(io.BytesIO(content), formats=PICTURE_FORMATS)
    except PIL.UnidentifiedImageError as error:
        known = ", ".join(PICTURE_FORMATS)
        raise ValueError(f"{name} is not a picture that can be read; expected one of {known}.") from error
    except PIL.Image.DecompressionBombError as error:
        raise ValueError(f"{name} has far more pixels than the {_pixels(limits.pixels)} that are allowed.") from error
    except Exception as error:  # a damaged header: Pillow's decoders raise what comes
        raise ValueError(f"{name} is damaged: {' '.join(str(error).split())}") from error
    width, height = picture.size
    if width * height > limits.pixels:
        raise ValueError(
            f"{name} has {width} x {height} pixels; at most {_pixels(limits.pixels)} are allowed. Make it smaller."
        )
    try:
        picture.load()
        return PIL.ImageOps.exif_transpose(picture)
    except Exception as error:  # cut off or damaged: Pillow's decoders raise what comes
        raise ValueError(f"{name} is damaged: {' '.join(str(error).split())}") from error


def megabytes(size: int) -> str:
    """ "1.5 MB", with as many digits as say something."""
    if size < 10_000:
        return f"{size:,} bytes"
    return f"{size / MIB:.1f} MB" if size < 100 * MIB else f"{size / MIB:,.0f} MB"


def _pixels(count: int) -> str:
    return f"{count / 1e6:g} million pixels"
