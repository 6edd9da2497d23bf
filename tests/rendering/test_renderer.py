# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The renderer: fields with known pictures, a second implementation in float64, invariances, edge cases and errors."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import lrm_hf
from lrm_hf.cameras import Cameras, camera_rays, look_at_cameras, orbit_cameras
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.rendering import RenderOutput
from lrm_hf.rendering import render as render_default


# every sample is evaluated: the reference that the quick ways are compared with in test_bounded_rendering.py
render = partial(render_default, backend="torch", exact=True)


def constant_field(
    density: float, rgb: tuple[float, ...] = (0.5, 0.5, 0.5), batch: int = 1, **options: Any
) -> TriplaneField:
    """The same density and colour everywhere."""
    config = TriplaneFieldConfig(
        **({"channels": 1, "hidden_size": 2, "num_hidden_layers": 1, "color_padding": 0.0} | options)
    )
    raw = math.log(math.expm1(density)) if config.density_activation == "softplus" else math.log(density)
    logits = [math.log(value / (1 - value)) for value in rgb]
    weights = (torch.zeros(2, 3), torch.zeros(4, 2))
    biases = (torch.zeros(2), torch.tensor([raw - config.density_bias, *logits]))
    return TriplaneField(torch.zeros(batch, 3, 1, 2, 2), weights, biases, config)


def linear_field(raw: tuple[float, ...], logits: Tensor | None = None, **options: Any) -> TriplaneField:
    """Raw density `raw . (x, y, z, 1)`, after its bias; colour sigmoid of `logits . (x, y, z, 1)`, black without.

    The planes hold the coordinates themselves. Rays are cut off at half of the box, since interpolation fades to zero
    in the outermost half texel.
    """
    size = 16
    options = {"radius": 2.0, "bounds_scale": 0.5, "sampling": "uniform", "density_activation": "exp"} | options
    config = TriplaneFieldConfig(channels=1, hidden_size=3, num_hidden_layers=1, color_padding=0.0, **options)
    ramp = ((torch.arange(size) + 0.5) / size * 2 - 1) * config.radius
    planes = torch.zeros(1, 3, 1, size, size)
    planes[0, 0, 0] = ramp  # (x, y): x along the width
    planes[0, 1, 0] = ramp[:, None]  # (x, z): z along the height
    planes[0, 2, 0] = ramp[:, None]  # (z, y): y along the height
    shift = 8.0  # keeps the ReLU in its linear part
    rows = torch.full((4, 4), 0.0)
    rows[0] = torch.tensor(raw)
    rows[1:, 3] = -50.0
    if logits is not None:
        rows[1:] = logits
    features = rows[:, [0, 2, 1]]  # planes give x, z, y
    bias = rows[:, 3] - shift * features.sum(dim=1)
    bias[0] -= config.density_bias
    return TriplaneField(planes, (torch.eye(3), features), (torch.full((3,), shift), bias), config)


def random_field(batch: int = 1, seed: int = 0, scale: float = 1.0, size: int = 6, **options: Any) -> TriplaneField:
    """A field of no particular kind; `scale` makes it sharp."""
    config = TriplaneFieldConfig(
        **({"channels": 4, "hidden_size": 8, "num_hidden_layers": 2, "num_samples": 16} | options)
    )
    generator = torch.Generator().manual_seed(seed)
    mlp = FieldMLP(config).requires_grad_(False)
    for layer in mlp.layers:
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * math.sqrt(2 / layer.in_features))
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.2)
    planes = torch.randn(batch, 3, config.channels, size, size, generator=generator) * scale
    return TriplaneField(planes, *mlp.parameters_in_float32(), config)


def slab(origin: list[float], direction: list[float], radius: float) -> tuple[float, float] | None:
    """Way through the box in plain arithmetic, for directions without a zero."""
    low = max(min((s * radius - o) / d for s in (-1, 1)) for o, d in zip(origin, direction, strict=True))
    high = min(max((s * radius - o) / d for s in (-1, 1)) for o, d in zip(origin, direction, strict=True))
    return (max(low, 0.0), high) if high > max(low, 0.0) else None


def ways(
    cameras: Cameras, height: int, width: int, radius: float
) -> list[tuple[int, int, tuple | None, Tensor, Tensor]]:
    """Row, column, way through the box, origin and direction of every pixel of a single camera."""
    origins, directions = camera_rays(cameras.to(dtype=torch.float64), height, width)
    return [
        (row, column, slab(origins[row, column].tolist(), directions[row, column].tolist(), radius), o, d)
        for row in range(height)
        for column in range(width)
        for o, d in ((origins[row, column], directions[row, column]),)
    ]


def largest_difference(a: RenderOutput, b: RenderOutput) -> float:
    return max(float((getattr(a, n) - getattr(b, n)).abs().max()) for n in ("images", "depth", "opacity"))


# one camera off every axis, one close to the box, one inside it
VIEWS = look_at_cameras([[1.2, -3.1, 0.9], [-0.9, -1.2, -0.4], [0.3, -0.2, 0.45]], target=(0.05, 0.02, -0.03))


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


