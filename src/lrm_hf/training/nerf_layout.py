# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""NeRF's `transforms.json`, as NeRF's synthetic scenes, instant-ngp and nerfstudio write it.

Poses are camera-to-world with OpenGL axes (the camera looks along its -z, y is up). Focal lengths are `fl_x`, `fl_y` in
pixels of `w` x `h`, or `camera_angle_x` in radians; for all frames or for each. Lens distortion is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..files import read_json
from . import raw_views
from .raw_views import RawView
from .view_datasets import RawViewDataset


FILE_NAMES = ("transforms.json", "transforms_train.json")
SUFFIXES = ("", ".png", ".webp")  # NeRF's own files leave the suffix out
DISTORTIONS = ("k1", "k2", "k3", "k4", "p1", "p2")
PINHOLE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL")  # without distortion all the same


class TransformsViews(RawViewDataset):
    """Objects with a `transforms.json` each.

    Args:
        files: the JSON files; an object is named by its directory.
        size: side of the pictures; default as they are.
    """

    layout = "NeRF's layout (transforms.json)"

    def __init__(self, files: Sequence[str | os.PathLike[str]], size: int | None = None) -> None:
        self.files = [Path(file) for file in files]
        super().__init__([file.absolute().parent.name for file in self.files], size)

    def raw(self, index: int) -> list[RawView]:
        return raw_object(self.files[index])


def find_file(directory: Path) -> Path | None:
    """The directory's file of transforms; None if there is none."""
    return next((directory / name for name in FILE_NAMES if (directory / name).is_file()), None)


def raw_object(file: Path) -> list[RawView]:
    """The views of one object, in the file's order.

    Raises:
        OSError: if the file is no JSON object.
        ValueError: if it has no list of frames.
    """
    content = read_json(file)
    frames = content.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise ValueError(f"{str(file)!r} holds no list `frames` of objects.")
    views = []
    for index, frame in enumerate(frames):
        size = partial(_size, file, frame)
        views.append(
            RawView(
                name=str(frame.get("file_path", index)),
                picture=partial(_picture, file, frame),
                size=size,
                pose=partial(_pose, frame),
                intrinsics=partial(_intrinsics, {**content, **frame}, size),
            )
        )
    return views


def _path(file: Path, frame: dict[str, Any], key: str = "file_path") -> str:
    value = frame.get(key)
    if not isinstance(value, str):
        raise ValueError(f"its frame has no `{key}`, but {value!r}.")
    for suffix in SUFFIXES:
        path = file.parent / f"{value}{suffix}"
        if path.is_file():
            return str(path)
    raise OSError(f"{str(file.parent / value)} is missing.")


def _size(file: Path, frame: dict[str, Any]) -> tuple[int, int]:
    path = _path(file, frame)
    return raw_views.read_size(path, path)


def _picture(file: Path, frame: dict[str, Any]) -> np.ndarray:
    path = _path(file, frame)
    if "mask_path" not in frame:
        return raw_views.read_picture(path, path)
    import PIL.Image

    mask_path = _path(file, frame, "mask_path")
    with PIL.Image.open(path) as image, PIL.Image.open(mask_path) as mask:
        if image.size != mask.size:
            raise ValueError(f"{path} has {image.size} pixels, its mask {mask.size}.")
        return np.concatenate([np.asarray(image.convert("RGB")), np.asarray(mask.convert("L"))[..., None]], axis=-1)


def _pose(frame: dict[str, Any]) -> np.ndarray:
    try:
        return np.array(frame.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its `transform_matrix` is no matrix: {error}") from error


def _intrinsics(values: dict[str, Any], size: Any) -> np.ndarray:
    """From the frame's numbers, and the file's where the frame has none."""
    model = values.get("camera_model", "PINHOLE")
    distortion = {name: values[name] for name in DISTORTIONS if values.get(name)}
    if model not in PINHOLE_MODELS or distortion:
        raise ValueError(f"its camera is no pinhole ({model}, {distortion}): undistort the pictures first.")
    numbers = {}
    for name in ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y"):
        value = values.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError(f"`{name}` must be a finite number, got {value!r}.")
            numbers[name] = float(value)
    width, height = size()
    # pixels count in the size that the file names, so that scaled pictures keep their cameras
    w, h = numbers.get("w", float(width)), numbers.get("h", float(height))
    if w <= 0 or h <= 0:
        raise ValueError(f"`w` and `h` must be positive, got {w:g} and {h:g}.")
    if abs(w * height - h * width) > 0.01 * w * height:
        raise ValueError(f"`w` x `h` is {w:g} x {h:g}, but the picture has {width} x {height} pixels.")
    if "fl_x" in numbers:
        fx = numbers["fl_x"]
    elif "camera_angle_x" in numbers:
        fx = 0.5 * w / math.tan(0.5 * numbers["camera_angle_x"])
    else:
        raise ValueError("neither `fl_x` nor `camera_angle_x` says how wide the camera sees.")
    if "fl_y" in numbers:
        fy = numbers["fl_y"]
    elif "camera_angle_y" in numbers and "fl_x" not in numbers:
        fy = 0.5 * h / math.tan(0.5 * numbers["camera_angle_y"])
    else:
        fy = fx  # square pixels
    cx, cy = numbers.get("cx", 0.5 * w), numbers.get("cy", 0.5 * h)
    matrix = np.array([[fx / w, 0.0, cx / w], [0.0, fy / h, cy / h], [0.0, 0.0, 1.0]])
    raw_views.check_intrinsics(matrix, "its camera")
    return matrix
