# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""`LRMPipeline`: pictures in, meshes and frames out."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from .. import hub
from ..cameras import Cameras, orbit_cameras
from ..image_processing import LRMImageProcessor, LRMImageProcessorKwargs
from ..modeling.field import TriplaneField
from ..modeling.modeling_base import LRMPreTrainedModel
from ..rendering import RenderOutput, render
from . import pretrained
from .lora import LRMLoraMixin
from .pipeline_output import LRMPipelineOutput, convert_views


if TYPE_CHECKING:
    from ..meshing import LRMMesh


OUTPUT_TYPES = ("mesh", "pil", "np", "pt", "field")
DEFAULT_ELEVATION = 20.0
# Grids of fewer points than this are done before a progress bar is of use.
PROGRESS_POINTS = 2**21
# What the processor's settings are called for, but not from here.
_OWN_NAMES = ("background", "return_tensors")


class LRMPipeline(LRMLoraMixin, DiffusionPipeline):
    """From single pictures to coloured meshes and views from all around.

    What every `DiffusionPipeline` can do works here too: `to`, `enable_model_cpu_offload`, `set_progress_bar_config`.

    Args:
        model: makes a triplane field of a picture: an [`LRMModel`] or a [`TripoSRModel`].
        image_processor: cuts out and frames the object as the model wants it.

    Example:

    ```python
    >>> import lrm_hf
    >>> pipe = lrm_hf.LRMPipeline.from_pretrained(lrm_hf.bundled_model())
    >>> out = pipe("owl.png")
    >>> out.meshes[0].export("owl.glb")
    ```"""

    model_cpu_offload_seq = "model"

    def __init__(self, model: LRMPreTrainedModel, image_processor: LRMImageProcessor):
        super().__init__()
        self.register_modules(model=model, image_processor=image_processor)

    @torch.no_grad()
    def __call__(
        self,
        image: Any,
        output_type: str = "mesh",
        source_cameras: Cameras | Tensor | None = None,
        cameras: Cameras | None = None,
        num_views: int = 8,
        elevation: float | None = None,
        height: int = 256,
        width: int = 256,
        background: float | Sequence[float] | Tensor = 1.0,
        mesh_resolution: int = 256,
        mesh_threshold: float | None = None,
        largest_component: bool = False,
        num_samples: int | None = None,
        chunk_size: int | None = None,
        exact: bool = False,
        generator: torch.Generator | None = None,
        return_dict: bool = True,
        **processor_kwargs: Any,
    ) -> LRMPipelineOutput | tuple[Any, ...]:
        """Reconstructs the object of each picture. Puts the model into evaluation mode.

        Args:
            image: a picture or a (nested) list of pictures: PIL, path, URL, array, tensor; see [`LRMImageProcessor`].
            output_type: `"mesh"` for meshes, and frames as PIL pictures beside them; `"pil"`, `"np"` or `"pt"` for
                frames only, in that form; `"field"` for neither. `images` and `field` are always there.
            source_cameras: the pictures' own cameras, `Cameras` of shape `(batch,)` or `()`, or a tensor `(batch, 16)`;
                default the model's canonical one.
            cameras: of the frames, `Cameras` of shape `(views,)` or `(batch, views)`; default an orbit that begins at
                the source camera's side, at its distance and with its focal length. They stand in the field's frame,
                where the source camera is at azimuth `model.config.source_camera_azimuth` (0 but for TripoSR: 90).
            num_views: frames on that orbit. 0 with `output_type="mesh"`: meshes alone, which is much faster.
            elevation: of that orbit, in degrees; default the model's source camera's, or 20 where that is 0.
            height, width: of the frames, in pixels.
            background: of the frames, in [0, 1]: a number, three numbers, or a tensor that broadcasts to
                `(batch, views, 3)`. What the pictures are put on is up to the image processor.
            mesh_resolution, mesh_threshold, largest_component: see [`~lrm_hf.extract_mesh`].
            num_samples: samples per ray; default that of the model's field.
            chunk_size: points of the field that are evaluated at a time, which bounds the memory.
            exact: evaluate the field along every ray from end to end, also where nothing can be seen (see
                [`~lrm_hf.render`]). Many times slower, for less than 4/255 of difference in any pixel.
            generator: draws sampling noise for the frames; without one they are deterministic.
            return_dict: `False` for a plain tuple of what was made, in the order of [`LRMPipelineOutput`].
            processor_kwargs: settings of the image processor for this call, such as `foreground_ratio` or
                `do_recenter`; all of [`LRMImageProcessor`]'s but `background`.

        Raises:
            TypeError, ValueError, OSError: naming the argument or the picture, what came and what was expected.
            ValueError: if a field has no surface at `mesh_threshold`; the message has the range of its density. To keep
                the others of a batch, ask for `output_type="field"` and call `extract_mesh(field[i])`.
        """
        # 1. Check inputs
        makes_mesh = output_type == "mesh"
        makes_frames = output_type != "field" and not (makes_mesh and num_views == 0 and cameras is None)
        self.check_inputs(output_type, processor_kwargs, generator)
        frame_cameras = self._frame_cameras(cameras, num_views, elevation) if makes_frames else None
        if makes_mesh:
            _check_mesh_settings(mesh_resolution, mesh_threshold)

        # 2. Pictures as the model sees them
        pixel_values = self.image_processor(image, return_tensors="pt", **processor_kwargs)["pixel_values"]
        normalization = ("do_normalize", "image_mean", "image_std")
        images = self.image_processor.to_pil(
            pixel_values, **{name: processor_kwargs[name] for name in normalization if name in processor_kwargs}
        )

        # 3. Pictures to fields. Through the model's forward, which is what offloading hooks into
        self.model.eval()
        planes = self.model(pixel_values.to(self._execution_device), source_cameras=source_cameras).planes
        field = self.model.planes_to_field(planes).detach()
        self.maybe_free_model_hooks()

        # 4. Fields to frames
        frames = depth = opacity = meshes = None
        if frame_cameras is not None:
            views = self._render(
                field, frame_cameras, height, width, background, num_samples, chunk_size, exact, generator
            )
            frames, depth, opacity = convert_views(views, output_type)

        # 5. Fields to meshes
        if makes_mesh:
            meshes = self.extract_mesh(field, mesh_resolution, mesh_threshold, largest_component, chunk_size)

        output = LRMPipelineOutput(meshes, frames, depth, opacity, images, field)
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def render(
        self,
        field: TriplaneField,
        cameras: Cameras | None = None,
        num_views: int = 8,
        elevation: float | None = None,
        height: int = 256,
        width: int = 256,
        background: float | Sequence[float] | Tensor = 1.0,
        num_samples: int | None = None,
        chunk_size: int | None = None,
        exact: bool = False,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
    ) -> LRMPipelineOutput:
        """Views of fields that a call returned, without running the model again.

        Args:
            field: a batch of fields.
            output_type: `"pil"`, `"np"` or `"pt"`. The other arguments are those of a call.

        Returns:
            [`LRMPipelineOutput`] with `frames`, `depth`, `opacity` and the `field` itself. For tensors that gradients
            flow through see [`~lrm_hf.render`].
        """
        if output_type not in ("pil", "np", "pt"):
            raise ValueError(f"`output_type` must be one of 'pil', 'np', 'pt', got {output_type!r}.")
        self.check_inputs(output_type, {}, generator)
        cameras = self._frame_cameras(cameras, num_views, elevation)
        views = self._render(field, cameras, height, width, background, num_samples, chunk_size, exact, generator)
        frames, depth, opacity = convert_views(views, output_type)
        return LRMPipelineOutput(frames=frames, depth=depth, opacity=opacity, field=field)

    @torch.no_grad()
    def extract_mesh(
        self,
        field: TriplaneField,
        mesh_resolution: int = 256,
        mesh_threshold: float | None = None,
        largest_component: bool = False,
        chunk_size: int | None = None,
    ) -> list[LRMMesh]:
        """Meshes of fields that a call returned, one per field, in the fields' frame; arguments as in a call. The files
        that they export face the viewer, whatever side the source camera was on: `mesh.metadata` says which."""
        if not isinstance(field, TriplaneField):
            raise TypeError(f"`field` must be a TriplaneField, got {type(field).__name__}.")
        _check_mesh_settings(mesh_resolution, mesh_threshold)
        if chunk_size is not None:
            _check_integer("chunk_size", chunk_size, 1)
            chunk_size = max(1, chunk_size // max(1, len(field)))  # meshing counts the points of each field
        from ..meshing import extract_mesh  # brings trimesh in
        from ..meshing.export import VIEWER_AZIMUTH

        meshes = extract_mesh(
            field,
            resolution=mesh_resolution,
            threshold=mesh_threshold,
            largest_component=largest_component,
            chunk_size=chunk_size,
            progress=self._shows_progress() and len(field) * mesh_resolution**3 >= PROGRESS_POINTS,
        )
        if self.model.config.source_camera_azimuth:
            for mesh in meshes:
                mesh.metadata[VIEWER_AZIMUTH] = float(self.model.config.source_camera_azimuth)
        return meshes

    def check_inputs(
        self, output_type: str, processor_kwargs: dict[str, Any], generator: torch.Generator | None
    ) -> None:
        """What neither the image processor, nor the model, nor the renderer checks by itself."""
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"`output_type` must be one of {', '.join(map(repr, OUTPUT_TYPES))}, got {output_type!r}.")
        settings = [name for name in LRMImageProcessorKwargs.__annotations__ if name not in _OWN_NAMES]
        unknown = sorted(set(processor_kwargs) - set(settings))
        if unknown:
            raise TypeError(
                f"unknown argument {', '.join(map(repr, unknown))}; beside its own arguments a call takes the image "
                f"processor's settings: {', '.join(settings)}."
            )
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TypeError(f"`generator` must be a torch.Generator, got {type(generator).__name__}.")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> LRMPipeline:
        """Loads a pipeline from a directory or a Hub repository: one that `save_pretrained` wrote, one that holds a
        saved model alone, or a checkpoint in the layout of OpenLRM 1.0 or 1.1 or of TripoSR, which is converted on the
        way.

        Args:
            pretrained_model_name_or_path: directory, or repository such as "me/my-lrm".
            kwargs: those of `DiffusionPipeline.from_pretrained`. `dtype` is float32 by default, whatever the file has;
                `use_safetensors` is True. The other layouts know `model`, `image_processor`, `dtype`, `device_map`,
                `revision`, `token`, `cache_dir`, `force_download` and `local_files_only`; the saved model `variant`;
                the original layouts `encoder_config`, see `LRMModel.from_original`.

        Raises:
            OSError: if there is no such directory or repository, it can't be reached, or it holds no such checkpoint.
            ValueError: if a checkpoint has missing, extra or misshapen weights, or belongs to another pipeline.
        """
        source = os.path.expanduser(os.fspath(pretrained_model_name_or_path))
        kwargs = {"use_safetensors": True, **kwargs, "dtype": pretrained.checked_dtype(kwargs)}
        kwargs.pop("torch_dtype", None)
        layout = pretrained.find_layout(source, kwargs)
        with hub.readable_errors(source, kwargs):
            if layout == "pipeline":
                return super().from_pretrained(source, **kwargs)
            return cls(**pretrained.load_components(source, layout, kwargs))

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        push_to_hub: bool = False,
        fuse_lora: bool = False,
        **kwargs: Any,
    ) -> None:
        """Saves model and image processor, and what a Hub repository needs beside them: `pipeline.py`, by which
        `DiffusionPipeline.from_pretrained` finds this class, and a model card where there is none yet.

        Args:
            save_directory: made if it does not exist.
            safe_serialization: must be True: weights are written as safetensors only.
            variant, max_shard_size: see `DiffusionPipeline.save_pretrained`.
            push_to_hub: upload the directory as well; `kwargs` are then those of `push_to_hub`, and `repo_id` is the
                directory's name by default.
            fuse_lora: save the active adapters within the weights. Otherwise they are left out, and a warning says so:
                `save_lora_weights` saves them.
        """
        if kwargs and not push_to_hub:
            raise TypeError(f"unknown argument {', '.join(map(repr, sorted(kwargs)))} without `push_to_hub=True`.")
        directory = os.fspath(save_directory)
        name = kwargs.pop("repo_id", None) or os.path.basename(os.path.abspath(directory))
        self._save(directory, name, safe_serialization, variant, max_shard_size, fuse_lora)
        if push_to_hub:
            hub.upload(directory, name, **kwargs)

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str = "Upload LRMPipeline",
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        revision: str | None = None,
        subfolder: str | None = None,
        fuse_lora: bool = False,
    ) -> str:
        """Uploads the pipeline to the Hub, in one commit. A model card that is there already is kept.

        Args:
            repo_id: made if it does not exist.
            private: of a repository that is made.
            revision: branch to commit to; made if it does not exist.
            subfolder: folder in the repository.
            fuse_lora: as for `save_pretrained`.

        Returns:
            The URL of the commit.

        Raises:
            OSError: if the Hub can't be reached, or does not accept it.
        """
        with tempfile.TemporaryDirectory() as directory:
            self._save(directory, repo_id, safe_serialization, variant, max_shard_size, fuse_lora)
            return hub.upload(
                directory,
                repo_id,
                commit_message=commit_message,
                private=private,
                token=token,
                create_pr=create_pr,
                revision=revision,
                subfolder=subfolder,
            )

    def _save(
        self,
        directory: str,
        name: str,
        safe_serialization: bool,
        variant: str | None,
        max_shard_size: int | str | None,
        fuse_lora: bool,
    ) -> None:
        """Writes all files; `name` is what the card calls the pipeline."""
        if not safe_serialization:
            raise ValueError("`safe_serialization` must be True: weights are written as safetensors only.")
        with self._savable_model(fuse_lora):
            super().save_pretrained(directory, variant=variant, max_shard_size=max_shard_size)
        base = self._base_name()
        pretrained.write_repository_files(directory, name, base if base != name else None)

    def _frame_cameras(self, cameras: Cameras | None, num_views: int, elevation: float | None) -> Cameras:
        if cameras is not None:
            if not isinstance(cameras, Cameras):
                raise TypeError(f"`cameras` must be Cameras, got {type(cameras).__name__}.")
            return cameras
        _check_integer("num_views", num_views, 1)
        config = self.model.config
        if elevation is None:
            elevation = config.source_camera_elevation or DEFAULT_ELEVATION
        if isinstance(elevation, bool) or not isinstance(elevation, (int, float)):
            raise TypeError(f"`elevation` must be a number of degrees, got {type(elevation).__name__}.")
        if not -90 <= elevation <= 90:
            raise ValueError(f"`elevation` must lie in [-90, 90] degrees, got {elevation}.")
        return orbit_cameras(
            num_views,
            elevation,
            distance=config.source_camera_distance,
            focal=config.source_camera_focal,
            azimuth_start=config.source_camera_azimuth,
        )

    def _render(
        self,
        field: TriplaneField,
        cameras: Cameras,
        height: int,
        width: int,
        background: float | Sequence[float] | Tensor,
        num_samples: int | None,
        chunk_size: int | None,
        exact: bool,
        generator: torch.Generator | None,
    ) -> RenderOutput:
        _check_integer("height", height, 1)
        _check_integer("width", width, 1)
        if num_samples is not None:
            _check_integer("num_samples", num_samples, 1)
        return render(
            field,
            cameras,
            height,
            width,
            background,
            num_samples=num_samples,
            chunk_size=chunk_size,
            generator=generator,
            exact=exact,
            progress=self._shows_progress(),
        )

    def _shows_progress(self) -> bool:
        """What `set_progress_bar_config(disable=...)` asked for; `None`, as tqdm has it: only on a terminal."""
        disable = getattr(self, "_progress_bar_config", {}).get("disable", False)
        return sys.stderr.isatty() if disable is None else not disable


def _check_mesh_settings(resolution: int, threshold: float | None) -> None:
    """Early, since the surface is the last thing made."""
    from ..meshing.isosurface import MAX_RESOLUTION, MIN_RESOLUTION  # brings trimesh in

    _check_integer("mesh_resolution", resolution, MIN_RESOLUTION, MAX_RESOLUTION)
    if threshold is not None:
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.number)):
            raise TypeError(f"`mesh_threshold` must be a number, got {type(threshold).__name__}.")
        if not (math.isfinite(threshold) and threshold > 0):
            raise ValueError(f"`mesh_threshold` must be a positive, finite density, got {threshold}.")


def _check_integer(name: str, value: int, minimum: int, maximum: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}` must be an integer, got {type(value).__name__}.")
    if value < minimum or (maximum is not None and value > maximum):
        limits = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"`{name}` must be {limits}, got {value}.")
