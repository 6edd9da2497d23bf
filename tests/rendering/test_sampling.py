# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Where rays are sampled: the slab test, even and importance samples, against hand-worked numbers and plain loops."""

from __future__ import annotations

import bisect
import math

import pytest
import torch

from lrm_hf.rendering.sampling import (
    bin_depths,
    importance_depths,
    ray_box_intersection,
    smooth_weights,
    stratified_depths,
)


def intersect(origin: list[float], direction: list[float], radius: float = 1.0) -> tuple[float, float, bool]:
    unit = torch.tensor(direction) / torch.tensor(direction).norm()
    near, far, hit = ray_box_intersection(torch.tensor(origin), unit, radius)
    return float(near), float(far), bool(hit)


class TestRayBoxIntersection:
    @pytest.mark.parametrize(
        ("origin", "direction", "near", "far"),
        [
            ([0.0, -2.0, 0.0], [0.0, 1.0, 0.0], 1.0, 3.0),
            ([0.3, -2.0, -0.9], [0.0, 1.0, 0.0], 1.0, 3.0),
            ([0.3, 5.0, -0.9], [0.0, -1.0, 0.0], 4.0, 6.0),
            # along the diagonal of a face, and of the box
            ([-2.0, -2.0, 0.0], [1.0, 1.0, 0.0], math.sqrt(2), 3 * math.sqrt(2)),
            ([-2.0, -2.0, -2.0], [1.0, 1.0, 1.0], math.sqrt(3), 3 * math.sqrt(3)),
            # cuts a corner: enters at (1, 0.5), leaves at (0.5, 1)
            ([2.0, -0.5, 0.0], [-1.0, 1.0, 0.0], math.sqrt(2), 1.5 * math.sqrt(2)),
            # from within, the box begins at the eye
            ([0.0, 0.0, 0.0], [0.0, 0.0, -1.0], 0.0, 1.0),
            ([0.5, 0.0, 0.0], [1.0, 0.0, 0.0], 0.0, 0.5),
            ([0.0, 0.0, 0.0], [3.0, 4.0, 0.0], 0.0, 1.25),
        ],
    )
    def test_hits(self, origin: list[float], direction: list[float], near: float, far: float) -> None:
        found = intersect(origin, direction)
        assert found[:2] == pytest.approx((near, far), abs=1e-5)
        assert found[2]

    @pytest.mark.parametrize(
        ("origin", "direction"),
        [
            ([0.0, -2.0, 0.0], [0.0, -1.0, 0.0]),  # the box is behind
            ([0.0, -1.5, 0.0], [0.1, -1.0, 0.1]),
            ([0.0, -2.0, 1.1], [0.0, 1.0, 0.0]),  # parallel to a face, outside of it
            ([0.0, -2.0, -5.0], [0.0, 1.0, 0.0]),
            ([-2.0, -2.0, 0.0], [-1.0, 1.0, 0.0]),
            ([2.0, 0.5, 0.0], [-1.0, 1.0, 0.1]),  # passes a corner
        ],
    )
    def test_misses_give_harmless_numbers(self, origin: list[float], direction: list[float]) -> None:
        assert intersect(origin, direction) == (0.0, 1.0, False)

    def test_radius(self) -> None:
        assert intersect([0.0, -2.0, 0.0], [0.0, 1.0, 0.0], radius=0.5)[:2] == pytest.approx((1.5, 2.5))
        assert not intersect([0.7, -2.0, 0.0], [0.0, 1.0, 0.0], radius=0.5)[2]

    def test_signs_of_zero(self) -> None:
        for zero in (0.0, -0.0):
            near, far, hit = ray_box_intersection(torch.tensor([0.5, -2.0, 0.5]), torch.tensor([zero, 1.0, zero]), 1.0)
            assert bool(hit)
            assert (float(near), float(far)) == pytest.approx((1.0, 3.0))

    def test_ends_lie_on_the_box_and_the_middle_inside(self) -> None:
        generator = torch.Generator().manual_seed(0)
        origins = torch.randn(4, 500, 3, generator=generator).double() * 2
        directions = torch.nn.functional.normalize(torch.randn(4, 500, 3, generator=generator).double(), dim=-1)
        near, far, hit = ray_box_intersection(origins, directions, 0.8)
        assert near.shape == far.shape == hit.shape == (4, 500, 1)
        hit = hit[..., 0]
        assert 100 < int(hit.sum()) < 1900
        outside = (origins.abs() > 0.8).any(-1)
        entry = (origins + near * directions).abs().amax(-1)
        torch.testing.assert_close(entry[hit & outside], torch.full_like(entry[hit & outside], 0.8), atol=1e-5, rtol=0)
        assert bool((near[..., 0][hit & ~outside] == 0).all())
        exit_ = (origins + far * directions).abs().amax(-1)
        torch.testing.assert_close(exit_[hit], torch.full_like(exit_[hit], 0.8), atol=1e-5, rtol=0)
        assert bool((near >= 0).all())
        # a ray that misses has no point inside, however densely one looks
        steps = torch.linspace(0, 12, 600, dtype=torch.float64)
        points = origins[~hit][:, None] + steps[:, None] * directions[~hit][:, None]
        assert not bool((points.abs() < 0.8 - 1e-6).all(-1).any())

    def test_gradients_are_finite_for_parallel_rays(self) -> None:
        origin = torch.tensor([0.2, -2.0, 0.0], requires_grad=True)
        direction = torch.tensor([0.0, 1.0, 0.0], requires_grad=True)
        near, far, _ = ray_box_intersection(origin, direction, 1.0)
        (near + far).sum().backward()
        assert origin.grad.tolist() == [0.0, -2.0, 0.0]
        assert bool(torch.isfinite(direction.grad).all())


