# Copyright 2026 The lrm_hf authors. Licensed under the Apache License, Version 2.0.
"""Every layout of training data gives back the cameras and pixels that were put into it."""

import json
import math
import tarfile

import numpy as np
import PIL.Image
import pytest
import torch
import trimesh
from view_files import (
    CENTER,
    SIZE,
    ball_views,
    edit_picture,
    edit_pose,
    nerf_object,
    openlrm_dataset,
)

from lrm_hf.cameras import Cameras, look_at_cameras, orbit_cameras, project_points
from lrm_hf.training.data_sources import open_views
from lrm_hf.training.openlrm_layout import write_object
from lrm_hf.training.procedural import render_pool
from lrm_hf.training.view_datasets import resize_views
from lrm_hf.training.view_pool import ViewPool
from lrm_hf.training.view_shards import write_shard
from lrm_hf.training.views import ObjectViews


def same(views: ObjectViews, expected: ObjectViews, depth: bool = True) -> None:
    assert torch.equal(views.rgba, expected.rgba)
    assert torch.equal(views.cameras.cam2world, expected.cameras.cam2world)
    # through pixels and back: a float64 division away from the float32 that was written
    torch.testing.assert_close(views.cameras.intrinsics, expected.cameras.intrinsics, rtol=1e-7, atol=0)
    assert torch.equal(views.depth, expected.depth if depth else torch.zeros_like(expected.depth))


