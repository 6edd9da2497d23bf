# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The folded first layer is the same function of a point, with the same gradients, and is never out of date."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.rendering.folding import MLP_POINTS, fold


def random_field(batch: int = 2, size: tuple[int, int] = (12, 12), **options) -> TriplaneField:
    generator = torch.Generator().manual_seed(0)
    config = TriplaneFieldConfig(**({"channels": 5, "hidden_size": 16} | options))
    mlp = FieldMLP(config).requires_grad_(False)
    for layer in mlp.layers:
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * 1.5 * layer.in_features**-0.5)
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.3)
    planes = torch.randn(batch, 3, config.channels, *size, generator=generator)
    return TriplaneField(planes, *mlp.parameters_in_float32(), config)


VARIANTS = [
    {},
    {"batch": 1, "hidden_act": "silu", "radius": 0.87},
    {"size": (12, 10), "num_hidden_layers": 1},
    {"size": (7, 16), "plane_axes": [[0, 1], [0, 2], [1, 2]], "num_hidden_layers": 5, "color_padding": 0.0},
]


@pytest.mark.parametrize("options", VARIANTS)
def test_same_values_inside_and_beside_the_box(options: dict) -> None:
    field = random_field(**options)
    points = (torch.rand(len(field), 5000, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1) * 1.3
    points[:, 0] = field.config.radius  # a corner of the box
    points[:, 1] = 100.0  # far away: no feature at all
    raw, rgb = field.raw(points)
    folded_raw, folded_rgb = fold(field).raw(points)
    # raw densities reach 10: the order of sums makes some units in the last place
    torch.testing.assert_close(folded_raw, raw, atol=2e-5, rtol=0)
    torch.testing.assert_close(folded_rgb, rgb, atol=1e-5, rtol=0)


def test_pieces_of_the_mlp_join() -> None:
    field = random_field(batch=1, channels=1, hidden_size=2)
    points = torch.rand(1, 2 * MLP_POINTS + 3, 3) * 2 - 1
    torch.testing.assert_close(fold(field).raw(points)[0], field.raw(points)[0], atol=1e-5, rtol=0)
    assert fold(field).raw(points[:, :0])[0].shape == (1, 0, 1)


@pytest.mark.parametrize("options", VARIANTS)
def test_same_gradients(options: dict) -> None:
    """To planes, weights, biases and points, beside the box too."""
    gradients = []
    for folds in (False, True):
        field = random_field(**options)
        parts = [field.planes, *field.weights, *field.biases]
        parts = [part.clone().requires_grad_() for part in parts]
        layers = len(field.weights)
        field = replace(field, planes=parts[0], weights=tuple(parts[1 : 1 + layers]), biases=tuple(parts[1 + layers :]))
        points = (torch.rand(len(field), 300, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1) * 1.05
        points.requires_grad_()
        raw, rgb = (fold(field) if folds else field).raw(points)
        loss = (raw.sin() * torch.linspace(0.5, 1.5, 300)[:, None]).sum() + rgb.square().sum()
        gradients.append(torch.autograd.grad(loss, [*parts, points]))
    for plain, folded in zip(*gradients, strict=True):
        scale = float(plain.abs().max())
        assert scale > 0
        torch.testing.assert_close(folded / scale, plain / scale, atol=1e-5, rtol=0)  # rounding of sums


class TestKept:
    def test_until_planes_or_first_layer_change(self) -> None:
        field = random_field()
        first = fold(field).planes
        assert fold(field).planes is first
        field.planes.mul_(0.5)
        second = fold(field).planes
        torch.testing.assert_close(second, first * 0.5)
        field.weights[0].mul_(2.0)
        torch.testing.assert_close(fold(field).planes, first)

    def test_also_in_inference_mode(self) -> None:
        """Tensors made there count no versions."""
        with torch.inference_mode():
            field = random_field()
            first = fold(field).planes
            assert fold(field).planes is first
            field.planes[1, 2, 3, 4, 5] += 1e-3
            points = torch.rand(2, 50, 3) * 2 - 1
            second = fold(field)
            assert second.planes is not first
            torch.testing.assert_close(second.raw(points)[0], field.raw(points)[0], atol=2e-5, rtol=0)
            # two texels that change places leave a plain sum as it was
            texels: Tensor = field.planes[0, 0, 0, 0]
            texels[:2] = texels[:2].flip(0)
            assert fold(field).planes is not second.planes

    def test_not_where_gradients_flow(self) -> None:
        field = random_field()
        field.planes.requires_grad_()
        for _ in range(2):  # a kept graph could be used once only
            fold(field).raw(torch.zeros(2, 1, 3))[0].sum().backward()
        with torch.no_grad():
            assert fold(field).planes is fold(field).planes
