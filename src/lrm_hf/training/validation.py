# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""A score and a sheet of pictures while training: a few fixed objects, each from one picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cameras import Cameras
from ..image_processing import LRMImageProcessor
from ..rendering import render
from .losses import psnr
from .objective import as_processed
from .views import ObjectViews


@dataclass(frozen=True)
class ValidationResult:
    """
    Attributes:
        score: mean PSNR in dB over the novel views of all objects.
        sheet: `(height, width, 3)` uint8. Two rows for each object: the source picture and the true novel views; below
            them what the model renders from these cameras.
    """

    score: float
    sheet: np.ndarray


class Validation:
    """Fixed objects of view pools, seen from one picture each on white.

    Args:
        directories: with the `.npz` files that [`ObjectViews.save`] wrote.
        processor: of the model.
        count: objects, taken evenly from each directory in turn.
        views: novel views of each, evenly around it.

    Raises:
        OSError: if a directory holds no such file.
        ValueError: if an object has no view that can be a source (azimuth 0), or too few others, or pictures differ in
            size.
    """

    def __init__(
        self,
        directories: Sequence[str | os.PathLike[str]],
        processor: LRMImageProcessor,
        count: int = 8,
        views: int = 5,
    ) -> None:
        self.processor = processor
        rgba, cam2world, intrinsics = [], [], []
        for number, directory in enumerate(directories):
            files = sorted(Path(directory).glob("*.npz"))
            if not files:
                raise OSError(f"{os.fspath(directory)!r} holds no .npz file of rendered views.")
            share = count // len(directories) + (number < count % len(directories))
            positions = np.linspace(0, len(files) - 1, min(share, len(files))).round().astype(int)
            for file in (files[position] for position in positions):
                objects = ObjectViews.load(file)
                chosen = torch.tensor(_source_and_others(objects.cameras, views, file))
                rgba.append(objects.rgba[chosen].float() / 255)
                cam2world.append(objects.cameras.cam2world[chosen])
                intrinsics.append(objects.cameras.intrinsics[chosen])
        sizes = {picture.shape[-1] for picture in rgba}
        if len(sizes) != 1:
            raise ValueError(f"`directories` hold pictures of different sizes: {sorted(sizes)}.")
        stacked = torch.stack(rgba)
        self.truth = stacked[:, :, :3] * stacked[:, :, 3:] + 1 - stacked[:, :, 3:]  # [objects, 1 + views, 3, h, w]
        self.cameras = Cameras(torch.stack(cam2world), torch.stack(intrinsics))  # [objects, 1 + views]

    @torch.no_grad()
    def __call__(self, model: Any) -> ValidationResult:
        """Renders the objects, one at a time, so that memory does not grow with their number.

        Args:
            model: anything with `encode`; it is in evaluation mode meanwhile.
        """
        device = model.device
        was_training = model.training
        model.eval()
        rows, scores = [], []
        for truth, cameras in zip(self.truth, self.cameras, strict=True):
            pixel_values = as_processed(truth[:1], self.processor).to(device)
            field = model.encode(pixel_values, cameras[:1].to(device))
            views = render(field, cameras.to(device), *truth.shape[-2:], background=1.0).images[0].clamp(0, 1).cpu()
            scores.append(psnr(views[1:], truth[1:]).mean())
            rows += [_in_a_row(truth), _in_a_row(views)]
        model.train(was_training)
        sheet = torch.cat(rows, dim=1).permute(1, 2, 0)
        return ValidationResult(float(torch.stack(scores).mean()), (sheet * 255).round().byte().numpy())


def _source_and_others(cameras: Cameras, views: int, file: Path) -> list[int]:
    position = cameras.position
    sources = ((position[:, 0].abs() < 1e-4) & (position[:, 1] < 0)).nonzero()[:, 0].tolist()
    if not sources:
        raise ValueError(f"{os.fspath(file)!r} has no view from azimuth 0, which a source picture needs.")
    others = [index for index in range(len(position)) if index not in sources] or sources[1:]
    if len(others) < 1:
        raise ValueError(f"{os.fspath(file)!r} has one view only, and none to compare with.")
    azimuth = torch.atan2(position[:, 0], -position[:, 1])
    others.sort(key=lambda index: float(azimuth[index]))
    evenly = np.linspace(0, len(others), min(views, len(others)), endpoint=False).astype(int)
    return [sources[0], *(others[index] for index in evenly)]


def _in_a_row(pictures: Tensor) -> Tensor:
    """`(n, 3, height, width)` to `(3, height, n * width)`."""
    return pictures.permute(1, 2, 0, 3).flatten(2)
