# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The renderer: what must not change its pictures, regions and backgrounds, edge cases."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from field_scenes import VIEWS, constant_field, largest_difference, linear_field, random_field, render, ways
from torch import Tensor

from lrm_hf.cameras import Cameras, look_at_cameras, orbit_cameras
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import TriplaneField


@pytest.mark.parametrize("options", [{}, {"sampling": "uniform"}, {"hidden_act": "silu", "density_activation": "exp"}])
class TestInvariance:
    """Sharp fields: raw densities reach 100, so that a last bit that differs somewhere would be seen in the picture."""

    @staticmethod
    def sharp(batch: int, options: dict) -> TriplaneField:
        return random_field(batch, scale=6.0, size=12, num_samples=32, hidden_size=16, **options)

    def test_same_call_same_bytes(self, options: dict) -> None:
        field = self.sharp(2, options)
        first = render(field, orbit_cameras(3), 12, 12)
        second = render(field, orbit_cameras(3), 12, 12)
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.depth, second.depth)
        assert torch.equal(first.opacity, second.opacity)

    def test_chunk_size(self, options: dict) -> None:
        field = self.sharp(2, options)
        whole = render(field, orbit_cameras(3), 12, 12, chunk_size=2**30)
        assert float(whole.opacity.max()) > 0.9
        for chunk_size in (1, 500, 997, 5000):
            part = render(field, orbit_cameras(3), 12, 12, chunk_size=chunk_size)
            assert float((part.images - whole.images).abs().max()) <= 1e-6
            assert float((part.opacity - whole.opacity).abs().max()) <= 1e-6
            assert float((part.depth - whole.depth).abs().max()) <= 2e-6

    def test_batch_and_number_of_views(self, options: dict) -> None:
        field = self.sharp(3, options)
        cameras = orbit_cameras(3)
        whole = render(field, cameras, 12, 12)
        for i in range(3):
            one = render(field[i], cameras, 12, 12)
            assert float((one.images - whole.images[i : i + 1]).abs().max()) <= 1e-6
            assert float((one.depth - whole.depth[i : i + 1]).abs().max()) <= 2e-6
            view = render(field, cameras[i], 12, 12)
            assert float((view.images - whole.images[:, i : i + 1]).abs().max()) <= 1e-6
            assert float((view.opacity - whole.opacity[:, i : i + 1]).abs().max()) <= 1e-6

    def test_chunked_backward(self, options: dict) -> None:
        """Where chunks are computed again in the backward pass, gradients are those of one piece."""
        gradients = []
        for chunk_size in (2**30, 600):
            field = random_field(2, num_samples=16, **options)
            position = torch.tensor([0.3, -1.8, 0.5], requires_grad=True)
            background = torch.tensor(0.3, requires_grad=True)
            parts = {
                "planes": field.planes.clone().requires_grad_(),
                "weights": tuple(weight.clone().requires_grad_() for weight in field.weights),
                "biases": tuple(bias.clone().requires_grad_() for bias in field.biases),
            }
            output = render(replace(field, **parts), look_at_cameras(position), 8, 8, background, chunk_size=chunk_size)
            (output.images.square().sum() + output.depth.sum() + output.opacity.sum()).backward()
            tensors = [parts["planes"], *parts["weights"], *parts["biases"], position, background]
            gradients.append([tensor.grad for tensor in tensors])
        for whole, chunked in zip(*gradients, strict=True):
            scale = float(whole.abs().max())
            assert scale > 0
            torch.testing.assert_close(chunked / scale, whole / scale, atol=1e-5, rtol=0)

    def test_generator(self, options: dict) -> None:
        field = self.sharp(1, options)

        def draw(seed: int, chunk_size: int | None = None) -> Tensor:
            generator = torch.Generator().manual_seed(seed)
            return render(field, orbit_cameras(2), 10, 10, generator=generator, chunk_size=chunk_size).images

        assert torch.equal(draw(0), draw(0))
        assert float((draw(0) - draw(0, 700)).abs().max()) <= 1e-6
        assert float((draw(0) - draw(1)).abs().max()) > 1e-3
        assert float((draw(0) - render(field, orbit_cameras(2), 10, 10).images).abs().max()) > 1e-3