class TestOpenLRM:
    def test_round_trip(self, tmp_path):
        data = open_views(openlrm_dataset(tmp_path, ("b", "a"), depth=True))
        assert (len(data), data.size, [data.name(i) for i in range(2)]) == (2, SIZE, ["a", "b"])
        same(data[1], ball_views())
        some = data.load(0, [2, 0])
        same(some, ball_views().select([2, 0]))
        with pytest.raises(IndexError, match="0 to 1, got 2"):
            data[2]

    def test_files_are_those_of_the_blender_script(self, tmp_path):
        openlrm_dataset(tmp_path)
        files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*") if path.is_file())
        numbers = [f"{index:03d}" for index in range(4)]
        assert files == [
            "ball/intrinsics.npy",
            *(f"ball/pose/{number}.npy" for number in numbers),
            *(f"ball/rgba/{number}.png" for number in numbers),
        ]
        # focal 0.75 of 32 pixels
        assert np.load(tmp_path / "ball/intrinsics.npy").tolist() == [[24, 24], [16, 16], [32, 32]]
        pose = np.load(tmp_path / "ball/pose/001.npy")  # azimuth 40, elevation 0, two away
        a = math.radians(40)
        expected = [
            [math.cos(a), 0, math.sin(a), 2 * math.sin(a)],
            [math.sin(a), 0, -math.cos(a), -2 * math.cos(a)],
            [0, 1, 0, 0],
        ]
        assert pose == pytest.approx(np.array(expected), abs=1e-6)

    def test_what_others_write_as_well(self, tmp_path):
        """A 4x4 pose, and a 3x3 matrix over the picture's size."""
        openlrm_dataset(tmp_path)
        edit_pose(tmp_path / "ball", 0, lambda pose: np.vstack([pose, [0, 0, 0, 1]]))
        np.save(tmp_path / "ball/intrinsics.npy", np.array([[0.75, 0, 0.5], [0, 0.75, 0.5], [0, 0, 1]]))
        same(open_views(tmp_path / "ball")[0], ball_views(), depth=False)

    def test_an_object_appears_whole_or_not_at_all(self, tmp_path, monkeypatch):
        def fail(*args, **kwargs):
            raise OSError("disk full")

        monkeypatch.setattr("pathlib.Path.rename", fail)
        with pytest.raises(OSError, match="disk full"):
            write_object(tmp_path / "ball", ball_views())
        assert list(tmp_path.iterdir()) == []
        monkeypatch.undo()
        write_object(tmp_path / "ball", ball_views())
        with pytest.raises(OSError, match="exists"):
            write_object(tmp_path / "ball", ball_views())
        mixed = Cameras(
            torch.cat([orbit_cameras(1).cam2world] * 2),
            torch.cat([orbit_cameras(1, focal=focal).intrinsics for focal in (0.7, 0.8)]),
        )
        with pytest.raises(ValueError, match="same intrinsics"):
            write_object(tmp_path / "mixed", ball_views(mixed))

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda d: (d / "pose/001.npy").unlink(), r"001\.npy is missing"),
            (lambda d: (d / "rgba/001.png").unlink(), r"001\.png is missing"),
            (lambda d: (d / "intrinsics.npy").unlink(), r"intrinsics\.npy is missing"),
            (lambda d: (d / "pose/001.npy").write_bytes(b"no array"), "can't be read as an array"),
            (lambda d: (d / "rgba/001.png").write_bytes(b"no picture"), "can't be read as a picture"),
            (lambda d: edit_pose(d, 1, lambda p: p * 2), r"view 001: its pose is not a rotation: .* lengths 2, 2, 2"),
            (lambda d: edit_pose(d, 1, lambda p: p * [1, 1, -1, 1]), r"mirror image \(determinant -1\)"),
            (lambda d: edit_pose(d, 1, lambda p: p * np.nan), "not finite"),
            (lambda d: edit_pose(d, 1, lambda p: p[:, :3]), r"shape \(3, 3\)"),
            (
                lambda d: edit_pose(d, 1, lambda p: np.vstack([p, [0, 0, 0, 1]]).T),
                "as its last row, expected 0, 0, 0, 1: is it transposed",
            ),
            (
                lambda d: np.save(d / "intrinsics.npy", np.array([[24.0, 0, 16], [0, 24, 16], [0, 0, 1]])),
                r"intrinsics\.npy is in pixels \(fx 24, cx 16\)",
            ),
            (
                lambda d: np.save(d / "intrinsics.npy", np.array([[24.0, 24], [16, 16], [1, 1]])),
                "focal length of 24 times the picture's size: are these pixels",
            ),
            (lambda d: np.save(d / "intrinsics.npy", np.zeros(4)), r"shape \(4,\)"),
            (lambda d: np.save(d / "intrinsics.npy", np.array(["a"])), "no array of numbers"),
            (lambda d: edit_picture(d, 1, lambda p: p[..., :3]), r"no alpha channel \(its mode is RGB\)"),
            (lambda d: edit_picture(d, 1, lambda p: p[:16]), "has 32 x 16 pixels .* first picture 32 x 32"),
        ],
    )
    def test_damage_is_named(self, tmp_path, damage, message):
        openlrm_dataset(tmp_path)
        damage(tmp_path / "ball")
        with pytest.raises((OSError, ValueError), match=message):
            open_views(tmp_path)[0]


