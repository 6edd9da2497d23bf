# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Channels of views: a sphere that the renderer knows nothing about, worked out with a ray and a radius."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lrm_hf import TriplaneField, TriplaneFieldConfig
from lrm_hf.cameras import camera_rays, orbit_cameras
from lrm_hf.rendering.normals import normals_of_views, outward_normals
from lrm_hf.views import CHANNELS, channel_frames, channel_picture, render_channels


RADIUS = 0.6
CAMERAS = orbit_cameras(3, elevation=30.0, azimuth_start=25.0)
SIZE = 24


class Sphere:
    """Density that falls off from the origin."""

    def query(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return torch.exp(-3 * points.norm(dim=-1, keepdim=True)), points


def sphere_depth(height: int, width: int) -> Tensor:
    """`(1, views, 1, height, width)` distance to the sphere, 0 where it is missed."""
    origins, directions = camera_rays(CAMERAS, height, width)
    along = -(origins * directions).sum(dim=-1)
    inside = RADIUS**2 - (origins.square().sum(dim=-1) - along**2)
    return torch.where(inside > 0, along - inside.clamp(min=0).sqrt(), 0.0)[None, :, None]


@pytest.fixture(scope="module")
def field() -> TriplaneField:
    """A soft blob of random colour."""
    config = TriplaneFieldConfig(channels=4, hidden_size=16, num_hidden_layers=1, num_samples=64)
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=generator)

    return TriplaneField(
        random(1, 3, 4, 8, 8),
        (random(16, 12, scale=0.3), random(4, 16, scale=0.7)),
        (random(16, scale=0.1), torch.tensor([1.0, 0, 0, 0])),
        config,
    )


class TestNormals:
    def test_of_a_sphere(self) -> None:
        depth = sphere_depth(SIZE, SIZE)
        normals = normals_of_views(Sphere(), CAMERAS, depth)  # type: ignore[arg-type]
        assert normals.shape == (1, 3, 3, SIZE, SIZE)
        origins, directions = camera_rays(CAMERAS, SIZE, SIZE)
        surface = origins + depth[0, :, 0, ..., None] * directions
        world = surface / RADIUS
        local = torch.einsum("vhwx,vxc->vchw", world, CAMERAS.cam2world[:, :3, :3])
        hit = depth[0] > 0
        torch.testing.assert_close(normals[0], torch.where(hit, local, 0.0), atol=1e-5, rtol=0)
        # by hand: the middle of the picture looks straight back
        odd = normals_of_views(Sphere(), CAMERAS, sphere_depth(25, 25))  # type: ignore[arg-type]
        torch.testing.assert_close(odd[0, :, :, 12, 12], torch.tensor([[0.0, 0, 1]] * 3), atol=1e-5, rtol=0)
        # x to the right and y up
        assert odd[0, 0, 0, 12, 15] > 0.1
        assert odd[0, 0, 1, 9, 12] > 0.1

    def test_works_where_gradients_are_off(self, field: TriplaneField) -> None:
        points = torch.rand(1, 50, 3) - 0.5
        plain = outward_normals(field, points)
        with torch.inference_mode():
            made = TriplaneField(field.planes.clone(), field.weights, field.biases, field.config)
            torch.testing.assert_close(outward_normals(made, points), plain)
        with torch.no_grad():
            torch.testing.assert_close(outward_normals(field, points), plain)

    def test_finite_differences(self, field: TriplaneField) -> None:
        double = torch.rand(1, 20, 3, generator=torch.Generator().manual_seed(1)) * 0.5 - 0.25
        normals = outward_normals(field, double)
        step = 1e-3
        slopes = []
        for axis in torch.eye(3):
            high, low = (field.query(double + sign * step * axis)[0] for sign in (1, -1))
            slopes.append((low - high)[..., 0])
        differences = torch.nn.functional.normalize(torch.stack(slopes, dim=-1), dim=-1)
        # float32 differences of numbers near 1, and kinks where texels and ReLUs meet
        cosine = (normals * differences).sum(dim=-1)
        assert float(cosine.median()) > 0.999


