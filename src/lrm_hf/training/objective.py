# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""From a batch to one number to minimise, with each loss by its name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..image_processing import LRMImageProcessor
from .losses import (
    build_perceptual_loss,
    depth_loss,
    occupancy_loss,
    opacity_entropy_loss,
    opacity_loss,
    pixel_loss,
    plane_variation_loss,
    surface_color_loss,
)
from .view_pool import TrainingBatch


@dataclass(frozen=True)
class LossWeights:
    """Factors on the losses; one of factor 0 is not computed.

    Attributes:
        pixel: colours of the target crops.
        opacity: the object's mask in the crops.
        perceptual: LPIPS or a backbone's features of the crops.
        depth: of the crops, where it is known.
        entropy: opacities that are neither 0 nor 1.
        occupancy: points of known occupancy.
        surface: colours of points on surfaces.
        variation: total variation on planes.
    """

    pixel: float = 1.0
    opacity: float = 0.3
    perceptual: float = 0.0
    depth: float = 0.0
    entropy: float = 0.0
    occupancy: float = 0.1
    surface: float = 1.0
    variation: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < float("inf"):
                raise ValueError(f"the weight of the loss `{name}` must be 0 or more, got {value}.")


class Objective:
    """The weighted sum of the losses of one batch.

    Args:
        weights: of the losses.
        pixel, opacity: kinds of these losses, as in `pixel_loss` and `opacity_loss`.
        perceptual_backbone: see `build_perceptual_loss`; only with a weight above 0.
        num_samples: per ray; default the model's own number.

    Attributes:
        point_factor: on the weights of the two losses of points, for schedules.

    Raises:
        ImportError, OSError, ValueError: if there is to be a perceptual loss and it can't be had.
    """

    def __init__(
        self,
        weights: LossWeights,
        pixel: Literal["mse", "l1"] = "mse",
        opacity: Literal["mse", "bce", "iou"] = "mse",
        perceptual_backbone: str | os.PathLike[str] | None = None,
        num_samples: int | None = None,
    ) -> None:
        self.weights, self.pixel, self.opacity, self.num_samples = weights, pixel, opacity, num_samples
        if perceptual_backbone is not None and not weights.perceptual:
            raise ValueError("`perceptual_backbone` needs a weight of the perceptual loss above 0.")
        self.perceptual = build_perceptual_loss(perceptual_backbone) if weights.perceptual else None
        self.point_factor = 1.0

    def __call__(
        self, model: Any, batch: TrainingBatch, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum, and each loss unweighted under the name of its weight; beside them "mse", the pixels' mean squared
        error, whatever loss they have.

        Args:
            model: perhaps wrapped by accelerate.
            batch: with pictures as the image processor makes them (`as_processed`).
            generator: draws the samples along the rays; None: they are where evaluation has them.
        """
        output = model(
            batch.pixel_values,
            batch.source_cameras,
            batch.cameras,
            height=batch.images.shape[-2],
            width=batch.images.shape[-1],
            background=batch.background,
            anchors=batch.anchors,
            full_size=batch.full_size,
            num_samples=self.num_samples,
            generator=generator,
            chunk_size=2**30,  # what is kept for the gradient is no smaller in pieces
        )
        field = getattr(model, "module", model).planes_to_field(output.planes)
        weights, parts = self.weights, {}
        if weights.pixel:
            parts["pixel"] = pixel_loss(output.images, batch.images, self.pixel)
        if weights.opacity:
            parts["opacity"] = opacity_loss(output.opacity, batch.opacity, self.opacity)
        if self.perceptual is not None:
            parts["perceptual"] = self.perceptual.to(output.images.device)(output.images, batch.images)
        if weights.depth:
            if batch.depth is None:
                raise ValueError("the depth loss needs a batch with `depth`.")
            parts["depth"] = depth_loss(output.depth, batch.depth)
        if weights.entropy:
            parts["entropy"] = opacity_entropy_loss(output.opacity)
        if weights.occupancy:
            inside = (batch.points.abs() < field.config.radius).all(-1, keepdim=True)
            density, _ = field.query(batch.points)
            parts["occupancy"] = occupancy_loss(density * inside, batch.occupied * inside)
        if weights.surface:
            _, rgb = field.query(batch.surface)
            parts["surface"] = surface_color_loss(rgb, batch.surface_rgb, batch.surface_weight)
        if weights.variation:
            parts["variation"] = plane_variation_loss(field)
        if not parts:
            raise ValueError("every loss has the weight 0.")
        total = torch.stack([self._weight(name) * value for name, value in parts.items()]).sum()
        parts["mse"] = (output.images.detach() - batch.images).square().mean()
        return total, parts

    def _weight(self, name: str) -> float:
        factor = self.point_factor if name in ("occupancy", "surface") else 1.0
        return factor * float(getattr(self.weights, name))


def as_processed(pictures: Tensor, processor: LRMImageProcessor) -> Tensor:
    """What the image processor does to pictures `(batch, 3, height, width)` in [0, 1] that are cut out, framed and
    sized already."""
    if not processor.do_normalize:
        return pictures
    mean, std = (
        torch.tensor(values).to(pictures)[:, None, None] for values in (processor.image_mean, processor.image_std)
    )
    return (pictures - mean) / std


def to_device(batch: TrainingBatch, device: torch.device) -> TrainingBatch:
    values = {name: value.to(device) if hasattr(value, "to") else value for name, value in vars(batch).items()}
    return TrainingBatch(**values)
