# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Every Triton kernel against its torch twin, values and gradients: in Triton's interpreter where there is no CUDA
device, compiled where there is one. Tests marked `gpu` do the same at full size.

Twin and kernel add up the same float32 numbers in another order: sums of up to a few hundred terms near one differ by
1e-6, and what density, transmittance and the positions of importance samples make of it stays below `CLOSE`. On the
bundled cases 1e-6 was seen in the interpreter; a GPU's exp and its fused products come on top.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from kernel_scenes import DEVICE, VIEWS, random_field
from safetensors.torch import load_file
from torch import Tensor

from lrm_hf.cameras import Cameras, camera_rays, orbit_cameras
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import TriplaneField
from lrm_hf.rendering import kernels, kernels_launch
from lrm_hf.rendering.compositing import accumulate, compositing_weights
from lrm_hf.rendering.dense import render_rays as twin
from lrm_hf.rendering.sampling import bin_depths, ray_box_intersection


CLOSE = 2e-5
GOLDENS = Path(__file__).parent.parent / "goldens"
OPENLRM, TRIPOSR, OTHER = [[0, 1], [0, 2], [2, 1]], [[0, 1], [0, 2], [1, 2]], [[2, 0], [1, 0], [1, 2]]


@dataclass
class Rays:
    """Arguments of `render_rays` after field and samples: origins, directions, near, far, hit, background."""

    values: tuple[Tensor, ...]

    @classmethod
    def of(cls, field: TriplaneField, cameras: Cameras, side: int, every: int = 1) -> Rays:
        """Rays of square pictures, or one out of `every`."""
        batch, config = len(field), field.config
        cameras = cameras.to(field.device).expand(batch, cameras.shape[-1])
        origins, directions = (part.flatten(1, 3)[:, ::every].contiguous() for part in camera_rays(cameras, side, side))
        near, far, hit = ray_box_intersection(origins, directions, config.radius * config.bounds_scale)
        background = torch.rand(origins.shape, generator=torch.Generator().manual_seed(9)).to(field.device)
        return cls((origins, directions, near, far, hit, background))


def small_rays(field: TriplaneField) -> Rays:
    """32 rays for each object, some of which miss the box."""
    rays = Rays.of(field, VIEWS, side=4)
    hit = rays.values[4].float().mean()
    assert 0.5 < float(hit) < 1
    return rays


def assert_close(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float = CLOSE) -> None:
    """Colour, depth and opacity."""
    for value, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, reference, atol=tolerance, rtol=0)


def gradients(function: Any, field: TriplaneField, samples: int, rays: Rays, *jitter: Tensor, **options: Any) -> Any:
    """Outputs and the gradients of a random linear form of them, by everything that has one."""
    leaves = [
        tensor.detach().clone().requires_grad_()
        for tensor in (field.planes, *field.weights, *field.biases, *rays.values[:4], rays.values[5])
    ]
    count = len(field.weights)
    field = replace(
        field, planes=leaves[0], weights=tuple(leaves[1 : 1 + count]), biases=tuple(leaves[1 + count : 1 + 2 * count])
    )
    origins, directions, near, far, background = leaves[1 + 2 * count :]
    outputs = function(
        field, samples, origins, directions, near, far, rays.values[4], background, *jitter, **options
    )  # fmt: skip
    generator = torch.Generator().manual_seed(4)
    seeds = [torch.randn(output.shape, generator=generator).to(output.device) for output in outputs]
    return outputs, torch.autograd.grad(outputs, leaves, seeds)


def assert_gradients_close(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float = CLOSE) -> None:
    for value, reference in zip(actual, expected, strict=True):
        scale = float(reference.abs().max())
        assert scale > 1e-3
        torch.testing.assert_close(value, reference, atol=tolerance * max(1.0, scale), rtol=0)


