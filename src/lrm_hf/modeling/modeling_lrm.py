# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""LRM: one picture to a triplane field, in one forward pass.

Hong et al., "LRM: Large Reconstruction Model for Single Image to 3D", ICLR 2024.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from ..cameras import Cameras
from .configuration_lrm import LRMConfig
from .decoder import LRMDecoder
from .encoder import build_encoder, encode_tokens, patch_grid
from .field import FieldMLP
from .lifting import PixelLift, PlaneLinear, TokenLift
from .modeling_base import LRMModelOutput, LRMPreTrainedModel


class CameraEmbedder(nn.Module):
    """Twelve extrinsic and four intrinsic numbers to the vector that modulates the norms."""

    def __init__(self, config: LRMConfig):
        super().__init__()
        self.fc1 = nn.Linear(16, config.camera_embed_dim)
        self.fc2 = nn.Linear(config.camera_embed_dim, config.camera_embed_dim)

    def forward(self, vector: Tensor) -> Tensor:
        """`(batch, 16)` to `(batch, camera_embed_dim)`."""
        return self.fc2(F.silu(self.fc1(vector)))


class LRMModel(LRMPreTrainedModel):
    """The large reconstruction model.

    Args:
        config: see [`LRMConfig`].
    """

    config_class = LRMConfig
    _no_split_modules = ["LRMBlock", "CameraEmbedder", "TokenLift", "PixelLift", "FieldMLP"]

    def __init__(self, config: LRMConfig):
        super().__init__(config)
        self.encoder = build_encoder(config.encoder_config, config.position_interpolation)
        encoder_size = cast(int, config.encoder_hidden_size)  # the config refuses encoders without one
        conditioned = config.decoder_block != "basic"
        modulated = config.decoder_block == "condition_modulation"
        self.camera_embedder = CameraEmbedder(config) if modulated else None
        # basic blocks know the picture by its tokens standing beside those of the planes
        self.image_projection = None if conditioned else nn.Linear(encoder_size, config.hidden_size)
        self.pos_embed = nn.Parameter(torch.empty(1, 3 * config.triplane_low_res**2, config.hidden_size))
        self.token_lift = TokenLift(config, encoder_size) if config.lift_samples else None
        self.decoder = LRMDecoder(
            config,
            condition_size=encoder_size if conditioned else None,
            modulation_size=config.camera_embed_dim if modulated else None,
        )
        self.upsampler = nn.ConvTranspose2d(config.hidden_size, config.field_config.channels, kernel_size=2, stride=2)
        self.pixel_lift = PixelLift(config) if config.lift_samples else None
        self.field_mlp = FieldMLP(config.field_config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, PlaneLinear):
            init.normal_(module.weight, mean=0.0, std=module.weight.shape[2] ** -0.5)
            init.zeros_(module.bias)
        elif isinstance(module, LRMModel):
            init.normal_(module.pos_embed, mean=0.0, std=self.config.hidden_size**-0.5)
        else:
            super()._init_weights(module)

    def forward_planes(
        self,
        pixel_values: Tensor,
        source_cameras: Cameras | Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        cameras = self._check_source(pixel_values, source_cameras)
        batch = pixel_values.shape[0]
        pixel_values = pixel_values.to(self.dtype)
        tokens = encode_tokens(self.encoder, pixel_values)

        hidden_states = self.pos_embed.expand(batch, -1, -1)
        if self.token_lift is not None:
            grid = patch_grid(self.encoder.config, pixel_values)
            hidden_states = hidden_states + self.token_lift(tokens, cameras, grid)
        modulation = None
        if self.camera_embedder is not None:
            modulation = self.camera_embedder(cameras.to_source_vector().to(self.dtype))
        if self.image_projection is not None:
            hidden_states = torch.cat([self.image_projection(tokens), hidden_states], dim=1)
        hidden_states, states, attentions, cross_attentions = self.decoder(
            hidden_states,
            tokens if self.image_projection is None else None,
            modulation,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        hidden_states = hidden_states[:, -self.pos_embed.shape[1] :]
        planes = self.upsample(hidden_states)
        if self.pixel_lift is not None:
            planes = self.pixel_lift(planes, pixel_values, cameras)
        return planes.float(), states, attentions, cross_attentions


__all__ = ["LRMModel", "LRMModelOutput", "LRMPreTrainedModel"]
