# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Pictures of strangers: what is read, and what is sent away before it is decoded."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from app_parts import png

from lrm_hf.app.limits import Limits, megabytes, read_picture


def claimed_size(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "tiff", "gif"])
def test_formats_keep_their_pixels(suffix: str, tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), dtype=np.uint8)
    pixels[:10] = (255, 0, 0)
    path = tmp_path / f"half.{suffix}"
    PIL.Image.fromarray(pixels).save(path, **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(np.asarray(read_picture(path, Limits()).convert("RGB")), pixels)


def test_exif_turns_it_upright(tmp_path: Path) -> None:
    picture = PIL.Image.new("RGB", (40, 20), "red")
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture(tmp_path / "turned.jpg", Limits()).size == (20, 40)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "shot.png is an empty file."),
        (b"just text", "shot.png is not a picture that can be read; expected one of PNG, JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "shot.png is not a picture"),
        (png(PIL.Image.effect_noise((64, 64), 50))[:2000], "shot.png is damaged"),
        (claimed_size(20_000, 20_000), "far more pixels than the 0.5 million|20000 x 20000 pixels"),
        (claimed_size(1001, 500), "shot.png has 1001 x 500 pixels; at most 0.5 million pixels are allowed"),
    ],
)
def test_what_is_no_picture_is_a_line_that_names_it(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_picture(content, Limits(pixels=500_000), "shot.png")


def test_size_of_the_file_is_looked_at_first(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(b"x" * 20_001)
    with pytest.raises(ValueError, match=r"large.png has 0.0 MB; at most 20,000 bytes|large.png has"):
        read_picture(path, Limits(upload_bytes=20_000))
    picture = png(PIL.Image.new("RGB", (32, 32)))
    assert read_picture(picture, Limits(upload_bytes=len(picture))).size == (32, 32)
    with pytest.raises(ValueError, match="at most"):
        read_picture(picture, Limits(upload_bytes=len(picture) - 1))


@pytest.mark.parametrize(("name", "value"), [("pixels", 0), ("pictures", -1), ("resolution", 1.5), ("texture", True)])
def test_limits_are_positive_whole_numbers(name: str, value: object) -> None:
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        Limits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "words"), [(999, "999 bytes"), (3 * 2**19, "1.5 MB"), (2**30, "1,024 MB")])
def test_megabytes(size: int, words: str) -> None:
    assert megabytes(size) == words
