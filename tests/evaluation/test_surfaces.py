# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What of a surface is seen from outside, what lies within, and pictures of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from solids import ball, box, letter, sheet

from lrm_hf.cameras import orbit_cameras
from lrm_hf.evaluation.surfaces import (
    Scene,
    cells_inside,
    is_watertight,
    picture_surface,
    sample_surface,
    sphere_directions,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_directions_are_spread_evenly() -> None:
    directions = sphere_directions(64)
    assert np.linalg.norm(directions, axis=1) == pytest.approx(np.ones(64))
    assert np.abs(directions.mean(axis=0)).max() < 0.02
    # second moments of the sphere are 1/3 of the identity
    assert directions.T @ directions / 64 == pytest.approx(np.eye(3) / 3, abs=0.01)


class TestSampling:
    def test_uniform_by_area(self) -> None:
        """A box of sides 1, 1, 0.5: the two large faces have 2 of 4 units of area."""
        surface = sample_surface(Scene(box((0, 0, 0), (1, 1, 0.5))), 20_000, 64, rng())
        assert surface.points.shape == surface.normals.shape == (20_000, 3)
        large = np.abs(surface.normals[:, 2]) > 0.5
        assert large.mean() == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 20_000))  # four standard deviations
        assert surface.points[large][:, :2].mean(axis=0) == pytest.approx([0.5, 0.5], abs=4 * 0.29 / math.sqrt(10_000))
        assert np.linalg.norm(surface.normals, axis=1) == pytest.approx(np.ones(20_000))

    def test_on_the_triangles(self) -> None:
        surface = sample_surface(Scene(sheet(0.25)), 1000, 64, rng())
        assert (surface.points[:, 2] == 0.25).all()
        assert np.abs(surface.points).max() <= 1

    def test_inner_surfaces_are_not_seen(self) -> None:
        both = np.concatenate([ball(0.8), ball(0.4)])
        surface = sample_surface(Scene(both), 5000, 64, rng())
        assert np.linalg.norm(surface.points, axis=1).min() > 0.78

    def test_the_inside_of_an_open_box_is(self) -> None:
        """All that a lid hid: the bottom of a box without a top."""
        closed = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))
        inner = box((-0.4, -0.4, -0.4), (0.4, 0.4, 0.4))
        top = closed[:, :, 2].min(axis=1) > 0.49
        inner_top = inner[:, :, 2].min(axis=1) > 0.39
        for outer, seen in ((closed, False), (closed[~top], True)):
            surface = sample_surface(Scene(np.concatenate([outer, inner[~inner_top]])), 5000, 64, rng())
            assert bool((np.abs(surface.points).max(axis=1) < 0.41).any()) is seen

    def test_same_seed_same_points(self) -> None:
        scene = Scene(letter())
        a, b = (sample_surface(scene, 500, 64, np.random.default_rng(3)) for _ in range(2))
        np.testing.assert_array_equal(a.points, b.points)
        c = sample_surface(scene, 500, 64, np.random.default_rng(4))
        assert not np.array_equal(a.points, c.points)

    def test_no_area(self) -> None:
        with pytest.raises(ValueError, match="no area"):
            sample_surface(Scene(np.zeros((1, 3, 3))), 10, 64, rng())


class TestInside:
    def test_volume_of_a_ball(self) -> None:
        """4/3 pi 0.8^3 of 8, less what the facets cut off (0.2 %)."""
        cells = cells_inside(Scene(ball(0.8)), 64, 64)
        assert cells.mean() == pytest.approx(4 / 3 * math.pi * 0.8**3 / 8, rel=0.01)

    def test_cavities_count_as_inside(self) -> None:
        hollow = np.concatenate([ball(0.8), ball(0.6)])
        np.testing.assert_array_equal(cells_inside(Scene(hollow), 32, 64), cells_inside(Scene(ball(0.8)), 32, 64))

    def test_overlapping_parts(self) -> None:
        """Where parity would find the overlap outside."""
        parts = np.concatenate([box((-0.5, -0.5, -0.5), (0.25, 0.5, 0.5)), box((-0.25, -0.5, -0.5), (0.5, 0.5, 0.5))])
        assert int(cells_inside(Scene(parts), 32, 64).sum()) == 16**3

    def test_triangles_may_point_either_way(self) -> None:
        triangles = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5)).copy()
        triangles[::2] = triangles[::2, ::-1]
        assert int(cells_inside(Scene(triangles), 32, 64).sum()) == 16**3

    def test_a_sheet_has_none(self) -> None:
        assert not cells_inside(Scene(sheet(0.01)), 32, 64).any()

    def test_axes(self) -> None:
        cells = cells_inside(Scene(box((0, 0, 0), (1, 0.5, 0.25))), 8, 64)
        assert np.argwhere(cells).min(axis=0).tolist() == [4, 4, 4]
        assert np.argwhere(cells).max(axis=0).tolist() == [7, 5, 4]


def test_watertight() -> None:
    assert is_watertight(ball(0.5, 1))
    assert is_watertight(letter()), "three closed parts"
    assert not is_watertight(ball(0.5, 1)[1:])
    assert not is_watertight(sheet(0.0))


def test_bad_triangles() -> None:
    with pytest.raises(ValueError, match=r"\(faces, 3, 3\)"):
        Scene(np.zeros((0, 3, 3)))
    with pytest.raises(ValueError, match="not finite"):
        Scene(np.full((1, 3, 3), np.nan))


def test_pictures_of_a_ball() -> None:
    """A ball of radius r at distance 2 covers a disc of tangent r / sqrt(4 - r^2), times the focal length."""
    cameras = orbit_cameras(azimuths=(0.0, 90.0), elevation=20.0)

    def colour(faces: np.ndarray, weights: np.ndarray, positions: np.ndarray) -> np.ndarray:
        assert weights.sum(axis=1) == pytest.approx(np.ones(len(weights)), abs=1e-5)
        assert np.linalg.norm(positions, axis=1) == pytest.approx(np.full(len(positions), 0.6), rel=2e-3)
        return positions * 0.5 + 0.5

    pictures, opacity = picture_surface(Scene(ball(0.6)), colour, cameras, 64, 4)
    assert pictures.shape == (2, 3, 64, 64)
    assert opacity.shape == (2, 1, 64, 64)
    radius = 0.75 * 0.6 / math.sqrt(4 - 0.36)
    assert opacity.mean(dim=(1, 2, 3)).tolist() == pytest.approx([math.pi * radius**2] * 2, rel=5e-3)  # facets
    assert pictures[:, :, 0, 0].tolist() == [[1, 1, 1], [1, 1, 1]]
    # in the middle of the picture the ball's nearest point: towards the camera
    middle = pictures[:, :, 31:33, 31:33].mean(dim=(2, 3)) * 2 - 1
    expected = cameras.position * 0.3
    assert middle.flatten().tolist() == pytest.approx(expected.flatten().tolist(), abs=0.01)  # half a pixel
