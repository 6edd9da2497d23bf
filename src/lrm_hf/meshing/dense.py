# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The plain way to a surface: every grid point in one array, and scikit-image's marching cubes. The yardstick of the
sparse way in tests and benchmarks, and what is left for fields that have no raw density.

Which grid edges the surface crosses, and how the crossings are joined to triangles, is decided from the signs alone, by
the classic table of Lorensen and Cline as scikit-image has it. Vertices are placed as in `marching_cubes.polygonise`.
"""

from __future__ import annotations

import numpy as np

from .marching_cubes import EDGE_MARGIN


def dense_marching_cubes(
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
    vertices = low + along * np.clip(part, EDGE_MARGIN, 1 - EDGE_MARGIN)[:, None]
    return vertices, faces.astype(np.int64)


def _values(density: np.ndarray, index: np.ndarray) -> np.ndarray:
    x, y, z = np.clip(index, 0, np.array(density.shape) - 1).T
    return density[x, y, z].astype(np.float64)
