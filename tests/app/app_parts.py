# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""A small studio with a model of random weights, and pictures as files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import PIL.Image
from tiny_models import pictures, tiny_pipeline

from lrm_hf.app.limits import Limits
from lrm_hf.app.studio import Studio


def save_model(directory: Path, seed: int = 0) -> str:
    """A pipeline whose fields all have a surface."""
    pipe = tiny_pipeline(seed)
    pipe.model.config.field_config.density_threshold = 0.5
    pipe.save_pretrained(directory)
    return str(directory)


def small_studio(model: str, **arguments: Any) -> Studio:
    return Studio([model], limits=Limits(resolution=64, pixels=1_000_000, upload_bytes=300_000), **arguments)


def png(picture: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def save_pictures(directory: Path, count: int = 2) -> list[Path]:
    paths = [directory / f"thing {index}.png" for index in range(count)]
    for path, picture in zip(paths, pictures(count), strict=True):
        picture.save(path)
    return paths
