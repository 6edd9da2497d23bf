# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Moves the cameras of an object so that the source view stands where a model expects it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..cameras import Cameras


Frame = Literal["world", "upright", "canonical"]
FRAMES = ("world", "upright", "canonical")


def place_source(
    cameras: Cameras, source: int, frame: Frame, elevation: float = 0.0, distance: float | None = None
) -> tuple[Cameras, float]:
    """The cameras after the scene was moved as `frame` says, by the one view that is the model's input.

    | frame | the source camera afterwards | for |
    |---|---|---|
    | `"world"` | where it was | objects rendered ahead with their fronts towards -y |
    | `"upright"` | at azimuth 0, its height kept: the scene turns about z only | models whose frame is upright |
    | `"canonical"` | at azimuth 0 and `elevation`, looking at the origin | LRM (Hong et al. 2023) and OpenLRM |

    Upright and canonical frames agree where the source's elevation is `elevation` and it looks at the origin without
    a roll.

    Args:
        cameras: shape `(views,)`.
        source: index of the source view.
        frame: see above.
        elevation: degrees of the canonical source camera above the xy plane (a config's `source_camera_elevation`).
        distance: scales the scene so that the source camera is this far from the origin; default: no scaling.

    Returns:
        cameras: shape `(views,)`; scale: the factor that lengths in the scene, depths among them, were multiplied by.

    Raises:
        ValueError: if `frame` is another, the source camera stands in the origin, or `distance` is not positive.
    """
    if frame not in FRAMES:
        raise ValueError(f"`frame` must be one of {', '.join(FRAMES)}, got {frame!r}.")
    own = float(cameras.position[source].norm())
    if own < 1e-6:
        raise ValueError(f"the source camera (view {source}) stands in the origin, where the object is.")
    scale = 1.0
    if distance is not None:
        if not distance > 0:
            raise ValueError(f"`distance` must be positive, got {distance}.")
        scale = distance / own
    # float64: a product of matrices in float32 costs the last digits of the exact canonical pose
    poses = cameras.cam2world.double().clone()
    poses[:, :3, 3] *= scale
    if frame == "upright":
        turn = Cameras(poses, cameras.intrinsics.double()).rotate_about_z(-azimuth_of(poses[source]))
        poses = turn.cam2world
    elif frame == "canonical":
        target = Cameras.canonical(own * scale, elevation=elevation).cam2world.double()
        poses = (target @ torch.linalg.inv(poses[source])) @ poses
        poses[source] = target
    return Cameras(poses.to(cameras.cam2world.dtype), cameras.intrinsics), scale


def azimuth_of(cam2world: Tensor) -> Tensor:
    """Degrees about z of a camera `(..., 4, 4)`: 0 on the -y side, counter-clockwise seen from above, as in
    `orbit_cameras`. Straight above or below the origin it is read off the picture's horizontal."""
    x, y = cam2world[..., 0, 3], cam2world[..., 1, 3]
    right = torch.atan2(cam2world[..., 1, 0], cam2world[..., 0, 0])
    above = torch.hypot(x, y) < 1e-4 * cam2world[..., :3, 3].norm(dim=-1)
    return torch.rad2deg(torch.where(above, right, torch.atan2(x, -y)))


def elevation_of(cam2world: Tensor) -> Tensor:
    """Degrees above the xy plane of a camera `(..., 4, 4)`."""
    position = cam2world[..., :3, 3]
    return torch.rad2deg(torch.atan2(position[..., 2], position[..., :2].norm(dim=-1)))
