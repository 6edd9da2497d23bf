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
from lrm_hf.training.view_pool import ViewPool
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
    result = Validation(ViewPool(pools), PROCESSOR, count=3, views=2)(model)
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


def test_the_source_comes_first_and_the_views_stand_around(pools: list[Path]) -> None:
    validation = Validation(ViewPool(pools[:1]), PROCESSOR, count=1, views=3)
    assert [truth.shape for truth in validation.truth] == [(4, 3, 32, 32)]
    positions = validation.cameras[0].position
    assert float(positions[0, 0].abs()) < 1e-4 and float(positions[0, 1]) < 0  # the source is at azimuth 0
    assert len({round(float(x), 3) for x in positions[:, 0]}) == 4


def test_objects_that_do_not_do_are_refused(tmp_path: Path) -> None:
    rgba, depth = torch.zeros(2, 4, 8, 8, dtype=torch.uint8), torch.zeros(2, 8, 8, dtype=torch.float16)
    ObjectViews(rgba, depth, orbit_cameras(azimuths=[30.0, 60.0])).save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="object 'a' has 2 views, 0 that can be a source"):
        Validation(ViewPool([tmp_path]), PROCESSOR)
    # in the canonical frame any view is one, and stands where the model expects it
    cameras = Validation(ViewPool([tmp_path], frame="canonical", elevation=20.0), PROCESSOR).cameras[0]
    expected = orbit_cameras(azimuths=[0.0, 30.0], elevation=20.0).position[0]
    torch.testing.assert_close(cameras.position[0], expected, rtol=0, atol=1e-5)
    ObjectViews(rgba[:1], depth[:1], orbit_cameras(azimuths=[0.0])).save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match="has 1 views, 1 that can be a source"):
        Validation(ViewPool([tmp_path]), PROCESSOR)
    with pytest.raises(ValueError, match="`count` must be a positive integer, got 0"):
        Validation(ViewPool([tmp_path]), PROCESSOR, count=0)
