# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""What is left out can't be seen, and saves most of the work; backends; memory that does not suffice."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import lrm_hf
from lrm_hf.cameras import Cameras, look_at_cameras, orbit_cameras
from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.rendering import RenderOutput, backends, packed, render, renderer
from lrm_hf.rendering.folding import FoldedField


def random_field(
    batch: int = 2, size: tuple[int, int] = (16, 16), scale: float = 10.0, **options: Any
) -> TriplaneField:
    """Sharp-edged lumps in empty space. As in planes that a model makes, neighbouring texels have much in common: of
    white noise the middles of cells tell too little."""
    generator = torch.Generator().manual_seed(0)
    config = TriplaneFieldConfig(
        **({"channels": 4, "hidden_size": 16, "num_samples": 32, "density_bias": -50.0} | options)
    )
    mlp = FieldMLP(config).requires_grad_(False)
    for layer in mlp.layers:
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * math.sqrt(2 / layer.in_features))
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.2)
    mlp.layers[-1].weight[0] *= 3.0
    coarse = torch.randn(batch * 3, config.channels, 4, 4, generator=generator) * scale
    planes = F.interpolate(coarse, size, mode="bicubic").unflatten(0, (batch, 3))
    return TriplaneField(planes, *mlp.parameters_in_float32(), config)


VARIANTS = [
    {},
    {"sampling": "uniform"},
    {"sampling": "uniform", "step_length": "normalized", "bounds_scale": 0.9, "min_ray_length": 0.1},
    {"hidden_act": "silu", "density_activation": "exp"},
    {"size": (16, 12), "radius": 0.8, "plane_axes": [[0, 1], [0, 2], [1, 2]]},
]
CAMERAS = look_at_cameras([[0.0, -2.0, 0.3], [1.4, 1.2, -0.9], [0.2, -0.3, 0.1]], target=(0.1, 0.0, 0.05))


