# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Textures: a field's colours, or another mesh's, on charts of their own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import trimesh
from PIL import Image

from .atlas import Texels, covered_texels, spread, unwrap
from .closest import ClosestPoint, SurfacePoints
from .density import Field, points_per_query
from .export_common import shading_normals
from .processing import add_report, check_integer


if TYPE_CHECKING:
    from .mesh import LRMMesh


MIN_TEXTURE, MAX_TEXTURE = 64, 4096

_Colors = Callable[[np.ndarray], np.ndarray]  # points [n, 3] in the mesh's frame -> [n, 3] in [0, 1]


def bake_texture(
    mesh: LRMMesh,
    field: Field,
    index: int = 0,
    *,
    resolution: int = 1024,
    normal_map: trimesh.Trimesh | None = None,
    chunk_size: int | None = None,
) -> LRMMesh:
    """A mesh of the same shape with the field's colours as a texture instead of its own.

    The surface is cut into charts (xatlas), the field is asked for the colour at the surface point of each texel, and
    what lies between the charts takes the colour of the nearest chart. Charts of many faces take long: some tens of
    thousands are what to [`simplify`] to first.

    Args:
        mesh: of the field's frame, or moved and scaled from there by its own methods.
        field: a batch of fields.
        index: which of them.
        resolution: texels along each side, 64 to 4096; 512 to 4096 is what most want.
        normal_map: the dense mesh, in the same frame and at the same place, that `mesh` was simplified from: colours
            are taken at its nearest points, and its shading goes into a normal map (tangent space, OpenGL's green).
        chunk_size: points in one query of the field; default 131072, on a GPU up to 2097152, by its free memory.

    Returns:
        A mesh with a `TextureVisuals` of a `PBRMaterial`: sRGB `baseColorTexture`, `normalTexture` if asked for. Its
        vertices are doubled along the seams, its faces those of `mesh`, in their order.

    Raises:
        TypeError, ValueError: if an argument is of the wrong type or out of range, the mesh has no faces, or a colour
            is not finite.
        ImportError: if xatlas is missing.
    """
    check_integer("resolution", resolution, MIN_TEXTURE, MAX_TEXTURE)
    batch = len(field.planes)
    check_integer("index", index, -batch, batch - 1)
    if normal_map is not None and not isinstance(normal_map, trimesh.Trimesh):
        raise TypeError(f"`normal_map` must be a mesh, got {type(normal_map).__name__}.")
    chunk = points_per_query(field) if chunk_size is None else chunk_size
    check_integer("chunk_size", chunk, 1)
    if len(mesh.faces) == 0:
        raise ValueError("`mesh` has no faces: there is nothing to put a texture on.")
    to_field = np.linalg.inv(np.asarray(mesh.metadata.get("placement", np.eye(4)), dtype=np.float64))

    def color(points: np.ndarray) -> np.ndarray:
        return _field_colors(field, index, points @ to_field[:3, :3].T + to_field[:3, 3], chunk)

    return _baked(mesh, color, resolution, normal_map, "bake_texture")


def transfer_texture(source: LRMMesh, mesh: LRMMesh) -> LRMMesh:
    """`mesh` with a new texture, as large as that of `source`, of the colours of its nearest points."""
    image = np.asarray(base_color_image(source), dtype=np.float64) / 255
    find = ClosestPoint(np.asarray(source.vertices), np.asarray(source.faces))

    def color(points: np.ndarray) -> np.ndarray:
        uv = find(points).interpolate(np.asarray(source.visual.uv), np.asarray(source.faces))
        return sample_bilinear(image, uv)

    return _baked(mesh, color, min(max(image.shape[0], MIN_TEXTURE), MAX_TEXTURE), None, "transfer_texture")


def base_color_image(mesh: trimesh.Trimesh) -> Image.Image:
    """A textured mesh's colour picture, RGB."""
    material = mesh.visual.material
    image = getattr(material, "baseColorTexture", None)
    if image is None:
        image = getattr(material, "image", None)
    if image is None:
        raise ValueError("the mesh has texture coordinates, but no picture.")
    return image.convert("RGB")


