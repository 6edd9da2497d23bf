# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""The renderer: memory, progress, bad input, and imports in any order."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from field_scenes import random_field, render, ways
from torch import Tensor

import lrm_hf
from lrm_hf.cameras import Cameras, look_at_cameras, orbit_cameras
from lrm_hf.modeling.field import TriplaneField


class CountingField(TriplaneField):
    """Remembers how many points it was asked for at a time."""

    asked: ClassVar[list[int]] = []

    def raw(self, points: Tensor) -> tuple[Tensor, Tensor]:
        CountingField.asked.append(points.shape[0] * points.shape[1])
        return super().raw(points)


class TestMemory:
    @pytest.mark.parametrize(("sampling", "batch"), [("uniform", 1), ("importance", 1), ("uniform", 3)])
    def test_chunk_size_bounds_the_points_at_a_time(self, sampling: str, batch: int) -> None:
        field = random_field(batch, sampling=sampling, num_samples=32)
        field = CountingField(field.planes, field.weights, field.biases, field.config)
        cameras = look_at_cameras([[0.0, -0.1, 0.0], [0.1, 0.0, 0.1]], (0.0, 0.9, 0.1))  # inside: every ray hits
        CountingField.asked.clear()
        render(field, cameras, 16, 16, chunk_size=4096)
        assert sum(CountingField.asked) == batch * 2 * 16 * 16 * 32, "no point is asked for twice"
        assert max(CountingField.asked) <= 4096
        assert max(CountingField.asked) > 1024, "chunks are filled"

    def test_default_chunk_on_a_cpu(self) -> None:
        field = random_field(1, channels=1, hidden_size=2, num_hidden_layers=1, sampling="uniform", num_samples=64)
        field = CountingField(field.planes, field.weights, field.biases, field.config)
        CountingField.asked.clear()
        render(field, look_at_cameras((0.0, 0.0, 0.0), (0.0, 0.9, 0.1)), 64, 64)
        assert max(CountingField.asked) <= 2**17
        assert sum(CountingField.asked) == 64 * 64 * 64

    def test_only_rays_that_hit_are_evaluated(self) -> None:
        field = random_field(1, sampling="uniform", num_samples=8)
        field = CountingField(field.planes, field.weights, field.biases, field.config)
        camera = look_at_cameras((0.5, -4.0, 0.7))
        hits = sum(way is not None for _, _, way, _, _ in ways(camera, 12, 12, 1.0))
        CountingField.asked.clear()
        render(field, camera, 12, 12)
        assert 0 < hits < 144
        assert sum(CountingField.asked) == hits * 8

    def test_gradients_do_not_keep_every_chunk(self) -> None:
        """With gradients wanted, a chunked picture asks for every point once forward and once backward."""
        field = random_field(1, sampling="uniform", num_samples=16)
        for learn in ("planes", "biases", "intrinsics"):
            parts = {
                "planes": field.planes.clone().requires_grad_(learn == "planes"),
                "biases": tuple(bias.clone().requires_grad_(learn == "biases") for bias in field.biases),
            }
            counting = CountingField(parts["planes"], field.weights, parts["biases"], field.config)
            pose = look_at_cameras((0.0, 0.0, 0.0), (0.0, 0.9, 0.1))
            cameras = Cameras(pose.cam2world, pose.intrinsics.clone().requires_grad_(learn == "intrinsics"))
            CountingField.asked.clear()
            images = render(counting, cameras, 8, 8, chunk_size=256).images
            assert sum(CountingField.asked) == 8 * 8 * 16
            images.sum().backward()
            assert sum(CountingField.asked) == 2 * 8 * 8 * 16, learn
            assert max(CountingField.asked) <= 256

    @pytest.mark.slow
    @pytest.mark.parametrize("mode", ["deterministic", "generator", "backward"])
    def test_512_squared_at_128_samples_stays_under_one_and_a_half_gib(self, mode: str) -> None:
        code = f"""
import resource, torch
from lrm_hf import TriplaneField, TriplaneFieldConfig, Cameras, render
from lrm_hf.modeling.field import FieldMLP

config = TriplaneFieldConfig(channels=40, num_samples=128)
planes = torch.randn(1, 3, 40, 64, 64).requires_grad_({mode == "backward"})
field = TriplaneField(planes, *FieldMLP(config).requires_grad_(False).parameters_in_float32(), config)
camera = Cameras.canonical(distance=2.0, focal=0.9)
with torch.set_grad_enabled({mode == "backward"}):
    render(field, camera, 16, 16).images.mean()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    images = render(field, camera, 512, 512, generator=torch.Generator() if {mode == "generator"} else None).images
    if {mode == "backward"}:
        images.mean().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
        root = str(Path(lrm_hf.__file__).parent.parent)
        process = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
        kib = int(process.stdout) if sys.platform != "darwin" else int(process.stdout) // 1024
        assert kib < 1.5 * 2**20


def test_progress_bar(capsys: pytest.CaptureFixture) -> None:
    field = random_field(1)
    render(field, orbit_cameras(2), 8, 8, chunk_size=256)
    assert capsys.readouterr().err == ""
    render(field, orbit_cameras(2), 8, 8, chunk_size=256, progress=True)
    assert "Rendering" in capsys.readouterr().err


def broken(field: TriplaneField, name: str) -> TriplaneField:
    tensors = getattr(field, name)
    if isinstance(tensors, tuple):
        damaged = tensors[0].clone()
        damaged.view(-1)[0] = math.inf
        return replace(field, **{name: (damaged, *tensors[1:])})
    damaged = tensors.clone()
    damaged.view(-1)[0] = math.nan
    return replace(field, **{name: damaged})


def bent(cameras: Cameras) -> Cameras:
    return Cameras(cameras.cam2world * 2, cameras.intrinsics)


ERRORS: list[tuple[type[Exception], Callable[[TriplaneField, Cameras], dict[str, Any]], str]] = [
    (TypeError, lambda f, c: {"field": f.planes}, "`field` must be a TriplaneField, got Tensor"),
    (TypeError, lambda f, c: {"cameras": c.cam2world}, "`cameras` must be Cameras, got Tensor"),
    (TypeError, lambda f, c: {"height": 4.0}, "`height` must be an integer, got 4.0"),
    (TypeError, lambda f, c: {"width": True}, "`width` must be an integer, got True"),
    (TypeError, lambda f, c: {"num_samples": 16.0}, "`num_samples` must be an integer, got 16.0"),
    (ValueError, lambda f, c: {"height": 0}, "`height` must be at least 1, got 0"),
    (ValueError, lambda f, c: {"width": -3}, "`width` must be at least 1, got -3"),
    (ValueError, lambda f, c: {"chunk_size": 0}, "`chunk_size` must be at least 1, got 0"),
    (ValueError, lambda f, c: {"num_samples": 0}, "`num_samples` must be at least 1, got 0"),
    (ValueError, lambda f, c: {"num_samples": 15}, "`num_samples` must be even and at least 8 .* got 15"),
    (ValueError, lambda f, c: {"num_samples": 6}, "`num_samples` must be even and at least 8 .* got 6"),
    (ValueError, lambda f, c: {"field": broken(f, "planes")}, "`field` has planes with values that are not finite"),
    (ValueError, lambda f, c: {"field": broken(f, "weights")}, "`field` has weights with values that are not finite"),
    (ValueError, lambda f, c: {"field": broken(f, "biases")}, "`field` has biases with values that are not finite"),
    (ValueError, lambda f, c: {"field": f[:0]}, "`field` is an empty batch"),
    (ValueError, lambda f, c: {"cameras": bent(c)}, "`cam2world` must hold a rotation"),
    (ValueError, lambda f, c: {"cameras": c[:0]}, "`cameras` holds no view"),
    (ValueError, lambda f, c: {"cameras": c.expand(3, 2)}, r"`cameras` of shape \(3, 2\) do not fit a batch of 2"),
    (
        ValueError,
        lambda f, c: {"cameras": c.expand(1, 2, 2)},
        r"`cameras` must have shape \(views,\) or \(batch, views\)",
    ),
    (
        ValueError,
        lambda f, c: {"background": torch.ones(5)},
        r"`background` of shape \(5,\) does not broadcast to \(2, 2, 3\)",
    ),
    (ValueError, lambda f, c: {"background": [0.1, 0.2]}, r"`background` of shape \(2,\) does not broadcast"),
    (ValueError, lambda f, c: {"background": math.nan}, "`background` holds values that are not finite"),
    (
        ValueError,
        lambda f, c: {"anchors": torch.zeros(3, 2), "full_size": (8, 8)},
        r"`anchors` of shape \(3, 2\) does not",
    ),
    (ValueError, lambda f, c: {"full_size": (8, -1)}, r"`full_size\[1\]` must be a positive integer, got -1"),
    (ValueError, lambda f, c: {"noise": (torch.rand(2, 2, 16, 8),)}, r"`noise` must hold 2 tensor\(s\) .* got 1"),
    (ValueError, lambda f, c: {"noise": (torch.rand(2, 2, 16, 7),) * 2}, r"`noise` must have shapes .* n = \[8, 8\]"),
    (
        ValueError,
        lambda f, c: {"noise": (torch.rand(2, 2, 16, 8),) * 2, "generator": torch.Generator()},
        "`noise` and `generator` exclude each other",
    ),
]


@pytest.mark.parametrize(("error", "change", "message"), ERRORS, ids=[message[:40] for _, _, message in ERRORS])
def test_errors(error: type[Exception], change: Callable, message: str) -> None:
    field, cameras = random_field(2), orbit_cameras(2)
    arguments: dict[str, Any] = {"field": field, "cameras": cameras, "height": 4, "width": 4}
    with pytest.raises(error, match=message):
        render(**(arguments | change(field, cameras)))


@pytest.mark.parametrize(
    "statements",
    [
        "from lrm_hf.rendering.renderer import render; from lrm_hf.modeling import *; LRMModel, TriplaneField",
        "from lrm_hf.modeling import LRMModel; from lrm_hf.rendering import render",
        "import lrm_hf.modeling.field, lrm_hf.rendering as r, lrm_hf.modeling as m; r.RenderOutput, m.LRMConfig",
    ],
)
def test_imports_in_any_order(statements: str) -> None:
    root = str(Path(lrm_hf.__file__).parent.parent)
    process = subprocess.run(
        [sys.executable, "-c", statements], env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
