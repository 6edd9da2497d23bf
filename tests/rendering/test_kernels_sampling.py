# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The Triton kernels around the field's own, against the torch functions that they stand for: where along a ray to
look, what becomes of the sums, and from pixels to a list of rays and back. In Triton's interpreter where there is no
CUDA device."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from kernel_scenes import DEVICE, VIEWS, random_field
from torch import Tensor

from lrm_hf import render
from lrm_hf.cameras import Cameras, camera_rays, look_at_cameras
from lrm_hf.modeling.field import TriplaneField
from lrm_hf.rendering import kernels, occupancy, renderer
from lrm_hf.rendering.compositing import resolve
from lrm_hf.rendering.kernels_launch import FieldLaunch, Rays
from lrm_hf.rendering.kernels_pixels_launch import list_rays, to_pixels
from lrm_hf.rendering.kernels_sampling_launch import binned_samples, importance_samples, resolve_sums
from lrm_hf.rendering.sampling import ray_box_intersection


# float32 sums in another order, at depths up to 4, of which a nearly flat cdf makes more
CLOSE = 1e-5


def rays_of(field: TriplaneField, side: int = 5) -> tuple[Tensor, ...]:
    """Origins, directions, near, far and hit of all rays of both views; some miss the box."""
    cameras = VIEWS.to(DEVICE).expand(len(field), 2)
    origins, directions = (part.flatten(1, 3).contiguous() for part in camera_rays(cameras, side, side))
    near, far, hit = ray_box_intersection(origins, directions, field.config.radius * field.config.bounds_scale)
    assert 0.5 < float(hit.float().mean()) < 1
    return origins, directions, near, far, hit


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def grid_of(batch: int, cells: int = 5) -> Tensor:
    return noise(batch, cells, cells, cells, seed=3) < 0.5


def listed_numbers(listed: tuple[Tensor, Tensor]) -> list[list[int]]:
    live, counts = (part.flatten(0, 1).tolist() for part in listed)
    return [row[:count] for row, count in zip(live, counts, strict=True)]