class TestEvenDepths:
    def test_stratified_by_hand(self) -> None:
        """Five samples from 2 to 4: steps of 2 / 4, and half of one added."""
        near, far = torch.tensor([2.0]), torch.tensor([4.0])
        assert stratified_depths(near, far, 5, 0.0).tolist() == [2.0, 2.5, 3.0, 3.5, 4.0]
        assert stratified_depths(near, far, 5).tolist() == [2.25, 2.75, 3.25, 3.75, 4.25]
        jitter = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8])
        assert stratified_depths(near, far, 5, jitter).tolist() == pytest.approx([2.0, 2.6, 3.2, 3.8, 4.4])

    def test_bins_by_hand(self) -> None:
        """Four bins from 2 to 4 are half a unit long."""
        near, far = torch.tensor([2.0]), torch.tensor([4.0])
        assert bin_depths(near, far, 4).tolist() == [2.25, 2.75, 3.25, 3.75]
        jitter = torch.tensor([0.0, 0.2, 0.4, 0.6])
        assert bin_depths(near, far, 4, jitter).tolist() == pytest.approx([2.0, 2.6, 3.2, 3.8])
        assert bin_depths(near, far, 1).tolist() == [3.0]

    def test_batches(self) -> None:
        near = torch.tensor([[[0.0], [1.0]], [[2.0], [3.0]]])
        far = near + 1
        for depths in (stratified_depths(near, far, 9), bin_depths(near, far, 9)):
            assert depths.shape == (2, 2, 9)
            torch.testing.assert_close(depths - near, depths[:1, :1].expand(2, 2, 9), atol=1e-6, rtol=0)
            assert bool((depths.diff(dim=-1) > 0).all())


def smooth_by_loops(weights: list[float]) -> list[float]:
    """Max-pool of kernel 2, stride 1, padding 1, then mean-pool of kernel 2, stride 1, plus 0.01."""
    padded = [-math.inf, *weights, -math.inf]
    largest = [max(padded[i], padded[i + 1]) for i in range(len(padded) - 1)]
    return [(largest[i] + largest[i + 1]) / 2 + 0.01 for i in range(len(largest) - 1)]


def importance_by_loops(depths: list[float], weights: list[float], u: list[float]) -> list[float]:
    """What the original computes, word by word, in float64 and without tensors."""
    smoothed = smooth_by_loops(weights)
    bins = [(a + b) / 2 for a, b in zip(depths[:-1], depths[1:], strict=True)]
    pdf = [weight + 1e-5 for weight in smoothed[1:-1]]
    total = sum(pdf)
    cdf = [0.0]
    for value in pdf:
        cdf.append(cdf[-1] + value / total)
    samples = []
    for position in u:
        index = bisect.bisect_right(cdf, position)
        low, high = max(index - 1, 0), min(index, len(pdf))
        width = cdf[high] - cdf[low]
        if width < 1e-5:
            width = 1.0
        samples.append(bins[low] + (position - cdf[low]) / width * (bins[high] - bins[low]))
    return samples


