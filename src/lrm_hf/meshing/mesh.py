# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The mesh that the package hands out: a `trimesh.Trimesh` that knows which frame it is in."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import trimesh

from . import processing, repair
from .export import export_mesh


# key of a mesh's metadata: where `apply_transform` moved it, as a 4x4 matrix from its field's frame to its own
PLACEMENT = "placement"


def _in_world_frame(value: Any) -> Any:
    if type(value) is trimesh.Trimesh:
        value.__class__ = LRMMesh  # the class adds no state: nothing is copied, caches and visuals stay
    elif isinstance(value, (list, tuple)):
        return type(value)(_in_world_frame(item) for item in value)
    return value


def _stays_lrm_mesh(name: str) -> Callable[..., Any]:
    """trimesh's method of this name builds plain `Trimesh` objects: this one makes them `LRMMesh`."""
    original = getattr(trimesh.Trimesh, name)

    @functools.wraps(original)
    def method(self: LRMMesh, *args: Any, **kwargs: Any) -> Any:
        return _in_world_frame(original(self, *args, **kwargs))

    return method


class LRMMesh(trimesh.Trimesh):
    """A `trimesh.Trimesh` in the package's world frame: right-handed, z up, the picture's viewer on the -y side.

    All of trimesh works on it, in world units. What differs is [`export`], which turns the object into the frame of the
    file format. `trimesh.Scene` and functions of trimesh that are not methods of a mesh know nothing of this; hand the
    meshes that they give to [`~lrm_hf.meshing.export_mesh`].

    `simplify`, `smooth`, `largest_component`, `make_watertight`, `ground` and `rescale` return a new mesh, and leave a
    report each in its `metadata["steps"]`: a list of dictionaries that JSON can hold, with `step`, `faces_before`,
    `faces_after` and what else there is to say. `metadata["placement"]` follows the mesh as it is moved and scaled, so
    that [`~lrm_hf.meshing.bake_texture`] finds its points in the field again.
    """

    copy = _stays_lrm_mesh("copy")
    submesh = _stays_lrm_mesh("submesh")
    slice_plane = _stays_lrm_mesh("slice_plane")
    subdivide = _stays_lrm_mesh("subdivide")
    subdivide_to_size = _stays_lrm_mesh("subdivide_to_size")
    subdivide_loop = _stays_lrm_mesh("subdivide_loop")
    simplify_quadric_decimation = _stays_lrm_mesh("simplify_quadric_decimation")
    unwrap = _stays_lrm_mesh("unwrap")
    union = _stays_lrm_mesh("union")
    difference = _stays_lrm_mesh("difference")
    intersection = _stays_lrm_mesh("intersection")
    __add__ = _stays_lrm_mesh("__add__")

    def apply_transform(self, matrix: Any) -> LRMMesh:
        super().apply_transform(matrix)
        before = np.asarray(self.metadata.get(PLACEMENT, np.eye(4)))
        self.metadata[PLACEMENT] = (np.asarray(matrix, dtype=np.float64) @ before).tolist()
        return self

    def simplify(self, target_faces: int) -> LRMMesh:
        """At most so many faces; see [`~lrm_hf.meshing.processing.simplify`]."""
        return processing.simplify(self, target_faces)

    def smooth(self, iterations: int = 10) -> LRMMesh:
        """Without noise and steps; see [`~lrm_hf.meshing.processing.smooth`]."""
        return processing.smooth(self, iterations)

    def largest_component(self) -> LRMMesh:
        """The largest piece alone; see [`~lrm_hf.meshing.processing.largest_component`]."""
        return processing.largest_component(self)

    def make_watertight(self) -> LRMMesh:
        """Closed, for printing; see [`~lrm_hf.meshing.repair.make_watertight`]."""
        return repair.make_watertight(self)

    def ground(self, center: bool = False) -> LRMMesh:
        """On the floor; see [`~lrm_hf.meshing.processing.ground`]."""
        return processing.ground(self, center)

    def rescale(self, height: float | None = None, factor: float | None = None) -> LRMMesh:
        """To a height in metres, or by a factor; see [`~lrm_hf.meshing.processing.rescale`]."""
        return processing.rescale(self, height, factor)

    @property
    def convex_hull(self) -> LRMMesh:
        return _in_world_frame(super().convex_hull)

    def export(
        self, file_obj: str | os.PathLike[str] | BinaryIO | None = None, file_type: str | None = None, **kwargs: Any
    ) -> bytes:
        """Writes the mesh; see [`~lrm_hf.meshing.export_mesh`] for formats, axes, colours and errors."""
        return export_mesh(self, file_obj, file_type, **kwargs)