class TestTransforms:
    def test_round_trip(self, tmp_path):
        file = nerf_object(tmp_path / "ball")
        for source in (tmp_path, tmp_path / "ball", file):
            data = open_views(source)
            assert data.name(0) == "ball"
            same(data[0], ball_views(), depth=False)

    @pytest.mark.parametrize(
        "header",
        [
            {"fl_x": 24.0, "w": 32, "h": 32},
            {"fl_x": 750.0, "fl_y": 750.0, "cx": 500.0, "cy": 500.0, "w": 1000, "h": 1000},  # scaled pictures
            {"fl_x": 24.0, "k1": 0.0, "camera_model": "OPENCV"},
            {"camera_angle_x": 2 * math.atan(0.5 / 0.75), "camera_angle_y": 2 * math.atan(0.5 / 0.75)},
        ],
    )
    def test_ways_to_write_a_focal_length(self, tmp_path, header):
        nerf_object(tmp_path / "ball", suffix=".png", **header)
        same(open_views(tmp_path)[0], ball_views(), depth=False)

    def test_wide_pictures_become_square_and_their_cameras_follow(self, tmp_path):
        """A ball's centre is projected to the same pixel of the picture's contents."""
        directory = tmp_path / "wide"
        directory.mkdir()
        picture = np.zeros((20, 32, 4), dtype=np.uint8)
        camera = look_at_cameras((0.0, -2.0, 0.0))
        fx, fy, cx, cy = 24.0, 22.0, 15.0, 11.0
        # a point one to the left and half up at depth 2 is seen at cx + fx x / z, cy - fy y / z
        column, row = cx - fx * 0.5 / 2, cy - fy * 0.25 / 2
        picture[int(row), int(column)] = (255, 0, 0, 255)
        PIL.Image.fromarray(picture).save(directory / "a.png")
        frame = {"file_path": "a.png", "transform_matrix": camera.cam2world.tolist()}
        content = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": 32, "h": 20, "frames": [frame]}
        (directory / "transforms.json").write_text(json.dumps(content))
        views = open_views(directory)[0]
        assert views.rgba.shape == (1, 4, 32, 32)
        uv, depth = project_points(views.cameras, torch.tensor([[[-0.5, 0.0, 0.25]]]))
        assert depth.tolist() == [[pytest.approx(2.0)]]
        assert (uv[0, 0] * 32).tolist() == pytest.approx([column, row + 6], abs=1e-4)
        assert views.rgba[0, 3].nonzero().tolist() == [[int(row) + 6, int(column)]]

    def test_a_mask_file_is_the_alpha(self, tmp_path):
        file = nerf_object(tmp_path / "ball")
        content = json.loads(file.read_text())
        for index, frame in enumerate(content["frames"]):
            picture = PIL.Image.open(file.parent / f"train/r_{index}.png")
            picture.getchannel("A").save(file.parent / f"train/m_{index}.png")
            picture.convert("RGB").save(file.parent / f"train/r_{index}.png")
            frame["mask_path"] = f"train/m_{index}.png"
        file.write_text(json.dumps(content))
        same(open_views(tmp_path)[0], ball_views(), depth=False)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"frames": 3}, "no list `frames`"),
            ({"camera_angle_x": None}, "neither `fl_x` nor `camera_angle_x`"),
            ({"k1": 0.1}, "no pinhole .* undistort"),
            ({"camera_model": "OPENCV_FISHEYE"}, "no pinhole"),
            ({"camera_angle_x": "wide"}, "`camera_angle_x` must be a finite number, got 'wide'"),
            ({"w": 32, "h": 20}, "`w` x `h` is 32 x 20, but the picture has 32 x 32"),
            ({"fl_x": 24000.0}, "are these pixels"),
            ({"frames": [{"file_path": "a.png"}]}, r"a\.png is missing"),
            ({"frames": [{}]}, "no `file_path`"),
        ],
    )
    def test_damage_is_named(self, tmp_path, change, message):
        file = nerf_object(tmp_path / "ball")
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        with pytest.raises((OSError, ValueError), match=message):
            open_views(tmp_path)[0]


