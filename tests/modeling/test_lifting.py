# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Picture features carried into the planes: which texel sees which pixel, worked out by hand for the source camera."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lrm_hf.cameras import Cameras, orbit_cameras, project_points
from lrm_hf.modeling.configuration_lrm import LRMConfig, TriplaneFieldConfig
from lrm_hf.modeling.field import FieldMLP, TriplaneField
from lrm_hf.modeling.lifting import PixelLift, PlaneLinear, TokenLift, gather_along_lines, line_points


def lift_config(**options: object) -> LRMConfig:
    values = {
        "encoder_config": {"model_type": "vit", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1},
        "field_config": {"channels": 4},
        "hidden_size": 12,
        "num_attention_heads": 2,
        "triplane_low_res": 4,
        "lift_samples": 3,
        "lift_channels": 5,
    }
    return LRMConfig(**(values | options))


def initialize(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.requires_grad_(False).parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module


class TestPlaneLinear:
    def test_each_plane_has_weights_of_its_own(self) -> None:
        layer = initialize(PlaneLinear(3, 5, num_planes=2))
        states = torch.randn(2, 2, 7, 3, generator=torch.Generator().manual_seed(1))
        found = layer(states)
        assert found.shape == (2, 2, 7, 5)
        expected = torch.einsum("bpni,poi->bpno", states, layer.weight) + layer.bias[:, None]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


class TestLinePoints:
    def test_by_hand(self) -> None:
        """Two texels have centres at -+1/2 of the radius, two samples lie there too, along the third axis."""
        points = line_points(TriplaneFieldConfig(radius=2.0), [0, 1, 2], 2, 2, torch.device("cpu"))
        assert points.shape == (3, 2, 2, 2, 3)
        # plane (x, y): row is y, column is x, the line runs along z
        assert points[0, 0, 1].tolist() == [[1, -1, -1], [1, -1, 1]]
        # plane (x, z): row is z, column is x, the line runs along y
        assert points[1, 1, 0].tolist() == [[-1, -1, 1], [-1, 1, 1]]
        # plane (z, y): row is y, column is z, the line runs along x
        assert points[2, 0, 1].tolist() == [[-1, -1, 1], [1, -1, 1]]

    @pytest.mark.parametrize("axes", [[[0, 1], [0, 2], [2, 1]], [[0, 1], [0, 2], [1, 2]], [[1, 0], [2, 0], [1, 2]]])
    def test_lines_are_what_the_field_reads_from_that_texel(self, axes: list[list[int]]) -> None:
        """A plane with a 1 in a single texel gives that 1 back at every point of the texel's line."""
        config = TriplaneFieldConfig(channels=1, plane_axes=axes, radius=0.87)
        size = 4
        points = line_points(config, [0, 1, 2], size, 5, torch.device("cpu"))
        mlp = FieldMLP(config)
        for plane in range(3):
            planes = torch.zeros(1, 3, 1, size, size)
            planes[0, plane, 0, 1, 2] = 1.0
            field = TriplaneField(planes, *mlp.parameters_in_float32(), config)
            found = field.features(points[plane].reshape(1, -1, 3))[0, :, plane].reshape(size, size, 5)
            expected = torch.zeros(size, size, 5)
            expected[1, 2] = 1.0
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


class TestGather:
    def test_canonical_camera_by_hand(self) -> None:
        """Features are the picture coordinates u and v themselves. From (0, -2, 0) with f = 0.75 a point (x, y, z)
        is seen at u = 0.5 + 0.75 x / (2 + y), v = 0.5 - 0.75 z / (2 + y)."""
        size = 32
        ramp = (torch.arange(size) + 0.5) / size
        features = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size)])[None]
        config = TriplaneFieldConfig()
        found = gather_along_lines(features, Cameras.canonical()[None], config, [0, 1, 2], 2, 2)
        assert found.shape == (1, 3, 4, 4)
        points = line_points(config, [0, 1, 2], 2, 2, torch.device("cpu")).reshape(3, 4, 2, 3)
        for plane in range(3):
            for texel in range(4):
                for sample in range(2):
                    x, y, z = points[plane, texel, sample].tolist()
                    expected = [0.5 + 0.75 * x / (2 + y), 0.5 - 0.75 * z / (2 + y)]
                    place = found[0, plane, texel, 2 * sample : 2 * sample + 2]
                    assert place.tolist() == pytest.approx(expected, abs=1e-5)
        # one of them in numbers: plane (x, z), row 1 (z = 1/2), column 0 (x = -1/2), first sample (y = -1/2)
        assert found[0, 1, 2, :2].tolist() == pytest.approx([0.5 - 0.25, 0.5 - 0.25], abs=1e-5)

    def test_zero_outside_of_the_picture(self) -> None:
        narrow = Cameras.canonical(focal=20.0)[None]
        found = gather_along_lines(torch.ones(1, 3, 8, 8), narrow, TriplaneFieldConfig(), [0, 1, 2], 4, 2)
        assert not bool(found.any())

    def test_pictures_that_are_not_square(self) -> None:
        """Intrinsics are fractions of width and height, so that the features' own shape does not matter."""
        height, width = 16, 48
        u, v = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
        features = torch.stack([u.expand(height, width), v[:, None].expand(height, width)])[None]
        camera = orbit_cameras(1, elevation=20.0)
        config = TriplaneFieldConfig()
        found = gather_along_lines(features, camera, config, [0], 4, 3).reshape(-1, 2)
        uv, _ = project_points(camera, line_points(config, [0], 4, 3, torch.device("cpu")).reshape(1, -1, 3))
        inside = ((uv[0] > 0.05) & (uv[0] < 0.95)).all(-1)
        assert int(inside.sum()) > 20
        torch.testing.assert_close(found[inside], uv[0][inside], atol=1e-5, rtol=0)

    def test_every_picture_has_its_own_camera(self) -> None:
        features = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
        cameras = orbit_cameras(3, elevation=10.0)
        together = gather_along_lines(features, cameras, TriplaneFieldConfig(), [2, 0], 4, 3)
        assert together.shape == (3, 2, 16, 6)
        for i in range(3):
            alone = gather_along_lines(features[i : i + 1], cameras[i : i + 1], TriplaneFieldConfig(), [2, 0], 4, 3)
            torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_places_keep_their_precision(self, dtype: torch.dtype) -> None:
        """A fine checkerboard tells bfloat16 coordinates, which have 8 bits, from float32 ones."""
        size = 256
        board = ((torch.arange(size)[:, None] + torch.arange(size)) % 2).float()[None, None]
        camera = orbit_cameras(1, elevation=20.0)
        expected = gather_along_lines(board, camera, TriplaneFieldConfig(), [1], 8, 4)
        found = gather_along_lines(board.to(dtype), camera, TriplaneFieldConfig(), [1], 8, 4)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, atol=5e-3, rtol=0)
        with torch.autocast("cpu", torch.bfloat16):
            again = gather_along_lines(board, camera, TriplaneFieldConfig(), [1], 8, 4)
        assert torch.equal(again, expected)


