# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Marching cubes (Lorensen and Cline, SIGGRAPH 1987) on a list of cells, in torch, with tables made from first
principles.

A cell's case is the set of its corners that lie inside. On each of its six faces the surface leaves curves that cut off
every run of inside corners; where a face has inside corners at opposite ends only, they are cut off from each other.
This depends on the face's own corners alone, so that both cells at a face draw the same curves, and the surface closes
whatever the signs are. A cell's curves join up to loops, and a loop is filled with triangles none of whose inner edges
lies on a face: no two cells have an edge between the same two vertices, but those on their common face.

Where on its grid edge a vertex lies is computed in float64 and never at an end of the edge. A triangle's corners then
lie inside three different edges of one cell, so that it has an area, and no two vertices coincide, also where grid
values equal the threshold.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor


# Vertices keep this part of a grid step away from grid points. Smaller than any detail, and large enough that float32
# files at the largest resolution still tell two vertices apart.
EDGE_MARGIN = 1e-4

# corner c of a cell lies at bits (c & 1, c >> 1 & 1, c >> 2) of x, y, z; an edge goes up from its low corner
CORNERS = tuple((corner & 1, corner >> 1 & 1, corner >> 2) for corner in range(8))
EDGES = tuple((low, axis) for axis in range(3) for low in range(8) if not CORNERS[low][axis])  # 12 of them

_Loop = tuple[int, ...]  # numbers of edges in `EDGES`
_Triangles = tuple[tuple[int, int, int], ...]


class Tables(NamedTuple):
    """What marching cubes looks up.

    Attributes:
        triangles: `(256, most, 3)` int64 edges of the triangles of each case, filled up with zeros.
        counts: `(256,)` int64 triangles of each case.
        low, axis: `(12,)` int64 low corner and direction of each edge.
    """

    triangles: Tensor
    counts: Tensor
    low: Tensor
    axis: Tensor


@functools.cache
def _faces() -> list[tuple[int, int, int, int]]:
    """The corners of each face, counter-clockwise seen from outside the cell."""
    faces = []
    for axis in range(3):
        u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3  # u, v, axis are right-handed
        faces.append(((1 << axis), (1 << axis) + u, (1 << axis) + u + v, (1 << axis) + v))
        faces.append((0, v, u + v, u))
    return faces


def _edge_between(a: int, b: int) -> int:
    return EDGES.index((min(a, b), (a ^ b).bit_length() - 1))


def _loops(case: int) -> list[_Loop]:
    """The closed curves that the surface leaves on the faces of a cell, with the inside to their left seen from outside
    the surface: triangles in their order face outwards."""
    following = {}
    for face in _faces():
        inside = [bool(case >> corner & 1) for corner in face]
        for start in range(4):
            if inside[start] or not inside[(start + 1) % 4]:
                continue
            # the run of inside corners that begins after `start`
            end = (start + 1) % 4
            while inside[(end + 1) % 4]:
                end = (end + 1) % 4
            entry = _edge_between(face[start], face[(start + 1) % 4])
            following[entry] = _edge_between(face[end], face[(end + 1) % 4])
    loops = []
    while following:
        first, edge = next(iter(following.items()))
        loop = [first]
        del following[first]
        while edge != first:
            loop.append(edge)
            edge = following.pop(edge)
        loops.append(tuple(loop))
    return loops


@functools.cache
def _faces_of(edge: int) -> set[int]:
    low, axis = EDGES[edge]
    return {number for number, face in enumerate(_faces()) if low in face and low | 1 << axis in face}


def _triangulations(loop: _Loop) -> list[_Triangles]:
    """All ways to fill a loop with triangles without an inner edge on a face of the cell."""
    if len(loop) < 3:
        return [()]
    found = []
    first, last = loop[0], loop[-1]
    for middle in range(1, len(loop) - 1):  # the third corner of the triangle at the side from last to first
        sides = [(loop[0], loop[middle])] if middle > 1 else []
        sides += [(loop[middle], loop[-1])] if middle < len(loop) - 2 else []
        if any(_faces_of(a) & _faces_of(b) for a, b in sides):
            continue
        for left in _triangulations(loop[: middle + 1]):
            found += [left + ((first, loop[middle], last),) + right for right in _triangulations(loop[middle:])]
    return found


def _smallest_height(triangles: _Triangles) -> float:
    """The least height among triangles with corners in the middles of edges: small for slivers."""
    return min(_height(*triangle) for triangle in triangles)


