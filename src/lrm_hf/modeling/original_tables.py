# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What the original authors call each tensor, and what we call it: one table per origin, and one per image encoder.

Left is the name in their file, right ours; several names on the right take equal shares of the tensor's first axis, in
that order. `{p}` stands for `weight` and `bias`, `{i}` for the number of a block. Our names of encoder tensors are
those that transformers writes to disk, which every version of it reads; in memory they differ between versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
    "synthesizer.decoder.net.0.{p}": "field_mlp.layers.0.{p}",
    "synthesizer.decoder.net.2.{p}": "field_mlp.layers.1.{p}",
    "synthesizer.decoder.net.4.{p}": "field_mlp.layers.2.{p}",
    "synthesizer.decoder.net.6.{p}": "field_mlp.layers.3.{p}",
}

MODEL_TABLES: dict[str, dict[str, Targets]] = {
    "openlrm_v11": _OPENLRM_COMMON | {"pos_embed": "pos_embed", "upsampler.{p}": "upsampler.{p}"},
    "openlrm_v10": _OPENLRM_COMMON | {"transformer.pos_embed": "pos_embed", "transformer.deconv.{p}": "upsampler.{p}"},
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
        "encoder.model.cls_token": "encoder.embeddings.cls_token",
        "encoder.model.pos_embed": "encoder.embeddings.position_embeddings",
        "encoder.model.register_tokens": "encoder.embeddings.register_tokens",
        "encoder.model.mask_token": "encoder.embeddings.mask_token",
        "encoder.model.patch_embed.proj.{p}": "encoder.embeddings.patch_embeddings.projection.{p}",
        "encoder.model.blocks.{i}.norm1.{p}": "encoder.encoder.layer.{i}.norm1.{p}",
        "encoder.model.blocks.{i}.attn.qkv.{p}": (
            "encoder.encoder.layer.{i}.attention.attention.query.{p}",
            "encoder.encoder.layer.{i}.attention.attention.key.{p}",
            "encoder.encoder.layer.{i}.attention.attention.value.{p}",
        ),
        "encoder.model.blocks.{i}.attn.proj.{p}": "encoder.encoder.layer.{i}.attention.output.dense.{p}",
        "encoder.model.blocks.{i}.ls1.gamma": "encoder.encoder.layer.{i}.layer_scale1.lambda1",
        "encoder.model.blocks.{i}.norm2.{p}": "encoder.encoder.layer.{i}.norm2.{p}",
        "encoder.model.blocks.{i}.mlp.fc1.{p}": "encoder.encoder.layer.{i}.mlp.fc1.{p}",
        "encoder.model.blocks.{i}.mlp.fc2.{p}": "encoder.encoder.layer.{i}.mlp.fc2.{p}",
        "encoder.model.blocks.{i}.ls2.gamma": "encoder.encoder.layer.{i}.layer_scale2.lambda1",
        "encoder.model.norm.{p}": "encoder.layernorm.{p}",
    },
    # the names of transformers 4.35's ViT
    "vit": {
        f"encoder.model.{name}": f"encoder.{name}"
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

# may be in a file without effect on any output; left out
UNUSED = ("encoder.model.pooler.dense.weight", "encoder.model.pooler.dense.bias")
# may be absent: the token that stands for masked patches, of which there are none here; ours is zero then
OPTIONAL = {"encoder.model.mask_token": "encoder.model.cls_token"}

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


def expand(table: Mapping[str, Targets], blocks: int) -> dict[str, tuple[str, ...]]:
    """A table with its placeholders written out for `blocks` blocks."""
    names: dict[str, tuple[str, ...]] = {}
    for source, targets in table.items():
        if isinstance(targets, str):
            targets = (targets,)
        for i in range(blocks if "{i}" in source else 1):
            for p in ("weight", "bias") if "{p}" in source else ("",):
                names[source.format(i=i, p=p)] = tuple(target.format(i=i, p=p) for target in targets)
    return names
