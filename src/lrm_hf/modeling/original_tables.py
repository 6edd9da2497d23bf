# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What the original authors call each tensor, and what we call it: one table per origin, and one per image encoder.

Left is the name in their file, right ours; several names on the right take equal shares of the tensor's first axis, in
that order. `{p}` stands for `weight` and `bias`, `{i}` for the number of a block, `{e}` for what the file puts in front
of the encoder's names. Our names of encoder tensors are those that transformers writes to disk, which every version of
it reads; in memory they differ between versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .configuration_lrm import ReconstructionConfig

Targets = str | tuple[str, ...]

_OPENLRM_COMMON: dict[str, Targets] = {
    "camera_embedder.mlp.0.{p}": "camera_embedder.fc1.{p}",
    "camera_embedder.mlp.2.{p}": "camera_embedder.fc2.{p}",
    "transformer.layers.{i}.norm1.norm.{p}": "decoder.layers.{i}.cross_norm.norm.{p}",
    "transformer.layers.{i}.norm1.mlp.1.{p}": "decoder.layers.{i}.cross_norm.modulation.{p}",
    "transformer.layers.{i}.norm2.norm.{p}": "decoder.layers.{i}.self_norm.norm.{p}",
    "transformer.layers.{i}.norm2.mlp.1.{p}": "decoder.layers.{i}.self_norm.modulation.{p}",
    "transformer.layers.{i}.norm3.norm.{p}": "decoder.layers.{i}.mlp_norm.norm.{p}",
    "transformer.layers.{i}.norm3.mlp.1.{p}": "decoder.layers.{i}.mlp_norm.modulation.{p}",
    "transformer.layers.{i}.cross_attn.out_proj.weight": "decoder.layers.{i}.cross_attn.out_proj.weight",
    "transformer.layers.{i}.self_attn.in_proj_weight": (
        "decoder.layers.{i}.self_attn.q_proj.weight",
        "decoder.layers.{i}.self_attn.k_proj.weight",
        "decoder.layers.{i}.self_attn.v_proj.weight",
    ),
    "transformer.layers.{i}.self_attn.out_proj.weight": "decoder.layers.{i}.self_attn.out_proj.weight",
    "transformer.layers.{i}.mlp.0.{p}": "decoder.layers.{i}.mlp.fc1.{p}",
    "transformer.layers.{i}.mlp.3.{p}": "decoder.layers.{i}.mlp.fc2.{p}",
    "transformer.norm.{p}": "decoder.norm.{p}",
}

_TRIPOSR: dict[str, Targets] = {
    "tokenizer.embeddings": "embeddings",
    "backbone.norm.{p}": "decoder.norm.{p}",
    "backbone.proj_in.{p}": "decoder.proj_in.{p}",
    "backbone.proj_out.{p}": "decoder.proj_out.{p}",
    "backbone.transformer_blocks.{i}.norm1.{p}": "decoder.layers.{i}.self_norm.{p}",
    "backbone.transformer_blocks.{i}.norm2.{p}": "decoder.layers.{i}.cross_norm.{p}",
    "backbone.transformer_blocks.{i}.norm3.{p}": "decoder.layers.{i}.mlp_norm.{p}",
    "backbone.transformer_blocks.{i}.attn1.to_q.weight": "decoder.layers.{i}.self_attn.q_proj.weight",
    "backbone.transformer_blocks.{i}.attn1.to_k.weight": "decoder.layers.{i}.self_attn.k_proj.weight",
    "backbone.transformer_blocks.{i}.attn1.to_v.weight": "decoder.layers.{i}.self_attn.v_proj.weight",
    "backbone.transformer_blocks.{i}.attn1.to_out.0.{p}": "decoder.layers.{i}.self_attn.out_proj.{p}",
    "backbone.transformer_blocks.{i}.attn2.to_q.weight": "decoder.layers.{i}.cross_attn.q_proj.weight",
    "backbone.transformer_blocks.{i}.attn2.to_k.weight": "decoder.layers.{i}.cross_attn.k_proj.weight",
    "backbone.transformer_blocks.{i}.attn2.to_v.weight": "decoder.layers.{i}.cross_attn.v_proj.weight",
    "backbone.transformer_blocks.{i}.attn2.to_out.0.{p}": "decoder.layers.{i}.cross_attn.out_proj.{p}",
    "backbone.transformer_blocks.{i}.ff.net.0.proj.{p}": "decoder.layers.{i}.mlp.fc1.{p}",
    "backbone.transformer_blocks.{i}.ff.net.2.{p}": "decoder.layers.{i}.mlp.fc2.{p}",
    "post_processor.upsample.{p}": "upsampler.{p}",
}

