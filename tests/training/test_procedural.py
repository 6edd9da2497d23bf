# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Procedural objects against their own occupancy and analytic pictures."""

from __future__ import annotations

import math
from random import Random

import pytest
import torch

from lrm_hf.cameras import Cameras, camera_rays, orbit_cameras, project_points
from lrm_hf.training import procedural, procedural_families, procedural_textures
from lrm_hf.training import procedural_primitives as shapes
from lrm_hf.training import procedural_rendering as rendering
from lrm_hf.training.procedural import render_pool, sample_cameras, sample_objects
from lrm_hf.training.procedural_assembly import MAX_PRIMITIVES, Assembly, turn
from lrm_hf.training.views import ObjectViews


WHITE = procedural_textures.Material((1.0, 1.0, 1.0))


def made(*build) -> procedural.ProceduralObjects:
    """One object per function, as built: neither centred nor scaled nor turned."""
    parts = []
    for function in build:
        assembly = Assembly(0)
        function(assembly)
        parts.append(assembly.parts)
    return procedural._pack(parts, ["test"] * len(parts))


def float_depth(objects, cameras, size) -> torch.Tensor:
    """Depth before it is stored in half precision, (objects, views, size, size)."""
    scene = rendering.build_scene(objects.to_local, objects.centre, objects._table(), cameras)
    candidates = rendering.tile_candidates(objects._corners(), objects.kind != shapes.INACTIVE, cameras, size)
    depth = rendering.render_scene(scene, candidates, size, 1)[2]
    return depth.unflatten(0, (len(objects), cameras.shape[1]))


def orbit(objects: int, views: int, elevation: float = 20.0) -> Cameras:
    return orbit_cameras(views, elevation=elevation).reshape(1, views).expand(objects, views)


def test_sphere_is_seen_where_the_camera_rays_meet_it():
    objects = made(lambda a: a.ball((0.6, 0.6, 0.6), (0.1, 0.2, -0.1), WHITE))
    cameras = orbit(1, 3)
    depth = float_depth(objects, cameras, 48)[0]
    origin, direction = camera_rays(cameras[0], 48, 48)
    offset = origin - torch.tensor([0.1, 0.2, -0.1])
    b = (offset * direction).sum(-1)
    discriminant = b * b - (offset.square().sum(-1) - 0.36)
    expected = torch.where(discriminant > 0, -b - discriminant.clamp(min=0).sqrt(), 0.0)
    inner = discriminant.abs() > 1e-4  # rounding decides about tangent rays
    assert float((depth - expected)[inner].abs().max()) < 1e-4
    assert int((depth > 0).sum()) > 1000


def test_silhouette_area_of_a_sphere():
    radius, distance, size = 0.8, 2.0, 128
    objects = made(lambda a: a.ball((radius,) * 3, (0, 0, 0), WHITE))
    views = objects.render(orbit(1, 2), size, antialias=4)[0]
    alpha = views.rgba[:, 3].float() / 255
    # the silhouette seen from the axis is a circle of this radius in pixels, with focal 0.75
    pixels = 0.75 * size * radius / math.sqrt(distance**2 - radius**2)
    assert alpha.sum((1, 2)).tolist() == pytest.approx([math.pi * pixels**2] * 2, rel=2e-3)
    levels = (views.rgba[:, 3].float() * 16 / 255).flatten()
    assert float((levels - levels.round()).abs().max()) < 0.04
    assert int(((alpha > 0) & (alpha < 1)).sum()) > 100


def test_without_antialiasing_alpha_is_whether_the_centre_ray_hits():
    objects = sample_objects(4, torch.Generator().manual_seed(2))
    sharp = objects.render(orbit(4, 2), 48)
    smooth = objects.render(orbit(4, 2), 48, antialias=3)
    for one, two in zip(sharp, smooth, strict=True):
        assert set(one.rgba[:, 3].unique().tolist()) <= {0, 255}
        assert torch.equal(one.rgba[:, 3] == 255, one.depth > 0)
        assert torch.equal(one.depth, two.depth)
        same = (one.rgba == two.rgba).all(1)
        assert 0.6 < float(same.float().mean()) < 1.0


