# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import importlib.util
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from PIL import Image

from lrm_hf.training.tracking import RunningMeans, log_picture, start_trackers, tracker_names, write_picture


PICTURE = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)


class Memory(GeneralTracker):
    name, requires_logging_directory = "memory", False

    def __init__(self) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {}
        self.pictures: dict[int, dict[str, np.ndarray]] = {}

    @property
    def tracker(self) -> Memory:
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log_images(self, values: dict[str, np.ndarray], step: int) -> None:
        self.pictures[step] = values


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"tensorboard"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in installed or None)
    assert tracker_names(None) == tracker_names("tensorboard") == ["tensorboard"]
    assert tracker_names("none") == []
    with pytest.raises(ImportError, match="wandb is not installed"):
        tracker_names("wandb")
    installed.remove("tensorboard")
    assert tracker_names(None) == []
    with pytest.raises(ImportError, match=r'pip install "lrm_hf\[train\]"'):
        tracker_names("tensorboard")
    with pytest.raises(ValueError, match="`report_to` must be"):
        tracker_names("paper")


def test_means_are_of_what_came_since_the_last_time() -> None:
    accelerator, means = Accelerator(cpu=True), RunningMeans()
    for value in (1.0, 2.0, 6.0):
        means.add({"a": torch.tensor(value)})
    means.add({"b": torch.tensor(5.0)})  # came once: its mean is over one
    assert means.take(accelerator) == {"a": 3.0, "b": 5.0}
    assert means.take(accelerator) == {}


def test_a_tracker_gets_settings_and_pictures() -> None:
    memory = Memory()
    accelerator = Accelerator(cpu=True, log_with=memory)
    start_trackers(accelerator, "run", Namespace(rate=0.1, pool=["a"], config=None))
    assert memory.settings == {"rate": 0.1, "pool": "['a']"}
    log_picture(accelerator, "renders", PICTURE, 7)
    assert np.array_equal(memory.pictures[7]["renders"], PICTURE[None])


def test_tensorboard_gets_numbers_and_pictures(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=str(tmp_path))
    start_trackers(accelerator, "run", Namespace(rate=0.1))
    accelerator.log({"loss": 0.25}, step=3)
    log_picture(accelerator, "renders", PICTURE, 3)
    accelerator.end_training()
    events = event_accumulator.EventAccumulator(str(tmp_path / "run")).Reload()
    [loss] = events.Scalars("loss")
    assert (loss.step, loss.value) == (3, 0.25)
    [image] = events.Images("renders")
    assert (image.step, image.height, image.width) == (3, 2, 4)


def test_a_picture_is_written_as_it_is(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", PICTURE)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), PICTURE)
