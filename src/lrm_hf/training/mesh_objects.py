# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Mesh files as coloured triangles in the world frame, for the ray caster of `mesh_views`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cameras import gltf_to_world


MESH_SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
Y_UP_SUFFIXES = (".glb", ".gltf", ".obj")
DEFAULT_COLOUR = 0.8  # of surfaces that come without any colour


@dataclass
class MeshObject:
    """Triangles with colours in the world frame (z up, front towards -y). Made by `load_object`.

    Attributes:
        triangles: `(faces, 3, 3)` float32 corner positions in world units.
        uv: `(faces, 3, 2)` float32 texture coordinates, v upwards, repeated outside [0, 1].
        colours: `(faces, 3, 4)` float32 RGBA at the corners in [0, 1], display values, multiplied with the texture.
        texture_index: `(faces,)` int64 index into `textures`.
        textures: `(height, width, 4)` float32 images, sRGB values as stored, premultiplied by alpha.
    """

    triangles: np.ndarray
    uv: np.ndarray
    colours: np.ndarray
    texture_index: np.ndarray
    textures: list[np.ndarray]

    @property
    def bounds(self) -> np.ndarray:
        """`(2, 3)` smallest and largest corner of the axis-aligned bounding box."""
        points = self.triangles.reshape(-1, 3)
        return np.stack([points.min(axis=0), points.max(axis=0)])

    def rotate_about_z(self, degrees: float) -> MeshObject:
        """The object turned counter-clockwise seen from above. The light does not turn with it."""
        cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        triangles = (self.triangles.astype(np.float64) @ turn.T).astype(np.float32)
        return MeshObject(triangles, self.uv, self.colours, self.texture_index, self.textures)

    def stretch(self, factors: np.ndarray) -> MeshObject:
        """The object scaled by `factors` `(3,)` along the axes, then all over, so that half its box's diagonal is 1
        again."""
        return self._reshaped(self.triangles.astype(np.float64) * factors)

    def warp(self, shape: MeshWarp) -> MeshObject:
        """The object in other proportions, then scaled all over as in `stretch`. Only corners move: what is straight
        within a triangle stays so."""
        low, high = self.bounds.astype(np.float64)
        half = np.maximum((high - low) / 2, 1e-9)
        return self._reshaped(shape((self.triangles.astype(np.float64) - (low + high) / 2) / half) * half)

    def _reshaped(self, triangles: np.ndarray) -> MeshObject:
        reshaped = MeshObject(triangles, self.uv, self.colours, self.texture_index, self.textures)
        low, high = reshaped.bounds
        half_diagonal = np.linalg.norm(high - low) / 2
        reshaped.triangles = ((triangles - (low + high) / 2) / half_diagonal).astype(np.float32)
        return reshaped