def sample_bilinear(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Of `image` `(height, width, k)` at texture coordinates `(n, 2)`, clamped at the border."""
    height, width = image.shape[:2]
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    part_x, part_y = (x - left)[:, None], (y - top)[:, None]
    upper = image[top, left] * (1 - part_x) + image[top, right] * part_x
    lower = image[bottom, left] * (1 - part_x) + image[bottom, right] * part_x
    return upper * (1 - part_y) + lower * part_y


def _field_colors(field: Field, index: int, points: np.ndarray, chunk: int) -> np.ndarray:
    batch, radius, device = len(field.planes), float(field.config.radius), field.planes.device
    if hasattr(field, "__getitem__"):
        field, batch, index = field[index % batch], 1, 0
    every = torch.from_numpy(points).float().clamp(-radius, radius)  # the cap lies just outside the box
    parts = []
    with torch.no_grad():
        for part in every.split(chunk):
            parts.append(field.query(part.to(device).expand(batch, -1, 3))[1][index].float().cpu())
    rgb = torch.cat(parts) if parts else every
    if not bool(torch.isfinite(rgb).all()):
        raise ValueError(f"batch entry {index}: the field's colour is not finite at some texels.")
    return rgb.clamp(0, 1).double().numpy()


def _baked(mesh: LRMMesh, color: _Colors, resolution: int, dense: trimesh.Trimesh | None, step: str) -> LRMMesh:
    source, normals = np.asarray(mesh.vertices), shading_normals(mesh)
    if mesh.visual.kind == "texture":  # charts of its own are no reason for new seams
        from .components import weld

        _, index = weld(source)
        first = np.unique(index, return_index=True)[1]
        atlas = unwrap(source[first], index[mesh.faces], resolution)
        vertex = first[atlas.vertex]
    else:
        atlas = unwrap(source, np.asarray(mesh.faces), resolution)
        vertex = atlas.vertex
    vertices, normals = source[vertex], normals[vertex]
    texels = covered_texels(atlas.uv, atlas.faces, resolution)
    on_surface = SurfacePoints(texels.face, texels.weights, np.zeros(len(texels.face)))
    points = on_surface.interpolate(vertices, atlas.faces)
    nearest = None
    if dense is not None:
        nearest = ClosestPoint(np.asarray(dense.vertices), np.asarray(dense.faces))(points)
        points = nearest.interpolate(np.asarray(dense.vertices), np.asarray(dense.faces))
    material = trimesh.visual.material.PBRMaterial(
        name="surface",
        baseColorFactor=[255, 255, 255, 255],
        baseColorTexture=_image(color(points), texels, resolution),
        metallicFactor=0.0,
        roughnessFactor=0.9,
        doubleSided=True,
    )
    if dense is not None and nearest is not None:
        wanted = nearest.interpolate(np.asarray(dense.vertex_normals), np.asarray(dense.faces))
        tangents = vertex_tangents(vertices, normals, atlas.faces, atlas.uv)
        local = _in_tangent_space(wanted, on_surface, normals, tangents, atlas.faces)
        material.normalTexture = _image(local / 2 + 0.5, texels, resolution)
    result = type(mesh)(
        vertices,
        atlas.faces,
        vertex_normals=normals,
        visual=trimesh.visual.TextureVisuals(uv=atlas.uv, material=material),
        process=False,
        metadata=copy.deepcopy(mesh.metadata),
    )
    covered = len(texels.row) / resolution**2
    details: dict[str, Any] = {"resolution": resolution, "charts": atlas.charts, "covered": round(covered, 4)}
    add_report(result, step, len(mesh.faces), normal_map=dense is not None, **details)
    return result


def vertex_tangents(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Unit directions of growing u, at right angles to the normals, and the sign of the frame: `(n, 4)` as glTF has
    them, the direction of growing v being `sign * cross(normal, tangent)`."""
    corners, coordinates = vertices[faces], uv[faces]
    edge_1, edge_2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    uv_1, uv_2 = coordinates[:, 1] - coordinates[:, 0], coordinates[:, 2] - coordinates[:, 0]
    area = uv_1[:, 0] * uv_2[:, 1] - uv_1[:, 1] * uv_2[:, 0]
    sign = np.where(area < 0, -1.0, 1.0)
    # times the area: large faces count more, and faces without any not at all
    along_u = (edge_1 * uv_2[:, 1:] - edge_2 * uv_1[:, 1:]) * sign[:, None]
    total, signs = np.zeros_like(vertices), np.zeros(len(vertices))
    for corner in range(3):
        np.add.at(total, faces[:, corner], along_u)
        np.add.at(signs, faces[:, corner], sign)
    tangent = total - normals * np.einsum("ij,ij->i", total, normals)[:, None]
    length = np.linalg.norm(tangent, axis=1)
    # nothing to go by: any direction at right angles
    spare = np.cross(normals, np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]))
    lost = length <= 1e-12 * np.linalg.norm(total, axis=1).max(initial=0.0)
    tangent = np.where(lost[:, None], spare, tangent)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    return np.column_stack([tangent, np.where(signs < 0, -1.0, 1.0)])


def _in_tangent_space(
    wanted: np.ndarray, at: SurfacePoints, normals: np.ndarray, tangents: np.ndarray, faces: np.ndarray
) -> np.ndarray:
    """Unit normals `(n, 3)` in terms of the interpolated tangent frames. Where the dense surface looks away, as it does
    on the other side of something thin, the frame's own."""
    normal = _unit(at.interpolate(normals, faces))
    tangent = at.interpolate(tangents[:, :3], faces)
    tangent = _unit(tangent - normal * np.einsum("ij,ij->i", tangent, normal)[:, None])
    sign = tangents[faces[at.face, 0], 3:]
    bitangent = sign * np.cross(normal, tangent)
    local = np.stack([np.einsum("ij,ij->i", axis, _unit(wanted)) for axis in (tangent, bitangent, normal)], axis=1)
    local[local[:, 2] <= 0] = [0.0, 0.0, 1.0]
    return local


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)


def _image(values: np.ndarray, texels: Texels, resolution: int) -> Image.Image:
    image = np.zeros((resolution, resolution, values.shape[1]), dtype=np.uint8)
    image[texels.row, texels.column] = np.round(np.clip(values, 0, 1) * 255)
    return Image.fromarray(spread(image, texels))
