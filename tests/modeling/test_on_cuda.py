# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The whole way on a CUDA device: the original systems' numbers, quick rendering against plain, meshes and pipelines
against those of the CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.spatial import cKDTree
from torch import Tensor
from transformers import Dinov2WithRegistersConfig, ViTConfig

import lrm_hf
from lrm_hf import Cameras, LRMModel, LRMPipeline, TriplaneField, TripoSRModel, extract_mesh, orbit_cameras, render


pytestmark = pytest.mark.gpu

TESTS = Path(__file__).parents[1]
GOLDENS, PICTURE = TESTS / "goldens", TESTS.parent / "examples" / "teddy_bear.png"
SIZE = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}
ENCODERS = {
    "openlrm_v11": Dinov2WithRegistersConfig(**SIZE, image_size=518, patch_size=14),
    "openlrm_v10": ViTConfig(**SIZE, intermediate_size=192, image_size=224, patch_size=16),
    "triposr": ViTConfig(**SIZE, intermediate_size=192, layer_norm_eps=1e-12),
}
SIDE, SAMPLES = 24, 16
PLANES = {"atol": 1e-4, "rtol": 0}  # of deviation 1 and 2; sums in yet another order
RENDERED = {"atol": 5e-4, "rtol": 0}


@pytest.fixture(autouse=True)
def _float32() -> Iterator[None]:
    """Convolutions have 10 bits by default, which no golden would survive."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def golden(origin: str) -> dict[str, Tensor]:
    return {name: value.cuda() for name, value in load_file(GOLDENS / origin / "golden.safetensors").items()}


@pytest.mark.parametrize("origin", ["openlrm_v11", "openlrm_v10"])
@pytest.mark.parametrize("backend", ["torch", "triton"])
@torch.no_grad()
def test_openlrm(origin: str, backend: str) -> None:
    model, values = LRMModel.from_original(GOLDENS / origin, encoder_config=ENCODERS[origin]).cuda(), golden(origin)
    pictures = values["image"]
    if origin == "openlrm_v10":
        mean, std = (torch.tensor(v).cuda()[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        pictures = (pictures - mean) / std
    planes = model(pictures, source_cameras=values["source_camera"]).planes
    torch.testing.assert_close(planes, values["planes"], **PLANES)
    shape = (2, 2, SIDE * SIDE, SAMPLES // 2)
    views = render(
        model.planes_to_field(values["planes"]),
        Cameras.from_render_vector(values["render_cameras"]),
        SIDE,
        SIDE,
        noise=(values["render.seed.jitter"].reshape(shape), values["render.seed.u"].reshape(shape)),
        backend=backend,
    )
    torch.testing.assert_close(views.images, values["render.seed.images_rgb"], **RENDERED)
    torch.testing.assert_close(views.opacity, values["render.seed.images_weight"], **RENDERED)


@pytest.mark.parametrize("backend", ["torch", "triton"])
@torch.no_grad()
def test_triposr(backend: str) -> None:
    model = TripoSRModel.from_original(GOLDENS / "triposr", encoder_config=ENCODERS["triposr"])
    values = golden("triposr")
    field = model.cuda().planes_to_field(values["scene_codes"])
    cameras = orbit_cameras(2, 0.0, 1.9, 0.5 / math.tan(math.radians(20)), azimuth_start=90.0)
    views = render(field, cameras, SIDE, SIDE, backend=backend)
    torch.testing.assert_close(views.images.permute(0, 1, 3, 4, 2), values["render.rgb"], **RENDERED)


@pytest.fixture(scope="module")
def teddy() -> TriplaneField:
    """What the bundled model makes of a picture, on the CPU."""
    pipe = LRMPipeline.from_pretrained(lrm_hf.bundled_model())
    pipe.set_progress_bar_config(disable=True)
    return pipe(str(PICTURE), output_type="field").field


@pytest.mark.parametrize("backend", ["torch", "triton"])
@torch.no_grad()
def test_quick_views_are_the_plain_ones(teddy: TriplaneField, backend: str) -> None:
    plain = render(teddy, orbit_cameras(8, 20.0), 128, 128, backend="torch", exact=True).images
    quick = render(teddy.to("cuda"), orbit_cameras(8, 20.0), 128, 128, backend=backend).images.cpu()
    assert float((quick - plain).abs().max()) < 4 / 255
    assert -10 * math.log10(float((quick - plain).square().mean())) > 50
    exact = render(teddy.to("cuda"), orbit_cameras(8, 20.0), 128, 128, backend=backend, exact=True).images.cpu()
    torch.testing.assert_close(exact, plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_gradients(teddy: TriplaneField, backend: str) -> None:
    """Of a quarter of the pixels' squared colours, by planes and weights, against those of the CPU."""

    def gradients(field: TriplaneField, backend: str) -> list[Tensor]:
        leaves = [part.detach().requires_grad_() for part in (field.planes, *field.weights, *field.biases)]
        count = len(field.weights)
        field = TriplaneField(leaves[0], tuple(leaves[1 : 1 + count]), tuple(leaves[1 + count :]), field.config)
        images = render(field, orbit_cameras(2, 20.0), 64, 64, backend=backend).images
        return [part.cpu() for part in torch.autograd.grad(images.square().mean(), leaves)]

    expected = gradients(teddy, "torch")
    for value, reference in zip(gradients(teddy.to("cuda"), backend), expected, strict=True):
        assert float((value - reference).norm() / reference.norm()) < 2e-3


def test_bfloat16_training() -> None:
    """Forward and backward under autocast, as accelerate does it: near what float32 gives."""
    model = LRMPipeline.from_pretrained(lrm_hf.bundled_model()).model.cuda().train()
    pictures = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)).cuda() * 4 - 2
    found = {}
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=enabled):
            output = model(pictures, render_cameras=orbit_cameras(2, 20.0), height=16, width=16, num_samples=16)
        loss = output.images.float().square().mean()
        loss.backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        found[enabled] = float(loss), float(gradient.norm())
        assert math.isfinite(found[enabled][1])
    assert found[True] == pytest.approx(found[False], rel=0.1)


def test_mesh(teddy: TriplaneField) -> None:
    """The same surface: vertices within a hundredth of a voxel."""
    resolution = 128
    expected, found = (extract_mesh(field, resolution)[0] for field in (teddy, teddy.to("cuda")))
    assert abs(len(found.vertices) - len(expected.vertices)) <= 0.001 * len(expected.vertices)
    distance, _ = cKDTree(expected.vertices).query(found.vertices)
    assert float(np.quantile(distance, 0.99)) < 0.01 * 2 / resolution


def test_pipeline(teddy: TriplaneField) -> None:
    pipe = LRMPipeline.from_pretrained(lrm_hf.bundled_model()).to("cuda")
    pipe.set_progress_bar_config(disable=True)
    field = pipe(str(PICTURE), output_type="field").field
    assert field.device.type == "cuda"
    scale = float(teddy.planes.abs().max())
    torch.testing.assert_close(field.planes.cpu() / scale, teddy.planes / scale, atol=1e-4, rtol=0)
    images = render(field, orbit_cameras(4, 20.0), 128, 128).images.cpu()
    expected = render(teddy, orbit_cameras(4, 20.0), 128, 128).images
    assert float((images - expected).abs().max()) < 8 / 255  # both are within 4 of the plain way
    assert float((images - expected).abs().mean()) < 1e-3
