# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_models import TINY_ENCODER, tiny_config, tiny_model
from transformers import AutoConfig, AutoModel

from lrm_hf import LRMImageProcessor
from lrm_hf.training import losses
from lrm_hf.training.objective import LossWeights, Objective, as_processed, to_device
from lrm_hf.training.procedural import render_pool
from lrm_hf.training.view_pool import TrainingBatch, ViewPool


NAMES = tuple(LossWeights.__dataclass_fields__)
NONE = dict.fromkeys(NAMES, 0.0)


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> TrainingBatch:
    directory = tmp_path_factory.mktemp("pool")
    render_pool(directory, 2, size=32, sources=1, targets=2)
    return ViewPool([directory]).draw(2, torch.Generator().manual_seed(0), crop=12, points=32)


def test_the_sum_is_of_each_loss_by_its_weight(batch: TrainingBatch) -> None:
    model = tiny_model(tiny_config(source_camera_elevation=20.0))
    objective = Objective(LossWeights(2.0, 3.0, 0.0, 0.5, 0.25, 0.1, 0.7, 0.01), "l1", "bce", num_samples=8)
    objective.point_factor = 0.5
    total, parts = objective(model, batch)
    output = model(
        batch.pixel_values,
        batch.source_cameras,
        batch.cameras,
        batch.images,
        background=batch.background,
        anchors=batch.anchors,
        full_size=batch.full_size,
        num_samples=8,
    )
    field = model.planes_to_field(output.planes)
    inside = (batch.points.abs() < field.config.radius).all(-1, keepdim=True)
    assert batch.depth is not None
    expected = {
        "pixel": F.l1_loss(output.images, batch.images),
        "opacity": losses.opacity_loss(output.opacity, batch.opacity, "bce"),
        "depth": losses.depth_loss(output.depth, batch.depth),
        "entropy": losses.opacity_entropy_loss(output.opacity),
        "occupancy": losses.occupancy_loss(field.query(batch.points)[0] * inside, batch.occupied * inside),
        "surface": losses.surface_color_loss(field.query(batch.surface)[1], batch.surface_rgb, batch.surface_weight),
        "variation": losses.plane_variation_loss(field),
        "mse": output.loss,
    }
    assert list(parts) == list(expected)
    for name, value in expected.items():
        # the same operations in the same order, but for how the rays are cut into pieces
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-7)
    weights = {"pixel": 2.0, "opacity": 3.0, "depth": 0.5, "entropy": 0.25, "occupancy": 0.05, "surface": 0.35}
    by_hand = sum(weight * expected[name] for name, weight in weights.items()) + 0.01 * expected["variation"]
    torch.testing.assert_close(total, by_hand, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "perceptual"])
def test_each_loss_alone_has_a_gradient(name: str, batch: TrainingBatch) -> None:
    model = tiny_model(tiny_config(source_camera_elevation=20.0))
    total, parts = Objective(LossWeights(**{**NONE, name: 1.0}), num_samples=8)(model, batch)
    assert list(parts) == [name, "mse"] and float(total) == float(parts[name]) > 0
    total.backward()
    gradient = model.upsampler.weight.grad
    assert gradient is not None and float(gradient.abs().max()) > 0


def test_the_perceptual_loss_takes_a_backbone(batch: TrainingBatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(**TINY_ENCODER)).save_pretrained(tmp_path)
    model = tiny_model(tiny_config(source_camera_elevation=20.0))
    objective = Objective(LossWeights(**{**NONE, "perceptual": 2.0}), perceptual_backbone=tmp_path, num_samples=8)
    total, parts = objective(model, batch)
    assert float(total) == pytest.approx(2 * float(parts["perceptual"])) and float(total) > 0
    total.backward()
    assert model.upsampler.weight.grad is not None
    assert objective.perceptual is not None
    assert all(parameter.grad is None for parameter in objective.perceptual.parameters())


def test_weights_that_make_no_sense(batch: TrainingBatch) -> None:
    with pytest.raises(ValueError, match="the loss `depth` must be 0 or more, got -1"):
        LossWeights(depth=-1.0)
    with pytest.raises(ValueError, match="needs a weight of the perceptual loss above 0"):
        Objective(LossWeights(), perceptual_backbone="somewhere")
    with pytest.raises(ValueError, match="every loss has the weight 0"):
        Objective(LossWeights(**NONE))(tiny_model(tiny_config()), batch)


def test_as_processed_is_what_the_processor_does() -> None:
    processor = LRMImageProcessor(size=32, do_normalize=True, image_mean=[0.2, 0.4, 0.6], image_std=[0.5, 0.25, 1.0])
    picture = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    rgba = torch.cat([picture, torch.ones(1, 32, 32)])
    expected = processor(
        rgba, return_tensors="pt", do_recenter=False, do_pad=False, background_removal="none"
    ).pixel_values
    torch.testing.assert_close(as_processed(picture[None], processor), expected, atol=1e-6, rtol=0)
    assert torch.equal(as_processed(picture[None], LRMImageProcessor(size=32)), picture[None])


def test_to_device_takes_everything(batch: TrainingBatch) -> None:
    moved = to_device(batch, torch.device("meta"))
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 11 and all(value.device.type == "meta" for value in tensors)
    assert moved.cameras.cam2world.device.type == "meta" and moved.full_size == batch.full_size
