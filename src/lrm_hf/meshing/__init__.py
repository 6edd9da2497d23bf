# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""From a field to a mesh, and from a mesh to a file. Importing this imports trimesh: do it where a mesh is wanted."""

from .asset import prepare_asset
from .export import EXPORT_FORMATS, export_mesh
from .isosurface import density_grid, extract_mesh
from .mesh import LRMMesh
from .texture import bake_texture


__all__ = [
    "EXPORT_FORMATS",
    "LRMMesh",
    "bake_texture",
    "density_grid",
    "export_mesh",
    "extract_mesh",
    "prepare_asset",
]
