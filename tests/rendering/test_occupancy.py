# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Nothing that shows lies in a cell that counts as empty, and no ray that passes an occupied one is left out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lrm_hf.cameras import Cameras, camera_rays, look_at_cameras, orbit_cameras
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.rendering import occupancy
from lrm_hf.rendering.occupancy import MAX_EMPTY_ALPHA, max_empty_raw, occupancy_grid, occupied_pixels
from lrm_hf.rendering.sampling import ray_box_intersection


def blob_field(center: float, sharpness: float = 50.0) -> TriplaneField:
    """A blob of density exp(4 - sharpness * distance^2) about (center, 0, 0): three planes that are parabolas, one of
    which counts each axis twice, so that distances along y and z weigh double."""
    config = TriplaneFieldConfig(
        channels=1,
        hidden_size=2,
        num_hidden_layers=1,
        density_activation="exp",
        density_bias=0.0,
        sampling="uniform",
        num_samples=32,
        color_padding=0.0,
    )
    axis = (torch.arange(64) + 0.5) / 32 - 1
    column, row = axis[None, :], axis[:, None]
    aside = 0.5 * (column - center) ** 2 + row**2
    planes = torch.stack([aside, aside, column**2 + row**2])[None, :, None]
    weights = (
        torch.tensor([[sharpness] * 3, [0.0] * 3]),
        torch.tensor([[-1.0, 0.0], [0.1, 0.0], [0.0, 0.0], [0.0, 0.0]]),
    )
    return TriplaneField(planes, weights, (torch.zeros(2), torch.tensor([4.0, 0.0, 0.0, 0.0])), config)


def random_field(batch: int = 1, size: tuple[int, int] = (14, 14), shift: float = -8.0, **options) -> TriplaneField:
    generator = torch.Generator().manual_seed(3)
    config = TriplaneFieldConfig(**({"channels": 6, "hidden_size": 16, "density_bias": shift} | options))
    mlp = FieldMLP(config).requires_grad_(False)
    for layer in mlp.layers:
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * math.sqrt(2 / layer.in_features))
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.2)
    planes = torch.randn(batch, 3, config.channels, *size, generator=generator) * 2
    return TriplaneField(planes, *mlp.parameters_in_float32(), config)