class TestShards:
    def test_round_trip(self, tmp_path):
        first, second = ball_views(), ball_views(color=(0.8, 0.2, 0.0))
        assert write_shard(tmp_path / "000000.tar", [("blue", first), ("red", second)], depth=True) == 2
        write_shard(tmp_path / "000001.tar", [("last", first.select([3, 1]))])
        data = open_views(tmp_path)
        assert [data.name(index) for index in range(len(data))] == ["blue", "red", "last"]
        same(data[0], first)
        same(data[1], second)
        same(data[2], first.select([3, 1]), depth=False)
        same(data.load(1, [1]), second.select([1]))
        assert len(open_views(tmp_path, limit=2)) == 2
        assert len(open_views(tmp_path / "000001.tar")) == 1

    def test_the_same_objects_give_the_same_bytes_under_webdataset_names(self, tmp_path):
        for name in ("a.tar", "b.tar"):
            write_shard(tmp_path / name, [("ball", ball_views().select([0]))])
        assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
        with tarfile.open(tmp_path / "a.tar") as archive:
            # WebDataset: a sample's files stand together and share what is before the first dot
            assert archive.getnames() == ["ball.intrinsics.npy", "ball.rgba.000.png", "ball.pose.000.npy"]

    def test_bad_shards(self, tmp_path):
        with pytest.raises(ValueError, match=r"must end in \.tar"):
            write_shard(tmp_path / "a.zip", [])
        with pytest.raises(ValueError, match="no objects to write"):
            write_shard(tmp_path / "a.tar", [])
        with pytest.raises(ValueError, match="no dot and no slash, got 'a.b'"):
            write_shard(tmp_path / "a.tar", [("a.b", ball_views())])
        assert list(tmp_path.iterdir()) == []
        write_shard(tmp_path / "a.tar", [("ball", ball_views())])
        content = (tmp_path / "a.tar").read_bytes()
        (tmp_path / "b.tar").write_bytes(content)
        with pytest.raises(ValueError, match="both hold an object 'ball'"):
            open_views(tmp_path)
        (tmp_path / "b.tar").write_bytes(content[: len(content) // 2])
        with pytest.raises(OSError, match="damaged or cut short"):
            open_views(tmp_path / "b.tar")
        (tmp_path / "b.tar").write_bytes(b"something else" * 100)
        with pytest.raises(ValueError, match="no uncompressed tar"):
            open_views(tmp_path / "b.tar")
        with tarfile.open(tmp_path / "b.tar", "w") as archive:
            archive.add(__file__, "notes.txt")
        with pytest.raises(ValueError, match=r"holds 'notes\.txt', expected OBJECT\.intrinsics"):
            open_views(tmp_path / "b.tar")


class TestGenerated:
    def test_meshes_give_the_views_that_rendering_ahead_gives(self, tmp_path):
        from lrm_hf.training.mesh_views import render_training_views

        trimesh.creation.box(extents=(1, 2, 3)).export(tmp_path / "b.stl")
        data = open_views(tmp_path, size=24, seed=3)
        ahead = render_training_views(tmp_path / "b.stl", 0, size=24, seed=3)
        same(data[0], ahead)
        assert torch.equal(data.cameras(0).cam2world, ahead.cameras.cam2world)
        same(data.load(0, [5, 0]), ahead.select([5, 0]))
        other = open_views(tmp_path / "b.stl", size=24, seed=4)
        assert not torch.equal(other[0].rgba, ahead.rgba)

    def test_procedural_objects_are_those_of_the_pool_and_have_no_end(self, tmp_path):
        render_pool(tmp_path, 2, size=32, seed=5)
        data = open_views("procedural", size=32, seed=5)
        ahead = ObjectViews.load(tmp_path / "000001.npz")
        assert data.endless and len(data) > 10**9
        assert torch.equal(data.cameras(1).cam2world, ahead.cameras.cam2world)
        same(data[1], ahead)
        same(data.load(1, [4, 2]), ahead.select([4, 2]))
        assert data.load(10**9, [0]).rgba[0, 3].max() == 255


class TestDoor:
    def test_npz(self, tmp_path):
        ball_views().save(tmp_path / "a.npz")
        same(open_views(tmp_path)[0], ball_views())

    def test_what_is_no_layout_is_named(self, tmp_path):
        with pytest.raises(OSError, match="there is no file or directory .*nowhere"):
            open_views(tmp_path / "nowhere")
        for name in ("a.jpg", "b.jpg", "c.txt"):
            (tmp_path / name).write_bytes(b"")
        (tmp_path / "d").mkdir()
        with pytest.raises(ValueError, match=r"holds 2 \.jpg, 1 \.txt, 1 directory; expected a directory of"):
            open_views(tmp_path)
        with pytest.raises(ValueError, match=r"a file of type \.jpg"):
            open_views(tmp_path / "a.jpg")

    def test_two_layouts_at_a_time_are_no_guess(self, tmp_path):
        ball_views().save(tmp_path / "a.npz")
        openlrm_dataset(tmp_path)
        with pytest.raises(ValueError, match="may be rendered views or OpenLRM's layout"):
            open_views(tmp_path)

    def test_limit(self, tmp_path):
        assert len(open_views(openlrm_dataset(tmp_path, ("a", "b", "c")), limit=2)) == 2
        with pytest.raises(ValueError, match="`limit` must be at least 1, got 0"):
            open_views(tmp_path, limit=0)


def test_smaller_pictures_are_means_of_premultiplied_colours():
    rgba = torch.zeros(1, 4, 2, 2, dtype=torch.uint8)
    rgba[0, :, 0, 0] = torch.tensor([200, 100, 0, 255], dtype=torch.uint8)
    rgba[0, :, 0, 1] = torch.tensor([0, 0, 80, 85], dtype=torch.uint8)  # a third as opaque, and a third of the weight
    rgba[0, :3, 1, 1] = 255  # colour under nothing
    views = ObjectViews(rgba, torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]).half(), orbit_cameras(1))
    small = resize_views(views, 1)
    # alpha (255 + 85) / 4; red 200 * 3 / 4, blue 80 / 4
    assert small.rgba[0, :, 0, 0].tolist() == [150, 75, 20, 85]
    assert resize_views(views, 2) is views
    with pytest.raises(ValueError, match="`size`"):
        resize_views(views, 0)


