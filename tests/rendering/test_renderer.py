# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The renderer: fields with known pictures, and a second implementation in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from field_scenes import VIEWS, constant_field, largest_difference, linear_field, random_field, render, ways
from torch import Tensor

from lrm_hf.cameras import Cameras, look_at_cameras, orbit_cameras
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import TriplaneField


class TestKnownPictures:
    @pytest.mark.parametrize("activation", ["softplus", "exp"])
    def test_constant_density_uniform(self, activation: str) -> None:
        """Bins cover the way through the box exactly: opacity is 1 - exp(-density * way)."""
        density, rgb, background = 0.8, (0.9, 0.3, 0.6), (0.1, 0.2, 1.0)
        field = constant_field(density, rgb, sampling="uniform", num_samples=24, density_activation=activation)
        output = render(field, VIEWS, 6, 8, background=background)
        misses = 0
        for view in range(3):
            for row, column, way, _, _ in ways(VIEWS[view], 6, 8, 1.0):
                opacity = 1 - math.exp(-density * (way[1] - way[0])) if way else 0.0
                misses += way is None
                color = [opacity * c + (1 - opacity) * b for c, b in zip(rgb, background, strict=True)]
                assert float(output.opacity[0, view, 0, row, column]) == pytest.approx(opacity, abs=2e-6)
                assert output.images[0, view, :, row, column].tolist() == pytest.approx(color, abs=2e-6)
        assert 0 < misses < 144

    def test_mean_depth_of_constant_density(self) -> None:
        """The mean of an exponential distribution cut off at the end of the way."""
        density = 1.5
        field = constant_field(density, sampling="uniform", num_samples=400)
        output = render(field, VIEWS, 3, 4)
        for view in range(3):
            for row, column, way, _, _ in ways(VIEWS[view], 3, 4, 1.0):
                expected = 0.0
                if way:
                    rest = math.exp(-density * (way[1] - way[0]))
                    expected = way[0] + 1 / density - (way[1] - way[0]) * rest / (1 - rest)
                assert float(output.depth[0, view, 0, row, column]) == pytest.approx(expected, abs=1e-4)

    def test_normalized_step_length_ignores_the_way(self) -> None:
        field = constant_field(2.0, sampling="uniform", num_samples=16, step_length="normalized")
        output = render(field, VIEWS, 6, 8)
        for view in range(3):
            for row, column, way, _, _ in ways(VIEWS[view], 6, 8, 1.0):
                expected = 1 - math.exp(-2.0) if way else 0.0
                assert float(output.opacity[0, view, 0, row, column]) == pytest.approx(expected, abs=1e-6)

    def test_constant_density_importance(self) -> None:
        """Half of 24 samples are coarse: 12, of which the first lies half a step behind the entry, the twelfth behind
        the exit. Importance samples lie in between. Pieces that end outside hold nothing: a step of the way is lost."""
        density = 0.8
        output = render(constant_field(density, num_samples=24), VIEWS, 6, 8)
        for view in range(3):
            for row, column, way, _, _ in ways(VIEWS[view], 6, 8, 1.0):
                covered = (way[1] - way[0]) * (1 - 1 / 11) if way else 0.0
                expected = 1 - math.exp(-density * covered)
                assert float(output.opacity[0, view, 0, row, column]) == pytest.approx(expected, abs=2e-6)

    def test_density_that_grows_exponentially(self) -> None:
        """exp(a . p + c) integrates in closed form along a line, whatever its direction."""
        a, c = torch.tensor([1.1, -0.7, 0.5]).double(), -0.4
        field = linear_field((*a.tolist(), c), num_samples=200)
        output = render(field, VIEWS, 5, 5)
        for view in range(3):
            for row, column, way, origin, direction in ways(VIEWS[view], 5, 5, 1.0):
                expected = 0.0
                if way:
                    slope, start = float(a @ direction), float(a @ origin) + c
                    mass = (math.exp(start + slope * way[1]) - math.exp(start + slope * way[0])) / slope
                    expected = 1 - math.exp(-mass)
                # the midpoint rule's error falls with the square of 200 bins
                assert float(output.opacity[0, view, 0, row, column]) == pytest.approx(expected, abs=2e-5)

    def test_opaque_box_shows_the_colour_of_its_front(self) -> None:
        """All light comes from the first bin's centre."""
        logits = torch.tensor([[2.0, 0.0, 0.0, 0.1], [0.0, 2.0, 0.0, -0.2], [0.0, 0.0, 2.0, 0.3]])
        field = linear_field((0.0, 0.0, 0.0, 20.0), logits, num_samples=32)
        output = render(field, VIEWS, 6, 6, background=0.25)
        for view in range(3):
            for row, column, way, origin, direction in ways(VIEWS[view], 6, 6, 1.0):
                color, depth = [0.25] * 3, 0.0
                if way:
                    depth = way[0] + (way[1] - way[0]) / 64
                    point = torch.cat([origin + depth * direction, torch.ones(1, dtype=torch.float64)])
                    color = torch.sigmoid(logits.double() @ point).tolist()
                assert output.images[0, view, :, row, column].tolist() == pytest.approx(color, abs=1e-5)
                assert float(output.depth[0, view, 0, row, column]) == pytest.approx(depth, abs=1e-5)

    @pytest.mark.parametrize("sampling", ["uniform", "importance"])
    def test_which_side_is_where(self, sampling: str) -> None:
        """A half of the box is solid. From the source camera +x is at the right and +z at the top; from the right hand
        side (azimuth 90) +y is at the right."""
        front = orbit_cameras(1, elevation=0.0)
        side = orbit_cameras(1, elevation=0.0, azimuth_start=90.0)
        # across the picture's middle lies a zone of mixed values, which the tested halves leave out
        for raw, cameras, axis in (
            ((80.0, 0, 0, 0), front, -1),
            ((0, 80.0, 0, 0), side, -1),
            ((0, 0, -80.0, 0), front, -2),
        ):
            field = linear_field(raw, sampling=sampling, num_samples=64)
            opacity = render(field, cameras, 16, 16).opacity[0, 0, 0]
            low, high = opacity[4:12, 4:12].tensor_split(2, dim=axis)
            assert float(low.max()) < 0.1
            assert float(high.min()) > 0.9

    def test_two_opposite_views_differ(self) -> None:
        logits = torch.tensor([[0.0, 3.0, 0.0, 0.0]] * 3)
        field = linear_field((0.0, 0.0, 0.0, 20.0), logits, num_samples=32)
        front, back = render(field, orbit_cameras(2, elevation=0.0), 9, 9).images[0, :, 0, 4, 4].tolist()
        # faces at y = -1 and y = 1, half of a bin of 2/32 inside
        assert front == pytest.approx(1 / (1 + math.exp(3 * (1 - 1 / 32))), abs=1e-4)
        assert back == pytest.approx(1 - front, abs=1e-4)