class TestChannels:
    @pytest.fixture(scope="class")
    @staticmethod
    def made(field: TriplaneField) -> dict[str, np.ndarray]:
        return render_channels(field, CAMERAS, SIZE, SIZE, background=(1.0, 0.5, 0.0))

    def test_shapes(self, made: dict[str, np.ndarray]) -> None:
        sizes = {"rgb": 3, "rgba": 4, "depth": 1, "normals": 3, "opacity": 1}
        assert {name: values.shape for name, values in made.items()} == {
            name: (1, 3, SIZE, SIZE, size) for name, size in sizes.items()
        }
        assert {values.dtype for values in made.values()} == {np.dtype(np.float32)}

    def test_rgba_over_the_background_is_rgb(self, made: dict[str, np.ndarray]) -> None:
        alpha = made["rgba"][..., 3:]
        assert 0.05 < alpha.mean() < 0.95
        over = made["rgba"][..., :3] * alpha + np.array([1.0, 0.5, 0.0]) * (1 - alpha)
        np.testing.assert_allclose(over, made["rgb"], atol=2e-3)  # colours may leave [0, 1] by a thousandth
        np.testing.assert_array_equal(alpha, made["opacity"])

    def test_same_as_the_renderer(self, made: dict[str, np.ndarray], field: TriplaneField) -> None:
        from lrm_hf import render

        with torch.no_grad():
            views = render(field, CAMERAS, SIZE, SIZE, (1.0, 0.5, 0.0))
        np.testing.assert_allclose(made["rgb"], views.images.clamp(0, 1).movedim(2, -1).numpy(), atol=1e-5)
        seen = views.opacity.movedim(2, -1).numpy() >= 0.5
        assert 0.1 < seen.mean() < 0.9
        np.testing.assert_array_equal(made["depth"], np.where(seen, views.depth.movedim(2, -1).numpy(), 0))

    def test_normals_are_unit_vectors_where_something_is(self, made: dict[str, np.ndarray]) -> None:
        length = np.linalg.norm(made["normals"], axis=-1, keepdims=True)
        np.testing.assert_allclose(length, made["depth"] > 0, atol=1e-5)

    def test_some_of_them(self, field: TriplaneField, made: dict[str, np.ndarray]) -> None:
        depth = render_channels(field, CAMERAS, SIZE, SIZE, ["depth"])
        assert list(depth) == ["depth"]
        np.testing.assert_array_equal(depth["depth"], made["depth"])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"channels": ["rgb", "z"]}, r"`channels` must be some of rgb, .*got \['rgb', 'z'\]"),
            ({"channels": []}, r"`channels` must be some of"),
            ({"background": 2.0}, r"`background` must be a number or three in \[0, 1\], got 2.0"),
            ({"background": (0.1, 0.2)}, r"`background` must be a number or three"),
        ],
    )
    def test_bad_arguments(self, field: TriplaneField, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            render_channels(field, CAMERAS, 4, 4, **arguments)


class TestPictures:
    def test_depth_in_thousandths(self) -> None:
        picture = channel_picture("depth", np.array([[[0.0], [1.2344], [65.535]]]))
        assert picture.mode == "I;16"
        assert np.asarray(picture).tolist() == [[0, 1234, 65535]]
        with pytest.raises(ValueError, match="depths up to 70 world units don't fit"):
            channel_picture("depth", np.array([[[70.0]]]))

    def test_others_by_hand(self) -> None:
        normal = channel_picture("normals", np.array([[[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]]))
        assert np.asarray(normal).tolist() == [[[128, 128, 255], [0, 128, 128]]]
        assert np.asarray(channel_picture("opacity", np.array([[[0.0], [0.5], [1.0]]]))).tolist() == [[0, 128, 255]]
        rgba = channel_picture("rgba", np.array([[[1.0, 0.0, 0.5, 0.2]]]))
        assert (rgba.mode, rgba.getpixel((0, 0))) == ("RGBA", (255, 0, 128, 51))
        with pytest.raises(ValueError, match="`channel` must be one of"):
            channel_picture("z", np.zeros((1, 1, 1)))

    def test_depth_frames_share_their_greys(self) -> None:
        frames = channel_frames("depth", np.array([[[[0.0], [1.0]]], [[[2.0], [3.0]]]]))
        # nothing is black, the nearest white, the farthest a tenth
        np.testing.assert_allclose([np.asarray(frame)[0] for frame in frames], [[0, 255], [140, 25.5]], atol=0.5)
        nothing = channel_frames("depth", np.zeros((1, 1, 2, 1)))
        assert np.asarray(nothing[0]).tolist() == [[0, 0]]

    def test_every_channel_has_frames(self, field: TriplaneField) -> None:
        made = render_channels(field, CAMERAS, 8, 8)
        for name in CHANNELS:
            frames = channel_frames(name, made[name][0])
            assert [frame.size for frame in frames] == [(8, 8)] * 3
        assert math.isfinite(float(made["depth"].max()))