class TestPool:
    """Batches from layouts that are read as they are drawn."""

    def draw(self, pool, **kwargs):
        return pool.draw(6, torch.Generator().manual_seed(1), views=2, crop=16, points=256, **kwargs)

    @pytest.mark.parametrize("kind", ["openlrm", "nerf", "shards"])
    def test_every_layout_gives_the_batch_of_the_same_views_in_memory(self, tmp_path, kind):
        (tmp_path / "npz").mkdir()
        for name in ("a", "b"):
            ball_views().save(tmp_path / f"npz/{name}.npz")
        if kind == "openlrm":
            openlrm_dataset(tmp_path / kind, ("a", "b"), depth=True)
        elif kind == "nerf":
            for name in ("a", "b"):
                nerf_object(tmp_path / kind / name)
        else:
            (tmp_path / kind).mkdir()
            write_shard(tmp_path / kind / "0.tar", [("a", ball_views()), ("b", ball_views())], depth=True)
        expected, batch = self.draw(ViewPool([tmp_path / "npz"])), self.draw(ViewPool([tmp_path / kind]))
        for name in ("pixel_values", "images", "opacity", "background", "anchors"):
            assert torch.equal(getattr(batch, name), getattr(expected, name)), name
        assert torch.equal(batch.cameras.cam2world, expected.cameras.cam2world)
        if kind == "nerf":  # no depth: nothing is claimed about surfaces
            assert float(batch.surface_weight.sum()) == 0 and float(batch.depth.sum()) == 0
            assert float(batch.occupied.sum()) == 0
        else:
            assert torch.equal(batch.points, expected.points) and torch.equal(batch.depth, expected.depth)

    @pytest.mark.parametrize("elevation", [0.0, 20.0])
    def test_the_source_view_becomes_canonical_and_the_others_still_see_the_ball(self, tmp_path, elevation):
        pool = ViewPool([openlrm_dataset(tmp_path, depth=True)], frame="canonical", elevation=elevation, distance=1.9)
        batch = self.draw(pool, mirror=0.0)
        canonical = Cameras.canonical(1.9, elevation=elevation).cam2world
        assert torch.equal(batch.source_cameras.cam2world, canonical.expand(6, 4, 4))
        # the ball in the frame of each source: from its own camera by hand
        sources = orbit_cameras(azimuths=[0.0, 40.0, 130.0, 250.0], elevation=[20.0, 0.0, -10.0, 50.0]).cam2world
        centres = torch.stack([(canonical @ torch.linalg.inv(_scaled(pose)))[:3] @ _one(CENTER) for pose in sources])
        radius = 0.4 * 1.9 / 2
        hit = batch.surface_weight[..., 0] > 0
        distance = (batch.surface[:, :, None] - centres).norm(dim=-1)  # [batch, n, possible source]
        error = torch.where(hit[..., None], (distance - radius).abs(), torch.zeros_like(distance)).amax(1)
        assert error.amin(1).max() < 5e-3  # depth is float16: 1e-3 at distance 2
        assert error.argmin(1).unique().numel() >= 3  # several views were sources

    def test_upright_turns_about_the_vertical_only(self, tmp_path):
        pool = ViewPool([openlrm_dataset(tmp_path)], frame="upright", source_elevations=(0.0, 30.0))
        batch = self.draw(pool, mirror=0.0)
        position = batch.source_cameras.position
        assert position[:, 0].abs().max() < 1e-6 and position[:, 1].max() < 0
        heights = sorted(set(position[:, 2].mul(1e4).round().int().tolist()))
        assert heights == [0, round(2e4 * math.sin(math.radians(20)))]  # not those at -10 and 50
        others = batch.cameras.position[..., 2].mul(1e4).round().int().flatten().tolist()
        allowed = [round(2e4 * math.sin(math.radians(angle))) for angle in (20, 0, -10, 50)]
        assert all(min(abs(value - known) for known in allowed) <= 1 for value in others)

    def test_on_the_fly(self, tmp_path):
        trimesh.creation.box(extents=(1, 2, 3)).export(tmp_path / "b.stl")
        pool = ViewPool([tmp_path, "procedural"], weights=[1.0, 1.0], size=32)
        batch, again = self.draw(pool), self.draw(pool)
        assert torch.equal(batch.images, again.images) and torch.equal(batch.points, again.points)
        assert batch.pixel_values.shape == (6, 3, 32, 32)
        reseeded = self.draw(ViewPool([tmp_path, "procedural"], weights=[1.0, 1.0], size=32, seed=1))
        assert not torch.equal(batch.images, reseeded.images)
        assert float(batch.opacity.mean()) > 0.1

    def test_what_does_not_fit_is_named(self, tmp_path):
        data = openlrm_dataset(tmp_path / "data")
        with pytest.raises(ValueError, match="`weights` must say how often"):
            ViewPool([data, "procedural"], size=32)
        with pytest.raises(ValueError, match=r"different sizes: \[32, 128\]; give a `size`"):
            ViewPool([data, "procedural"], weights=[1, 1])
        with pytest.raises(ValueError, match="`frame` must be one of world, upright, canonical, got 'source'"):
            ViewPool([data], frame="source")
        with pytest.raises(ValueError, match="`directories` is empty"):
            ViewPool([])
        with pytest.raises(ValueError, match="'ball' has 4 views; 4 targets need one more"):
            ViewPool([data]).draw(1, torch.Generator(), views=4, crop=8)
        turned = orbit_cameras(3, azimuth_start=10.0)
        write_object(tmp_path / "turned", ball_views(turned))
        with pytest.raises(ValueError, match="'turned' has no view that may be the source.*try the frame 'canonical'"):
            ViewPool([tmp_path / "turned"]).draw(1, torch.Generator(), views=1, crop=8)


def _scaled(pose: torch.Tensor) -> torch.Tensor:
    """The camera 1.9 from the origin, rather than 2."""
    pose = pose.clone()
    pose[:3, 3] *= 1.9 / 2
    return pose


def _one(point: torch.Tensor) -> torch.Tensor:
    return torch.cat([point * 1.9 / 2, torch.ones(1)])
