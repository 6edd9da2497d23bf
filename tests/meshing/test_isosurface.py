"""Meshes of analytic densities, whose volume, area and topology are known, and of one of OpenLRM's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from analytic_fields import (
    THRESHOLD,
    GridField,
    RawGridField,
    RawShapeField,
    ShapeField,
    assert_sound,
    either,
    rod,
    shell,
    sphere,
    torus,
)
from safetensors import safe_open
from scipy.spatial import cKDTree
from torch import Tensor

from lrm_hf.meshing import LRMMesh, density_grid, extract_mesh
from lrm_hf.meshing.dense import dense_marching_cubes


GOLDEN = Path(__file__).parents[1] / "goldens" / "isosurface.safetensors"

Fields = pytest.mark.parametrize("shape_field", [RawShapeField, ShapeField], ids=["sparse", "dense"])
Grids = pytest.mark.parametrize("grid_field", [RawGridField, GridField], ids=["sparse", "dense"])


# The grid


def test_grid_has_x_y_z_order_and_includes_the_faces_of_the_box() -> None:
    field = ShapeField(lambda points: -(points * torch.tensor([1.0, 10.0, 100.0])).sum(dim=-1) - 200, radius=0.5)
    grid = density_grid(field, 5)
    assert grid.shape == (1, 5, 5, 5)
    assert grid.dtype == torch.float32
    # density 3 + 20 * (200 + x + 10 y + 100 z); ends of the axes are -0.5 and 0.5, the middle is 0
    assert grid[0, 0, 2, 2].item() == pytest.approx(3 + 20 * 199.5)
    assert grid[0, 4, 2, 2].item() == pytest.approx(3 + 20 * 200.5)
    assert grid[0, 2, 4, 2].item() == pytest.approx(3 + 20 * 205)
    assert grid[0, 2, 2, 1].item() == pytest.approx(3 + 20 * 175)


def test_grid_is_evaluated_in_chunks_without_gradients() -> None:
    field = ShapeField(sphere(0.5), torus(0.5, 0.2))
    field.planes.requires_grad_()
    whole = density_grid(field, 20)
    assert field.queries == [(2, 8000, 3)]
    assert not whole.requires_grad
    assert not field.grad_enabled
    field.queries.clear()
    assert torch.equal(density_grid(field, 20, chunk_size=301), whole)
    assert max(shape[1] for shape in field.queries) == 301
    assert sum(shape[1] for shape in field.queries) == 8000


def test_memory_of_a_query_is_bounded_by_default() -> None:
    field = ShapeField(sphere(0.5), sphere(0.4), sphere(0.3))
    extract_mesh(field, 64)
    assert max(batch * points for batch, points, _ in field.queries) <= 2**17
    assert len(field.queries) >= 3 * 64**3 // 2**17


# Known shapes


@Fields
def test_sphere(shape_field: type[ShapeField]) -> None:
    (mesh,) = extract_mesh(shape_field(sphere(0.6)), 64)
    assert isinstance(mesh, LRMMesh)
    assert_sound(mesh)
    assert mesh.euler_number == 2
    # flat facets cut off about h²/(4 r²) = 0.07 % of it, h = 2/63 being the grid's step; those on diagonals more
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=3e-3)
    assert mesh.area == pytest.approx(4 * math.pi * 0.6**2, rel=3e-3)
    # linear interpolation of a distance along an edge of length h is wrong by less than h²/(8 r)
    distance = np.linalg.norm(mesh.vertices, axis=1) - 0.6
    assert np.abs(distance).max() < (2 / 63) ** 2 / (8 * 0.6)
    outwards = (mesh.vertex_normals * mesh.vertices).sum(axis=1) / np.linalg.norm(mesh.vertices, axis=1)
    assert outwards.min() > 0.95


@Fields
def test_batch_of_different_shapes_and_box_of_another_size(shape_field: type[ShapeField]) -> None:
    field = shape_field(sphere(0.3, centre=(0.1, -0.2, 0.3)), torus(0.45, 0.15), radius=0.87)
    ball, ring = extract_mesh(field, 80)
    for mesh in (ball, ring):
        assert_sound(mesh)
    assert (ball.euler_number, ring.euler_number) == (2, 0)
    np.testing.assert_allclose(ball.center_mass, [0.1, -0.2, 0.3], atol=1e-4)
    assert ball.volume == pytest.approx(4 / 3 * math.pi * 0.3**3, rel=1e-2)
    assert ring.volume == pytest.approx(2 * math.pi**2 * 0.45 * 0.15**2, rel=1e-2)
    assert ring.area == pytest.approx(4 * math.pi**2 * 0.45 * 0.15, rel=1e-2)
    np.testing.assert_allclose(ring.bounds, [[-0.6, -0.6, -0.15], [0.6, 0.6, 0.15]], atol=1e-3)


@Fields
def test_hollow_shell_keeps_its_cavity(shape_field: type[ShapeField]) -> None:
    field = shape_field(shell(0.7, 0.4))
    (mesh,) = extract_mesh(field, 64)
    assert_sound(mesh)
    assert mesh.euler_number == 4  # two spheres
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * (0.7**3 - 0.4**3), rel=5e-3)
    (outside,) = extract_mesh(field, 64, largest_component=True)
    assert_sound(outside)
    assert outside.euler_number == 2
    assert outside.volume == pytest.approx(4 / 3 * math.pi * 0.7**3, rel=5e-3)


@Fields
def test_threshold_selects_the_level(shape_field: type[ShapeField]) -> None:
    field = shape_field(sphere(0.6))
    for threshold, radius in ((3.0, 0.6), (5.0, 0.5), (9.0, 0.3)):  # 20 per unit
        (mesh,) = extract_mesh(field, 48, threshold=threshold)
        np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), radius, atol=1e-3)
    field.config.density_threshold = 7
    (mesh,) = extract_mesh(field, 48)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.4, atol=1e-3)


# The faces of the box


@Fields
def test_surface_that_leaves_the_box_is_cut_off_flat(shape_field: type[ShapeField]) -> None:
    (mesh,) = extract_mesh(shape_field(rod(0.4)), 64)
    assert_sound(mesh)
    assert mesh.euler_number == 2
    assert mesh.volume == pytest.approx(math.pi * 0.4**2 * 2, rel=5e-3)
    margin = 1e-4 * 2 / 63
    np.testing.assert_allclose(mesh.bounds[:, 2], [-1 - margin, 1 + margin], atol=1e-12)
    np.testing.assert_allclose(mesh.bounds[:, :2], [[-0.4, -0.4], [0.4, 0.4]], atol=1e-3)


@Fields
def test_surface_through_a_corner_of_the_box_is_closed(shape_field: type[ShapeField]) -> None:
    (mesh,) = extract_mesh(shape_field(sphere(0.8, centre=(1.0, 1.0, -1.0))), 64)
    assert_sound(mesh)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.8**3 / 8, rel=5e-3)


@Fields
def test_surface_that_leaves_the_box_can_stay_open(shape_field: type[ShapeField]) -> None:
    field = shape_field(rod(0.4))
    (mesh,) = extract_mesh(field, 64, cap_at_box=False)
    assert not mesh.is_watertight
    assert mesh.is_winding_consistent
    edges, count = np.unique(np.sort(mesh.edges, axis=1), axis=0, return_counts=True)
    rim = mesh.vertices[edges[count == 1].ravel()]
    assert len(rim) > 0
    np.testing.assert_allclose(np.abs(rim[:, 2]), 1, atol=1e-12)


@Fields
def test_largest_of_open_components_is_the_one_of_largest_area(shape_field: type[ShapeField]) -> None:
    def thin_rod(points: Tensor) -> Tensor:
        return torch.hypot(points[:, 0] + 0.7, points[:, 1] + 0.7) - 0.15

    field = shape_field(either(thin_rod, sphere(0.35, centre=(0.4, 0.4, 0.0))))
    (open_rod,) = extract_mesh(field, 64, cap_at_box=False, largest_component=True)
    assert open_rod.area == pytest.approx(2 * math.pi * 0.15 * 2, rel=1e-2)  # 1.88; the ball's is 1.54
    (ball,) = extract_mesh(field, 64, largest_component=True)
    assert ball.volume == pytest.approx(4 / 3 * math.pi * 0.35**3, rel=1e-2)  # 0.18; the rod's is 0.14


@Grids
def test_vertices_are_those_of_openlrm(grid_field: type[GridField]) -> None:
    with safe_open(GOLDEN, framework="np") as file:
        density, expected = file.get_tensor("density"), file.get_tensor("vertices")
        threshold = float(file.metadata()["threshold"])
    (mesh,) = extract_mesh(grid_field(density), 24, threshold=threshold, cap_at_box=False)
    assert len(mesh.vertices) == len(expected) == 5719
    # the same points in another order; 1e-5: ours keep off grid points by 1e-4 of a step of 2/23
    nearest, index = cKDTree(expected).query(mesh.vertices)
    assert nearest.max() < 1e-5
    assert len(np.unique(index)) == len(expected)
    (closed,) = extract_mesh(grid_field(density), 24, threshold=threshold)
    assert_sound(closed)


# Hard grids


@Grids
def test_grid_values_that_equal_the_threshold_give_no_degenerate_faces(grid_field: type[GridField]) -> None:
    """An octahedron whose faces pass through grid points, in eighths: exact in binary."""
    axis = np.linspace(-1, 1, 17)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    density = (THRESHOLD + 0.75 - np.abs(x) - np.abs(y) - np.abs(z)).astype(np.float32)
    assert (density == THRESHOLD).sum() > 100
    (mesh,) = extract_mesh(grid_field(density), 17)
    assert_sound(mesh)
    assert mesh.euler_number == 2
    # |x| + |y| + |z| = 0.75 encloses 4/3 * 0.75³; vertices may lie 1e-4 of a step (1/8) inside of it
    assert mesh.volume == pytest.approx(4 / 3 * 0.75**3, rel=1e-3)


@pytest.mark.parametrize("threshold", [1, 2, 3])
@Grids
def test_integer_noise_is_closed(grid_field: type[GridField], threshold: int) -> None:
    """A third of the grid points around the surface are at the threshold, in all constellations."""
    density = np.random.default_rng(threshold).integers(0, 5, size=(24, 24, 24)).astype(np.float32)
    (mesh,) = extract_mesh(grid_field(density), 24, threshold=threshold)
    assert_sound(mesh)


def test_every_pattern_of_signs_in_two_cells_is_closed() -> None:
    """All 4096 ways to fill the 12 corners of two neighbouring cells, along each axis, each in a margin of its own."""
    patterns = (np.arange(4096)[:, None] >> np.arange(12)) & 1
    for axis in range(3):
        size = np.array([2, 2, 2])
        size[axis] = 3
        tiles = np.pad(patterns.reshape(16, 16, 16, *size), [(0, 0)] * 3 + [(0, 1)] * 3)
        volume = np.pad(tiles.transpose(0, 3, 1, 4, 2, 5).reshape(16 * (size + 1)).astype(np.float32), 1)
        vertices, faces = dense_marching_cubes(volume, 0.5)
        directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        forwards = np.sort(directed[:, 0] * len(vertices) + directed[:, 1])
        backwards = np.sort(directed[:, 1] * len(vertices) + directed[:, 0])
        assert len(np.unique(forwards)) == len(forwards)
        assert np.array_equal(forwards, backwards)
        middles = (2 * vertices).astype(np.int64) @ [1, 1000, 1000000]  # exact: all crossings are half-way
        assert len(np.unique(middles)) == len(vertices)


@Grids
def test_densities_of_very_different_size_are_interpolated_in_double_precision(grid_field: type[GridField]) -> None:
    density = np.zeros((16, 16, 16), dtype=np.float32)
    density[8, 8, 8] = 3e38
    (mesh,) = extract_mesh(grid_field(density), 16)
    assert_sound(mesh)
    assert len(mesh.faces) == 8  # an octahedron about one grid point; crossings lie at the far ends of its edges
    assert mesh.volume == pytest.approx(4 / 3 * (2 / 15) ** 3, rel=1e-3)


# Components


@Fields
def test_largest_component_is_the_one_of_largest_volume(shape_field: type[ShapeField]) -> None:
    """A thin, wide plate has more area than a ball, and less volume."""

    def plate(points: Tensor) -> Tensor:
        return torch.maximum(points[:, :2].abs().amax(dim=-1) - 0.9, (points[:, 2] + 0.8).abs() - 0.05)

    field = shape_field(either(plate, sphere(0.5), sphere(0.1, centre=(0.8, 0.8, 0.8))))
    (everything,) = extract_mesh(field, 48)
    assert_sound(everything)
    assert len(everything.split()) == 3
    (ball,) = extract_mesh(field, 48, largest_component=True)
    assert_sound(ball)
    assert ball.volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=1e-2)
    assert everything.area > 3 * ball.area


@Fields
def test_one_component_is_left_as_it_is(shape_field: type[ShapeField]) -> None:
    field = shape_field(torus(0.5, 0.2))
    (plain,), (largest,) = extract_mesh(field, 32), extract_mesh(field, 32, largest_component=True)
    np.testing.assert_array_equal(plain.vertices, largest.vertices)
    np.testing.assert_array_equal(plain.faces, largest.faces)


# Colours


@Fields
def test_colour_is_that_of_the_field_at_the_vertex(shape_field: type[ShapeField]) -> None:
    (mesh,) = extract_mesh(shape_field(sphere(0.6)), 32)
    colors = np.asarray(mesh.visual.vertex_colors)
    assert mesh.visual.kind == "vertex"
    assert colors.dtype == np.uint8
    assert (colors[:, 3] == 255).all()
    expected = (mesh.vertices / 2 + 0.5) * 255
    assert np.abs(colors[:, :3] - expected).max() <= 0.5 + 1e-3  # rounded to nearest


@Fields
def test_each_entry_has_its_own_colours_and_they_are_clipped(shape_field: type[ShapeField]) -> None:
    field = shape_field(sphere(0.3), sphere(0.7))
    small, large = extract_mesh(field, 32, chunk_size=50)
    assert len(small.vertices) < len(large.vertices)
    expected = (small.vertices / 2 + 0.5) * 255
    assert np.abs(small.visual.vertex_colors[:, :3] - expected).max() <= 0.5 + 1e-3
    assert (np.asarray(large.visual.vertex_colors) == 255).all()  # position + 1: above 1 everywhere


@Fields
def test_colours_of_the_cap_are_asked_for_inside_the_box(shape_field: type[ShapeField]) -> None:
    field = shape_field(rod(0.4), radius=0.5)
    extract_mesh(field, 32)
    assert field.largest_coordinate == 0.5


def test_colours_can_be_left_out() -> None:
    field = ShapeField(sphere(0.6))
    (mesh,) = extract_mesh(field, 32, vertex_colors=False)
    assert mesh.visual.kind is None
    assert sum(shape[1] for shape in field.queries) == 32**3


@Fields
def test_colour_that_is_not_finite_is_refused(shape_field: type[ShapeField]) -> None:
    field = shape_field(sphere(0.6), sphere(0.5))
    field.rgb = lambda points: torch.full_like(points, float("nan"))  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="batch entry 0: the field's colour is not finite"):
        extract_mesh(field, 32)


# Refusals


@Fields
def test_empty_surface_says_density_range_and_threshold(shape_field: type[ShapeField]) -> None:
    field = shape_field(sphere(0.6), sphere(0.25))  # at the grid points next to the centre: 3 + 20 * (0.25 - 0.0559)
    with pytest.raises(
        ValueError, match=r"batch entry 1: the surface is empty: .* from 0 to 6\.88\d*.* is 7\."
    ) as error:
        extract_mesh(field, 32, threshold=7.0)
    assert "lower threshold" in str(error.value)


@Grids
def test_density_that_only_reaches_the_threshold_is_empty(grid_field: type[GridField]) -> None:
    with pytest.raises(ValueError, match="the surface is empty: density ranges from 3 to 3 "):
        extract_mesh(grid_field(np.full((16, 16, 16), 3, dtype=np.float32)), 16)


@Grids
def test_full_box_is_refused(grid_field: type[GridField]) -> None:
    with pytest.raises(ValueError, match=r"the box is full: density ranges from 5 to 5 "):
        extract_mesh(grid_field(np.full((16, 16, 16), 5, dtype=np.float32)), 16)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@Grids
def test_density_that_is_not_finite_is_refused(grid_field: type[GridField], value: float) -> None:
    density = np.zeros((16, 16, 16), dtype=np.float32)
    density[4:8] = 5
    density[3, 5, 7] = density[0, 0, 0] = value
    with pytest.raises(ValueError, match="batch entry 0: the field's density is not finite at 2 of 4096 grid points"):
        extract_mesh(grid_field(density), 16)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"resolution": 15}, ValueError, "`resolution` must be from 16 to 1024, got 15"),
        ({"resolution": 1025}, ValueError, "`resolution` must be from 16 to 1024, got 1025"),
        ({"resolution": 64.0}, TypeError, "`resolution` must be an integer, got float"),
        ({"resolution": True}, TypeError, "`resolution` must be an integer, got bool"),
        ({"threshold": 0}, ValueError, "`threshold` must be a positive, finite density, got 0"),
        ({"threshold": -1.0}, ValueError, "`threshold` must be a positive"),
        ({"threshold": math.nan}, ValueError, "`threshold` must be a positive"),
        ({"threshold": math.inf}, ValueError, "`threshold` must be a positive"),
        ({"threshold": "3"}, TypeError, "`threshold` must be a number, got str"),
        ({"threshold": True}, TypeError, "`threshold` must be a number, got bool"),
        ({"chunk_size": 0}, ValueError, "`chunk_size` must be at least 1, got 0"),
        ({"chunk_size": 1.5}, TypeError, "`chunk_size` must be an integer, got float"),
    ],
)
@Fields
def test_bad_arguments_are_named(
    shape_field: type[ShapeField], arguments: dict, error: type[Exception], message: str
) -> None:
    field = shape_field(sphere(0.6))
    with pytest.raises(error, match=message):
        extract_mesh(field, **{"resolution": 32, **arguments})
    assert field.queries == []


def test_grid_of_one_point_is_refused() -> None:
    with pytest.raises(ValueError, match="`resolution` must be at least 2, got 1"):
        density_grid(ShapeField(sphere(0.6)), 1)


@Fields
def test_progress_bars_are_shown_only_where_asked(
    shape_field: type[ShapeField], capsys: pytest.CaptureFixture[str]
) -> None:
    extract_mesh(shape_field(sphere(0.6)), 32)
    assert capsys.readouterr().err == ""
    extract_mesh(shape_field(sphere(0.6)), 32, progress=True)
    shown = capsys.readouterr().err
    assert "density" in shown
    assert "vertex colours" in shown
