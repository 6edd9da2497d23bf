# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The sparse search against the dense grid: on thin shapes, on fields of planes, and in what it evaluates."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from analytic_fields import THRESHOLD, RawShapeField, Shape, ShapeField, assert_sound, either, sphere, torus
from scipy.spatial import cKDTree
from torch import Tensor

import lrm_hf
from lrm_hf import LRMPipeline, TriplaneField
from lrm_hf.meshing import LRMMesh, extract_mesh, sparse_grid
from lrm_hf.meshing import density as density_module
from lrm_hf.meshing.density import GridDensity, raw_threshold
from lrm_hf.meshing.sparse_grid import block_size, surface_cells
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig


EXAMPLES = Path(__file__).parents[2] / "examples"
RESOLUTION = 129  # steps of 1/64; blocks of eight cells for shapes
STEP = 2 / (RESOLUTION - 1)


def rod_through(point: Tensor, direction: Tensor, radius: float) -> Shape:
    return lambda points: torch.linalg.cross(points - point, direction.expand_as(points)).norm(dim=-1) - radius


def sheet_through(point: Tensor, normal: Tensor, half_width: float) -> Shape:
    return lambda points: ((points - point) @ normal).abs() - half_width


def ball_field(*radii: float, size: int = 16, channels: int = 3) -> TriplaneField:
    """Raw density 20 (r^2 - x^2 - y^2 - z^2), the squares being linear between texels. One channel has all there is;
    the MLP's two layers hand it on, since it is not negative."""
    config = TriplaneFieldConfig(channels=channels, hidden_size=4, num_hidden_layers=1, density_bias=THRESHOLD)
    texel = ((torch.arange(size) + 0.5) * 2 / size - 1).square()
    planes = torch.zeros(len(radii), 3, channels, size, size)
    planes[:, 0, 0] = texel[None, :] + texel[:, None]  # x, y
    planes[:, 1, 0] = texel[:, None]  # z goes along the height of the second plane
    planes[:, :, 1] = torch.tensor(radii).square()[:, None, None, None] / 3  # fades with the rim, as the rest does
    weights = (torch.zeros(4, 3 * channels), torch.zeros(4, 4))
    weights[0][0, ::channels] = 1.0
    weights[0][1, 1::channels] = 1.0
    weights[1][0, :2] = torch.tensor([-20.0, 20.0])
    weights[1][1:, 2] = 1.0
    return TriplaneField(planes, weights, (torch.zeros(4), torch.zeros(4)), config)


def assert_same_surface(mesh: LRMMesh, dense: LRMMesh, step: float, within: float) -> None:
    """The same crossed edges, vertices within a part of a step, the same topology and nearly the same volume."""
    assert len(mesh.vertices) == len(dense.vertices)
    distance, nearest = cKDTree(dense.vertices).query(mesh.vertices)
    assert distance.max() < within * step
    assert len(np.unique(nearest)) == len(nearest)
    assert mesh.euler_number == dense.euler_number
    assert mesh.volume == pytest.approx(dense.volume, rel=1e-3)  # loops of more than four edges may be filled otherwise


@pytest.fixture(scope="module")
def bundled_field() -> TriplaneField:
    pipe = LRMPipeline.from_pretrained(lrm_hf.bundled_model())
    pipe.set_progress_bar_config(disable=True)
    return pipe([str(EXAMPLES / name) for name in ("teddy_bear.png", "sofa.png")], output_type="field").field


# Thin parts


