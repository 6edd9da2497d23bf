# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Scores of surfaces on solids whose distances, normals and volumes are known."""

from __future__ import annotations

import numpy as np
import pytest
from solids import ball, box, sheet

from lrm_hf.evaluation.geometry import chamfer_distance, compare_surfaces, f_score, volume_iou
from lrm_hf.evaluation.surfaces import Scene, SurfacePoints, cells_inside, sample_surface


def points_of(triangles: np.ndarray, count: int = 20_000, seed: int = 0) -> SurfacePoints:
    return sample_surface(Scene(triangles), count, 64, np.random.default_rng(seed))


def test_concentric_spheres() -> None:
    """Every point of either is r2 - r1 from the other. Sampling adds: nearest samples are 0.5 / sqrt(density) to the
    side, 20,000 points on area 4 pi r^2 are some 0.01 apart, which lengthens 0.2 by 0.01^2 / (2 * 0.2) = 3e-4."""
    scores = compare_surfaces(points_of(ball(0.5)), points_of(ball(0.7), seed=1))
    for name in ("chamfer", "accuracy", "completeness"):
        assert scores[name] == pytest.approx(0.2, abs=2e-3)
    assert scores["fscore_0.1"] == 0.0
    assert scores["fscore_0.2"] < 1.0
    assert scores["fscore_0.5"] == 1.0
    # faces of 5120 are within 2 degrees of the radius, neighbours within 0.01 / 0.5: cos > 0.997
    assert scores["normal_consistency"] == pytest.approx(1.0, abs=3e-3)


def test_a_surface_and_itself() -> None:
    sphere = points_of(ball(0.8))
    scores = compare_surfaces(sphere, sphere)
    assert scores == {
        "chamfer": 0.0,
        "accuracy": 0.0,
        "completeness": 0.0,
        "fscore_0.1": 1.0,
        "fscore_0.2": 1.0,
        "fscore_0.5": 1.0,
        "normal_consistency": pytest.approx(1.0, abs=1e-12),
    }


def test_normals_that_point_the_other_way_count_as_well() -> None:
    sphere = points_of(ball(0.8))
    turned = SurfacePoints(sphere.points, -sphere.normals)
    assert compare_surfaces(sphere, turned)["normal_consistency"] == pytest.approx(1.0, abs=1e-12)


def test_perpendicular_planes() -> None:
    flat = points_of(sheet(0.0))
    upright = SurfacePoints(flat.points[:, [2, 0, 1]], flat.normals[:, [2, 0, 1]])
    assert compare_surfaces(flat, upright)["normal_consistency"] == 0.0
    # at 60 degrees to each other: 0.5
    tilted = SurfacePoints(flat.points, np.broadcast_to([np.sqrt(3) / 2, 0, 0.5], flat.normals.shape))
    assert compare_surfaces(flat, tilted)["normal_consistency"] == pytest.approx(0.5)


def test_by_hand() -> None:
    """Prediction at 0 and 0.3, truth at 0, 0.3 and 0.9 of a line: to the truth 0, 0; to the prediction 0, 0, 0.6."""
    up = np.array([[0.0, 0.0, 1.0]])
    prediction = SurfacePoints(np.array([[0.0, 0, 0], [0.3, 0, 0]]), up.repeat(2, axis=0))
    truth = SurfacePoints(np.array([[0.0, 0, 0], [0.3, 0, 0], [0.9, 0, 0]]), up.repeat(3, axis=0))
    scores = compare_surfaces(prediction, truth, thresholds=(0.1, 0.6))
    assert scores["accuracy"] == 0.0
    assert scores["completeness"] == pytest.approx(0.2)
    assert scores["chamfer"] == pytest.approx(0.1)
    assert chamfer_distance(prediction.points, truth.points) == pytest.approx(0.1)
    assert scores["fscore_0.1"] == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert compare_surfaces(truth, prediction, (0.1,))["fscore_0.1"] == pytest.approx(0.8), "precision 2/3, recall 1"


def test_f_score_by_hand() -> None:
    near = np.array([0.05, 0.1, 0.3, 0.4])  # precision 2/4 at 0.1, the limit itself counts
    far = np.array([0.05, 0.2])  # recall 1/2
    assert f_score(near, far, 0.1) == pytest.approx(0.5)
    assert f_score(near, far, 0.3) == pytest.approx(2 * 0.75 / 1.75)
    assert f_score(near, far, 0.01) == 0.0


def test_volume_iou_of_a_shifted_cube() -> None:
    """A cube of side 1, shifted by a quarter: 0.75 in common of 1.25. Its faces lie between cell centres."""
    cells = [
        cells_inside(Scene(box((-0.5 + shift, -0.5, -0.5), (0.5 + shift, 0.5, 0.5))), 32, 64) for shift in (0, 0.25)
    ]
    assert [int(entry.sum()) for entry in cells] == [16**3, 16**3]
    assert volume_iou(*cells) == pytest.approx(0.6)
    assert volume_iou(cells[0], cells[0]) == 1.0
    nothing = np.zeros_like(cells[0])
    assert volume_iou(cells[0], nothing) == 0.0
    assert volume_iou(nothing, nothing) == 1.0


def test_nothing_to_compare() -> None:
    empty = SurfacePoints(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="`prediction` has no points"):
        compare_surfaces(empty, points_of(sheet(0.0), 10))
