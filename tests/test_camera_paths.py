# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Camera paths: orbits that must come out of their own keyframes, and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lrm_hf.camera_paths import interpolate_cameras, read_cameras
from lrm_hf.cameras import Cameras, look_at_cameras, orbit_cameras


def assert_same(found: Cameras, expected: Cameras) -> None:
    torch.testing.assert_close(found.cam2world, expected.cam2world, atol=2e-6, rtol=0)  # float32
    torch.testing.assert_close(found.intrinsics, expected.intrinsics, atol=1e-6, rtol=0)


class TestInterpolate:
    def test_an_orbit_from_a_third_of_its_cameras(self) -> None:
        orbit = orbit_cameras(12, elevation=25.0, distance=1.7, focal=0.9)
        assert_same(interpolate_cameras(orbit[::3], 12, closed=True), orbit)

    def test_open_paths_end_at_the_last_keyframe(self) -> None:
        keyframes = orbit_cameras(azimuths=[0.0, 90.0, 120.0])
        path = interpolate_cameras(keyframes, 5)
        # half a keyframe apart: 0, 45, 90, 105, 120
        assert_same(path, orbit_cameras(azimuths=[0.0, 45.0, 90.0, 105.0, 120.0]))

    def test_distance_focal_and_target_change_evenly(self) -> None:
        near = look_at_cameras([0.0, -1.0, 0.0], focal=0.5)
        far = look_at_cameras([0.0, -3.0, 0.0], focal=1.5)
        keyframes = Cameras(
            torch.stack([near.cam2world, far.cam2world]), torch.stack([near.intrinsics, far.intrinsics])
        )
        middle = interpolate_cameras(keyframes, 3)[1]
        assert_same(middle, look_at_cameras([0.0, -2.0, 0.0], focal=1.0))
        beside = look_at_cameras([[0.0, -2.0, 0.0], [1.0, -2.0, 0.0]], [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        assert_same(interpolate_cameras(beside, 3)[1], look_at_cameras([0.5, -2.0, 0.0], [0.5, 0.0, 0.0]))

    def test_it_goes_round_the_object_and_not_through_it(self) -> None:
        opposite = orbit_cameras(azimuths=[0.0, 170.0], distance=2.0)
        distance = interpolate_cameras(opposite, 21).position.norm(dim=-1)
        torch.testing.assert_close(distance, torch.full((21,), 2.0), atol=1e-5, rtol=0)

    @pytest.mark.parametrize(
        ("keyframes", "views", "error", "message"),
        [
            (orbit_cameras(1), 4, ValueError, r"`keyframes` must be of shape \(n,\) with n of at least 2, got \(1,\)"),
            (orbit_cameras(1)[0], 4, ValueError, r"got \(\)"),
            (orbit_cameras(3), 1, ValueError, "`num_views` must be an integer of at least 2, got 1"),
            (orbit_cameras(3), 2.5, ValueError, "got 2.5"),
            ([1, 2], 4, TypeError, "`keyframes` must be Cameras, got list"),
        ],
    )
    def test_bad_arguments(self, keyframes: object, views: object, error: type, message: str) -> None:
        with pytest.raises(error, match=message):
            interpolate_cameras(keyframes, views)  # type: ignore[arg-type]


class TestRead:
    def write(self, path: Path, value: object) -> Path:
        (path / "cameras.json").write_text(json.dumps(value))
        return path / "cameras.json"

    def test_every_form(self, tmp_path: Path) -> None:
        matrix = orbit_cameras(1, azimuth_start=30.0)[0].cam2world.tolist()
        pinhole = [[0.8, 0, 0.4], [0, 0.9, 0.6], [0, 0, 1]]
        cameras = read_cameras(
            self.write(
                tmp_path,
                {
                    "cameras": [
                        {"position": [0, -2, 0]},
                        {"position": [1, 1, 1], "target": [0, 0, 0.5], "up": [0, 1, 0], "focal": 1.2},
                        {"cam2world": matrix},
                        {"cam2world": matrix, "focal": 2},
                        {"cam2world": matrix, "intrinsics": pinhole},
                    ]
                },
            )
        )
        assert cameras.shape == (5,)
        assert_same(cameras[0], Cameras.canonical())
        assert_same(cameras[1], look_at_cameras([1.0, 1, 1], [0, 0, 0.5], [0, 1, 0], 1.2))
        assert_same(cameras[2], orbit_cameras(1, azimuth_start=30.0)[0])
        assert cameras[3].intrinsics[0, 0] == 2
        assert cameras[4].intrinsics.tolist() == torch.tensor(pinhole).tolist()

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ({}, "must have a list of at least one camera under 'cameras'"),
            ({"cameras": []}, "at least one camera"),
            ({"cameras": [3]}, r"cameras\[0\]: must be an object with one of 'position' and 'cam2world'"),
            ({"cameras": [{"position": [0, 1]}]}, r"cameras\[0\]: `position` must have shape"),
            ({"cameras": [{"position": [0, -1, 0]}, {"position": [0, 0, 0]}]}, r"cameras\[1\]: .*coincide"),
            ({"cameras": [{"position": [0, 1, 0], "fov": 3}]}, r"unknown 'fov'; known: \['focal', 'position'"),
            ({"cameras": [{"cam2world": [[1]]}]}, r"`cam2world` must have shape"),
            ({"cameras": [{"cam2world": [["a"]]}]}, r"cameras\[0\]"),
            ({"cameras": [{"cam2world": [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}]}, "orthonormal"),
        ],
    )
    def test_bad_files(self, tmp_path: Path, value: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            read_cameras(self.write(tmp_path, value))

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="missing.json"):
            read_cameras(tmp_path / "missing.json")