@dataclass(frozen=True)
class MeshWarp:
    """A map of the box [-1, 1]^3 that makes an object another one of its kind: a chair with a higher seat, a lamp with
    a wider shade. Left and right stay alike, and nothing is turned inside out.

    Attributes:
        ends: `(3,)` along each axis, the coordinate u moves by `ends * sin(pi u) / pi`: slower or faster at both ends.
        middle: `(3,)` and by `middle * (1 - u^2) / 2`: the middle moves up or down. That of x is taken as 0.
        taper: `(2,)` factors `exp(taper * z)` on x and y.
        waist: `(2,)` factors `exp(waist * (z^2 - 1/2))` on x and y.
        wedge: a factor `exp(wedge * y)` on x.
        lean: y moves by `lean * z`.

    Raises:
        ValueError: if `|ends| + |middle|` reaches 1 along an axis, where the map would fold.
    """

    ends: np.ndarray
    middle: np.ndarray
    taper: np.ndarray
    waist: np.ndarray
    wedge: float
    lean: float

    def __post_init__(self) -> None:
        if (np.abs(self.ends) + np.abs(self.middle)).max() >= 1:
            raise ValueError(f"`ends` {self.ends} and `middle` {self.middle} must stay below 1 together.")

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points `(..., 3)` in [-1, 1], x right, y backwards, z up, to where they go."""
        middle = self.middle * [0, 1, 1]
        x, y, z = np.moveaxis(points + self.ends * np.sin(np.pi * points) / np.pi + middle * (1 - points**2) / 2, -1, 0)
        across = np.exp(np.multiply.outer(z, self.taper) + np.multiply.outer(z**2 - 0.5, self.waist))
        return np.stack([x * across[..., 0] * np.exp(self.wedge * y), y * across[..., 1] + self.lean * z, z], axis=-1)

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float) -> MeshWarp:
        """A random one; `strength` in [0, 0.5) bounds `ends` and `middle`, half of it the others."""
        ends, middle = rng.uniform(-strength, strength, (2, 3))
        taper, waist = rng.uniform(-strength / 2, strength / 2, (2, 2))
        wedge, lean = rng.uniform(-strength / 2, strength / 2, 2)
        return cls(ends, middle, taper, waist, float(wedge), float(lean))


def load_object(path: str | os.PathLike, normalize: bool = True) -> MeshObject:
    """Reads a mesh file as one coloured triangle soup in the world frame.

    The scene graph is flattened. glTF and OBJ files are taken as y up with the front towards +z and are turned to
    z up with the front towards -y; PLY and STL files are taken as they are. A surface's colour is
    baseColorTexture x baseColorFactor x vertex (or face) colour, in display (sRGB) values. Vertex colours of glTF are
    linear and are converted. Its baseColorFactor should be linear too, but exporters that come from OBJ's materials,
    trimesh's among them, write display values there, so it is taken as stored.

    Args:
        path: .glb, .gltf, .obj, .ply or .stl.
        normalize: move the centre of the bounding box to the origin and scale the box's half diagonal to 1, so that
            the object fits the unit ball. An object that is there within 1e-3 is left as it is.

    Raises:
        ImportError: if trimesh is not installed.
        OSError: if the file is missing or cannot be read as a mesh.
        ValueError: if the suffix is not known, or the file holds no triangle with an area.
    """
    trimesh = _require_trimesh()
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in MESH_SUFFIXES:
        raise ValueError(f"`path` must end in one of {', '.join(MESH_SUFFIXES)}, got {path.name!r}.")
    if not path.is_file():
        raise OSError(f"no mesh file at {os.fspath(path)!r}.")
    try:
        scene = trimesh.load_scene(path, process=False)
    except Exception as error:  # the readers of the formats raise nearly everything on damaged files
        raise OSError(f"{os.fspath(path)!r} cannot be read as a mesh: {error}") from error
    parts: list[tuple[np.ndarray, ...]] = []
    textures: list[np.ndarray] = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
            continue
        points = mesh.vertices @ transform[:3, :3].T + transform[:3, 3]
        for faces, uv, colours, texture in _surfaces(mesh, gltf=suffix in (".glb", ".gltf")):
            index = np.full(len(faces), len(textures), dtype=np.int64)
            parts.append((points[mesh.faces[faces]], uv, colours, index))
            textures.append(texture)
    if not parts:
        raise ValueError(f"{os.fspath(path)!r} holds no triangles.")
    triangles, uv, colours, index = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if suffix in Y_UP_SUFFIXES:
        triangles = gltf_to_world(triangles)
    area = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=-1)
    keep = area > 0  # false for NaN as well
    if not keep.any():
        raise ValueError(f"{os.fspath(path)!r} holds no triangle with an area.")
    triangles = triangles[keep]
    if normalize:
        low, high = triangles.min(axis=(0, 1)), triangles.max(axis=(0, 1))
        centre, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
        if np.abs(centre).max() > 1e-3 or abs(radius - 1) > 1e-3:
            triangles = (triangles - centre) / radius
    uv, colours = uv[keep].astype(np.float32), colours[keep].astype(np.float32)
    return MeshObject(triangles.astype(np.float32), uv, colours, index[keep], textures)


def linear_to_srgb(rgb: np.ndarray) -> np.ndarray:
    """From linear light in [0, 1] to display values (IEC 61966-2-1)."""
    return np.where(rgb <= 0.0031308, rgb * 12.92, 1.055 * np.maximum(rgb, 0.0031308) ** (1 / 2.4) - 0.055)


def _surfaces(mesh: Any, gltf: bool) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Face indices, uv `(faces, 3, 2)`, colours `(faces, 3, 4)` and premultiplied texture, for each material.

    `gltf`: vertex colours are linear, and materials are opaque unless they say otherwise.
    """
    visual, count = mesh.visual, len(mesh.faces)
    everything, no_uv = np.arange(count), np.zeros((count, 3, 2))
    white = np.ones((1, 1, 4), dtype=np.float32)
    if visual.kind == "face":
        yield everything, no_uv, np.repeat(_unit(visual.face_colors)[:, None], 3, axis=1), white
        return
    if visual.kind == "vertex":
        yield everything, no_uv, _vertex_colours(visual.vertex_colors, gltf)[mesh.faces], white
        return
    if visual.kind != "texture":
        colours = np.full((count, 3, 4), DEFAULT_COLOUR)
        colours[..., 3] = 1.0
        yield everything, no_uv, colours, white
        return
    uv = no_uv if visual.uv is None else np.nan_to_num(visual.uv[mesh.faces])
    colours = np.ones((count, 3, 4))
    attribute = visual.vertex_attributes.get("color")
    if attribute is not None and len(attribute) == len(mesh.vertices):
        colours[..., : attribute.shape[-1]] = _vertex_colours(attribute, gltf)[mesh.faces]
    materials = getattr(visual.material, "materials", None)
    chosen = getattr(visual, "face_materials", None)
    if materials and chosen is not None:
        groups = [(np.flatnonzero(chosen == index), material) for index, material in enumerate(materials)]
    else:
        groups = [(everything, materials[0] if materials else visual.material)]
    for faces, material in groups:
        pbr = material.to_pbr() if hasattr(material, "to_pbr") else material
        factor = np.ones(4) if pbr.baseColorFactor is None else _unit(np.asarray(pbr.baseColorFactor))
        textured = pbr.baseColorTexture is not None and visual.uv is not None
        texture = _unit(np.asarray(pbr.baseColorTexture.convert("RGBA"))) if textured else white.astype(np.float64)
        tinted = colours[faces]
        tinted[..., : len(factor)] *= factor
        mode = pbr.alphaMode or ("OPAQUE" if gltf else "BLEND")
        if mode == "OPAQUE":
            texture[..., 3], tinted[..., 3] = 1.0, 1.0
        elif mode == "MASK":
            # cut at the texels; coarser levels then hold the covered fraction, which keeps foliage from shimmering
            cutoff = 0.5 if pbr.alphaCutoff is None else float(pbr.alphaCutoff)
            texture[..., 3] = texture[..., 3] * (factor[3] if len(factor) > 3 else 1.0) >= cutoff
            tinted[..., 3] = 1.0
        texture[..., :3] *= texture[..., 3:]
        yield faces, uv[faces], tinted, texture.astype(np.float32)


def _vertex_colours(values: np.ndarray, linear: bool) -> np.ndarray:
    colours = _unit(np.asarray(values))
    if linear:
        colours[:, :3] = linear_to_srgb(colours[:, :3])
    return colours


def _unit(values: np.ndarray) -> np.ndarray:
    """Colours as float64 in [0, 1], from unsigned integers of any width or floats."""
    if np.issubdtype(values.dtype, np.unsignedinteger):
        return values.astype(np.float64) / np.iinfo(values.dtype).max
    return values.astype(np.float64)


def _require_trimesh() -> Any:
    try:
        import trimesh
    except ImportError as error:
        raise ImportError('reading meshes needs trimesh: `pip install "lrm_hf[train]"`.') from error
    return trimesh
