# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What a ray sees: density to weights to colour, depth and opacity. Pure functions over any batch shape.

Max, "Optical Models for Direct Volume Rendering", TVCG 1995; Mildenhall et al., "NeRF", ECCV 2020, equation 3.
"""

from __future__ import annotations

import torch
from torch import Tensor


def neighbor_mean(samples: Tensor) -> Tensor:
    """Mean of each sample and the next along the ray: `(..., n, c)` to `(..., n - 1, c)`."""
    return 0.5 * (samples[..., :-1, :] + samples[..., 1:, :])


def compositing_weights(density: Tensor, lengths: Tensor) -> Tensor:
    """How much each piece of the ray adds to the picture.

    Args:
        density: `(..., n)` non-negative, per unit of length.
        lengths: `(..., n)` length of each piece, or anything that broadcasts to it.

    Returns:
        `(..., n)` weights `alpha * transmittance`, non-negative; their sum is the opacity, at most 1 up to rounding.
    """
    alpha = 1 - torch.exp(-density * lengths)
    # the transmittance in front of a piece excludes the piece itself; 1e-10 keeps the product's gradient finite
    clear = torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha[..., :-1] + 1e-10], dim=-1)
    return alpha * torch.cumprod(clear, dim=-1)


def accumulate(weights: Tensor, rgb: Tensor, depths: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums along the ray.

    Args:
        weights: `(..., n)`.
        rgb: `(..., n, 3)`.
        depths: `(..., n)`, ascending.
        background: `(..., 3)` colour behind the field.

    Returns:
        color `(..., 3)`, depth `(..., 1)`, opacity `(..., 1)`. Depth is the mean distance that the light comes from,
        0 where opacity is 0.
    """
    sums = (weights[..., None, :] @ rgb)[..., 0, :], (weights * depths).sum(dim=-1, keepdim=True)
    return resolve(*sums, weights.sum(dim=-1, keepdim=True), depths[..., :1], depths[..., -1:], background)


def resolve(
    color: Tensor, depth: Tensor, opacity: Tensor, first: Tensor, last: Tensor, background: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """From sums along the ray to what is seen; the rest of `accumulate`.

    Args:
        color, depth, opacity: `(..., 3)`, `(..., 1)`, `(..., 1)` sums of the weights times colour, depth and one.
        first, last: `(..., 1)` depths of the ray's first and last piece.
        background: `(..., 3)`.

    Returns:
        As `accumulate`.
    """
    opacity = opacity.clamp(max=1.0)  # rounding may end just above
    color = color + background * (1 - opacity)
    empty = opacity <= 0
    depth = depth / torch.where(empty, torch.ones_like(opacity), opacity)
    # rounding must not carry the mean out of the samples' range
    depth = torch.maximum(torch.minimum(depth, last), first)
    return color, torch.where(empty, torch.zeros_like(depth), depth), opacity
