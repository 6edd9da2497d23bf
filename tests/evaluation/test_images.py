# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Scores of pictures, by hand."""

from __future__ import annotations

import math
import sys
import types

import numpy as np
import pytest
import torch

from lrm_hf.evaluation.images import load_lpips, mask_iou, on_background, psnr, ssim, to_uint8


def test_psnr() -> None:
    target = torch.zeros(3, 3, 4, 4)
    image = target.clone()
    image[0] += 0.1  # squared error 0.01: 20 dB
    image[1, 0] += 0.3  # in one of three channels, 0.09 / 3
    expected = [20.0, -10 * math.log10(0.03), 50.0]
    assert psnr(image, target).tolist() == pytest.approx(expected, abs=1e-4)  # float32
    assert psnr(image, target, error_floor=1e-3).tolist() == pytest.approx([*expected[:2], 30.0], abs=1e-4)
    assert float(psnr(target - 5, target)[0]) == pytest.approx(50.0), "images are clamped"


def test_mask_iou() -> None:
    a, b = torch.zeros(2, 1, 1, 4, 4)
    a[..., :2, :], b[..., 1:3, :] = 1, 0.51
    assert float(mask_iou(a, b)) == pytest.approx(1 / 3)
    assert float(mask_iou(a, 0.98 * b)) == 0.0, "0.5 and below is not opaque"
    assert float(mask_iou(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4))) == 1.0


def test_ssim_of_even_pictures() -> None:
    """Without variance only the luminance term is left: (2 a b + C1) / (a^2 + b^2 + C1), C1 = 0.01^2."""
    a, b = torch.full((1, 3, 32, 32), 0.3), torch.full((1, 3, 32, 32), 0.6)
    expected = (2 * 0.18 + 1e-4) / (0.09 + 0.36 + 1e-4)
    assert float(ssim(a, b)) == pytest.approx(expected, abs=1e-6)  # float32


def test_ssim_of_negated_contrast() -> None:
    """Pictures m + d and m - d have equal means, equal variances and the opposite covariance wherever the window's mean
    of d is 0; what is left is (C2 - 2 v) / (C2 + 2 v), which for strong contrast is near -1."""
    checker = torch.from_numpy((np.indices((32, 32)).sum(axis=0) % 2) * 2.0 - 1.0).float()
    d = (0.4 * checker).expand(1, 3, -1, -1)
    variance, c2 = 0.16, 0.03**2
    expected = (c2 - 2 * variance) / (c2 + 2 * variance)
    # the Gaussian window's mean of a checkerboard is 0 to 1e-4
    assert float(ssim(0.5 + d, 0.5 - d)) == pytest.approx(expected, abs=1e-3)
    assert ssim(torch.stack([0.5 + d[0], d[0].clamp(0, 1)]), torch.stack([0.5 + d[0], d[0].clamp(0, 1)])).tolist() == [
        1,
        1,
    ]


def test_on_background() -> None:
    rgba = torch.zeros(1, 4, 1, 3, dtype=torch.uint8)
    rgba[0, 0] = 255
    rgba[0, 3, 0] = torch.tensor([255, 51, 0])
    picture, alpha = on_background(rgba, 0.5)
    assert alpha.flatten().tolist() == pytest.approx([1, 0.2, 0])
    assert picture[0, :, 0].T.flatten().tolist() == pytest.approx([1, 0, 0, 0.6, 0.4, 0.4, 0.5, 0.5, 0.5])
    assert to_uint8(picture[0])[0].tolist() == [[255, 0, 0], [153, 102, 102], [128, 128, 128]]


def test_lpips_is_left_out_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)  # what makes an import fail
    measure, note = load_lpips()
    assert measure is None
    assert "lrm_hf[lpips]" in note

    class Unreachable:
        def __init__(self, **options: object) -> None:
            raise OSError("no route to host")

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Unreachable))
    measure, note = load_lpips()
    assert measure is None
    assert "no route to host" in note


def test_lpips_gets_pictures_in_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own network can't be had without a download; this is the call that we make of it."""

    class Network(torch.nn.Module):
        def __init__(self, net: str, verbose: bool) -> None:
            super().__init__()
            assert (net, verbose) == ("alex", False)

        def forward(self, a: torch.Tensor, b: torch.Tensor, normalize: bool) -> torch.Tensor:
            assert normalize, "pictures in [0, 1]"
            return (a - b).abs().mean(dim=(1, 2, 3), keepdim=True)

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Network))
    measure, note = load_lpips()
    assert note == "lpips"
    images = torch.stack([torch.full((3, 8, 8), 0.25), torch.full((3, 8, 8), 7.0)])
    assert measure(images, torch.zeros(2, 3, 8, 8)).tolist() == [0.25, 1.0]
