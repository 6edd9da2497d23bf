import math

import pytest
import torch

from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.training.losses import (
    OCCUPANCY_LENGTH,
    occupancy_loss,
    plane_variation_loss,
    psnr,
    surface_color_loss,
)


def test_occupancy_is_binary_cross_entropy_of_a_short_opacity():
    density = torch.tensor([[[2.0], [30.0], [7.0]]], dtype=torch.float64)
    occupied = torch.tensor([[[0.0], [1.0], [1.0]]], dtype=torch.float64)
    opacity = 1 - torch.exp(-density * OCCUPANCY_LENGTH)
    expected = torch.nn.functional.binary_cross_entropy(opacity, occupied)
    assert float(occupancy_loss(density, occupied)) == pytest.approx(float(expected), rel=1e-9)


def test_occupancy_stays_finite_at_both_ends():
    density = torch.tensor([[[0.0], [1e9]]], requires_grad=True)
    loss = occupancy_loss(density, torch.tensor([[[1.0], [0.0]]]))
    loss.backward()
    assert math.isfinite(float(loss)) and bool(torch.isfinite(density.grad).all())


def test_surface_color_counts_only_points_that_exist():
    rgb = torch.tensor([[[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]]])
    target = torch.tensor([[[0.5, 0.7, 0.5], [1.0, 1.0, 1.0]]])
    weight = torch.tensor([[[1.0], [0.0]]])
    assert float(surface_color_loss(rgb, target, weight)) == pytest.approx(0.04 / 3, rel=1e-5)
    assert float(surface_color_loss(rgb, target, torch.zeros(1, 2, 1))) == 0.0


def test_plane_variation_by_hand():
    config = TriplaneFieldConfig(channels=1, hidden_size=2, num_hidden_layers=1)
    planes = torch.zeros(1, 3, 1, 2, 2)
    planes[0, 0, 0] = torch.tensor([[0.0, 3.0], [1.0, 1.0]])
    field = TriplaneField(planes, *FieldMLP(config).parameters_in_float32(), config)
    # differences along width: 3 and 0 in the first plane, over 6 pairs; along height: 1 and -2
    assert float(plane_variation_loss(field)) == pytest.approx(9 / 6 + 5 / 6)


def test_psnr_by_hand():
    images = torch.full((2, 3, 4, 4), 0.5)
    target = images.clone()
    target[0] += 0.1
    values = psnr(images, target)
    assert float(values[0]) == pytest.approx(20.0, abs=1e-4)
    assert float(values[1]) == pytest.approx(100.0, abs=1e-4)
