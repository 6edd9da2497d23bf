# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""LRM: one picture to a triplane field, in one forward pass.

Hong et al., "LRM: Large Reconstruction Model for Single Image to 3D", ICLR 2024.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from ..cameras import Cameras
from ..rendering import render
from .configuration_lrm import LRMConfig
from .decoder import LRMDecoder
from .encoder import build_encoder, encode_tokens, patch_grid
from .field import FieldMLP, TriplaneField
from .initial_weights import init_std
from .lifting import PixelLift, PlaneLinear, TokenLift


# bytes; where torch puts tensors that it makes itself
ALIGNMENT = 64


@dataclass
class LRMModelOutput(ModelOutput):
    """
    Args:
        loss: `()`; mean squared error of `images` and `target_images`, where the latter are given.
        planes: `(batch, 3, channels, resolution, resolution)` float32.
        images: `(batch, views, 3, height, width)`, where `render_cameras` are given; so are the next two.
        depth: `(batch, views, 1, height, width)` in world units.
        opacity: `(batch, views, 1, height, width)` in [0, 1].
        hidden_states: the decoder's input and every block's output, `(batch, tokens, hidden_size)`.
        attentions: self-attention weights of every block, `(batch, heads, tokens, tokens)`.
        cross_attentions: weights of attention to the picture, `(batch, heads, tokens, picture tokens)`.
    """

    loss: Tensor | None = None
    planes: Tensor | None = None
    images: Tensor | None = None
    depth: Tensor | None = None
    opacity: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    cross_attentions: tuple[Tensor, ...] | None = None


class CameraEmbedder(nn.Module):
    """Twelve extrinsic and four intrinsic numbers to the vector that modulates the norms."""

    def __init__(self, config: LRMConfig):
        super().__init__()
        self.fc1 = nn.Linear(16, config.camera_embed_dim)
        self.fc2 = nn.Linear(config.camera_embed_dim, config.camera_embed_dim)

    def forward(self, vector: Tensor) -> Tensor:
        """`(batch, 16)` to `(batch, camera_embed_dim)`."""
        return self.fc2(F.silu(self.fc1(vector)))


def _align(model: nn.Module) -> None:
    """Moves parameters that lie in a mapped file to memory of their own. There they start at any multiple of the type's
    size, and the last bits of a matrix product depend on that: a model would not compute what it did before saving."""
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % ALIGNMENT:
            parameter.data = parameter.data.clone()


class LRMPreTrainedModel(PreTrainedModel):
    """Base of the models: loading, saving, initial weights."""

    config_class = LRMConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    accepts_loss_kwargs = False  # what transformers' Trainer would pass to `forward`
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["LRMBlock", "CameraEmbedder", "TokenLift", "PixelLift", "FieldMLP"]
    _keep_in_fp32_modules_strict = ["field_mlp"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """As everywhere in transformers; and an OpenLRM checkpoint, a directory or Hub repository in its authors'
        layout, is converted (see [`LRMModel.from_original`], whose `encoder_config` is taken here too)."""
        from .original_checkpoints import HUB_ARGUMENTS, is_original, load_original
        from .original_files import differences

        if pretrained_model_name_or_path is not None:
            hub = {name: kwargs[name] for name in HUB_ARGUMENTS if name in kwargs and name != "force_download"}
            if is_original(pretrained_model_name_or_path, **hub) is not None:
                return load_original(cls, pretrained_model_name_or_path, **kwargs)
        wants_info = kwargs.pop("output_loading_info", False)
        try:
            model, info = super().from_pretrained(
                pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
            )
        except SafetensorError as error:
            raise OSError(f"the weights of {str(pretrained_model_name_or_path)!r} can't be read: {error}") from error
        except StrictDataclassError as error:
            raise ValueError(f"the config of {str(pretrained_model_name_or_path)!r} is wrong: {error}") from error
        if pretrained_model_name_or_path is not None:
            problems = differences("tensor", info["missing_keys"], info["unexpected_keys"])
            if problems:
                raise ValueError(f"the weights of {str(pretrained_model_name_or_path)!r} do not fit: {problems}.")
        _align(model)
        return (model, info) if wants_info else model

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            # a layer that wants another spread than the rest says so itself
            init.normal_(module.weight, mean=0.0, std=init_std(module, self.config.initializer_range))
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, PlaneLinear):
            init.normal_(module.weight, mean=0.0, std=module.weight.shape[2] ** -0.5)
            init.zeros_(module.bias)
        elif isinstance(module, LRMModel):
            init.normal_(module.pos_embed, mean=0.0, std=self.config.hidden_size**-0.5)


