# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Cameras: conventions, vectors, orbits, look-at, rays and their inverse, against hand-worked numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from lrm_hf.cameras import Cameras, camera_rays, look_at_cameras, orbit_cameras, project_points


PINHOLE = [[0.75, 0.0, 0.5], [0.0, 0.75, 0.5], [0.0, 0.0, 1.0]]


def assert_close(actual: torch.Tensor, expected: torch.Tensor | list, atol: float = 1e-6) -> None:
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected.expand_as(actual), atol=atol, rtol=0)


def random_cameras(*shape: int, seed: int = 0, skew: bool = True) -> Cameras:
    """Poses and intrinsics of no particular kind, off-centre, with different focal lengths and skew."""
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn((*shape, 3, 3), generator=generator))
    rotation = rotation * torch.linalg.det(rotation).sign()[..., None, None]
    cam2world = torch.eye(4).repeat(*shape, 1, 1)
    cam2world[..., :3, :3] = rotation
    cam2world[..., :3, 3] = torch.randn((*shape, 3), generator=generator)
    intrinsics = torch.zeros(*shape, 3, 3)
    intrinsics[..., 0, 0] = 0.6 + torch.rand(shape, generator=generator)
    intrinsics[..., 1, 1] = 0.6 + torch.rand(shape, generator=generator)
    intrinsics[..., 0, 1] = 0.2 * torch.randn(shape, generator=generator) if skew else 0.0
    intrinsics[..., :2, 2] = 0.4 + 0.2 * torch.rand((*shape, 2), generator=generator)
    intrinsics[..., 2, 2] = 1.0
    return Cameras(cam2world, intrinsics)


class TestCanonical:
    def test_pose_and_intrinsics(self) -> None:
        cameras = Cameras.canonical()
        assert cameras.shape == ()
        assert cameras.cam2world.tolist() == [[1, 0, 0, 0], [0, 0, -1, -2], [0, 1, 0, 0], [0, 0, 0, 1]]
        assert cameras.intrinsics.tolist() == PINHOLE

    def test_source_vector(self) -> None:
        vector = Cameras.canonical(distance=2.5, focal=0.8).to_source_vector()
        assert_close(vector, [1, 0, 0, 0, 0, 0, -1, -2.5, 0, 1, 0, 0, 0.8, 0.8, 0.5, 0.5], atol=0)

    def test_elevation_lifts_the_camera_and_tilts_it_down(self) -> None:
        cameras = Cameras.canonical(distance=2.0, elevation=30.0)
        root = math.sqrt(3) / 2
        assert_close(cameras.position, [0.0, -2 * root, 1.0])
        # right stays x; looking along -z of the camera is looking at the origin
        assert_close(cameras.cam2world[:3, :3], [[1, 0, 0], [0, 0.5, -root], [0, root, 0.5]])


class TestVectors:
    @pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
    def test_render_vector_round_trip(self, shape: tuple[int, ...]) -> None:
        cameras = random_cameras(*shape)
        vector = cameras.to_render_vector()
        assert vector.shape == (*shape, 25)
        again = Cameras.from_render_vector(vector)
        assert torch.equal(again.cam2world, cameras.cam2world)
        assert torch.equal(again.intrinsics, cameras.intrinsics)

    @pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
    def test_source_vector_round_trip(self, shape: tuple[int, ...]) -> None:
        cameras = random_cameras(*shape, skew=False)  # the 16 numbers have no place for skew
        vector = cameras.to_source_vector()
        assert vector.shape == (*shape, 16)
        again = Cameras.from_source_vector(vector)
        assert torch.equal(again.cam2world, cameras.cam2world)
        assert torch.equal(again.intrinsics, cameras.intrinsics)

    def test_order_of_numbers(self) -> None:
        """Row-major 4x4, row-major 3x3; and the first three rows, fx, fy, cx, cy."""
        cameras = Cameras(torch.arange(16.0).reshape(4, 4), torch.arange(100.0, 109.0).reshape(3, 3))
        assert cameras.to_render_vector().tolist() == [*range(16), *range(100, 109)]
        assert cameras.to_source_vector().tolist() == [*range(12), 100, 104, 102, 105]

    def test_wrong_lengths(self) -> None:
        with pytest.raises(ValueError, match=r"`vector` must have shape \(\.\.\., 16\), got \(2, 25\)"):
            Cameras.from_source_vector(torch.zeros(2, 25))
        with pytest.raises(ValueError, match=r"`vector` must have shape \(\.\.\., 25\), got \(16,\)"):
            Cameras.from_render_vector(torch.zeros(16))


