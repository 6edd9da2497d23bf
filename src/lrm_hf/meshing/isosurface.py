# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""From a batch of fields to coloured meshes: the door to the sparse way (`sparse_grid`, `marching_cubes`) and to the
plain one (`dense`)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..modeling.field import TriplaneField
from .components import compact, faces_of_largest
from .dense import dense_marching_cubes
from .density import Field, GridDensity, RawField, dense_density, has_raw_density, points_per_query
from .marching_cubes import EDGE_MARGIN, polygonise
from .mesh import LRMMesh
from .sparse_grid import surface_cells
from .vertex_attributes import vertex_colors as colors_at
from .vertex_attributes import vertex_normals as normals_at


MIN_RESOLUTION, MAX_RESOLUTION = 16, 1024

_Surface = tuple[np.ndarray, np.ndarray]  # vertices in grid steps from the first grid point [n, 3], faces [m, 3]


def density_grid(
    field: Field, resolution: int, chunk_size: int | None = None, progress: bool = False
) -> Tensor:  # [batch, resolution, resolution, resolution]
    """Density at the points of a regular grid over the field's box, faces included.

    Args:
        field: a batch of fields.
        resolution: grid points per axis, `linspace(-radius, radius, resolution)`.
        chunk_size: points of each batch entry in one query, which bounds the memory beside the result; default 131072
            divided by the batch size, on a GPU up to 2097152, by its free memory.
        progress: show a progress bar.

    Returns:
        `(batch, resolution, resolution, resolution)` float32, indexed by x, y, z, on the device of `field.planes`.

    Raises:
        TypeError, ValueError: if `resolution` or `chunk_size` is not a positive integer (resolution: at least 2).
    """
    _check_integer("resolution", resolution, minimum=2)
    return dense_density(field, resolution, _chunk_size(chunk_size, field), progress)


def extract_mesh(
    field: Field,
    resolution: int = 256,
    threshold: float | None = None,
    largest_component: bool = False,
    cap_at_box: bool = True,
    chunk_size: int | None = None,
    vertex_colors: bool = True,
    progress: bool = False,
    gradient_normals: bool = False,
    dense: bool = False,
) -> list[LRMMesh]:
    """The surfaces where density crosses a threshold, by marching cubes near the surface alone.

    Meshes are oriented outwards (from dense to empty), without duplicate vertices and degenerate faces, and closed:
    where an object reaches through the box it is cut off flat, 1e-4 of a grid step outside the box's face.

    Few of the grid's points are evaluated: time and memory grow with the surface. What is found is the surface of the
    whole grid, each piece of it complete; [`~lrm_hf.meshing.sparse_grid`] says when a piece is found.

    Args:
        field: a batch of fields. Those that have no `raw` and `density_from_raw` are evaluated densely.
        resolution: grid points per axis, 16 to 1024.
        threshold: density of the surface, per world unit, positive; default `field.config.density_threshold`.
        largest_component: keep only the connected piece that encloses the largest volume (the largest area, where
            pieces are open). Cavities inside of it are surfaces of their own, and go as well.
        cap_at_box: close surfaces at the faces of the box. Without it they end there open, as plain marching cubes has
            them, OpenLRM's among them.
        chunk_size: points of each batch entry in one query; default 131072 divided by the batch size, on a GPU up to
            2097152, by its free memory.
        vertex_colors: ask the field for the colour of each vertex.
        progress: show progress bars.
        gradient_normals: give the meshes vertex normals from the density's gradient instead of their faces'.
        dense: evaluate each point of the grid, and use scikit-image's marching cubes: the yardstick. The grids take
            `4 * batch * resolution**3` bytes, and the surface twice that of one entry while it is found.

    Returns:
        One [`~lrm_hf.meshing.LRMMesh`] (a `trimesh.Trimesh`) per batch entry, in world units, z up, with uint8 RGBA
        vertex colours.

    Raises:
        TypeError, ValueError: if an argument is of the wrong type or out of range.
        ValueError: if the density crosses the threshold nowhere (the message has the range found), or planes, density
            or colour are not finite.
        MemoryError: if memory runs out; the message says what to lower.
    """
    _check_integer("resolution", resolution, minimum=MIN_RESOLUTION, maximum=MAX_RESOLUTION)
    threshold = _check_threshold(field.config.density_threshold if threshold is None else threshold)
    for_normals = _chunk_size(chunk_size, field, gradients=True)
    chunk_size = _chunk_size(chunk_size, field)
    _check_planes(field)
    radius = float(field.config.radius)

    try:
        if dense or not has_raw_density(field):
            surfaces = _dense_surfaces(field, resolution, threshold, cap_at_box, chunk_size, progress)
        else:
            surfaces = _sparse_surfaces(cast(RawField, field), resolution, threshold, cap_at_box, chunk_size, progress)
        if largest_component:
            surfaces = [_largest_component(*surface) for surface in surfaces]
        surfaces = [(vertices * (2 * radius / (resolution - 1)) - radius, faces) for vertices, faces in surfaces]
        vertices = [points for points, _ in surfaces]
        normals = normals_at(field, vertices, for_normals, progress) if gradient_normals else None
        colors = colors_at(field, vertices, chunk_size, progress) if vertex_colors else None
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MemoryError(
            f"not enough memory for a surface at `resolution` {resolution} of {len(field.planes)} fields with "
            f"`chunk_size` {chunk_size}: lower one of them, or extract the fields one by one. ({error})"
        ) from error
    return [
        LRMMesh(
            points,
            faces,
            vertex_normals=None if normals is None else _filled(normals[entry], points, faces),
            vertex_colors=None if colors is None else colors[entry],
            process=False,
        )
        for entry, (points, faces) in enumerate(surfaces)
    ]


