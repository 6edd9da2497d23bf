# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The transformer decoder over triplane tokens, and the three kinds of block that it is built from.

Hong et al., "LRM: Large Reconstruction Model for Single Image to 3D", ICLR 2024, section 3.2; the modulated norm is
adaLN of Peebles and Xie, "Scalable Diffusion Models with Transformers", ICCV 2023.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import logging

from .configuration_lrm import LRMConfig, ReconstructionConfig
from .initial_weights import with_init_std


logger = logging.get_logger(__name__)


class ModulatedLayerNorm(nn.Module):
    """LayerNorm whose result is shifted and scaled by the modulation, where there is one."""

    def __init__(self, hidden_size: int, eps: float, modulation_size: int | None):
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size, eps=eps)
        self.modulation = None
        if modulation_size is not None:  # a fresh block starts unmodulated
            self.modulation = with_init_std(nn.Linear(modulation_size, 2 * hidden_size), 0.0)

    def forward(self, hidden_states: Tensor, modulation: Tensor | None) -> Tensor:
        """`(batch, tokens, hidden)`, modulation `(batch, modulation_size)` or None, to `(batch, tokens, hidden)`."""
        hidden_states = self.norm(hidden_states)
        if self.modulation is None or modulation is None:
            return hidden_states
        shift, scale = self.modulation(nn.functional.silu(modulation))[:, None].chunk(2, dim=-1)
        return hidden_states * (1 + scale) + shift


def eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Attention written out; `(batch, heads, tokens, head_dim)` to `(batch, tokens, heads, head_dim)` and weights."""
    weights = torch.matmul(query, key.transpose(-1, -2)) * scaling
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = nn.functional.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class LRMAttention(nn.Module):
    """Multi-head attention; keys and values may come from a condition of another width.

    Args:
        config: width, heads, dropout, and whether the projections have biases.
        condition_size: width of the condition, or None for self-attention.
        out_bias: whether the output projection has a bias; default as the others.
    """

    def __init__(self, config: ReconstructionConfig, condition_size: int | None = None, out_bias: bool | None = None):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.num_key_value_groups = 1  # read by transformers' attention functions
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        source_size = condition_size or config.hidden_size
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.attention_bias)
        self.k_proj = nn.Linear(source_size, config.hidden_size, bias=config.attention_bias)
        self.v_proj = nn.Linear(source_size, config.hidden_size, bias=config.attention_bias)
        out_bias = config.attention_bias if out_bias is None else out_bias
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=out_bias)

    def forward(self, hidden_states: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        source = hidden_states if condition is None else condition
        query, key, value = (
            projection(states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection, states in ((self.q_proj, hidden_states), (self.k_proj, source), (self.v_proj, source))
        )
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        output, weights = attend(
            self,
            query,
            key,
            value,
            None,
            scaling=self.scaling,
            dropout=self.config.attention_dropout if self.training else 0.0,
            is_causal=False,
        )
        return self.out_proj(output.flatten(-2)), weights


class LRMMLP(nn.Module):
    def __init__(self, config: LRMConfig):
        super().__init__()
        intermediate_size = int(config.hidden_size * config.mlp_ratio)
        self.fc1 = nn.Linear(config.hidden_size, intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(intermediate_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(hidden_states)))


class LRMBlock(GradientCheckpointingLayer):
    """One block of the decoder.

    - basic: norm, self-attention, norm, MLP;
    - condition: norm, cross-attention to the condition, then the same;
    - condition + modulation: the same, with every norm modulated.

    Args:
        config: widths and activation.
        condition_size: width of the condition, or None for a basic block.
        modulation_size: width of the modulation, or None for plain norms.

    Raises:
        ValueError: for a modulation without a condition.
    """

    def __init__(self, config: LRMConfig, condition_size: int | None = None, modulation_size: int | None = None):
        super().__init__()
        if modulation_size is not None and condition_size is None:
            raise ValueError("`modulation_size` was given without `condition_size`: modulated blocks need a condition.")

        def norm() -> ModulatedLayerNorm:
            return ModulatedLayerNorm(config.hidden_size, config.layer_norm_eps, modulation_size)

        self.cross_attn = None
        if condition_size is not None:
            self.cross_norm = norm()
            self.cross_attn = LRMAttention(config, condition_size)
        self.self_norm = norm()
        self.self_attn = LRMAttention(config)
        self.mlp_norm = norm()
        self.mlp = LRMMLP(config)

    def forward(
        self, hidden_states: Tensor, condition: Tensor | None = None, modulation: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Returns the new `hidden_states` and the weights of self- and cross-attention (None but for eager)."""
        cross_weights = None
        if self.cross_attn is not None:
            output, cross_weights = self.cross_attn(self.cross_norm(hidden_states, modulation), condition)
            hidden_states = hidden_states + output
        output, self_weights = self.self_attn(self.self_norm(hidden_states, modulation))
        hidden_states = hidden_states + output
        hidden_states = hidden_states + self.mlp(self.mlp_norm(hidden_states, modulation))
        return hidden_states, self_weights, cross_weights


