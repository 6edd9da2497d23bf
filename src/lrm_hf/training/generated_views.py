# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Views that are rendered when they are asked for: meshes by ray casting, procedural objects without end."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch

from ..cameras import Cameras
from .mesh_objects import MeshObject
from .procedural import sample_cameras, sample_objects
from .view_datasets import ViewDataset
from .views import ObjectViews


OBJECTS_KEPT = 32  # meshes whose triangles and textures stay in memory
MOST_OBJECTS = 2**40  # as many seeds as anybody asks for


class MeshViews(ViewDataset):
    """Mesh files, ray cast from the cameras of `training_cameras`. An object's views follow from its name and `seed`.

    Rendering ahead (`lrm-hf render-dataset`) is the faster way as soon as an object is asked for a second time.

    Args:
        files: mesh files.
        size: side of the pictures in pixels.
        antialias: rays per pixel along each axis.
        sources, targets: views from the front, and all around.
        seed: of the cameras.

    Raises:
        ValueError: if two files have the same name, or a number is not positive.
    """

    layout = "a folder of meshes, rendered on the fly"

    def __init__(
        self,
        files: Sequence[str | os.PathLike[str]],
        size: int | None = None,
        *,
        antialias: int = 2,
        sources: int = 4,
        targets: int = 12,
        seed: int = 0,
    ) -> None:
        self.files = [Path(file) for file in files]
        stems = [file.stem for file in self.files]
        repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
        if repeated:
            raise ValueError(f"several mesh files have the same name: {', '.join(repeated)}.")
        self.size = _size(size)
        self.antialias, self.seed = antialias, seed
        self.views = {"sources": sources, "targets": targets}
        self._kept: OrderedDict[int, MeshObject] = OrderedDict()

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return self.files[index].stem

    def cameras(self, index: int) -> Cameras:
        from .mesh_views import training_cameras

        return training_cameras(self.files[index], 0, seed=self.seed, **self.views)

    def load(self, index: int, views: Sequence[int] | None = None) -> ObjectViews:
        from .mesh_views import render_views

        cameras = self.cameras(index)
        chosen = list(range(len(cameras)) if views is None else views)
        return render_views(self._object(index), cameras[chosen], self.size, self.antialias)

    def _object(self, index: int) -> MeshObject:
        from .mesh_views import training_object

        if index not in self._kept:
            self._kept[index] = training_object(self.files[index], 0, seed=self.seed, **self.views)
            if len(self._kept) > OBJECTS_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(index)
        return self._kept[index]


class ProceduralViews(ViewDataset):
    """Procedural objects: number k follows from `seed` and k, and is the object of `render_pool` of that number.

    Args:
        size: side of the pictures in pixels.
        seed: of everything.
        antialias: an edge pixel is the mean of this number squared of rays.
        sources, targets: views from the front, and all around.
        device: where the rays are cast; the pictures come back to the CPU.
    """

    layout = "procedural objects, without end"
    endless = True

    def __init__(
        self,
        size: int | None = None,
        *,
        seed: int = 0,
        antialias: int = 2,
        sources: int = 2,
        targets: int = 8,
        device: torch.device | str = "cpu",
    ) -> None:
        self.size = _size(size)
        self.seed, self.antialias, self.device = seed, antialias, device
        self.sources, self.targets = sources, targets

    def __len__(self) -> int:
        return MOST_OBJECTS

    def name(self, index: int) -> str:
        return f"{index:06d}"

    def cameras(self, index: int) -> Cameras:
        generator = self._generator(index)
        # the object's own draw comes first, as in `render_pool`
        torch.randint(2**62, (1,), generator=generator)
        return sample_cameras(self.sources, self.targets, generator)

    def load(self, index: int, views: Sequence[int] | None = None) -> ObjectViews:
        cameras = self.cameras(index)
        chosen = list(range(len(cameras)) if views is None else views)
        objects = sample_objects(1, self._generator(index)).to(self.device)
        seen = cameras[chosen]
        placed = Cameras(seen.cam2world[None], seen.intrinsics[None]).to(self.device)
        [rendered] = objects.render(placed, self.size, self.antialias)
        return ObjectViews(rendered.rgba.cpu(), rendered.depth.cpu(), seen)

    def _generator(self, index: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed * 1_000_003 + index)


def _size(size: int | None) -> int:
    """128 pixels where nothing is asked for."""
    if size is None:
        return 128
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"`size` must be a positive integer, got {size!r}.")
    return size
