# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Density on a grid, and the coloured surface where it crosses a threshold.

Which grid edges the surface crosses, and how the crossings are joined to triangles, is decided from the signs alone, by
the classic table of Lorensen and Cline ("Marching Cubes", SIGGRAPH 1987) as scikit-image has it: its triangles close up
across cells whatever the signs are. Where on its edge a crossing lies is computed here, in float64 and never at an end
of the edge. A triangle's corners then lie inside three different edges of one cell, so that it has an area, and no two
vertices coincide, also where grid values equal the threshold.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .mesh import LRMMesh


MIN_RESOLUTION, MAX_RESOLUTION = 16, 1024

# A query holds some 350 floats per point for OpenLRM's largest field: about 180 MiB.
_POINTS_PER_QUERY = 2**17

# Vertices keep this part of a grid step away from grid points. Smaller than any detail, and large enough that float32
# files at the largest resolution still tell two vertices apart.
_EDGE_MARGIN = 1e-4


class Field(Protocol):
    """What meshing needs of a field; [`~lrm_hf.modeling.field.TriplaneField`] is one."""

    @property
    def planes(self) -> Tensor: ...  # [batch, ...]; gives batch size and device

    @property
    def config(self) -> Any: ...  # radius, density_threshold

    def query(self, points: Tensor) -> tuple[Tensor, Tensor]: ...  # [batch, n, 3] -> [batch, n, 1], [batch, n, 3]