MODEL_TABLES: dict[str, dict[str, Targets]] = {
    "openlrm_v11": _OPENLRM_COMMON | {"pos_embed": "pos_embed", "upsampler.{p}": "upsampler.{p}"},
    "openlrm_v10": _OPENLRM_COMMON | {"transformer.pos_embed": "pos_embed", "transformer.deconv.{p}": "upsampler.{p}"},
    "triposr": _TRIPOSR,
}

# the field's MLP: activations are counted among its layers
FIELD_PREFIXES = {
    "openlrm_v11": "synthesizer.decoder.net.",
    "openlrm_v10": "synthesizer.decoder.net.",
    "triposr": "decoder.layers.",
}

# torch.nn.MultiheadAttention packs queries, keys and values where all have the same width (v1.1 base, v1.0 small)
CROSS_ATTENTION_PACKED: dict[str, Targets] = {
    "transformer.layers.{i}.cross_attn.in_proj_weight": (
        "decoder.layers.{i}.cross_attn.q_proj.weight",
        "decoder.layers.{i}.cross_attn.k_proj.weight",
        "decoder.layers.{i}.cross_attn.v_proj.weight",
    ),
}
CROSS_ATTENTION_SEPARATE: dict[str, Targets] = {
    "transformer.layers.{i}.cross_attn.q_proj_weight": "decoder.layers.{i}.cross_attn.q_proj.weight",
    "transformer.layers.{i}.cross_attn.k_proj_weight": "decoder.layers.{i}.cross_attn.k_proj.weight",
    "transformer.layers.{i}.cross_attn.v_proj_weight": "decoder.layers.{i}.cross_attn.v_proj.weight",
}

ENCODER_TABLES: dict[str, dict[str, Targets]] = {
    # the names of the DINOv2 authors' own implementation
    "dinov2_with_registers": {
        "{e}cls_token": "encoder.embeddings.cls_token",
        "{e}pos_embed": "encoder.embeddings.position_embeddings",
        "{e}register_tokens": "encoder.embeddings.register_tokens",
        "{e}mask_token": "encoder.embeddings.mask_token",
        "{e}patch_embed.proj.{p}": "encoder.embeddings.patch_embeddings.projection.{p}",
        "{e}blocks.{i}.norm1.{p}": "encoder.encoder.layer.{i}.norm1.{p}",
        "{e}blocks.{i}.attn.qkv.{p}": (
            "encoder.encoder.layer.{i}.attention.attention.query.{p}",
            "encoder.encoder.layer.{i}.attention.attention.key.{p}",
            "encoder.encoder.layer.{i}.attention.attention.value.{p}",
        ),
        "{e}blocks.{i}.attn.proj.{p}": "encoder.encoder.layer.{i}.attention.output.dense.{p}",
        "{e}blocks.{i}.ls1.gamma": "encoder.encoder.layer.{i}.layer_scale1.lambda1",
        "{e}blocks.{i}.norm2.{p}": "encoder.encoder.layer.{i}.norm2.{p}",
        "{e}blocks.{i}.mlp.fc1.{p}": "encoder.encoder.layer.{i}.mlp.fc1.{p}",
        "{e}blocks.{i}.mlp.fc2.{p}": "encoder.encoder.layer.{i}.mlp.fc2.{p}",
        "{e}blocks.{i}.ls2.gamma": "encoder.encoder.layer.{i}.layer_scale2.lambda1",
        "{e}norm.{p}": "encoder.layernorm.{p}",
    },
    # the names of transformers 4.35's ViT
    "vit": {
        "{e}" + name: f"encoder.{name}"
        for name in (
            "embeddings.cls_token",
            "embeddings.position_embeddings",
            "embeddings.patch_embeddings.projection.{p}",
            "encoder.layer.{i}.layernorm_before.{p}",
            "encoder.layer.{i}.attention.attention.query.{p}",
            "encoder.layer.{i}.attention.attention.key.{p}",
            "encoder.layer.{i}.attention.attention.value.{p}",
            "encoder.layer.{i}.attention.output.dense.{p}",
            "encoder.layer.{i}.layernorm_after.{p}",
            "encoder.layer.{i}.intermediate.dense.{p}",
            "encoder.layer.{i}.output.dense.{p}",
            "layernorm.{p}",
        )
    },
}

