# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Known motions are found again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from solids import ball, letter

from lrm_hf.cameras import orbit_cameras, project_points
from lrm_hf.evaluation.alignment import (
    align,
    cameras_before,
    normalising,
    scale_of,
    search_rotations,
    transform,
)
from lrm_hf.evaluation.geometry import chamfer_distance
from lrm_hf.evaluation.surfaces import Scene, sample_surface


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    found = sample_surface(Scene(letter()), 4000, 64, np.random.default_rng(0)).points
    return transform(normalising(found), found)


def similarity(angles: tuple[float, float], scale: float, shift: tuple[float, float, float]) -> np.ndarray:
    """By angles in degrees about z, then about x."""
    matrix = np.eye(4)
    matrix[:3, :3] = scale * Rotation.from_euler("zx", angles, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def test_normalising(points: np.ndarray) -> None:
    moved = points * [1, 1, 0.5] * 3 + [5, -2, 1]
    normalised = transform(normalising(moved), moved)
    assert np.ptp(normalised, axis=0).max() == pytest.approx(2)
    assert (normalised.max(axis=0) + normalised.min(axis=0)) == pytest.approx(np.zeros(3), abs=1e-12)
    with pytest.raises(ValueError, match="all at one place"):
        normalising(np.ones((4, 3)))


def test_search_rotations() -> None:
    rotations = search_rotations(4, (0.0, 90.0))
    assert rotations.shape == (8, 4, 4)
    assert rotations[0] == pytest.approx(np.eye(4))
    # a quarter about z takes x to y; a quarter about x takes y to z
    assert transform(rotations[1], np.array([1.0, 0, 0])) == pytest.approx([0, 1, 0], abs=1e-12)
    assert transform(rotations[4], np.array([0.0, 1, 0])) == pytest.approx([0, 0, 1], abs=1e-12)
    assert transform(rotations[5], np.array([0.0, 1, 0])) == pytest.approx([0, 0, 1], abs=1e-12)
    assert transform(rotations[5], np.array([1.0, 0, 0])) == pytest.approx([0, 1, 0], abs=1e-12)


@pytest.mark.parametrize(("azimuth", "tilt"), [(0.0, 0.0), (37.0, 0.0), (-130.0, 4.0), (172.0, -3.0)])
def test_a_known_motion_is_undone(points: np.ndarray, azimuth: float, tilt: float) -> None:
    """Same points: the nearest neighbours of a motion that is nearly undone are the points themselves, and ICP ends
    exactly there, but for the size, which is the bounding box's after the best rotation that was tried."""
    moved = transform(similarity((azimuth, tilt), 0.3, (0.2, -0.5, 0.1)), points)
    matrix = align(moved, points, search_rotations(72, (0.0,)), num_points=2000)
    rotation = matrix[:3, :3] / scale_of(matrix) @ Rotation.from_euler("zx", (azimuth, tilt), degrees=True).as_matrix()
    angle = np.rad2deg(Rotation.from_matrix(rotation).magnitude())
    assert angle < 1.0
    assert scale_of(matrix) == pytest.approx(1 / 0.3, rel=0.06)  # a box of sides near 2 turned by 4.5 degrees
    # 4,000 points on an area near 5 are some 0.02 apart
    assert chamfer_distance(transform(matrix, moved), points) < 0.03


def test_exact_where_a_tried_rotation_is(points: np.ndarray) -> None:
    moved = transform(similarity((45.0, 0.0), 2.0, (1.0, 0, 0)), points)
    matrix = align(moved, points, search_rotations(8, (0.0,)), num_points=2000)
    assert transform(matrix, moved) == pytest.approx(points, abs=1e-9)


def test_tilts_are_found_only_if_tried(points: np.ndarray) -> None:
    moved = points @ search_rotations(1, (60.0,))[0][:3, :3]  # by its inverse
    with_tilt = align(moved, points, search_rotations(24, (0.0, 60.0)))
    assert chamfer_distance(transform(with_tilt, moved), points) < 1e-9
    # ICP turns it back, but the size is that of the tilted pose's box
    without = align(moved, points, search_rotations(24, (0.0,)))
    assert chamfer_distance(transform(without, moved), points) > 0.02


def test_no_motion_for_a_ball() -> None:
    sphere = sample_surface(Scene(ball(0.5)), 2000, 64, np.random.default_rng(0)).points
    matrix = align(sphere, transform(normalising(sphere), sphere), search_rotations(4, (0.0,)))
    assert scale_of(matrix) == pytest.approx(2.0, rel=0.01)
    assert np.abs(matrix[:3, 3]).max() < 0.01


def test_cameras_before(points: np.ndarray) -> None:
    """What they see of the points is what the cameras see of the moved ones."""
    matrix = similarity((25.0, 10.0), 1.7, (0.1, 0.2, -0.3))
    cameras = orbit_cameras(3, elevation=10.0, distance=5.0)
    before = cameras_before(matrix, cameras).validate()
    moved = torch.from_numpy(transform(matrix, points)).float()
    uv, depth = project_points(cameras, moved.expand(3, -1, -1))
    uv_before, depth_before = project_points(before, torch.from_numpy(points).float().expand(3, -1, -1))
    torch.testing.assert_close(uv_before, uv, atol=1e-5, rtol=0)  # float32
    torch.testing.assert_close(depth_before * 1.7, depth, atol=1e-4, rtol=0)
