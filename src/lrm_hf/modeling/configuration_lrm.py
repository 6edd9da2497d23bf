# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Every number that shapes the model or the field."""

# no `from __future__ import annotations` here: `strict` checks the fields' types, and does not see those in strings
import copy
import math
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.models.auto.configuration_auto import CONFIG_MAPPING


DECODER_BLOCKS = ("basic", "condition", "condition_modulation")


@strict
class TriplaneFieldConfig(PreTrainedConfig):
    r"""
    What turns three planes of features into density and colour, and how rays through it are sampled. One set of numbers
    describes OpenLRM's field (the defaults), another TripoSR's.

    Args:
        radius (`float`, *optional*, defaults to 1.0):
            The field fills the box `[-radius, radius]^3` in world units.
        plane_axes (`list[list[int]]`, *optional*, defaults to `[[0, 1], [0, 2], [2, 1]]`):
            For each plane the world axes (0 = x, 1 = y, 2 = z) along its width and its height.
        channels (`int`, *optional*, defaults to 32):
            Feature channels of each plane.
        hidden_size (`int`, *optional*, defaults to 64):
            Width of the MLP.
        num_hidden_layers (`int`, *optional*, defaults to 3):
            Hidden layers of the MLP; one more linear layer gives density and colour.
        hidden_act (`str`, *optional*, defaults to `"relu"`):
            `"relu"` or `"silu"`.
        density_activation (`str`, *optional*, defaults to `"softplus"`):
            `"softplus"` or `"exp"`, applied to the raw density plus `density_bias`.
        density_bias (`float`, *optional*, defaults to -1.0):
            Added to the raw density before its activation.
        color_padding (`float`, *optional*, defaults to 0.001):
            Colour is `sigmoid(raw) * (1 + 2 * color_padding) - color_padding`.
        sampling (`str`, *optional*, defaults to `"importance"`):
            `"importance"`: half of the samples evenly spaced between entry and exit, half drawn where those found
            density; neighbouring samples are averaged before compositing. `"uniform"`: one sample in each of
            `num_samples` equal bins.
        num_samples (`int`, *optional*, defaults to 96):
            Samples per ray in all.
        step_length (`str`, *optional*, defaults to `"metric"`):
            Length that density is multiplied with in `"uniform"` sampling: `"metric"`, the bin's length in world units,
            or `"normalized"`, `1 / num_samples` whatever the ray's length.
        bounds_scale (`float`, *optional*, defaults to 1.0):
            Rays are cut off at a box of `bounds_scale * radius`.
        min_ray_length (`float`, *optional*, defaults to 0.0):
            A ray whose way through the box is not longer than this sees the background only.
        density_threshold (`float`, *optional*, defaults to 3.0):
            Density of the surface that meshing extracts by default.

    Raises:
        ValueError: at construction, naming the field, what it holds and what is allowed.
        huggingface_hub.errors.StrictDataclassFieldValidationError: where a field is of another type.
    """

    model_type = "lrm_triplane_field"
    base_config_key = "field_config"

    radius: float | int = 1.0
    plane_axes: list[list[int]] | None = None
    channels: int = 32
    hidden_size: int = 64
    num_hidden_layers: int = 3
    hidden_act: str = "relu"
    density_activation: str = "softplus"
    density_bias: float | int = -1.0
    color_padding: float | int = 0.001
    sampling: str = "importance"
    num_samples: int = 96
    step_length: str = "metric"
    bounds_scale: float | int = 1.0
    min_ray_length: float | int = 0.0
    density_threshold: float | int = 3.0

    def __post_init__(self, **kwargs: Any) -> None:
        if self.plane_axes is None:
            self.plane_axes = [[0, 1], [0, 2], [2, 1]]
        super().__post_init__(**kwargs)
        self.validate_field()  # `strict` calls it as well, but makes errors of its own kind of what it raises

    def validate_field(self) -> None:
        """Runs by itself at construction and before saving; a message names the field."""
        for name in ("channels", "hidden_size", "num_hidden_layers", "radius", "bounds_scale", "density_threshold"):
            require_positive(self, name)
        if not math.isfinite(self.density_bias):
            raise ValueError(f"`density_bias` must be finite, got {self.density_bias}.")
        require_choice(self, "hidden_act", ("relu", "silu"))
        require_choice(self, "density_activation", ("softplus", "exp"))
        require_choice(self, "sampling", ("importance", "uniform"))
        require_choice(self, "step_length", ("metric", "normalized"))
        axes = self.plane_axes
        if axes is not None and (
            len(axes) != 3
            or any(len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= {0, 1, 2} for pair in axes)
            or {axis for pair in axes for axis in pair} != {0, 1, 2}
        ):
            raise ValueError(f"`plane_axes` must be three pairs of different axes out of 0, 1, 2, got {axes}.")
        minimum = 8 if self.sampling == "importance" else 1
        if self.num_samples < minimum or (self.sampling == "importance" and self.num_samples % 2):
            even = " and even" if self.sampling == "importance" else ""
            raise ValueError(
                f"`num_samples` must be at least {minimum}{even} for sampling={self.sampling!r}, "
                f"got {self.num_samples}."
            )
        for name in ("color_padding", "min_ray_length"):
            require_not_negative(self, name)