ENCODER_PREFIXES = {
    "openlrm_v11": "encoder.model.",
    "openlrm_v10": "encoder.model.",
    "triposr": "image_tokenizer.model.",
}

# may be in a file without effect on any output; left out
UNUSED = ("{e}pooler.dense.weight", "{e}pooler.dense.bias")
# may be absent: the token that stands for masked patches, of which there are none here; ours is zero then
OPTIONAL = {"{e}mask_token": "{e}cls_token"}

# constructor arguments that a file must carry, and those that may be left out with the original's defaults
REQUIRED_ARGUMENTS = (
    "camera_embed_dim",
    "rendering_samples_per_ray",
    "transformer_dim",
    "transformer_layers",
    "transformer_heads",
    "triplane_low_res",
    "triplane_high_res",
    "triplane_dim",
)
DEFAULT_ARGUMENTS: dict[str, Any] = {
    "encoder_freeze": True,
    "encoder_type": "dino",
    "encoder_model_name": "facebook/dino-vitb16",
    "encoder_feat_dim": 768,
}

_WIDTHS = {
    "s": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "b": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    "l": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
}
_DINOV2 = {
    "model_type": "dinov2_with_registers",
    "image_size": 518,
    "patch_size": 14,
    "layer_norm_eps": 1e-6,
    "num_register_tokens": 4,
}
_DINO = {"model_type": "vit", "image_size": 224, "patch_size": 16, "layer_norm_eps": 1e-12}

# the encoders of the published checkpoints, and their neighbours of the same names
ENCODERS: dict[str, dict[str, Any]] = {
    f"dinov2_vit{size}14_reg": _DINOV2 | widths for size, widths in _WIDTHS.items()
} | {
    f"facebook/dino-vit{size}16": _DINO | _WIDTHS[size] | {"intermediate_size": 4 * _WIDTHS[size]["hidden_size"]}
    for size in ("s", "b")
}

# side of the source pictures, by the decoder's width: OpenLRM 1.1's model card. 1.0 carries its own in the file
SOURCE_SIZES = {512: 224, 768: 336, 1024: 448}
DEFAULT_SOURCE_SIZE = 224


def expand(table: Mapping[str, Targets], blocks: int, encoder_prefix: str = "") -> dict[str, tuple[str, ...]]:
    """A table with its placeholders written out for `blocks` blocks."""
    names: dict[str, tuple[str, ...]] = {}
    for source, targets in table.items():
        if isinstance(targets, str):
            targets = (targets,)
        for i in range(blocks if "{i}" in source else 1):
            for p in ("weight", "bias") if "{p}" in source else ("",):
                name = source.format(i=i, p=p, e=encoder_prefix)
                names[name] = tuple(target.format(i=i, p=p) for target in targets)
    return names


def full_table(origin: str, config: ReconstructionConfig, packed: bool) -> dict[str, tuple[str, ...]]:
    """Every name in a file of an origin, and ours for it.

    Args:
        origin: one of `MODEL_TABLES`.
        config: numbers of blocks and layers, and the type of encoder.
        packed: whether OpenLRM's cross-attention is packed.
    """
    table = MODEL_TABLES[origin]
    if origin != "triposr":
        table = table | (CROSS_ATTENTION_PACKED if packed else CROSS_ATTENTION_SEPARATE)
    names = expand(table, config.num_hidden_layers)
    for i in range(config.field_config.num_hidden_layers + 1):
        names |= expand({f"{FIELD_PREFIXES[origin]}{2 * i}.{{p}}": f"field_mlp.layers.{i}.{{p}}"}, 1)
    encoder = config.encoder_config
    return names | expand(ENCODER_TABLES[encoder.model_type], encoder.num_hidden_layers, ENCODER_PREFIXES[origin])
