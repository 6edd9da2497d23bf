# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The mesh that the package hands out: a `trimesh.Trimesh` that knows which frame it is in."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, BinaryIO

import trimesh

from .export import export_mesh


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

    @property
    def convex_hull(self) -> LRMMesh:
        return _in_world_frame(super().convex_hull)

    def export(
        self, file_obj: str | os.PathLike[str] | BinaryIO | None = None, file_type: str | None = None, **kwargs: Any
    ) -> bytes:
        """Writes the mesh; see [`~lrm_hf.meshing.export_mesh`] for formats, axes, colours and errors."""
        return export_mesh(self, file_obj, file_type, **kwargs)
