# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The field and the cameras that the tests of the Triton kernels share, and where the kernels run."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lrm_hf.cameras import look_at_cameras
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.rendering import kernels_launch


pytest.importorskip("triton", reason="triton is not installed: it has wheels for Linux only")

DEVICE = "cuda" if torch.cuda.is_available() and not kernels_launch.interpreted() else "cpu"
# one camera far off every axis, whose picture the box does not fill, and one close by
VIEWS = look_at_cameras([[1.2, -3.6, 0.9], [-0.9, -1.4, -0.4]], target=(0.05, 0.02, -0.03))


def random_field(batch: int = 2, seed: int = 0, size: tuple[int, int] = (16, 32), **options: Any) -> TriplaneField:
    """A field that shows something: clear and dense parts, all colours.

    Planes have powers of two of texels so that samples of rays through opposite faces of the box keep off the texels'
    centres, where the slope of the bilinear interpolation jumps and rounding would decide on a camera's gradient.
    """
    config = TriplaneFieldConfig(**({"channels": 5, "hidden_size": 16, "num_hidden_layers": 2} | options))
    generator = torch.Generator().manual_seed(seed)
    mlp = FieldMLP(config).requires_grad_(False)
    for layer in mlp.layers:
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * math.sqrt(2 / layer.in_features))
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.2)
    mlp.layers[-1].weight[0].mul_(3)
    planes = torch.randn(batch, 3, config.channels, *size, generator=generator)
    return TriplaneField(planes, *mlp.parameters_in_float32(), config).to(DEVICE)