class TestTokenLift:
    def test_patch_of_the_picture_reaches_the_texels_that_project_onto_it(self) -> None:
        """One patch token is not zero; with a mix that sums, texels are touched exactly where their line meets it."""
        config = lift_config(lift_channels=1, hidden_size=2)
        lift = initialize(TokenLift(config, 8))
        for layer in (lift.squeeze, lift.mix):
            torch.nn.init.ones_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        tokens = torch.zeros(1, 1 + 4 * 6, 8)
        tokens[0, 0] = 100.0  # the class token is no part of the picture
        tokens[0, 1 + 2 * 6 + 4] = 1.0  # row 2, column 4
        camera = Cameras.canonical()[None]
        found = lift(tokens, camera, (4, 6))
        assert found.shape == (1, 48, 2)
        features = torch.zeros(1, 1, 4, 6)
        features[0, 0, 2, 4] = 8.0  # eight ones summed by the squeeze, twice as many channels
        lines = gather_along_lines(features, camera, config.field_config, [0, 1, 2], 4, 3)
        expected = 2 * lines.sum(-1).reshape(1, 48, 1).expand(1, 48, 2)
        assert 0 < int((expected != 0).sum()) < 96
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)

    @pytest.mark.parametrize(("tokens", "grid"), [(17, (5, 5)), (17, None), (20, (4, 4)), (24, (5, 5))])
    def test_tokens_that_are_no_grid(self, tokens: int, grid: tuple[int, int] | None) -> None:
        with pytest.raises(ValueError, match=f"`lift_samples` needs an encoder .* got {tokens} tokens"):
            TokenLift(lift_config(), 8)(torch.zeros(1, tokens, 8), Cameras.canonical()[None], grid)

    @pytest.mark.parametrize("leading", [0, 1, 2])
    def test_leading_tokens_are_left_out(self, leading: int) -> None:
        lift = initialize(TokenLift(lift_config(), 8))
        patches = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))
        cameras = orbit_cameras(2)
        expected = lift(patches, cameras, (4, 4))
        assert torch.equal(lift(torch.cat([torch.ones(2, leading, 8), patches], dim=1), cameras, (4, 4)), expected)


