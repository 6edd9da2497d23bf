# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Small models with random weights that still show something, and pictures for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from safetensors.torch import load_file, save_file

from lrm_hf import (
    LRMConfig,
    LRMImageProcessor,
    LRMModel,
    LRMPipeline,
    LRMPreTrainedModel,
    TriplaneField,
    TripoSRConfig,
    TripoSRModel,
)
from lrm_hf.meshing import density_grid
from lrm_hf.modeling.original_tables import DEFAULT_SOURCE_SIZE, full_table


IMAGE_SIZE = 32
TINY_ENCODER = {
    "model_type": "vit",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": IMAGE_SIZE,
    "patch_size": 8,
}


def tiny_config(**overrides: Any) -> LRMConfig:
    """Two layers of width 32, pictures of 32 pixels, planes of 8 x 8."""
    values = {
        "encoder_config": TINY_ENCODER,
        "field_config": {"channels": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_samples": 16},
        "image_size": IMAGE_SIZE,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "camera_embed_dim": 16,
        "triplane_low_res": 4,
    }
    return LRMConfig(**{**values, **overrides})


def tiny_model(config: LRMConfig, seed: int = 0) -> LRMModel:
    """With weights far larger than initial ones, so that fields vary in space and from picture to picture, and depend
    on the source camera."""
    model = LRMModel(config).eval()
    _enlarge(model, seed)
    return model


def tiny_triposr_config(**overrides: Any) -> TripoSRConfig:
    """As `tiny_config`, of the other architecture."""
    values = {
        "encoder_config": TINY_ENCODER,
        "field_config": {"channels": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_samples": 16},
        "image_size": IMAGE_SIZE,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "embedding_channels": 24,
        "norm_num_groups": 4,
        "triplane_low_res": 4,
    }
    return TripoSRConfig(**{**values, **overrides})


def tiny_triposr(seed: int = 0, **overrides: Any) -> TripoSRModel:
    model = TripoSRModel(tiny_triposr_config(**overrides)).eval()
    _enlarge(model, seed)
    with torch.no_grad():
        model.field_mlp.layers[-1].weight.mul_(0.05)  # its density is an exponential
    return model


def _enlarge(model: LRMPreTrainedModel, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.ndim > 1:
                spread = 0.2 if name.startswith("encoder") else 0.3
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        model.field_mlp.layers[-1].weight.mul_(2)
        model.field_mlp.layers[-1].bias[0] = 3  # else it is all fog


def tiny_pipeline(seed: int = 0, **overrides: Any) -> LRMPipeline:
    pipe = LRMPipeline(tiny_model(tiny_config(**overrides), seed), LRMImageProcessor(size=IMAGE_SIZE))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pictures(count: int) -> list[PIL.Image.Image]:
    """Discs and boxes of different colours, cut out."""
    rows, columns = np.mgrid[:48, :48] - 23.5
    images = []
    for index in range(count):
        inside = np.hypot(rows, columns) < 20 if index % 2 == 0 else np.maximum(abs(rows), abs(columns) * 2) < 20
        rgba = np.zeros((48, 48, 4), dtype=np.uint8)
        rgba[..., index % 3] = 255 - 60 * (index // 3)
        rgba[..., (index + 1) % 3] = np.clip(128 + 5 * rows, 0, 255)
        rgba[..., 3] = 255 * inside
        images.append(PIL.Image.fromarray(rgba))
    return images


def surface_threshold(field: TriplaneField) -> float:
    """A density that every field of the batch crosses."""
    grids = density_grid(field, 16).flatten(1)
    low, high = float(grids.min(dim=1).values.max()), float(grids.max(dim=1).values.min())
    assert low < high
    return (low * high) ** 0.5


def write_openlrm(directory: Path) -> LRMModel:
    """A checkpoint in the layout of OpenLRM 1.1 with a small encoder, which has to be given or known to load it.
    Returns the model that is in it."""
    field = {"channels": 8, "num_samples": 16}
    config = tiny_config(field_config=field, image_size=DEFAULT_SOURCE_SIZE, position_interpolation="legacy")
    model = tiny_model(config, seed=1)
    model.save_pretrained(directory / "ours")
    ours = load_file(directory / "ours" / "model.safetensors")
    shutil.rmtree(directory / "ours")
    table = full_table("openlrm_v11", config, packed=True)
    theirs = {name: torch.cat([ours.pop(part) for part in parts]) for name, parts in table.items()}
    assert not ours
    save_file(theirs, directory / "model.safetensors")
    arguments = {
        "camera_embed_dim": 16,
        "rendering_samples_per_ray": 16,
        "transformer_dim": 32,
        "transformer_layers": 2,
        "transformer_heads": 2,
        "triplane_low_res": 4,
        "triplane_high_res": 8,
        "triplane_dim": 8,
        "encoder_model_name": "tiny",
        "encoder_feat_dim": 32,
    }
    (directory / "config.json").write_text(json.dumps(arguments))
    return model
