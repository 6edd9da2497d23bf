# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""A score and a sheet of pictures while training: a few fixed objects, each from one picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..image_processing import LRMImageProcessor
from ..rendering import render
from .losses import psnr
from .objective import as_processed
from .source_frame import azimuth_of, place_source
from .view_datasets import ViewDataset
from .view_pool import ViewPool


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
    """Fixed objects, seen from one picture each on white.

    Args:
        pool: whose objects they are, in its frame.
        processor: of the model.
        count: objects, taken evenly from each directory in turn.
        views: novel views of each, evenly around it.

    Raises:
        OSError, ValueError: if an object can't be read, has no view that can be a source, or no other view.
    """

    def __init__(self, pool: ViewPool, processor: LRMImageProcessor, count: int = 8, views: int = 5) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"`count` must be a positive integer, got {count!r}.")
        self.processor = processor
        rgba, cameras = [], []
        for number, group in enumerate(pool.groups):
            share = count // len(pool.groups) + (number < count % len(pool.groups))
            for index in np.linspace(0, len(group) - 1, min(share, len(group))).round().astype(int).tolist():
                chosen = _source_and_others(pool, group, index, views)
                placed, _ = place_source(group.cameras(index), chosen[0], pool.frame, pool.elevation, pool.distance)
                rgba.append(group.load(index, chosen).rgba.float() / 255)
                cameras.append(placed[torch.tensor(chosen)])
        # of each object, source first: pictures (1 + views, 3, height, width), cameras (1 + views,)
        self.truth = [picture[:, :3] * picture[:, 3:] + 1 - picture[:, 3:] for picture in rgba]
        self.cameras = cameras

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
            height, width = truth.shape[-2:]
            views = render(field, cameras.to(device), height, width, background=1.0).images[0].clamp(0, 1).cpu()
            scores.append(psnr(views[1:], truth[1:]).mean())
            rows += [_in_a_row(truth), _in_a_row(views)]
        model.train(was_training)
        widest = max(row.shape[2] for row in rows)  # an object may have fewer views than others
        sheet = torch.cat([F.pad(row, (0, widest - row.shape[2]), value=1.0) for row in rows], dim=1)
        sheet = sheet.permute(1, 2, 0)
        return ValidationResult(float(torch.stack(scores).mean()), (sheet * 255).round().byte().numpy())


def _source_and_others(pool: ViewPool, group: ViewDataset, index: int, views: int) -> list[int]:
    cameras = group.cameras(index)
    sources = pool._sources(cameras).tolist()
    if not sources or len(cameras) < 2:
        raise ValueError(f"object {group.name(index)!r} has {len(cameras)} views, {len(sources)} that can be a source.")
    azimuth = azimuth_of(cameras.cam2world)
    away = [abs((float(azimuth[other] - azimuth[sources[0]]) + 180) % 360 - 180) for other in range(len(cameras))]
    others = [other for other in range(len(cameras)) if away[other] > 1] or sources[1:]
    others.sort(key=lambda other: float(azimuth[other]))
    evenly = np.linspace(0, len(others), min(views, len(others)), endpoint=False).astype(int)
    return [sources[0], *(others[position] for position in evenly)]


def _in_a_row(pictures: Tensor) -> Tensor:
    """`(n, 3, height, width)` to `(3, height, n * width)`."""
    return pictures.permute(1, 2, 0, 3).flatten(2)
