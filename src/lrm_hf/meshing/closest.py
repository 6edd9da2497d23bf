# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The points of a surface that are closest to given ones: how attributes go from one mesh to another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


# pieces of triangles that each query looks at
_CANDIDATES = 8
# queries at a time: some 2 kB each
_CHUNK = 2**15
# a surface is cut into at most about so many pieces
_MAX_PIECES = 2_000_000


class SurfacePoints(NamedTuple):
    """Points on a surface: `face` `(n,)` and barycentric `weights` `(n, 3)` of its corners; `distance` `(n,)`."""

    face: np.ndarray
    weights: np.ndarray
    distance: np.ndarray

    def interpolate(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Of `values` `(num_vertices, k)` at the points, `(n, k)`."""
        return np.einsum("ij,ijk->ik", self.weights, values[faces[self.face]])


class ClosestPoint:
    """Finds closest points on a triangle mesh.

    Triangles are cut into pieces of about the median edge's length, whose centres go into a k-d tree; the triangles of
    the nearest pieces are looked at exactly. The point found may be farther than the closest one by less than a piece,
    where more than eight pieces are equally near.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        from scipy.spatial import cKDTree

        self._corners = np.ascontiguousarray(vertices[faces])  # [m, 3 corners, 3]
        edges = np.linalg.norm(self._corners - np.roll(self._corners, -1, axis=1), axis=2)
        longest = edges.max(axis=1)
        piece = max(float(np.median(longest)), float(np.finfo(np.float32).tiny))
        while True:
            cuts = np.maximum(1, np.ceil(longest / piece)).astype(np.int64)
            if (cuts**2).sum() <= _MAX_PIECES + len(faces):
                break
            piece *= 2
        centres, owners = [], []
        for count in np.unique(cuts):
            which = np.flatnonzero(cuts == count)
            centres.append(np.einsum("pc,fcx->fpx", _piece_centres(int(count)), self._corners[which]).reshape(-1, 3))
            owners.append(np.repeat(which, count**2))
        self._owners = np.concatenate(owners)
        self._tree = cKDTree(np.concatenate(centres))

    def __call__(self, points: np.ndarray) -> SurfacePoints:
        """Of points `(n, 3)`."""
        parts = [self._closest(points[start : start + _CHUNK]) for start in range(0, len(points), _CHUNK)]
        if not parts:
            return SurfacePoints(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), np.zeros(0))
        return SurfacePoints(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _closest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        _, near = self._tree.query(points, k=min(_CANDIDATES, self._tree.n))
        candidates = self._owners[near.reshape(len(points), -1)]  # [n, k]
        weights = closest_weights(points[:, None], self._corners[candidates])
        gap = np.linalg.norm(np.einsum("nkc,nkcx->nkx", weights, self._corners[candidates]) - points[:, None], axis=2)
        best = gap.argmin(axis=1)[:, None]
        return (
            np.take_along_axis(candidates, best, axis=1)[:, 0],
            np.take_along_axis(weights, best[..., None], axis=1)[:, 0],
            np.take_along_axis(gap, best, axis=1)[:, 0],
        )


def closest_weights(point: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric weights `(..., 3)` of the point in a triangle `(..., 3, 3)` that is closest to `point` `(..., 3)`.

    The point of the plane, where it lies inside; else the best of the three edges.
    """
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = _dot(ab, ab), _dot(ab, ac), _dot(ac, ac)
    d20, d21 = _dot(ap, ab), _dot(ap, ac)
    determinant = d00 * d11 - d01 * d01
    flat = determinant <= 1e-12 * d00 * d11  # no area: an edge has the answer
    safe = np.where(flat, 1.0, determinant)
    v, w = (d11 * d20 - d01 * d21) / safe, (d00 * d21 - d01 * d20) / safe
    inside = ~flat & (v >= 0) & (w >= 0) & (v + w <= 1)
    best = np.stack([1 - v - w, v, w], axis=-1)
    gap = np.where(inside, 0.0, np.inf)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start = corners[..., first, :]
        along = corners[..., second, :] - start
        length = _dot(along, along)
        part = np.clip(_dot(point - start, along) / np.where(length > 0, length, 1.0), 0.0, 1.0)
        distance = _dot(start + part[..., None] * along - point, start + part[..., None] * along - point)
        weights = np.zeros_like(best)
        weights[..., first], weights[..., second] = 1 - part, part
        closer = ~inside & (distance < gap)
        best = np.where(closer[..., None], weights, best)
        gap = np.where(closer, distance, gap)
    return best


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.einsum("...x,...x->...", first, second)


def _piece_centres(count: int) -> np.ndarray:
    """Barycentric centres `(count**2, 3)` of a triangle's pieces, `count` to an edge."""
    i, j = np.meshgrid(np.arange(count), np.arange(count), indexing="ij")
    upright = np.stack([i, j], axis=-1)[i + j < count] + 1 / 3
    hanging = np.stack([i, j], axis=-1)[i + j < count - 1] + 2 / 3
    v, w = (np.concatenate([upright, hanging]) / count).T
    return np.stack([1 - v - w, v, w], axis=-1)
