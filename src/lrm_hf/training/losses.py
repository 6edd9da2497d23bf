# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Losses that training scripts weigh and add up. Each gives one number, `()`, and is zero where everything is right."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modeling.field import TriplaneField


# length of the piece of a ray whose opacity counts as occupancy of a point, in world units
OCCUPANCY_LENGTH = 0.05
# AlexNet, on which LPIPS stands, halves a picture until less would be left of a smaller one than a pixel
SMALLEST_LPIPS_SIDE = 64
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixel_loss(images: Tensor, target: Tensor, kind: Literal["mse", "l1"] = "mse") -> Tensor:
    """Mean squared or mean absolute difference of pictures.

    Args:
        images, target: `(..., 3, height, width)` in [0, 1].
        kind: `"mse"` or `"l1"`.

    Raises:
        ValueError: if the shapes differ, or `kind` is another.
    """
    _same_shape("images", images, target)
    if kind == "mse":
        return F.mse_loss(images, target)
    if kind == "l1":
        return F.l1_loss(images, target)
    raise ValueError(f"`kind` must be 'mse' or 'l1', got {kind!r}.")


def opacity_loss(opacity: Tensor, target: Tensor, kind: Literal["mse", "bce", "iou"] = "mse") -> Tensor:
    """Difference between rendered opacity and the object's mask.

    Args:
        opacity, target: `(..., 1, height, width)` in [0, 1].
        kind: `"mse"`, or `"bce"`: binary cross-entropy, which is steep where a pixel is wrong altogether. It is zero at
            best only where the mask has no fractions. `"iou"`: one minus the intersection over the union of each
            picture, in which a thin part counts against a small object's area and not against the picture's
            (Rahman and Wang 2016). One pixel is added to both, so that empty pictures have no loss; zero at best only
            where the mask has no fractions.

    Raises:
        ValueError: if the shapes differ, or `kind` is another.
    """
    _same_shape("opacity", opacity, target)
    if kind == "mse":
        return F.mse_loss(opacity, target)
    if kind == "bce":
        # in float32 1 - 1e-6 is the last number whose logarithm still says something
        return F.binary_cross_entropy(opacity.float().clamp(1e-6, 1 - 1e-6), target.float())
    if kind == "iou":
        common = (opacity * target).sum((-3, -2, -1))
        union = (opacity + target).sum((-3, -2, -1)) - common
        return (1 - (common + 1) / (union + 1)).mean()
    raise ValueError(f"`kind` must be 'mse', 'bce' or 'iou', got {kind!r}.")


