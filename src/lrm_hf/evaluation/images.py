# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""How close pictures are. All take pictures in [0, 1] and give one number per picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


ERROR_FLOOR = 1e-5


def psnr(images: Tensor, targets: Tensor, error_floor: float = ERROR_FLOOR) -> Tensor:
    """Peak signal-to-noise ratio in dB on a range of 1: `(..., 3, height, width)` to `(...)`.

    Args:
        images: clamped to [0, 1].
        targets: of the same shape.
        error_floor: least mean squared error, 1e-5 being 50 dB.
    """
    error = (images.clamp(0, 1) - targets).square().mean(dim=(-3, -2, -1))
    return -10 * torch.log10(error.clamp(min=error_floor))


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity, by scikit-image: `(n, 3, height, width)` to `(n,)`.

    The settings are those of Wang et al., "Image quality assessment" (2004): Gaussian window of sigma 1.5, K1 = 0.01,
    K2 = 0.03, range 1; the channels are averaged.
    """
    from skimage.metrics import structural_similarity  # slow to import

    pairs = zip(images.clamp(0, 1).numpy(), targets.numpy(), strict=True)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return torch.tensor([structural_similarity(a, b, channel_axis=0, **options) for a, b in pairs])


def mask_iou(opacity: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of opacities cut at one half: `(..., 1, height, width)` to `(...)`. 1 where both are
    empty."""
    a, b = opacity > 0.5, target > 0.5
    union = (a | b).flatten(-3).sum(-1)
    overlap = (a & b).flatten(-3).sum(-1)
    return torch.where(union > 0, overlap / union.clamp(min=1), 1.0)


def load_lpips() -> tuple[Callable[[Tensor, Tensor], Tensor] | None, str]:
    """LPIPS with AlexNet (Zhang et al. 2018), by the package `lpips`.

    Returns:
        A function of images and targets `(n, 3, height, width)` that gives `(n,)`, or None where it can't be had; and a
        note that says which library computes it, or why none does.
    """
    try:
        import lpips
    except ImportError as error:
        return None, f'LPIPS is left out: {error}; `pip install "lrm_hf[lpips]"` brings what it needs.'
    try:
        network = lpips.LPIPS(net="alex", verbose=False).eval()
    except OSError as error:  # its AlexNet is downloaded at first use
        return None, f"LPIPS is left out: the weights of its AlexNet can't be had: {error}"

    @torch.no_grad()
    def measure(images: Tensor, targets: Tensor) -> Tensor:
        return network(images.clamp(0, 1), targets, normalize=True).flatten()

    return measure, "lpips"


def on_background(rgba: Tensor, background: float = 1.0) -> tuple[Tensor, Tensor]:
    """Pictures `(n, 3, height, width)` on a grey background, and opacity `(n, 1, height, width)`, both in [0, 1], from
    `(n, 4, height, width)` uint8 with straight alpha."""
    values = rgba.float() / 255
    alpha = values[:, 3:]
    return values[:, :3] * alpha + background * (1 - alpha), alpha


def to_uint8(image: Tensor) -> np.ndarray:
    """`(3, height, width)` in [0, 1] to `(height, width, 3)` uint8."""
    return (image.clamp(0, 1).permute(1, 2, 0) * 255).round().byte().numpy()
