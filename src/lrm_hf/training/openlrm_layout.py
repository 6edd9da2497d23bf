# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The layout that OpenLRM's Blender script writes, read and written.

OBJECT/rgba/000.png       8 bits, straight alpha
OBJECT/pose/000.npy       3x4 (or 4x4) camera-to-world: the camera looks along its -z, y is up; the world's z is up
OBJECT/intrinsics.npy     [[fx, fy], [cx, cy], [width, height]] in pixels, for all views
OBJECT/depth/000.npy      ours, may be absent: distance along the unit ray to the first surface, 0 for none
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image

from ..cameras import Cameras
from . import raw_views
from .raw_views import RawView
from .view_datasets import RawViewDataset
from .views import ObjectViews


class OpenLRMViews(RawViewDataset):
    """Objects in OpenLRM's layout.

    Args:
        directories: one per object, each with `rgba` and `pose` in it.
        size: side of the pictures; default as they are.
    """

    layout = "OpenLRM's layout (rgba, pose, intrinsics.npy)"

    def __init__(self, directories: Sequence[str | os.PathLike[str]], size: int | None = None) -> None:
        self.directories = [Path(directory) for directory in directories]
        super().__init__([directory.name for directory in self.directories], size)

    def raw(self, index: int) -> list[RawView]:
        return raw_object(self.directories[index])


def is_object(directory: Path) -> bool:
    return (directory / "rgba").is_dir() or (directory / "pose").is_dir()


def raw_object(directory: Path) -> list[RawView]:
    """The views of one object: all that have a picture or a pose, by name."""
    stems = {path.stem for path in (directory / "rgba").glob("*.png")}
    stems |= {path.stem for path in (directory / "pose").glob("*.npy")}
    with_depth = (directory / "depth").is_dir()

    def intrinsics() -> np.ndarray:
        path = directory / "intrinsics.npy"
        return raw_views.normalised_intrinsics(raw_views.read_array(str(path), str(path)), path.name)

    views = []
    for stem in sorted(stems):
        picture, pose = str(directory / "rgba" / f"{stem}.png"), str(directory / "pose" / f"{stem}.npy")
        depth = str(directory / "depth" / f"{stem}.npy")
        views.append(
            RawView(
                name=stem,
                picture=partial(raw_views.read_picture, picture, picture),
                size=partial(raw_views.read_size, picture, picture),
                pose=partial(raw_views.read_array, pose, pose),
                intrinsics=intrinsics,
                depth=partial(raw_views.read_array, depth, depth) if with_depth else None,
            )
        )
    return views


def write_object(directory: str | os.PathLike[str], views: ObjectViews, depth: bool = False) -> None:
    """Writes an object so that its directory appears complete or not at all.

    Args:
        directory: must not exist; its parent must.
        views: cameras with one set of intrinsics without skew.
        depth: write the depth as well.

    Raises:
        OSError: if the directory exists, or can't be written.
        ValueError: if the intrinsics differ between views or have a skew: the layout has no place for that.
    """
    directory = Path(directory)
    if directory.exists():
        raise OSError(f"{str(directory)!r} exists.")
    files = encode_object(views, depth)
    temporary = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    try:
        for name, content in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def encode_object(views: ObjectViews, depth: bool = False) -> dict[str, bytes]:
    """The files of an object by their names within it, see `write_object`."""
    height, width = views.rgba.shape[-2:]
    files = {"intrinsics.npy": _npy(intrinsics_table(views.cameras, width, height))}
    poses = views.cameras.cam2world[:, :3].cpu().float().numpy()
    digits = max(3, len(str(len(poses) - 1)))
    for index, (picture, pose) in enumerate(zip(views.rgba.cpu(), poses, strict=True)):
        stem = f"{index:0{digits}d}"
        encoded = io.BytesIO()
        PIL.Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(encoded, "PNG")
        files[f"rgba/{stem}.png"] = encoded.getvalue()
        files[f"pose/{stem}.npy"] = _npy(pose)
        if depth:
            files[f"depth/{stem}.npy"] = _npy(views.depth[index].cpu().numpy())
    return files


def intrinsics_table(cameras: Cameras, width: int, height: int) -> np.ndarray:
    """OpenLRM's `(3, 2)` table in pixels.

    Raises:
        ValueError: if there is no single table for all views.
    """
    matrices = cameras.intrinsics.cpu().double().numpy()
    if np.abs(matrices - matrices[0]).max() > 1e-7 or np.abs(matrices[:, 0, 1]).max() > 0:
        raise ValueError("`views` must have the same intrinsics, without skew: the layout holds one table for all.")
    matrix = matrices[0] * [[width], [height], [1]]
    return np.array([[matrix[0, 0], matrix[1, 1]], [matrix[0, 2], matrix[1, 2]], [width, height]])


def _npy(values: np.ndarray) -> bytes:
    encoded = io.BytesIO()
    np.save(encoded, values)
    return encoded.getvalue()
