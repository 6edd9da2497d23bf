# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Losses that training scripts weigh and add up."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modeling.field import TriplaneField


# length of the piece of a ray whose opacity counts as occupancy of a point, in world units
OCCUPANCY_LENGTH = 0.05


def occupancy_loss(density: Tensor, occupied: Tensor) -> Tensor:
    """Binary cross-entropy between known occupancy and the opacity of a short piece of ray through each point.

    Args:
        density: `(batch, n, 1)` per world unit.
        occupied: `(batch, n, 1)` 0 or 1.

    Returns:
        `()`.
    """
    optical_depth = density * OCCUPANCY_LENGTH
    # -log(1 - exp(-x)) for the occupied, x for the free: stable at both ends
    filled = -torch.log(-torch.expm1(-optical_depth.clamp(min=1e-4)))
    return (occupied * filled + (1 - occupied) * optical_depth.clamp(max=10.0)).mean()


def surface_color_loss(rgb: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error of the field's colour at surface points.

    Args:
        rgb, target: `(batch, n, 3)`.
        weight: `(batch, n, 1)`.
    """
    return ((rgb - target).square() * weight).sum() / (3 * weight.sum().clamp(min=1))


def plane_variation_loss(field: TriplaneField) -> Tensor:
    """Mean squared difference of neighbouring texels: total variation on planes."""
    planes = field.planes
    return (planes.diff(dim=-1)).square().mean() + (planes.diff(dim=-2)).square().mean()


def psnr(images: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over the last three dimensions, for values in [0, 1]."""
    return -10 * torch.log10(F.mse_loss(images, target, reduction="none").mean(dim=(-3, -2, -1)).clamp(min=1e-10))
