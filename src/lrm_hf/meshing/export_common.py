# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What the writers of mesh files share: axes, shading, colours, pictures."""

from __future__ import annotations

import io

import numpy as np
import trimesh
from PIL import Image

from ..cameras import world_to_gltf
from .components import weld


GREY = 0.8  # of a mesh without colours
ROUGHNESS = 0.9
MATERIAL_NAME = "surface"


def generator() -> str:
    from .. import __version__

    return f"lrm_hf {__version__}"


def y_up(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Of the world frame, in that of glTF, OBJ and USD, with vertex normals."""
    return trimesh.Trimesh(
        vertices=world_to_gltf(np.asarray(mesh.vertices)),
        faces=mesh.faces,
        vertex_normals=world_to_gltf(shading_normals(mesh)),
        visual=mesh.visual.copy(),
        vertex_attributes=dict(mesh.vertex_attributes),
        metadata=mesh.metadata,
        process=False,
    )


def shading_normals(mesh: trimesh.Trimesh) -> np.ndarray:
    """`(n, 3)` normals: those that the mesh was given, else its own; across the seams of a texture's charts, where
    several vertices lie at one place, the surface stays smooth."""
    if "vertex_normals" in mesh._cache or mesh.visual.kind != "texture":
        return np.asarray(mesh.vertex_normals)
    points, index = weld(np.asarray(mesh.vertices))
    return np.asarray(trimesh.Trimesh(points, index[mesh.faces], process=False).vertex_normals)[index]


def vertex_colors(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """`(n, 4)` uint8, or None where the mesh has no vertex or face colours."""
    return np.asarray(mesh.visual.vertex_colors) if mesh.visual.kind in ("vertex", "face") else None


def srgb_to_linear(rgb: np.ndarray) -> np.ndarray:
    """From display values in [0, 1] to linear light (IEC 61966-2-1), as glTF and USD want vertex colours."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def has_texture(mesh: trimesh.Trimesh) -> bool:
    return mesh.visual.kind == "texture"


def normal_image(mesh: trimesh.Trimesh) -> Image.Image | None:
    """A textured mesh's normal map."""
    return getattr(mesh.visual.material, "normalTexture", None)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="png")
    return buffer.getvalue()
