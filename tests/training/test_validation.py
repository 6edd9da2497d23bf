# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_config, tiny_model

from lrm_hf import LRMImageProcessor, orbit_cameras
from lrm_hf.training.procedural import render_pool
from lrm_hf.training.validation import Validation
from lrm_hf.training.views import ObjectViews


PROCESSOR = LRMImageProcessor(size=32)


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("pools")
    render_pool(directory / "a", 3, size=32, sources=1, targets=4)
    render_pool(directory / "b", 1, size=32, sources=2, targets=4, seed=1)
    return [directory / "a", directory / "b"]


def test_score_and_sheet_are_of_what_the_model_renders(pools: list[Path]) -> None:
    model = tiny_model(tiny_config(source_camera_elevation=20.0)).train()
    result = Validation(pools, PROCESSOR, count=3, views=2)(model)
    assert model.training
    assert result.sheet.shape == (3 * 2 * 32, 3 * 32, 3)  # objects x (truth, ours); source and two views

    # the second object by hand: the last of the first directory
    objects = ObjectViews.load(sorted(pools[0].glob("*.npz"))[2])
    azimuths = torch.atan2(objects.cameras.position[:, 0], -objects.cameras.position[:, 1])
    order = sorted(range(1, 5), key=lambda index: float(azimuths[index]))
    chosen = torch.tensor([0, order[0], order[2]])
    rgba = objects.rgba[chosen].float() / 255
    truth = rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]
    with torch.no_grad():
        output = model.eval()(truth[:1], objects.cameras[:1], objects.cameras[chosen], height=32, width=32)
    images = output.images[0].clamp(0, 1)
    rows = torch.cat([truth.permute(2, 0, 3, 1).flatten(1, 2), images.permute(2, 0, 3, 1).flatten(1, 2)])
    shown = result.sheet[64:128].astype(int)
    assert np.abs(shown - (rows * 255).round().numpy().astype(int)).max() <= 1  # rounding of 8 bits

    scores = []
    for position in range(3):
        rows = torch.from_numpy(result.sheet[64 * position : 64 * position + 64].astype(np.float32)) / 255
        for column in (1, 2):
            pair = rows[:, 32 * column : 32 * column + 32]
            scores.append(-10 * float(torch.log10((pair[:32] - pair[32:]).square().mean())))
    assert result.score == pytest.approx(np.mean(scores), abs=0.05)  # the sheet has 8 bits


def test_a_perfect_model_would_score_without_bound(pools: list[Path]) -> None:
    validation = Validation(pools[:1], PROCESSOR, count=1, views=3)
    assert validation.truth.shape == (1, 4, 3, 32, 32) and validation.cameras.shape == (1, 4)
    positions = validation.cameras.position[0]
    assert float(positions[0, 0].abs()) < 1e-4 and float(positions[0, 1]) < 0  # the source is at azimuth 0
    assert len({round(float(x), 3) for x in positions[:, 0]}) == 4


def test_objects_that_do_not_do_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="holds no .npz file"):
        Validation([tmp_path], PROCESSOR)
    rgba, depth = torch.zeros(2, 4, 8, 8, dtype=torch.uint8), torch.zeros(2, 8, 8, dtype=torch.float16)
    ObjectViews(rgba, depth, orbit_cameras(azimuths=[30.0, 60.0])).save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="no view from azimuth 0"):
        Validation([tmp_path], PROCESSOR)
    ObjectViews(rgba[:1], depth[:1], orbit_cameras(azimuths=[0.0])).save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="one view only"):
        Validation([tmp_path], PROCESSOR)
    ObjectViews(rgba, depth, orbit_cameras(azimuths=[0.0, 60.0])).save(tmp_path / "a.npz")
    small = ObjectViews(rgba[..., :4, :4], depth[..., :4, :4], orbit_cameras(azimuths=[0.0, 60.0]))
    small.save(tmp_path / "b.npz")
    with pytest.raises(ValueError, match=r"different sizes: \[4, 8\]"):
        Validation([tmp_path], PROCESSOR)
