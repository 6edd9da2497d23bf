# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Density to picture: numbers worked by hand, homogeneous media with known answers, gradients by finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from lrm_hf.rendering.compositing import accumulate, compositing_weights, neighbor_mean


def test_neighbor_mean_by_hand() -> None:
    samples = torch.tensor([[1.0, 10.0], [3.0, 20.0], [9.0, 40.0]])
    assert neighbor_mean(samples).tolist() == [[2.0, 15.0], [6.0, 30.0]]
    assert neighbor_mean(samples.expand(4, 5, 3, 2)).shape == (4, 5, 2, 2)


def test_three_samples_by_hand() -> None:
    """Densities that stop 1/2, 1/4 and all of the light: 1/2, 1/2 * 1/4, 1/2 * 3/4 * 1."""
    density = torch.tensor([math.log(2), math.log(4 / 3) / 2, 1000.0])
    lengths = torch.tensor([1.0, 2.0, 1.0])
    weights = compositing_weights(density, lengths)
    assert weights.tolist() == pytest.approx([1 / 2, 1 / 8, 3 / 8], abs=1e-6)

    rgb = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    color, depth, opacity = accumulate(weights, rgb, torch.tensor([1.0, 2.0, 4.0]), torch.ones(3))
    assert color.tolist() == pytest.approx([1 / 2, 1 / 8, 3 / 8], abs=1e-6)
    assert depth.tolist() == pytest.approx([1 / 2 + 2 / 8 + 12 / 8], abs=1e-6)
    assert opacity.tolist() == pytest.approx([1.0], abs=1e-6)


def test_background_fills_what_is_left() -> None:
    """One piece that stops a quarter of the light, in front of (0.2, 0.4, 1)."""
    weights = compositing_weights(torch.tensor([math.log(4 / 3)]), torch.tensor([1.0]))
    color, depth, opacity = accumulate(
        weights, torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([2.5]), torch.tensor([0.2, 0.4, 1.0])
    )
    assert opacity.tolist() == pytest.approx([0.25])
    assert color.tolist() == pytest.approx([0.25 + 0.75 * 0.2, 0.75 * 0.4, 0.25 * 0.5 + 0.75])
    assert depth.tolist() == pytest.approx([2.5])


@pytest.mark.parametrize("density", [0.01, 0.7, 5.0, 300.0])
@pytest.mark.parametrize("pieces", [1, 7, 64])
def test_homogeneous_medium(density: float, pieces: int) -> None:
    """Whatever the pieces: opacity 1 - exp(-density * length); piece i has the light that pieces before it leave."""
    length = 1.3
    weights = compositing_weights(
        torch.full((pieces,), density, dtype=torch.float64), torch.tensor(length / pieces, dtype=torch.float64)
    )
    opacity = 1 - math.exp(-density * length)
    assert float(weights.sum()) == pytest.approx(opacity, abs=1e-8)
    step = length / pieces
    expected = [math.exp(-density * step * i) * (1 - math.exp(-density * step)) for i in range(pieces)]
    assert weights.tolist() == pytest.approx(expected, abs=1e-8)


def test_mean_depth_of_a_homogeneous_medium() -> None:
    """The mean of an exponential distribution cut off at L: 1/s - L exp(-s L) / (1 - exp(-s L))."""
    density, length, pieces = 2.0, 1.5, 3000
    depths = (torch.arange(pieces).double() + 0.5) * (length / pieces)
    weights = compositing_weights(
        torch.full((pieces,), density, dtype=torch.float64), torch.tensor(length / pieces, dtype=torch.float64)
    )
    _, depth, _ = accumulate(weights, torch.zeros(pieces, 3).double(), depths, torch.zeros(3).double())
    rest = math.exp(-density * length)
    assert float(depth) == pytest.approx(1 / density - length * rest / (1 - rest), abs=1e-6)


def test_slab_between_empty_pieces() -> None:
    density = torch.tensor([0.0, 0.0, 3.0, 3.0, 0.0])
    weights = compositing_weights(density, torch.full((5,), 0.25))
    assert weights[[0, 1, 4]].tolist() == [0.0, 0.0, 0.0]
    _, depth, opacity = accumulate(weights, torch.zeros(5, 3), torch.arange(5.0), torch.zeros(3))
    assert float(opacity) == pytest.approx(1 - math.exp(-1.5))
    front = 1 - math.exp(-0.75)
    assert float(depth) == pytest.approx((2 * front + 3 * front * math.exp(-0.75)) / (1 - math.exp(-1.5)), abs=1e-6)


def test_nothing_gives_the_background_and_depth_zero() -> None:
    weights = compositing_weights(torch.zeros(2, 6), torch.ones(6))
    background = torch.tensor([[0.1, 0.2, 0.3], [1.0, 0.0, 0.5]])
    color, depth, opacity = accumulate(weights, torch.rand(2, 6, 3), torch.arange(6.0).expand(2, 6), background)
    assert torch.equal(color, background)
    assert depth.tolist() == [[0.0], [0.0]]
    assert opacity.tolist() == [[0.0], [0.0]]


def test_ranges() -> None:
    """Weights are not negative, opacity never exceeds 1, depth stays between the samples: also after rounding."""
    generator = torch.Generator().manual_seed(0)
    density = 10 ** (torch.rand(2000, 64, generator=generator) * 8 - 4)
    depths = torch.rand(2000, 64, generator=generator).sort(dim=-1).values + 1
    weights = compositing_weights(density, torch.rand(2000, 64, generator=generator) / 16)
    assert bool((weights >= 0).all())
    _, depth, opacity = accumulate(weights, torch.rand(2000, 64, 3), depths, torch.ones(2000, 3))
    assert float(opacity.max()) <= 1.0
    assert float(weights.sum(-1).max()) > 1.0, "rounding does end above 1 here: the case that the clamp is for"
    assert bool((depth >= depths[:, :1]).all())
    assert bool((depth <= depths[:, -1:]).all())


def test_infinite_density_is_opaque() -> None:
    weights = compositing_weights(torch.tensor([0.0, math.inf, 2.0]), torch.full((3,), 0.1))
    assert weights.tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-9)


def test_gradients_by_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    density = (torch.rand(3, 6, generator=generator).double() * 3).requires_grad_()
    lengths = (torch.rand(3, 6, generator=generator).double() * 0.5 + 0.1).requires_grad_()
    rgb = torch.rand(3, 6, 3, generator=generator).double().requires_grad_()
    depths = (torch.arange(6).double() + torch.rand(3, 6, generator=generator)).requires_grad_()
    background = torch.rand(3, 3, generator=generator).double().requires_grad_()

    def picture(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        density, lengths, rgb, depths, background = inputs
        return accumulate(compositing_weights(density, lengths), rgb, depths, background)

    assert torch.autograd.gradcheck(picture, (density, lengths, rgb, depths, background), eps=1e-6, atol=1e-6)


def test_gradients_are_finite_where_nothing_or_everything_is() -> None:
    density = torch.tensor([[0.0, 0.0, 0.0], [1e6, 1e6, 1e6], [0.0, 1e6, 0.0]], requires_grad=True)
    weights = compositing_weights(density, torch.ones(3))
    color, depth, opacity = accumulate(weights, torch.ones(3, 3, 3), torch.arange(3.0).expand(3, 3), torch.zeros(3, 3))
    (color.sum() + depth.sum() + opacity.sum()).backward()
    assert bool(torch.isfinite(density.grad).all())