CASES: dict[str, dict[str, Any]] = {
    "importance, relu, softplus": {"num_hidden_layers": 2, "num_samples": 12},
    "importance, silu, exp": {
        "channels": 32,
        "hidden_size": 24,
        "num_hidden_layers": 4,
        "hidden_act": "silu",
        "density_activation": "exp",
        "num_samples": 8,
        "plane_axes": TRIPOSR,
        "radius": 0.87,
    },
    "uniform, metric": {
        "channels": 40,
        "hidden_size": 64,
        "sampling": "uniform",
        "num_samples": 7,
        "plane_axes": OTHER,
        "radius": 1.3,
    },
    "uniform, TripoSR": {
        "hidden_size": 24,
        "num_hidden_layers": 4,
        "hidden_act": "silu",
        "density_activation": "exp",
        "sampling": "uniform",
        "step_length": "normalized",
        "num_samples": 8,
        "bounds_scale": 0.999,
        "plane_axes": TRIPOSR,
        "color_padding": 0.0,
        "density_bias": 1.0,
    },
    "one hidden layer, box beyond the planes": {
        "num_hidden_layers": 1,
        "hidden_size": 9,
        "sampling": "uniform",
        "bounds_scale": 1.4,
        "num_samples": 9,
    },
}


class TestTwin:
    @pytest.mark.parametrize("name", CASES)
    def test_values_and_gradients(self, name: str) -> None:
        field = random_field(**CASES[name])
        rays, samples = small_rays(field), field.config.num_samples
        expected, expected_gradients = gradients(twin, field, samples, rays)
        assert 0.1 < float(expected[2].detach().mean()) < 0.95
        actual, actual_gradients = gradients(kernels.render_rays, field, samples, rays)
        assert_close(actual, expected)
        assert_gradients_close(actual_gradients, expected_gradients)
        # without gradients nothing is kept, and kernels place the samples as well; depths reach 4
        with torch.no_grad():
            assert_close(kernels.render_rays(field, samples, *rays.values), actual, tolerance=3e-6)

    @pytest.mark.parametrize("sampling", ["importance", "uniform"])
    def test_noise(self, sampling: str) -> None:
        field = random_field(sampling=sampling, num_samples=8)
        rays = small_rays(field)
        generator = torch.Generator().manual_seed(1)
        sizes = [4, 4] if sampling == "importance" else [8]
        jitter = [torch.rand(*rays.values[0].shape[:2], size, generator=generator).to(DEVICE) for size in sizes]
        expected, expected_gradients = gradients(twin, field, 8, rays, *jitter)
        actual, actual_gradients = gradients(kernels.render_rays, field, 8, rays, *jitter)
        assert_close(actual, expected)
        assert_gradients_close(actual_gradients, expected_gradients)
        still = kernels.render_rays(field, 8, *rays.values)
        assert float((still[0] - actual[0]).detach().abs().max()) > 0.01

    @pytest.mark.parametrize(
        "options", [{"hidden_size": 128, "num_samples": 8}, {"hidden_size": 70, "num_samples": 8, "channels": 1}]
    )
    def test_wide(self, options: dict[str, Any]) -> None:
        field = random_field(batch=1, **options)
        rays = small_rays(field)
        assert_close(kernels.render_rays(field, 8, *rays.values), twin(field, 8, *rays.values))

    def test_deep(self) -> None:
        field = random_field(batch=1, num_hidden_layers=10, sampling="uniform", num_samples=3, hidden_act="silu")
        rays = small_rays(field)
        expected, expected_gradients = gradients(twin, field, 3, rays)
        actual, actual_gradients = gradients(kernels.render_rays, field, 3, rays)
        assert_close(actual, expected)
        assert_gradients_close(actual_gradients, expected_gradients)

    def test_blocks_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Three programs, the last of them partly filled and one of them with rays of both objects, or one."""
        field = random_field(num_samples=8)
        rays = small_rays(field)
        rays = Rays(tuple(part[:, 4:23] for part in rays.values))
        one, one_gradients = gradients(kernels.render_rays, field, 8, rays)
        monkeypatch.setattr(kernels_launch, "INTERPRETED_BLOCK", 16)
        monkeypatch.setattr(kernels, "LAUNCH_SAMPLES", 100)  # three launches
        many, many_gradients = gradients(kernels.render_rays, field, 8, rays)
        assert_close(many, one, tolerance=1e-6)
        assert_gradients_close(many_gradients, one_gradients, tolerance=2e-6)
        with torch.no_grad():
            assert_close(kernels.render_rays(field, 8, *rays.values), one, tolerance=3e-6)

    def test_opaque_wall_keeps_gradients_finite(self) -> None:
        field = random_field(batch=1, sampling="uniform", num_samples=6)
        bias = field.biases[-1].clone()
        bias[0] = 300.0
        field = replace(field, biases=(*field.biases[:-1], bias))
        rays = small_rays(field)
        expected, expected_gradients = gradients(twin, field, 6, rays)
        actual, actual_gradients = gradients(kernels.render_rays, field, 6, rays)
        assert_close(actual, expected)
        hit = rays.values[4].float()
        torch.testing.assert_close(actual[2], hit, atol=1e-6, rtol=0)
        for value, reference in zip(actual_gradients, expected_gradients, strict=True):
            assert bool(torch.isfinite(value).all())
            torch.testing.assert_close(value, reference, atol=CLOSE * max(1.0, float(reference.abs().max())), rtol=0)

    def test_only_what_is_asked_for(self) -> None:
        """Gradients of the planes alone, and of the cameras alone, are those of everything."""
        field = random_field(num_samples=8)
        rays = small_rays(field)
        _, expected = gradients(twin, field, 8, rays)
        seeds_of = torch.Generator().manual_seed(4)
        planes = field.planes.clone().requires_grad_()
        outputs = kernels.render_rays(replace(field, planes=planes), 8, *rays.values)
        seeds = [torch.randn(output.shape, generator=seeds_of).to(DEVICE) for output in outputs]
        (gradient,) = torch.autograd.grad(outputs, planes, seeds)
        torch.testing.assert_close(gradient, expected[0], atol=CLOSE, rtol=0)
        origins = rays.values[0].clone().requires_grad_()
        outputs = kernels.render_rays(field, 8, origins, *rays.values[1:])
        (gradient,) = torch.autograd.grad(outputs, origins, seeds)
        torch.testing.assert_close(gradient, expected[-5], atol=CLOSE * float(expected[-5].abs().max()), rtol=0)

    def test_finite_differences(self) -> None:
        """The gradient along a random direction, by a way that knows no autograd. float32 allows for steps that leave
        three digits."""
        field = random_field(batch=1, hidden_act="silu", sampling="uniform", num_samples=6)
        rays = small_rays(field)
        direction = torch.randn(field.planes.shape, generator=torch.Generator().manual_seed(2)).to(DEVICE)

        def loss(planes: Tensor) -> Tensor:
            color, depth, opacity = kernels.render_rays(replace(field, planes=planes), 6, *rays.values)
            return color.square().sum() + (depth * opacity).sum()

        planes = field.planes.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(planes), planes)
        step = 1e-3
        with torch.no_grad():
            slope = (loss(field.planes + step * direction) - loss(field.planes - step * direction)) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=2e-2)
        assert abs(float(slope)) > 0.1


def occupied(field: TriplaneField, cells: int, share: float) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return (torch.rand(len(field), cells, cells, cells, generator=generator) < share).to(DEVICE)


class HollowField(TriplaneField):
    """The twin of an occupancy grid: a field that is empty where the grid says so."""

    occupancy: Tensor

    def raw(self, points: Tensor) -> tuple[Tensor, Tensor]:
        raw, rgb = super().raw(points)
        cells = self.occupancy.shape[1]
        cell = ((points / self.config.radius + 1) * (cells / 2)).clamp(0, cells - 1).long()
        owner = torch.arange(len(self), device=points.device)[:, None].expand(cell.shape[:2])
        keep = self.occupancy[owner, cell[..., 0], cell[..., 1], cell[..., 2]][..., None]
        return raw.masked_fill(~keep, -1e9), rgb.masked_fill(~keep, 0.0)


class TestSavings:
    def test_occupancy(self) -> None:
        """Of importance sampling see test_kernels_sampling.py: there the cells beside occupied ones count."""
        field = random_field(sampling="uniform", num_samples=10, radius=1.2)
        rays = small_rays(field)
        grid = occupied(field, 5, 0.5)

        def hollow(field: TriplaneField, *arguments: Any) -> Any:
            field = HollowField(field.planes, field.weights, field.biases, field.config)
            object.__setattr__(field, "occupancy", grid)
            return twin(field, *arguments)

        expected, expected_gradients = gradients(hollow, field, 10, rays)
        actual, actual_gradients = gradients(kernels.render_rays, field, 10, rays, occupancy=grid)
        assert_close(actual, expected)
        assert_gradients_close(actual_gradients, expected_gradients)
        assert float((expected[0] - twin(field, 10, *rays.values)[0]).abs().max()) > 0.1

    @pytest.mark.parametrize("sampling", ["importance", "uniform"])
    def test_occupancy_that_is_full_changes_nothing(self, sampling: str) -> None:
        field = random_field(sampling=sampling, num_samples=8)
        rays = small_rays(field)
        full = kernels.render_rays(field, 8, *rays.values, occupancy=torch.ones_like(occupied(field, 4, 1.0)))
        for value, reference in zip(full, kernels.render_rays(field, 8, *rays.values), strict=True):
            assert torch.equal(value, reference)

    def test_empty_occupancy_shows_the_background(self) -> None:
        field = random_field(num_samples=8)
        rays = small_rays(field)
        grid = torch.zeros_like(occupied(field, 4, 1.0))
        color, depth, opacity = kernels.render_rays(field, 8, *rays.values, occupancy=grid)
        assert torch.equal(color, rays.values[5])
        assert not bool(depth.any()) and not bool(opacity.any())

    @pytest.mark.parametrize("sampling", ["importance", "uniform"])
    def test_early_termination_is_bounded(self, sampling: str) -> None:
        field = random_field(sampling=sampling, num_samples=8, density_bias=4.0)
        rays = small_rays(field)
        expected = kernels.render_rays(field, 8, *rays.values)
        for bound in (0.3, 1e-3):
            actual = kernels.render_rays(field, 8, *rays.values, min_transmittance=bound)
            for value, reference in ((actual[0], expected[0]), (actual[2], expected[2])):
                # colours and backgrounds lie within 1 of each other, the padding of colours aside
                assert float((value - reference).abs().max()) <= bound * 1.01 + 1e-6
            if bound == 0.3:
                assert float((actual[2] - expected[2]).abs().max()) > 0.01  # it does end rays

    def test_early_termination_is_where_it_says(self) -> None:
        """Values and gradients of a ray whose weights behind the bound are zero."""
        field = random_field(batch=1, sampling="uniform", num_samples=6, density_bias=4.0)
        rays = small_rays(field)

        def ending(field: TriplaneField, samples: int, *rays: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            origins, directions, near, far, hit, background = rays
            depths = bin_depths(near, far, samples)
            points = origins[:, :, None] + depths[..., None] * directions[:, :, None]
            raw, rgb = (part.unflatten(1, depths.shape[1:]) for part in field.raw(points.flatten(1, 2)))
            density = field.density_from_raw(raw[..., 0])
            length = (far - near) / samples
            passed = torch.exp(-(density * length).cumsum(dim=-1) + density * length)
            weights = compositing_weights(density, length) * (passed >= 0.1) * hit
            assert 0.1 < float((passed >= 0.1).float().mean()) < 0.9
            return accumulate(weights, rgb, depths, background)

        expected, expected_gradients = gradients(ending, field, 6, rays)
        actual, actual_gradients = gradients(kernels.render_rays, field, 6, rays, min_transmittance=0.1)
        assert_close(actual, expected)
        assert_gradients_close(actual_gradients, expected_gradients)


class TestQuery:
    @pytest.mark.parametrize("name", list(CASES)[:2])
    def test_query(self, name: str) -> None:
        field = random_field(**CASES[name])
        generator = torch.Generator().manual_seed(5)
        points = ((torch.rand(2, 100, 3, generator=generator) - 0.5) * 3).to(DEVICE)  # beside the box as well
        density, rgb = kernels.query(field, points)
        expected_density, expected_rgb = field.query(points)
        torch.testing.assert_close(density, expected_density, atol=CLOSE, rtol=CLOSE)
        torch.testing.assert_close(rgb, expected_rgb, atol=CLOSE, rtol=0)

    def test_no_points(self) -> None:
        field = random_field()
        density, rgb = kernels.query(field, torch.zeros(2, 0, 3, device=DEVICE))
        assert density.shape == (2, 0, 1) and rgb.shape == (2, 0, 3)

    def test_bad_shape(self) -> None:
        with pytest.raises(ValueError, match=r"`points` must have shape \(2, n, 3\), got \(1, 4, 3\)"):
            kernels.query(random_field(), torch.zeros(1, 4, 3, device=DEVICE))


class TestDoor:
    def test_no_rays(self) -> None:
        field = random_field()
        rays = Rays(tuple(part[:, :0] for part in small_rays(field).values))
        color, depth, opacity = kernels.render_rays(field, 8, *rays.values)
        assert color.shape == (2, 0, 3) and depth.shape == (2, 0, 1) and opacity.shape == (2, 0, 1)

    def test_rays_that_all_miss(self) -> None:
        """They show the background, and it has the gradient."""
        field = random_field(num_samples=8)
        field = replace(field, planes=field.planes.requires_grad_())
        values = list(small_rays(field).values)
        values[4] = torch.zeros_like(values[4])
        values[5] = values[5].clone().requires_grad_()
        color, depth, opacity = kernels.render_rays(field, 8, *values)
        assert torch.equal(color, values[5])
        assert not bool(depth.any()) and not bool(opacity.any())
        planes, background = torch.autograd.grad(color.sum(), (field.planes, values[5]))
        assert not bool(planes.any())
        assert torch.equal(background, torch.ones_like(background))

    def test_folded_planes_follow_changes_in_place(self) -> None:
        field = random_field(num_samples=8)
        rays = small_rays(field)
        before = kernels.render_rays(field, 8, *rays.values)
        field.planes.mul_(0.5)
        assert_close(kernels.render_rays(field, 8, *rays.values), twin(field, 8, *rays.values))
        field.weights[0].mul_(2.0)
        assert_close(kernels.render_rays(field, 8, *rays.values), before, tolerance=1e-6)

    def test_bf16_is_near(self) -> None:
        """Operands of 8 bits: each product is off by up to 2^-8 of itself, and the raw density of this field, which
        reaches 10, by a few hundredths."""
        field = random_field(num_samples=8)
        rays = small_rays(field)
        expected, expected_gradients = gradients(twin, field, 8, rays)
        actual, actual_gradients = gradients(kernels.render_rays, field, 8, rays, precision="bf16")
        assert 1e-4 < float((actual[0] - expected[0]).detach().abs().max()) < 5e-2
        for value, reference in zip(actual_gradients, expected_gradients, strict=True):
            # where an operand's rounding crosses a kink of a ReLU, a sample's whole share comes or goes
            assert float((value - reference).norm() / reference.norm()) < 0.1
        with torch.no_grad():
            assert_close(kernels.render_rays(field, 8, *rays.values, precision="bf16"), actual, tolerance=1e-6)

    def test_unknown_precision(self) -> None:
        field = random_field()
        with pytest.raises(ValueError, match="`precision` must be one of 'fp32', .*, got 'fp8'"):
            kernels.render_rays(field, 8, *small_rays(field).values, precision="fp8")

    @pytest.mark.parametrize("shape", [(1, 4, 4, 4), (2, 4, 4, 3), (2, 4, 4)])
    def test_bad_occupancy(self, shape: tuple[int, ...]) -> None:
        field = random_field()
        with pytest.raises(ValueError, match=r"`occupancy` must be bool of shape \(2, cells, cells, cells\)"):
            kernels.render_rays(field, 8, *small_rays(field).values, occupancy=torch.ones(shape, dtype=torch.bool))

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"hidden_size": 129}, "up to 128 wide, and the field's `hidden_size` is 129"),
            ({"num_hidden_layers": 11}, "up to 10 hidden layers, and the field's `num_hidden_layers` is 11"),
            ({"num_samples": 40000}, "up to 32767 samples per ray, not 40000"),
        ],
    )
    def test_unsupported(self, options: dict[str, Any], reason: str) -> None:
        field = random_field(**options)
        assert reason in str(kernels.unsupported(field))
        with pytest.raises(ValueError, match="Triton kernels can't render this: the kernels take"):
            kernels.render_rays(field, field.config.num_samples, *small_rays(field).values)

    def test_supported(self) -> None:
        assert kernels.unsupported(random_field(hidden_size=128, num_hidden_layers=10)) is None

    def test_needs_a_gpu_or_the_interpreter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernels, "interpreted", lambda: False)
        assert kernels.unsupported(random_field(), "cpu") == "the kernels need a CUDA device, not 'cpu'"

    def test_needs_triton(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "triton", None)
        assert kernels.unsupported(random_field()) == "triton is not installed"

    def test_deterministic_algorithms(self) -> None:
        field = random_field()
        torch.use_deterministic_algorithms(True)
        try:
            assert kernels.unsupported(field) is None
            field = replace(field, planes=field.planes.requires_grad_())
            assert "deterministic" in str(kernels.unsupported(field))
        finally:
            torch.use_deterministic_algorithms(False)


def golden(origin: str) -> tuple[TriplaneField, dict[str, Tensor]]:
    """A field of the original systems, and what they made of it."""
    values = load_file(GOLDENS / origin / "golden.safetensors")
    if origin == "openlrm_v11":
        weights = load_file(GOLDENS / origin / "model.safetensors")
    else:
        weights = torch.load(GOLDENS / origin / "model.pth", weights_only=True)["weights"]
    mlp = [[weights[f"synthesizer.decoder.net.{2 * i}.{kind}"] for i in range(4)] for kind in ("weight", "bias")]
    config = TriplaneFieldConfig(channels=8, num_samples=16)
    values = {name: value.to(DEVICE) for name, value in values.items()}
    return TriplaneField(values["planes"].cpu(), tuple(mlp[0]), tuple(mlp[1]), config).to(DEVICE), values


def golden_rays(field: TriplaneField, values: dict[str, Tensor]) -> tuple[Rays, list[Tensor]]:
    """The original's rays and noise, over white."""
    cameras = Cameras.from_render_vector(values["render_cameras"].cpu())
    directions = values["render.ray_dirs"].reshape(2, -1, 3)
    origins = cameras.position.to(DEVICE)[:, :, None].expand(2, 2, 24 * 24, 3).reshape(2, -1, 3)
    rays = Rays((origins, directions, *ray_box_intersection(origins, directions, 1.0), torch.ones_like(origins)))
    return rays, [values[f"render.seed.{name}"].reshape(2, -1, 8) for name in ("jitter", "u")]