class CountingField(TriplaneField):
    """Remembers how many points it was asked for at a time."""

    asked: ClassVar[list[int]] = []

    def raw(self, points: Tensor) -> tuple[Tensor, Tensor]:
        CountingField.asked.append(points.shape[0] * points.shape[1])
        return super().raw(points)


class TestMemory:
    @pytest.mark.parametrize(("sampling", "batch"), [("uniform", 1), ("importance", 1), ("uniform", 3)])
    def test_chunk_size_bounds_the_points_at_a_time(self, sampling: str, batch: int) -> None:
        field = random_field(batch, sampling=sampling, num_samples=32)
        field = CountingField(field.planes, field.weights, field.biases, field.config)
        cameras = look_at_cameras([[0.0, -0.1, 0.0], [0.1, 0.0, 0.1]], (0.0, 0.9, 0.1))  # inside: every ray hits
        CountingField.asked.clear()
        render(field, cameras, 16, 16, chunk_size=4096)
        assert sum(CountingField.asked) == batch * 2 * 16 * 16 * 32, "no point is asked for twice"
        assert max(CountingField.asked) <= 4096
        assert max(CountingField.asked) > 1024, "chunks are filled"

    def test_default_chunk_on_a_cpu(self) -> None:
        field = random_field(1, channels=1, hidden_size=2, num_hidden_layers=1, sampling="uniform", num_samples=64)
        field = CountingField(field.planes, field.weights, field.biases, field.config)
        CountingField.asked.clear()
        render(field, look_at_cameras((0.0, 0.0, 0.0), (0.0, 0.9, 0.1)), 64, 64)
        assert max(CountingField.asked) <= 2**17
        assert sum(CountingField.asked) == 64 * 64 * 64

    def test_only_rays_that_hit_are_evaluated(self) -> None:
        field = random_field(1, sampling="uniform", num_samples=8)
        field = CountingField(field.planes, field.weights, field.biases, field.config)
        camera = look_at_cameras((0.5, -4.0, 0.7))
        hits = sum(way is not None for _, _, way, _, _ in ways(camera, 12, 12, 1.0))
        CountingField.asked.clear()
        render(field, camera, 12, 12)
        assert 0 < hits < 144
        assert sum(CountingField.asked) == hits * 8

    def test_gradients_do_not_keep_every_chunk(self) -> None:
        """With gradients wanted, a chunked picture asks for every point once forward and once backward."""
        field = random_field(1, sampling="uniform", num_samples=16)
        for learn in ("planes", "biases", "intrinsics"):
            parts = {
                "planes": field.planes.clone().requires_grad_(learn == "planes"),
                "biases": tuple(bias.clone().requires_grad_(learn == "biases") for bias in field.biases),
            }
            counting = CountingField(parts["planes"], field.weights, parts["biases"], field.config)
            pose = look_at_cameras((0.0, 0.0, 0.0), (0.0, 0.9, 0.1))
            cameras = Cameras(pose.cam2world, pose.intrinsics.clone().requires_grad_(learn == "intrinsics"))
            CountingField.asked.clear()
            images = render(counting, cameras, 8, 8, chunk_size=256).images
            assert sum(CountingField.asked) == 8 * 8 * 16
            images.sum().backward()
            assert sum(CountingField.asked) == 2 * 8 * 8 * 16, learn
            assert max(CountingField.asked) <= 256

    @pytest.mark.slow
    @pytest.mark.parametrize("mode", ["deterministic", "generator", "backward"])
    def test_512_squared_at_128_samples_stays_under_one_and_a_half_gib(self, mode: str) -> None:
        code = f"""
import resource, torch
from lrm_hf import TriplaneField, TriplaneFieldConfig, Cameras, render
from lrm_hf.modeling.field import FieldMLP

config = TriplaneFieldConfig(channels=40, num_samples=128)
planes = torch.randn(1, 3, 40, 64, 64).requires_grad_({mode == "backward"})
field = TriplaneField(planes, *FieldMLP(config).requires_grad_(False).parameters_in_float32(), config)
camera = Cameras.canonical(distance=2.0, focal=0.9)
with torch.set_grad_enabled({mode == "backward"}):
    render(field, camera, 16, 16).images.mean()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    images = render(field, camera, 512, 512, generator=torch.Generator() if {mode == "generator"} else None).images
    if {mode == "backward"}:
        images.mean().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
        root = str(Path(lrm_hf.__file__).parent.parent)
        process = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
        kib = int(process.stdout) if sys.platform != "darwin" else int(process.stdout) // 1024
        assert kib < 1.5 * 2**20


def test_progress_bar(capsys: pytest.CaptureFixture) -> None:
    field = random_field(1)
    render(field, orbit_cameras(2), 8, 8, chunk_size=256)
    assert capsys.readouterr().err == ""
    render(field, orbit_cameras(2), 8, 8, chunk_size=256, progress=True)
    assert "Rendering" in capsys.readouterr().err


def broken(field: TriplaneField, name: str) -> TriplaneField:
    tensors = getattr(field, name)
    if isinstance(tensors, tuple):
        damaged = tensors[0].clone()
        damaged.view(-1)[0] = math.inf
        return replace(field, **{name: (damaged, *tensors[1:])})
    damaged = tensors.clone()
    damaged.view(-1)[0] = math.nan
    return replace(field, **{name: damaged})


def bent(cameras: Cameras) -> Cameras:
    return Cameras(cameras.cam2world * 2, cameras.intrinsics)


ERRORS: list[tuple[type[Exception], Callable[[TriplaneField, Cameras], dict[str, Any]], str]] = [
    (TypeError, lambda f, c: {"field": f.planes}, "`field` must be a TriplaneField, got Tensor"),
    (TypeError, lambda f, c: {"cameras": c.cam2world}, "`cameras` must be Cameras, got Tensor"),
    (TypeError, lambda f, c: {"height": 4.0}, "`height` must be an integer, got 4.0"),
    (TypeError, lambda f, c: {"width": True}, "`width` must be an integer, got True"),
    (TypeError, lambda f, c: {"num_samples": 16.0}, "`num_samples` must be an integer, got 16.0"),
    (ValueError, lambda f, c: {"height": 0}, "`height` must be at least 1, got 0"),
    (ValueError, lambda f, c: {"width": -3}, "`width` must be at least 1, got -3"),
    (ValueError, lambda f, c: {"chunk_size": 0}, "`chunk_size` must be at least 1, got 0"),
    (ValueError, lambda f, c: {"num_samples": 0}, "`num_samples` must be at least 1, got 0"),
    (ValueError, lambda f, c: {"num_samples": 15}, "`num_samples` must be even and at least 8 .* got 15"),
    (ValueError, lambda f, c: {"num_samples": 6}, "`num_samples` must be even and at least 8 .* got 6"),
    (ValueError, lambda f, c: {"field": broken(f, "planes")}, "`field` has planes with values that are not finite"),
    (ValueError, lambda f, c: {"field": broken(f, "weights")}, "`field` has weights with values that are not finite"),
    (ValueError, lambda f, c: {"field": broken(f, "biases")}, "`field` has biases with values that are not finite"),
    (ValueError, lambda f, c: {"field": f[:0]}, "`field` is an empty batch"),
    (ValueError, lambda f, c: {"cameras": bent(c)}, "`cam2world` must hold a rotation"),
    (ValueError, lambda f, c: {"cameras": c[:0]}, "`cameras` holds no view"),
    (ValueError, lambda f, c: {"cameras": c.expand(3, 2)}, r"`cameras` of shape \(3, 2\) do not fit a batch of 2"),
    (
        ValueError,
        lambda f, c: {"cameras": c.expand(1, 2, 2)},
        r"`cameras` must have shape \(views,\) or \(batch, views\)",
    ),
    (
        ValueError,
        lambda f, c: {"background": torch.ones(5)},
        r"`background` of shape \(5,\) does not broadcast to \(2, 2, 3\)",
    ),
    (ValueError, lambda f, c: {"background": [0.1, 0.2]}, r"`background` of shape \(2,\) does not broadcast"),
    (ValueError, lambda f, c: {"background": math.nan}, "`background` holds values that are not finite"),
    (
        ValueError,
        lambda f, c: {"anchors": torch.zeros(3, 2), "full_size": (8, 8)},
        r"`anchors` of shape \(3, 2\) does not",
    ),
    (ValueError, lambda f, c: {"full_size": (8, -1)}, r"`full_size\[1\]` must be a positive integer, got -1"),
    (ValueError, lambda f, c: {"noise": (torch.rand(2, 2, 16, 8),)}, r"`noise` must hold 2 tensor\(s\) .* got 1"),
    (ValueError, lambda f, c: {"noise": (torch.rand(2, 2, 16, 7),) * 2}, r"`noise` must have shapes .* n = \[8, 8\]"),
    (
        ValueError,
        lambda f, c: {"noise": (torch.rand(2, 2, 16, 8),) * 2, "generator": torch.Generator()},
        "`noise` and `generator` exclude each other",
    ),
]


@pytest.mark.parametrize(("error", "change", "message"), ERRORS, ids=[message[:40] for _, _, message in ERRORS])
def test_errors(error: type[Exception], change: Callable, message: str) -> None:
    field, cameras = random_field(2), orbit_cameras(2)
    arguments: dict[str, Any] = {"field": field, "cameras": cameras, "height": 4, "width": 4}
    with pytest.raises(error, match=message):
        render(**(arguments | change(field, cameras)))


@pytest.mark.parametrize(
    "statements",
    [
        "from lrm_hf.rendering.renderer import render; from lrm_hf.modeling import *; LRMModel, TriplaneField",
        "from lrm_hf.modeling import LRMModel; from lrm_hf.rendering import render",
        "import lrm_hf.modeling.field, lrm_hf.rendering as r, lrm_hf.modeling as m; r.RenderOutput, m.LRMConfig",
    ],
)
def test_imports_in_any_order(statements: str) -> None:
    root = str(Path(lrm_hf.__file__).parent.parent)
    process = subprocess.run(
        [sys.executable, "-c", statements], env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
