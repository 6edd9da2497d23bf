# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What `LRMPipeline` returns, and in which forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import torch
from diffusers.utils import BaseOutput
from torch import Tensor

from ..modeling.field import TriplaneField
from ..rendering import RenderOutput


if TYPE_CHECKING:
    from ..meshing import LRMMesh


@dataclass
class LRMPipelineOutput(BaseOutput):
    """What [`LRMPipeline`] made of a batch of pictures; what was not asked for is `None`.

    Args:
        meshes: one coloured [`~lrm_hf.meshing.LRMMesh`] (a `trimesh.Trimesh`) per picture, in world units, z up.
        frames: views on a white (or the given) background. For `"mesh"` and `"pil"` one list of PIL pictures per
            input picture, `frames[0]` fits diffusers' `export_to_video`; for `"np"` float32
            `(batch, views, height, width, 3)`; for `"pt"` float32 `(batch, views, 3, height, width)`; in [0, 1].
        depth: distance from the camera's centre along the unit ray in world units, 0 where opacity is 0: an array
            `(batch, views, height, width, 1)`, for `"pt"` a tensor `(batch, views, 1, height, width)`.
        opacity: in [0, 1], shaped like `depth`.
        images: the pictures as the model saw them: cut out, framed, on its background.
        field: the fields themselves, for `LRMPipeline.render`, `LRMPipeline.extract_mesh` and queries.
    """

    meshes: list[LRMMesh] | None = None
    frames: list[list[PIL.Image.Image]] | np.ndarray | Tensor | None = None
    depth: np.ndarray | Tensor | None = None
    opacity: np.ndarray | Tensor | None = None
    images: list[PIL.Image.Image] | None = None
    field: TriplaneField | None = None


def convert_views(views: RenderOutput, output_type: str) -> tuple[Any, Any, Any]:
    """Frames, depth and opacity as [`LRMPipelineOutput`] describes them."""
    images = views.images.clamp(0, 1)  # colours may leave [0, 1] by the field's padding
    if output_type == "pt":
        return images, views.depth, views.opacity
    depth, opacity = (tensor.movedim(2, -1).cpu().numpy() for tensor in (views.depth, views.opacity))
    frames = images.movedim(2, -1)
    if output_type == "np":
        return frames.cpu().numpy(), depth, opacity
    pixels = (frames * 255).round().to(torch.uint8).cpu().numpy()
    return [[PIL.Image.fromarray(view) for view in picture] for picture in pixels], depth, opacity