@pytest.mark.parametrize("kind", ["ball", "rod", "sheet"])
def test_parts_one_step_thick_are_found_wherever_they_lie(kind: str) -> None:
    """An eighth of a block's width, at random places and angles, about a grid point: the dense grid sees them."""
    generator = torch.Generator().manual_seed(7)
    for _ in range(4):
        direction = torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0)
        grid_point = torch.randint(30, 100, (3,), generator=generator) * STEP - 1
        centre = grid_point + direction * (0.4 * STEP * torch.rand(1, generator=generator))
        shape: Shape = {
            "ball": sphere(0.5 * STEP, centre=tuple(centre.tolist())),
            "rod": rod_through(grid_point + 0.2 * STEP, direction, 0.5 * STEP),
            "sheet": sheet_through(centre, direction, 0.5 * STEP),
        }[kind]
        field = RawShapeField(shape)
        assert block_size(field, RESOLUTION) == 8
        (mesh,) = extract_mesh(field, RESOLUTION, vertex_colors=False)
        (dense,) = extract_mesh(field, RESOLUTION, vertex_colors=False, dense=True)
        assert len(mesh.vertices) == len(dense.vertices)
        order, expected = np.lexsort(mesh.vertices.T), np.lexsort(dense.vertices.T)
        # both are float64 roundings of the same crossing of float32 values
        np.testing.assert_allclose(mesh.vertices[order], dense.vertices[expected], rtol=0, atol=1e-12)
        assert mesh.is_watertight


def test_the_widening_is_what_finds_a_small_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ball lies in the middle of a block, where its corners are farthest: position 4 of 8 along each axis."""
    centre = (4 + 8 * 6 - 1) * STEP - 1  # the search counts grid points from 1
    field = RawShapeField(sphere(0.6 * STEP, centre=(centre,) * 3))
    (mesh,) = extract_mesh(field, RESOLUTION)
    assert len(mesh.faces) == 8  # an octahedron around one grid point
    monkeypatch.setattr(sparse_grid, "widening", lambda size, safety: 0.45)
    with pytest.raises(ValueError, match="the surface is empty"):
        extract_mesh(field, RESOLUTION)


def spike(shape: Shape) -> Shape:
    """A distance that is seen less than a step away from the shape, and the same farther on."""
    return lambda points: shape(points).clamp(max=0.9 * STEP)


def thin_stick(points: Tensor) -> Tensor:
    """From (0, -0.6, 0) to (0, 0.6, 0), three steps thick, and off the coarse grid."""
    across = torch.maximum((points[:, 0] + 0.5 * STEP).abs(), (points[:, 2] + 2 * STEP).abs()) - 1.5 * STEP
    return torch.maximum(across, points[:, 1].abs() - 0.6)


def test_what_is_attached_to_something_found_is_followed_to_its_end() -> None:
    field = RawShapeField(either(sphere(0.3), spike(thin_stick)))
    (mesh,) = extract_mesh(field, RESOLUTION)
    assert_sound(mesh)
    np.testing.assert_allclose(mesh.bounds[:, 1], [-0.6, 0.6], atol=STEP)
    (dense,) = extract_mesh(field, RESOLUTION, dense=True)
    assert_same_surface(mesh, dense, STEP, within=1e-9)


def test_a_spike_alone_that_no_sample_feels_may_be_missed() -> None:
    """The limit that the module's docstring states: nothing tells such a part from empty space."""
    ball, stick = sphere(0.3, centre=(0.6, 0.0, 0.0)), spike(thin_stick)
    (mesh,) = extract_mesh(RawShapeField(either(ball, stick)), RESOLUTION)
    (alone,) = extract_mesh(RawShapeField(ball), RESOLUTION)
    (dense,) = extract_mesh(RawShapeField(either(ball, stick)), RESOLUTION, dense=True)
    assert dense.body_count == 2
    assert mesh.body_count in (1, 2)
    assert mesh.is_watertight
    assert alone.bounds[0, 0] > 0.29


# Fields of planes


def test_blocks_are_no_larger_than_texels() -> None:
    field = ball_field(0.5, size=64)
    assert [block_size(field, n) for n in (64, 128, 256, 384, 512, 1024)] == [1, 2, 4, 4, 8, 16]
    shape = RawShapeField(sphere(0.5))
    assert [block_size(shape, n) for n in (16, 32, 63, 64, 256, 1024)] == [1, 2, 2, 4, 16, 16]