class TestRegionsAndBackgrounds:
    @pytest.mark.parametrize("sampling", ["uniform", "importance"])
    def test_crops_equal_the_full_picture(self, sampling: str) -> None:
        field = random_field(2, scale=4.0, sampling=sampling)
        cameras = orbit_cameras(3)
        full = render(field, cameras, 16, 20, background=0.3)
        anchors = torch.tensor([[[0, 0], [3, 5], [10, 13]], [[7, 2], [1, 1], [9, 0]]])
        crop = render(field, cameras, 6, 7, background=0.3, anchors=anchors, full_size=(16, 20))
        for name in ("images", "depth", "opacity"):
            for b in range(2):
                for v in range(3):
                    row, column = anchors[b, v].tolist()
                    expected = getattr(full, name)[b, v, :, row : row + 6, column : column + 7]
                    torch.testing.assert_close(getattr(crop, name)[b, v], expected, atol=1e-6, rtol=0)
        # anchors per view, the same for every object
        shared = render(field, cameras, 6, 7, background=0.3, anchors=anchors[0], full_size=(16, 20))
        assert torch.equal(shared.images[0], crop.images[0])
        expected = full.images[1, 1, :, 3:9, 5:12]
        torch.testing.assert_close(shared.images[1, 1], expected, atol=1e-6, rtol=0)

    def test_background_forms(self) -> None:
        """A glass box: images are affine in the background, with 1 - opacity as slope."""
        field = constant_field(0.4, (0.2, 0.5, 0.8), batch=2, sampling="uniform", num_samples=8)
        cameras = orbit_cameras(3)
        black = render(field, cameras, 6, 6, background=0.0)
        clear = 1 - black.opacity
        per_view = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(0))
        forms: list[tuple[Any, Tensor]] = [
            (1.0, torch.ones(2, 3, 3)),
            (0, torch.zeros(2, 3, 3)),
            ([0.1, 0.2, 0.3], torch.tensor([0.1, 0.2, 0.3]).expand(2, 3, 3)),
            (torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.1, 0.2, 0.3]).expand(2, 3, 3)),
            (per_view, per_view),
            (per_view[0], per_view[:1].expand(2, 3, 3)),
            (per_view[..., :1], per_view[..., :1].expand(2, 3, 3)),
            (torch.tensor([[1.0, 0.5, 0.0]]), torch.tensor([1.0, 0.5, 0.0]).expand(2, 3, 3)),
            (torch.tensor(0.5, dtype=torch.float64), torch.full((2, 3, 3), 0.5)),
        ]
        for background, expected in forms:
            images = render(field, cameras, 6, 6, background=background).images
            torch.testing.assert_close(images, black.images + clear * expected[..., None, None], atol=1e-6, rtol=0)

    def test_bounds_scale_and_min_ray_length(self) -> None:
        camera = look_at_cameras((1.5, -1.6, 1.4))
        small = constant_field(1.0, sampling="uniform", num_samples=8, bounds_scale=0.5)
        opacity = render(small, camera, 12, 12).opacity[0, 0, 0]
        for row, column, way, _, _ in ways(camera, 12, 12, 0.5):
            expected = 1 - math.exp(-(way[1] - way[0])) if way else 0.0
            assert float(opacity[row, column]) == pytest.approx(expected, abs=1e-6)
        picky = constant_field(1.0, sampling="uniform", num_samples=8, min_ray_length=0.7)
        opacity = render(picky, camera, 12, 12).opacity[0, 0, 0]
        dropped = 0
        for row, column, way, _, _ in ways(camera, 12, 12, 1.0):
            kept = way is not None and way[1] - way[0] > 0.7
            dropped += way is not None and not kept
            assert (float(opacity[row, column]) > 0) == kept
        assert dropped > 0


