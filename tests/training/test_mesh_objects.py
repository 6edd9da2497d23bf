# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Meshes in other proportions, against maps worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import trimesh

from lrm_hf.training.mesh_objects import MeshWarp, load_object
from lrm_hf.training.mesh_views import training_object


def warp(ends=(0, 0, 0), middle=(0, 0, 0), taper=(0, 0), waist=(0, 0), wedge=0.0, lean=0.0) -> MeshWarp:
    return MeshWarp(*(np.array(part, dtype=np.float64) for part in (ends, middle, taper, waist)), wedge, lean)


@pytest.mark.parametrize(
    ("change", "point", "expected"),
    [
        ({}, (0.3, -0.2, 0.9), (0.3, -0.2, 0.9)),
        # sin(pi / 2) = 1: each coordinate moves by its share of 1 / pi; corners of the box stay
        ({"ends": (0.3, 0.2, -0.1)}, (0.5, 0.5, 0.5), (0.5 + 0.3 / math.pi, 0.5 + 0.2 / math.pi, 0.5 - 0.1 / math.pi)),
        ({"ends": (0.3, 0.2, -0.1)}, (-1, 1, 1), (-1, 1, 1)),
        # the middle moves by half, but not sideways: left and right stay alike
        ({"middle": (0.4, 0.4, -0.2)}, (0, 0, 0), (0, 0.2, -0.1)),
        ({"middle": (0.4, 0.4, -0.2)}, (1, -1, 1), (1, -1, 1)),
        ({"taper": (math.log(2), math.log(3))}, (0.5, 0.5, 1), (1, 1.5, 1)),
        ({"taper": (math.log(2), math.log(3))}, (0.5, 0.5, -1), (0.25, 0.5 / 3, -1)),
        ({"waist": (math.log(4), 0)}, (0.5, 0.5, 0), (0.25, 0.5, 0)),
        ({"waist": (math.log(4), 0)}, (0.5, 0.5, 1), (1, 0.5, 1)),
        ({"wedge": math.log(2)}, (0.5, -1, 0.3), (0.25, -1, 0.3)),
        ({"lean": 0.2}, (0.5, 0.1, -1), (0.5, -0.1, -1)),
        # the section is taken at the height that the point has moved to
        ({"middle": (0, 0, 0.8), "taper": (1, 0)}, (0.5, 0, 0), (0.5 * math.exp(0.4), 0, 0.4)),
    ],
)
def test_points_go_where_the_formula_says(change, point, expected):
    assert warp(**change)(np.array(point, dtype=np.float64)) == pytest.approx(np.array(expected), abs=1e-12)


def test_no_draw_folds_the_box():
    """Volumes of small tetrahedra keep their sign everywhere, at the largest strength."""
    grid = np.linspace(-1, 1, 9)
    corners = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), axis=-1).reshape(-1, 3)
    step = 1e-4
    for seed in range(50):
        change = MeshWarp.draw(np.random.default_rng(seed), 0.49)
        edges = np.stack([change(corners + step * np.eye(3)[axis]) - change(corners) for axis in range(3)], axis=-1)
        assert np.linalg.det(edges / step).min() > 0


def test_a_map_that_folds_is_refused():
    with pytest.raises(ValueError, match="must stay below 1 together"):
        warp(ends=(0, 0, 0.6), middle=(0, 0, -0.4))


def test_an_object_is_warped_within_its_box_and_scaled_to_the_unit_ball(tmp_path):
    trimesh.creation.box(extents=(2, 4, 4)).export(tmp_path / "box.stl")  # half the diagonal is 3
    box = load_object(tmp_path / "box.stl")
    changed = box.warp(warp(taper=(math.log(2), 0)))
    # x is +-1 at the top times 2, +-1 / 2 at the bottom; y and z +-2; half the diagonal of 4 x 4 x 4 is sqrt(12)
    assert changed.bounds == pytest.approx(np.array([[-2, -2, -2], [2, 2, 2]]) / math.sqrt(12), abs=1e-6)
    bottom = changed.triangles[changed.triangles[..., 2] < 0]
    assert np.abs(bottom[:, 0]).max() == pytest.approx(0.5 / math.sqrt(12), abs=1e-6)
    assert box.bounds[1] == pytest.approx(np.array([1, 2, 2]) / 3, abs=1e-6)  # itself as it was


def test_variants_are_warped_by_file_name_and_seed(tmp_path):
    trimesh.creation.icosphere(subdivisions=1).export(tmp_path / "ball.stl")
    path = tmp_path / "ball.stl"
    plain = training_object(path, 0, warp=0.3, fronts=5)
    first = training_object(path, 1, warp=0.3, fronts=5)
    assert np.array_equal(plain.triangles, load_object(path).triangles)
    assert np.array_equal(first.triangles, training_object(path, 1, warp=0.3, fronts=5).triangles)
    assert np.abs(first.triangles - training_object(path, 2, warp=0.3, fronts=5).triangles).max() > 0.01
    assert np.abs(first.triangles - plain.triangles).max() > 0.01
    assert np.array_equal(training_object(path, 1, fronts=5).triangles, plain.triangles)
