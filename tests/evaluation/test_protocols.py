# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Protocols are pinned: a change of a number here is a change of every published score."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from lrm_hf.evaluation.protocols import PROTOCOLS, REVISION, SF3D, TRIPOSR, VIEWS


def test_hashes() -> None:
    assert {name: protocol.hash for name, protocol in PROTOCOLS.items()} == {
        "views": "ecf9c62c7dea",
        "triposr": "41bc6974a801",
        "sf3d": "0e8b3d4e7a4f",
    }
    assert REVISION == 1


def test_any_setting_changes_the_hash_and_words_do_not() -> None:
    for field in dataclasses.fields(VIEWS):
        value = getattr(VIEWS, field.name)
        if isinstance(value, str):
            other: object = value + "!"
        elif isinstance(value, tuple):
            other = (*value, 7.0)
        else:
            other = value + 1
        changed = dataclasses.replace(VIEWS, **{field.name: other})
        assert (changed.hash != VIEWS.hash) is (field.name != "source"), field.name


def test_cameras_of_views() -> None:
    cameras = VIEWS.cameras()
    position = cameras.position
    assert position.norm(dim=-1) == pytest.approx([2.0] * 9, abs=1e-6)
    assert position[:, 2] == pytest.approx([2.0 * math.sin(math.radians(20))] * 9, abs=1e-6)
    azimuth = torch.rad2deg(torch.atan2(position[:, 0], -position[:, 1]))
    expected = [0, 30, -30, 60, -60, 90, -90, 135, 180]
    assert azimuth[0] == pytest.approx(0.0, abs=1e-4)
    assert (azimuth % 360).tolist()[1:] == pytest.approx([angle % 360 for angle in expected[1:]], abs=1e-4)
    assert cameras.intrinsics[0].tolist() == [[0.75, 0, 0.5], [0, 0.75, 0.5], [0, 0, 1]]
    torch.testing.assert_close(VIEWS.input_camera().cam2world, cameras[0].cam2world)


def test_the_numbers_of_the_reports() -> None:
    assert TRIPOSR.num_points == 10_000
    assert TRIPOSR.thresholds == SF3D.thresholds == (0.1, 0.2, 0.5)
    assert len(SF3D.azimuths) == 16
    assert SF3D.azimuths[0] == 0


def test_documented() -> None:
    text = " ".join(Path(__file__).parents[2].joinpath("docs/evaluation.md").read_text(encoding="utf-8").split())
    for protocol in PROTOCOLS.values():
        assert f"`{protocol.name}` | {protocol.hash}" in text
    for line in VIEWS.words():
        assert line in text


def test_words_say_the_numbers() -> None:
    for protocol in PROTOCOLS.values():
        text = "\n".join(protocol.words())
        for value in (
            protocol.num_points,
            protocol.mesh_resolution,
            f"{protocol.failed_chamfer:g}",
            protocol.input_size,
        ):
            assert str(value) in text
        assert "0.1, 0.2, 0.5" in text
    assert "azimuths 30, -30, 60, -60, 90, -90, 135, 180 at elevation 20" in "\n".join(VIEWS.words())
    assert "72 rotations" in "\n".join(TRIPOSR.words())
    assert "tilts of -30, -15, 0, 15, 30" in "\n".join(SF3D.words())
    assert VIEWS.largest_psnr == pytest.approx(50.0)
