# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What `LRMPipeline` returns, and in which forms."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import torch
from diffusers.utils import BaseOutput
from torch import Tensor

from ..modeling.field import TriplaneField
from ..rendering import RenderOutput


if TYPE_CHECKING:
    from ..meshing import LRMMesh


_ANIMATIONS = (".mp4", ".gif", ".webp")
_SHEETS = (".png", ".jpg", ".jpeg")
# of one turn of the frames, in seconds
TURN_SECONDS = 2.0


@dataclass
class LRMPipelineOutput(BaseOutput):
    """What [`LRMPipeline`] made of a batch of pictures; what was not asked for is `None`.

    Args:
        meshes: one coloured [`~lrm_hf.meshing.LRMMesh`] (a `trimesh.Trimesh`) per picture, in world units, z up.
        frames: views on a white (or the given) background. For `"mesh"` and `"pil"` one list of PIL pictures per
            input picture, `frames[0]` fits diffusers' `export_to_video`; for `"np"` float32
            `(batch, views, height, width, 3)`; for `"pt"` float32 `(batch, views, 3, height, width)`; in [0, 1].
        depth: distance from the camera's centre along the unit ray in world units, 0 where opacity is 0: an array
            `(batch, views, height, width, 1)`, for `"pt"` a tensor `(batch, views, 1, height, width)`.
        opacity: in [0, 1], shaped like `depth`.
        images: the pictures as the model saw them: cut out, framed, on its background.
        field: the fields themselves, for `LRMPipeline.render`, `LRMPipeline.extract_mesh` and queries.
    """

    meshes: list[LRMMesh] | None = None
    frames: list[list[PIL.Image.Image]] | np.ndarray | Tensor | None = None
    depth: np.ndarray | Tensor | None = None
    opacity: np.ndarray | Tensor | None = None
    images: list[PIL.Image.Image] | None = None
    field: TriplaneField | None = None

    def export(self, path: str | os.PathLike[str], index: int | None = None) -> list[Path]:
        """Writes meshes or frames to files, in the format of the suffix.

        Args:
            path: ends in one of [`~lrm_hf.meshing.EXPORT_FORMATS`] for a mesh, in `.mp4`, `.gif` or `.webp` for the
                frames one after the other, a turn in two seconds, in `.png` or `.jpg` for a sheet of them. A directory
                gets what there is of each picture: `0.glb` and `0.png`, `1.glb` ...
            index: of the picture in the batch; default all. Where there are several, their files are numbered:
                `owl_0.glb`, `owl_1.glb` ...

        Returns:
            The files written, of each picture the one that opens it (an obj brings its materials and textures along).

        Raises:
            ValueError: if the suffix is unknown, or what it wants was not asked of the pipeline.
            IndexError: if `index` is out of range.
            OSError: if the directory does not exist or can't be written to.
        """
        path = Path(path).expanduser()
        count = len(self.meshes if self.meshes is not None else self.frames if self.frames is not None else ())
        if count == 0:
            raise ValueError("there are neither meshes nor frames to export: ask the pipeline for some.")
        if index is not None and not -count <= index < count:
            raise IndexError(f"`index` {index} is out of range for {count} pictures.")
        entries = range(count) if index is None else [index % count]
        if path.is_dir():
            targets = [(entry, path / f"{entry}{suffix}") for entry in entries for suffix in self._suffixes()]
        elif len(entries) == 1:
            targets = [(entries[0], path)]
        else:
            targets = [(entry, path.with_name(f"{path.stem}_{entry}{path.suffix}")) for entry in entries]
        for entry, target in targets:
            self._export_one(entry, target)
        return [target for _, target in targets]

    def _suffixes(self) -> list[str]:
        return [".glb"] * (self.meshes is not None) + [".png"] * (self.frames is not None)

    def _export_one(self, entry: int, path: Path) -> None:
        suffix = path.suffix.lower()
        if suffix in _ANIMATIONS + _SHEETS:
            from ..visualization import contact_sheet, write_image, write_video

            frames = self._pictures(entry)
            if suffix in _SHEETS:
                write_image(path, contact_sheet(frames))
            else:
                write_video(path, frames, fps=len(frames) / TURN_SECONDS)
            return
        from ..meshing import EXPORT_FORMATS  # brings trimesh in

        if suffix[1:] not in EXPORT_FORMATS:
            known = ", ".join((*(f".{name}" for name in EXPORT_FORMATS), *_ANIMATIONS, *_SHEETS))
            raise ValueError(f"`path` must be a directory or end in one of {known}, got {str(path)!r}.")
        if self.meshes is None:
            raise ValueError("there are no meshes: call the pipeline with `output_type='mesh'`.")
        self.meshes[entry].export(path)

    def _pictures(self, entry: int) -> list[PIL.Image.Image] | list[np.ndarray]:
        if self.frames is None:
            raise ValueError("there are no frames: call the pipeline with `num_views` of at least 1.")
        frames = self.frames[entry]
        if isinstance(frames, Tensor):
            frames = frames.movedim(1, -1).cpu().numpy()
        return list(frames)


def convert_views(views: RenderOutput, output_type: str) -> tuple[Any, Any, Any]:
    """Frames, depth and opacity as [`LRMPipelineOutput`] describes them."""
    images = views.images.clamp(0, 1)  # colours may leave [0, 1] by the field's padding
    if output_type == "pt":
        return images, views.depth, views.opacity
    depth, opacity = (tensor.movedim(2, -1).cpu().numpy() for tensor in (views.depth, views.opacity))
    frames = images.movedim(2, -1)
    if output_type == "np":
        return frames.cpu().numpy(), depth, opacity
    pixels = (frames * 255).round().to(torch.uint8).cpu().numpy()
    return [[PIL.Image.fromarray(view) for view in picture] for picture in pixels], depth, opacity
