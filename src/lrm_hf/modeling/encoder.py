# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The image encoder: any token-giving vision model of transformers, and the old rule of position interpolation."""

from __future__ import annotations

import math
import types
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging


logger = logging.get_logger(__name__)

# encoders that take pictures of other sizes than they were made for when they are asked to; others always do, or never
INTERPOLATES_ON_REQUEST = (
    "beit",
    "clip_vision_model",
    "data2vec-vision",
    "deit",
    "ijepa",
    "siglip_vision_model",
    "vit",
    "vit_msn",
)


def build_encoder(config: PreTrainedConfig, position_interpolation: str = "native") -> PreTrainedModel:
    """The encoder that `config` describes, without a pooling head.

    Args:
        config: configuration of the encoder.
        position_interpolation: `"native"` or `"legacy"`, see [`LRMConfig`].

    Raises:
        ValueError: if that model does not take pictures.
    """
    # ViT would carry a pooler that nothing uses
    options = {"add_pooling_layer": False} if config.model_type == "vit" else {}
    encoder = AutoModel.from_config(config, **options)
    if encoder.main_input_name != "pixel_values":
        raise ValueError(
            f"`encoder_config` must be that of an image encoder, but {config.model_type!r} takes "
            f"{encoder.main_input_name!r}."
        )
    logger.info(
        "image encoder %s: %s layers, width %s",
        config.model_type,
        getattr(config, "num_hidden_layers", "unknown"),
        config.hidden_size,
    )
    for name, parameter in encoder.named_parameters():
        if name.endswith("mask_token"):
            parameter.requires_grad_(False)  # unused here, and distributed training refuses unused parameters
    if position_interpolation == "legacy":
        embeddings = encoder.embeddings
        embeddings.interpolate_pos_encoding = types.MethodType(_interpolate_positions_legacy, embeddings)
    return encoder


def encode_tokens(encoder: PreTrainedModel, pixel_values: Tensor) -> Tensor:
    """Class and patch tokens after the final norm, registers dropped.

    Args:
        pixel_values: `(batch, channels, height, width)`, height and width multiples of the patch size.

    Returns:
        `(batch, 1 + patches, hidden_size)`; without the class token where the encoder has none.

    Raises:
        ValueError: if height or width is no multiple of the patch size.
    """
    patch_grid(encoder.config, pixel_values)
    options = {"interpolate_pos_encoding": True} if encoder.config.model_type in INTERPOLATES_ON_REQUEST else {}
    tokens = encoder(pixel_values, **options).last_hidden_state
    registers = getattr(encoder.config, "num_register_tokens", 0)
    if registers:
        tokens = torch.cat([tokens[:, :1], tokens[:, 1 + registers :]], dim=1)
    return tokens


def patch_grid(config: PreTrainedConfig, pixel_values: Tensor) -> tuple[int, int] | None:
    """Rows and columns of patches in a picture `(..., height, width)`; None where the encoder names no patch size.

    Raises:
        ValueError: if height or width is no multiple of the patch size: the encoder would leave the rest out.
    """
    patch = getattr(config, "patch_size", None)
    if patch is None:
        return None
    patch_height, patch_width = patch if isinstance(patch, (list, tuple)) else (patch, patch)
    height, width = pixel_values.shape[-2:]
    if height == 0 or width == 0 or height % patch_height or width % patch_width:
        raise ValueError(
            f"`pixel_values` must have a height and width that are multiples of the encoder's patch size "
            f"{(patch_height, patch_width)}, got {(height, width)}."
        )
    return height // patch_height, width // patch_width


def _interpolate_positions_legacy(embeddings: Any, tokens: Tensor, height: int, width: int) -> Tensor:
    """transformers up to 4.35: bicubic with `scale_factor = (n + 0.1) / n_trained`, which samples at other places than
    `size = n` does; checkpoints trained with it notice."""
    positions: Tensor = embeddings.position_embeddings
    trained = math.isqrt(positions.shape[1] - 1)
    patch_height, patch_width = embeddings.patch_embeddings.patch_size
    rows, columns = height // patch_height, width // patch_width
    if rows == columns == trained:
        return positions
    grid = positions[:, 1:].reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(
        grid,
        scale_factor=((rows + 0.1) / trained, (columns + 0.1) / trained),
        mode="bicubic",
        align_corners=False,
    )
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