class TestGoldens:
    @pytest.mark.parametrize("origin", ["openlrm_v11", "openlrm_v10"])
    def test_pixels(self, origin: str) -> None:
        """Some pixels of the original's pictures, within what rounding in importance sampling makes of them."""
        field, values = golden(origin)
        rays, jitter = golden_rays(field, values)
        some = slice(5, None, 36)
        color, depth, opacity = kernels.render_rays(
            field, 16, *(part[:, some] for part in rays.values), *(part[:, some] for part in jitter)
        )
        seen = 0
        for value, name, tolerance in ((color, "rgb", 3e-4), (opacity, "weight", 3e-4), (depth, "depth", 5e-4)):
            expected = values[f"render.seed.images_{name}"].flatten(3).transpose(2, 3).flatten(1, 2)[:, some]
            visible = opacity.expand_as(expected) > 1e-6 if name == "depth" else torch.ones_like(expected) > 0
            seen += int(visible.sum())
            torch.testing.assert_close(value[visible], expected[visible], atol=tolerance, rtol=0)
        assert seen > 200

    @pytest.mark.slow
    def test_gradients(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of the mean squared colour of all four pictures. The rounding of the depths is in the difference."""
        monkeypatch.setattr(kernels_launch, "INTERPRETED_BLOCK", 512)
        field, values = golden("openlrm_v11")
        rays, jitter = golden_rays(field, values)
        leaves = [part.clone().requires_grad_() for part in (field.planes, *field.weights, *field.biases)]
        field = replace(field, planes=leaves[0], weights=tuple(leaves[1:5]), biases=tuple(leaves[5:]))
        color, _, _ = kernels.render_rays(field, 16, *rays.values, *jitter)
        names = [f"grad.synthesizer.decoder.net.{2 * i}.{kind}" for kind in ("weight", "bias") for i in range(4)]
        for name, gradient in zip(
            ["grad.planes__mean_rgb_sq__render_seed", *names],
            torch.autograd.grad(color.square().mean(), leaves),
            strict=True,
        ):
            assert float((gradient - values[name]).norm() / values[name].norm()) < 3e-4, name


TRIPOSR_RULES: dict[str, Any] = {
    "hidden_act": "silu",
    "density_activation": "exp",
    "sampling": "uniform",
    "step_length": "normalized",
    "plane_axes": TRIPOSR,
}

# Largest and mean error of colour and opacity, and error of a gradient relative to its norm. Four times and more what
# the torch twin does on this field when its operands are rounded to as many bits: 5e-7, 1e-7, 7e-4 with 22 bits and the
# first layer folded, 4e-4, 4e-5, 2e-2 with 10 (tf32), 3e-3, 5e-4, 8e-2 with 7 and planes of bfloat16. An H100 cuts
# off the digits that tf32 leaves out, which gives a bias: 9e-4, and 5e-4 in the mean. What gradients lose is samples on
# the other side of a kink of a ReLU, of which planes of noise have many.
FULL_SIZE = {
    "fp32": (5e-5, 2e-6, 4e-3),
    "tf32x3": (1e-4, 4e-6, 6e-3),
    "tf32": (5e-3, 2e-3, 0.1),
    "bf16": (2e-2, 2e-3, 0.3),
}


@pytest.mark.gpu
class TestFullSize:
    """OpenLRM-large's shape: planes of 64 x 64 texels and 80 channels."""

    @pytest.mark.parametrize("precision", FULL_SIZE)
    @pytest.mark.parametrize("sampling", ["importance", "uniform"])
    def test_values_and_gradients(self, sampling: str, precision: str) -> None:
        field = random_field(
            batch=1, size=(64, 64), channels=80, hidden_size=64, num_hidden_layers=3, sampling=sampling, num_samples=96
        )
        rays = Rays.of(field, orbit_cameras(num_views=1, elevation=20.0), side=128)
        expected, expected_gradients = gradients(twin, field, 96, rays)
        actual, actual_gradients = gradients(kernels.render_rays, field, 96, rays, precision=precision)
        largest, mean, relative = FULL_SIZE[precision]
        for value, reference in ((actual[0], expected[0]), (actual[2], expected[2])):
            assert float((value - reference).detach().abs().max()) < largest
            assert float((value - reference).detach().abs().mean()) < mean
        for value, reference in zip(actual_gradients[:9], expected_gradients[:9], strict=True):
            assert float((value - reference).norm() / reference.norm()) < relative

    def test_triposr(self) -> None:
        field = random_field(
            batch=1, size=(64, 64), channels=40, hidden_size=64, num_hidden_layers=9, num_samples=128, **TRIPOSR_RULES
        )
        rays = Rays.of(field, orbit_cameras(num_views=1, elevation=20.0), side=64)
        expected, expected_gradients = gradients(twin, field, 128, rays)
        actual, actual_gradients = gradients(kernels.render_rays, field, 128, rays)
        assert_close(actual, expected, tolerance=1e-4)
        for value, reference in zip(actual_gradients[:-5], expected_gradients[:-5], strict=True):
            assert float((value - reference).norm() / reference.norm()) < FULL_SIZE["fp32"][2]

    def test_memory(self) -> None:
        """Far below one float per ray, sample and channel: what is kept for the backward pass is 4 floats per ray and
        sample, besides depths, indices and gradients of these."""
        field = random_field(batch=1, size=(64, 64), channels=80, hidden_size=64, num_hidden_layers=3, num_samples=96)
        rays = Rays.of(field, orbit_cameras(num_views=1, elevation=20.0), side=256)
        planes = field.planes.clone().requires_grad_()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        color, _, _ = kernels.render_rays(replace(field, planes=planes), 96, *rays.values)
        color.sum().backward()
        peak = torch.cuda.max_memory_allocated() - before
        assert peak < 256 * 256 * 96 * 4 * 40  # of 240 channels and 3 x 64 hidden units

    def test_same_bytes_twice(self) -> None:
        field = random_field(batch=1, size=(64, 64), channels=80, hidden_size=64, num_hidden_layers=3, num_samples=96)
        rays = Rays.of(field, orbit_cameras(num_views=1, elevation=20.0), side=64)
        first, first_gradients = gradients(kernels.render_rays, field, 96, rays)
        second, second_gradients = gradients(kernels.render_rays, field, 96, rays)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        # of the MLP: all but the planes and, through them, the first layer
        for index in range(2, 9):
            assert torch.equal(first_gradients[index], second_gradients[index])