def depth_loss(depth: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of distances along the unit ray, in world units, where the target's is known.

    Args:
        depth: `(..., 1, height, width)` as `render` gives it.
        target: the same shape; 0 where the ray meets nothing, or nothing is known. These pixels do not count.

    Returns:
        `()`; 0 where no pixel counts.

    Raises:
        ValueError: if the shapes differ.
    """
    _same_shape("depth", depth, target)
    known = target > 0
    # chosen before the difference is taken, so that a depth of no meaning can't leave its trace in the gradient
    error = torch.where(known, depth, target) - target
    return error.abs().sum() / known.sum().clamp(min=1)


def opacity_entropy_loss(opacity: Tensor) -> Tensor:
    """Mean binary entropy of opacities in nats: 0 where each ray is stopped or passes freely, log 2 in half-clear fog.

    Args:
        opacity: of any shape, in [0, 1].
    """
    p = opacity.float().clamp(1e-6, 1 - 1e-6)
    return -(p * p.log() + (1 - p) * torch.log1p(-p)).mean()


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


class PerceptualLoss(nn.Module):
    """Distance of pictures as a frozen network sees them. Made by [`build_perceptual_loss`].

    Pictures that are smaller than `size` are enlarged to it, bilinearly, since a network finds little in a crop of a
    few pixels. Gradients flow to the pictures; the network has none of its own, and stays in evaluation mode.

    Args:
        network: takes pictures `(n, 3, height, width)` in [0, 1] and gives what `distance` compares.
        distance: of two answers of the network, a mean over everything.
        size: (height, width) of what the network gets.
        smaller_only: keep pictures that have at least `size`, rather than bringing all to `size`.
        name: what the loss is computed with, for logs.
    """

    def __init__(
        self, network: nn.Module, distance: Callable[..., Tensor], size: tuple[int, int], smaller_only: bool, name: str
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.distance, self.size, self.smaller_only, self.name = distance, size, smaller_only, name

    def train(self, mode: bool = True) -> PerceptualLoss:
        """Has no effect on the network: its norms and dropout stay as in evaluation."""
        return self

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """
        Args:
            images, target: `(..., 3, height, width)` in [0, 1].

        Returns:
            `()`.

        Raises:
            ValueError: if the shapes differ, or these are no pictures.
        """
        _same_shape("images", images, target)
        if images.ndim < 3 or images.shape[-3] != 3:
            raise ValueError(f"`images` must have shape (..., 3, height, width), got {tuple(images.shape)}.")
        pair = [self._resized(part.reshape(-1, *part.shape[-3:])) for part in (images, target)]
        return self.distance(self.network, *pair)

    def _resized(self, pictures: Tensor) -> Tensor:
        height, width = self.size
        if self.smaller_only:
            height, width = max(height, pictures.shape[-2]), max(width, pictures.shape[-1])
        if pictures.shape[-2:] == (height, width):
            return pictures
        return F.interpolate(pictures, (height, width), mode="bilinear", align_corners=False, antialias=True)


def build_perceptual_loss(
    backbone: str | os.PathLike[str] | None = None, layers: Sequence[int] | None = None, size: int | None = None
) -> PerceptualLoss:
    """LPIPS, or the distance of the features of a vision model of transformers.

    Args:
        backbone: None: LPIPS with AlexNet (Zhang et al. 2018), by the package `lpips`. Else a directory or Hub name
            that `AutoModel` loads: a ViT, DINOv2, ResNet, ConvNeXt ... Its features are compared as LPIPS compares
            them, each position's vector brought to unit length, but without learned weights: all layers count alike.
        layers: which of the backbone's hidden states, 0 being its embedding; default four, evenly up to the last.
        size: side of the pictures that the backbone gets; default its config's `image_size`, or 224.

    Raises:
        ImportError: if LPIPS is asked for and is not installed; it names the extra, and the way without it.
        OSError: if the backbone, or LPIPS's AlexNet, can't be loaded.
        ValueError: if the backbone takes no pictures or shows no hidden states, or `layers` or `size` do not fit it.
    """
    if backbone is None:
        if layers is not None or size is not None:
            raise ValueError("`layers` and `size` are those of a `backbone`; LPIPS has its own.")
        return _lpips()
    return _features(os.fspath(backbone), layers, size)


def _lpips() -> PerceptualLoss:
    try:
        import lpips
    except ImportError as error:
        raise ImportError(
            f'the perceptual loss needs LPIPS: `pip install "lrm_hf[lpips]"`, or name a backbone whose features are '
            f"compared instead (any vision model of transformers). {error}"
        ) from error
    network = lpips.LPIPS(net="alex", verbose=False)

    def distance(network: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        # `normalize`: pictures are in [0, 1], not in [-1, 1]
        return network(images, target, normalize=True).mean()

    side = (SMALLEST_LPIPS_SIDE, SMALLEST_LPIPS_SIDE)
    return PerceptualLoss(network, distance, side, smaller_only=True, name="LPIPS (AlexNet)")


def _features(backbone: str, layers: Sequence[int] | None, size: int | None) -> PerceptualLoss:
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(backbone)
    if getattr(model, "main_input_name", None) != "pixel_values":
        raise ValueError(f"`backbone` {backbone!r} takes {model.main_input_name!r}, expected a model of pictures.")
    if size is None:
        own = getattr(model.config, "image_size", None)
        size = own if isinstance(own, int) else 224
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"`size` must be a positive integer, got {size!r}.")
    mean, std = _normalisation(backbone)
    options = {"output_hidden_states": True}
    trained = getattr(model.config, "image_size", size)
    if model.config.model_type in ("vit", "deit", "beit", "vit_msn", "ijepa") and trained != size:
        options["interpolate_pos_encoding"] = True  # the others of transformers do it by themselves, or need not
    with torch.no_grad():
        answer = model.eval()(torch.zeros(1, 3, size, size), **options)
    states = getattr(answer, "hidden_states", None)
    if not states:
        raise ValueError(f"`backbone` {backbone!r} ({model.config.model_type}) shows no hidden states to compare.")
    last = len(states) - 1
    if layers is None:
        layers = sorted({round(last * part / 4) for part in range(1, 5)})
    if not layers or not all(isinstance(layer, int) and 0 <= layer <= last for layer in layers):
        raise ValueError(f"`layers` must be from 0 to {last} for {backbone!r}, got {list(layers)}.")
    chosen = list(layers)

    def hidden(network: nn.Module, pictures: Tensor) -> list[Tensor]:
        shift, scale = (torch.tensor(values).to(pictures)[:, None, None] for values in (mean, std))
        found = network((pictures - shift) / scale, **options).hidden_states
        return [found[layer] for layer in chosen]

    def distance(network: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = hidden(network, target)
        pairs = zip(hidden(network, images), wanted, strict=True)
        return torch.stack([feature_distance(a, b) for a, b in pairs]).mean()

    return PerceptualLoss(model, distance, (size, size), smaller_only=False, name=f"features of {backbone}")


def feature_distance(features: Tensor, target: Tensor) -> Tensor:
    """Mean over positions of the squared distance of feature vectors that were brought to unit length: from 0 (the same
    direction) to 4 (opposite ones). LPIPS (Zhang et al. 2018, equation 1) with all weights 1.

    Args:
        features, target: `(batch, tokens, channels)`, or `(batch, channels, height, width)`.
    """
    dim = 1 if features.ndim == 4 else -1
    difference = F.normalize(features, dim=dim) - F.normalize(target, dim=dim)
    return difference.square().sum(dim).mean()


def _normalisation(backbone: str) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of the pictures that the backbone was trained on: its image processor's, and those of
    ImageNet, which nearly all share, where it comes without one."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(backbone)
    except OSError:
        return IMAGENET_MEAN, IMAGENET_STD
    if not settings.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return settings.get("image_mean") or IMAGENET_MEAN, settings.get("image_std") or IMAGENET_STD


def _same_shape(name: str, value: Tensor, target: Tensor) -> None:
    if value.shape != target.shape:
        raise ValueError(f"`{name}` and `target` must have the same shape, got {value.shape} and {target.shape}.")