def density_grid(
    field: Field, resolution: int, chunk_size: int | None = None, progress: bool = False
) -> Tensor:  # [batch, resolution, resolution, resolution]
    """Density at the points of a regular grid over the field's box, faces included.

    Args:
        field: a batch of fields.
        resolution: grid points per axis, `linspace(-radius, radius, resolution)`.
        chunk_size: points of each batch entry in one query, which bounds the memory beside the result; default 131072
            divided by the batch size.
        progress: show a progress bar.

    Returns:
        `(batch, resolution, resolution, resolution)` float32, indexed by x, y, z, on the device of `field.planes`.

    Raises:
        TypeError, ValueError: if `resolution` or `chunk_size` is not a positive integer (resolution: at least 2).
    """
    _check_integer("resolution", resolution, minimum=2)
    chunk_size = _chunk_size(chunk_size, batch=len(field.planes))
    radius, device = float(field.config.radius), field.planes.device
    axis = torch.linspace(-radius, radius, resolution, dtype=torch.float32, device=device)
    total = resolution**3
    grid = torch.empty(len(field.planes), total, dtype=torch.float32, device=device)
    with torch.no_grad():
        for start in tqdm(range(0, total, chunk_size), desc="density", disable=not progress):
            index = torch.arange(start, min(start + chunk_size, total), device=device)
            points = torch.stack(
                [axis[index // resolution**2], axis[index // resolution % resolution], axis[index % resolution]], dim=-1
            )
            density, _ = field.query(points.expand(len(grid), -1, 3))
            grid[:, start : start + len(index)] = density.squeeze(-1)
    return grid.view(-1, resolution, resolution, resolution)


def extract_mesh(
    field: Field,
    resolution: int = 256,
    threshold: float | None = None,
    largest_component: bool = False,
    cap_at_box: bool = True,
    chunk_size: int | None = None,
    vertex_colors: bool = True,
    progress: bool = False,
) -> list[LRMMesh]:
    """The surfaces where density crosses a threshold, by marching cubes.

    Meshes are oriented outwards (from dense to empty), without duplicate vertices and degenerate faces, and closed:
    where an object reaches through the box it is cut off flat, 1e-4 of a grid step outside the box's face.

    Args:
        field: a batch of fields.
        resolution: grid points per axis, 16 to 1024. The grids take `4 * batch * resolution**3` bytes, and the surface
            twice that of one entry while it is found.
        threshold: density of the surface, per world unit, positive; default `field.config.density_threshold`.
        largest_component: keep only the connected piece that encloses the largest volume (the largest area, where
            pieces are open). Cavities inside of it are surfaces of their own, and go as well.
        cap_at_box: close surfaces at the faces of the box. Without it they end there open, as plain marching cubes has
            them, OpenLRM's among them.
        chunk_size: points of each batch entry in one query; default 131072 divided by the batch size.
        vertex_colors: ask the field for the colour of each vertex.
        progress: show progress bars.

    Returns:
        One [`~lrm_hf.meshing.LRMMesh`] (a `trimesh.Trimesh`) per batch entry, in world units, z up, with uint8 RGBA
        vertex colours.

    Raises:
        TypeError, ValueError: if an argument is of the wrong type or out of range.
        ValueError: if the density crosses the threshold nowhere (the message has the range found), or density or colour
            is not finite.
    """
    _check_integer("resolution", resolution, minimum=MIN_RESOLUTION, maximum=MAX_RESOLUTION)
    threshold = _check_threshold(field.config.density_threshold if threshold is None else threshold)
    chunk_size = _chunk_size(chunk_size, batch=len(field.planes))
    radius = float(field.config.radius)

    grids = density_grid(field, resolution, chunk_size, progress)
    surfaces = []
    for entry, grid in enumerate(grids):  # surfaces differ in size: there is nothing to batch
        density = grid.cpu().numpy()
        _check_density(density, threshold, entry)
        vertices, faces = marching_cubes(density, threshold, cap_at_box)
        if largest_component:
            vertices, faces = _largest_component(vertices, faces)
        surfaces.append((vertices * (2 * radius / (resolution - 1)) - radius, faces))

    if not vertex_colors:
        return [LRMMesh(vertices, faces, process=False) for vertices, faces in surfaces]
    colors = _vertex_colors(field, [vertices for vertices, _ in surfaces], chunk_size, progress)
    return [
        LRMMesh(vertices, faces, vertex_colors=color, process=False)
        for (vertices, faces), color in zip(surfaces, colors, strict=True)
    ]


def marching_cubes(
    density: np.ndarray,  # [x, y, z] float32, finite
    threshold: float,
    cap_at_box: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles between the grid points above the threshold and the others.

    Returns:
        vertices: `(n, 3)` float64 in grid steps, 0 at the first grid point; faces: `(m, 3)` int64 vertex indices,
        counter-clockwise seen from the side below the threshold. Both empty where nothing is crossed.
    """
    from skimage.measure import marching_cubes as find_surface  # slow to import

    inside = density > threshold
    if cap_at_box:
        inside = np.pad(inside, 1)
    if inside.all() or not inside.any():
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64)
    signs = np.where(inside, np.float32(1), np.float32(-1))
    middles, faces, _, _ = find_surface(signs, 0.0, method="lorensen", gradient_direction="ascent")

    # each vertex lies in the middle of a grid edge: one coordinate is half of an odd number
    twice = np.rint(2 * middles).astype(np.int64)
    along = (twice & 1).astype(bool)  # [n, 3] one-hot: the edge's direction
    low = (twice >> 1) - int(cap_at_box)  # [n, 3] the edge's ends, as indices of `density`
    high = low + along
    below, above = _values(density, low), _values(density, high)
    with np.errstate(invalid="ignore", divide="ignore"):  # at the cap, where both are the same grid point
        part = (threshold - below) / (above - below)
    part[(low < 0).any(axis=1)] = 1.0  # the cap: next to the box's face
    part[(high >= density.shape).any(axis=1)] = 0.0
    vertices = low + along * np.clip(part, _EDGE_MARGIN, 1 - _EDGE_MARGIN)[:, None]
    return vertices, faces.astype(np.int64)


def _values(density: np.ndarray, index: np.ndarray) -> np.ndarray:
    x, y, z = np.clip(index, 0, np.array(density.shape) - 1).T
    return density[x, y, z].astype(np.float64)


def _largest_component(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    graph = coo_matrix((np.ones(len(start), dtype=bool), (start, end)), shape=(len(vertices),) * 2)
    count, label = connected_components(graph, directed=False)
    if count == 1:
        return vertices, faces
    corners = vertices[faces]  # [m, 3 corners, 3]
    # each edge of a closed, oriented surface is passed once in either direction
    closed = np.array_equal(np.sort(start * len(vertices) + end), np.sort(end * len(vertices) + start))
    if closed:
        size = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    else:
        size = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    label_of_face = label[faces[:, 0]]
    keep = np.bincount(label_of_face, weights=size, minlength=count).argmax()
    kept_vertices = label == keep
    renumbered = np.cumsum(kept_vertices) - 1
    return vertices[kept_vertices], renumbered[faces[label_of_face == keep]]


def _vertex_colors(field: Field, vertices: list[np.ndarray], chunk_size: int, progress: bool) -> list[np.ndarray]:
    radius, device = float(field.config.radius), field.planes.device
    counts = [len(entry) for entry in vertices]
    points = torch.zeros(len(vertices), max(counts), 3)  # shorter entries are filled up with the origin
    for row, entry in zip(points, vertices, strict=True):
        row[: len(entry)] = torch.from_numpy(entry)
    points = points.clamp(-radius, radius)  # the cap lies just outside the box
    parts = []
    with torch.no_grad():
        for chunk in tqdm(points.split(chunk_size, dim=1), desc="vertex colours", disable=not progress):
            parts.append(field.query(chunk.to(device))[1].float().cpu())
    rgb = torch.cat(parts, dim=1)
    colors = []
    for number, count in enumerate(counts):
        if not bool(torch.isfinite(rgb[number, :count]).all()):
            raise ValueError(f"batch entry {number}: the field's colour is not finite at some vertices of the surface.")
        color = (rgb[number, :count].clamp(0, 1) * 255).round().to(torch.uint8)
        colors.append(torch.cat([color, torch.full((count, 1), 255, dtype=torch.uint8)], dim=1).numpy())
    return colors


def _check_density(density: np.ndarray, threshold: float, entry: int) -> None:
    finite = np.isfinite(density)
    if not finite.all():
        raise ValueError(
            f"batch entry {entry}: the field's density is not finite at {density.size - int(finite.sum())} of "
            f"{density.size} grid points."
        )
    low, high = float(density.min()), float(density.max())
    found = f"density ranges from {low:.6g} to {high:.6g} on the grid, and `threshold` is {threshold:.6g}"
    if high <= threshold:
        raise ValueError(f"batch entry {entry}: the surface is empty: {found}. Choose a lower threshold.")
    if low > threshold:
        raise ValueError(
            f"batch entry {entry}: there is no surface, the box is full: {found}. Choose a higher threshold."
        )


def _check_threshold(threshold: float) -> float:
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float, np.integer, np.floating)):
        raise TypeError(f"`threshold` must be a number, got {type(threshold).__name__}.")
    if not (math.isfinite(threshold) and threshold > 0):
        raise ValueError(f"`threshold` must be a positive, finite density, got {threshold}.")
    return float(np.float32(threshold))  # compared with float32 densities


def _check_integer(name: str, value: int, minimum: int, maximum: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}` must be an integer, got {type(value).__name__}.")
    if value < minimum or (maximum is not None and value > maximum):
        limits = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"`{name}` must be {limits}, got {value}.")


def _chunk_size(chunk_size: int | None, batch: int) -> int:
    if chunk_size is None:
        return max(1, _POINTS_PER_QUERY // max(1, batch))
    _check_integer("chunk_size", chunk_size, minimum=1)
    return chunk_size
