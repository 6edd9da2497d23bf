# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What is done to a mesh before people use it. Each function returns a new mesh that keeps the colours or the texture,
and whose `metadata["steps"]` has one more report; the methods of [`~lrm_hf.meshing.LRMMesh`] are their doors."""

from __future__ import annotations

import copy
import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from .closest import ClosestPoint
from .components import compact, component_labels, faces_of_largest, weld


if TYPE_CHECKING:
    from .mesh import LRMMesh


# key of a mesh's metadata: a list of reports
STEPS = "steps"
# Taubin's two factors (SIGGRAPH 1995): shrink, and swell by a little more; waves longer than some 6 edges stay
_SHRINK, _SWELL = 0.5, -0.53

# fast-simplification keeps its mesh in global variables
_SIMPLIFIER = threading.Lock()


def simplify(mesh: LRMMesh, target_faces: int) -> LRMMesh:
    """At most `target_faces` faces, by edge collapses of least quadric error (Garland and Heckbert, SIGGRAPH 1997).

    Colours are those of the nearest points of the mesh before; so is a texture, which gets charts of its own. A mesh
    that has no more faces already is only copied.

    Raises:
        TypeError, ValueError: if `target_faces` is no integer of at least 4.
        ValueError: if the mesh can't be brought down to the number, or vanishes on the way.
        ImportError: if fast-simplification is missing (with a texture: xatlas too).
    """
    check_integer("target_faces", target_faces, minimum=4)
    if len(mesh.faces) <= target_faces:
        return derived(
            mesh, mesh.vertices, mesh.faces, "simplify", visual=mesh.visual.copy(), target_faces=target_faces
        )
    try:
        import fast_simplification
    except ImportError as error:
        raise ImportError("simplifying needs fast-simplification: pip install 'lrm_hf[texture]'") from error

    points, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    if mesh.visual.kind == "texture":  # seams are no borders
        points, index = weld(points)
        faces = index[faces]
    with _SIMPLIFIER:
        # the higher the aggression, the sooner costly edges go: as little of it as reaches the number
        for aggression in (3.0, 5.0, 7.0, 10.0):
            vertices, kept = fast_simplification.simplify(
                points, faces.astype(np.int32), target_count=target_faces, agg=aggression
            )
            if len(kept) <= target_faces:
                break
    used, kept = compact(kept.astype(np.int64), len(vertices))
    vertices = vertices[used]
    if len(kept) == 0 or len(kept) > target_faces:
        raise ValueError(
            f"`target_faces` is {target_faces}, and the mesh of {len(mesh.faces)} faces comes down to {len(kept)}, "
            "its holes and handles being what they are: choose a higher number, or keep the largest component alone."
        )
    result = derived(mesh, vertices, kept, "simplify", target_faces=target_faces)
    return with_appearance_of(mesh, result)


def smooth(mesh: LRMMesh, iterations: int = 10) -> LRMMesh:
    """Moves vertices towards the middle of their neighbours and back again (Taubin, "A signal processing approach to
    fair surface design", SIGGRAPH 1995), which takes noise and steps away and keeps size and volume. The faces and
    their colours or texture stay.

    Raises:
        TypeError, ValueError: if `iterations` is no positive integer.
    """
    from scipy.sparse import coo_matrix

    check_integer("iterations", iterations, minimum=1)
    points, index = weld(np.asarray(mesh.vertices))
    faces = index[mesh.faces]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    edges = np.concatenate([edges, edges[:, ::-1]])
    degree = np.bincount(edges[:, 0], minlength=len(points))
    average = coo_matrix((1 / degree[edges[:, 0]], (edges[:, 0], edges[:, 1])), shape=(len(points),) * 2).tocsr()
    alone = degree == 0
    moved = points
    for _ in range(iterations):
        for factor in (_SHRINK, _SWELL):
            step = average @ moved - moved
            step[alone] = 0
            moved = moved + factor * step
    change = np.linalg.norm(moved - points, axis=1)
    return derived(
        mesh,
        moved[index],
        mesh.faces,
        "smooth",
        visual=mesh.visual.copy(),
        iterations=iterations,
        largest_move=float(change.max(initial=0.0)),
    )


def largest_component(mesh: LRMMesh) -> LRMMesh:
    """Only the connected piece that encloses the largest volume (has the largest area, where pieces are open). Cavities
    inside of it are surfaces of their own, and go as well."""
    points, index = weld(np.asarray(mesh.vertices))
    faces = index[mesh.faces]
    kept = faces_of_largest(points, faces)
    count = len(np.unique(component_labels(faces, len(points))[1][faces[:, 0]])) if len(faces) else 0
    used, renumbered = compact(np.asarray(mesh.faces)[kept], len(mesh.vertices))
    visual = mesh.visual.copy()
    if visual.kind == "face":
        visual.update_faces(kept)
    elif visual.kind is not None:
        visual.update_vertices(used)
    result = derived(
        mesh, mesh.vertices[used], renumbered, "largest_component", visual=visual, pieces_removed=max(0, count - 1)
    )
    if "vertex_normals" in mesh._cache:
        result.vertex_normals = mesh.vertex_normals[used]
    return result


def ground(mesh: LRMMesh, center: bool = False) -> LRMMesh:
    """Moved so that its lowest point lies at z = 0; with `center` the middle of its bounding box above the origin."""
    low, high = mesh.bounds
    move = np.array([0.0, 0.0, -low[2]])
    if center:
        move[:2] = -(low + high)[:2] / 2
    matrix = np.eye(4)
    matrix[:3, 3] = move
    return _moved(mesh, matrix, "ground", offset=move.tolist())


def rescale(mesh: LRMMesh, height: float | None = None, factor: float | None = None) -> LRMMesh:
    """Scaled about the origin: to a height along z in metres (of world units: the exporters write 1 unit as 1 metre),
    or by a factor.

    Raises:
        TypeError, ValueError: unless one of the two is given, as a positive, finite number.
        ValueError: if a flat mesh is asked for a height.
    """
    if (height is None) == (factor is None):
        raise ValueError("give one of `height` and `factor`.")
    name, value = ("height", height) if factor is None else ("factor", factor)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"`{name}` must be a number, got {type(value).__name__}.")
    if not 0 < value < math.inf:
        raise ValueError(f"`{name}` must be positive and finite, got {value}.")
    before = float(mesh.extents[2])
    if factor is None:
        if not before > 0:
            raise ValueError("`height` can't be reached: the mesh is flat.")
        factor = float(value) / before
    matrix = np.diag([factor, factor, factor, 1.0])
    return _moved(mesh, matrix, "rescale", factor=float(factor), height_before=before)


def _moved(mesh: LRMMesh, matrix: np.ndarray, step: str, **details: Any) -> LRMMesh:
    result = mesh.copy(include_cache=True)
    result.apply_transform(matrix)
    add_report(result, step, len(mesh.faces), **details)
    return result


def derived(
    mesh: LRMMesh, vertices: np.ndarray, faces: np.ndarray, step: str, visual: Any = None, **details: Any
) -> LRMMesh:
    """A mesh of other geometry with the metadata of `mesh`, and one more report."""
    result = type(mesh)(vertices, faces, visual=visual, process=False, metadata=copy.deepcopy(mesh.metadata))
    add_report(result, step, len(mesh.faces), **details)
    return result


def add_report(mesh: LRMMesh, step: str, faces_before: int, **details: Any) -> None:
    report = {"step": step, "faces_before": faces_before, "faces_after": len(mesh.faces), **details}
    mesh.metadata[STEPS] = [*mesh.metadata.get(STEPS, []), report]


def with_appearance_of(source: LRMMesh, mesh: LRMMesh) -> LRMMesh:
    """`mesh` with the colours of the nearest points of `source`, or with a new texture made of its texture."""
    kind = source.visual.kind
    if kind is None:
        return mesh
    if kind == "texture":
        from .texture import transfer_texture

        return transfer_texture(source, mesh)
    nearest = ClosestPoint(np.asarray(source.vertices), np.asarray(source.faces))(np.asarray(mesh.vertices))
    if kind == "face":
        colors = np.asarray(source.visual.face_colors)[nearest.face]
    else:
        colors = nearest.interpolate(np.asarray(source.visual.vertex_colors, dtype=np.float64), source.faces)
    mesh.visual.vertex_colors = np.round(colors).astype(np.uint8)
    return mesh


def check_integer(name: str, value: int, minimum: int, maximum: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"`{name}` must be an integer, got {type(value).__name__}.")
    if value < minimum or (maximum is not None and value > maximum):
        limits = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"`{name}` must be {limits}, got {value}.")
