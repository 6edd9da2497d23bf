# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Where along a ray to look. Pure functions over any batch shape."""

from __future__ import annotations

import torch
from torch import Tensor


def ray_box_intersection(origins: Tensor, directions: Tensor, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """Entry and exit of rays in the box `[-radius, radius]^3`, by the slab test.

    Args:
        origins, directions: `(..., 3)`; a direction may have components of zero.

    Returns:
        near, far: `(..., 1)` distances along the ray, near >= 0; hit: `(..., 1)` bool. Where a ray misses, near and far
        are harmless numbers (0 and 1).
    """
    # a component of zero would divide by zero; 1e-6 of a unit direction moves nothing that a float32 pixel shows
    tiny = directions.abs() < 1e-6
    directions = torch.where(tiny, torch.where(directions < 0, -1e-6, 1e-6).to(directions.dtype), directions)
    inverse = 1.0 / directions
    low = (-radius - origins) * inverse
    high = (radius - origins) * inverse
    near = torch.minimum(low, high).amax(dim=-1, keepdim=True).clamp(min=0.0)
    far = torch.maximum(low, high).amin(dim=-1, keepdim=True)
    hit = far > near
    return torch.where(hit, near, torch.zeros_like(near)), torch.where(hit, far, torch.ones_like(far)), hit


def stratified_depths(near: Tensor, far: Tensor, num_samples: int, jitter: Tensor | float = 0.5) -> Tensor:
    """`num_samples` depths `near + (i + jitter) * (far - near) / (num_samples - 1)`: the original's coarse samples.

    Args:
        near, far: `(..., 1)`.
        jitter: in [0, 1), a number or `(..., num_samples)`.

    Returns:
        `(..., num_samples)`, ascending. The last one lies beyond `far` unless its jitter is zero.
    """
    step = (far - near) / (num_samples - 1)
    index = torch.arange(num_samples, dtype=near.dtype, device=near.device)
    return near + index * step + jitter * step


def bin_depths(near: Tensor, far: Tensor, num_samples: int, jitter: Tensor | float = 0.5) -> Tensor:
    """One depth in each of `num_samples` equal bins between near and far; jitter 0.5 is the bin's centre.

    Args:
        near, far: `(..., 1)`.
        jitter: in [0, 1), a number or `(..., num_samples)`.

    Returns:
        `(..., num_samples)`, ascending.
    """
    index = torch.arange(num_samples, dtype=near.dtype, device=near.device)
    return near + (index + jitter) * ((far - near) / num_samples)


def smooth_weights(weights: Tensor) -> Tensor:
    """Widens coarse weights so that importance samples also look beside what was found: max-pool over neighbours, mean
    over neighbours, plus 0.01 (Barron et al., "Mip-NeRF", ICCV 2021, section 3.1).

    Args:
        weights: `(..., n)`.

    Returns:
        `(..., n)`.
    """
    larger = torch.maximum(weights[..., :-1], weights[..., 1:])
    wide = torch.cat([weights[..., :1], larger, weights[..., -1:]], dim=-1)
    return (wide[..., :-1] + wide[..., 1:]).mul_(0.5).add_(0.01)


def importance_depths(depths: Tensor, weights: Tensor, u: Tensor) -> Tensor:
    """Inverse-transform samples of where the coarse pass found something.

    Gradients do not flow through the positions. The last midpoint is never reached, as in the original.

    Args:
        depths: `(..., n)` coarse depths, ascending.
        weights: `(..., n - 1)` coarse compositing weights.
        u: `(..., m)` in [0, 1).

    Returns:
        `(..., m)` depths, ascending where `u` is.
    """
    depths, weights = depths.detach(), smooth_weights(weights.detach())
    middles = 0.5 * (depths[..., :-1] + depths[..., 1:])  # [..., n - 1]
    pdf = weights[..., 1:-1] + 1e-5
    pdf = pdf / pdf.sum(dim=-1, keepdim=True)
    cdf = torch.cat([torch.zeros_like(pdf[..., :1]), pdf.cumsum(dim=-1)], dim=-1)  # [..., n - 2]
    index = torch.searchsorted(cdf.contiguous(), u.contiguous(), right=True)
    below = (index - 1).clamp(min=0)
    above = index.clamp(max=cdf.shape[-1] - 1)
    cdf_below, cdf_above = cdf.gather(-1, below), cdf.gather(-1, above)
    bin_below, bin_above = middles.gather(-1, below), middles.gather(-1, above)
    width = cdf_above - cdf_below
    width = torch.where(width < 1e-5, torch.ones_like(width), width)
    return bin_below + (u - cdf_below) / width * (bin_above - bin_below)