def assert_same_lists(actual: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    """Up to samples on a cell's face, on which side of which rounding decides."""
    found, wanted = listed_numbers(actual), listed_numbers(expected)
    assert all(row == sorted(set(row)) for row in found)
    differing = sum(len(set(a) ^ set(b)) for a, b in zip(found, wanted, strict=True))
    assert sum(map(len, wanted)) > 50 and differing <= 0.01 * sum(map(len, wanted))


class TestSamples:
    @pytest.mark.parametrize("jittered", [False, True])
    @pytest.mark.parametrize("samples", [8, 14, 26, 48])
    @pytest.mark.parametrize("options", [{}, {"density_activation": "exp", "density_bias": 3.0, "radius": 0.9}])
    def test_importance(self, options: dict[str, Any], samples: int, jittered: bool) -> None:
        """Values of the torch path, which serves gradients of the cameras: its depths, and what it looks at."""
        field = random_field(**options)
        origins, directions, near, far, hit = rays_of(field)
        launch = FieldLaunch.of(field, "fp32")
        half = (*near.shape[:2], samples // 2)
        jitter = (noise(*half), noise(*half, seed=2)) if jittered else ()
        for grid in (None, grid_of(2)):
            rays = Rays(origins, directions, hit, grid)
            expected = kernels._differentiable_samples(field, launch, rays, near, far, samples, jitter)
            depths, listed = importance_samples(launch, rays, near, far, samples, jitter)
            torch.testing.assert_close(depths, expected[0], atol=CLOSE, rtol=0)
            assert bool((depths.diff(dim=-1) >= 0).all())
            assert_same_lists(listed, expected[1])

    def test_importance_of_a_wall(self) -> None:
        """All weight in one piece of the ray: the cdf has a step, and hardly rises elsewhere."""
        field = random_field(density_activation="exp", density_bias=60.0)
        origins, directions, near, far, hit = rays_of(field)
        launch, rays = FieldLaunch.of(field, "fp32"), Rays(origins, directions, hit, None)
        expected, _ = kernels._differentiable_samples(field, launch, rays, near, far, 24, ())
        depths, _ = importance_samples(launch, rays, near, far, 24, ())
        torch.testing.assert_close(depths, expected, atol=CLOSE, rtol=0)

    def test_noise_at_the_ends(self) -> None:
        """u of 0 and just below 1, and ties."""
        field = random_field()
        origins, directions, near, far, hit = rays_of(field)
        launch, rays = FieldLaunch.of(field, "fp32"), Rays(origins, directions, hit, None)
        u = torch.tensor([1 - 2**-24, 0.0, 0.5, 0.5, 0.0, 1 - 2**-24]).to(DEVICE).expand(*near.shape[:2], 6)
        jitter = (torch.zeros_like(u), u)
        expected, _ = kernels._differentiable_samples(field, launch, rays, near, far, 12, jitter)
        depths, _ = importance_samples(launch, rays, near, far, 12, jitter)
        torch.testing.assert_close(depths, expected, atol=CLOSE, rtol=0)

    @pytest.mark.parametrize("jittered", [False, True])
    @pytest.mark.parametrize("samples", [1, 7, 32])
    def test_bins(self, samples: int, jittered: bool) -> None:
        field = random_field(sampling="uniform", radius=1.2)
        origins, directions, near, far, hit = rays_of(field)
        launch = FieldLaunch.of(field, "fp32")
        jitter = (noise(*near.shape[:2], samples),) if jittered else ()
        for grid in (None, grid_of(2)):
            rays = Rays(origins, directions, hit, grid)
            expected = kernels._differentiable_samples(field, launch, rays, near, far, samples, jitter)
            depths, listed = binned_samples(launch, rays, near, far, samples, jitter[0] if jitter else None)
            torch.testing.assert_close(depths, expected[0], atol=CLOSE, rtol=0)
            if samples > 1:
                assert_same_lists(listed, expected[1])

    def test_gradients_of_planes_need_no_torch_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is for gradients of the cameras."""
        field = random_field(num_samples=8)
        field = replace(field, planes=field.planes.requires_grad_())
        *rays, hit = rays_of(field)
        inputs = (*rays, hit, torch.ones_like(rays[0]))
        color, _, _ = kernels.render_rays(field, 8, rays[0].clone().requires_grad_(), *inputs[1:])
        (expected,) = torch.autograd.grad(color.sum(), field.planes)
        monkeypatch.setattr(kernels, "_differentiable_samples", None)
        color, _, _ = kernels.render_rays(field, 8, *inputs)
        (gradient,) = torch.autograd.grad(color.sum(), field.planes)
        torch.testing.assert_close(gradient, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("sampling", ["importance", "uniform"])
def test_what_a_grid_leaves_out_is_not_seen(sampling: str) -> None:
    """In a field of steep densities: where two samples are averaged, the one in an empty cell counts as well."""
    field = random_field(batch=1, sampling=sampling, num_samples=20, density_bias=-20.0)
    weights = [weight.clone() for weight in field.weights]
    weights[-1][0] *= 10
    field = replace(field, weights=tuple(weights))
    *rays, hit = rays_of(field, side=12)
    inputs = (*rays, hit, torch.ones_like(rays[0]))
    grid = occupancy.occupancy_grid(field)
    assert 0.3 < float(grid.float().mean()) < 0.8
    exact = kernels.render_rays(field, 20, *inputs)
    assert 0.1 < float(exact[2].mean()) < 0.9
    color, _, opacity = kernels.render_rays(field, 20, *inputs, occupancy=grid)
    torch.testing.assert_close(color, exact[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(opacity, exact[2], atol=1e-3, rtol=0)


class TestResolve:
    @pytest.mark.parametrize("sampling", ["importance", "uniform"])
    def test_resolve(self, sampling: str) -> None:
        launch = FieldLaunch.of(random_field(sampling=sampling), "fp32")
        depths = noise(2, 37, 9).sort(dim=-1).values + 1
        sums, background = noise(2, 37, 5, seed=4), noise(2, 37, 3, seed=5)
        sums[:, :5] = 0  # sees nothing
        sums[:, 5:9, 4] = 1 + 2**-20
        sums[:, 9:30, 3] = sums[:, 9:30, 4] * 1.5
        first, last = depths[..., :1], depths[..., -1:]
        if sampling == "importance":
            first, last = 0.5 * (first + depths[..., 1:2]), 0.5 * (depths[..., -2:-1] + last)
        expected = resolve(sums[..., :3], sums[..., 3:4], sums[..., 4:], first, last, background)
        for value, reference in zip(resolve_sums(launch, sums, depths, background), expected, strict=True):
            torch.testing.assert_close(value, reference, atol=1e-6, rtol=0)


class TestPixels:
    @pytest.mark.parametrize("cropped", [False, True])
    @pytest.mark.parametrize("looking", [False, True])
    def test_there_and_back(self, cropped: bool, looking: bool) -> None:
        """The rays that hit, in order, objects with different numbers of them, and their values at the right pixels."""
        field = random_field()
        batch, height, width = 2, 7, 5
        turned = VIEWS.rotate_about_z(70.0)
        cameras = Cameras(torch.stack([VIEWS.cam2world, turned.cam2world]), VIEWS.intrinsics.expand(2, 2, 3, 3))
        cameras = cameras.to(DEVICE)
        anchors = torch.tensor([[[1.0, 2.0], [0.0, 3.0]], [[4.0, 0.0], [2.5, 2.0]]]).to(DEVICE) if cropped else None
        full_size = (12, 11) if cropped else None
        looks = noise(batch, 2, height, width) < 0.7 if looking else None
        backgrounds = noise(batch, 2, 3, seed=2)
        radius = field.config.radius * 0.9
        listed = list_rays(cameras, backgrounds, height, width, anchors, full_size, looks, radius, 0.05)

        origins, directions = (part.flatten(1, 3) for part in camera_rays(cameras, height, width, anchors, full_size))
        near, far, hit = ray_box_intersection(origins, directions, radius)
        hit = hit & (far - near > 0.05)
        if looks is not None:
            hit = hit & looks.reshape(hit.shape)
        rgb = backgrounds[:, :, None].expand(2, 2, height * width, 3).flatten(1, 2)
        assert torch.equal(listed.hits, hit[..., 0].to(torch.uint8))
        counts = hit.sum(dim=1).flatten().tolist()
        assert counts[0] != counts[1] and listed.inputs[0].shape[1] == max(counts)
        for entry, count in enumerate(counts):
            found = hit[entry, :, 0]
            for value, reference in zip(listed.inputs, (origins, directions, near, far, hit, rgb), strict=True):
                torch.testing.assert_close(value[entry, :count], reference[entry, found], atol=1e-6, rtol=0)
            assert not bool(listed.inputs[4][entry, count:].any())

        shape = listed.inputs[0].shape[:2]
        values = noise(*shape, 3), noise(*shape, 1, seed=5), noise(*shape, 1, seed=6)
        empty = torch.zeros_like(near)
        for value, packed, behind in zip(to_pixels(listed, *values), values, (rgb, empty, empty), strict=True):
            for entry, count in enumerate(counts):
                expected = behind[entry].clone()
                expected[hit[entry, :, 0]] = packed[entry, :count]
                assert torch.equal(value[entry], expected)

    def test_bad_regions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(renderer, "_by_kernels", lambda device: True)
        field = random_field()
        with pytest.raises(ValueError, match="`anchors` holds values that are not finite"):
            render(field, VIEWS, 4, 4, anchors=torch.full((2, 2), math.nan), backend="triton")
        with pytest.raises(ValueError, match=r"`full_size\[1\]` must be a positive integer, got 0"):
            render(field, VIEWS, 4, 4, full_size=(4, 0), backend="triton", exact=True)

    @pytest.mark.parametrize("options", [{"num_samples": 8}, {"sampling": "uniform", "num_samples": 6}])
    @pytest.mark.parametrize("exact", [False, True])
    def test_pictures(self, options: dict[str, Any], exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        """The door gives the same pictures, whoever lists the rays, and in chunks as well."""
        field = random_field(**options)
        arguments: dict[str, Any] = {"background": [0.2, 0.5, 0.9], "backend": "triton", "exact": exact}
        monkeypatch.setattr(renderer, "_by_kernels", lambda device: False)
        expected = render(field, VIEWS, 6, 7, **arguments)
        monkeypatch.setattr(renderer, "_by_kernels", lambda device: True)
        for chunk_size in (None, 300):
            actual = render(field, VIEWS, 6, 7, chunk_size=chunk_size, **arguments)
            for name in ("images", "depth", "opacity"):
                torch.testing.assert_close(getattr(actual, name), getattr(expected, name), atol=3e-5, rtol=0)

    def test_a_region_is_a_part_of_the_picture(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(renderer, "_by_kernels", lambda device: True)
        field = random_field(num_samples=8)
        whole = render(field, VIEWS, 8, 9, backend="triton").images
        anchors = torch.tensor([[2.0, 1.0], [3.0, 4.0]])
        part = render(field, VIEWS, 4, 5, anchors=anchors, full_size=(8, 9), backend="triton").images
        assert torch.equal(part[:, 0], whole[:, 0, :, 2:6, 1:6])
        assert torch.equal(part[:, 1], whole[:, 1, :, 3:7, 4:9])

    def test_pictures_of_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(renderer, "_by_kernels", lambda device: True)
        away = look_at_cameras([[0.0, -3.0, 0.0]], target=(0.0, -6.0, 0.0))
        views = render(random_field(), away, 3, 4, background=0.25, backend="triton")
        assert torch.equal(views.images, torch.full_like(views.images, 0.25))
        assert not bool(views.depth.any()) and not bool(views.opacity.any())


class TestLaunch:
    def test_broken_numbers_are_found_after_a_first_call(self) -> None:
        field = random_field()
        render(field, VIEWS, 2, 2, backend="torch")
        field.biases[1][0] = math.inf
        with pytest.raises(ValueError, match="`field` has biases with values that are not finite"):
            render(field, VIEWS, 2, 2, backend="torch")

    def test_is_kept_until_something_changes(self) -> None:
        field = random_field()
        launch = FieldLaunch.of(field, "fp32")
        assert FieldLaunch.of(field, "fp32") is launch
        assert FieldLaunch.of(field, "bf16") is not launch
        before = launch.biases.clone()
        field.biases[-2].add_(1.0)
        assert not torch.equal(FieldLaunch.of(field, "fp32").biases, before)

    def test_follows_the_config(self) -> None:
        """Pictures by the kernels and by torch, before and after, with what is left out and without."""
        field = random_field(num_samples=8)
        for bias in (-1.0, 2.0):
            field.config.density_bias = bias
            for exact in (True, False):
                found, expected = (
                    render(field, VIEWS, 4, 4, backend=backend, exact=exact) for backend in ("triton", "torch")
                )
                torch.testing.assert_close(found.opacity, expected.opacity, atol=1e-3, rtol=0)

    def test_a_copy_starts_with_nothing_kept(self) -> None:
        field = random_field(num_samples=8)
        field.planes.mul_(2.0)  # a copy counts its changes from nothing on
        render(field, VIEWS, 2, 2)
        for copied in (copy.deepcopy(field), pickle.loads(pickle.dumps(field))):
            assert set(vars(copied)) == {"planes", "weights", "biases", "config"}
            torch.testing.assert_close(render(copied, VIEWS, 2, 2).images, render(field, VIEWS, 2, 2).images)

    def test_is_made_anew_for_gradients(self) -> None:
        field = random_field()
        field = replace(field, planes=field.planes.requires_grad_())
        assert FieldLaunch.of(field, "fp32").table.requires_grad
        with torch.no_grad():
            assert not FieldLaunch.of(field, "fp32").table.requires_grad

    def test_what_is_kept_in_inference_mode_serves_gradients(self) -> None:
        field = random_field(num_samples=8)
        *rays, hit = rays_of(field)
        with torch.inference_mode():
            kernels.render_rays(field, 8, *rays, hit, torch.ones_like(rays[0]))
        origins = rays[0].clone().requires_grad_()
        color, _, _ = kernels.render_rays(field, 8, origins, *rays[1:], hit, torch.ones_like(origins))
        (gradient,) = torch.autograd.grad(color.sum(), origins)
        assert bool(gradient.any())


@pytest.mark.gpu
def test_memory_of_a_view() -> None:
    """11 bytes per sample, and some per ray: a fiftieth of what the plain way takes for everything at once."""
    field = random_field(batch=1, channels=48, hidden_size=64, num_hidden_layers=3, num_samples=96)
    render(field, VIEWS[:1], 288, 288, backend="triton", exact=True)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    render(field, VIEWS[:1], 288, 288, backend="triton", exact=True)
    assert torch.cuda.max_memory_allocated() - before < 100 * 2**20