def _sparse_surfaces(
    field: RawField, resolution: int, threshold: float, cap_at_box: bool, chunk_size: int, progress: bool
) -> list[_Surface]:
    density = GridDensity(field, resolution, chunk_size, progress)
    try:
        with torch.no_grad():
            cells = surface_cells(density, threshold, cap_at_box)
            _check_sparse_density(density, threshold)
            surface = polygonise(cells, threshold)
    finally:
        density.close()
    part = surface.part
    part[(surface.low < 1).any(dim=1)] = 1 - EDGE_MARGIN  # the cap: next to the box's face
    part[(surface.high > resolution).any(dim=1)] = EDGE_MARGIN
    vertices = (surface.low - 1 + (surface.high - surface.low) * part[:, None]).cpu()
    # both are in ascending order of entries
    ends = torch.arange(len(field.planes) + 1, device=surface.entry.device)
    of_faces = surface.entry[surface.faces[:, 0]]
    starts, face_starts = torch.stack([torch.searchsorted(of, ends) for of in (surface.entry, of_faces)]).tolist()
    faces = surface.faces.cpu()
    return [
        (vertices[start:end].numpy(), (faces[face_start:face_end] - start).numpy())
        for (start, end), (face_start, face_end) in zip(pairwise(starts), pairwise(face_starts), strict=True)
    ]


def _dense_surfaces(
    field: Field, resolution: int, threshold: float, cap_at_box: bool, chunk_size: int, progress: bool
) -> list[_Surface]:
    surfaces = []
    for entry, grid in enumerate(dense_density(field, resolution, chunk_size, progress)):
        density = grid.cpu().numpy()
        _check_density(density, threshold, entry)
        surfaces.append(dense_marching_cubes(density, threshold, cap_at_box))
    return surfaces


def _largest_component(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    used, kept = compact(faces[faces_of_largest(vertices, faces)], len(vertices))
    return vertices[used], kept


def _filled(normals: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Normals of the faces where the gradient has none."""
    missing = ~normals.any(axis=1)
    if missing.any():
        normals[missing] = LRMMesh(vertices, faces, process=False).vertex_normals[missing]
    return normals


def _check_planes(field: Field) -> None:
    if isinstance(field, TriplaneField):
        parts = {"planes": (field.planes,), "weights": field.weights, "biases": field.biases}
        counts = [torch.stack([(~t.isfinite()).sum() for t in tensors]).sum() for tensors in parts.values()]
        for name, bad in zip(parts, torch.stack(counts).tolist(), strict=True):  # one wait for a GPU
            if bad:
                raise ValueError(f"the field's {name} are not finite: {bad} values are NaN or infinite.")


def _check_density(density: np.ndarray, threshold: float, entry: int) -> None:
    finite = np.isfinite(density)
    if not finite.all():
        raise ValueError(
            f"batch entry {entry}: the field's density is not finite at {density.size - int(finite.sum())} of "
            f"{density.size} grid points."
        )
    _check_range(float(density.min()), float(density.max()), "on the grid", threshold, entry)


def _check_sparse_density(density: GridDensity, threshold: float) -> None:
    ends = (density.field.density_from_raw(end).tolist() for end in (density.lowest, density.highest))
    counts = (density.not_finite.tolist(), density.evaluated.tolist())
    for entry, (low, high, refused, count) in enumerate(zip(*ends, *counts, strict=True)):
        if refused:
            raise ValueError(
                f"batch entry {entry}: the field's density is not finite at {refused} of {count} grid points."
            )
        _check_range(low, high, f"at the {count} grid points looked at", threshold, entry)


def _check_range(low: float, high: float, where: str, threshold: float, entry: int) -> None:
    found = f"density ranges from {low:.6g} to {high:.6g} {where}, and `threshold` is {threshold:.6g}"
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


def _chunk_size(chunk_size: int | None, field: Field, gradients: bool = False) -> int:
    if chunk_size is None:
        return max(1, points_per_query(field, gradients) // max(1, len(field.planes)))
    _check_integer("chunk_size", chunk_size, minimum=1)
    return chunk_size