def reference(
    parts: dict[str, Any], config: TriplaneFieldConfig, height: int, width: int, noise: tuple[Tensor, ...] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """One picture of one field, written a second time: no grid_sample, no packing, no chunks, any precision. Every ray
    must hit. Colour (height, width, 3), depth and opacity (height, width)."""
    c2w = parts["cam2world"]
    k = torch.cat([parts["intrinsics"][:2].triu(), torch.tensor([[0.0, 0.0, 1.0]], dtype=c2w.dtype)])
    v, u = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1).to(c2w.dtype).reshape(-1, 3)
    local = pixels @ torch.linalg.inv(k).T * torch.tensor([1.0, -1.0, -1.0], dtype=c2w.dtype)
    directions = local @ c2w[:3, :3].T
    directions = directions / directions.norm(dim=-1, keepdim=True)
    origin = c2w[:3, 3]
    bound = config.radius * config.bounds_scale
    ends = torch.stack([(-bound - origin) / directions, (bound - origin) / directions])
    near, far = ends.amin(0).amax(-1).clamp(min=0), ends.amax(0).amin(-1)
    assert bool((far > near).all())

    def evaluate(depths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        points = origin + depths[..., None] * directions[:, None]
        size = parts["planes"].shape[-1]
        features = []
        for plane, axes in enumerate(config.plane_axes):
            column, row = (((points[..., axis] / config.radius + 1) * size - 1) / 2 for axis in axes)
            total = 0.0
            for r in (row.detach().floor(), row.detach().floor() + 1):
                for c in (column.detach().floor(), column.detach().floor() + 1):
                    inside = (r >= 0) & (r < size) & (c >= 0) & (c < size)
                    texel = parts["planes"][plane][:, r.clamp(0, size - 1).long(), c.clamp(0, size - 1).long()]
                    total = total + texel * ((1 - (row - r).abs()) * (1 - (column - c).abs()) * inside)
            features.append(total)
        hidden = torch.cat(features).movedim(0, -1)
        last = len(parts["weights"]) - 1
        for i, (weight, bias) in enumerate(zip(parts["weights"], parts["biases"], strict=True)):
            hidden = hidden @ weight.T + bias
            if i < last:
                hidden = hidden.relu() if config.hidden_act == "relu" else hidden / (1 + torch.exp(-hidden))
        rgb = (1 + 2 * config.color_padding) / (1 + torch.exp(-hidden[..., 1:])) - config.color_padding
        return hidden[..., 0], rgb, (points.abs() <= config.radius).all(-1)

    def activate(raw: Tensor) -> Tensor:
        shifted = raw + config.density_bias
        return torch.exp(shifted) if config.density_activation == "exp" else torch.log(1 + torch.exp(shifted))

    def weigh(density: Tensor, lengths: Tensor) -> Tensor:
        mass = density * lengths
        before = torch.cat([torch.zeros_like(mass[:, :1]), mass.cumsum(-1)[:, :-1]], dim=-1)
        return torch.exp(-before) - torch.exp(-before - mass)

    samples = config.num_samples
    if config.sampling == "uniform":
        jitter = 0.5 if noise is None else noise[0]
        depths = near[:, None] + (torch.arange(samples) + jitter) / samples * (far - near)[:, None]
        raw, rgb, _ = evaluate(depths)
        lengths = (far - near)[:, None] / samples if config.step_length == "metric" else torch.tensor(1 / samples)
        weights = weigh(activate(raw), lengths.expand_as(depths))
    else:
        half = samples // 2
        jitter, places = (0.5, (torch.arange(half) + 0.5).expand(len(near), half) / half) if noise is None else noise
        coarse = near[:, None] + (torch.arange(half) + jitter) / (half - 1) * (far - near)[:, None]

        def pieces(depths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            raw, rgb, inside = evaluate(depths)
            both = inside[:, 1:] & inside[:, :-1]
            density = activate((raw[:, 1:] + raw[:, :-1]) / 2) * both
            rgb = rgb * inside[..., None]
            return (
                weigh(density, depths.diff(dim=-1)),
                (rgb[:, 1:] + rgb[:, :-1]) / 2,
                (depths[:, 1:] + depths[:, :-1]) / 2,
            )

        with torch.no_grad():
            found, _, middles = pieces(coarse)
            top = F.pad(found, (1, 1), value=-math.inf).unfold(-1, 2, 1).amax(-1)
            pdf = ((top[:, 1:] + top[:, :-1]) / 2 + 0.01)[:, 1:-1] + 1e-5
            cdf = F.pad((pdf / pdf.sum(-1, keepdim=True)).cumsum(-1), (1, 0))
            index = (places[..., None] >= cdf[:, None]).sum(-1).clamp(1, cdf.shape[-1] - 1)
            low, high = cdf.gather(-1, index - 1), cdf.gather(-1, index)
            share = (places - low) / (high - low)
            fine = middles.gather(-1, index - 1) * (1 - share) + middles.gather(-1, index) * share
        depths = torch.cat([coarse, fine], dim=-1).sort(dim=-1).values
        weights, rgb, depths = pieces(depths)
    opacity = weights.sum(-1)
    color = (weights[..., None] * rgb).sum(-2) + (1 - opacity)[:, None] * parts["background"]
    depth = (weights * depths).sum(-1) / opacity
    return color.reshape(height, width, 3), depth.reshape(height, width), opacity.reshape(height, width)


def leaves(field: TriplaneField, cameras: Cameras, background: Tensor, dtype: torch.dtype) -> dict[str, Any]:
    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().to(dtype, copy=True).requires_grad_()

    return {
        "planes": leaf(field.planes[0]),
        "weights": [leaf(weight) for weight in field.weights],
        "biases": [leaf(bias) for bias in field.biases],
        "cam2world": leaf(cameras.cam2world),
        "intrinsics": leaf(cameras.intrinsics),
        "background": leaf(background),
    }


REFERENCE_CASES = {
    "openlrm": {},
    "triposr": {
        "radius": 0.87,
        "bounds_scale": 0.999,
        "plane_axes": [[0, 1], [0, 2], [1, 2]],
        "hidden_act": "silu",
        "density_activation": "exp",
        "color_padding": 0.0,
        "sampling": "uniform",
        "step_length": "normalized",
    },
    "metric": {"sampling": "uniform", "density_bias": 0.5},
}


class TestSecondImplementation:
    @pytest.mark.parametrize("noisy", [False, True])
    @pytest.mark.parametrize("case", REFERENCE_CASES)
    def test_pictures_and_gradients(self, case: str, noisy: bool) -> None:
        field = random_field(1, seed=3, **REFERENCE_CASES[case])
        config = field.config
        # narrow views, one from within, so that no ray misses
        cameras = look_at_cameras(
            [[0.5, -1.6, 0.4], [0.2, 0.3, -0.1]], (0.1, 0.05, 0.0), focal=torch.tensor([1.6, 0.8])
        )
        intrinsics = cameras.intrinsics.clone()
        intrinsics[:, 0, 1], intrinsics[:, 1, 2] = 0.1, 0.45
        cameras = Cameras(cameras.cam2world, intrinsics)
        height, width, half = 4, 5, config.num_samples // 2
        sizes = [config.num_samples] if config.sampling == "uniform" else [half, half]
        generator = torch.Generator().manual_seed(7)
        noise = tuple(torch.rand(1, 2, height * width, size, generator=generator) for size in sizes) if noisy else None
        mix = torch.randn(2, height, width, 5, generator=generator)

        for view in range(2):
            background = torch.rand(3, generator=generator)
            ours = leaves(field, cameras[view], background, torch.float32)
            other = TriplaneField(ours["planes"][None], tuple(ours["weights"]), tuple(ours["biases"]), config)
            output = render(
                other,
                Cameras(ours["cam2world"], ours["intrinsics"]),
                height,
                width,
                ours["background"],
                noise=None if noise is None else tuple(part[:, view : view + 1] for part in noise),
            )
            found = torch.cat([output.images, output.depth, output.opacity], dim=2)[0, 0].movedim(0, -1)
            (found * mix[view]).sum().backward()

            theirs = leaves(field, cameras[view], background, torch.float64)
            color, depth, opacity = reference(
                theirs,
                config,
                height,
                width,
                None if noise is None else tuple(part[0, view].double() for part in noise),
            )
            expected = torch.cat([color, depth[..., None], opacity[..., None]], dim=-1)
            (expected * mix[view]).sum().backward()
            # float32 against float64; depth is divided by an opacity of some 0.5
            torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
            for name in ours:
                pairs = (
                    zip(ours[name], theirs[name], strict=True)
                    if isinstance(ours[name], list)
                    else [(ours[name], theirs[name])]
                )
                for mine, exact in pairs:
                    scale = float(exact.grad.abs().max())
                    assert scale > 1e-4, f"{name} has a gradient to compare"
                    torch.testing.assert_close(mine.grad.double() / scale, exact.grad / scale, atol=3e-4, rtol=0)

    def test_camera_gradient_by_finite_differences(self) -> None:
        """From inside the box, where every ray hits however the camera is moved."""
        field = random_field(1, seed=5, sampling="uniform", hidden_act="silu", num_samples=24)
        position = torch.tensor([0.13, -0.21, 0.17])

        def value(position: Tensor) -> Tensor:
            return render(field, look_at_cameras(position, (0.9, 0.3, -0.2)), 6, 6).images.double().sum()

        moving = position.clone().requires_grad_()
        value(moving).backward()
        for axis in range(3):
            step = torch.zeros(3)
            step[axis] = 2e-3
            slope = float(value(position + step) - value(position - step)) / 4e-3
            assert float(moving.grad[axis]) == pytest.approx(slope, rel=2e-2, abs=2e-2)

    def test_given_noise_of_the_middle_is_the_deterministic_picture(self) -> None:
        field = random_field(2, num_samples=16)
        cameras = orbit_cameras(3)
        jitter = torch.full((2, 3, 64, 8), 0.5)
        u = ((torch.arange(8) + 0.5) / 8).expand(2, 3, 64, 8)
        assert largest_difference(render(field, cameras, 8, 8), render(field, cameras, 8, 8, noise=(jitter, u))) == 0.0
