# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The tables against what they are made for, and the triangles against scikit-image's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lrm_hf.meshing.dense import dense_marching_cubes
from lrm_hf.meshing.marching_cubes import CORNERS, EDGE_MARGIN, EDGES, Cells, polygonise, tables


def cells_of(*grids: np.ndarray) -> Cells:
    """All cells of arrays of one shape."""
    entry, position, corners = [], [], []
    for number, grid in enumerate(grids):
        shape = np.array(grid.shape) - 1
        low = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
        index = (low[:, None] + np.array(CORNERS)).transpose(2, 0, 1)
        entry.append(np.full(len(low), number))
        position.append(low)
        corners.append(grid[tuple(index)].astype(np.float32))
    return Cells(*(torch.from_numpy(np.concatenate(parts)) for parts in (entry, position, corners)))


def euler_number(vertices: int, faces: np.ndarray) -> int:
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return vertices - len(np.unique(edges, axis=0)) + len(faces)


def assert_closed_and_oriented(faces: np.ndarray) -> None:
    """Each edge is passed once in either direction, and by no more than two triangles."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    size = directed.max() + 1
    forwards = np.sort(directed[:, 0] * size + directed[:, 1])
    assert len(np.unique(forwards)) == len(forwards)
    assert np.array_equal(forwards, np.sort(directed[:, 1] * size + directed[:, 0]))


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def test_each_case_uses_the_edges_between_its_two_kinds_of_corners() -> None:
    look = tables(torch.device("cpu"))
    for case in range(256):
        crossed = {
            number
            for number, (low, axis) in enumerate(EDGES)
            if bool(case >> low & 1) != bool(case >> (low | 1 << axis) & 1)
        }
        assert set(look.triangles[case, : look.counts[case]].flatten().tolist()) == crossed
    assert look.counts[0] == look.counts[255] == 0
    assert look.counts[1] == look.counts[254] == 1
    assert look.counts[0b00001111] == 2  # the lower half: one square


def test_one_corner_inside_is_cut_off_by_a_triangle_that_faces_away_from_it() -> None:
    values = torch.zeros(1, 8)
    values[0, 0] = 4.0
    surface = polygonise(Cells(torch.zeros(1, dtype=torch.int64), torch.tensor([[2, 3, 4]]), values), 1.0)
    assert surface.low.tolist() == [[2, 3, 4]] * 3
    assert sorted(surface.high.tolist()) == [[2, 3, 5], [2, 4, 4], [3, 3, 4]]
    assert surface.part.tolist() == pytest.approx([0.75] * 3)
    points = (surface.low + (surface.high - surface.low) * surface.part[:, None])[surface.faces[0]]
    normal = torch.linalg.cross(points[1] - points[0], points[2] - points[0])
    assert normal.tolist() == pytest.approx([0.75**2] * 3)


def test_every_pattern_of_signs_in_two_cells_is_closed() -> None:
    """All 4096 ways to fill the 12 corners of two neighbouring cells, along each axis, each in a margin of its own."""
    patterns = (np.arange(4096)[:, None] >> np.arange(12)) & 1
    for axis in range(3):
        size = np.array([2, 2, 2])
        size[axis] = 3
        tiles = np.pad(patterns.reshape(16, 16, 16, *size), [(0, 0)] * 3 + [(0, 1)] * 3)
        grid = np.pad(tiles.transpose(0, 3, 1, 4, 2, 5).reshape(16 * (size + 1)).astype(np.float32), 1)
        surface = polygonise(cells_of(grid), 0.5)
        assert_closed_and_oriented(surface.faces.numpy())


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.8])
def test_noise_gives_the_vertices_of_scikit_image_and_a_closed_surface(share: float) -> None:
    generator = np.random.default_rng(int(100 * share))
    grids = [np.pad(generator.random((18, 15, 12)) < share, 1).astype(np.float32) for _ in range(2)]
    grids = [grid * generator.uniform(1.0, 3.0, grid.shape).astype(np.float32) for grid in grids]
    surface = polygonise(cells_of(*grids), 0.5)
    points = (surface.low + (surface.high - surface.low) * surface.part[:, None]).numpy()
    for number, grid in enumerate(grids):
        own = (surface.entry == number).numpy()
        faces = surface.faces.numpy()
        faces = faces[own[faces[:, 0]]]
        assert own[faces].all()
        vertices, first = points[own], int(own.argmax())
        assert_closed_and_oriented(faces)
        expected, expected_faces = dense_marching_cubes(grid, 0.5, cap_at_box=False)
        # the same float64 arithmetic, in another order
        np.testing.assert_allclose(
            vertices[np.lexsort(vertices.T)], expected[np.lexsort(expected.T)], rtol=0, atol=1e-12
        )
        assert euler_number(len(vertices), faces) == euler_number(len(expected), expected_faces)
        # loops that are not plane are filled along other diagonals; on noise, few are: 7 % of the volume at most
        assert volume(vertices, faces - first) == pytest.approx(volume(expected, expected_faces), rel=0.1)


def test_inside_corners_are_separated_where_a_face_is_ambiguous() -> None:
    """Two cubes of one grid point that touch along an edge's diagonal stay two octahedra: Euler number 4. Two empty
    points in a full block, likewise placed, are joined to one cavity."""
    grid = np.zeros((5, 5, 5), dtype=np.float32)
    grid[2, 2, 2] = grid[2, 3, 3] = 1
    surface = polygonise(cells_of(grid), 0.5)
    assert euler_number(len(surface.low), surface.faces.numpy()) == 4
    surface = polygonise(cells_of(1 - grid), 0.5)
    assert euler_number(len(surface.low), surface.faces.numpy()) == 2


def test_vertices_keep_off_grid_points() -> None:
    grid = np.zeros((3, 3, 3), dtype=np.float32)
    grid[1, 1, 1] = 1
    for threshold in (0.0, np.nextafter(np.float32(1), np.float32(0))):
        surface = polygonise(cells_of(grid), float(threshold))
        distance = torch.minimum(surface.part, 1 - surface.part)
        assert len(distance) == 6
        assert distance.tolist() == pytest.approx([EDGE_MARGIN] * 6)


def test_no_cells_give_no_surface() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    surface = polygonise(Cells(empty, empty.view(0, 3), torch.zeros(0, 8)), 1.0)
    assert surface.faces.shape == (0, 3)
    assert surface.low.shape == (0, 3)