@strict
class ReconstructionConfig(PreTrainedConfig):
    """What the configs of all models here have in common: encoder, field, source camera, and the decoder's size. Each
    field is documented where a model's own config has it.

    Raises:
        ValueError: at construction, naming the field, what it holds and what is allowed.
        huggingface_hub.errors.StrictDataclassFieldValidationError: where a field is of another type.
    """

    sub_configs = {"encoder_config": AutoConfig, "field_config": TriplaneFieldConfig}
    # what `encoder_config` is where none is given, and what a field that is given as a dict need not say
    default_encoder: ClassVar[dict[str, Any]] = {
        "model_type": "dinov2_with_registers",
        "image_size": 518,
        "patch_size": 14,
    }
    default_field: ClassVar[dict[str, Any]] = {}

    encoder_config: Any = None
    field_config: Any = None
    image_size: int = 336
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    mlp_ratio: float | int = 4.0
    hidden_act: str = "gelu"
    layer_norm_eps: float | int = 1e-6
    attention_bias: bool = False
    attention_dropout: float | int = 0.0
    triplane_low_res: int = 32
    source_camera_distance: float | int = 2.0
    source_camera_focal: float | int = 0.75
    source_camera_elevation: float | int = 0.0
    source_camera_azimuth: float | int = 0.0
    position_interpolation: str = "native"
    initializer_range: float | int = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if self.encoder_config is None:
            self.encoder_config = dict(self.default_encoder)
        if isinstance(self.encoder_config, dict):
            values = dict(self.encoder_config)
            model_type = values.pop("model_type", None)
            if model_type not in CONFIG_MAPPING:
                raise ValueError(
                    f"`encoder_config` must name a `model_type` that transformers knows, got {model_type!r}; "
                    'for example {"model_type": "vit"} or {"model_type": "dinov2_with_registers"}.'
                )
            self.encoder_config = CONFIG_MAPPING[model_type](**values)
        elif not isinstance(self.encoder_config, PreTrainedConfig):
            raise ValueError(
                "`encoder_config` must be the configuration of a transformers model or a dict, got "
                f"{type(self.encoder_config).__name__}."
            )
        if self.field_config is None:
            self.field_config = {}
        if isinstance(self.field_config, dict):
            values = copy.deepcopy(self.default_field) | self.field_config
            self.field_config = TriplaneFieldConfig(
                **{name: value for name, value in values.items() if name != "model_type"}
            )
        elif not isinstance(self.field_config, TriplaneFieldConfig):
            raise ValueError(
                f"`field_config` must be a TriplaneFieldConfig or a dict, got {type(self.field_config).__name__}."
            )
        super().__post_init__(**kwargs)
        self.validate_model()  # `strict` calls it as well, but makes errors of its own kind of what it raises

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoConfig") -> None:
        """Nothing: transformers would from then on save copies of this file, which can't stand alone."""

    @property
    def planes_resolution(self) -> int:
        """Texels along each side of the planes that the model gives out."""
        return 2 * self.triplane_low_res

    @property
    def encoder_hidden_size(self) -> int | None:
        """Width of the encoder's tokens."""
        return getattr(self.encoder_config, "hidden_size", None)

    def validate_model(self) -> None:
        """Runs by itself at construction and before saving; a message names the field."""
        require_choice(self, "hidden_act", tuple(ACT2FN))
        require_choice(self, "position_interpolation", ("native", "legacy"))
        for name in (
            "image_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "mlp_ratio",
            "triplane_low_res",
            "source_camera_distance",
            "source_camera_focal",
        ):
            require_positive(self, name)
        for name in ("layer_norm_eps", "initializer_range"):
            require_not_negative(self, name)
        if int(self.hidden_size * self.mlp_ratio) < 1:
            raise ValueError(f"`mlp_ratio` must leave the MLP a width of at least 1, got {self.mlp_ratio}.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"`hidden_size` must be a multiple of `num_attention_heads`, got {self.hidden_size} and "
                f"{self.num_attention_heads}."
            )
        if not 0 <= self.attention_dropout < 1:
            raise ValueError(f"`attention_dropout` must lie in [0, 1), got {self.attention_dropout}.")
        if not -90 < self.source_camera_elevation < 90:
            raise ValueError(
                f"`source_camera_elevation` must lie between -90 and 90 degrees, got {self.source_camera_elevation}."
            )
        if not math.isfinite(self.source_camera_azimuth):
            raise ValueError(f"`source_camera_azimuth` must be finite, got {self.source_camera_azimuth}.")
        if self.encoder_hidden_size is None:
            raise ValueError(
                f"`encoder_config` of type {type(self.encoder_config).__name__} has no `hidden_size`: it is not an "
                "encoder that gives tokens."
            )
        if self.position_interpolation == "legacy" and self.encoder_config.model_type != "vit":
            raise ValueError(
                "`position_interpolation='legacy'` exists for `vit` encoders only, got "
                f"{self.encoder_config.model_type!r}."
            )


