# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Surfaces that enclose a volume, as printers want them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import trimesh

from .components import compact, weld
from .processing import derived


if TYPE_CHECKING:
    from .mesh import LRMMesh


# each round may open as many holes as it closes, but fewer each time
_ROUNDS = 10


def make_watertight(mesh: LRMMesh) -> LRMMesh:
    """Closed and oriented outwards: each edge belongs to two faces that pass it in opposite directions.

    Vertices at one place become one; faces without area in terms of their vertices, doubled faces and faces at edges
    that more than two share are removed; what is open then, holes that were there before included, is filled with a fan
    about the middle of its rim, in the rim's mean colour. Faces that cut through each other are left as they are.

    Raises:
        ValueError: if the mesh has a texture (close it before the texture is baked), or can't be closed.
    """
    if mesh.visual.kind == "texture":
        raise ValueError("a mesh with a texture can't be made watertight: do it before the texture is baked.")
    colors = None if mesh.visual.kind is None else np.asarray(mesh.visual.vertex_colors, dtype=np.float64)
    source = np.asarray(mesh.vertices, dtype=np.float64)
    vertices, index = weld(source)
    faces = index[mesh.faces]
    if colors is not None:
        welded = np.zeros((len(vertices), 4))
        np.add.at(welded, index, colors)
        colors = welded / np.bincount(index, minlength=len(vertices))[:, None]
    removed = holes = 0
    for _ in range(_ROUNDS):
        clean = _manifold(faces)
        removed += len(faces) - len(clean)
        faces = _wound(vertices, clean)
        rims = _rims(faces)
        if not rims:
            break
        holes += len(rims)
        vertices, faces, colors = _filled(vertices, faces, colors, rims)
    used, faces = compact(faces, len(vertices))
    vertices, colors = vertices[used], None if colors is None else colors[used]
    result = derived(mesh, vertices, faces, "make_watertight", holes_closed=holes, faces_removed=removed)
    if len(faces) == 0 or not result.is_watertight or not result.is_winding_consistent:
        raise ValueError(
            f"the mesh can't be made watertight: {len(mesh.faces)} faces, {holes} holes closed, and it is open still."
        )
    if result.volume < 0:
        result.invert()
    if colors is not None:
        result.visual.vertex_colors = np.round(colors).astype(np.uint8)
    return result


def _manifold(faces: np.ndarray) -> np.ndarray:
    """Without faces that use a vertex twice, doubled faces, and faces at edges of more than two."""
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    _, first, count = np.unique(np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True)
    # two faces back to back enclose nothing, and go both
    faces = faces[np.sort(first[count == 1])]
    if len(faces) == 0:
        return faces
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, edge, shared = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    crowded = (shared > 2)[edge.reshape(-1)].reshape(3, -1).any(axis=0)
    return faces[~crowded]


def _wound(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Neighbours pass their edge in opposite directions, as far as that goes."""
    plain = trimesh.Trimesh(vertices, faces, process=False)
    if len(faces) and not plain.is_winding_consistent:
        trimesh.repair.fix_winding(plain)
    return np.asarray(plain.faces).copy()


def _rims(faces: np.ndarray) -> list[np.ndarray]:
    """The borders, as simple loops of vertices in the direction that a filling face has to pass them."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    key = np.sort(edges, axis=1)
    _, index, count = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    border = edges[(count == 1)[index.reshape(-1)]][:, ::-1]
    following: dict[int, list[int]] = {}
    for start, end in border.tolist():
        following.setdefault(start, []).append(end)
    loops = []
    for start in sorted(following):
        while following[start]:
            path, place = [start], {start: 0}
            while following.get(path[-1]):
                vertex = following[path[-1]].pop()
                if vertex in place:  # a loop is closed; what led to it goes on
                    cut = place[vertex]
                    loops.append(np.array(path[cut:]))
                    for passed in path[cut + 1 :]:
                        del place[passed]
                    path = path[: cut + 1]
                else:
                    place[vertex] = len(path)
                    path.append(vertex)
    return [loop for loop in loops if len(loop) >= 3]


def _filled(
    vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray | None, rims: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    new_vertices, new_faces, new_colors = [vertices], [faces], [colors]
    count = len(vertices)
    for rim in rims:
        if len(rim) == 3:
            new_faces.append(rim[None])
            continue
        # a new vertex in the middle: its edges can't be there already
        new_vertices.append(vertices[rim].mean(axis=0, keepdims=True))
        if colors is not None:
            new_colors.append(colors[rim].mean(axis=0, keepdims=True))
        new_faces.append(np.stack([rim, np.roll(rim, -1), np.full(len(rim), count)], axis=1))
        count += 1
    joined = None if colors is None else np.concatenate([color for color in new_colors if color is not None])
    return np.concatenate(new_vertices), np.concatenate(new_faces), joined
