# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Connected pieces of a surface."""

from __future__ import annotations

import numpy as np


def component_labels(faces: np.ndarray, num_vertices: int) -> tuple[int, np.ndarray]:
    """Number of connected pieces, and the piece `(num_vertices,)` of each vertex; one without faces is its own."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    graph = coo_matrix((np.ones(len(start), dtype=bool), (start, end)), shape=(num_vertices,) * 2)
    return connected_components(graph, directed=False)


def faces_of_largest(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Which faces `(m,)` belong to the piece that encloses the largest volume (has the largest area, where pieces are
    open). Cavities are pieces of their own, of negative volume."""
    count, label = component_labels(faces, len(vertices))
    label_of_face = label[faces[:, 0]]
    if count == 1:
        return np.ones(len(faces), dtype=bool)
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    corners = vertices[faces]  # [m, 3 corners, 3]
    # each edge of a closed, oriented surface is passed once in either direction
    closed = np.array_equal(np.sort(start * len(vertices) + end), np.sort(end * len(vertices) + start))
    if closed:
        size = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    else:
        size = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return label_of_face == np.bincount(label_of_face, weights=size, minlength=count).argmax()


def compact(faces: np.ndarray, num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Which vertices `(k,)` the faces use, in ascending order, and the faces in terms of these."""
    used = np.zeros(num_vertices, dtype=bool)
    used[faces] = True
    return np.flatnonzero(used), (np.cumsum(used) - 1)[faces]


def weld(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions `(k, 3)` without duplicates, and which of them each vertex `(n,)` has: textures need several vertices
    at one place, along the seams of their charts."""
    unique, index = np.unique(vertices, axis=0, return_inverse=True)
    return unique, index.reshape(-1)
