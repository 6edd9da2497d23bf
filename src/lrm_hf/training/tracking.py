# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Where numbers and pictures of a run go: the log, and accelerate's trackers."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def tracker_names(report_to: str | None) -> list[str]:
    """What accelerate's `log_with` gets.

    Args:
        report_to: "tensorboard", "wandb" or "none"; None: tensorboard if it is installed.

    Raises:
        ImportError: if the one that is asked for is not installed.
        ValueError: for another name.
    """
    if report_to == "none":
        return []
    if report_to is None:
        return ["tensorboard"] if importlib.util.find_spec("tensorboard") else []
    if report_to not in ("tensorboard", "wandb"):
        raise ValueError(f"`report_to` must be 'tensorboard', 'wandb' or 'none', got {report_to!r}.")
    if not importlib.util.find_spec(report_to):
        package = "lrm_hf[train]" if report_to == "tensorboard" else "wandb"
        raise ImportError(f'{report_to} is not installed: `pip install "{package}"`.')
    return [report_to]


class RunningMeans:
    """Means of numbers by name over the steps since the last `take`, and over processes."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Takes in tensors `()`; nothing is moved off their device, so that a GPU need not wait."""
        for name, value in values.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self, accelerator: Any) -> dict[str, float]:
        """The means, in the order in which the names came, and starts anew. To be called by every process."""
        if not self.sums:
            return {}
        means = torch.stack([value / self.counts[name] for name, value in self.sums.items()])
        names = list(self.sums)
        self.sums, self.counts = {}, {}
        return dict(zip(names, accelerator.reduce(means, reduction="mean").tolist(), strict=True))


def start_trackers(accelerator: Any, name: str, args: argparse.Namespace) -> None:
    """Starts what the accelerator was made with, with the settings of the run as its parameters."""
    if not accelerator.log_with:
        return
    settings = {
        key: value if isinstance(value, (int, float, str, bool)) else str(value)
        for key, value in vars(args).items()
        if value is not None
    }
    accelerator.init_trackers(name, config=settings)


def log_picture(accelerator: Any, name: str, picture: np.ndarray, step: int) -> None:
    """Shows a picture `(height, width, 3)` uint8 in all trackers that show pictures."""
    for tracker in accelerator.trackers:
        if hasattr(tracker, "log_images"):
            options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({name: picture[None]}, step=step, **options)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Writes a picture `(height, width, 3)` uint8."""
    from PIL import Image

    from ..files import replacing

    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary)