@functools.cache
def _height(*edges: int) -> float:
    corners = [
        tuple(coordinate + 0.5 * (axis == i) for i, coordinate in enumerate(CORNERS[low]))
        for low, axis in (EDGES[edge] for edge in edges)
    ]
    a, b, c = sorted(math.dist(corners[i], corners[i - 1]) for i in range(3))
    half = (a + b + c) / 2
    return 2 * math.sqrt(max(0.0, half * (half - a) * (half - b) * (half - c))) / c  # Heron of Alexandria


@functools.cache
def _triangle_lists() -> tuple[_Triangles, ...]:
    cases: list[_Triangles] = []
    for case in range(256):
        triangles: _Triangles = ()
        for loop in _loops(case):
            ways = _triangulations(loop)
            triangles += max(ways, key=_smallest_height)  # the first of equals
        cases.append(triangles)
    return tuple(cases)


@functools.cache
def tables(device: torch.device) -> Tables:
    """The tables, on a device; made once, in some hundredths of a second."""
    lists = _triangle_lists()
    counts = [len(triangles) for triangles in lists]
    table = torch.zeros(256, max(counts), 3, dtype=torch.int64)
    for case, triangles in enumerate(lists):
        if triangles:
            table[case, : len(triangles)] = torch.tensor(triangles)
    low, axis = torch.tensor(EDGES).T
    return Tables(*(part.to(device) for part in (table, torch.tensor(counts), low, axis)))


@functools.cache
def corner_positions(device: torch.device) -> Tensor:  # [8, 3] int64
    """`CORNERS` on a device, made once: a copy to a GPU waits for all that it has to do."""
    with torch.inference_mode(False):
        return torch.tensor(CORNERS, device=device)


class Cells(NamedTuple):
    """Cells that the surface may pass through.

    Attributes:
        entry: `(n,)` int64 number of the grid in its batch.
        position: `(n, 3)` int64 grid point of the low corner.
        corners: `(n, 8)` float32 values at the corners.
    """

    entry: Tensor
    position: Tensor
    corners: Tensor


class Surfaces(NamedTuple):
    """Triangles of all grids of a batch.

    Attributes:
        entry: `(n,)` int64, ascending: the grid that each vertex belongs to.
        low, high: `(n, 3)` int64 grid points at the ends of each vertex' edge.
        part: `(n,)` float64 way from low to high, within `EDGE_MARGIN` of 0 and 1.
        faces: `(m, 3)` int64 vertices, counter-clockwise seen from the side below the threshold; ascending by entry.
    """

    entry: Tensor
    low: Tensor
    high: Tensor
    part: Tensor
    faces: Tensor


def polygonise(cells: Cells, threshold: float) -> Surfaces:
    """Triangles between corners above the threshold and the others.

    The surface is closed but for faces of cells that it crosses and whose other cell is missing. A grid point's value
    must be the same in all cells that have it.
    """
    entry, position, corners = cells
    device = corners.device
    look = tables(device)
    bits = 1 << torch.arange(8, device=device)
    case = ((corners > threshold) * bits).sum(dim=1)
    count = look.counts[case]
    cell = torch.arange(len(case), device=device).repeat_interleave(count)  # of each triangle
    number = torch.arange(len(cell), device=device) - (count.cumsum(0) - count)[cell]
    edge = look.triangles[case[cell], number]  # [triangles, 3]

    # a vertex is known by its edge: entry, low end, direction
    size = int(position.max()) + 2 if len(position) else 1
    offsets = corner_positions(device)
    low = position[cell][:, None] + offsets[look.low[edge]]  # [triangles, 3, 3]
    key = entry[cell][:, None]
    for coordinate in low.unbind(-1):
        key = key * size + coordinate
    key = key * 3 + look.axis[edge]
    unique, faces = torch.unique(key, return_inverse=True)

    # any triangle that has the vertex can tell the values at its edge's ends: they all say the same
    witness = torch.empty(len(unique), dtype=torch.int64, device=device)
    witness[faces.flatten()] = torch.arange(faces.numel(), device=device)
    edge, cell = edge.flatten()[witness], cell.repeat_interleave(3)[witness]
    axis, corner = look.axis[edge], look.low[edge]
    below = corners[cell, corner].double()
    above = corners[cell, corner | 1 << axis].double()
    part = ((threshold - below) / (above - below)).clamp(EDGE_MARGIN, 1 - EDGE_MARGIN)
    low = low.flatten(0, 1)[witness]
    return Surfaces(entry[cell], low, low + torch.eye(3, dtype=torch.int64, device=device)[axis], part, faces)
