# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The hand-written backward pass of a folded field, against finite differences, and what it keeps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lrm_hf.modeling.configuration_lrm import TriplaneFieldConfig
from lrm_hf.rendering.folding_gradients import MLP_POINTS, differentiable_outputs, locate


def inputs(
    config: TriplaneFieldConfig, points: int, batch: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None, Tensor, list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    hidden, layers = config.hidden_size, config.num_hidden_layers
    planes = random(batch, 3, 5, 6, hidden)
    weights = [random(hidden if i + 1 < layers else 4, hidden) * hidden**-0.5 for i in range(layers)]
    biases = [random(hidden) for _ in range(layers)] + [random(4)]
    owner = torch.arange(points) % batch if batch > 1 else None
    return (torch.rand(points, 3, generator=generator, dtype=dtype) * 2.2 - 1.1), owner, planes, weights, biases


@pytest.mark.parametrize(("hidden_act", "layers", "batch"), [("relu", 3, 2), ("silu", 2, 1), ("silu", 1, 2)])
def test_finite_differences(hidden_act: str, layers: int, batch: int) -> None:
    """In float64, where `gradcheck`'s own tolerances hold; points lie far enough from texels' middles, where the
    gradient by points jumps, for its step of 1e-6."""
    config = TriplaneFieldConfig(
        channels=1, hidden_size=5, num_hidden_layers=layers, hidden_act=hidden_act, color_padding=0.002
    )
    points, owner, planes, weights, biases = inputs(config, 7, batch, torch.float64)
    parts = [part.requires_grad_() for part in (points, planes, *weights, *biases)]

    def function(points: Tensor, planes: Tensor, *layers: Tensor) -> Tensor:
        half = len(layers) // 2
        return differentiable_outputs(config, points, owner, planes, layers[:half], layers[half:])

    assert torch.autograd.gradcheck(function, parts)


@pytest.mark.parametrize("learn", ["points", "planes", "weight", "bias"])
def test_each_alone_has_the_gradient_that_it_has_among_all(learn: str) -> None:
    config = TriplaneFieldConfig(channels=1, hidden_size=8)
    found = []
    for alone in (False, True):
        points, owner, planes, weights, biases = inputs(config, 50, 2, torch.float32)
        parts = {"points": points, "planes": planes, "weight": weights[1], "bias": biases[0]}
        for name, part in parts.items():
            part.requires_grad_(not alone or name == learn)
        output = differentiable_outputs(config, points, owner, planes, weights, biases)
        found.append(torch.autograd.grad(output.square().sum(), parts[learn])[0])
    assert float(found[0].abs().max()) > 0
    assert torch.equal(*found)


def test_what_is_kept_for_the_backward_pass() -> None:
    """Per point: itself, its output, and one number per unit of each hidden layer. What autograd keeps of the same
    arithmetic is more than twice that."""
    config = TriplaneFieldConfig(channels=1, hidden_size=16)
    count = 2 * MLP_POINTS + 3
    points, owner, planes, weights, biases = inputs(config, count, 1, torch.float32)
    planes.requires_grad_()
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        differentiable_outputs(config, points, owner, planes, weights, biases)
    numbers = {tensor.data_ptr(): tensor.numel() for tensor in kept}
    of_the_field = planes.numel() + sum(weight.numel() for weight in weights)
    assert sum(numbers.values()) == of_the_field + count * (3 + 4 + 3 * 16)


def test_what_is_kept_of_a_call_in_inference_mode_serves_gradients() -> None:
    planes = torch.zeros(1, 3, 11, 13, 2)  # of a size that no other test has kept anything for
    config = TriplaneFieldConfig(channels=1, hidden_size=2)
    with torch.inference_mode():
        locate(config, planes, torch.zeros(2, 3), None)
    points = torch.tensor([[0.1, -0.2, 0.3]], requires_grad=True)
    rows, shares = locate(config, planes, points, None)
    assert rows.shape == shares.shape == (1, 12)
    # the four shares in a plane add up to one, wherever the point is
    assert torch.allclose(shares.reshape(4, 3).sum(dim=0), torch.ones(3))
    shares[0, 0].backward()
    assert points.grad is not None and float(points.grad.abs().sum()) > 0
