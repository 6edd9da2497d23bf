# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Surfaces as they are seen from outside: points on them, cells within them, pictures of them.

Meshes of furniture have inner walls, coincident sheets and open edges, and normals that point either way. Nothing here
asks for a closed or oriented mesh: an object is what rays from outside cannot enter. Rays are cast by embree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras, camera_rays


# Rays start this far from the surface: above float32 noise at unit scale, below any thickness that matters.
START = 1e-4
MAX_ROUNDS = 500


@dataclass(frozen=True)
class SurfacePoints:
    """Points on a surface.

    Attributes:
        points: `(n, 3)` float64.
        normals: `(n, 3)` float64 of unit length, of either sign.
    """

    points: np.ndarray
    normals: np.ndarray


class Scene:
    """Triangles that rays can be cast at.

    Args:
        triangles: `(faces, 3, 3)` corner positions.

    Raises:
        ImportError: if embreex is not installed.
        ValueError: if there is no triangle, or a corner is not finite.
    """

    def __init__(self, triangles: np.ndarray) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise ImportError('ray casting needs embreex: `pip install "lrm_hf[evaluation]"`.') from error
        if triangles.ndim != 3 or triangles.shape[1:] != (3, 3) or len(triangles) == 0:
            raise ValueError(f"`triangles` must have shape (faces, 3, 3) with a face or more, got {triangles.shape}.")
        if not np.isfinite(triangles).all():
            raise ValueError("`triangles` holds positions that are not finite.")
        self.triangles = np.ascontiguousarray(triangles, dtype=np.float32)
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, self.triangles)

    def blocked(self, points: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Whether a ray from each point `(n, 3)` in one direction `(3,)` meets the surface: `(n,)` bool."""
        origins = np.ascontiguousarray(points + START * direction, dtype=np.float32)
        directions = np.ascontiguousarray(np.broadcast_to(direction, points.shape), dtype=np.float32)
        return self._scene.run(origins, directions, query="OCCLUDED") >= 0

    def hidden(self, points: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Whether rays from each point `(n, 3)` in all directions `(m, 3)` meet the surface: `(n,)` bool."""
        live = np.arange(len(points))
        for direction in directions:  # points that have seen the outside are done
            live = live[self.blocked(points[live], direction)]
            if len(live) == 0:
                break
        hidden = np.zeros(len(points), dtype=bool)
        hidden[live] = True
        return hidden

    def first_hits(self, origins: np.ndarray, directions: np.ndarray) -> dict[str, Any]:
        """Embree's answer for rays `(n, 3)`: `primID` (-1: none), `u`, `v`, `tfar`."""
        return self._scene.run(
            np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(directions, np.float32), output=True
        )


def sphere_directions(count: int) -> np.ndarray:
    """`(count, 3)` unit vectors spread evenly over the sphere (Fibonacci's lattice), in an order in which any first few
    are spread as well."""
    index = np.arange(count)
    z = 1 - (2 * index + 1) / count
    angle = index * (np.pi * (3 - np.sqrt(5)))
    radius = np.sqrt(1 - z**2)
    directions = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=-1)
    return directions[np.random.default_rng(0).permutation(count)]


def sample_surface(scene: Scene, count: int, num_directions: int, rng: np.random.Generator) -> SurfacePoints:
    """Points that are uniform by area over the part of the surface that can be seen from outside.

    Args:
        scene: the surface.
        count: how many points.
        num_directions: in which it is looked whether the outside is to be seen.
        rng: the source of randomness.

    Raises:
        ValueError: if the triangles have no area, or hardly any of it is to be seen.
    """
    triangles = scene.triangles.astype(np.float64)
    origin, first, second = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    cross = np.cross(first, second)
    area = np.linalg.norm(cross, axis=-1)
    if not area.sum() > 0:
        raise ValueError("the surface has no area.")
    cumulative = np.cumsum(area) / area.sum()
    directions = sphere_directions(num_directions)
    points, faces, found = [], [], 0
    for _ in range(MAX_ROUNDS):
        face = np.minimum(np.searchsorted(cumulative, rng.random(count), side="right"), len(area) - 1)
        u, v = rng.random((2, count, 1))
        over = u + v > 1
        u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
        candidates = origin[face] + u * first[face] + v * second[face]
        seen = ~scene.hidden(candidates, directions)
        points.append(candidates[seen])
        faces.append(face[seen])
        found += int(seen.sum())
        if found >= count:
            break
    else:
        raise ValueError(f"only {found} of {MAX_ROUNDS * count} points on the surface can be seen from outside.")
    face = np.concatenate(faces)[:count]
    return SurfacePoints(np.concatenate(points)[:count], cross[face] / area[face, None])