class LRMModel(LRMPreTrainedModel):
    """The large reconstruction model.

    Args:
        config: see [`LRMConfig`].
    """

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

    @classmethod
    def from_original(
        cls, source: str | os.PathLike, encoder_config: PreTrainedConfig | None = None, **kwargs: Any
    ) -> LRMModel:
        """Loads a checkpoint in the layout of the original authors (OpenLRM 1.0 and 1.1).

        Args:
            source: directory or Hub repository.
            encoder_config: of the encoder in the checkpoint, where it is not of the published size.
            kwargs: `dtype` and the like, as for `from_pretrained`; `revision`, `cache_dir`, `token` for the Hub.

        Raises:
            OSError: if files are missing or damaged.
            ValueError: if names or shapes in the file do not fit; the message lists them.
        """
        from .original_checkpoints import load_original

        return load_original(cls, source, encoder_config=encoder_config, **kwargs)

    def source_cameras(self, batch: int) -> Cameras:
        """The default source camera for a batch of pictures: shape `(batch,)`."""
        config = self.config
        camera = Cameras.canonical(
            config.source_camera_distance, config.source_camera_focal, config.source_camera_elevation
        )
        return camera.to(self.device).expand(batch)

    def planes_to_field(self, planes: Tensor) -> TriplaneField:
        """Planes `(batch, 3, channels, height, width)` and this model's MLP as a field."""
        return TriplaneField(planes, *self.field_mlp.parameters_in_float32(), self.config.field_config)

    def encode(self, pixel_values: Tensor, source_cameras: Cameras | Tensor | None = None) -> TriplaneField:
        """The field alone; arguments as in `forward`."""
        return self.planes_to_field(self.forward_planes(pixel_values, source_cameras)[0])

    def forward_planes(
        self,
        pixel_values: Tensor,
        source_cameras: Cameras | Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """From pictures to planes: what `torch.compile` takes whole. Returns planes, and the decoder's states."""
        cameras = self._check_source(pixel_values, source_cameras)
        batch = pixel_values.shape[0]
        config = self.config
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

        side = config.triplane_low_res
        maps = hidden_states.reshape(batch * 3, side, side, -1).permute(0, 3, 1, 2).contiguous()
        planes = self.upsampler(maps).unflatten(0, (batch, 3))
        if self.pixel_lift is not None:
            planes = self.pixel_lift(planes, pixel_values, cameras)
        return planes.float(), states, attentions, cross_attentions

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        source_cameras: Cameras | Tensor | None = None,
        render_cameras: Cameras | Tensor | None = None,
        target_images: Tensor | None = None,
        *,
        height: int | None = None,
        width: int | None = None,
        background: float | Sequence[float] | Tensor = 1.0,
        anchors: Tensor | None = None,
        full_size: tuple[int, int] | None = None,
        num_samples: int | None = None,
        generator: torch.Generator | None = None,
        chunk_size: int | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> LRMModelOutput:
        """
        Args:
            pixel_values: `(batch, 3, height, width)` as the image processor gives them.
            source_cameras: of the pictures, `Cameras` of shape `(batch,)` or `()`, or a tensor `(batch, 16)` of 12
                extrinsic and 4 intrinsic numbers; default the config's canonical camera.
            render_cameras: views to render, `Cameras` of shape `(views,)` or `(batch, views)`, or a tensor
                `(batch, views, 25)`.
            target_images: `(batch, views, 3, height, width)` in [0, 1], what those views should show.
            height, width: size of the renders; default that of `target_images`.
            background, anchors, full_size, num_samples, chunk_size: see [`~lrm_hf.render`].
            generator: draws the sampling noise. In training mode the default generator does where none is given; in
                evaluation mode rendering is deterministic without one.
            output_hidden_states, output_attentions: whether to return the decoder's states and attention weights.

        Raises:
            TypeError, ValueError: naming the argument, what came and what was expected.
        """
        if kwargs:
            raise TypeError(f"`forward` got unknown arguments: {', '.join(sorted(kwargs))}.")
        if output_hidden_states is None:
            output_hidden_states = bool(getattr(self.config, "output_hidden_states", False))
        if output_attentions is None:
            output_attentions = bool(getattr(self.config, "output_attentions", False))
        if output_attentions and self.config._attn_implementation != "eager":
            raise ValueError(
                "`output_attentions=True` needs attn_implementation='eager', this model runs "
                f"{self.config._attn_implementation!r}: model.set_attn_implementation('eager')."
            )
        planes, states, attentions, cross_attentions = self.forward_planes(
            pixel_values, source_cameras, output_hidden_states, output_attentions
        )
        if render_cameras is None:
            if target_images is not None:
                raise ValueError("`target_images` were given without `render_cameras`.")
            return LRMModelOutput(
                planes=planes, hidden_states=states, attentions=attentions, cross_attentions=cross_attentions
            )
        if isinstance(render_cameras, Tensor):
            if render_cameras.ndim == 0 or render_cameras.shape[-1] != 25:
                raise ValueError(
                    "`render_cameras` as a tensor must have shape (batch, views, 25), got "
                    f"{tuple(render_cameras.shape)}."
                )
            render_cameras = Cameras.from_render_vector(render_cameras)
        if not isinstance(render_cameras, Cameras):
            raise TypeError(f"`render_cameras` must be Cameras or a tensor, got {type(render_cameras).__name__}.")
        if target_images is not None and not (
            isinstance(target_images, Tensor) and target_images.is_floating_point() and target_images.ndim == 5
        ):
            got = (
                f"{target_images.dtype} {tuple(target_images.shape)}"
                if isinstance(target_images, Tensor)
                else type(target_images).__name__
            )
            raise TypeError(
                "`target_images` must be a floating point tensor (batch, views, 3, height, width) with values in "
                f"[0, 1], got {got}."
            )
        if target_images is not None:
            height = target_images.shape[-2] if height is None else height
            width = target_images.shape[-1] if width is None else width
        if height is None or width is None:
            raise ValueError("`height` and `width` are needed to render where no `target_images` give them.")
        if generator is None and self.training:
            generator = torch.default_generator
        views = render(
            self.planes_to_field(planes),
            render_cameras,
            height,
            width,
            background,
            num_samples=num_samples,
            anchors=anchors,
            full_size=full_size,
            generator=generator,
            chunk_size=chunk_size,
        )
        loss = None
        if target_images is not None:
            if target_images.shape != views.images.shape:
                raise ValueError(
                    f"`target_images` must have shape {tuple(views.images.shape)}, got {tuple(target_images.shape)}."
                )
            loss = F.mse_loss(views.images, target_images.to(views.images))
        # made anew: as a tuple the output has the order in which it was given, and callers expect the loss first
        return LRMModelOutput(
            loss=loss,
            planes=planes,
            images=views.images,
            depth=views.depth,
            opacity=views.opacity,
            hidden_states=states,
            attentions=attentions,
            cross_attentions=cross_attentions,
        )

    def _check_source(self, pixel_values: Tensor, source_cameras: Cameras | Tensor | None) -> Cameras:
        if not isinstance(pixel_values, Tensor) or not pixel_values.is_floating_point():
            got = pixel_values.dtype if isinstance(pixel_values, Tensor) else type(pixel_values).__name__
            raise TypeError(f"`pixel_values` must be a floating point tensor, got {got}.")
        if pixel_values.ndim != 4 or pixel_values.shape[1] != 3 or pixel_values.shape[0] == 0:
            raise ValueError(
                f"`pixel_values` must have shape (batch, 3, height, width), got {tuple(pixel_values.shape)}."
            )
        batch = pixel_values.shape[0]
        if source_cameras is None:
            return self.source_cameras(batch)
        if isinstance(source_cameras, Tensor):
            if source_cameras.ndim == 0 or source_cameras.shape[-1] != 16:
                raise ValueError(
                    f"`source_cameras` as a tensor must have shape ({batch}, 16), got {tuple(source_cameras.shape)}."
                )
            source_cameras = Cameras.from_source_vector(source_cameras)
        if not isinstance(source_cameras, Cameras):
            raise TypeError(f"`source_cameras` must be Cameras or a tensor, got {type(source_cameras).__name__}.")
        if tuple(source_cameras.shape) not in ((), (batch,)):
            raise ValueError(f"`source_cameras` must have shape ({batch},) or (), got {tuple(source_cameras.shape)}.")
        if not torch.compiler.is_compiling():  # reading values would break the graph
            try:
                source_cameras.validate()
            except ValueError as error:
                raise ValueError(f"`source_cameras`: {error}") from error
        return source_cameras.to(self.device, torch.float32).expand(batch)


__all__ = ["LRMModel", "LRMModelOutput", "LRMPreTrainedModel"]
