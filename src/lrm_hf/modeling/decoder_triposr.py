# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""TripoSR's transformer: from learned plane embeddings to plane tokens, looking at the picture on the way.

Tochilkin et al., "TripoSR: Fast 3D Object Reconstruction from a Single Image", 2024; the gated MLP is Shazeer's GEGLU,
"GLU Variants Improve Transformer", 2020.
"""

from __future__ import annotations

from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_triposr import TripoSRConfig
from .decoder import LRMAttention, run_blocks


class GatedMLP(nn.Module):
    """One half of the hidden layer, times the activation of the other."""

    def __init__(self, config: TripoSRConfig):
        super().__init__()
        intermediate_size = int(config.hidden_size * config.mlp_ratio)
        self.fc1 = nn.Linear(config.hidden_size, 2 * intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(intermediate_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        value, gate = self.fc1(hidden_states).chunk(2, dim=-1)
        return self.fc2(value * self.activation(gate))


class TripoSRBlock(GradientCheckpointingLayer):
    """Self-attention, cross-attention to the picture's tokens, gated MLP, each behind a norm and beside a shortcut.

    Args:
        config: widths and activation.
        condition_size: width of the picture's tokens.
    """

    def __init__(self, config: TripoSRConfig, condition_size: int):
        super().__init__()
        self.self_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = LRMAttention(config, out_bias=True)
        self.cross_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.cross_attn = LRMAttention(config, condition_size, out_bias=True)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = GatedMLP(config)

    def forward(self, hidden_states: Tensor, condition: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Returns the new `hidden_states` and the weights of self- and cross-attention (None but for eager)."""
        output, self_weights = self.self_attn(self.self_norm(hidden_states))
        hidden_states = hidden_states + output
        output, cross_weights = self.cross_attn(self.cross_norm(hidden_states), condition)
        hidden_states = hidden_states + output
        return hidden_states + self.mlp(self.mlp_norm(hidden_states)), self_weights, cross_weights


class TripoSRDecoder(nn.Module):
    """Group norm, projection, blocks, projection back, and what came in added to what comes out.

    Args:
        config: widths, groups, number of layers.
        condition_size: width of the picture's tokens.
    """

    def __init__(self, config: TripoSRConfig, condition_size: int):
        super().__init__()
        self.norm = nn.GroupNorm(config.norm_num_groups, config.embedding_channels, eps=config.group_norm_eps)
        self.proj_in = nn.Linear(config.embedding_channels, config.hidden_size)
        self.layers = nn.ModuleList(TripoSRBlock(config, condition_size) for _ in range(config.num_hidden_layers))
        self.proj_out = nn.Linear(config.hidden_size, config.embedding_channels)

    def forward(
        self,
        embeddings: Tensor,
        condition: Tensor,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """
        Args:
            embeddings: `(1, tokens, embedding_channels)`, the same for every picture.
            condition: `(batch, picture_tokens, condition_size)`.

        Returns:
            Tokens `(batch, tokens, embedding_channels)`; where asked, the blocks' input and outputs
            `(batch, tokens, hidden_size)`, and every block's self- and cross-attention weights.
        """
        # over the channels of a group and all tokens: done once, since it does not depend on the picture
        normed = self.norm(embeddings.transpose(1, 2)).transpose(1, 2)
        hidden_states = self.proj_in(normed).expand(condition.shape[0], -1, -1)
        hidden_states, states, self_attentions, cross_attentions = run_blocks(
            self.layers,
            hidden_states,
            condition,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        return self.proj_out(hidden_states) + embeddings, states, self_attentions, cross_attentions
