# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Ways for a camera to go: between keyframes, or as a file says."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .cameras import DEFAULT_FOCAL, Cameras, look_at_cameras
from .files import read_json


def interpolate_cameras(keyframes: Cameras, num_views: int, closed: bool = False) -> Cameras:
    """A path through keyframes, as if the camera hung on an arm: it turns at an even rate about the point of its axis
    that is nearest to the origin, whose place and distance go evenly from one keyframe to the next. Between two cameras
    of an orbit it stays on the orbit.

    Args:
        keyframes: shape `(n,)`, n at least 2; consecutive ones less than 180 degrees apart.
        num_views: cameras on the path, spread evenly over it; the first is the first keyframe.
        closed: go on from the last keyframe to the first, which is not repeated. Otherwise the last camera is the last
            keyframe.

    Returns:
        `Cameras` of shape `(num_views,)`.

    Raises:
        TypeError, ValueError: if there are fewer than two keyframes, `num_views` is not a positive integer (2 for an
            open path), or a keyframe is no rigid motion.
    """
    from scipy.spatial.transform import Rotation, Slerp

    if not isinstance(keyframes, Cameras):
        raise TypeError(f"`keyframes` must be Cameras, got {type(keyframes).__name__}.")
    if len(keyframes.shape) != 1 or len(keyframes) < 2:
        raise ValueError(f"`keyframes` must be of shape (n,) with n of at least 2, got {tuple(keyframes.shape)}.")
    least = 1 if closed else 2
    if isinstance(num_views, bool) or not isinstance(num_views, int) or num_views < least:
        raise ValueError(f"`num_views` must be an integer of at least {least}, got {num_views!r}.")
    keyframes.validate()
    pose = keyframes.cam2world.detach().double().cpu().numpy()
    intrinsics = keyframes.intrinsics.detach().double().cpu().numpy()
    if closed:
        pose, intrinsics = np.concatenate([pose, pose[:1]]), np.concatenate([intrinsics, intrinsics[:1]])
    stops = np.arange(len(pose), dtype=np.float64)
    times = np.linspace(0, stops[-1], num_views + closed)[:num_views]
    rotation, centre = pose[:, :3, :3], pose[:, :3, 3]
    backward = rotation[:, :, 2]
    arm = np.einsum("ij,ij->i", centre, backward)  # signed: the origin may lie behind a camera
    pivot = centre - arm[:, None] * backward
    turned = Slerp(stops, Rotation.from_matrix(rotation))(times).as_matrix()

    def between(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1)
        columns = [np.interp(times, stops, column) for column in flat.T]
        return np.stack(columns, axis=1).reshape(len(times), *values.shape[1:])

    result = np.tile(np.eye(4), (len(times), 1, 1))
    result[:, :3, :3] = turned
    result[:, :3, 3] = between(pivot) + between(arm)[:, None] * turned[:, :, 2]
    like = keyframes.cam2world
    return Cameras(torch.from_numpy(result).to(like), torch.from_numpy(between(intrinsics)).to(like))


def read_cameras(path: str | os.PathLike[str]) -> Cameras:
    """Cameras from a JSON file: `{"cameras": [...]}`, each either `{"position": [x, y, z]}` with, if need be, `target`,
    `up` and `focal`, or `{"cam2world": 4x4 rows}` with, if need be, `focal` or `intrinsics` (3x3 rows). In the world
    frame and with normalised intrinsics, as [`Cameras`] has them.

    Returns:
        `Cameras` of shape `(n,)`.

    Raises:
        OSError: if the file can't be read, or is no JSON object.
        ValueError: naming the camera and what is wrong with it.
    """
    entries = read_json(path).get("cameras")
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{os.fspath(path)!r} must have a list of at least one camera under 'cameras'.")
    cameras = []
    for number, entry in enumerate(entries):
        try:
            cameras.append(_camera(entry))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)!r}, cameras[{number}]: {error}") from error
    return Cameras(
        torch.stack([camera.cam2world for camera in cameras]), torch.stack([camera.intrinsics for camera in cameras])
    )


def _camera(entry: Any) -> Cameras:
    if not isinstance(entry, dict) or ("position" in entry) == ("cam2world" in entry):
        raise ValueError("must be an object with one of 'position' and 'cam2world'.")
    known = {"position", "target", "up", "focal"} if "position" in entry else {"cam2world", "intrinsics", "focal"}
    if set(entry) - known:
        raise ValueError(f"unknown {', '.join(map(repr, sorted(set(entry) - known)))}; known: {sorted(known)}.")
    if "position" in entry:
        return look_at_cameras(**entry).validate()
    pose = _matrix(entry, "cam2world")
    if "intrinsics" in entry:
        if "focal" in entry:
            raise ValueError("give one of 'intrinsics' and 'focal'.")
        return Cameras(pose, _matrix(entry, "intrinsics")).validate()
    focal = float(entry.get("focal", DEFAULT_FOCAL))
    return Cameras(pose, torch.tensor([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])).validate()


def _matrix(entry: dict[str, Any], name: str) -> Tensor:
    return torch.tensor(entry[name], dtype=torch.float32)
