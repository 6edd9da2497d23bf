# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""TripoSR: one picture to a triplane field, in one forward pass, without a camera.

Tochilkin et al., "TripoSR: Fast 3D Object Reconstruction from a Single Image", 2024.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from transformers import initialization as init

from ..cameras import Cameras
from .configuration_triposr import TripoSRConfig
from .decoder_triposr import TripoSRDecoder
from .encoder import build_encoder, encode_tokens
from .field import FieldMLP
from .modeling_base import LRMPreTrainedModel


class TripoSRModel(LRMPreTrainedModel):
    """TripoSR. All that follows the planes, and loading and saving, is as in [`LRMModel`].

    The model reads no camera. `source_cameras` may be given as to every model, and are checked, but change nothing. Its
    field stands as in the original, facing +x: the default source camera is on that side.

    Args:
        config: see [`TripoSRConfig`].
    """

    config_class = TripoSRConfig
    _no_split_modules = ["TripoSRBlock", "FieldMLP"]

    def __init__(self, config: TripoSRConfig):
        super().__init__(config)
        self.encoder = build_encoder(config.encoder_config, config.position_interpolation)
        side = config.triplane_low_res
        self.embeddings = nn.Parameter(torch.empty(3, config.embedding_channels, side, side))
        # the config refuses encoders without a width
        self.decoder = TripoSRDecoder(config, cast(int, config.encoder_hidden_size))
        self.upsampler = nn.ConvTranspose2d(
            config.embedding_channels, config.field_config.channels, kernel_size=2, stride=2
        )
        self.field_mlp = FieldMLP(config.field_config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, TripoSRModel):
            init.normal_(module.embeddings, mean=0.0, std=self.config.embedding_channels**-0.5)
        else:
            super()._init_weights(module)

    def forward_planes(
        self,
        pixel_values: Tensor,
        source_cameras: Cameras | Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        self._check_source(pixel_values, source_cameras)
        condition = encode_tokens(self.encoder, pixel_values.to(self.dtype))
        embeddings = self.embeddings.flatten(2).transpose(1, 2).flatten(0, 1)[None]  # [1, plane x row x column, width]
        tokens, states, attentions, cross_attentions = self.decoder(
            embeddings, condition, output_hidden_states=output_hidden_states, output_attentions=output_attentions
        )
        return self.upsample(tokens).float(), states, attentions, cross_attentions


__all__ = ["TripoSRModel"]