@pytest.mark.parametrize("cap_at_box", [True, False])
@pytest.mark.parametrize("resolution", [48, 97])
def test_surface_is_that_of_the_dense_grid(resolution: int, cap_at_box: bool) -> None:
    """The larger ball is cut by the faces of the box. 1e-4 of a step: folding rounds densities by some 1e-6."""
    field = ball_field(0.6, 1.2, 0.3)
    arguments = {"cap_at_box": cap_at_box, "vertex_colors": False}
    found = extract_mesh(field, resolution, **arguments)
    for mesh, dense in zip(found, extract_mesh(field, resolution, dense=True, **arguments), strict=True):
        assert_same_surface(mesh, dense, 2 / (resolution - 1), within=1e-4)
        assert mesh.is_watertight == dense.is_watertight
        assert mesh.is_winding_consistent


@pytest.mark.parametrize(("resolution", "texels"), [(130, 1.05), (124, 2.2)])
def test_surface_of_a_trained_model_is_that_of_the_dense_grid(
    bundled_field: TriplaneField, resolution: int, texels: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with blocks of twice the size. A fiftieth of a step: folding rounds raw densities by some 1e-5, and the
    surface is nearly level in places."""
    monkeypatch.setattr(sparse_grid, "MAX_BLOCK_TEXELS", texels)
    assert block_size(bundled_field, resolution) == (2 if texels < 2 else 4)
    found, whole = (
        extract_mesh(bundled_field, resolution, vertex_colors=False, dense=dense) for dense in (False, True)
    )
    for mesh, dense in zip(found, whole, strict=True):
        assert_sound(mesh)
        assert_same_surface(mesh, dense, 2 / (resolution - 1), within=0.02)


def test_batch_equals_single_fields_and_chunks_change_nothing() -> None:
    field = ball_field(0.6, 1.2, 0.3)
    together = extract_mesh(field, 80)
    for number, mesh in enumerate(together):
        (alone,) = extract_mesh(field[number], 80)
        (pieces,) = extract_mesh(field[number], 80, chunk_size=777)
        for other in (alone, pieces):
            np.testing.assert_array_equal(mesh.faces, other.faces)
            np.testing.assert_allclose(mesh.vertices, other.vertices, rtol=0, atol=1e-6)
            np.testing.assert_array_equal(mesh.visual.vertex_colors, other.visual.vertex_colors)


def test_analytic_batch_equals_single_fields() -> None:
    shapes = (sphere(0.4, centre=(0.3, 0.2, 0.1)), torus(0.6, 0.05), sphere(0.02, centre=(-0.5, -0.5, 0.3)))
    for number, mesh in enumerate(extract_mesh(RawShapeField(*shapes), 100, vertex_colors=False)):
        (alone,) = extract_mesh(RawShapeField(shapes[number]), 100, vertex_colors=False)
        np.testing.assert_array_equal(mesh.faces, alone.faces)
        np.testing.assert_array_equal(mesh.vertices, alone.vertices)


# What is evaluated


def evaluated_points(field: TriplaneField | RawShapeField, resolution: int) -> int:
    density = GridDensity(field, resolution, 2**17, progress=False)
    cells = surface_cells(density, float(field.config.density_threshold), cap_at_box=True)
    assert len(cells.entry) > 0
    return int(density.evaluated.sum())


def test_points_evaluated_grow_with_the_surface() -> None:
    """A ball of radius r has about 1.5 * 4 pi (r n / 2)^2 crossed cells on a grid of n points: 295,000 at 512. With the
    margin some twelve points per crossed cell are evaluated; the grid has 134 million."""
    field = ball_field(0.5, size=64)
    small, large = evaluated_points(field, 256), evaluated_points(field, 512)
    assert large < 15 * 1.5 * 4 * math.pi * 128**2
    assert large < 512**3 / 30
    assert large / small < 5  # a volume would grow eightfold


def test_a_query_takes_no_more_points_than_asked() -> None:
    field = RawShapeField(sphere(0.5), sphere(0.2))
    extract_mesh(field, 64, chunk_size=500)
    assert max(points for _, points, _ in field.queries) <= 1000  # entries share the points of a query
    assert sum(batch * points for batch, points, _ in field.queries) < 2 * 64**3 / 2
    assert not field.grad_enabled


def test_a_gpu_s_points_at_a_time_give_the_same_mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = (ball_field(0.5, size=16), RawShapeField(sphere(0.4, centre=(0.3, 0.2, 0.1)), torus(0.6, 0.1)))
    expected = [extract_mesh(field, 70, gradient_normals=field is fields[0]) for field in fields]
    calls: list[int] = []
    plain = density_module.run_mlp

    def counted(field: TriplaneField, hidden: torch.Tensor, outputs: int = 4) -> torch.Tensor:
        calls.append(len(hidden))
        return plain(field, hidden, outputs)

    monkeypatch.setattr(density_module, "run_mlp", counted)
    extract_mesh(fields[0], 70)
    assert max(calls) <= 2**13
    fewer, before = len(calls), sum(calls)
    calls.clear()
    monkeypatch.setattr(density_module, "points_at_a_time", lambda *_: 2**21)
    monkeypatch.setattr(density_module, "_CACHED_POINTS", 2**21)
    for field, meshes in zip(fields, expected, strict=True):
        for mesh, other in zip(meshes, extract_mesh(field, 70, gradient_normals=field is fields[0]), strict=True):
            np.testing.assert_array_equal(mesh.faces, other.faces)
            np.testing.assert_allclose(mesh.vertices, other.vertices, atol=1e-5)
            np.testing.assert_allclose(mesh.vertex_normals, other.vertex_normals, atol=1e-3)
            assert np.abs(mesh.visual.vertex_colors.astype(int) - other.visual.vertex_colors).max() <= 1
    assert sum(calls) == before
    assert len(calls) == 3 < fewer / 4  # the coarse grid, and twice what the surface needs


def test_no_point_is_asked_for_outside_the_box() -> None:
    field = RawShapeField(sphere(1.2), radius=0.7)
    extract_mesh(field, 70)
    assert field.largest_coordinate == pytest.approx(0.7, abs=1e-7)


@pytest.mark.slow
def test_1024_points_per_axis() -> None:
    field = ball_field(0.5, size=64)
    assert evaluated_points(field, 1024) < 1024**3 / 60
    (mesh,) = extract_mesh(field, 1024, vertex_colors=False)
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    # the softplus is 3 a little outside of the ball, and squares that are linear between texels, h = 1/32 apart, are
    # too large by h^2 / 6 on average, along each axis
    outside = (THRESHOLD - math.log(math.expm1(THRESHOLD))) / 20
    radius = math.sqrt(0.5**2 + outside - 3 * (1 / 32) ** 2 / 6)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * radius**3, rel=1e-3)


def test_points_that_are_not_finite_are_counted() -> None:
    field = ball_field(0.5)
    planes = field.planes.clone()
    planes[0, 1, 2, 3, 4] = math.nan
    broken = TriplaneField(planes, field.weights, field.biases, field.config)
    with pytest.raises(ValueError, match="the field's planes are not finite: 1 values"):
        extract_mesh(broken, 32)
    weights = (field.weights[0], field.weights[1] * math.inf)
    with pytest.raises(ValueError, match="the field's weights are not finite"):
        extract_mesh(TriplaneField(field.planes, weights, field.biases, field.config), 32)


def test_out_of_memory_says_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 3 GiB")

    monkeypatch.setattr("lrm_hf.meshing.isosurface.surface_cells", full)
    with pytest.raises(MemoryError, match="at `resolution` 64 of 1 fields with `chunk_size` 100: lower one.*3 GiB"):
        extract_mesh(ball_field(0.5), 64, chunk_size=100)


# The threshold before the activation


@pytest.mark.parametrize("threshold", [1e-6, 0.5, 3.0, 25.0, 1e6])
@pytest.mark.parametrize("activation", ["softplus", "exp"])
def test_raw_threshold_is_the_inverse_of_the_activation(threshold: float, activation: str) -> None:
    field = ball_field(0.5)
    config = TriplaneFieldConfig(channels=3, hidden_size=4, num_hidden_layers=1, density_activation=activation)
    field = TriplaneField(field.planes, field.weights, field.biases, config)
    expected = 1 + (math.log(threshold) if activation == "exp" else threshold + math.log(-math.expm1(-threshold)))
    assert raw_threshold(field, threshold) == pytest.approx(expected, rel=1e-5, abs=1e-5)  # float32 activations


def test_raw_threshold_out_of_reach() -> None:
    field = SimpleNamespace(planes=torch.zeros(1), density_from_raw=lambda raw: raw.clamp(0, 5))
    assert raw_threshold(field, 6.0) == math.inf
    assert raw_threshold(field, -1.0) < -1e38


# Normals


def test_normals_from_the_gradient_are_those_of_the_shape() -> None:
    shapes = (sphere(0.5, centre=(0.1, 0.2, -0.1)), torus(0.5, 0.2))
    ball, ring = extract_mesh(RawShapeField(*shapes), 32, gradient_normals=True, vertex_colors=False)
    expected = ball.vertices - np.array([0.1, 0.2, -0.1])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(ball.vertex_normals, expected, atol=1e-5)  # float32 gradients
    x, y, z = ring.vertices.T
    circle = np.stack([x, y, np.zeros_like(z)], axis=1) * (0.5 / np.hypot(x, y))[:, None]
    expected = ring.vertices - circle
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(ring.vertex_normals, expected, atol=1e-5)


def test_normals_of_a_triplane_field() -> None:
    """Squares that are linear between 64 texels have slopes off by up to 1/64 along each axis, at vertices 0.5 out."""
    field = ball_field(0.5, size=64)
    for grad in (torch.no_grad(), torch.inference_mode()):
        with grad:
            field = TriplaneField(field.planes.clone(), field.weights, field.biases, field.config)
            (mesh,) = extract_mesh(field, 64, gradient_normals=True)
        expected = mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True)
        cosine = (mesh.vertex_normals * expected).sum(axis=1)
        assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < math.degrees(math.sqrt(3) / 64 / 0.5)


def test_normals_at_the_cap_are_those_of_the_box() -> None:
    def rod(points: Tensor) -> Tensor:
        return torch.hypot(points[:, 0], points[:, 1]) - 0.4

    (mesh,) = extract_mesh(RawShapeField(rod), 32, gradient_normals=True)
    top, bottom = mesh.vertices[:, 2] > 1, mesh.vertices[:, 2] < -1
    np.testing.assert_array_equal(mesh.vertex_normals[top], np.broadcast_to([0.0, 0.0, 1.0], (top.sum(), 3)))
    np.testing.assert_array_equal(mesh.vertex_normals[bottom], np.broadcast_to([0.0, 0.0, -1.0], (bottom.sum(), 3)))
    assert np.abs(mesh.vertex_normals[~(top | bottom)][:, 2]).max() < 1e-6


def test_where_the_gradient_vanishes_normals_are_those_of_the_faces() -> None:
    class Steps(ShapeField):
        def query(self, points: Tensor) -> tuple[Tensor, Tensor]:
            inside = torch.stack([shape(p) for shape, p in zip(self.shapes, points, strict=True)]) < 0
            return 5.0 * inside[..., None] + 0.0 * points[..., :1], self.rgb(points)

    plain, mesh = (extract_mesh(Steps(sphere(0.5)), 32, gradient_normals=wanted)[0] for wanted in (False, True))
    np.testing.assert_allclose(mesh.vertex_normals, plain.vertex_normals, atol=1e-12)
