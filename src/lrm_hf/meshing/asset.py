# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""From a mesh as extracted to one that people can use, in the order that the steps have to go."""

from __future__ import annotations

from .density import Field
from .mesh import LRMMesh
from .texture import bake_texture


def prepare_asset(
    mesh: LRMMesh,
    field: Field | None = None,
    index: int = 0,
    *,
    largest_component: bool = False,
    smooth: int = 0,
    target_faces: int | None = None,
    watertight: bool = False,
    texture: int | None = None,
    normal_map: bool = False,
    ground: bool = False,
    height: float | None = None,
) -> LRMMesh:
    """Does what is asked for, one step after the other, and nothing without being asked.

    Args:
        mesh: as [`~lrm_hf.extract_mesh`] makes it.
        field, index: that it was extracted from; needed for a texture only.
        largest_component: keep the largest connected piece alone.
        smooth: iterations of smoothing.
        target_faces: simplify to at most so many faces.
        watertight: close it, for printing.
        texture: bake a texture of so many texels a side.
        normal_map: and the shading of the mesh before it was simplified.
        ground: put it on the floor.
        height: scale it to so many metres.

    Returns:
        A mesh whose `metadata["steps"]` says what was done.

    Raises:
        TypeError, ValueError, ImportError: as the steps do: see [`~lrm_hf.meshing.LRMMesh`] and
            [`~lrm_hf.meshing.bake_texture`].
        ValueError: if a texture is asked for without a field, or a normal map without a texture.
    """
    if texture is not None and field is None:
        raise ValueError("`texture` takes its colours from a field: give the `field`.")
    if normal_map and texture is None:
        raise ValueError("`normal_map` belongs to a texture: give the `texture`'s size.")
    if largest_component:
        mesh = mesh.largest_component()
    if smooth:
        mesh = mesh.smooth(smooth)
    dense = mesh
    if target_faces is not None:
        mesh = mesh.simplify(target_faces)
    if watertight:
        mesh = mesh.make_watertight()
    if texture is not None and field is not None:
        mesh = bake_texture(mesh, field, index, resolution=texture, normal_map=dense if normal_map else None)
    if ground:
        mesh = mesh.ground()
    if height is not None:
        mesh = mesh.rescale(height=height)
    return mesh
