# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What all models share: loading and saving, and the way from planes to a field, pictures and a loss."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from ..cameras import Cameras, orbit_cameras
from ..rendering import render
from .configuration_lrm import ReconstructionConfig
from .field import FieldMLP, TriplaneField
from .initial_weights import init_std
from .sharing import SharingMixin


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


def _align(model: nn.Module) -> None:
    """Moves parameters that lie in a mapped file to memory of their own. There they start at any multiple of the type's
    size, and the last bits of a matrix product depend on that: a model would not compute what it did before saving."""
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % ALIGNMENT:
            parameter.data = parameter.data.clone()


class LRMPreTrainedModel(SharingMixin, PreTrainedModel):
    """Base of the models: loading, saving, initial weights, and all that follows once there are planes.

    A model has an `encoder`, an `upsampler` and a `field_mlp`, and says in `forward_planes` how pictures become planes.
    """

    config_class = ReconstructionConfig
    base_model_prefix = ""
    main_input_name = "pixel_values"
    accepts_loss_kwargs = False  # what transformers' Trainer would pass to `forward`
    input_modalities = ("image",)
    supports_gradient_checkpointing = True
    _keep_in_fp32_modules_strict = ["field_mlp"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    encoder: PreTrainedModel
    upsampler: nn.ConvTranspose2d
    field_mlp: FieldMLP

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """As everywhere in transformers; and an original checkpoint, a directory or Hub repository in its authors'
        layout, is converted (see `from_original`, whose `encoder_config` is taken here too)."""
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

    @classmethod
    def from_original(
        cls, source: str | os.PathLike, encoder_config: PreTrainedConfig | None = None, **kwargs: Any
    ) -> Any:
        """Loads a checkpoint in the layout of the original authors: OpenLRM's 1.0 and 1.1 as [`LRMModel`], TripoSR's as
        [`TripoSRModel`].

        Args:
            source: directory or Hub repository.
            encoder_config: of the encoder in the checkpoint, where it is not of the published size.
            kwargs: `dtype` and the like, as for `from_pretrained`; `revision`, `cache_dir`, `token` for the Hub.

        Raises:
            OSError: if files are missing or damaged.
            ValueError: if names or shapes in the file do not fit, the message lists them; or if it is the checkpoint of
                another model.
        """
        from .original_checkpoints import load_original

        return load_original(cls, source, encoder_config=encoder_config, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            # a layer that wants another spread than the rest says so itself
            init.normal_(module.weight, mean=0.0, std=init_std(module, self.config.initializer_range))
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    def source_cameras(self, batch: int) -> Cameras:
        """The default source camera for a batch of pictures: shape `(batch,)`."""
        config = self.config
        camera = orbit_cameras(
            1,
            config.source_camera_elevation,
            config.source_camera_distance,
            config.source_camera_focal,
            config.source_camera_azimuth,
        )[0]
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
        """From pictures to planes: what `torch.compile` takes whole. Returns planes `(batch, 3, channels, height,
        width)`, and the decoder's states, self- and cross-attentions where asked for."""
        raise NotImplementedError(f"{type(self).__name__} does not say how pictures become planes.")

    def upsample(self, tokens: Tensor) -> Tensor:
        """Tokens `(batch, 3 * side * side, width)`, plane by plane, row by row, to planes
        `(batch, 3, channels, 2 * side, 2 * side)`."""
        side = self.config.triplane_low_res
        maps = tokens.reshape(-1, side, side, tokens.shape[-1]).permute(0, 3, 1, 2).contiguous()
        return self.upsampler(maps).unflatten(0, (tokens.shape[0], 3))

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
        # reading values would break a compiled graph, and can't be part of a CUDA graph
        recorded = torch.compiler.is_compiling() or (pixel_values.is_cuda and torch.cuda.is_current_stream_capturing())
        if not recorded:
            try:
                source_cameras.validate()
            except ValueError as error:
                raise ValueError(f"`source_cameras`: {error}") from error
        return source_cameras.to(self.device, torch.float32).expand(batch)


__all__ = ["LRMModelOutput", "LRMPreTrainedModel"]
