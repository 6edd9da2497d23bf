# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Unwrapping a surface into charts of one square texture, and which point of the surface each texel shows.

Texture coordinates are trimesh's: in [0, 1], u to the right and v upwards, so that row 0 of a picture is at v = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


# texels between charts, so that what is spread over the seams stays apart down to the third mip level
PADDING = 8
# pixels of bounding boxes looked at together
_CHUNK = 2**22


@dataclass(frozen=True)
class Atlas:
    """A mesh cut along the seams of its charts.

    Attributes:
        vertex: `(n,)` the vertex of the original mesh that each vertex is a copy of.
        faces: `(m, 3)` in the order of the original faces.
        uv: `(n, 2)` float64 texture coordinates.
        charts: number of charts.
    """

    vertex: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    charts: int


@dataclass(frozen=True)
class Texels:
    """Texels whose centre lies in a face.

    Attributes:
        row, column: `(n,)`.
        face: `(n,)`.
        weights: `(n, 3)` barycentric, of the face's corners.
    """

    row: np.ndarray
    column: np.ndarray
    face: np.ndarray
    weights: np.ndarray


def unwrap(vertices: np.ndarray, faces: np.ndarray, resolution: int) -> Atlas:
    """Charts by xatlas, packed for a texture of `resolution` x `resolution`.

    Raises:
        ImportError: if xatlas is missing.
        ValueError: if the mesh is too ragged for charts that this resolution has room for.
    """
    try:
        import xatlas
    except ImportError as error:
        raise ImportError("textures need xatlas: pip install 'lrm_hf[texture]'") from error

    # xatlas takes what is shorter than some absolute length for nothing
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    scaled = (vertices - low) / max(float((high - low).max()), 1e-30)
    atlas = xatlas.Atlas()
    atlas.add_mesh(scaled.astype(np.float32), faces.astype(np.uint32))
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding, pack.bilinear = resolution, PADDING, True
    atlas.generate(pack_options=pack)
    if atlas.atlas_count != 1:
        raise ValueError(
            f"{atlas.chart_count} charts of {len(faces)} faces don't fit into one texture of {resolution} texels: "
            "raise the resolution, or simplify or smooth the mesh first."
        )
    vertex, cut, uv = atlas[0]
    # the atlas may be oblong; stretching it to a square keeps each coordinate in [0, 1]
    return Atlas(vertex.astype(np.int64), cut.astype(np.int64), uv.astype(np.float64), atlas.chart_count)


def covered_texels(uv: np.ndarray, faces: np.ndarray, resolution: int) -> Texels:
    """Which texels lie in which face. Where faces overlap, the last one has the texel."""
    # corners in texels, from the upper left; texel centres are at whole numbers
    corners = np.stack([uv[:, 0] * resolution, (1 - uv[:, 1]) * resolution], axis=1)[faces] - 0.5
    low = np.clip(np.ceil(corners.min(axis=1)), 0, resolution).astype(np.int64)
    high = np.clip(np.floor(corners.max(axis=1)), -1, resolution - 1).astype(np.int64)
    size = np.maximum(high - low + 1, 0)
    pixels = size.prod(axis=1)
    parts = []
    bounds = np.searchsorted(pixels.cumsum(), np.arange(_CHUNK, pixels.sum() + _CHUNK, _CHUNK), side="left") + 1
    start = 0
    for end in np.unique(np.minimum(bounds, len(faces))):
        parts.append(_covered(corners, low, size, np.arange(start, end), pixels))
        start = end
    row, column, face, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    # a texel on an edge belongs to both faces: one is enough
    cell = row * resolution + column
    _, last = np.unique(cell[::-1], return_index=True)
    keep = len(cell) - 1 - last
    return Texels(row[keep], column[keep], face[keep], weights[keep])


def _covered(
    corners: np.ndarray, low: np.ndarray, size: np.ndarray, which: np.ndarray, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    counts = pixels[which]
    face = np.repeat(which, counts)
    number = np.arange(len(face)) - np.repeat(counts.cumsum() - counts, counts)
    column = low[face, 0] + number % np.maximum(size[face, 0], 1)
    row = low[face, 1] + number // np.maximum(size[face, 0], 1)
    a, b, c = corners[face].transpose(1, 2, 0)
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    safe = np.where(area == 0, 1.0, area)
    v = ((column - a[0]) * (c[1] - a[1]) - (row - a[1]) * (c[0] - a[0])) / safe
    w = ((b[0] - a[0]) * (row - a[1]) - (b[1] - a[1]) * (column - a[0])) / safe
    inside = (area != 0) & (v >= 0) & (w >= 0) & (v + w <= 1)
    weights = np.stack([1 - v - w, v, w], axis=1)[inside]
    return row[inside], column[inside], face[inside], weights


def spread(image: np.ndarray, texels: Texels) -> np.ndarray:
    """`image` `(height, width, k)` with each texel that no face covers set to the nearest covered one, in place: so
    that filtering never brings in a colour from outside the charts."""
    from scipy.ndimage import distance_transform_edt

    empty = np.ones(image.shape[:2], dtype=bool)
    empty[texels.row, texels.column] = False
    row, column = distance_transform_edt(empty, return_distances=False, return_indices=True)
    image[empty] = image[row[empty], column[empty]]
    return image
