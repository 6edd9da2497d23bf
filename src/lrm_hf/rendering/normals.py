# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Normals of what is seen: against the gradient of the density."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..cameras import Cameras, camera_rays
from ..modeling.field import TriplaneField


# points whose gradient is taken at a time
POINTS_PER_GRADIENT = 2**16


def outward_normals(field: Any, points: Tensor) -> Tensor:
    """Unit vectors `(batch, n, 3)` from dense to empty at points `(batch, n, 3)`; zero where the density's gradient is
    zero or not finite. Works under `torch.no_grad` and `torch.inference_mode` too.

    Args:
        field: has `query`, as [`~lrm_hf.modeling.field.TriplaneField`] does.
    """
    if isinstance(field, TriplaneField) and field.planes.is_inference():
        with torch.inference_mode(False):  # tensors of inference mode can't take part in a gradient
            field = replace(
                field,
                planes=field.planes.clone(),
                weights=tuple(weight.clone() for weight in field.weights),
                biases=tuple(bias.clone() for bias in field.biases),
            )
    with torch.inference_mode(False), torch.enable_grad():
        points = points.clone().requires_grad_()
        density, _ = field.query(points)
        (gradient,) = torch.autograd.grad(density.sum(), points)
    # twice: the square of a very small or large gradient would leave float32's range
    gradient = -gradient.nan_to_num(0.0, 0.0, 0.0)
    gradient = gradient / gradient.abs().amax(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return torch.nn.functional.normalize(gradient, dim=-1)


def normals_of_views(field: TriplaneField, cameras: Cameras, depth: Tensor) -> Tensor:
    """Normals at the surface that a depth picture shows, in the frame of each camera: x to the right, y up, z towards
    the viewer.

    Args:
        field: `batch` fields.
        cameras: shape `(views,)` or `(batch, views)`.
        depth: `(batch, views, 1, height, width)` as [`~lrm_hf.RenderOutput`] has it.

    Returns:
        `(batch, views, 3, height, width)` unit vectors; zero where the depth is 0.
    """
    batch, views, _, height, width = depth.shape
    cameras = cameras.reshape(1) if not cameras.shape else cameras
    cameras = cameras.to(depth.device, depth.dtype).expand(batch, views)
    origins, directions = camera_rays(cameras, height, width)
    distance = depth.squeeze(2)[..., None]
    points = (origins + distance * directions).reshape(batch, -1, 3)
    parts = [outward_normals(field, part) for part in points.split(max(1, POINTS_PER_GRADIENT // batch), dim=1)]
    world = torch.cat(parts, dim=1).reshape(batch, views, height, width, 3)
    local = torch.einsum("bvhwx,bvxc->bvhwc", world, cameras.cam2world[..., :3, :3])
    return torch.where(distance > 0, local, torch.zeros_like(local)).movedim(-1, 2)
