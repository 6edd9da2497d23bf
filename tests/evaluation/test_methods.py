# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Baselines on pictures that are known, and what the model is handed."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_pipeline

from lrm_hf.cameras import camera_rays
from lrm_hf.evaluation.ground_truth import GroundTruth
from lrm_hf.evaluation.methods import (
    CopyOfTheInput,
    ExtrudedSilhouette,
    MeanSilhouette,
    Model,
    NoSurface,
    baselines,
    extruded,
)
from lrm_hf.evaluation.protocols import SF3D, VIEWS, Protocol
from lrm_hf.evaluation.surfaces import SurfacePoints, is_watertight


SMALL = dataclasses.replace(VIEWS, size=64, input_size=64, antialias=1, mesh_resolution=16)


def ball_views(protocol: Protocol, radius: float, color: tuple[float, float, float] = (0.2, 0.4, 0.6)) -> torch.Tensor:
    """`(views, 4, size, size)` uint8 of a ball about the origin: the same from every side."""
    cameras = protocol.cameras()
    origins, directions = camera_rays(cameras, protocol.size, protocol.size)
    inside = torch.linalg.cross(origins, directions).norm(dim=-1) < radius
    rgba = torch.zeros(len(cameras), 4, protocol.size, protocol.size)
    rgba[:, :3] = torch.tensor(color)[:, None, None]
    rgba[:, 3] = inside.float()
    return (rgba * 255).round().to(torch.uint8)


def truth_of(views: torch.Tensor) -> GroundTruth:
    nothing = SurfacePoints(np.zeros((0, 3)), np.zeros((0, 3)))
    inside = np.zeros((8, 8, 8), dtype=bool)
    return GroundTruth("ball", "", 0, True, views[0], views, nothing, np.eye(4), inside)


def test_names_are_unique() -> None:
    names = [method.name for method in baselines()]
    assert names == [
        "copy of the input",
        "input silhouette, mean colour",
        "visual hull of one view",
        "extruded silhouette",
    ]


def test_copy_and_mean_colour() -> None:
    views = ball_views(SMALL, 0.5)
    views[0, 0, :, :32] = 153  # red is 0.6 in the left half, 0.2 in the right one
    truth = truth_of(views)
    targets, alpha = truth.targets(1.0)
    copied, opacity = CopyOfTheInput().answer(truth, SMALL).pictures(SMALL.cameras())
    assert copied.shape == targets.shape
    assert all(torch.equal(image, targets[0]) for image in copied)
    assert torch.equal(opacity[4], alpha[0])
    even, opacity = MeanSilhouette().answer(truth, SMALL).pictures(SMALL.cameras())
    assert even[3, :, 32, 32].tolist() == pytest.approx([0.4, 0.4, 0.6], abs=1e-5)
    assert even[3, :, 0, 0].tolist() == [1, 1, 1]
    assert torch.equal(opacity[8], alpha[0])
    without_views = dataclasses.replace(truth, views=views[:0])
    assert CopyOfTheInput().answer(without_views, SMALL).pictures is None
    assert MeanSilhouette().answer(without_views, SMALL).pictures is None


