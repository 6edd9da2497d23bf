# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Views of a ball whose pictures are known on paper, and damage to their files."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import PIL.Image
import torch

from lrm_hf.cameras import Cameras, camera_rays, orbit_cameras
from lrm_hf.training.openlrm_layout import write_object
from lrm_hf.training.views import ObjectViews


SIZE = 32
RADIUS = 0.4
CENTER = torch.tensor([0.3, 0.1, 0.2])
AZIMUTHS, ELEVATIONS = [0.0, 40.0, 130.0, 250.0], [20.0, 0.0, -10.0, 50.0]


def ball_views(cameras: Cameras | None = None, size: int = SIZE, color: tuple = (0.2, 0.4, 0.8)) -> ObjectViews:
    """A ball off the centre, by the quadratic formula; each pixel is its centre ray."""
    if cameras is None:
        cameras = orbit_cameras(azimuths=AZIMUTHS, elevation=ELEVATIONS)
    origins, directions = camera_rays(cameras, size, size)
    to_center = CENTER - origins
    along = (to_center * directions).sum(-1)
    inside = RADIUS**2 - (to_center.square().sum(-1) - along.square())
    depth = torch.where(inside > 0, along - inside.clamp(min=0).sqrt(), torch.zeros_like(along))
    rgba = torch.zeros(len(cameras), 4, size, size)
    rgba[:, :3] = torch.tensor(color)[:, None, None]
    rgba[:, 3] = (inside > 0).float()
    return ObjectViews((rgba * 255).round().to(torch.uint8), depth.half(), cameras)


def openlrm_dataset(root: Path, names: tuple[str, ...] = ("ball",), **kwargs) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        write_object(root / name, ball_views(), **kwargs)
    return root


def nerf_object(directory: Path, views: ObjectViews | None = None, suffix: str = "", **header) -> Path:
    """An object as NeRF's synthetic scenes are written."""
    views = ball_views() if views is None else views
    (directory / "train").mkdir(parents=True)
    frames = []
    for index, picture in enumerate(views.rgba):
        PIL.Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(directory / f"train/r_{index}.png")
        pose = views.cameras.cam2world[index].double().tolist()
        frames.append({"file_path": f"./train/r_{index}{suffix}", "transform_matrix": pose})
    header = header or {"camera_angle_x": 2 * math.atan(0.5 / float(views.cameras.intrinsics[0, 0, 0]))}
    file = directory / "transforms.json"
    file.write_text(json.dumps({**header, "frames": frames}))
    return file


def edit_pose(directory: Path, view: int, change) -> None:
    path = directory / f"pose/{view:03d}.npy"
    np.save(path, change(np.load(path)))


def edit_picture(directory: Path, view: int, change) -> None:
    path = directory / f"rgba/{view:03d}.png"
    PIL.Image.fromarray(change(np.array(PIL.Image.open(path))).astype(np.uint8)).save(path)