def cell_of(points: Tensor, radius: float, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    index = ((points / radius + 1) * (cells / 2)).long().clamp(0, cells - 1)
    return index[:, 0], index[:, 1], index[:, 2]


@pytest.mark.parametrize("points", [1000, 2**21])
def test_the_points_at_a_time_change_nothing(points: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = (blob_field(0.3), random_field(batch=2, size=(20, 14)))
    expected = [occupancy_grid(field) for field in fields]
    counts: list[int] = []
    plain = occupancy.run_mlp

    def counted(field: TriplaneField, hidden: Tensor, outputs: int = 4) -> Tensor:
        counts.append(len(hidden))
        return plain(field, hidden, outputs)

    monkeypatch.setattr(occupancy, "points_at_a_time", lambda *_: points)
    monkeypatch.setattr(occupancy, "run_mlp", counted)
    for field, grid in zip(fields, expected, strict=True):
        counts.clear()
        assert torch.equal(occupancy_grid(replace(field)), grid)
        if points == 2**21:
            assert len(counts) == 2 * len(field)  # the lattice, and the cells that are looked at again
        else:
            assert max(counts) <= max(points, 66**2)  # a layer of the lattice at least


def test_the_limit_is_an_alpha_along_a_blocks_diagonal() -> None:
    config = TriplaneFieldConfig(radius=2.0, density_bias=-1.0)
    way = math.sqrt(3) * 4.0 / 50
    density = math.log1p(math.exp(max_empty_raw(config, 50) - 1.0))
    assert 1 - math.exp(-density * way) == pytest.approx(MAX_EMPTY_ALPHA, rel=1e-6)
    config = TriplaneFieldConfig(density_activation="exp", density_bias=0.5, sampling="uniform")
    density = math.exp(max_empty_raw(config, 64) + 0.5)
    assert 1 - math.exp(-density * math.sqrt(3) / 32) == pytest.approx(MAX_EMPTY_ALPHA, rel=1e-6)
    # where a whole ray counts as of length 1, however short it is
    config = TriplaneFieldConfig(sampling="uniform", step_length="normalized", density_activation="exp")
    assert 1 - math.exp(-math.exp(max_empty_raw(config, 64) - 1.0)) == pytest.approx(MAX_EMPTY_ALPHA, rel=1e-6)


def test_a_blob_in_each_entry_of_a_batch() -> None:
    fields = [blob_field(0.3), blob_field(-0.4)]
    both = TriplaneField(torch.cat([f.planes for f in fields]), fields[0].weights, fields[0].biases, fields[0].config)
    grid = occupancy_grid(both)
    assert grid.shape == (2, 128, 128, 128)
    points = torch.rand(200_000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for entry, center in enumerate((0.3, -0.4)):
        assert torch.equal(grid[entry], occupancy_grid(both[entry])[0])
        squared = ((points - torch.tensor([center, 0.0, 0.0])) ** 2 * torch.tensor([1.0, 2.0, 2.0])).sum(dim=1)
        limit = (4 - max_empty_raw(both.config, 64)) / 50  # squared distance at which the limit is reached
        live = grid[entry][cell_of(points, 1.0, 128)]
        assert bool(live[squared < limit].all())
        # and little more: the diagonal of a block of 1/32. Not at the faces of the box, where features fade to a half
        far = (squared.sqrt() > limit**0.5 + 1.1 / 32 * 2**0.5 * 3**0.5) & (points.abs().amax(dim=1) < 0.9)
        assert not bool(live[far].any())
    assert 0.01 < float(grid.float().mean()) < 0.1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch": 2, "hidden_act": "silu", "density_activation": "exp", "shift": -9.0},
        {"size": (14, 9), "radius": 0.7},
        {"size": (20, 20), "sampling": "uniform", "step_length": "normalized", "shift": -11.0},
        {"size": (5, 6)},
    ],
)
def test_empty_cells_are_empty_all_over(options: dict) -> None:
    """Random fields, rougher than any that a model makes: each texel has a value of its own."""
    field = random_field(**options)
    grid = occupancy_grid(field)
    cells = grid.shape[-1]
    assert cells == 2 * max(16, *field.planes.shape[-2:])
    radius = field.config.radius
    points = (torch.rand(len(field), 200_000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1) * radius
    raw, _ = field.raw(points)
    for entry in range(len(field)):
        live = grid[entry][cell_of(points[entry], radius, cells)]
        missed = raw[entry, ~live, 0]
        assert missed.numel() > 2000, "something is empty"
        assert float(live.float().mean()) > 0.002, "something is not"
        # probes are dense, not everywhere: a point in some thousands may lie above the bound, by little
        limit = max_empty_raw(field.config, cells // 2)
        assert float((missed > limit).float().mean()) < 2e-3
        density, bound = field.density_from_raw(missed.max()), field.density_from_raw(torch.tensor(limit))
        assert float(density) < 20 * float(bound)


def test_found_again_after_a_change_in_place() -> None:
    field = blob_field(0.3)
    first = occupancy_grid(field)
    assert occupancy_grid(field) is first
    field.biases[1][0] -= 20.0  # nothing is left
    assert not bool(occupancy_grid(field).any())
    field.biases[1][0] += 20.0
    assert torch.equal(occupancy_grid(field), first)


@pytest.mark.parametrize("cells", [32, 33, 50])
def test_every_pixel_that_looks_at_an_occupied_cell_is_kept(cells: int) -> None:
    """From outside and from within the box, in whole pictures and regions, with a pose that is a rotation up to half a
    percent only and a skewed pixel grid."""
    generator = torch.Generator().manual_seed(cells)
    seeds = (torch.rand(2, 1, cells, cells, cells, generator=generator) < 8 / cells**3).float()
    grid = torch.nn.functional.max_pool3d(seeds, kernel_size=5, stride=1, padding=2)[:, 0] > 0
    radius, height, width = 0.8, 24, 20
    position = torch.randn(2, 4, 3, generator=generator) * 1.5
    position[:, 0] *= 0.2  # inside the box
    cameras = look_at_cameras(position, torch.randn(2, 4, 3, generator=generator) * 0.3)
    intrinsics = cameras.intrinsics.clone()
    intrinsics[..., 0, 1] = 0.1
    cam2world = cameras.cam2world.clone()
    cam2world[..., :3, :3] += 0.001 * torch.randn(2, 4, 3, 3, generator=generator)
    cameras = Cameras(cam2world, intrinsics).validate()
    for region in ({}, {"anchors": torch.tensor([5.0, 9.0]).expand(2, 4, 2), "full_size": (40, 36)}):
        origins, directions = (part.flatten(2, 3) for part in camera_rays(cameras, height, width, **region))
        near, far, hit = ray_box_intersection(origins, directions, radius)
        found = occupied_pixels(grid, radius, cameras, height, width, **region).flatten(2)
        depths = near + torch.linspace(0, 1, 1500) * (far - near)
        points = origins[..., None, :] + depths[..., None] * directions[..., None, :]
        for entry in range(2):
            live = grid[entry][cell_of(points[entry].reshape(-1, 3), radius, cells)]
            passes = live.reshape(4, height * width, -1).any(dim=2) & hit[entry, ..., 0]
            assert bool(found[entry][passes].all())
            assert int(passes.sum()) > 50
            assert int(found[entry].sum()) < found[entry].numel()


def test_pixels_of_one_block() -> None:
    """A block of two cells along an axis, seen along y from a distance of 3: its front face, an eighth of the box wide,
    at a depth of 3 fills width / depth * focal * size = 0.25 / 3 * 0.75 * 96 = 6 pixels from the middle on."""
    grid = torch.zeros(1, 16, 16, 16, dtype=torch.bool)
    grid[0, 8:10, 8:10, 8:10] = True
    cameras = Cameras.canonical(distance=3.0, focal=0.75).reshape(1, 1)
    found = occupied_pixels(grid, 1.0, cameras, 96, 96)[0, 0]
    expected = torch.zeros(96, 96, dtype=torch.bool)
    expected[42:48, 48:54] = True
    assert torch.equal(found, expected)
    assert not bool(occupied_pixels(torch.zeros_like(grid), 1.0, cameras, 96, 96).any())
    # the same camera moved along y: beyond the box, and to within the block, which reaches behind it
    for place, expected_pixels in ((3.0, 0), (0.1, 96 * 96)):
        cam2world = cameras.cam2world.clone()
        cam2world[..., 1, 3] = place
        moved = Cameras(cam2world, cameras.intrinsics)
        assert int(occupied_pixels(grid, 1.0, moved, 96, 96).sum()) == expected_pixels


@pytest.mark.parametrize("views", [3, 16])
def test_the_views_at_a_time_change_nothing(views: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = torch.rand(2, 11, 11, 11, generator=torch.Generator().manual_seed(0)) < 0.02
    cameras = orbit_cameras(7, elevation=10.0)
    cameras = Cameras(*(part.expand(2, 7, *part.shape[1:]) for part in (cameras.cam2world, cameras.intrinsics)))
    anchors = torch.arange(28.0).reshape(2, 7, 2)
    region = {"height": 40, "width": 50, "anchors": anchors, "full_size": (96, 96)}
    expected = occupied_pixels(grid, 1.0, cameras, **region)
    assert 0.1 < float(expected.float().mean()) < 0.9
    monkeypatch.setattr(occupancy, "_views_at_a_time", lambda *_: views)
    assert torch.equal(occupied_pixels(grid, 1.0, cameras, **region), expected)