@pytest.mark.parametrize("sampling", ["uniform", "importance"])
class TestEdgeCases:
    """What the systems before this one get wrong."""

    def test_single_ray(self, sampling: str) -> None:
        field = random_field(1, sampling=sampling)
        output = render(field, Cameras.canonical(), 1, 1)
        assert output.images.shape == (1, 1, 3, 1, 1)
        assert output.depth.shape == output.opacity.shape == (1, 1, 1, 1, 1)
        # the one pixel of such a picture is the middle of any other of odd size
        larger = render(field, Cameras.canonical(), 5, 5).images[..., 2:3, 2:3]
        torch.testing.assert_close(output.images, larger, atol=1e-6, rtol=0)

    def test_all_rays_miss(self, sampling: str) -> None:
        field = random_field(2, sampling=sampling)
        away = look_at_cameras([[0.0, -3.0, 0.0]], target=(5.0, -3.0, 0.0))
        output = render(field, away, 4, 5, background=torch.tensor([0.2, 0.4, 0.6]))
        assert torch.equal(output.images, torch.tensor([0.2, 0.4, 0.6])[:, None, None].expand(2, 1, 3, 4, 5))
        assert not bool(output.depth.any())
        assert not bool(output.opacity.any())

    def test_all_rays_miss_backward(self, sampling: str) -> None:
        field = random_field(1, sampling=sampling)
        planes = field.planes.clone().requires_grad_()
        background = torch.tensor(0.5, requires_grad=True)
        away = look_at_cameras([[0.0, -3.0, 0.0]], target=(5.0, -3.0, 0.0))
        render(replace(field, planes=planes), away, 2, 2, background).images.sum().backward()
        assert float(background.grad) == 12.0
        assert planes.grad is None or not bool(planes.grad.any())

    def test_object_behind_the_camera_is_not_drawn(self, sampling: str) -> None:
        field = constant_field(50.0, sampling=sampling, num_samples=16)
        turned = look_at_cameras([[0.0, -2.0, 0.0]], target=(0.0, -4.0, 0.0))
        output = render(field, turned, 6, 6, background=0.3)
        assert torch.equal(output.images, torch.full_like(output.images, 0.3))
        assert not bool(output.opacity.any())

    def test_camera_inside_sees_only_what_is_before_it(self, sampling: str) -> None:
        """Solid where x < 0: looking to +x from the middle there is nothing, looking to -x all is solid."""
        field = linear_field((-80.0, 0.0, 0.0, 0.0), sampling=sampling, num_samples=64)
        for target, expected in (((1.0, 0.0, 0.0), 0.0), ((-1.0, 0.0, 0.0), 1.0)):
            opacity = render(field, look_at_cameras((0.05, 0.0, 0.0), target), 5, 5).opacity
            # the ramp from empty to solid is a few hundredths wide
            torch.testing.assert_close(opacity, torch.full_like(opacity, expected), atol=0.1, rtol=0)

    def test_exactly_three_cameras(self, sampling: str) -> None:
        field = random_field(1, scale=3.0, sampling=sampling)
        three = render(field, orbit_cameras(3), 8, 8)
        assert bool(torch.isfinite(three.images).all())
        six = render(field, orbit_cameras(6), 8, 8)
        torch.testing.assert_close(three.images, six.images[:, ::2], atol=1e-5, rtol=0)

    def test_empty_ray_has_depth_zero_whatever_else_is_rendered(self, sampling: str) -> None:
        field = constant_field(3.0, sampling=sampling, num_samples=16)
        near, far = Cameras.canonical(4.0), Cameras.canonical(40.0, focal=15.0)
        both = Cameras(torch.stack([near.cam2world, far.cam2world]), torch.stack([near.intrinsics, far.intrinsics]))
        alone = render(field, near, 8, 8).depth
        together = render(field, both, 8, 8).depth
        assert torch.equal(together[:, :1], alone)
        assert float(alone[0, 0, 0, 0, 0]) == 0.0
        assert float(together[0, 1].max()) > 38.0

    def test_depth_lies_between_entry_and_exit(self, sampling: str) -> None:
        field = random_field(1, scale=5.0, sampling=sampling)
        output = render(field, VIEWS, 7, 7)
        assert float(output.opacity.min()) >= 0.0
        assert float(output.opacity.max()) <= 1.0
        for view in range(3):
            for row, column, way, _, _ in ways(VIEWS[view], 7, 7, 1.0):
                depth = float(output.depth[0, view, 0, row, column])
                if way is None:
                    assert depth == 0.0
                elif depth > 0:
                    assert way[0] - 1e-5 <= depth <= way[1] + 1e-5

    def test_every_object_has_cameras_of_its_own(self, sampling: str) -> None:
        """Objects of a batch whose rays hit in different numbers, down to none."""
        field = random_field(3, scale=3.0, sampling=sampling)
        cameras = look_at_cameras(
            torch.tensor([[[0.0, -2.0, 0.0]], [[0.0, -9.0, 0.0]], [[0.0, -3.0, 0.0]]]),
            torch.tensor([[[0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]], [[5.0, -3.0, 0.0]]]),
        )
        output = render(field, cameras, 8, 8, background=0.7)
        for i in range(3):
            one = render(field[i], cameras[i], 8, 8, background=0.7)
            torch.testing.assert_close(output.images[i : i + 1], one.images, atol=1e-6, rtol=0)
            torch.testing.assert_close(output.depth[i : i + 1], one.depth, atol=2e-6, rtol=0)
        assert torch.equal(output.images[2], torch.full_like(output.images[2], 0.7))
        assert float(output.opacity[0].mean()) > float(output.opacity[1].mean()) > 0

    def test_very_dense_fields_have_finite_gradients(self, sampling: str) -> None:
        field = random_field(1, scale=100.0, sampling=sampling, density_activation="exp")
        planes = field.planes.clone().requires_grad_()
        output = render(replace(field, planes=planes), orbit_cameras(2), 6, 6)
        (output.images.sum() + output.depth.sum()).backward()
        assert bool(torch.isfinite(output.images).all())
        assert bool(torch.isfinite(output.depth).all())
        assert bool(torch.isfinite(planes.grad).all())

    def test_autocast_changes_nothing(self, sampling: str) -> None:
        field = random_field(1, sampling=sampling)
        expected = render(field, orbit_cameras(2), 6, 6)
        with torch.autocast("cpu", torch.bfloat16):
            found = render(field, orbit_cameras(2), 6, 6)
        assert largest_difference(expected, found) == 0.0

    def test_other_number_of_samples(self, sampling: str) -> None:
        field = random_field(1, sampling=sampling, num_samples=16)
        other = replace(field, config=TriplaneFieldConfig(**{**field.config.to_diff_dict(), "num_samples": 40}))
        assert torch.equal(
            render(field, orbit_cameras(2), 6, 6, num_samples=40).images, render(other, orbit_cameras(2), 6, 6).images
        )