class TestOrbit:
    def test_quarter_turns(self) -> None:
        """Azimuth 0 is the source camera's side (-y), positive angles go counter-clockwise seen from above."""
        cameras = orbit_cameras(4, elevation=0.0, distance=3.0)
        assert_close(cameras.position, [[0, -3, 0], [3, 0, 0], [0, 3, 0], [-3, 0, 0]])

    def test_position_formula(self) -> None:
        azimuth, elevation = math.radians(50.0), math.radians(25.0)
        cameras = orbit_cameras(1, elevation=25.0, distance=1.7, azimuth_start=50.0)
        expected = [
            1.7 * math.sin(azimuth) * math.cos(elevation),
            -1.7 * math.cos(azimuth) * math.cos(elevation),
            1.7 * math.sin(elevation),
        ]
        assert_close(cameras.position[0], expected)

    @pytest.mark.parametrize("num_views", [1, 2, 3, 5, 8])
    def test_rigid_finite_and_centred(self, num_views: int) -> None:
        """Three is the number at which the original takes a cross product over the wrong axis."""
        cameras = orbit_cameras(num_views, elevation=20.0).validate()
        assert cameras.shape == (num_views,)
        rotation = cameras.cam2world[:, :3, :3].double()
        assert_close(rotation @ rotation.mT, torch.eye(3))
        assert_close(torch.linalg.det(rotation), torch.ones(num_views))
        uv, depth = project_points(cameras, torch.zeros(num_views, 1, 3))
        assert_close(uv, [0.5, 0.5])
        assert_close(depth, [2.0])
        assert bool((cameras.cam2world[:, 2, 1] > 0).all()), "the world's z points upwards in the picture"

    def test_three_views_are_what_three_singles_are(self) -> None:
        three = orbit_cameras(3, elevation=10.0)
        for i in range(3):
            one = orbit_cameras(1, elevation=10.0, azimuth_start=120.0 * i)
            assert_close(three.cam2world[i], one.cam2world[0])

    def test_two_views_are_opposite(self) -> None:
        front, back = orbit_cameras(2, elevation=0.0).position
        assert_close(front, -back)
        assert float((front - back).norm()) == pytest.approx(4.0)

    def test_the_end_does_not_repeat_the_start(self) -> None:
        positions = orbit_cameras(6).position
        distances = torch.cdist(positions, positions) + 10 * torch.eye(6)
        # neighbours on a circle of six stand as far apart as its radius
        assert_close(distances.min(dim=1).values, torch.full((6,), 2 * math.cos(math.radians(20))))

    def test_one_elevation_per_view(self) -> None:
        cameras = orbit_cameras(azimuths=[0.0, 90.0], elevation=[30.0, -30.0])
        assert_close(cameras.position, [[0, -math.sqrt(3), 1], [math.sqrt(3), 0, -1]])

    def test_straight_down_keeps_the_azimuth(self) -> None:
        cameras = orbit_cameras(azimuths=[0.0, 90.0], elevation=90.0).validate()
        assert_close(cameras.position, [[0, 0, 2], [0, 0, 2]])
        assert_close(cameras.cam2world[:, :3, 0], [[1, 0, 0], [0, 1, 0]])

    def test_turning_the_scene_is_going_round_it(self) -> None:
        turned = orbit_cameras(1, elevation=20.0)[0].rotate_about_z(torch.tensor([0.0, 90.0, 180.0, 270.0]))
        assert turned.shape == (4,)
        assert_close(turned.cam2world, orbit_cameras(4, elevation=20.0).cam2world)
        assert_close(orbit_cameras(2).rotate_about_z(45.0).cam2world, orbit_cameras(2, azimuth_start=45.0).cam2world)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num_views": 0}, "`num_views` must be a positive integer, got 0"),
            ({"num_views": 2.5}, "`num_views` must be a positive integer, got 2.5"),
            ({"num_views": True}, "`num_views` must be a positive integer, got True"),
            ({"distance": 0.0}, "`distance` must be positive and finite, got 0.0"),
            ({"distance": math.inf}, "`distance` must be positive and finite, got inf"),
            ({"focal": -1.0}, "`focal` must be positive and finite, got -1.0"),
            ({"focal": math.nan}, "`focal` must be positive and finite, got nan"),
            ({"elevation": math.nan}, "`elevation` must be finite"),
            ({"azimuth_start": math.inf}, "`azimuth_start`.* must be finite"),
            ({"num_views": 3, "elevation": [0.0, 1.0]}, r"`elevation` must be one number or one per view \(3\)"),
            ({"azimuths": 30.0}, "`azimuths` must be a list of angles"),
        ],
    )
    def test_errors(self, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            orbit_cameras(**arguments)


class TestLookAt:
    def test_agrees_with_orbits(self) -> None:
        orbit = orbit_cameras(5, elevation=[0.0, 20.0, 60.0, -45.0, -80.0], focal=0.9)
        cameras = look_at_cameras(orbit.position, focal=0.9)
        assert_close(cameras.cam2world, orbit.cam2world)
        assert_close(cameras.intrinsics, orbit.intrinsics)

    def test_target_and_up(self) -> None:
        """From (5, 1, 1) at (1, 1, 1) with y upwards: looking along -x, so that right is y x x = -z."""
        cameras = look_at_cameras((5.0, 1.0, 1.0), target=(1.0, 1.0, 1.0), up=(0.0, 3.0, 0.0))
        expected = [[0, 0, 1, 5], [0, 1, 0, 1], [-1, 0, 0, 1], [0, 0, 0, 1]]
        assert_close(cameras.cam2world, expected)

    @pytest.mark.parametrize(
        ("position", "up", "above"),
        [
            ((0.0, 0.0, 2.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)),
            ((0.0, 0.0, -2.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)),
            ((0.0, 0.0, 2.0), (0.0, 0.0, -5.0), (0.0, 1.0, 0.0)),
            # the substitute itself is parallel here
            ((0.0, -2.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
            ((0.0, 2.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        ],
    )
    def test_view_parallel_to_up(self, position: tuple, up: tuple, above: tuple) -> None:
        cameras = look_at_cameras(position, up=up).validate()
        assert_close(cameras.cam2world[:3, 1], above)
        assert_close(cameras.cam2world[:3, 2] * 2, position)

    def test_view_nearly_parallel_to_up_stays_a_rotation(self) -> None:
        up = torch.tensor([0.6, 0.0, 0.8])
        positions = 2 * up + torch.tensor([[1e-3, 0, 0], [0, 1e-4, 0], [1e-5, 1e-5, 0], [0, 3e-6, 0]])
        rotation = look_at_cameras(positions, up=up).cam2world[:, :3, :3].double()
        assert_close(rotation @ rotation.mT, torch.eye(3))

    def test_batches_broadcast(self) -> None:
        positions = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
        targets = torch.tensor([[[0.1, 0.2, 0.3]], [[-0.3, 0.0, 0.5]]])
        cameras = look_at_cameras(positions, target=targets, focal=torch.tensor([[0.5, 0.6, 0.7], [0.8, 0.9, 1.0]]))
        assert cameras.shape == (2, 3)
        uv, depth = project_points(cameras, targets[:, :, None, :].expand(2, 3, 1, 3))
        assert_close(uv, [0.5, 0.5], atol=1e-5)
        assert_close(depth[..., 0], (positions - targets).norm(dim=-1))
        assert_close(cameras.intrinsics[1, :, 0, 0], [0.8, 0.9, 1.0])

    def test_gradients_reach_the_position(self) -> None:
        position = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
        look_at_cameras(position).cam2world.square().sum().backward()
        # the rotation's squares sum to 3 wherever the camera is
        assert_close(position.grad, 2 * position.detach(), atol=1e-5)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"position": (1.0, 1.0, 1.0), "target": (1.0, 1.0, 1.0)}, "`position` and `target` coincide"),
            ({"position": (1.0, 1.0)}, r"`position` must have shape \(\.\.\., 3\), got \(2,\)"),
            ({"position": (1.0, math.nan, 0.0)}, "`position` holds values that are not finite"),
            ({"position": (0.0, -2.0, 0.0), "target": (math.inf, 0.0, 0.0)}, "`target` holds values that are not"),
            ({"position": (0.0, -2.0, 0.0), "up": (0.0, 0.0, 0.0)}, "`up` must not be zero"),
            ({"position": (0.0, -2.0, 0.0), "focal": 0.0}, "`focal` must be positive"),
            ({"position": torch.ones(2, 3), "target": torch.zeros(3, 3)}, "`position`, `target` and `up` of shapes"),
            ({"position": torch.ones(2, 3), "focal": torch.ones(3)}, r"`focal` must be one number or of shape \(2,\)"),
        ],
    )
    def test_errors(self, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            look_at_cameras(**arguments)


class TestRays:
    def test_canonical_rays_by_hand(self) -> None:
        """Pixel centres of a 2 x 2 picture lie at 1/4 and 3/4: +-(1/4) / 0.75 = +-1/3 at unit distance."""
        origins, directions = camera_rays(Cameras.canonical(), 2, 2)
        assert origins.shape == directions.shape == (2, 2, 3)
        assert_close(origins, [0.0, -2.0, 0.0], atol=0)
        expected = torch.tensor(
            [[[-1 / 3, 1, 1 / 3], [1 / 3, 1, 1 / 3]], [[-1 / 3, 1, -1 / 3], [1 / 3, 1, -1 / 3]]]
        ) / math.sqrt(11 / 9)
        assert_close(directions, expected)

    def test_skew_and_different_focals_by_hand(self) -> None:
        """u = fx x + s y + cx and v = fy y + cy, y downwards. Picture of 1 row and 2 columns, camera at the origin."""
        intrinsics = torch.tensor([[2.0, 0.5, 0.4], [0.0, 4.0, 0.3], [0.0, 0.0, 1.0]])
        _, directions = camera_rays(Cameras(torch.eye(4), intrinsics), 1, 2)
        y = (0.5 - 0.3) / 4.0
        for column, u in enumerate((0.25, 0.75)):
            x = (u - 0.4 - 0.5 * y) / 2.0
            expected = torch.tensor([x, -y, -1.0])
            assert_close(directions[0, column], expected / expected.norm())

    def test_unit_length_and_batch_shape(self) -> None:
        origins, directions = camera_rays(random_cameras(2, 3), 5, 7)
        assert origins.shape == directions.shape == (2, 3, 5, 7, 3)
        assert_close(directions.norm(dim=-1), torch.ones(2, 3, 5, 7))

    def test_a_crop_has_the_rays_of_the_full_picture(self) -> None:
        cameras = random_cameras(2)
        full_origins, full = camera_rays(cameras, 12, 16)
        anchors = torch.tensor([[3, 5], [0, 9]])
        origins, crop = camera_rays(cameras, 6, 7, anchors=anchors, full_size=(12, 16))
        for i, (row, column) in enumerate(anchors.tolist()):
            assert torch.equal(crop[i], full[i, row : row + 6, column : column + 7])
            assert torch.equal(origins[i], full_origins[i, :6, :7])

    def test_one_anchor_for_all(self) -> None:
        cameras = random_cameras(3)
        one = camera_rays(cameras, 2, 2, torch.tensor([1, 2]), (8, 8))[1]
        each = camera_rays(cameras, 2, 2, torch.tensor([[1, 2]] * 3), (8, 8))[1]
        assert torch.equal(one, each)

    def test_batch_shape_changes_no_bit(self) -> None:
        """What a ray is must not depend on how many cameras share the call, or chunks and batches would show."""
        cameras = random_cameras(3)
        alone = [camera_rays(cameras[i], 24, 24)[1] for i in range(3)]
        for batch in (cameras, cameras.expand(4, 3)):
            directions = camera_rays(batch, 24, 24)[1].expand(4, 3, 24, 24, 3)
            for i in range(3):
                assert bool((directions[:, i] == alone[i]).all())

    def test_autocast_leaves_rays_alone(self) -> None:
        cameras = random_cameras(3)
        expected = camera_rays(cameras, 8, 8)[1]
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(camera_rays(cameras, 8, 8)[1], expected)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"height": 0}, "`height` must be a positive integer, got 0"),
            ({"width": 2.0}, "`width` must be a positive integer, got 2.0"),
            ({"full_size": (8, 0)}, r"`full_size\[1\]` must be a positive integer, got 0"),
            ({"anchors": torch.zeros(3, 2), "full_size": (8, 8)}, r"`anchors` must broadcast to \(2, 2\).*\(3, 2\)"),
            ({"anchors": torch.zeros(2, 3), "full_size": (8, 8)}, r"`anchors` must broadcast to \(2, 2\).*\(2, 3\)"),
            ({"anchors": torch.full((2, 2), math.nan), "full_size": (8, 8)}, "`anchors` holds values that are not fin"),
        ],
    )
    def test_errors(self, arguments: dict, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            camera_rays(orbit_cameras(2), **({"height": 4, "width": 4} | arguments))


class TestProjection:
    def test_by_hand(self) -> None:
        """Camera at (0, -2, 0) looking along +y: (0.5, 0, -0.25) is 2 in front, 0.5 to the right, 0.25 below."""
        uv, depth = project_points(Cameras.canonical(), torch.tensor([[0.5, 0.0, -0.25], [0.5, -4.0, -0.25]]))
        assert_close(uv[0], [0.5 + 0.75 * 0.25, 0.5 + 0.75 * 0.125])
        assert_close(depth, [2.0, -2.0])

    def test_inverts_rays(self) -> None:
        cameras = random_cameras(2, 3)
        height, width = 5, 7
        origins, directions = camera_rays(cameras, height, width)
        distance = torch.rand(2, 3, height, width, 1, generator=torch.Generator().manual_seed(1)) * 3 + 0.1
        uv, depth = project_points(cameras, (origins + distance * directions).flatten(2, 3))
        rows = (torch.arange(height) + 0.5) / height
        columns = (torch.arange(width) + 0.5) / width
        assert_close(uv.reshape(2, 3, height, width, 2)[..., 0], columns.expand(2, 3, height, width), atol=1e-5)
        assert_close(uv.reshape(2, 3, height, width, 2)[..., 1], rows[:, None].expand(2, 3, height, width), atol=1e-5)
        along = -(directions * cameras.cam2world[..., None, None, :3, 2]).sum(-1) * distance[..., 0]
        assert_close(depth.reshape_as(along), along, atol=1e-5)

    def test_point_in_the_cameras_plane_stays_finite(self) -> None:
        uv, depth = project_points(Cameras.canonical(), torch.tensor([[0.5, -2.0, 0.0], [0.0, -2.0, 0.0]]))
        assert bool(torch.isfinite(uv).all())
        assert_close(depth, [0.0, 0.0])


class TestContainer:
    def test_intrinsics_broadcast_against_poses(self) -> None:
        cameras = Cameras(torch.eye(4).repeat(2, 3, 1, 1), torch.tensor(PINHOLE))
        assert cameras.shape == (2, 3)
        assert cameras.intrinsics.shape == (2, 3, 3, 3)
        assert Cameras(torch.eye(4), torch.tensor(PINHOLE).repeat(5, 1, 1)).shape == (5,)

    def test_indexing(self) -> None:
        cameras = random_cameras(2, 3)
        assert cameras[0].shape == (3,)
        assert cameras[:, 1:].shape == (2, 2)
        assert cameras[None].shape == (1, 2, 3)
        assert torch.equal(cameras[..., 1].cam2world, cameras.cam2world[:, 1])
        assert torch.equal(cameras[1, ...].intrinsics, cameras.intrinsics[1])
        chosen = cameras[torch.tensor([[True, False, True], [False, False, True]])]
        assert torch.equal(chosen.cam2world, cameras.cam2world[[0, 0, 1], [0, 2, 2]])
        assert len(cameras) == 2
        assert len(list(cameras)) == 2
        with pytest.raises(IndexError):
            cameras[0, 0, 0]
        with pytest.raises(IndexError):
            cameras[2]
        with pytest.raises(TypeError, match="a single camera has no length"):
            len(cameras[0, 0])

    def test_to_expand_reshape(self) -> None:
        cameras = random_cameras(6)
        assert cameras.reshape(2, 3).shape == (2, 3)
        assert torch.equal(cameras.reshape(2, 3).cam2world[1, 0], cameras.cam2world[3])
        assert cameras[0].expand(4).shape == (4,)
        double = cameras.to(dtype=torch.float64)
        assert double.cam2world.dtype == double.intrinsics.dtype == torch.float64
        assert cameras.to("meta").device.type == "meta"

    def test_mixed_precision_is_promoted(self) -> None:
        cameras = Cameras(torch.eye(4, dtype=torch.float64), torch.tensor(PINHOLE))
        assert cameras.intrinsics.dtype == torch.float64
        assert camera_rays(cameras, 2, 2)[1].dtype == torch.float64

    def test_type_errors(self) -> None:
        with pytest.raises(TypeError, match="`cam2world` must be a floating point tensor, got list"):
            Cameras([[1.0]], torch.tensor(PINHOLE))
        with pytest.raises(TypeError, match=r"`intrinsics` must be a floating point tensor, got torch\.int64"):
            Cameras(torch.eye(4), torch.eye(3).long())

    @pytest.mark.parametrize(
        ("cam2world", "intrinsics", "message"),
        [
            (torch.eye(3), torch.eye(3), r"`cam2world` must have shape \(\.\.\., 4, 4\), got \(3, 3\)"),
            (torch.eye(4), torch.ones(3), r"`intrinsics` must have shape \(\.\.\., 3, 3\), got \(3,\)"),
            (torch.ones(2, 4, 4), torch.ones(3, 3, 3), r"`cam2world` \(2, 4, 4\) and `intrinsics` \(3, 3, 3\) do not"),
            (torch.ones(4, 4), torch.ones(3, 3, device="meta"), "`cam2world` is on cpu, `intrinsics` is on meta"),
        ],
    )
    def test_shape_errors(self, cam2world: torch.Tensor, intrinsics: torch.Tensor, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Cameras(cam2world, intrinsics)


class TestValidation:
    def test_good_ones_come_back(self) -> None:
        cameras = random_cameras(4)
        assert cameras.validate() is cameras

    @pytest.mark.parametrize(
        ("name", "change", "message"),
        [
            ("cam2world", lambda m: m[0, 3].fill_(math.nan), "`cam2world` holds values that are not finite"),
            ("cam2world", lambda m: m[0, 0].fill_(math.inf), "`cam2world` holds values that are not finite"),
            ("cam2world", lambda m: m[:3, :3].mul_(2.0), "`cam2world` must hold a rotation"),
            ("cam2world", lambda m: m[:3, 0].neg_(), "`cam2world` must hold a rotation"),
            ("cam2world", lambda m: m.zero_(), "`cam2world` must hold a rotation"),
            ("cam2world", lambda m: m.copy_(m.t().clone()), "`cam2world` must have 0, 0, 0, 1 in its last row"),
            ("intrinsics", lambda k: k[0, 0].fill_(math.nan), "`intrinsics` holds values that are not finite"),
            ("intrinsics", lambda k: k[1, 1].fill_(0.0), "`intrinsics` must have positive focal lengths"),
            ("intrinsics", lambda k: k[0, 0].neg_(), "`intrinsics` must have positive focal lengths"),
        ],
    )
    def test_errors(self, name: str, change: Callable[[torch.Tensor], torch.Tensor], message: str) -> None:
        cameras = orbit_cameras(3)
        parts = {"cam2world": cameras.cam2world.clone(), "intrinsics": cameras.intrinsics.clone()}
        change(parts[name][1])
        with pytest.raises(ValueError, match=message):
            Cameras(**parts).validate()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_numbers_that_change_are_looked_at_again(device: str) -> None:
    cameras = orbit_cameras(2).to(device)
    assert cameras.validate() is cameras.validate() is cameras
    cameras.intrinsics[0, 0, 0] = -1.0
    with pytest.raises(ValueError, match="positive focal lengths, got -1"):
        cameras.validate()
    with torch.inference_mode():
        cameras = orbit_cameras(2)
        cameras.validate()
        cameras.cam2world[0, 0, 0] = torch.nan
        with pytest.raises(ValueError, match="`cam2world` holds values that are not finite"):
            cameras.validate()