@strict
class LRMConfig(ReconstructionConfig):
    r"""
    Configuration of [`LRMModel`], a large reconstruction model: image encoder, camera embedder, transformer decoder
    over the tokens of three planes, deconvolution to planes of twice the size, and a triplane field. The defaults are
    those of OpenLRM 1.1 base (Hong et al., "LRM: Large Reconstruction Model for Single Image to 3D", ICLR 2024).

    Args:
        encoder_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of the image encoder: any `AutoModel` vision encoder that returns tokens (`vit`, `dinov2`,
            `dinov2_with_registers`, ...). Default: DINOv2 base with registers.
        field_config (`TriplaneFieldConfig` or `dict`, *optional*):
            Configuration of the triplane field.
        image_size (`int`, *optional*, defaults to 336):
            Side in pixels of the pictures that the model was trained on.
        decoder_block (`str`, *optional*, defaults to `"condition_modulation"`):
            `"basic"` (self-attention and MLP), `"condition"` (cross-attention to the picture's tokens before them), or
            `"condition_modulation"` (shift and scale from the camera embedding on every norm as well).
        hidden_size (`int`, *optional*, defaults to 768):
            Width of the decoder.
        num_hidden_layers (`int`, *optional*, defaults to 12):
            Number of decoder blocks.
        num_attention_heads (`int`, *optional*, defaults to 12):
            Heads of each attention.
        mlp_ratio (`float`, *optional*, defaults to 4.0):
            Hidden width of a block's MLP over `hidden_size`.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of a block's MLP.
        layer_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of the decoder's layer norms.
        attention_bias (`bool`, *optional*, defaults to `False`):
            Whether the decoder's query, key, value and output projections have biases.
        attention_dropout (`float`, *optional*, defaults to 0.0):
            Dropout on attention weights in training.
        camera_embed_dim (`int`, *optional*, defaults to 1024):
            Width of the camera embedding that modulates the norms.
        triplane_low_res (`int`, *optional*, defaults to 32):
            Tokens along each side of a plane; the planes come out twice as large.
        source_camera_distance (`float`, *optional*, defaults to 2.0):
            Distance of the default source camera from the origin, in world units.
        source_camera_focal (`float`, *optional*, defaults to 0.75):
            Focal length of the default source camera over the image size.
        source_camera_elevation (`float`, *optional*, defaults to 0.0):
            Elevation of the default source camera above the xy plane, in degrees.
        source_camera_azimuth (`float`, *optional*, defaults to 0.0):
            Side that the default source camera stands on, in degrees about the z axis: 0 is -y, 90 is +x.
        position_interpolation (`str`, *optional*, defaults to `"native"`):
            How the position embedding of a `vit` encoder is resized to other picture sizes: `"native"`, as the
            installed transformers does, or `"legacy"`, as transformers up to 4.35 did and the checkpoints that were
            trained with it expect.
        lift_samples (`int`, *optional*, defaults to 0):
            If positive, picture features are also carried straight into the planes: each texel of a plane looks along
            the plane's normal at this many points, projects them into the source picture and mixes what it finds there.
            Off for published checkpoints.
        lift_channels (`int`, *optional*, defaults to 16):
            Pixel features per point that are carried into the planes.
        lift_planes (`list[int]`, *optional*, defaults to `[0, 1, 2]`):
            Planes that pixel features are added to. Those that face the source camera gain most.
        lift_upscale (`int`, *optional*, defaults to 1):
            Factor by which the planes are enlarged before pixel features are added.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the initial weights.

    Raises:
        ValueError: at construction, naming the field, what it holds and what is allowed.
        huggingface_hub.errors.StrictDataclassFieldValidationError: where a field is of another type.

    Example:

    ```python
    >>> from lrm_hf import LRMConfig, LRMModel
    >>> config = LRMConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, camera_embed_dim=32)
    >>> config.planes_resolution
    64
    ```"""

    model_type = "lrm"

    decoder_block: str = "condition_modulation"
    camera_embed_dim: int = 1024
    lift_samples: int = 0
    lift_channels: int = 16
    lift_planes: list[int] | None = None
    lift_upscale: int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        if "transformer_dim" in kwargs:
            # unknown fields are kept, so that OpenLRM's config.json would load with every size at its default
            raise ValueError(
                "`transformer_dim` belongs to the config of an OpenLRM checkpoint: load that with "
                "LRMModel.from_original or LRMModel.from_pretrained of its directory or repository, or convert it with "
                "`lrm-hf convert`."
            )
        if self.lift_planes is None:
            self.lift_planes = [0, 1, 2]
        super().__post_init__(**kwargs)
        self.validate_lrm()  # `strict` calls it as well, but makes errors of its own kind of what it raises

    @property
    def planes_resolution(self) -> int:
        """Texels along each side of the planes that the model gives out."""
        return 2 * self.triplane_low_res * (self.lift_upscale if self.lift_samples else 1)

    def validate_lrm(self) -> None:
        """Runs by itself at construction and before saving; a message names the field."""
        require_choice(self, "decoder_block", DECODER_BLOCKS)
        for name in ("camera_embed_dim", "lift_channels", "lift_upscale"):
            require_positive(self, name)
        require_not_negative(self, "lift_samples")
        if self.lift_planes is not None and (
            not self.lift_planes or sorted(set(self.lift_planes) & {0, 1, 2}) != sorted(self.lift_planes)
        ):
            raise ValueError(f"`lift_planes` must name planes 0, 1 or 2, each once, got {self.lift_planes}.")


def require_positive(config: PreTrainedConfig, name: str) -> None:
    value = getattr(config, name)
    if not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be positive and finite, got {value}.")


def require_not_negative(config: PreTrainedConfig, name: str) -> None:
    value = getattr(config, name)
    if not 0 <= value < math.inf:
        raise ValueError(f"`{name}` must be finite and not negative, got {value}.")


def require_choice(config: PreTrainedConfig, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(config, name)
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}.")


__all__ = ["LRMConfig", "ReconstructionConfig", "TriplaneFieldConfig"]
