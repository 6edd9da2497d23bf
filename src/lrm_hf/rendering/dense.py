# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The plain way in torch: every sample of every ray is evaluated and kept.

The reference that every faster path is compared with, and the way that training goes.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..modeling.configuration_lrm import TriplaneFieldConfig
from .compositing import accumulate, compositing_weights, neighbor_mean
from .sampling import bin_depths, importance_depths, stratified_depths


# raw density of a sample outside the box: no activation leaves anything of it, also after averaging with a neighbour
OUTSIDE = -1e9


class Evaluates(Protocol):
    """What is asked of a field here."""

    @property
    def config(self) -> TriplaneFieldConfig: ...

    def raw(self, points: Tensor) -> tuple[Tensor, Tensor]: ...  # [batch, n, 3] -> [batch, n, 1], [batch, n, 3]

    def density_from_raw(self, raw: Tensor) -> Tensor: ...


def render_rays(
    field: Evaluates,
    samples: int,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    hit: Tensor,
    background: Tensor,
    *jitter: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rays `(batch, n, ...)` to colour `(batch, n, 3)`, depth and opacity `(batch, n, 1)`."""
    config = field.config
    if config.sampling == "uniform":
        depths = bin_depths(near, far, samples, jitter[0] if jitter else 0.5)
        raw, rgb = _evaluate(field, origins, directions, depths)
        density = field.density_from_raw(raw[..., 0])
        length = (far - near) / samples if config.step_length == "metric" else 1.0 / samples
        weights = compositing_weights(density, length * torch.ones_like(density))
        weights = weights * hit
        return accumulate(weights, rgb, depths, background)

    half = samples // 2
    depths = stratified_depths(near, far, half, jitter[0] if jitter else 0.5)
    raw, rgb = _evaluate(field, origins, directions, depths, inside_only=True)
    with torch.no_grad():
        coarse, _, _ = _composite_neighbors(field, depths, raw, rgb)
    fine = importance_depths(depths, coarse, jitter[1] if jitter else middle_u(depths))
    fine_raw, fine_rgb = _evaluate(field, origins, directions, fine, inside_only=True)
    depths, order = torch.cat([depths, fine], dim=-1).sort(dim=-1, stable=True)
    raw = torch.cat([raw, fine_raw], dim=-2).gather(-2, order[..., None])
    rgb = torch.cat([rgb, fine_rgb], dim=-2).gather(-2, order[..., None].expand(*order.shape, 3))
    weights, rgb, depths = _composite_neighbors(field, depths, raw, rgb)
    return accumulate(weights * hit, rgb, depths, background)


def middle_u(depths: Tensor) -> Tensor:
    """The middles of as many equal parts of [0, 1) as there are depths: `(..., n)` to `(..., n)`."""
    count = depths.shape[-1]
    return ((torch.arange(count, dtype=depths.dtype, device=depths.device) + 0.5) / count).expand(depths.shape)


def _composite_neighbors(field: Evaluates, depths: Tensor, raw: Tensor, rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, colours and depths of the pieces between neighbouring samples. The raw density is averaged before its
    activation, as in the original."""
    density = field.density_from_raw(neighbor_mean(raw)[..., 0])
    weights = compositing_weights(density, depths[..., 1:] - depths[..., :-1])
    return weights, neighbor_mean(rgb), neighbor_mean(depths[..., None])[..., 0]


def _evaluate(
    field: Evaluates, origins: Tensor, directions: Tensor, depths: Tensor, inside_only: bool = False
) -> tuple[Tensor, Tensor]:
    """Raw density `(batch, n, samples, 1)` and colour `(batch, n, samples, 3)` at depths `(batch, n, samples)`."""
    points = origins[..., None, :] + depths[..., None] * directions[..., None, :]
    raw, rgb = field.raw(points.flatten(1, 2))
    raw, rgb = raw.unflatten(1, depths.shape[1:]), rgb.unflatten(1, depths.shape[1:])
    if inside_only:
        outside = (points.abs() > field.config.radius).any(dim=-1, keepdim=True)
        raw, rgb = raw.masked_fill(outside, OUTSIDE), rgb.masked_fill(outside, 0.0)
    return raw, rgb
