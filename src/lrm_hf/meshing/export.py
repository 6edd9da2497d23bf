# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Mesh files that open upright and coloured.

| format     | axes                      | colour                                                                    |
|------------|---------------------------|---------------------------------------------------------------------------|
| glb, gltf  | y up, front towards +z    | texture, or `COLOR_0`, linear float32; a rough, non-metallic material     |
| obj        | y up, front towards +z    | texture beside it, with `.mtl`, or sRGB after the position: `v x y z r g b` |
| ply        | z up (the world's)        | sRGB bytes per vertex; of a texture what it has at the vertices           |
| stl        | z up (the world's)        | none: the format has no place for it                                      |
| usdz       | y up, front towards +z    | texture, or linear `displayColor`; a `UsdPreviewSurface`                  |

The front is the side that the picture showed. glTF demands y up, readers of OBJ assume it and USDZ for phones wants it;
PLY is read by tools for point clouds and scans and STL by those for 3D printing, where z is up. A world unit is a
metre, where the format has units (glTF, USDZ).
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from errno import EISDIR
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import trimesh
from trimesh.exchange.ply import export_ply
from trimesh.exchange.stl import export_stl

from ..files import replacing
from .export_common import has_texture, shading_normals
from .export_gltf import encode_glb, encode_gltf
from .export_obj import encode_obj
from .export_usd import encode_usdz
from .texture import base_color_image, sample_bilinear


EXPORT_FORMATS = ("glb", "gltf", "obj", "ply", "stl", "usdz")

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
    when it is complete; an obj with a texture after the files it names, `NAME.mtl` and `NAME_color.png` (and
    `NAME_normal.png`).

    The object in the file is called as `mesh.metadata["name"]` says, else as the file, else "object"; glTF also has the
    version of this package, and the reports of `mesh.metadata["steps"]` as the mesh's `extras`.

    Args:
        mesh: in world units, with vertex or face colours, or a texture, or neither.
        file_obj: a path, whose suffix gives the format and whose directory must exist; a file opened in binary mode; or
            `None` for the bytes alone.
        file_type: one of `EXPORT_FORMATS`; needed where there is no suffix, and stronger than it.
        **kwargs: for trimesh's exporter of the format; none for usdz.

    Returns:
        The content of the file. `gltf` is one file with its buffers embedded.

    Raises:
        ValueError: if the format is unknown, the mesh has no faces, or it has a texture and is to be an obj without a
            path: that takes several files.
        ImportError: if usd-core is missing, for usdz.
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
    name = str(mesh.metadata.get("name") or (path.stem if path is not None else "") or "object")
    if path is None:
        if encode is encode_obj and has_texture(mesh):
            raise ValueError("a mesh with a texture can't be one obj file; give a path, or export it as glb or gltf.")
        data = _main(encode(mesh, name, kwargs))
        if file_obj is not None:
            file_obj.write(data)  # type: ignore[union-attr]  # a path is handled below
        return data
    with replacing(path) as temporary:
        content = encode(mesh, path.stem if encode is encode_obj else name, kwargs)
        data = _main(content)
        temporary.write_bytes(data)
        if isinstance(content, dict):  # in place before the file that names them
            _write_beside(path, {beside: part for beside, part in content.items() if beside})
    return data


def _main(content: bytes | dict[str, bytes]) -> bytes:
    return content[""] if isinstance(content, dict) else content


def _write_beside(path: Path, files: dict[str, bytes]) -> None:
    """All of them, or none if writing fails."""
    if not files:
        return
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}.", dir=path.parent) as directory:
        for name, data in files.items():
            if (path.parent / name).is_dir():
                raise IsADirectoryError(EISDIR, "the file to write is a directory", str(path.parent / name))
            (Path(directory) / name).write_bytes(data)
        for name in files:
            os.replace(Path(directory) / name, path.parent / name)


def _facing_front(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    azimuth = mesh.metadata.get(VIEWER_AZIMUTH, 0.0)
    if not azimuth:
        return mesh
    turned = mesh.copy(include_cache=True)  # normals that it was given included
    del turned.metadata[VIEWER_AZIMUTH]
    turned.apply_transform(trimesh.transformations.rotation_matrix(-np.deg2rad(azimuth), [0, 0, 1]))
    return turned


def _encode_ply(mesh: trimesh.Trimesh, name: str, kwargs: dict[str, Any]) -> bytes:
    if has_texture(mesh):
        image = np.asarray(base_color_image(mesh), dtype=np.float64)
        colors = np.round(sample_bilinear(image, np.asarray(mesh.visual.uv))).astype(np.uint8)
        normals = shading_normals(mesh)
        mesh = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=normals, vertex_colors=colors, process=False)
    return export_ply(mesh, **{"vertex_normal": True, **kwargs})


def _encode_stl(mesh: trimesh.Trimesh, name: str, kwargs: dict[str, Any]) -> bytes:
    return export_stl(mesh, **kwargs)


_Encoder = Callable[[trimesh.Trimesh, str, dict[str, Any]], "bytes | dict[str, bytes]"]
_ENCODERS: dict[str, _Encoder] = {
    "glb": encode_glb,
    "gltf": encode_gltf,
    "obj": encode_obj,
    "ply": _encode_ply,
    "stl": _encode_stl,
    "usdz": encode_usdz,
}


def _format(path: Path | None, file_type: str | None) -> str:
    if file_type is None and path is None:
        raise ValueError(f"`file_type` must say the format, one of {', '.join(EXPORT_FORMATS)}: there is no file name.")
    given = file_type if file_type is not None else path.suffix  # type: ignore[union-attr]  # not both are None
    name = given.lower().removeprefix(".")
    if name not in EXPORT_FORMATS:
        raise ValueError(f"{given!r} is no known mesh format; choose one of {', '.join(EXPORT_FORMATS)}.")
    return name
