# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Picture features carried straight into the planes.

A texel of a plane stands for a line through the box, along the plane's normal. Points on that line are projected into
the source picture, and what is found there is mixed into the texel. The field stays a pure triplane, so that every
renderer and mesher serves it.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..cameras import Cameras, project_points
from .configuration_lrm import LRMConfig, TriplaneFieldConfig
from .initial_weights import with_init_std


class PlaneLinear(nn.Module):
    """A linear layer with weights of its own for each plane."""

    def __init__(self, in_features: int, out_features: int, num_planes: int = 3):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_planes, out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(num_planes, out_features))

    def forward(self, *parts: Tensor) -> Tensor:
        """`(batch, planes, n, in_features)`, whole or in parts that follow each other in the last dimension, to
        `(batch, planes, n, out_features)`."""
        weights = self.weight.split([part.shape[-1] for part in parts], dim=2)
        outputs = [
            sum(
                (F.linear(part[:, i], weight[i]) for part, weight in zip(parts[1:], weights[1:], strict=True)),
                start=F.linear(parts[0][:, i], weights[0][i], self.bias[i]),
            )
            for i in range(len(self.weight))
        ]
        return torch.stack(outputs, dim=1)


def line_points(
    config: TriplaneFieldConfig, planes: list[int], resolution: int, samples: int, device: torch.device
) -> Tensor:
    """Points on the lines that the texels of some planes stand for.

    Returns:
        `(len(planes), resolution, resolution, samples, 3)` in world units: plane, height, width, along the normal.
    """
    across = ((torch.arange(resolution, device=device) + 0.5) / resolution * 2 - 1) * config.radius
    along = ((torch.arange(samples, device=device) + 0.5) / samples * 2 - 1) * config.radius
    rows, columns, normals = torch.meshgrid(across, across, along, indexing="ij")
    lines = []
    for plane in planes:
        width_axis, height_axis = cast(list[list[int]], config.plane_axes)[plane]
        coordinates = {width_axis: columns, height_axis: rows, 3 - width_axis - height_axis: normals}
        lines.append(torch.stack([coordinates[axis] for axis in range(3)], dim=-1))
    return torch.stack(lines)


def gather_along_lines(
    features: Tensor,
    cameras: Cameras,
    config: TriplaneFieldConfig,
    planes: list[int],
    resolution: int,
    samples: int,
) -> Tensor:
    """Picture features at the projections of the texels' lines, zero outside of the picture.

    Args:
        features: `(batch, channels, height, width)` of the source picture.
        cameras: `(batch,)` source cameras.
        planes: which planes' texels.

    Returns:
        `(batch, len(planes), resolution * resolution, samples * channels)`.
    """
    batch, channels = features.shape[:2]
    # places in float32 whatever the features are in: bfloat16 would move them by a fraction of a percent of the picture
    with torch.autocast(features.device.type, enabled=False):
        points = line_points(config, planes, resolution, samples, features.device).reshape(-1, 3)
        uv, depth = project_points(cameras, points.expand(batch, -1, 3))
        uv = torch.where(depth[..., None] > 0, uv, torch.full_like(uv, -1.0))  # behind the camera: out of the picture
        grid = (uv * 2 - 1).reshape(batch, len(planes) * resolution * resolution, samples, 2)
        found = F.grid_sample(features.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    found = found.to(features.dtype).permute(0, 2, 3, 1)
    return found.reshape(batch, len(planes), resolution * resolution, samples * channels)


class TokenLift(nn.Module):
    """Encoder tokens to a first guess of the plane tokens."""

    def __init__(self, config: LRMConfig, encoder_hidden_size: int):
        super().__init__()
        self.config = config
        squeeze = nn.Linear(encoder_hidden_size, 2 * config.lift_channels)
        self.squeeze = with_init_std(squeeze, encoder_hidden_size**-0.5)
        self.mix = PlaneLinear(config.lift_samples * 2 * config.lift_channels, config.hidden_size)

    def forward(self, tokens: Tensor, cameras: Cameras, grid: tuple[int, int] | None) -> Tensor:
        """Tokens `(batch, 1 + patches, encoder_hidden_size)`, patches standing in `grid` rows and columns, to
        `(batch, 3 * low_res * low_res, hidden_size)`. Leading tokens that are no patches are left out.

        Raises:
            ValueError: if the tokens are not those of such a grid.
        """
        # a class token, and a distillation token where there is one
        if grid is None or not 0 <= tokens.shape[1] - grid[0] * grid[1] <= 2:
            raise ValueError(
                f"`lift_samples` needs an encoder that gives one token per patch: got {tokens.shape[1]} tokens for a "
                f"grid of {grid} patches."
            )
        patches = tokens[:, -grid[0] * grid[1] :]
        features = self.squeeze(patches).transpose(1, 2).unflatten(2, grid)
        config = self.config
        found = gather_along_lines(
            features, cameras, config.field_config, [0, 1, 2], config.triplane_low_res, config.lift_samples
        )
        return self.mix(found).flatten(1, 2)


class PixelLift(nn.Module):
    """Pixels to finer detail of some of the planes."""

    def __init__(self, config: LRMConfig):
        super().__init__()
        self.config = config
        width, channels = config.lift_channels, config.field_config.channels
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1), nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU()
        )
        for layer in self.stem:
            if isinstance(layer, nn.Conv2d):
                with_init_std(layer, math.sqrt(2 / layer.weight[0].numel()))
        self.chosen = list(cast(list[int], config.lift_planes))
        count = len(self.chosen)
        self.fc1 = PlaneLinear(config.lift_samples * width + channels, 2 * channels, count)
        self.fc2 = PlaneLinear(2 * channels, channels, count)

    def forward(self, planes: Tensor, pixel_values: Tensor, cameras: Cameras) -> Tensor:
        """Planes `(batch, 3, channels, h, w)` to `(batch, 3, channels, lift_upscale * h, lift_upscale * w)`."""
        config = self.config
        batch = planes.shape[0]
        planes = F.interpolate(
            planes.flatten(0, 1), scale_factor=config.lift_upscale, mode="bilinear", align_corners=False
        ).unflatten(0, (batch, 3))
        resolution, chosen = planes.shape[-1], self.chosen
        found = gather_along_lines(
            self.stem(pixel_values), cameras, config.field_config, chosen, resolution, config.lift_samples
        )
        own = planes[:, chosen].flatten(3).transpose(2, 3)  # [batch, chosen planes, texels, channels]
        detail = self.fc2(F.gelu(self.fc1(found, own)))
        detail = detail.transpose(2, 3).unflatten(3, (resolution, resolution))
        # under autocast a GPU interpolates in float32, and the layers' results are narrower
        return planes.index_add(1, torch.tensor(chosen, device=planes.device), detail.to(planes.dtype))