def test_a_part_appears_where_its_position_projects():
    at = torch.tensor([0.4, -0.3, 0.5])
    objects = made(lambda a: a.box((0.05, 0.05, 0.05), at.tolist(), WHITE, turn(20, 30, 40)))
    cameras, size = orbit(1, 5, 35.0), 100
    alpha = objects.render(cameras, size, antialias=3)[0].rgba[:, 3].float()
    uv = project_points(cameras[0], at[None].expand(5, 1, 3))[0][:, 0]
    grid = torch.arange(size) + 0.5
    u = (alpha.sum(1) * grid).sum(1) / alpha.sum((1, 2)) / size
    v = (alpha.sum(2) * grid).sum(1) / alpha.sum((1, 2)) / size
    # the centroid of a small box's picture is that of its centre to well within a pixel
    assert float((torch.stack([u, v], 1) - uv).abs().max()) < 0.005


@pytest.fixture(scope="module")
def mixture() -> procedural.ProceduralObjects:
    generator = torch.Generator().manual_seed(11)
    return procedural._concatenate([sample_objects(1, generator, family=name) for name in procedural_families.FAMILIES])


def test_surface_separates_occupied_from_free(mixture):
    cameras = orbit(len(mixture), 3, 25.0)
    depth = float_depth(mixture, cameras, 24)
    origin, direction = camera_rays(cameras, 24, 24)
    seen = depth > 0

    def occupied(offset):
        points = (origin + direction * (depth + offset)[..., None]).flatten(1, 3)
        return mixture.occupancy(points).unflatten(1, seen.shape[1:])[seen].float().mean()

    assert float(occupied(1e-3)) >= 0.99
    assert float(occupied(-1e-3)) <= 1e-3
    # nor is anything passed on the way there, or met where the picture is empty
    for fraction in torch.linspace(0.05, 0.95, 10):
        reach = torch.where(seen, depth - 1e-3, 3.5)
        points = origin + direction * (0.9 + (reach - 0.9) * fraction)[..., None]
        assert float(mixture.occupancy(points.flatten(1, 3)).float().mean()) < 1e-4


def test_objects_are_centred_and_reach_to_radius_one(mixture):
    generator = torch.Generator().manual_seed(0)
    outside = torch.nn.functional.normalize(torch.randn(len(mixture), 2000, 3, generator=generator), dim=-1)
    outside = outside * (1.01 + 0.5 * torch.rand(len(mixture), 2000, 1, generator=generator))
    assert not bool(mixture.occupancy(outside).any())
    unturned = mixture.normalised()
    points, valid = shapes.surface_points(
        mixture.kind.flatten(), mixture.quadric.flatten(0, 1), mixture.tube.flatten(), angles=144, levels=61
    )
    points = mixture._to_world(points.unflatten(0, mixture.kind.shape)).flatten(1, 2)
    valid = valid.unflatten(0, mixture.kind.shape).flatten(1, 2)
    farthest = torch.where(valid, points.norm(dim=-1), 0.0).amax(1)
    # the bound is sampled: a finer sampling finds at most this much more
    assert 0.999 < float(farthest.min()) <= float(farthest.max()) < 1.01
    # already of unit size: doing it again, about the turned box, moves little
    ratio = unturned.half_size / mixture.half_size
    assert 0.75 < float(ratio.min()) <= float(ratio.max()) < 1.35


def test_height_is_centred_and_a_chair_stands_upright():
    objects = sample_objects(6, torch.Generator().manual_seed(4), family="chair")
    cameras = orbit(6, 4, 0.0)
    depth = float_depth(objects, cameras, 64)
    origin, direction = camera_rays(cameras, 64, 64)
    z = (origin + direction * depth[..., None])[..., 2]
    seen = depth > 0
    low, high = torch.where(seen, z, 9.0).amin((1, 2, 3)), torch.where(seen, z, -9.0).amax((1, 2, 3))
    assert float((low + high).abs().max()) < 0.08  # two pixels
    # legs are thin, seats and backs are not: far less shows in the lowest fifth
    lowest = (seen & (z < low[:, None, None, None] * 0.6)).sum((1, 2, 3)).float()
    middle = (seen & (z.abs() < 0.2)).sum((1, 2, 3)).float()
    assert bool((lowest < middle).all())