def cells_inside(scene: Scene, resolution: int, num_directions: int) -> np.ndarray:
    """Which cells of [-1, 1]^3 lie within the object: `(resolution,) * 3` bool, indexed by x, y, z.

    A cell lies within if no ray from its centre, in any of the directions, leaves without meeting the surface
    (Nooruddin and Turk's ray stabbing, "Simplification and repair of polygonal models", 2003). For a closed surface
    these are its inside, with cavities that are shut off; an open sheet has none.
    """
    axis = (np.arange(resolution) + 0.5) * (2 / resolution) - 1
    centres = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    low, high = scene.triangles.min(axis=(0, 1)), scene.triangles.max(axis=(0, 1))
    candidates = np.flatnonzero(((centres >= low) & (centres <= high)).all(axis=-1))
    inside = np.zeros(len(centres), dtype=bool)
    inside[candidates] = scene.hidden(centres[candidates], sphere_directions(num_directions))
    return inside.reshape((resolution,) * 3)


def is_watertight(triangles: np.ndarray) -> bool:
    """Whether each edge of the triangles `(faces, 3, 3)` is shared by two, corners at one place being one vertex."""
    corners = np.ascontiguousarray(triangles, dtype=np.float32).reshape(-1, 3)
    _, index = np.unique(corners, axis=0, return_inverse=True)
    faces = np.sort(index.reshape(-1, 3), axis=1)
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2])]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [0, 2]]])
    _, uses = np.unique(edges, axis=0, return_counts=True)
    return len(faces) > 0 and bool((uses == 2).all())


def picture_surface(
    scene: Scene,
    colour: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    cameras: Cameras,
    size: int,
    antialias: int,
    background: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Pictures of an opaque surface in its own colours, without light.

    Args:
        scene: the surface.
        colour: of hits, from face indices `(n,)`, barycentric weights `(n, 3)` and positions `(n, 3)`: `(n, 3)` in
            [0, 1].
        cameras: shape `(views,)`.
        size: pixels.
        antialias: rays per pixel along each axis.
        background: grey.

    Returns:
        Pictures `(views, 3, size, size)` and opacity `(views, 1, size, size)`.
    """
    full = size * antialias
    pictures = torch.zeros(len(cameras), 4, size, size)
    for index in range(len(cameras)):  # one view at a time bounds the memory
        origins, directions = camera_rays(cameras[index], full, full)
        origins, directions = origins.reshape(-1, 3).numpy(), directions.reshape(-1, 3).numpy()
        hits = scene.first_hits(origins, directions)
        hit = np.flatnonzero(hits["primID"] >= 0)
        u, v = hits["u"][hit], hits["v"][hit]
        weights = np.stack([1 - u - v, u, v], axis=-1)
        positions = origins[hit] + directions[hit] * hits["tfar"][hit, None]
        rgba = np.zeros((full * full, 4), dtype=np.float32)
        rgba[hit, :3] = colour(hits["primID"][hit].astype(np.int64), weights, positions)
        rgba[hit, 3] = 1
        rgba = rgba.reshape(size, antialias, size, antialias, 4).mean(axis=(1, 3))
        pictures[index] = torch.from_numpy(rgba).permute(2, 0, 1)
    opacity = pictures[:, 3:]
    return pictures[:, :3] + background * (1 - opacity), opacity
