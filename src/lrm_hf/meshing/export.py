# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Mesh files that open upright and coloured.

| format     | axes                      | colour                                                     |
|------------|---------------------------|------------------------------------------------------------|
| glb, gltf  | y up, front towards +z    | `COLOR_0`, linear float32, on a rough, non-metallic material |
| obj        | y up, front towards +z    | sRGB in [0, 1] after the coordinates: `v x y z r g b`      |
| ply        | z up (the world's)        | sRGB bytes                                                 |
| stl        | z up (the world's)        | none: the format has no place for it                       |

The front is the side that the picture showed. glTF demands y up, and readers of OBJ assume it; PLY is read by tools for
point clouds and scans and STL by those for 3D printing, where z is up.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import trimesh
from trimesh.exchange.gltf import export_glb, export_gltf
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply
from trimesh.exchange.stl import export_stl

from ..cameras import world_to_gltf
from ..files import replacing


EXPORT_FORMATS = ("glb", "gltf", "obj", "ply", "stl")

_GREY = [0.8, 0.8, 0.8, 1.0]
_WHITE = [1.0, 1.0, 1.0, 1.0]

# trimesh writes per-vertex arrays whose names begin with an underscore; this one is renamed to COLOR_0. Its own colours
# are of 8 bit, which is too coarse for dark ones once they are linear.
_LINEAR_RGB = "_LINEAR_RGB"
# key of a mesh's metadata
VIEWER_AZIMUTH = "viewer_azimuth"


def export_mesh(
    mesh: trimesh.Trimesh,
    file_obj: str | os.PathLike[str] | BinaryIO | None = None,
    file_type: str | None = None,
    **kwargs: Any,
) -> bytes:
    """Writes a mesh of the world frame (z up, front towards -y) to a file, in the frame of the format.

    Where `mesh.metadata[VIEWER_AZIMUTH]` says that the viewer stands at another azimuth than -y, in degrees from there
    towards +x, the mesh is turned to face -y first. Vertex normals are written too. A file appears under its name only
    when it is complete.

    Args:
        mesh: in world units, with vertex or face colours, or a texture (glb, gltf), or neither.
        file_obj: a path, whose suffix gives the format and whose directory must exist; a file opened in binary mode; or
            `None` for the bytes alone.
        file_type: one of `EXPORT_FORMATS`; needed where there is no suffix, and stronger than it.
        **kwargs: for trimesh's exporter of the format.

    Returns:
        The content of the file. `gltf` is one file with its buffers embedded.

    Raises:
        ValueError: if the format is unknown, the mesh has no faces, or its texture has no place in the format.
        TypeError: if `mesh` or `file_obj` is of another type, or a file is opened in text mode.
        OSError: if the directory does not exist or can't be written to.
    """
    if not isinstance(mesh, trimesh.Trimesh):
        raise TypeError(f"`mesh` must be a trimesh.Trimesh, got {type(mesh).__name__}.")
    path = Path(file_obj).expanduser() if isinstance(file_obj, (str, os.PathLike)) else None
    if path is None and file_obj is not None:
        if not hasattr(file_obj, "write"):
            raise TypeError(
                f"`file_obj` must be a path, a file opened in binary mode, or None, got {type(file_obj).__name__}."
            )
        if isinstance(file_obj, io.TextIOBase):
            raise TypeError("`file_obj` is opened in text mode; open it in binary mode.")
    encode = _ENCODERS[_format(path, file_type)]
    if len(mesh.faces) == 0:
        raise ValueError("`mesh` has no faces: there is nothing to export.")
    mesh = _facing_front(mesh)
    if path is None:
        data = encode(mesh, kwargs)
        if file_obj is not None:
            file_obj.write(data)  # type: ignore[union-attr]  # a path is handled below
        return data
    with replacing(path) as temporary:
        data = encode(mesh, kwargs)
        temporary.write_bytes(data)
    return data


def _facing_front(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    azimuth = mesh.metadata.get(VIEWER_AZIMUTH, 0.0)
    if not azimuth:
        return mesh
    turned = mesh.copy()
    del turned.metadata[VIEWER_AZIMUTH]
    turned.apply_transform(trimesh.transformations.rotation_matrix(-np.deg2rad(azimuth), [0, 0, 1]))
    return turned


def srgb_to_linear(rgb: np.ndarray) -> np.ndarray:
    """From display values in [0, 1] to linear light (IEC 61966-2-1), as glTF wants vertex colours."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _gltf(export: Callable[..., Any]) -> Callable[[trimesh.Trimesh, dict[str, Any]], Any]:
    def encode(mesh: trimesh.Trimesh, kwargs: dict[str, Any]) -> Any:
        colors, turned = _vertex_colors(mesh), _y_up(mesh)
        textured = mesh.visual.kind == "texture"
        if not textured:
            turned.visual = trimesh.visual.ColorVisuals()
        if colors is not None:
            turned.vertex_attributes[_LINEAR_RGB] = srgb_to_linear(colors[:, :3] / 255.0).astype(np.float32)
        after = kwargs.pop("tree_postprocessor", None)

        def finish(tree: dict[str, Any]) -> None:
            primitive = tree["meshes"][0]["primitives"][0]
            if not textured:
                if colors is not None:
                    primitive["attributes"]["COLOR_0"] = primitive["attributes"].pop(_LINEAR_RGB)
                # without a material viewers must take bare metal, which is black where there is nothing to reflect
                tree["materials"] = [_material(_GREY if colors is None else _WHITE)]
                primitive["material"] = 0
            if after is not None:
                after(tree)

        return export(turned.scene(), **{"include_normals": True, "tree_postprocessor": finish, **kwargs})

    return encode


def _material(base_color: list[float]) -> dict[str, Any]:
    return {
        "name": "surface",
        "pbrMetallicRoughness": {"baseColorFactor": base_color, "metallicFactor": 0.0, "roughnessFactor": 0.9},
        "doubleSided": True,
    }


def _encode_glb(mesh: trimesh.Trimesh, kwargs: dict[str, Any]) -> bytes:
    return _gltf(export_glb)(mesh, dict(kwargs))


def _encode_gltf(mesh: trimesh.Trimesh, kwargs: dict[str, Any]) -> bytes:
    return _gltf(export_gltf)(mesh, {**kwargs, "merge_buffers": True, "embed_buffers": True})["model.gltf"]


def _encode_obj(mesh: trimesh.Trimesh, kwargs: dict[str, Any]) -> bytes:
    if mesh.visual.kind == "texture":
        raise ValueError("a mesh with a texture can't be one obj file; export it as glb or gltf.")
    options = {"include_normals": True, "header": "y up; vertex colours are sRGB", **kwargs}
    return export_obj(_y_up(mesh), **options).encode("utf-8")


def _encode_ply(mesh: trimesh.Trimesh, kwargs: dict[str, Any]) -> bytes:
    return export_ply(mesh, **{"vertex_normal": True, **kwargs})


def _encode_stl(mesh: trimesh.Trimesh, kwargs: dict[str, Any]) -> bytes:
    return export_stl(mesh, **kwargs)


_ENCODERS: dict[str, Callable[[trimesh.Trimesh, dict[str, Any]], bytes]] = {
    "glb": _encode_glb,
    "gltf": _encode_gltf,
    "obj": _encode_obj,
    "ply": _encode_ply,
    "stl": _encode_stl,
}


def _y_up(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(
        vertices=world_to_gltf(mesh.vertices),
        faces=mesh.faces,
        vertex_normals=world_to_gltf(mesh.vertex_normals),
        visual=mesh.visual.copy(),
        vertex_attributes=dict(mesh.vertex_attributes),
        metadata=mesh.metadata,
        process=False,
    )


def _vertex_colors(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """`(n, 4)` uint8, or None where the mesh has no vertex or face colours."""
    return np.asarray(mesh.visual.vertex_colors) if mesh.visual.kind in ("vertex", "face") else None


def _format(path: Path | None, file_type: str | None) -> str:
    if file_type is None and path is None:
        raise ValueError(f"`file_type` must say the format, one of {', '.join(EXPORT_FORMATS)}: there is no file name.")
    given = file_type if file_type is not None else path.suffix  # type: ignore[union-attr]  # not both are None
    name = given.lower().removeprefix(".")
    if name not in EXPORT_FORMATS:
        raise ValueError(f"{given!r} is no known mesh format; choose one of {', '.join(EXPORT_FORMATS)}.")
    return name