class TestImportance:
    def test_smoothing_by_hand(self) -> None:
        """[0, 1, 0, 0.5]: neighbours' maxima 0 1 1 0.5 0.5, their means 0.5 1 0.75 0.5."""
        smoothed = smooth_weights(torch.tensor([0.0, 1.0, 0.0, 0.5]))
        assert smoothed.tolist() == pytest.approx([0.51, 1.01, 0.76, 0.51])
        generator = torch.Generator().manual_seed(0)
        weights = torch.rand(2, 3, 11, generator=generator)
        smoothed = smooth_weights(weights)
        for i in range(2):
            for j in range(3):
                assert smoothed[i, j].tolist() == pytest.approx(smooth_by_loops(weights[i, j].tolist()), abs=1e-6)

    def test_by_hand(self) -> None:
        """Six depths have five midpoints 0.5 ... 4.5 and five weights, of which the inner three count. With no weight
        at all the pdf is even: a cdf of 0, 1/3, 2/3, 1 over the midpoints 0.5, 1.5, 2.5, 3.5."""
        depths = torch.arange(6.0)
        u = torch.tensor([0.0, 1 / 6, 0.5, 0.99])
        found = importance_depths(depths, torch.zeros(5), u)
        assert found.tolist() == pytest.approx([0.5, 1.0, 2.0, 0.5 + 3 * 0.99], abs=1e-5)

    @pytest.mark.parametrize("count", [4, 5, 8, 48])
    def test_against_plain_loops(self, count: int) -> None:
        generator = torch.Generator().manual_seed(count)
        depths = torch.rand(3, 7, count, generator=generator).sort(dim=-1).values * 2 + 1
        weights = torch.rand(3, 7, count - 1, generator=generator) ** 6
        weights[0] = 0.0
        weights[1] *= (torch.rand(7, count - 1, generator=generator) < 0.2).float()
        u = torch.rand(3, 7, 16, generator=generator)
        found = importance_depths(depths, weights, u)
        assert found.shape == (3, 7, 16)
        for i in range(3):
            for j in range(7):
                expected = importance_by_loops(depths[i, j].tolist(), weights[i, j].tolist(), u[i, j].tolist())
                # a float32 cdf is off by 1e-7, which a flat piece of it stretches by 1 / (0.01 * share) at most
                assert found[i, j].tolist() == pytest.approx(expected, abs=2e-5)

    def test_never_reaches_the_last_midpoint(self) -> None:
        """Midpoints are one more than the cdf has entries: all weight at the far end still stops one bin before."""
        depths = torch.linspace(1, 3, 8)
        weights = torch.zeros(7)
        weights[-1] = 1.0
        middles = 0.5 * (depths[1:] + depths[:-1])
        u = torch.linspace(0, 1 - 1e-6, 1000)
        found = importance_depths(depths, weights, u)
        assert float(found.max()) <= float(middles[-2]) + 1e-6
        assert float(found.max()) == pytest.approx(float(middles[-2]), abs=1e-3)
        assert float(found.min()) >= float(middles[0]) - 1e-6

    def test_samples_go_where_the_weight_is(self) -> None:
        """All weight on piece 6 of 15: smoothing spreads it over pieces 5, 6 and 7 as 1/2, 1, 1/2."""
        depths = torch.arange(16.0)
        weights = torch.zeros(15)
        weights[6] = 1.0
        u = (torch.arange(4000) + 0.5) / 4000
        found = importance_depths(depths, weights, u)
        # the inner weights 1..13 belong to the bins between midpoints 0.5, 1.5, ...: weight i to [i - 0.5, i + 0.5]
        share = [((found >= i - 0.5) & (found < i + 0.5)).double().mean().item() for i in range(1, 14)]
        total = 13 * 0.01001 + 2.0
        expected = [0.01001 / total] * 13
        expected[4] = expected[6] = 0.51001 / total
        expected[5] = 1.01001 / total
        assert share == pytest.approx(expected, abs=1e-3)

    def test_ascending_and_without_gradient(self) -> None:
        generator = torch.Generator().manual_seed(3)
        depths = torch.linspace(0, 1, 12).requires_grad_()
        weights = torch.rand(5, 11, generator=generator).requires_grad_()
        u = ((torch.arange(20) + 0.5) / 20).expand(5, 20)
        found = importance_depths(depths.expand(5, 12), weights, u)
        assert bool((found.diff(dim=-1) >= 0).all())
        assert not found.requires_grad