class TestPixelLift:
    def test_only_the_chosen_planes_change(self) -> None:
        config = lift_config(lift_planes=[1], lift_upscale=2)
        lift = initialize(PixelLift(config))
        planes = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        found = lift(planes, pixels, orbit_cameras(2))
        assert found.shape == (2, 3, 4, 16, 16)
        larger = F.interpolate(planes.flatten(0, 1), scale_factor=2, mode="bilinear", align_corners=False).unflatten(
            0, (2, 3)
        )
        assert torch.equal(found[:, [0, 2]], larger[:, [0, 2]])
        assert float((found[:, 1] - larger[:, 1]).abs().min()) > 0

    def test_planes_that_stay_wide_under_autocast(self) -> None:
        """On a GPU autocast interpolates in float32; given so on a CPU, planes and detail differ in type as well."""
        lift = initialize(PixelLift(lift_config()))
        planes = torch.randn(1, 3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
        expected = lift(planes, picture, orbit_cameras(1))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = lift(planes, picture, orbit_cameras(1))
        assert found.dtype == planes.dtype
        torch.testing.assert_close(found, expected, atol=0.02 * float(expected.abs().max()), rtol=0)

    def test_order_of_planes_does_not_swap_them(self) -> None:
        """The second of two chosen planes has the second set of weights."""
        lift = initialize(PixelLift(lift_config(lift_planes=[2, 0])))
        torch.nn.init.zeros_(lift.fc2.weight)
        lift.fc2.bias.copy_(torch.tensor([[1.0] * 4, [10.0] * 4]))
        found = lift(torch.zeros(1, 3, 4, 8, 8), torch.rand(1, 3, 16, 16), orbit_cameras(1))
        assert found[0, :, 0, 0, 0].tolist() == [10.0, 0.0, 1.0]

    def test_a_dot_in_the_picture_lands_in_the_texels_that_see_it(self) -> None:
        """The picture of plane (x, z) as the source camera sees it: right in the picture is +x, top is +z."""
        config = lift_config(lift_planes=[1], lift_samples=8, lift_channels=3)
        lift = initialize(PixelLift(config))
        for layer in (lift.stem[0], lift.stem[2], lift.fc1, lift.fc2):
            torch.nn.init.ones_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        pixels = torch.zeros(1, 3, 32, 32)
        pixels[:, :, 6:9, 24:27] = 1.0  # u = 0.8, v = 0.23: right of the middle, above it
        found = lift(torch.zeros(1, 3, 4, 8, 8), pixels, Cameras.canonical()[None])[0, 1, 0]
        touched = (found > 0).nonzero()
        assert len(touched) > 0
        assert bool((touched[:, 0] >= 4).all()), "rows of the upper half: z > 0"
        assert bool((touched[:, 1] >= 4).all()), "columns of the right half: x > 0"