@pytest.mark.parametrize("options", VARIANTS)
def test_views_in_groups_are_the_same_views(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Rays are listed for some views at a time: neither pictures nor noise depend on for how many."""
    field = random_field(**options)
    cameras = orbit_cameras(5)
    anchors = torch.tensor([[0, 0], [3, 5], [2, 4], [1, 6], [4, 2]])
    size: dict[str, Any] = {"anchors": anchors, "full_size": (20, 20)}

    def look() -> list[RenderOutput]:
        noise = torch.Generator().manual_seed(3)
        return [render(field, cameras, 12, 10, **size), render(field, cameras, 12, 10, generator=noise, exact=True)]

    whole = look()
    calls: list[int] = []
    listed = renderer.camera_rays
    monkeypatch.setattr(renderer, "camera_rays", lambda seen, *rest: calls.append(seen.shape[1]) or listed(seen, *rest))
    monkeypatch.setattr(renderer, "LISTED_RAYS", 2 * 2 * 12 * 10 + 1)
    parts = look()
    assert calls == [2, 2, 1] * 2
    for part, expected in zip(parts, whole, strict=True):
        assert torch.equal(part.images, expected.images)
        assert torch.equal(part.depth, expected.depth)
        assert torch.equal(part.opacity, expected.opacity)
    assert float(whole[0].opacity.max()) > 0.9 and not torch.equal(whole[0].images, whole[1].images)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Points that are evaluated, a number per call."""
    counts: list[int] = []
    evaluate = FoldedField.evaluate

    def count(self: FoldedField, points: Tensor, owner: Tensor | None) -> Tensor:
        counts.append(len(points))
        return evaluate(self, points, owner)

    monkeypatch.setattr(FoldedField, "evaluate", count)
    return counts


def assert_close_to_exact(quick: RenderOutput, exact: RenderOutput) -> None:
    """The promise: at least 50 dB, and nowhere more than 4/255."""
    error = (quick.images - exact.images).abs()
    assert float(error.max()) <= 4 / 255
    assert float(error.square().mean()) <= 1e-5
    assert float((quick.opacity - exact.opacity).abs().max()) <= 4 / 255
    solid = exact.opacity > 0.5
    assert float(((quick.depth - exact.depth).abs() * solid).max()) < 0.02


class TestAgainstExact:
    @pytest.mark.parametrize("options", VARIANTS)
    @pytest.mark.parametrize("noise", [False, True])
    def test_random_fields(self, options: dict, noise: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        field = random_field(**options)

        def draw(exact: bool | None) -> RenderOutput:
            generator = torch.Generator().manual_seed(1) if noise else None
            return render(field, CAMERAS, 24, 24, background=0.4, generator=generator, exact=exact)

        exact = draw(True)
        counts = counted(monkeypatch)
        quick = draw(None)
        assert_close_to_exact(quick, exact)
        assert float(exact.opacity.max()) > 0.9
        assert 0 < sum(counts) < 0.8 * 2 * 3 * 24 * 24 * 32

    def test_a_fitted_field(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A ball on a rod thinner than a texel, learned: hazes and slopes as fields have them, and few evaluations."""
        torch.manual_seed(0)
        config = TriplaneFieldConfig(channels=8, hidden_size=32, num_hidden_layers=2, num_samples=48)
        mlp = FieldMLP(config)
        for layer in mlp.layers:
            torch.nn.init.kaiming_normal_(layer.weight)
        planes = torch.nn.Parameter(0.1 * torch.randn(1, 3, 8, 24, 24))
        optimizer = torch.optim.Adam([planes, *mlp.parameters()], lr=0.02)
        for _ in range(150):
            points = torch.rand(1, 3000, 3) * 2 - 1
            points[:, ::3] *= torch.tensor([0.1, 0.1, 1.0])
            ball = points.norm(dim=-1, keepdim=True) < 0.4
            rod = points[..., :2].norm(dim=-1, keepdim=True) < 0.03
            target = torch.where(ball | rod, 40.0, -8.0)
            raw, rgb = TriplaneField(planes, *mlp.parameters_in_float32(), config).raw(points)
            loss = F.smooth_l1_loss(raw, target) + (rgb - points.abs()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        field = TriplaneField(planes, *mlp.parameters_in_float32(), config).detach()
        exact = render(field, CAMERAS[:2], 40, 40, exact=True)
        counts = counted(monkeypatch)
        quick = render(field, CAMERAS[:2], 40, 40)
        assert_close_to_exact(quick, exact)
        assert 0.05 < float((exact.opacity > 0.5).float().mean()) < 0.5
        assert sum(counts) < 0.5 * 2 * 40 * 40 * 48

    def test_a_field_of_the_bundled_model(self) -> None:
        pipe = lrm_hf.LRMPipeline.from_pretrained(lrm_hf.bundled_model())
        pipe.set_progress_bar_config(disable=True)
        picture = Image.new("RGBA", (64, 64))
        picture.paste((200, 60, 30, 255), (16, 10, 50, 54))
        field = pipe(picture, output_type="field").field
        exact = render(field, orbit_cameras(2, elevation=20.0), 32, 32, exact=True)
        assert_close_to_exact(render(field, orbit_cameras(2, elevation=20.0), 32, 32), exact)
        assert float(exact.opacity.max()) > 0.9

    def test_rays_that_start_outside_the_grid(self) -> None:
        """Where rays are longer than the box that the grid divides, nothing is left out but what is hidden."""
        field = random_field(sampling="uniform", bounds_scale=1.5)
        quick, exact = (render(field, CAMERAS, 12, 12, exact=flag) for flag in (None, True))
        assert_close_to_exact(quick, exact)

    def test_what_is_hidden_is_not_evaluated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Solid everywhere: each ray ends within the first block."""
        config = TriplaneFieldConfig(
            channels=1, hidden_size=2, num_hidden_layers=1, sampling="uniform", num_samples=10 * packed.BLOCK
        )
        zero = (torch.zeros(2, 3), torch.zeros(4, 2)), (torch.zeros(2), torch.tensor([1e4, 0.0, 0.0, 0.0]))
        field = TriplaneField(torch.zeros(1, 3, 1, 4, 4), *zero, config)
        counts = counted(monkeypatch)
        inside = look_at_cameras((0.0, 0.0, 0.0), (0.0, 0.9, 0.1))
        output = render(field, inside, 6, 6)
        assert sum(counts) == 36 * packed.BLOCK
        assert float(output.opacity.min()) > 0.9999

    def test_nothing_in_the_box(self) -> None:
        field = random_field(density_bias=-1e4)
        output = render(field, CAMERAS, 5, 4, background=(0.1, 0.2, 0.3))
        assert torch.equal(output.images, torch.tensor([0.1, 0.2, 0.3])[:, None, None].expand(2, 3, 3, 5, 4))
        assert not bool(output.opacity.any())
        assert not bool(output.depth.any())


@pytest.mark.parametrize("options", VARIANTS[:2])
class TestInvariance:
    def test_same_call_same_bytes(self, options: dict) -> None:
        field = random_field(**options)
        first, second = (render(field, CAMERAS, 16, 16) for _ in range(2))
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.depth, second.depth)

    def test_chunk_size(self, options: dict) -> None:
        field = random_field(**options)
        whole = render(field, CAMERAS, 16, 16, chunk_size=2**30)
        for chunk_size in (32, 997, 5000):
            part = render(field, CAMERAS, 16, 16, chunk_size=chunk_size)
            assert float((part.images - whole.images).abs().max()) <= 1e-6
            assert float((part.depth - whole.depth).abs().max()) <= 2e-6

    def test_batch_and_views(self, options: dict) -> None:
        field = random_field(**options)
        whole = render(field, CAMERAS, 16, 16)
        for entry in range(2):
            for view in range(3):
                one = render(field[entry], CAMERAS[view], 16, 16)
                assert float((one.images[0, 0] - whole.images[entry, view]).abs().max()) <= 1e-6
                assert float((one.opacity[0, 0] - whole.opacity[entry, view]).abs().max()) <= 1e-6

    def test_planes_changed_in_place(self, options: dict) -> None:
        field = random_field(**options)
        before = render(field, CAMERAS, 8, 8)
        field.planes.copy_(field.planes.flip(0))
        after = render(field, CAMERAS, 8, 8)
        torch.testing.assert_close(after.images, before.images.flip(0), atol=1e-6, rtol=0)


def gradients(field: TriplaneField, **settings: Any) -> tuple[Tensor, list[Tensor]]:
    """Pictures, and gradients to planes, weights, biases, camera position and background."""
    parts = [part.clone().requires_grad_() for part in (field.planes, *field.weights, *field.biases)]
    layers = len(field.weights)
    position = torch.tensor([0.3, -1.9, 0.4], requires_grad=True)
    background = torch.tensor(0.3, requires_grad=True)
    field = replace(field, planes=parts[0], weights=tuple(parts[1 : 1 + layers]), biases=tuple(parts[1 + layers :]))
    output = render(field, look_at_cameras(position), 12, 12, background, **settings)
    loss = output.images.square().sum() + 0.1 * output.depth.sum() + output.opacity.sum()
    return output.images.detach(), list(torch.autograd.grad(loss, [*parts, position, background]))


@pytest.mark.parametrize("options", VARIANTS)
class TestTraining:
    def test_folding_changes_no_gradient(self, options: dict) -> None:
        """Where gradients are wanted every sample counts, by default."""
        field = random_field(scale=1.0, **(options | {"density_bias": -1.0}))
        exact_images, exact = gradients(field, exact=True)
        for chunk_size in (2**30, 700):
            images, found = gradients(field, chunk_size=chunk_size)
            torch.testing.assert_close(images, exact_images, atol=2e-5, rtol=0)  # rounding, through a sharp field
            for a, b in zip(found, exact, strict=True):
                assert float(b.abs().max()) > 0
                torch.testing.assert_close(a / b.abs().max(), b / b.abs().max(), atol=2e-4, rtol=0)

    def test_bounded_savings_when_asked(self, options: dict) -> None:
        """They leave out samples of hardly any density, whose gradients are as small."""
        field = random_field(**options)
        exact_images, exact = gradients(field, exact=True)
        for chunk_size in (2**30, 700):
            images, found = gradients(field, exact=False, chunk_size=chunk_size)
            assert float((images - exact_images).abs().max()) <= 4 / 255
            for a, b in zip(found, exact, strict=True):
                assert float((a - b).norm()) <= 0.02 * float(b.norm())


class TestBackends:
    def test_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        field = random_field()
        assert backends.choose_backend(field) == backends.choose_backend(field, "torch") == "torch"
        with pytest.raises(ValueError, match="`backend` must be one of 'auto', 'torch', 'triton', got 'cuda'"):
            render(field, CAMERAS, 4, 4, backend="cuda")
        monkeypatch.setenv("LRM_HF_BACKEND", "jax")
        with pytest.raises(ValueError, match="LRM_HF_BACKEND must be one of .* got 'jax'"):
            render(field, CAMERAS, 4, 4)
        render(field, CAMERAS, 4, 4, backend="torch")  # asked for outright, which is above the environment
        with pytest.raises(TypeError, match="`exact` must be True, False or None, got 'yes'"):
            render(field, CAMERAS, 4, 4, backend="torch", exact="yes")

    def test_what_kernels_are_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """With a stand-in for the kernels: what they are given, and that a refusal is an error."""
        calls: list[dict] = []

        def render_rays(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
            calls.append(kwargs)
            return packed.render_rays(*args, **kwargs)

        refusal: list[str | None] = [None]
        kernels = SimpleNamespace(render_rays=render_rays, unsupported=lambda field, device, samples: refusal[0])
        monkeypatch.setitem(sys.modules, "lrm_hf.rendering.kernels", kernels)
        field = random_field()
        expected = render(field, CAMERAS, 6, 6)
        assert not calls
        assert torch.equal(render(field, CAMERAS, 6, 6, backend="triton").images, expected.images)
        assert calls[0]["occupancy"].shape == (2, 32, 32, 32)
        assert calls[0]["min_transmittance"] == 1e-4
        monkeypatch.setenv("LRM_HF_BACKEND", "triton")
        render(field, CAMERAS, 6, 6, exact=True)
        assert calls[-1] == {"occupancy": None, "min_transmittance": 0.0}
        refusal[0] = "it is too wide"
        with pytest.raises(ValueError, match="LRM_HF_BACKEND asks for 'triton', .* this field: it is too wide"):
            render(field, CAMERAS, 6, 6)
        with pytest.raises(ValueError, match="`backend` asks for 'triton', .* this field: it is too wide"):
            render(field, CAMERAS, 6, 6, backend="triton")

    def test_fields_that_compute_by_themselves(self) -> None:
        class Grey(TriplaneField):
            def raw(self, points: Tensor) -> tuple[Tensor, Tensor]:
                raw, rgb = super().raw(points)
                return raw, torch.full_like(rgb, 0.5)

        field = random_field()
        field = Grey(field.planes, field.weights, field.biases, field.config)
        output = render(field, CAMERAS, 8, 8, background=0.5)
        assert float((output.images - 0.5).abs().max()) < 1e-6
        with pytest.raises(ValueError, match="a Grey computes densities by itself"):
            render(field, CAMERAS, 8, 8, backend="triton")


class TestMemoryErrors:
    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried"),
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
            MemoryError(),
        ],
    )
    def test_the_message_says_what_to_lower(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*args: Any) -> Tensor:
            raise error

        monkeypatch.setattr(FoldedField, "evaluate", fails)
        with pytest.raises(MemoryError, match=r"2 x 3 pictures of 16 x 16 .* lower `chunk_size` \(now 5000 points\)"):
            render(random_field(), CAMERAS, 16, 16, chunk_size=5000)

    def test_other_errors_stay_as_they_are(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*args: Any) -> Tensor:
            raise RuntimeError("something else")

        monkeypatch.setattr(FoldedField, "evaluate", fails)
        with pytest.raises(RuntimeError, match="^something else$"):
            render(random_field(), CAMERAS, 16, 16)

    def test_a_picture_too_large_for_any_memory(self) -> None:
        with pytest.raises(MemoryError, match="fewer pixels"):
            render(random_field(1), Cameras.canonical(), 2**22, 2**22)