class TestExtrudedSilhouette:
    def test_hull_of_a_ball(self) -> None:
        """The cone of half angle asin(0.5 / 2) within the unit ball: each point within both, reaching the ball's back,
        and as wide as the cone is at the back rim."""
        alpha = ball_views(SMALL, 0.5)[0, 3].float() / 255
        camera = SMALL.input_camera()
        corners = extruded(alpha, camera, to_ball=True, resolution=64).reshape(-1, 3)
        assert is_watertight(corners.reshape(-1, 3, 3))
        assert np.linalg.norm(corners, axis=1).max() == pytest.approx(1.0, abs=0.01)
        towards = -camera.position.numpy() / 2
        depth = (corners - camera.position.numpy()) @ towards
        aside = np.linalg.norm(corners - camera.position.numpy() - depth[:, None] * towards, axis=1)
        # a pixel of 64 is 0.02 of depth wide
        assert (aside / depth).max() == pytest.approx(math.tan(math.asin(0.25)), abs=0.02)
        # the surface that crosses the axis lies at 1 and 3 from the camera
        assert depth.min() == pytest.approx(1.0, abs=0.03)
        assert depth.max() == pytest.approx(3.0, abs=0.03)

    def test_slab_is_as_deep_as_the_shorter_side(self) -> None:
        """A box of 24 x 12 pixels of 64 at distance 2 and focal length 0.75 is 0.5 high."""
        alpha = torch.zeros(64, 64)
        alpha[26:38, 20:44] = 1
        camera = SMALL.input_camera()
        corners = extruded(alpha, camera, to_ball=False, resolution=64).reshape(-1, 3)
        depth = (corners - camera.position.numpy()) @ (-camera.position.numpy() / 2)
        assert (depth.min(), depth.max()) == pytest.approx((1.75, 2.25), abs=0.03)  # a grid step

    def test_own_view_is_the_input(self) -> None:
        views = ball_views(SMALL, 0.5)
        views[:, 1] = (torch.arange(64) * 3).to(torch.uint8)  # green grows from left to right
        for to_ball in (True, False):
            answer = ExtrudedSilhouette(to_ball).answer(truth_of(views), SMALL)
            images, opacity = answer.pictures(SMALL.cameras()[:1])
            targets, alpha = truth_of(views).targets(1.0)
            assert float((opacity[0] - alpha[0]).abs().mean()) < 0.02, "a part of the rim's pixels"
            both = (opacity[0, 0] > 0.5) & (alpha[0, 0] > 0.5)
            # bilinear, and hits are at pixel centres
            assert float((images[0] - targets[0])[:, both].abs().max()) < 0.01

    def test_empty_input(self) -> None:
        views = torch.zeros(9, 4, 64, 64, dtype=torch.uint8)
        for to_ball in (True, False):
            answer = ExtrudedSilhouette(to_ball).answer(truth_of(views), SMALL)
            with pytest.raises(NoSurface, match="no opaque pixel"):
                answer.triangles()
            images, opacity = answer.pictures(SMALL.cameras()[:2])
            assert images.shape == (2, 3, 64, 64)
            assert bool((images == 1).all())
            assert not bool(opacity.any())


class TestModel:
    def test_told_the_camera_and_not_reframed(self) -> None:
        pipe = tiny_pipeline()
        truth = truth_of(ball_views(SMALL, 0.3))
        answer = Model("tiny", pipe).answer(truth, SMALL)
        images, opacity = answer.pictures(SMALL.cameras())
        assert images.shape == (9, 3, 64, 64)
        assert opacity.shape == (9, 1, 64, 64)
        picture = truth.targets(1.0)[0][0]
        from PIL import Image

        from lrm_hf.evaluation.images import to_uint8

        # a second way: on white by hand, so that there is nothing to cut out
        out: Any = pipe(
            Image.fromarray(to_uint8(picture)),
            output_type="pt",
            do_recenter=False,
            background_removal="none",
            source_cameras=SMALL.input_camera(),
            cameras=SMALL.cameras(),
            height=64,
            width=64,
        )
        torch.testing.assert_close(images, out.frames[0], atol=5e-3, rtol=0)  # rounding to 8 bits

    def test_frames_by_its_own_rules_where_surfaces_are_aligned(self) -> None:
        calls: list[dict[str, Any]] = []
        pipe = tiny_pipeline()

        class Recorder:
            model = pipe.model

            def __call__(self, picture: Any, **options: Any) -> Any:
                calls.append(options)
                return pipe(picture, **options)

        small = dataclasses.replace(SF3D, size=16, input_size=64)
        truth = truth_of(ball_views(SMALL, 0.3))
        Model("tiny", Recorder()).answer(truth, small)
        assert calls == [{"output_type": "field"}]
        Model("tiny", Recorder()).answer(truth, SMALL)
        assert set(calls[1]) == {"output_type", "do_recenter", "background_removal", "source_cameras"}

    def test_no_surface(self) -> None:
        pipe = tiny_pipeline()
        pipe.model.config.field_config.density_threshold = 1e6
        answer = Model("tiny", pipe).answer(truth_of(ball_views(SMALL, 0.3)), SMALL)
        with pytest.raises(NoSurface, match="the surface is empty"):
            answer.triangles()

    def test_mesh_in_its_own_colours(self) -> None:
        pipe = tiny_pipeline()
        pipe.model.config.field_config.density_threshold = 0.5
        answer = Model("tiny", pipe).answer(truth_of(ball_views(SMALL, 0.3)), SMALL)
        assert answer.triangles().shape[1:] == (3, 3)
        images, opacity = answer.mesh_pictures(SMALL.cameras()[:2])
        assert images.shape == (2, 3, 64, 64)
        assert float(opacity.mean()) > 0.05
