# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Fields and views that the tests of the renderer share."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lrm_hf.cameras import Cameras, camera_rays, look_at_cameras
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.rendering import RenderOutput
from lrm_hf.rendering import render as render_default


# every sample is evaluated: the reference that the quick ways are compared with in test_bounded_rendering.py
render = partial(render_default, backend="torch", exact=True)


def constant_field(
    density: float, rgb: tuple[float, ...] = (0.5, 0.5, 0.5), batch: int = 1, **options: Any
) -> TriplaneField:
    """The same density and colour everywhere."""
    config = TriplaneFieldConfig(
        **({"channels": 1, "hidden_size": 2, "num_hidden_layers": 1, "color_padding": 0.0} | options)
    )
    raw = math.log(math.expm1(density)) if config.density_activation == "softplus" else math.log(density)
    logits = [math.log(value / (1 - value)) for value in rgb]
    weights = (torch.zeros(2, 3), torch.zeros(4, 2))
    biases = (torch.zeros(2), torch.tensor([raw - config.density_bias, *logits]))
    return TriplaneField(torch.zeros(batch, 3, 1, 2, 2), weights, biases, config)


def linear_field(raw: tuple[float, ...], logits: Tensor | None = None, **options: Any) -> TriplaneField:
    """Raw density `raw . (x, y, z, 1)`, after its bias; colour sigmoid of `logits . (x, y, z, 1)`, black without.

    The planes hold the coordinates themselves. Rays are cut off at half of the box, since interpolation fades to zero
    in the outermost half texel.
    """
    size = 16
    options = {"radius": 2.0, "bounds_scale": 0.5, "sampling": "uniform", "density_activation": "exp"} | options
    config = TriplaneFieldConfig(channels=1, hidden_size=3, num_hidden_layers=1, color_padding=0.0, **options)
    ramp = ((torch.arange(size) + 0.5) / size * 2 - 1) * config.radius
    planes = torch.zeros(1, 3, 1, size, size)
    planes[0, 0, 0] = ramp  # (x, y): x along the width
    planes[0, 1, 0] = ramp[:, None]  # (x, z): z along the height
    planes[0, 2, 0] = ramp[:, None]  # (z, y): y along the height
    shift = 8.0  # keeps the ReLU in its linear part
    rows = torch.full((4, 4), 0.0)
    rows[0] = torch.tensor(raw)
    rows[1:, 3] = -50.0
    if logits is not None:
        rows[1:] = logits
    features = rows[:, [0, 2, 1]]  # planes give x, z, y
    bias = rows[:, 3] - shift * features.sum(dim=1)
    bias[0] -= config.density_bias
    return TriplaneField(planes, (torch.eye(3), features), (torch.full((3,), shift), bias), config)


def random_field(batch: int = 1, seed: int = 0, scale: float = 1.0, size: int = 6, **options: Any) -> TriplaneField:
    """A field of no particular kind; `scale` makes it sharp."""
    config = TriplaneFieldConfig(
        **({"channels": 4, "hidden_size": 8, "num_hidden_layers": 2, "num_samples": 16} | options)
    )
    generator = torch.Generator().manual_seed(seed)
    mlp = FieldMLP(config).requires_grad_(False)
    for layer in mlp.layers:
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * math.sqrt(2 / layer.in_features))
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.2)
    planes = torch.randn(batch, 3, config.channels, size, size, generator=generator) * scale
    return TriplaneField(planes, *mlp.parameters_in_float32(), config)


def slab(origin: list[float], direction: list[float], radius: float) -> tuple[float, float] | None:
    """Way through the box in plain arithmetic, for directions without a zero."""
    low = max(min((s * radius - o) / d for s in (-1, 1)) for o, d in zip(origin, direction, strict=True))
    high = min(max((s * radius - o) / d for s in (-1, 1)) for o, d in zip(origin, direction, strict=True))
    return (max(low, 0.0), high) if high > max(low, 0.0) else None


def ways(
    cameras: Cameras, height: int, width: int, radius: float
) -> list[tuple[int, int, tuple | None, Tensor, Tensor]]:
    """Row, column, way through the box, origin and direction of every pixel of a single camera."""
    origins, directions = camera_rays(cameras.to(dtype=torch.float64), height, width)
    return [
        (row, column, slab(origins[row, column].tolist(), directions[row, column].tolist(), radius), o, d)
        for row in range(height)
        for column in range(width)
        for o, d in ((origins[row, column], directions[row, column]),)
    ]


def largest_difference(a: RenderOutput, b: RenderOutput) -> float:
    return max(float((getattr(a, n) - getattr(b, n)).abs().max()) for n in ("images", "depth", "opacity"))


# one camera off every axis, one close to the box, one inside it
VIEWS = look_at_cameras([[1.2, -3.1, 0.9], [-0.9, -1.2, -0.4], [0.3, -0.2, 0.45]], target=(0.05, 0.02, -0.03))
