# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Every number that shapes TripoSR."""

# no `from __future__ import annotations` here: `strict` checks the fields' types, and does not see those in strings
import math
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict

from .configuration_lrm import ReconstructionConfig, TriplaneFieldConfig, require_not_negative, require_positive


@strict
class TripoSRConfig(ReconstructionConfig):
    r"""
    Configuration of [`TripoSRModel`]: image encoder, transformer decoder over learned plane embeddings, deconvolution
    to planes of twice the size, and a triplane field. The defaults are those of the published checkpoint (Tochilkin et
    al., "TripoSR: Fast 3D Object Reconstruction from a Single Image", 2024).

    Args:
        encoder_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the image encoder: any `AutoModel` vision encoder that returns tokens. Default: DINO
            ViT-B/16.
        field_config (`TriplaneFieldConfig` or `dict`, *optional*):
            Configuration of the triplane field. What a dict leaves out is TripoSR's: radius 0.87, third plane (y, z),
            40 channels, nine hidden layers of 64 with SiLU, density `exp(raw - 1)`, 128 uniform samples of length
            1 / 128 each, surface at density 25.
        image_size (`int`, *optional*, defaults to 512):
            Side in pixels of the pictures that the model was trained on.
        hidden_size (`int`, *optional*, defaults to 1024):
            Width of the decoder's blocks.
        num_hidden_layers (`int`, *optional*, defaults to 16):
            Number of decoder blocks.
        num_attention_heads (`int`, *optional*, defaults to 16):
            Heads of each attention.
        mlp_ratio (`float`, *optional*, defaults to 4.0):
            Hidden width of a block's gated MLP over `hidden_size`.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of the gate in a block's MLP.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5):
            Epsilon of the blocks' layer norms.
        attention_bias (`bool`, *optional*, defaults to `False`):
            Whether the decoder's query, key and value projections have biases. The output projection has one always.
        attention_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on attention weights in training.
        embedding_channels (`int`, *optional*, defaults to 1024):
            Channels of the learned plane embeddings, and of what the decoder adds to them.
        norm_num_groups (`int`, *optional*, defaults to 32):
            Groups of the norm in front of the blocks.
        group_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of that norm.
        triplane_low_res (`int`, *optional*, defaults to 32):
            Tokens along each side of a plane; the planes come out twice as large.
        source_camera_distance (`float`, *optional*, defaults to 1.9):
            Distance of the default source camera from the origin, in world units. The model does not read the source
            camera: it is where views of its objects are taken from by default.
        source_camera_focal (`float`, *optional*, defaults to 1.3737387097273113):
            Focal length of the default source camera over the image size: a field of view of 40 degrees.
        source_camera_elevation (`float`, *optional*, defaults to 0.0):
            Elevation of the default source camera above the xy plane, in degrees.
        source_camera_azimuth (`float`, *optional*, defaults to 90.0):
            Side that the default source camera stands on, in degrees about the z axis: 0 is -y, 90 is +x.
        position_interpolation (`str`, *optional*, defaults to `"legacy"`):
            How the position embedding of a `vit` encoder is resized to other picture sizes: `"native"`, as the
            installed transformers does, or `"legacy"`, as transformers up to 4.35 did and the published checkpoint
            expects. Encoders of other types need `"native"`.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the initial weights.

    Raises:
        ValueError: at construction, naming the field, what it holds and what is allowed.
        huggingface_hub.errors.StrictDataclassFieldValidationError: where a field is of another type.

    Example:

    ```python
    >>> from lrm_hf import TripoSRConfig
    >>> config = TripoSRConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, embedding_channels=64)
    >>> config.field_config.radius
    0.87
    ```"""

    model_type = "triposr"
    default_encoder: ClassVar[dict[str, Any]] = {
        "model_type": "vit",
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "image_size": 224,
        "patch_size": 16,
        "layer_norm_eps": 1e-12,
    }
    default_field: ClassVar[dict[str, Any]] = {
        "radius": 0.87,
        "plane_axes": [[0, 1], [0, 2], [1, 2]],
        "channels": 40,
        "hidden_size": 64,
        "num_hidden_layers": 9,
        "hidden_act": "silu",
        "density_activation": "exp",
        "density_bias": -1.0,
        "color_padding": 0.0,
        "sampling": "uniform",
        "num_samples": 128,
        "step_length": "normalized",
        "bounds_scale": 0.999,
        "min_ray_length": 0.01,
        "density_threshold": 25.0,
    }

    image_size: int = 512
    hidden_size: int = 1024
    num_hidden_layers: int = 16
    num_attention_heads: int = 16
    layer_norm_eps: float | int = 1e-5
    embedding_channels: int = 1024
    norm_num_groups: int = 32
    group_norm_eps: float | int = 1e-6
    source_camera_distance: float | int = 1.9
    source_camera_focal: float | int = 0.5 / math.tan(math.radians(20))
    source_camera_azimuth: float | int = 90.0
    position_interpolation: str = "legacy"

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.validate_triposr()  # `strict` calls it as well, but makes errors of its own kind of what it raises

    def validate_triposr(self) -> None:
        """Runs by itself at construction and before saving; a message names the field."""
        for name in ("embedding_channels", "norm_num_groups"):
            require_positive(self, name)
        require_not_negative(self, "group_norm_eps")
        if self.embedding_channels % self.norm_num_groups:
            raise ValueError(
                f"`embedding_channels` must be a multiple of `norm_num_groups`, got {self.embedding_channels} and "
                f"{self.norm_num_groups}."
            )

    def to_diff_dict(self) -> dict[str, Any]:
        """As everywhere in transformers, but with the field's numbers in full: what a dict leaves out is TripoSR's."""
        numbers = {name: getattr(self.field_config, name) for name in TriplaneFieldConfig.__annotations__}
        return super().to_diff_dict() | {"field_config": {"model_type": TriplaneFieldConfig.model_type, **numbers}}


__all__ = ["TripoSRConfig"]
