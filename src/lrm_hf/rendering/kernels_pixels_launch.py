# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Tensors in, launches of `kernels_pixels.py`, tensors out: the rays of pictures as `kernels.render_rays` takes them,
and back to pixels. No gradients flow.

A GPU has done each of the two dozen operations that this takes in torch before the next one is under way.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..cameras import Cameras, full_size_of
from .kernels_launch import blocks_of, program_of, ray_block


@dataclass(frozen=True, eq=False)
class ListedRays:
    """The rays that can hit something, packed to the front of each object's list.

    Attributes:
        inputs: origins, directions, near, far, hit and background `(batch, count, ...)`.
        hits: `(batch, pixels)` uint8.
        places: `(batch, pixels)` int32; where a pixel hits, one more than its place in the list.
        backgrounds: `(batch, views, 3)`.
    """

    inputs: tuple[Tensor, ...]
    hits: Tensor
    places: Tensor
    backgrounds: Tensor


def list_rays(
    cameras: Cameras,
    backgrounds: Tensor,
    height: int,
    width: int,
    anchors: Tensor | None,
    full_size: tuple[int, int] | None,
    looks: Tensor | None,
    radius: float,
    min_length: float,
) -> ListedRays:
    """The rays of pictures that are longer than `min_length` in the box `[-radius, radius]^3`.

    Args:
        cameras: `(batch, views)`.
        backgrounds: `(batch, views, 3)`.
        height, width, anchors, full_size: as in `camera_rays`, `anchors` `(batch, views, 2)` and finite.
        looks: bool `(batch, views, height, width)`: which pixels can hit anything at all.

    Raises:
        ValueError: if a size is not positive.
    """
    from .kernels_pixels import pixel_rays_kernel

    batch, views = cameras.shape
    pixels, device = views * height * width, cameras.device
    poses, intrinsics = cameras.cam2world.contiguous(), cameras.intrinsics.contiguous()
    backgrounds = backgrounds.contiguous()
    hits = torch.empty(batch, pixels, dtype=torch.uint8, device=device)
    # what is not there stands in as an argument that is not touched
    first = poses if anchors is None else anchors.float().contiguous()
    seen = hits if looks is None else looks.contiguous().view(torch.uint8)
    full_height, full_width = full_size_of(height, width, full_size)
    block, warps = ray_block()

    def launch(places: Tensor, count: int, *outputs: Tensor, pack: bool) -> None:
        pixel_rays_kernel[(blocks_of(batch * pixels, block),)](
            poses, intrinsics, first, backgrounds, seen, places, hits, *outputs, batch * pixels, pixels,
            height * width, width, count, float(full_height), float(full_width), radius, min_length,
            ANCHORS=anchors is not None, LOOKS=looks is not None, PACK=pack, **program_of(block, warps),
            # a fused product would round directions otherwise than torch
            enable_fp_fusion=False,
        )  # fmt: skip

    with torch.cuda.device_of(poses):
        launch(hits, 0, poses, poses, poses, poses, hits, poses, pack=False)
        places = hits.cumsum(dim=1, dtype=torch.int32)
        count = int(places[:, -1].max())
        packed = [torch.empty(batch, count, size, device=device) for size in (3, 3, 1, 1, 3)]
        hit = torch.zeros(batch, count, 1, dtype=torch.uint8, device=device)
        origins, directions, near, far, background = packed
        if count:
            launch(places, count, origins, directions, near, far, hit, background, pack=True)
    inputs = (origins, directions, near, far, hit.view(torch.bool), background)
    return ListedRays(inputs, hits, places, backgrounds)


def to_pixels(listed: ListedRays, color: Tensor, depth: Tensor, opacity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Colour `(batch, pixels, 3)`, depth and opacity `(batch, pixels, 1)` of all pixels, from those of the list."""
    from .kernels_pixels import pixel_values_kernel

    batch, pixels = listed.hits.shape
    outputs = [torch.empty(batch, pixels, size, device=color.device) for size in (3, 1, 1)]
    block, warps = ray_block()
    with torch.cuda.device_of(color):
        pixel_values_kernel[(blocks_of(batch * pixels, block),)](
            listed.hits, listed.places, listed.backgrounds, color.contiguous(), depth.contiguous(),
            opacity.contiguous(), *outputs, batch * pixels, pixels, pixels // listed.backgrounds.shape[1],
            color.shape[1], **program_of(block, warps),
        )  # fmt: skip
    return outputs[0], outputs[1], outputs[2]