def test_half_of_the_objects_face_the_source_camera():
    objects = sample_objects(120, torch.Generator().manual_seed(7), family="shelf")
    straight = (objects.rotation[:, 0] - torch.eye(3)).abs().amax((1, 2)) < 1e-6
    assert 0.4 < float(straight.float().mean()) < 0.6


def test_same_seed_same_objects_and_pictures():
    first, second = (sample_objects(3, torch.Generator().manual_seed(9)) for _ in range(2))
    other = sample_objects(3, torch.Generator().manual_seed(10))
    assert first.names == second.names
    for name in ("kind", "rotation", "centre", "half_size", "quadric", "cavity", "tube", "material"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert not torch.equal(first.centre, other.centre)
    for one, two in zip(first.render(orbit(3, 2), 32, 2), second.render(orbit(3, 2), 32, 2), strict=True):
        assert torch.equal(one.rgba, two.rgba)
        assert torch.equal(one.depth, two.depth)


def test_an_object_does_not_depend_on_its_batch():
    generator = torch.Generator().manual_seed(12)
    together = sample_objects(5, torch.Generator().manual_seed(12))
    apart = [sample_objects(1, generator) for _ in range(5)]
    cameras = orbit(5, 2)
    pictures = together.render(cameras, 40, 2)
    chunked = together.render(cameras, 40, 2, max_rays=1)
    for index, single in enumerate(apart):
        assert single.names == together.names[index : index + 1]
        assert torch.allclose(single.centre, together.centre[index : index + 1], atol=1e-6)
        alone = single.render(cameras[index : index + 1], 40, 2)[0]
        for views in (alone, chunked[index]):
            # a matrix product of another batch size may round the last bit differently, and so move an edge
            changed = (views.rgba.int() - pictures[index].rgba.int()).abs().amax(1) > 1
            assert float(changed.float().mean()) < 2e-3


@pytest.mark.parametrize("family", procedural_families.FAMILIES)
def test_every_family_fits_the_slots(family):
    looks = set()
    for seed in range(50):
        assembly = Assembly(seed)
        assert procedural_families.compose(assembly, family) == family
        assert 1 <= len(assembly.parts) <= MAX_PRIMITIVES
        for part in assembly.parts:
            assert min(part.size) > 0
            assert torch.det(torch.from_numpy(part.rotation)).item() == pytest.approx(1.0, abs=1e-9)
            assert min(*part.material.colour, *part.material.second) >= 0
            assert max(*part.material.colour, *part.material.second) <= 1
        looks.add(tuple((part.centre, part.size, part.material) for part in assembly.parts))
    assert len(looks) == 50


def test_two_thirds_are_composed():
    free = {"pile", "mirrored", "ringed", "turned_stack"}
    names = [procedural_families.compose(Assembly(seed)) for seed in range(600)]
    assert 0.58 < sum(name not in free for name in names) / len(names) < 0.72
    assert len(set(procedural_families.FAMILIES) - free) >= 16


def test_mirrored_objects_are_symmetric():
    objects = made(lambda a: (setattr(a, "random", Random(5)), procedural_families.mirrored(a)))
    points = torch.rand(1, 4000, 3, generator=torch.Generator().manual_seed(0)) * 4 - 2
    here, there = objects.occupancy(points), objects.occupancy(points * torch.tensor([-1.0, 1.0, 1.0]))
    assert int(here.sum()) > 0
    assert torch.equal(here, there)


def test_textures_at_hand_worked_places():
    x = torch.tensor([0.05, 0.30, 0.55, 0.80])
    point = torch.stack([x, torch.zeros(4), torch.zeros(4)])
    axis = torch.tensor([[1.0], [0.0], [0.0]]).expand(3, 4)

    def weights(texture, frequency):
        full = (torch.full((4,), texture), point, axis, torch.full((4,), frequency), torch.zeros(4))
        return procedural_textures.texture_weights(*full).tolist()

    assert weights(procedural_textures.PLAIN, 2.0) == [0, 0, 0, 0]
    assert weights(procedural_textures.STRIPES, 2.0) == [1, 0, 1, 0]  # x * 2 modulo 1: 0.1, 0.6, 0.1, 0.6
    assert weights(procedural_textures.CHECKER, 2.0) == [0, 0, 1, 1]  # floor(x * 2 + 0.25): 0, 0, 1, 1
    assert weights(procedural_textures.GRADIENT, 1.0) == pytest.approx([0.525, 0.65, 0.775, 0.9])
    for texture in range(9):
        assert all(0 <= value <= 1 for value in weights(texture, 5.0))


def test_pool_cameras():
    cameras = sample_cameras(3, 8, torch.Generator().manual_seed(1))
    position = cameras.position
    assert cameras.shape == (11,)
    assert torch.allclose(position.norm(dim=-1), torch.full((11,), 2.0), atol=1e-5)
    azimuth = torch.rad2deg(torch.atan2(position[:, 0], -position[:, 1])) % 360
    elevation = torch.rad2deg(torch.asin(position[:, 2] / 2))
    assert float(position[:3, 0].abs().max()) < 1e-6
    assert float(position[:3, 1].max()) < 0
    assert float(elevation[0]) == pytest.approx(20, abs=1e-3)
    assert -0.01 <= float(elevation[:3].min()) <= float(elevation[:3].max()) <= 40.01
    assert (azimuth[3:] / 45).long().tolist() == list(range(8))
    assert -15.01 <= float(elevation[3:].min()) <= float(elevation[3:].max()) <= 60.01
    assert 1 <= int(((elevation[3:] - 20).abs() < 1e-3).sum()) <= 7


def test_pool_is_resumable_and_does_not_depend_on_its_batches(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    kwargs = {"size": 24, "antialias": 2, "sources": 1, "targets": 2, "seed": 3}
    assert render_pool(one, 4, batch=3, **kwargs) == 4
    assert render_pool(two, 2, batch=1, **kwargs) == 2
    kept = (two / "000001.npz").stat().st_mtime_ns
    assert render_pool(two, 4, batch=1, **kwargs) == 2
    assert (two / "000001.npz").stat().st_mtime_ns == kept
    assert sorted(path.name for path in two.iterdir()) == [f"{index:06d}.npz" for index in range(4)]
    for index in range(4):
        first, second = (ObjectViews.load(where / f"{index:06d}.npz") for where in (one, two))
        assert tuple(first.rgba.shape) == (3, 4, 24, 24)
        assert torch.equal(first.cameras.cam2world, second.cameras.cam2world)
        assert float(((first.rgba.int() - second.rgba.int()).abs().amax(1) > 1).float().mean()) < 5e-3
    other = tmp_path / "other"
    procedural.main(
        [str(other), "--num-objects", "1", "--size", "24", "--sources", "1", "--targets", "2", "--seed", "4"]
    )
    assert not torch.equal(ObjectViews.load(other / "000000.npz").rgba, ObjectViews.load(one / "000000.npz").rgba)


def test_bad_arguments_are_named():
    objects = sample_objects(2, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="num_objects"):
        sample_objects(0)
    with pytest.raises(ValueError, match="family"):
        sample_objects(1, family="unicorn")
    with pytest.raises(ValueError, match="cameras"):
        objects.render(orbit(3, 2), 16)
    with pytest.raises(ValueError, match="size"):
        objects.render(orbit(2, 2), 0)
    with pytest.raises(ValueError, match="antialias"):
        objects.render(orbit(2, 2), 16, antialias=0)
    with pytest.raises(ValueError, match="points"):
        objects.occupancy(torch.zeros(3, 5, 3))