def run_blocks(
    layers: nn.ModuleList,
    hidden_states: Tensor,
    *inputs: Tensor | None,
    output_hidden_states: bool = False,
    output_attentions: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
    """Blocks one after the other.

    Args:
        layers: each gives new states, self- and cross-attention weights.
        hidden_states: `(batch, tokens, hidden_size)`.
        inputs: what every block gets beside the states.

    Returns:
        The last states; where asked, the input and every block's output, and every block's self- and cross-attention
        weights.
    """
    states: tuple[Tensor, ...] = (hidden_states,)
    self_attentions: tuple[Tensor, ...] = ()
    cross_attentions: tuple[Tensor, ...] = ()
    for layer in layers:
        hidden_states, self_weights, cross_weights = layer(hidden_states, *inputs)
        if output_hidden_states:
            states += (hidden_states,)
        if output_attentions:
            self_attentions += (self_weights,)
            cross_attentions += (cross_weights,)
    return (
        hidden_states,
        states if output_hidden_states else None,
        self_attentions if output_attentions else None,
        cross_attentions if output_attentions else None,
    )


class LRMDecoder(nn.Module):
    """A stack of blocks of the kind that `config.decoder_block` names, and a plain norm.

    Args:
        config: `decoder_block`, widths, number of layers.
        condition_size: width of the condition's tokens; needed unless the blocks are basic.
        modulation_size: width of the modulation; needed for `"condition_modulation"`.

    Raises:
        ValueError: at construction and at call, for combinations that make no sense.
    """

    def __init__(self, config: LRMConfig, condition_size: int | None = None, modulation_size: int | None = None):
        super().__init__()
        kind = config.decoder_block
        if kind != "basic" and condition_size is None:
            raise ValueError(f"`condition_size` is needed for decoder_block={kind!r}.")
        if kind == "basic" and condition_size is not None:
            raise ValueError("`condition_size` was given, but decoder_block='basic' takes no condition.")
        if kind == "condition_modulation" and modulation_size is None:
            raise ValueError("`modulation_size` is needed for decoder_block='condition_modulation'.")
        if kind != "condition_modulation" and modulation_size is not None:
            raise ValueError(f"`modulation_size` was given, but decoder_block={kind!r} takes no modulation.")
        logger.debug("decoder of %d %s blocks, width %d", config.num_hidden_layers, kind, config.hidden_size)
        self.kind = kind
        self.condition_size = condition_size
        self.modulation_size = modulation_size
        self.layers = nn.ModuleList(
            LRMBlock(config, condition_size, modulation_size) for _ in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        condition: Tensor | None = None,
        modulation: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """
        Args:
            hidden_states: `(batch, tokens, hidden_size)`.
            condition: `(batch, condition_tokens, condition_size)`, for all but basic blocks.
            modulation: `(batch, modulation_size)`, for modulated blocks.

        Returns:
            The normalised tokens; where asked, the input and every block's output, and every block's self- and
            cross-attention weights `(batch, heads, tokens, source_tokens)`.
        """
        for name, value, size, dimensions in (
            ("condition", condition, self.condition_size, 3),
            ("modulation", modulation, self.modulation_size, 2),
        ):
            if (value is None) != (size is None):
                problem = "is missing" if value is None else "was given"
                raise ValueError(f"`{name}` {problem}, with a decoder of {self.kind} blocks.")
            if value is None:
                continue
            if value.ndim != dimensions or value.shape[-1] != size:
                raise ValueError(
                    f"`{name}` must have {dimensions} dimensions and width {size}, got shape {tuple(value.shape)}."
                )
            if value.shape[0] != hidden_states.shape[0]:
                raise ValueError(
                    f"`{name}` has batch size {value.shape[0]}, `hidden_states` has {hidden_states.shape[0]}."
                )
        hidden_states, states, self_attentions, cross_attentions = run_blocks(
            self.layers,
            hidden_states,
            condition,
            modulation,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        if self.condition_size is None:
            cross_attentions = None
        return self.norm(hidden_states), states, self_attentions, cross_attentions
